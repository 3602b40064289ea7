"""Resets: a new run goes on from the middle of another one's history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from protopact.embedded.records import RunRow
from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Tick
from protopact.engine import ResetWorkflow, WorkflowRef
from protopact.errors import NotFoundError, OptionError
from protopact.history.event import (
    Event,
    UpdateRequest,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from protopact.history.failure import Failure, ResetWorkflowFailureInfo
from protopact.replay.child import ChildEnd

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["RESETTER", "Resets"]

RESETTER = "history-resetter"
"""Who terminates a run that is reset, as the server says it: its parent is not told, and waits for the new run."""


class Resets:
    """The shell's desk for resets."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def reset(self, tick: Tick, caller: Caller, call: ResetWorkflow) -> None:
        """Begin a run with the history of another one up to a workflow task; answers its run id.

        Raises:
            NotFoundError: There is no such run.
            OptionError: It cannot be reset to that event.
        """
        shell, reason = self._shell, call.reason or f"reset to event {call.event_id}"
        base = shell.calls.find(tick, call.ref)
        kept = _kept(base, shell.calls.history_of(tick, base), call.event_id)
        latest = shell.calls.find(tick, WorkflowRef(base.workflow_id))
        if latest.status == 0:
            run = latest if isinstance(latest, Run) else shell.runs.load(latest, tick.now)
            if run.key == base.key:
                run.children.clear()  # they go on, whatever their parent's end should do to them
            shell.calls.terminate_run(tick, run, WorkflowExecutionTerminated(reason=reason, identity=RESETTER))
        received = list(self._received_after(tick, base, len(kept)))
        started, task = kept[0].attributes, kept[-1].attributes
        assert isinstance(started, WorkflowExecutionStarted)
        assert isinstance(task, WorkflowTaskStarted)
        run_id = shell.ids.run_id(tick.now)
        run = shell.create_run(tick, started, request_id=base.start_request_id, run_id=run_id, at=kept[0].event_time)
        for event in kept[1:]:
            run.append(event.attributes, event.event_time)
        run.append(
            WorkflowTaskFailed(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=len(kept),
                cause="RESET_WORKFLOW",
                failure=Failure(message=reason, info=ResetWorkflowFailureInfo()),
                identity=shell.identity,
                base_run_id=base.run_id,
                new_run_id=run_id,
            ),
            tick.now,
        )
        for attributes in received:
            if not isinstance(attributes, ChildEnd) or attributes.initiated_event_id in run.children:
                run.append(attributes, tick.now)
        shell.relations.catch_up(tick, run)
        for activity in run.activities.values():
            run.plan_activity(activity, tick.now)
            shell.dispatch.offer(tick, run, activity)
        tick.answer(caller, run_id)

    def _received_after(
        self, tick: Tick, base: Run | RunRow, event_id: int
    ) -> Iterator[WorkflowExecutionSignaled | WorkflowExecutionUpdateAdmitted | ChildEnd]:
        """What a run was told after an event, and the runs that went on from it, to be told again.

        As on the server (`reapplyEvents` in its `workflow_resetter.go`), it is signals, updates and ends of children,
        and no request to cancel.
        """
        found, after = base, event_id
        while True:
            history = self._shell.calls.history_of(tick, found)
            for event in history[after:]:
                match event.attributes:
                    case WorkflowExecutionSignaled() | WorkflowExecutionUpdateAdmitted():
                        yield event.attributes
                    case WorkflowExecutionUpdateAccepted(accepted_request=UpdateRequest() as request):
                        yield WorkflowExecutionUpdateAdmitted(request=request, origin="REAPPLY")
                    case attributes if isinstance(attributes, ChildEnd) and found is base:
                        yield attributes
                    case _:
                        pass
            following = getattr(history[-1].attributes, "new_execution_run_id", "")
            if not following:
                return
            try:
                found = self._shell.calls.find(tick, WorkflowRef(base.workflow_id, following))
            except NotFoundError:
                return  # its retention is over
            after = 0


def _kept(base: Run | RunRow, history: Sequence[Event], event_id: int) -> Sequence[Event]:
    """The events that the new run keeps: the last one starts the task that it does again."""
    where = f"reset of workflow {base.workflow_id!r} (run {base.run_id}) to event {event_id}"
    attributes = history[event_id - 1].attributes if 0 < event_id <= len(history) else None
    match attributes:
        case WorkflowTaskStarted():
            last = event_id
        case WorkflowTaskCompleted() | WorkflowTaskFailed() | WorkflowTaskTimedOut() if attributes.started_event_id:
            last = attributes.started_event_id
        case _:
            tasks = [str(e.event_id) for e in history if isinstance(e.attributes, WorkflowTaskCompleted)]
            found = "there is no such event" if attributes is None else f"it is a {type(attributes).__name__}"
            raise OptionError(
                f"{where}: {found}; expected one that starts or ends a workflow task. The completed tasks of the "
                f"run are events {', '.join(tasks) or 'none'}"
            )
    return history[:last]
