"""What clients ask for, decided within a tick: starts, signals, updates, queries, cancellations, terminations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protopact import errors
from protopact.embedded import limits
from protopact.embedded.inbox import Answered, CancelRequest, Item, Query, Refused, Signal, Update
from protopact.embedded.policies import Verdict, decide
from protopact.embedded.queries import PendingQuery
from protopact.embedded.records import RunRow
from protopact.embedded.run import STATUSES, Run
from protopact.embedded.tick import Caller, Refusal, Tick
from protopact.engine import Started, WorkflowRef
from protopact.errors import AlreadyClosedError, AlreadyStartedError, NotFoundError, RunLimitError
from protopact.history.event import (
    Event,
    UpdateRequest,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
)
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from protopact.replay.advance import QueryRequest

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Calls", "Start", "closed_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start: the first event of the run that it may begin, and the policies that decide whether it does."""

    started: WorkflowExecutionStarted
    reuse: WorkflowIdReusePolicy
    conflict: WorkflowIdConflictPolicy
    request_id: str


class Calls:
    """The shell's desk for clients."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._remote: dict[int, asyncio.Future[Any]] = {}  # the caller knows what it asked for
        self._count = 0

    # -- which run

    def find(self, tick: Tick, ref: WorkflowRef) -> Run | RunRow:
        """The run that a reference names.

        Raises:
            NotFoundError: There is none.
        """
        if ref.run_id is not None:
            found = self.with_run_id(tick, ref.run_id)
            if found is None or found.workflow_id != ref.workflow_id:
                raise NotFoundError(
                    f"there is no run {ref.run_id} of workflow {ref.workflow_id!r} in {self._shell.store.name}"
                )
            return found
        found = self._latest(tick, ref.workflow_id)
        if found is None:
            raise NotFoundError(f"there is no workflow {ref.workflow_id!r} in {self._shell.store.name}")
        if ref.first_run_id not in (None, found.first_run_id):
            raise NotFoundError(
                f"workflow {ref.workflow_id!r} is another one by now: it began with run {found.first_run_id}, the one "
                f"that is meant with run {ref.first_run_id}"
            )
        return found

    def _latest(self, tick: Tick, workflow_id: str) -> Run | RunRow | None:
        return (
            tick.latest.get(workflow_id)
            or self._shell.runs.open_run(workflow_id)
            or self._shell.records.latest_run(workflow_id)
        )

    def with_run_id(self, tick: Tick, run_id: str) -> Run | RunRow | None:
        """The run with a run id; None when there is none."""
        row = self._shell.records.run_with_id(run_id)
        if row is None:
            return next((run for run in tick.runs.values() if run.run_id == run_id), None)
        return tick.runs.get(row.key) or self._shell.runs.get(row.key) or row

    def history_of(self, tick: Tick, found: Run | RunRow) -> list[Event]:
        """The whole history of a run: what is on disk, and what this tick has appended."""
        stored = self._shell.records.history(found.key)
        run = tick.runs.get(found.key)
        return stored if run is None or run.locked else stored + run.new_events

    # -- starts

    def start(self, tick: Tick, caller: Caller, start: Start) -> None:
        """Start a run, or find the one that has the id."""
        existing = self.place(tick, start)
        tick.answer(caller, self._begin(tick, start) if existing is None else _found(existing, start))

    def signal_with_start(self, tick: Tick, caller: Caller, start: Start, signal: WorkflowExecutionSignaled) -> None:
        """Signal the open run with the id, or start one whose first event is followed by the signal."""
        existing = self.place(tick, start, signals=True)
        if existing is None:
            answer = self._begin(tick, start)
            existing = tick.latest[start.started.workflow_id]
        else:
            self.check_signals(tick, existing, signal)
            answer = _found(existing, start)
        self.deliver(tick, existing, Signal(signal), None)
        tick.answer(caller, answer)

    def update_with_start(
        self, tick: Tick, caller: Caller, start: Start, request: UpdateRequest, accepted: asyncio.Future[Any]
    ) -> None:
        """Update the open run with the id, or start one; `accepted` is answered as `update` answers its caller.

        As on the server, an update that the closed workflow has taken before is that one, sent once more.
        """
        known = self._updated(tick, start.started.workflow_id, request.update_id)
        if known is not None:
            tick.answer(caller, _found(known, start))
            tick.answer(accepted, known.run_id)
            return
        existing = self.place(tick, start)
        if existing is None:
            answer = self._begin(tick, start)
            existing = tick.latest[start.started.workflow_id]
        else:
            answer = _found(existing, start)
        tick.answer(caller, answer)
        self.deliver(tick, existing, Update(request), accepted)

    def _updated(self, tick: Tick, workflow_id: str, update_id: str) -> Run | None:
        """The run of a closed workflow that has taken an update; None also when the workflow is open."""
        found = self._latest(tick, workflow_id)
        if found is None or found.status == 0:
            return None
        while found is not None:
            run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
            if run.has_update(update_id):
                return run
            before = run.started.continued_execution_run_id
            found = self.with_run_id(tick, before) if before else None
        return None

    def place(self, tick: Tick, start: Start, *, signals: bool = False) -> Run | RunRow | None:
        """Make room for a start, with which a signal may go: the run to use instead of a new one, or None."""
        started, conflict = start.started, start.conflict
        existing = self._latest(tick, started.workflow_id)
        if existing is None:
            return None
        if existing.start_request_id == start.request_id:
            return existing  # the same start, sent once more
        status = STATUSES[existing.status]
        verdict = decide(
            status,
            same_type=existing.workflow_type == started.workflow_type,
            reuse=start.reuse,
            conflict=conflict,
            signals=signals,
        )
        match verdict:
            case Verdict.START:
                return None
            case Verdict.USE_EXISTING:
                return existing
            case Verdict.TERMINATE_AND_START:
                reason = f"its id was needed for a {started.workflow_type}: id_conflict_policy {conflict.name}"
                self.terminate_run(
                    tick, existing, WorkflowExecutionTerminated(reason=reason, identity=started.identity)
                )
                return None
            case Verdict.REFUSE:
                policy = (
                    f"id_conflict_policy {conflict.name}"
                    if existing.status == 0
                    else f"id_reuse_policy {start.reuse.name}"
                )
                raise AlreadyStartedError(
                    f"workflow id {started.workflow_id!r} is taken by a {existing.workflow_type} that is "
                    f"{status.value} (run {existing.run_id}); {policy} refuses another",
                    workflow_id=existing.workflow_id,
                    run_id=existing.run_id,
                    workflow_type=existing.workflow_type,
                )

    def _begin(self, tick: Tick, start: Start) -> Started:
        run = self._shell.create_run(tick, start.started, request_id=start.request_id)
        return Started(workflow_id=run.workflow_id, run_id=run.run_id, first_run_id=run.first_run_id, started=True)

    # -- what goes to a run

    def send(self, tick: Tick, caller: Caller, ref: WorkflowRef, item: Signal | CancelRequest | Update) -> None:
        """Deliver a signal, a request to cancel or an update."""
        found = self.find(tick, ref)
        if isinstance(item, Signal):
            self.check_signals(tick, found, item.signal)
        self.deliver(tick, found, item, caller)

    def check_signals(self, tick: Tick, found: Run | RunRow, signal: WorkflowExecutionSignaled) -> None:
        """Refuse a signal beyond the most that a run takes.

        Raises:
            RunLimitError: It is.
        """
        records = self._shell.records
        waiting = 0 if found.holder == self._shell.process_id else records.inbox_count(found.key)
        if found.status or found.last_event_id + waiting < limits.MOST_SIGNALS:
            return
        run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
        signals = [each.signal for each in records.inbox(run.key, tick.taken) if isinstance(each, Signal)]
        known = run.has_signal(signal.request_id) or signal.request_id in [each.request_id for each in signals]
        if run.signal_count + len(signals) >= limits.MOST_SIGNALS and not (signal.request_id and known):
            raise RunLimitError(
                f"signal {signal.signal_name} of workflow {run.workflow_id}: exceeded workflow execution limit for "
                f"signal events: the run has had {limits.MOST_SIGNALS}, and must continue as new before"
            )

    def deliver(self, tick: Tick, found: Run | RunRow, item: Signal | CancelRequest | Update, caller: Caller) -> None:
        """Deliver to a run that was found."""
        run = self._shell.hold(tick, found)
        if run is not None:
            self._shell.delivery.apply(tick, run, item, caller)
        elif found.status:
            self._deliver_late(tick, found, item, caller)
        elif isinstance(item, Update):
            self._shell.delivery.post(tick, found, item, self.remote(caller))
        else:
            self._shell.delivery.post(tick, found, item, None)
            tick.answer(caller)

    def _deliver_late(
        self, tick: Tick, found: Run | RunRow, item: Signal | CancelRequest | Update, caller: Caller
    ) -> None:
        if isinstance(item, Update):
            run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
            if run.has_update(item.request.update_id):
                tick.answer(caller, run.run_id)
                return
        tick.refuse(caller, closed_error(found))

    def query(self, tick: Tick, caller: Caller, ref: WorkflowRef, request: QueryRequest) -> None:
        """Ask a run."""
        found = self.find(tick, ref)
        run = self._shell.hold(tick, found)
        if run is None and found.status and self._shell.serving.workflow_worker(found.workflow_type, found.task_queue):
            run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
        if run is not None:
            tick.queries.append(PendingQuery(run, request, caller))
        else:
            self._shell.delivery.post(tick, found, Query(request), self.remote(caller))

    def terminate(self, tick: Tick, caller: Caller, ref: WorkflowRef, attributes: WorkflowExecutionTerminated) -> None:
        """Close a run at once, whoever holds it."""
        found = self.find(tick, ref)
        if found.status:
            raise closed_error(found)
        self.terminate_run(tick, found, attributes)
        tick.answer(caller)

    def terminate_run(self, tick: Tick, found: Run | RunRow, attributes: WorkflowExecutionTerminated) -> None:
        """Close an open run that was found."""
        run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
        self._shell.unlock(tick, run)
        holder = run.holder
        for item, caller in self._shell.delivery.take(tick, run.key):
            self._last_word(tick, run, item, caller)
        if holder not in (None, self._shell.process_id):
            self._shell.tell_closed(tick, holder, run.key)
        self._shell.close_run(tick, run, attributes)

    def _last_word(self, tick: Tick, run: Run, item: Item, caller: Caller) -> None:
        """A run is terminated before its holder has seen this: a signal still enters its history."""
        if isinstance(item, Signal):
            run.append(item.signal, tick.now)
        elif isinstance(item, Query):
            tick.queries.append(PendingQuery(run, item.request, caller))
        else:
            tick.refuse(caller, AlreadyClosedError(f"workflow {run.workflow_id} (run {run.run_id}) was terminated"))

    def delete(self, tick: Tick, caller: Caller, ref: WorkflowRef) -> None:
        """Delete a closed run. Answers whether it did: while another process lets go of it, ask again."""
        found = self.find(tick, ref)
        tick.answer(caller, found.status != 0 and isinstance(found, RunRow))
        if found.status and isinstance(found, RunRow):
            self._shell.records.delete_run(found.key)

    # -- callers in other processes

    def remote(self, caller: Caller) -> tuple[int, int] | None:
        """How another process can name a caller of this one."""
        if caller is None or isinstance(caller, tuple):
            return caller
        self._count += 1
        call = self._count
        # Until it has its answer, and not until that was read: the tick that reads it may fail.
        self._remote[call] = caller
        caller.add_done_callback(lambda _: self._remote.pop(call))
        return self._shell.process_id, call

    def local(self, process: int | None, call: int | None) -> Caller:
        """The caller that `remote` named, here."""
        if process is None or call is None:
            return None
        return self._remote.get(call) if process == self._shell.process_id else (process, call)

    def answered(self, tick: Tick, notice: Answered | Refused) -> None:
        """Another process has answered."""
        caller = self._remote.get(notice.call)
        if isinstance(notice, Answered):
            tick.answer(caller, notice.run_id or notice.result)
            return
        error = getattr(errors, notice.error)
        assert issubclass(error, errors.ProtopactError)
        tick.refuse(caller, Refusal(error, notice.message, notice.failure))

    def give_up(self, caller: asyncio.Future[Any], error: Exception) -> None:
        """A caller has waited long enough: take back what it asked of another process, if it still lies there."""
        me, calls = self._shell.process_id, [call for call, future in self._remote.items() if future is caller]

        def take_back(tick: Tick) -> None:
            for call in calls:
                rows = self._shell.store.select("SELECT id FROM inbox WHERE process = ? AND call = ?", (me, call))
                tick.taken.update(row for (row,) in rows)

        if calls:
            self._shell.tell(take_back)
        if not caller.done():
            caller.set_exception(error)


def closed_error(found: Run | RunRow) -> AlreadyClosedError:
    """What to raise for a run that takes nothing any more."""
    return AlreadyClosedError(
        f"workflow {found.workflow_id} (run {found.run_id}) is closed: {STATUSES[found.status].value}"
    )


def _found(run: Run | RunRow, start: Start) -> Started:
    return Started(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        first_run_id=run.first_run_id,
        started=run.start_request_id == start.request_id,
    )
