"""Whoever waits for a run to close or for an update to end, in this process or another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from protopact.embedded.inbox import Happened
from protopact.embedded.records import RunRow
from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Tick
from protopact.engine import WorkflowRef
from protopact.errors import NotFoundError, ProtopactError
from protopact.history.event import Attributes, WorkflowExecutionUpdateCompleted

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Closed", "Waits"]


@dataclass(frozen=True, slots=True)
class Closed:
    """How a run ended."""

    workflow_id: str
    run_id: str
    event: Attributes


_Key: TypeAlias = tuple[int, str]  # a run, and an update of it or nothing
_Ended: TypeAlias = "Closed | WorkflowExecutionUpdateCompleted | None"


class Waits:
    """The shell's waiting room."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._futures: dict[_Key, dict[asyncio.Future[_Ended], None]] = {}
        self._watches = False

    # -- waiting

    async def closed(self, ref: WorkflowRef) -> Closed:
        """Wait until a run has closed.

        Raises:
            NotFoundError: There is no such run.
            EngineClosedError: The engine was closed meanwhile.
        """
        run = self._shell.runs.open_run(ref.workflow_id)
        if run is not None and ref.run_id in (None, run.run_id) and ref.first_run_id in (None, run.first_run_id):
            ended = await self._wait((run.key, ""))
        else:
            ended = await self._shell.ask(lambda tick, caller: self._join(tick, ref, "", caller))
        assert isinstance(ended, Closed)
        return ended

    async def update_ended(self, ref: WorkflowRef, update_id: str) -> WorkflowExecutionUpdateCompleted | None:
        """Wait until an accepted update has its outcome; None when its run closed without one.

        Raises:
            NotFoundError: There is no such run, or no such update.
            EngineClosedError: The engine was closed meanwhile.
        """
        ended: _Ended = await self._shell.ask(lambda tick, caller: self._join(tick, ref, update_id, caller))
        assert not isinstance(ended, Closed)
        return ended

    def _wait(self, key: _Key) -> asyncio.Future[_Ended]:
        future = self._shell.promise()
        self._admit(key, future)
        return future

    def _admit(self, key: _Key, future: asyncio.Future[_Ended]) -> None:
        self._futures.setdefault(key, {})[future] = None
        future.add_done_callback(lambda _: self._dismiss(key, future))

    def _dismiss(self, key: _Key, future: asyncio.Future[_Ended]) -> None:
        """Who waits no more is forgotten: a caller may ask again and again, with a time limit of its own."""
        waiting = self._futures.get(key)
        if waiting is not None and waiting.pop(future, ...) is None and not waiting:
            del self._futures[key]

    def _join(self, tick: Tick, ref: WorkflowRef, update_id: str, caller: Caller) -> None:
        """Answer at once what has happened already; wait for the rest."""
        assert isinstance(caller, asyncio.Future)
        found = self._shell.calls.find(tick, ref)
        if update_id:
            run = found if isinstance(found, Run) else self._shell.runs.load(found, tick.now)
            if update_id in run.outcomes:
                tick.answer(caller, self._outcome(run, update_id))
                return
            if update_id not in run.updates and not (run.is_open and self._shell.tasks.has_updates(run)):
                raise NotFoundError(
                    f"workflow {found.workflow_id} (run {found.run_id}) has no update {update_id!r} that was accepted"
                )
        if found.status:
            tick.answer(caller, None if update_id else self._ended(found))
            return
        key = (found.key, update_id)
        self._admit(key, caller)
        if found.holder != self._shell.process_id:
            tick.watches.append(key)

    def watch(self, tick: Tick, key: int) -> None:
        """A run is about to be held elsewhere: have its news sent."""
        tick.watches += [waited for waited in self._futures if waited[0] == key]

    def watch_all(self, tick: Tick, workflow_type: str, task_queue: str) -> None:
        """Runs of this kind are about to be held elsewhere: have their news sent."""
        for key, update_id in self._futures:
            row = self._shell.records.run(key)
            if row is not None and (row.workflow_type, row.task_queue) == (workflow_type, task_queue):
                tick.watches.append((key, update_id))

    # -- what happens

    def write(self, tick: Tick) -> None:
        """Record who watches, and tell other processes what they watch; within the transaction."""
        shell = self._shell
        if shell.processes is None:
            return
        if tick.watches:
            self._watches = True
            shell.store.execute_many(
                "INSERT OR IGNORE INTO watch (run_key, update_id, process) VALUES (?, ?, ?)",
                [(*key, shell.process_id) for key in tick.watches],
            )
        if not (self._watches or shell.serving.has_peers):
            return
        rows = list[tuple[int, str, int]]()
        for run in tick.closed:
            rows += shell.store.select(
                "DELETE FROM watch WHERE run_key = ? RETURNING run_key, update_id, process", (run.key,)
            )
        for run, update_id in tick.outcomes:
            rows += shell.store.select(
                "DELETE FROM watch WHERE run_key = ? AND update_id = ? RETURNING run_key, update_id, process",
                (run.key, update_id),
            )
        for run_key, update_id, process in rows:
            if process != shell.process_id:
                tick.notify(process, Happened(run_key, update_id))

    def release(self, tick: Tick) -> None:
        """Tell who waits here; after the commit."""
        if not self._futures:
            return
        for run, update_id in tick.outcomes:
            futures = self._futures.pop((run.key, update_id), ())
            if futures:
                self._resolve(futures, self._outcome(run, update_id))
        for run in tick.closed:
            self._resolve(self._futures.pop((run.key, ""), ()), self._ended(run))
            for update_id in run.updates:
                self._resolve(self._futures.pop((run.key, update_id), ()), None)
        for run_key, update_id in tick.happened:
            self._resolve_from_disk(run_key, update_id)

    def _resolve_from_disk(self, run_key: int, update_id: str) -> None:
        futures = self._futures.pop((run_key, update_id), ())
        row = self._shell.records.run(run_key)
        if row is None:
            error = NotFoundError("the workflow was deleted while its outcome was awaited")
            self._refuse(futures, error)
        elif update_id:
            run = self._shell.runs.load(row, self._shell.clock.now())
            self._resolve(futures, self._outcome(run, update_id) if update_id in run.outcomes else None)
        else:
            self._resolve(futures, self._ended(row))
        if not update_id:
            # Of its updates the process that closed it knows only those that were watched: not those of who held it.
            for key in [key for key in self._futures if key[0] == run_key]:
                self._resolve_from_disk(*key)

    def _ended(self, run: Run | RunRow) -> Closed:
        event = run.close_event if isinstance(run, Run) else None
        if event is None:
            event = self._shell.records.event(run.key, run.last_event_id).attributes
        return Closed(run.workflow_id, run.run_id, event)

    def _outcome(self, run: Run, update_id: str) -> WorkflowExecutionUpdateCompleted:
        event_id = run.outcomes[update_id]
        # Not written yet when the same tick brought it about.
        events = [event for event in run.new_events if event.event_id == event_id]
        outcome = (events[0] if events else self._shell.records.event(run.key, event_id)).attributes
        assert isinstance(outcome, WorkflowExecutionUpdateCompleted)
        return outcome

    def _resolve(self, futures: Iterable[asyncio.Future[_Ended]], ended: _Ended) -> None:
        for future in futures:
            if not future.done():
                future.set_result(ended)

    def _refuse(self, futures: Iterable[asyncio.Future[_Ended]], error: ProtopactError) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(error)
