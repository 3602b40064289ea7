"""Commands of workflow tasks: each becomes an event, and whatever else it brings about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from protopact.embedded.tick import Refusal, Tick
from protopact.errors import UpdateFailedError
from protopact.failure import writable
from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    MarkerRecorded,
    TimerCanceled,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowPropertiesModified,
)
from protopact.replay.command import (
    AcceptUpdate,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    RecordMarker,
    RejectUpdate,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
    StartTimer,
    UpsertSearchAttributes,
)
from protopact.replay.defaults import fill_activity

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.tasks import Task

__all__ = ["Commands", "unwritable_command"]


class Commands:
    """The shell's desk for what workflow code asks for.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._handlers: dict[type[Command], Callable[[Tick, Task, Any], None]] = {  # each takes its own command type
            ScheduleActivityTask: self._schedule_activity,
            RequestCancelActivityTask: self._request_cancel_activity,
            StartTimer: self._start_timer,
            StartChildWorkflowExecution: shell.relations.start_child,
            SignalExternalWorkflowExecution: shell.relations.signal,
            RequestCancelExternalWorkflowExecution: shell.relations.request_cancel,
            CancelTimer: self._cancel_timer,
            CompleteWorkflowExecution: self._complete_workflow,
            FailWorkflowExecution: self._fail_workflow,
            CancelWorkflowExecution: self._cancel_workflow,
            RecordMarker: self._record_marker,
            UpsertSearchAttributes: self._upsert_search_attributes,
            ModifyWorkflowProperties: self._modify_properties,
            ContinueAsNewWorkflowExecution: self._continue_as_new,
            AcceptUpdate: self._accept_update,
            CompleteUpdate: self._complete_update,
            RejectUpdate: self._reject_update,
        }

    def apply(self, tick: Tick, task: Task, command: Command) -> None:
        """Append the event that a command becomes, and do what follows from it at once."""
        self._handlers[type(command)](tick, task, command)

    # -- one command each

    def _schedule_activity(self, tick: Tick, task: Task, command: ScheduleActivityTask) -> None:
        run, command = task.run, fill_activity(command, task.run.started)
        event = run.append(
            ActivityTaskScheduled(
                activity_id=command.activity_id,
                activity_type=command.activity_type,
                task_queue=command.task_queue,
                header=command.header,
                input=command.input,
                schedule_to_close_timeout=command.schedule_to_close_timeout,
                schedule_to_start_timeout=command.schedule_to_start_timeout,
                start_to_close_timeout=command.start_to_close_timeout,
                heartbeat_timeout=command.heartbeat_timeout,
                workflow_task_completed_event_id=task.completed_event_id,
                retry_policy=command.retry_policy,
                priority=command.priority,
            ),
            tick.now,
        )
        activity = run.activities[event.event_id]
        run.plan_activity(activity, tick.now)
        self._shell.dispatch.offer(tick, run, activity)

    def _request_cancel_activity(self, tick: Tick, task: Task, command: RequestCancelActivityTask) -> None:
        run = task.run
        run.append(
            ActivityTaskCancelRequested(
                scheduled_event_id=command.scheduled_event_id,
                workflow_task_completed_event_id=task.completed_event_id,
            ),
            tick.now,
        )
        activity = run.activities.get(command.scheduled_event_id)
        if activity is not None:
            run.changed_activities[activity.scheduled_event_id] = None
            waiting = self._shell.dispatch.request_cancel(tick, run, activity)
            if waiting is not None:
                task.waiting_cancelled.append(waiting)

    def _start_timer(self, tick: Tick, task: Task, command: StartTimer) -> None:
        task.run.append(
            TimerStarted(
                timer_id=command.timer_id,
                start_to_fire_timeout=command.start_to_fire_timeout,
                workflow_task_completed_event_id=task.completed_event_id,
            ),
            tick.now,
        )

    def _cancel_timer(self, tick: Tick, task: Task, command: CancelTimer) -> None:
        task.run.append(
            TimerCanceled(
                timer_id=command.timer_id,
                started_event_id=command.started_event_id,
                workflow_task_completed_event_id=task.completed_event_id,
                identity=task.worker.identity,
            ),
            tick.now,
        )

    def _record_marker(self, tick: Tick, task: Task, command: RecordMarker) -> None:
        task.run.append(
            MarkerRecorded(
                marker_name=command.marker_name,
                details=command.details,
                workflow_task_completed_event_id=task.completed_event_id,
                header=command.header,
                failure=command.failure,
            ),
            tick.now,
        )

    def _upsert_search_attributes(self, tick: Tick, task: Task, command: UpsertSearchAttributes) -> None:
        task.run.append(
            UpsertWorkflowSearchAttributes(
                workflow_task_completed_event_id=task.completed_event_id, search_attributes=command.search_attributes
            ),
            tick.now,
        )

    def _modify_properties(self, tick: Tick, task: Task, command: ModifyWorkflowProperties) -> None:
        task.run.append(
            WorkflowPropertiesModified(
                workflow_task_completed_event_id=task.completed_event_id, upserted_memo=command.upserted_memo
            ),
            tick.now,
        )

    def _complete_workflow(self, tick: Tick, task: Task, command: CompleteWorkflowExecution) -> None:
        self._shell.close_run(
            tick,
            task.run,
            WorkflowExecutionCompleted(result=command.result, workflow_task_completed_event_id=task.completed_event_id),
        )

    def _cancel_workflow(self, tick: Tick, task: Task, command: CancelWorkflowExecution) -> None:
        self._shell.close_run(
            tick,
            task.run,
            WorkflowExecutionCanceled(
                details=command.details, workflow_task_completed_event_id=task.completed_event_id
            ),
        )

    def _fail_workflow(self, tick: Tick, task: Task, command: FailWorkflowExecution) -> None:
        close = partial(
            WorkflowExecutionFailed,
            failure=command.failure,
            workflow_task_completed_event_id=task.completed_event_id,
        )
        self._shell.chains.close_or_retry(tick, task.run, command.failure, close)

    def _continue_as_new(self, tick: Tick, task: Task, command: ContinueAsNewWorkflowExecution) -> None:
        self._shell.chains.continue_as_new(tick, task.run, command, task.completed_event_id)

    def _accept_update(self, tick: Tick, task: Task, command: AcceptUpdate) -> None:
        request = command.request
        task.run.append(
            WorkflowExecutionUpdateAccepted(
                protocol_instance_id=request.update_id,
                accepted_request_message_id=f"{request.update_id}/request",
                accepted_request_sequencing_event_id=command.sequencing_event_id,
                accepted_request=None if request.update_id in task.admitted else request,
            ),
            tick.now,
        )
        update = task.updates.pop(request.update_id, None)
        if update is not None:
            for caller in update.callers:
                tick.answer(caller, task.run.run_id)

    def _complete_update(self, tick: Tick, task: Task, command: CompleteUpdate) -> None:
        run = task.run
        run.append(
            WorkflowExecutionUpdateCompleted(
                update_id=command.update_id,
                accepted_event_id=command.accepted_event_id or run.updates[command.update_id],
                success=command.success,
                failure=command.failure,
            ),
            tick.now,
        )
        tick.outcomes.append((run, command.update_id))

    def _reject_update(self, tick: Tick, task: Task, command: RejectUpdate) -> None:
        update = task.updates.pop(command.update_id, None)
        if update is None:
            return
        refusal = Refusal(
            UpdateFailedError,
            f"update {update.request.name} of workflow {task.run.workflow_id} was rejected: {command.failure.message}",
            command.failure,
        )
        for caller in update.callers:
            tick.refuse(caller, refusal)


def unwritable_command(commands: Sequence[Command]) -> str | None:
    """Why a command could not be written; None when all can. What all runs of a tick write is one transaction."""
    try:
        _encoder.encode_into(commands, _written)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the run's own, and stops no other
        return writable(f"what the workflow asks for cannot be written: {error}")
    return None


_encoder = msgspec.msgpack.Encoder()
_written = bytearray()
