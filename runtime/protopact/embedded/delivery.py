"""What arrives for a run: it happens to the run here, or is left for the process that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protopact.embedded import limits
from protopact.embedded.calls import closed_error
from protopact.embedded.inbox import (
    AttemptHeartbeat,
    AttemptLeft,
    CancelRequest,
    ChildClosed,
    Item,
    Query,
    Signal,
    Update,
    decode_item,
    encode,
)
from protopact.embedded.queries import PendingQuery
from protopact.embedded.records import RunRow
from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Tick
from protopact.errors import RunLimitError
from protopact.history.event import WorkflowExecutionTerminated

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Delivery"]


class Delivery:
    """The shell's desk for what arrives for runs."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def apply(self, tick: Tick, run: Run, item: Item, caller: Caller) -> None:  # noqa: C901 - one kind after the other
        """Let something happen to a run that this process holds, or that is closed."""
        if run.locked:
            self._shell.coding.defer(tick, run, item, caller)
            return
        tick.touch(run)
        tick.stirred.append(run)
        self.end_if_too_long(tick, run)
        match item:
            case Query():
                tick.queries.append(PendingQuery(run, item.request, caller))
            case Update(request=request) if run.has_update(request.update_id):
                tick.answer(caller, run.run_id)
            case _ if not run.is_open:
                self._apply_late(tick, run, item, caller)
            case Signal(signal=signal):
                if not run.has_signal(signal.request_id):
                    run.append(signal, tick.now)
                tick.answer(caller)
            case CancelRequest(request=request):
                if not run.cancel_requested:
                    run.append(request, tick.now)
                tick.answer(caller)
            case Update():
                self._admit(tick, run, item, caller)
            case ChildClosed():
                self._shell.relations.child_closed(tick, run, item)
            case AttemptLeft() | AttemptHeartbeat():
                self._shell.dispatch.note(tick, run, item)
            case _:
                self._shell.dispatch.outcome(tick, run, item)

    def end_if_too_long(self, tick: Tick, run: Run) -> None:
        """Terminate a run whose history is too long, as the server does."""
        if run.is_open and (reason := limits.overlong(run)) is not None:
            self._shell.close_run(tick, run, WorkflowExecutionTerminated(reason=reason, identity=self._shell.identity))

    def _admit(self, tick: Tick, run: Run, item: Update, caller: Caller) -> None:
        tasks = self._shell.tasks
        if tasks.update_count(run, item.request.update_id) < limits.MOST_UPDATES:
            tasks.add_update(run.key, item, caller)
            return
        limit = f"limit on the total number of distinct updates has been reached ({limits.MOST_UPDATES})"
        tick.refuse(caller, RunLimitError(f"update {item.request.name} of workflow {run.workflow_id}: {limit}"))

    def _apply_late(self, tick: Tick, run: Run, item: Item, caller: Caller) -> None:
        """As on the server, an update goes on to the run that goes on; all else is refused."""
        following = getattr(run.close_event, "new_execution_run_id", "")
        found = self._shell.calls.with_run_id(tick, following) if following else None
        if found is not None and isinstance(item, Update) and not item.is_pinned:
            self._shell.calls.deliver(tick, found, item, caller)
        else:
            tick.refuse(caller, closed_error(run))

    def post(self, tick: Tick, row: RunRow | Run, item: Item, caller: tuple[int, int] | None) -> None:
        """Leave something for a run that this process does not hold, and wake who does, or who may take it."""
        self.put(row.key, item, caller)
        if row.holder is not None and row.holder != self._shell.process_id:
            tick.wake.add(row.holder)
            return
        tick.wake.update(self._shell.serving.workflow_elsewhere(row.workflow_type, row.task_queue))
        if row.status == 0:
            self._shell.store.execute("UPDATE run SET wake_at = 0 WHERE key = ?", (row.key,))
            # Nobody has held it until now, and it may be served here as well.
            self._shell.matching.wanted = True

    def put(self, key: int, item: Item, caller: tuple[int, int] | None) -> None:
        """Put something into the inbox of a run."""
        process, call = (None, None) if caller is None else caller
        self._shell.store.execute(
            "INSERT INTO inbox (run_key, item, process, call) VALUES (?, ?, ?, ?)", (key, encode(item), process, call)
        )

    def pass_on_updates(self, tick: Tick, run: Run) -> None:
        """Hand the updates that a closed run was not told of to the run that goes on, or refuse them."""
        for update in self._shell.tasks.take_updates(tick, run.key):
            for caller in update.callers:
                self._apply_late(tick, run, update.item, caller)

    def take(self, tick: Tick, key: int) -> list[tuple[Item, Caller]]:
        """Take what waits for a run."""
        rows = self._shell.store.select(
            "SELECT id, item, process, call FROM inbox WHERE run_key = ? ORDER BY id", (key,)
        )
        new = [row for row in rows if row[0] not in tick.taken]
        tick.taken.update(row[0] for row in new)
        return [(decode_item(item), self._shell.calls.local(process, call)) for _, item, process, call in new]
