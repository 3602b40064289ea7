"""The shell: everything happens in ticks on the caller's event loop, each one transaction.

A tick takes what has arrived, appends events, runs the workflow tasks that are due, and commits; only then is anybody
told, and only then does an activity start. Ticks are plain callbacks: workflow code never runs inside an asyncio task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from protopact.embedded.agenda import Agenda, Errand
from protopact.embedded.calls import Calls
from protopact.embedded.chains import Chains
from protopact.embedded.clock import Clock, Ids
from protopact.embedded.coding import Coding
from protopact.embedded.delivery import Delivery
from protopact.embedded.dispatch import Dispatch
from protopact.embedded.inbox import (
    Happened,
)
from protopact.embedded.local import LocalActivities
from protopact.embedded.matching import Matching
from protopact.embedded.others import Others
from protopact.embedded.processes import Processes
from protopact.embedded.queries import Queries
from protopact.embedded.records import Records, RunRow
from protopact.embedded.relations import Relations
from protopact.embedded.resets import Resets
from protopact.embedded.retention import RETENTION, Retention
from protopact.embedded.run import ACTIVITY, CLOSE, TIMER, Run
from protopact.embedded.runs import Runs
from protopact.embedded.serving import Serving
from protopact.embedded.store import Store
from protopact.embedded.tasks import WorkflowTasks
from protopact.embedded.tick import Caller, Refusal, Tick
from protopact.embedded.tokens import Tokens
from protopact.embedded.waits import Waits
from protopact.errors import AlreadyClosedError, EngineClosedError, ProtopactError, StoreError
from protopact.history.event import Attributes, TimerFired, WorkflowExecutionStarted
from protopact.history.failure import Failure, TimeoutFailureInfo
from protopact.history.time import Timestamp
from protopact.payload import CodecChain

__all__ = ["Shell"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_Arrival: TypeAlias = "tuple[Callable[..., None], asyncio.Future[Any] | None]"


class Shell:
    """One engine's shell, on one event loop.

    Args:
        store: The open store.
        clock: Clock and timers.
        ids: Source of ids.
        codecs: Codecs of payloads.
        identity: Name of this process in histories.
        retention: How long closed runs are kept; None is for ever.

    Attributes:
        process_id: This process, as claims name it.
    """

    _TASKS_PER_TICK = 256
    """Workflow tasks of one tick; more wait for the next, so that timers and callers do not wait for them."""

    _DUE_PER_TICK = _TASKS_PER_TICK
    _ARRIVALS_PER_TICK = 1024
    """Errands and calls of one tick: each may read a run from the disk, and all of them are in memory until its end."""

    _BUSY_SECONDS = 0.002
    _RETRY_SECONDS = 1.0

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: Ids,
        codecs: CodecChain,
        identity: str,
        retention: timedelta | None = None,
    ) -> None:
        self.process_id = 1
        self.store = store
        self.clock = clock
        self.ids = ids
        self.identity = identity
        self.loop = asyncio.get_running_loop()
        self.records = Records(store)
        self.runs = Runs(self.records)
        self.agenda = Agenda(clock, self.look)
        self.serving = Serving(self)
        self.dispatch = Dispatch(self)
        self.tokens = Tokens(self)
        self.delivery = Delivery(self)
        self.relations = Relations(self)
        self.tasks = WorkflowTasks(self)
        self.chains = Chains(self)
        self.resets = Resets(self)
        self.queries = Queries(self)
        self.is_coded = bool(codecs)
        self.coding = Coding(self, codecs)
        self.local = LocalActivities(self)
        self.waits = Waits(self)
        self.calls = Calls(self)
        self.matching = Matching(self)
        self.retention = Retention(self, retention)
        self.processes: Processes | None = None
        self.others: Others | None = None
        self._arrivals: list[_Arrival] = []
        self._promises = set[asyncio.Future[Any]]()
        self._one_by_one = 0
        self._requested = False
        self._closed = False
        self._next_key = 0
        if store.path is not None:
            self.processes = Processes(store, on_wake=self.look, on_death=self._look_for_dead)
            self.others = Others(self, self.processes)

    # -- arrivals

    def tell(self, apply: Callable[[Tick], None]) -> None:
        """Have something done in the next tick."""
        self._arrivals.append((apply, None))
        self.look()

    def ask(self, apply: Callable[[Tick, Caller], None]) -> asyncio.Future[Any]:  # the caller knows what it asks for
        """Have something done in the next tick, and be answered when it is durable.

        Raises:
            EngineClosedError: The engine is closed, or belongs to another process.
        """
        if self._closed:
            raise EngineClosedError(f"the engine on {self.store.name} is closed")
        _ = self.store.connection
        future = self.promise()
        self._arrivals.append((apply, future))
        self.look()
        return future

    def promise(self) -> asyncio.Future[Any]:
        """A future for a caller, which gets an error at the latest when the engine closes."""
        future: asyncio.Future[Any] = self.loop.create_future()
        self._promises.add(future)
        future.add_done_callback(self._promises.discard)
        return future

    def look(self) -> None:
        """Have a tick soon."""
        if not self._requested and not self._closed:
            self._requested = True
            self.loop.call_soon(self._tick)

    def _look_for_dead(self) -> None:
        if self.others is not None:
            self.others.look_for_dead = True
        self.look()

    # -- runs

    def held_run(self, tick: Tick, key: int) -> Run | None:
        """A run, if this process holds it; read from the disk when it is not in memory."""
        run = tick.runs.get(key) or self.runs.get(key)
        if run is not None:
            return run if run.is_open and run.holder == self.process_id else None
        row = self.records.run(key)
        if row is None or row.status or row.holder != self.process_id:
            return None
        return self._load(tick, row)

    def hold(self, tick: Tick, found: Run | RunRow) -> Run | None:
        """An open run in memory and held here, claimed when nobody holds it; None when it is not for this process."""
        # A row is what the last tick has written: what this one has done to the run is in memory alone.
        known = found if isinstance(found, Run) else tick.runs.get(found.key, found)
        if known.status or known.holder not in (None, self.process_id):
            return None
        is_served = self.serving.workflow_worker(known.workflow_type, known.task_queue) is not None
        if not is_served and (known.holder is None or isinstance(known, RunRow)):
            return None
        run = self._load(tick, known) if isinstance(known, RunRow) else known
        if run.holder is None:
            run.holder = self.process_id
            run.changed = True
            if run is known:
                self._take_in(tick, run)
            for item, caller in self.delivery.take(tick, run.key):
                self.delivery.apply(tick, run, item, caller)
        return run

    def _load(self, tick: Tick, row: RunRow) -> Run:
        run = self.runs.load(row, tick.now)
        self._take_in(tick, run)
        return run

    def _take_in(self, tick: Tick, run: Run) -> None:
        self.runs.add(run)
        tick.touch(run)
        for activity in run.activities.values():
            if activity.holder is None and activity.due_at <= tick.now:
                self.dispatch.offer(tick, run, activity)

    def create_run(
        self,
        tick: Tick,
        started: WorkflowExecutionStarted,
        *,
        request_id: str,
        run_id: str = "",
        at: Timestamp | None = None,
    ) -> Run:
        """Begin a run; it is held here when it is served here.

        Args:
            tick: The tick.
            started: Its first event.
            request_id: Id of the start; empty when no client has started it.
            run_id: Its id; the original one of `started` by default.
            at: Time of its first event; now by default.
        """
        self._next_key = max(self._next_key, self.records.next_key())
        run = Run(
            self._next_key,
            workflow_id=started.workflow_id,
            run_id=run_id or started.original_execution_run_id,
            first_run_id=started.first_execution_run_id,
            workflow_type=started.workflow_type,
            task_queue=started.task_queue,
            start_request_id=request_id,
        )
        self._next_key += 1
        run.append(started, tick.now if at is None else at)
        tick.touch(run)
        if self.serving.workflow_worker(run.workflow_type, run.task_queue) is not None:
            run.holder = self.process_id
            self.runs.add(run)
        else:
            serving = self.serving.workflow_elsewhere(run.workflow_type, run.task_queue)
            tick.wake.update(serving)
            if not serving:
                self.serving.warn_unserved("workflow", run.workflow_type, run.task_queue)
        return run

    def close_run(self, tick: Tick, run: Run, attributes: Attributes) -> None:
        """Close a run with its last event."""
        self.dispatch.abandon(tick, run)
        run.append(attributes, tick.now)
        run.holder = None
        tick.touch(run)
        tick.closed.append(run)
        if not getattr(attributes, "new_execution_run_id", ""):
            self.delivery.pass_on_updates(tick, run)
        self.relations.closed(tick, run, attributes)

    def tell_closed(self, tick: Tick, holder: int, key: int) -> None:
        """Tell the process that holds a run that it was closed without asking."""
        tick.notify(holder, Happened(key))

    def forget_run(self, tick: Tick, key: int) -> None:
        """Another process has closed a run that was held here."""
        run = self.runs.get(key)
        if run is not None:
            run.holder = None
            self.unlock(tick, run)
            self.runs.drop(run)
        self.agenda.set(key, None)
        for update in self.tasks.take_updates(tick, key):
            for caller in update.callers:
                tick.refuse(caller, AlreadyClosedError("the workflow was terminated before it saw the update"))

    def unlock(self, tick: Tick, run: Run) -> None:
        """Take a run away from the codecs and local activities that are at work for it."""
        if run.locked:
            tick.queries += self.coding.abort(run)

    # -- the tick

    def _tick(self) -> None:
        self._requested = False
        if self._closed:
            return
        arrivals = self._take_arrivals()
        now = self.clock.now()
        due = self.agenda.take_due(now, self._DUE_PER_TICK)
        tick = Tick(now)
        try:
            news = self.others is not None and self.others.has_news()
            if not (arrivals or due or news or self._has_work()):
                self.agenda.arm()
                return
            if not self.store.begin():
                self._put_back(arrivals, due, now)
                self._look_after(self._BUSY_SECONDS)
                return
            self._work(tick, arrivals, due)
            self._write(tick)
            self.store.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was recorded and nothing may be lost
            self._recover(tick, arrivals, due, error)
        except BaseException:
            # Ctrl-C: it ends the loop, on which the engine may still have to be closed.
            self._undo(tick, due, EngineClosedError(f"the engine on {self.store.name} was interrupted"))
            self.tasks.undo(tick)
            self._put_back(arrivals, due, now)
            self.look()
            raise
        else:
            self._release(tick)

    def _take_arrivals(self) -> list[_Arrival]:
        if self._one_by_one:
            self._one_by_one -= 1
            return [self._arrivals.pop(0)]
        most = self._ARRIVALS_PER_TICK
        arrivals, self._arrivals = self._arrivals[:most], self._arrivals[most:]
        return arrivals

    def _has_work(self) -> bool:
        return self.matching.wanted or any(worker.ready and worker.free > 0 for worker in self.serving.workers)

    def _work(self, tick: Tick, arrivals: list[_Arrival], due: list[Errand]) -> None:
        if self.others is not None:
            self.others.absorb(tick)
        for apply, future in arrivals:
            if future is None:
                apply(tick)
                continue
            try:
                apply(tick, future)
            except StoreError:
                raise
            except (ProtopactError, Refusal) as error:
                tick.refuse(future, error)
        for what in due:
            self._handle_due(tick, what)
        if self.matching.wanted:
            self.matching.claim_runs(tick)
        self._perform_tasks(tick)
        if self.matching.wanted:
            self.matching.wanted = False
            self.dispatch.claim_elsewhere(tick)
        else:
            self.dispatch.claim(tick)
        self.queries.answer(tick)

    def _handle_due(self, tick: Tick, what: Errand) -> None:
        if isinstance(what, int):
            run = self.held_run(tick, what)
            if run is not None:
                self.fire(tick, run)
        elif isinstance(what, tuple):
            self.dispatch.expire(tick, what)
        elif what == RETENTION:
            self.retention.sweep(tick)
        else:
            self.matching.wanted = True

    def fire(self, tick: Tick, run: Run) -> None:
        """Let happen what is due for a run, in order of time."""
        if run.locked:
            close_at = run.close_at()
            if close_at is None or close_at > tick.now:
                self.agenda.set(run.key, close_at)
                return  # the rest is looked at again when it is free
            self.unlock(tick, run)
        tick.touch(run)
        while run.is_open and (deadline := run.due(tick.now)) is not None:
            _, _, kind, event_id = deadline
            if kind == TIMER:
                timer_id, _ = run.timers[event_id]
                run.append(TimerFired(timer_id=timer_id, started_event_id=event_id), tick.now)
            elif kind == ACTIVITY:
                self.dispatch.deadline(tick, run, run.activities[event_id])
            elif kind == CLOSE:
                self.chains.time_out(tick, run, _WORKFLOW_TIMEOUT)

    def _perform_tasks(self, tick: Tick) -> None:
        performed = 0
        waiting, tick.stirred = sorted(tick.runs.values(), key=_level), []
        for run in waiting:  # it grows: a task may start another run, or make something happen to one
            if run.holder == self.process_id and not run.locked:
                self.delivery.end_if_too_long(tick, run)
            while (
                performed < self._TASKS_PER_TICK
                and not run.locked
                and run.holder == self.process_id
                and run.key not in tick.forget
                and self.tasks.is_due(run, tick.now)
                and (worker := self.serving.workflow_worker(run.workflow_type, run.task_queue)) is not None
            ):
                performed += 1
                if self.is_coded:
                    tick.coded_tasks.append((run, worker))
                    break
                known = len(tick.runs)
                self.tasks.perform(tick, run, worker)
                if len(tick.runs) > known:
                    waiting += list(tick.runs.values())[known:]
                if tick.stirred:
                    waiting += tick.stirred
                    tick.stirred = []

    def _write(self, tick: Tick) -> None:
        changed = list[Run]()
        for run in tick.runs.values():
            wake_at = tick.now if self.tasks.has_updates(run) and self.tasks.is_due(run, tick.now) else run.next_wake()
            if wake_at != run.wake_at:
                run.wake_at = wake_at
                run.changed = True
            if run.changed:
                changed.append(run)
        self.records.write_runs(changed)
        if tick.taken:
            self.store.execute_many("DELETE FROM inbox WHERE id = ?", [(row,) for row in tick.taken])
        if tick.heartbeats:
            self.records.write_heartbeats((*key, details) for key, details in tick.heartbeats.items())
        self.waits.write(tick)
        if tick.notices:
            self.store.execute_many("INSERT INTO notice (process, notice) VALUES (?, ?)", tick.notices)

    def _release(self, tick: Tick) -> None:
        tick.tell_callers()
        self.waits.release(tick)
        # Before some runs leave memory: those that codecs are at work for stay.
        self.coding.begin(tick.coded_tasks)
        self.coding.go_on(tick.waiting)
        for query, worker in tick.coded_queries:
            self.coding.query(query, worker, alone=query.run.key in tick.forget)
        self._keep(tick)
        for worker, attempt in tick.start:
            worker.runner.start(attempt)
        for worker, key, reason in tick.cancel:
            worker.runner.cancel(key, reason)
        if self.processes is not None:
            self.processes.wake(tick.wake)
            for process in tick.buried:
                self.processes.bury(process)
        if self._arrivals or self._has_work():
            self.look()
        self.agenda.arm()

    def _keep(self, tick: Tick) -> None:
        """Keep in memory what this process holds, up to the limit."""
        for run in tick.runs.values():
            held = run.is_open and run.holder == self.process_id
            self.agenda.set(run.key, run.wake_at if held else None)
            if not run.locked and (not held or run.key in tick.forget):
                self.runs.drop(run)
        for run in self.runs.excess():
            if not run.locked:
                self.runs.drop(run)

    def _recover(self, tick: Tick, arrivals: list[_Arrival], due: list[Errand], error: Exception) -> None:
        """Undo a tick that failed. Callers are told; what nobody would ask for again is tried again."""
        self._undo(tick, due, error)
        if isinstance(error, StoreError):
            _logger.error("%s", error)
        else:
            _logger.error("the engine on %s failed in a tick; it goes on", self.store.name, exc_info=error)
        if not isinstance(error, StoreError) and len(arrivals) > 1:
            # One of them is at fault: the others go through when each has a tick to itself.
            self._one_by_one = len(arrivals)
        else:
            for _, future in arrivals:
                if future is not None and not future.done():
                    future.set_exception(error)
            keep = isinstance(error, StoreError)
            arrivals = [arrival for arrival in arrivals if keep and arrival[1] is None]
        self.tasks.undo(tick)
        self._put_back(arrivals, due, tick.now)
        self._look_after(self._RETRY_SECONDS)

    def _undo(self, tick: Tick, due: list[Errand], error: Exception) -> None:
        self.store.rollback()
        for task, _ in tick.waiting:
            self.coding.forget(task)
        for run in tick.runs.values():
            self.runs.drop(run)
            due.append(run.key)
        self.dispatch.undo(tick)
        self.queries.undo(tick, error)
        if self.others is not None:
            self.others.forget_news()
        self.matching.wanted = True

    def _put_back(self, arrivals: list[_Arrival], due: Iterable[Errand], now: Timestamp) -> None:
        self._arrivals = arrivals + self._arrivals
        for what in due:
            self.agenda.set(what, now)

    def _look_after(self, seconds: float) -> None:
        # By the loop's time even when the clock is virtual: this waits for a disk or another process.
        self._requested = True
        self.loop.call_later(seconds, self._tick)

    async def close(self) -> None:
        """Stop: nothing happens any more, whoever waits is told. What is on disk goes on elsewhere, or later."""
        self._closed = True
        closed: asyncio.Future[None] = self.loop.create_future()
        # Coroutines of workflows end in a plain callback, as they ran.
        self.loop.call_soon(self._close, closed)
        await closed

    def _close(self, closed: asyncio.Future[None]) -> None:
        self.agenda.disarm()
        self.coding.close()
        for run in list(self.runs):
            self.runs.drop(run)
        error = EngineClosedError(f"the engine on {self.store.name} was closed")
        self._arrivals = []
        for future in self._promises:
            if not future.done():
                future.set_exception(error)
        closed.set_result(None)


_level = attrgetter("place.level")
_WORKFLOW_TIMEOUT = Failure(
    message="workflow timeout", source="Server", info=TimeoutFailureInfo(timeout_type="START_TO_CLOSE")
)
