"""What a workflow asks of its engine: commands, and the answers to updates and queries that came with the task.

Names and fields follow `temporal.api.command.v1`; times are nanoseconds. Payloads are encoded by the converter; a chain
of payload codecs is applied by the shell after commands leave the core.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from protopact.history.event import RetryPolicy, UpdateRequest
from protopact.history.failure import Failure
from protopact.history.time import Duration
from protopact.payload.payload import Headers, Payloads

__all__ = [
    "AcceptUpdate",
    "CancelTimer",
    "CancelWorkflowExecution",
    "Command",
    "CompleteUpdate",
    "CompleteWorkflowExecution",
    "FailWorkflowExecution",
    "RejectUpdate",
    "RequestCancelActivityTask",
    "ScheduleActivityTask",
    "StartTimer",
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
    priority_key: int = 0


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
    | AcceptUpdate
    | CompleteUpdate
    | RejectUpdate
)
