"""What a workflow asks of its engine: commands, and the answers to updates and queries that came with the task.

Names and fields follow `temporal.api.command.v1`; times are nanoseconds. Payloads are encoded by the converter; a chain
of payload codecs is applied by the shell after commands leave the core.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from protopact.history.event import Priority, RetryPolicy, UpdateRequest
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = [
    "AcceptUpdate",
    "CancelTimer",
    "CancelWorkflowExecution",
    "Command",
    "CompleteUpdate",
    "CompleteWorkflowExecution",
    "ContinueAsNewWorkflowExecution",
    "FailWorkflowExecution",
    "LocalActivityOutcome",
    "ModifyWorkflowProperties",
    "RecordMarker",
    "RejectUpdate",
    "RequestCancelActivityTask",
    "RequestCancelExternalWorkflowExecution",
    "ScheduleActivityTask",
    "ScheduleLocalActivity",
    "SignalExternalWorkflowExecution",
    "StartChildWorkflowExecution",
    "StartTimer",
    "UpsertSearchAttributes",
]


class ScheduleActivityTask(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `ActivityTaskScheduled`."""

    activity_id: str
    activity_type: str
    task_queue: str
    header: Headers = {}
    input: Payloads = ()
    schedule_to_close_timeout: Duration = Duration(0)
    schedule_to_start_timeout: Duration = Duration(0)
    start_to_close_timeout: Duration = Duration(0)
    heartbeat_timeout: Duration = Duration(0)
    retry_policy: RetryPolicy | None = None
    priority: Priority | None = None


class RequestCancelActivityTask(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `ActivityTaskCancelRequested`."""

    scheduled_event_id: int


class StartTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `TimerStarted`."""

    timer_id: str
    start_to_fire_timeout: Duration


class CancelTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `TimerCanceled`."""

    timer_id: str
    started_event_id: int


class CompleteWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionCompleted`."""

    result: Payloads = ()


class FailWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionFailed`."""

    failure: Failure


class CancelWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionCanceled`."""

    details: Payloads = ()


class ContinueAsNewWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionContinuedAsNew`; the next run begins in the same commit."""

    workflow_type: str
    task_queue: str
    input: Payloads = ()
    workflow_run_timeout: Duration = Duration(0)
    workflow_task_timeout: Duration = Duration(0)
    backoff_start_interval: Duration = Duration(0)
    retry_policy: RetryPolicy | None = None
    header: Headers = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class RecordMarker(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `MarkerRecorded`."""

    marker_name: str
    details: dict[str, Payloads] = {}
    header: Headers = {}
    failure: Failure | None = None


class UpsertSearchAttributes(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `UpsertWorkflowSearchAttributes`."""

    search_attributes: dict[str, Payload]


class ModifyWorkflowProperties(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowPropertiesModified`."""

    upserted_memo: dict[str, Payload]


class StartChildWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `StartChildWorkflowExecutionInitiated`. Policies are spelt as in protobuf without their prefix."""

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    input: Payloads = ()
    workflow_execution_timeout: Duration = Duration(0)
    workflow_run_timeout: Duration = Duration(0)
    workflow_task_timeout: Duration = Duration(0)
    parent_close_policy: str = ""
    workflow_id_reuse_policy: str = ""
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    header: Headers = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: Priority | None = None


class SignalExternalWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `SignalExternalWorkflowExecutionInitiated`."""

    namespace: str
    workflow_id: str
    run_id: str
    signal_name: str
    input: Payloads = ()
    child_workflow_only: bool = False
    header: Headers = {}


class RequestCancelExternalWorkflowExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `RequestCancelExternalWorkflowExecutionInitiated`."""

    namespace: str
    workflow_id: str
    run_id: str
    child_workflow_only: bool = False
    reason: str = ""


class ScheduleLocalActivity(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for a local activity to be run now, while the task is open: no command, for history does not hear of it.

    Attributes:
        seq: Number of the call within its run; the outcome names it.
        activity_id: Its id within the run.
        activity_type: Its registered name.
        attempt: Number of its first attempt here: above 1 when a timer has stood between the last one and this.
        original_schedule_time: When its first attempt was scheduled; the schedule-to-close time-out counts from there.
        header: Its headers.
        input: Its encoded request.
        schedule_to_close_timeout: 0 is none, as for the other time-outs.
        schedule_to_start_timeout: Longest wait for a slot.
        start_to_close_timeout: Limit of one attempt.
        retry_policy: How it is retried.
        local_retry_threshold: Longest wait between two attempts that the task stays open for.
        function: What to run in place of a registered activity; its result is details.
    """

    seq: int
    activity_id: str
    activity_type: str
    attempt: int
    original_schedule_time: Timestamp
    header: Headers
    input: Payloads
    schedule_to_close_timeout: Duration
    schedule_to_start_timeout: Duration
    start_to_close_timeout: Duration
    retry_policy: RetryPolicy
    local_retry_threshold: Duration
    function: Callable[[], Awaitable[Sequence[object]]] | None = None


class LocalActivityOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a local activity.

    Attributes:
        seq: Number of the call.
        attempt: Number of the last attempt.
        runtime: How long it took; workflow time goes on by it.
        result: Its encoded result, if it has one.
        failure: Why it failed, timed out or was cancelled; None when it returned.
        backoff: Wait before the next attempt, when it is too long for a task to stay open; None when none is to come.
    """

    seq: int
    attempt: int
    runtime: Duration = Duration(0)
    result: Payloads = ()
    failure: Failure | None = None
    backoff: Duration | None = None


class AcceptUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionUpdateAccepted`. Its place among the commands is its place in history."""

    request: UpdateRequest
    sequencing_event_id: int


class CompleteUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes `WorkflowExecutionUpdateCompleted`: with `success`, or with `failure`.

    Attributes:
        update_id: Id of the update.
        accepted_event_id: Event that accepted it; 0 when `AcceptUpdate` stands among the same commands.
        success: Its encoded result.
        failure: Why it failed.
    """

    update_id: str
    accepted_event_id: int
    success: Payloads = ()
    failure: Failure | None = None


class RejectUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Answers an update that its validator refused, or that nobody handles. Leaves no history."""

    update_id: str
    failure: Failure


Command: TypeAlias = (
    ScheduleActivityTask
    | RequestCancelActivityTask
    | StartTimer
    | CancelTimer
    | CompleteWorkflowExecution
    | FailWorkflowExecution
    | CancelWorkflowExecution
    | ContinueAsNewWorkflowExecution
    | RecordMarker
    | UpsertSearchAttributes
    | ModifyWorkflowProperties
    | StartChildWorkflowExecution
    | SignalExternalWorkflowExecution
    | RequestCancelExternalWorkflowExecution
    | AcceptUpdate
    | CompleteUpdate
    | RejectUpdate
)
