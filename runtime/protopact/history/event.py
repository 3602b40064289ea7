"""The event model: Temporal's history (`temporal.api.history.v1`) as plain data.

Field names are those of the protobuf messages; enums are spelt as in protobuf without their prefix (`ALLOW_DUPLICATE`);
times and durations are nanoseconds. An attributes class stands for its event type: `EVENT_TYPE_TIMER_STARTED` is
`TimerStarted`. A field that is absent has its default, as in protobuf. The garbage collector passes over the structs:
they are frozen, cannot hold each other in a circle, and a history has many of them.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from protopact.history.child import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
)
from protopact.history.external import (
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
)
from protopact.history.failure import Failure
from protopact.history.policy import Priority, RetryPolicy
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = [
    "ActivityTaskCancelRequested",
    "ActivityTaskCanceled",
    "ActivityTaskCompleted",
    "ActivityTaskFailed",
    "ActivityTaskScheduled",
    "ActivityTaskStarted",
    "ActivityTaskTimedOut",
    "Attributes",
    "ChildWorkflowExecutionCanceled",
    "ChildWorkflowExecutionCompleted",
    "ChildWorkflowExecutionFailed",
    "ChildWorkflowExecutionStarted",
    "ChildWorkflowExecutionTerminated",
    "ChildWorkflowExecutionTimedOut",
    "Event",
    "ExternalWorkflowExecutionCancelRequested",
    "ExternalWorkflowExecutionSignaled",
    "Ignorable",
    "MarkerRecorded",
    "Priority",
    "RequestCancelExternalWorkflowExecutionFailed",
    "RequestCancelExternalWorkflowExecutionInitiated",
    "RetryPolicy",
    "SignalExternalWorkflowExecutionFailed",
    "SignalExternalWorkflowExecutionInitiated",
    "StartChildWorkflowExecutionFailed",
    "StartChildWorkflowExecutionInitiated",
    "TimerCanceled",
    "TimerFired",
    "TimerStarted",
    "UpdateRequest",
    "UpsertWorkflowSearchAttributes",
    "UserMetadata",
    "WorkflowExecutionCancelRequested",
    "WorkflowExecutionCanceled",
    "WorkflowExecutionCompleted",
    "WorkflowExecutionContinuedAsNew",
    "WorkflowExecutionFailed",
    "WorkflowExecutionSignaled",
    "WorkflowExecutionStarted",
    "WorkflowExecutionTerminated",
    "WorkflowExecutionTimedOut",
    "WorkflowExecutionUpdateAccepted",
    "WorkflowExecutionUpdateAdmitted",
    "WorkflowExecutionUpdateCompleted",
    "WorkflowPropertiesModified",
    "WorkflowTaskCompleted",
    "WorkflowTaskFailed",
    "WorkflowTaskScheduled",
    "WorkflowTaskStarted",
    "WorkflowTaskTimedOut",
]


class WorkflowExecutionStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """A run began."""

    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    workflow_execution_timeout: Duration = Duration(0)
    workflow_run_timeout: Duration = Duration(0)
    workflow_task_timeout: Duration = Duration(0)
    continued_execution_run_id: str = ""
    initiator: str = ""
    continued_failure: Failure | None = None
    last_completion_result: Payloads = ()
    original_execution_run_id: str = ""
    first_execution_run_id: str = ""
    workflow_id: str = ""
    identity: str = ""
    retry_policy: RetryPolicy | None = None
    attempt: int = 0
    workflow_execution_expiration_time: Timestamp | None = None
    cron_schedule: str = ""
    first_workflow_task_backoff: Duration = Duration(0)
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: Headers = {}
    parent_workflow_namespace: str = ""
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_initiated_event_id: int = 0
    root_workflow_id: str = ""
    root_run_id: str = ""
    priority: Priority | None = None


class WorkflowExecutionCompleted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The run returned."""

    result: Payloads = ()
    workflow_task_completed_event_id: int = 0
    new_execution_run_id: str = ""


class WorkflowExecutionFailed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The run failed."""

    failure: Failure | None = None
    retry_state: str = ""
    workflow_task_completed_event_id: int = 0
    new_execution_run_id: str = ""


class WorkflowExecutionTimedOut(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The run passed its run or execution time-out."""

    retry_state: str = ""
    new_execution_run_id: str = ""


class WorkflowExecutionCanceled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The run ended as a cancellation asked."""

    details: Payloads = ()
    workflow_task_completed_event_id: int = 0


class WorkflowExecutionContinuedAsNew(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The run ended, and another one goes on from it."""

    new_execution_run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    workflow_run_timeout: Duration = Duration(0)
    workflow_task_timeout: Duration = Duration(0)
    workflow_task_completed_event_id: int = 0
    backoff_start_interval: Duration = Duration(0)
    initiator: str = ""
    failure: Failure | None = None
    last_completion_result: Payloads = ()
    header: Headers = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class WorkflowExecutionTerminated(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The run was terminated."""

    reason: str = ""
    details: Payloads = ()
    identity: str = ""


class WorkflowExecutionSignaled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """A signal arrived."""

    signal_name: str = ""
    input: Payloads = ()
    identity: str = ""
    header: Headers = {}
    request_id: str = ""


class WorkflowExecutionCancelRequested(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """Somebody asked the run to cancel."""

    cause: str = ""
    identity: str = ""
    external_initiated_event_id: int = 0


class UpdateRequest(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """`temporal.api.update.v1.Request` with its metadata."""

    update_id: str = ""
    identity: str = ""
    name: str = ""
    args: Payloads = ()
    header: Headers = {}


class WorkflowExecutionUpdateAdmitted(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """An update reached the run before a worker saw it: a reset or another cluster brought it along."""

    request: UpdateRequest | None = None
    origin: str = ""


class WorkflowExecutionUpdateAccepted(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The workflow accepted an update."""

    protocol_instance_id: str = ""
    accepted_request_message_id: str = ""
    accepted_request_sequencing_event_id: int = 0
    accepted_request: UpdateRequest | None = None


class WorkflowExecutionUpdateCompleted(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """An accepted update completed: with `success`, or with `failure`."""

    update_id: str = ""
    accepted_event_id: int = 0
    success: Payloads = ()
    failure: Failure | None = None


class WorkflowTaskScheduled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """A workflow task waits for a worker."""

    task_queue: str = ""
    start_to_close_timeout: Duration = Duration(0)
    attempt: int = 1


class WorkflowTaskStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """A worker took the workflow task."""

    scheduled_event_id: int = 0
    identity: str = ""
    request_id: str = ""
    history_size_bytes: int = 0
    suggest_continue_as_new: bool = False


class WorkflowTaskCompleted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow task's commands were taken."""

    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    build_id: str = ""
    core_used_flags: tuple[int, ...] = ()
    lang_used_flags: tuple[int, ...] = ()
    sdk_name: str = ""
    sdk_version: str = ""
    versioning_behavior: str = ""
    deployment_name: str = ""
    deployment_build_id: str = ""


class WorkflowTaskFailed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow task failed and is tried again. `cause` is spelt without its prefix: `NON_DETERMINISTIC_ERROR`."""

    scheduled_event_id: int = 0
    started_event_id: int = 0
    cause: str = ""
    failure: Failure | None = None
    identity: str = ""
    base_run_id: str = ""
    new_run_id: str = ""
    fork_event_version: int = 0


class WorkflowTaskTimedOut(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow task passed its time-out and is tried again."""

    scheduled_event_id: int = 0
    started_event_id: int = 0
    timeout_type: str = ""


class ActivityTaskScheduled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow called an activity."""

    activity_id: str = ""
    activity_type: str = ""
    task_queue: str = ""
    header: Headers = {}
    input: Payloads = ()
    schedule_to_close_timeout: Duration = Duration(0)
    schedule_to_start_timeout: Duration = Duration(0)
    start_to_close_timeout: Duration = Duration(0)
    heartbeat_timeout: Duration = Duration(0)
    workflow_task_completed_event_id: int = 0
    retry_policy: RetryPolicy | None = None
    priority: Priority | None = None


class ActivityTaskStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The last attempt of the activity started; written when the activity ends, as Temporal does."""

    scheduled_event_id: int = 0
    identity: str = ""
    request_id: str = ""
    attempt: int = 0
    last_failure: Failure | None = None


class ActivityTaskCompleted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The activity returned."""

    result: Payloads = ()
    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""


class ActivityTaskFailed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The activity failed for good."""

    failure: Failure | None = None
    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    retry_state: str = ""


class ActivityTaskTimedOut(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The activity passed a time-out for good; the failure holds which."""

    failure: Failure | None = None
    scheduled_event_id: int = 0
    started_event_id: int = 0
    retry_state: str = ""


class ActivityTaskCancelRequested(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow asked to cancel an activity."""

    scheduled_event_id: int = 0
    workflow_task_completed_event_id: int = 0


class ActivityTaskCanceled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The activity ended as the cancellation asked."""

    details: Payloads = ()
    latest_cancel_requested_event_id: int = 0
    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""


class TimerStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow started a timer."""

    timer_id: str = ""
    start_to_fire_timeout: Duration = Duration(0)
    workflow_task_completed_event_id: int = 0


class TimerFired(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """A timer fired."""

    timer_id: str = ""
    started_event_id: int = 0


class TimerCanceled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow cancelled a timer."""

    timer_id: str = ""
    started_event_id: int = 0
    workflow_task_completed_event_id: int = 0
    identity: str = ""


class MarkerRecorded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The worker noted something: a patch, or the outcome of a local activity."""

    marker_name: str = ""
    details: dict[str, Payloads] = {}
    workflow_task_completed_event_id: int = 0
    header: Headers = {}
    failure: Failure | None = None


class UpsertWorkflowSearchAttributes(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow set search attributes."""

    workflow_task_completed_event_id: int = 0
    search_attributes: dict[str, Payload] = {}


class WorkflowPropertiesModified(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The workflow set entries of its memo."""

    workflow_task_completed_event_id: int = 0
    upserted_memo: dict[str, Payload] = {}


class Ignorable(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """An event of a type that this version does not know, and of which history says that a worker may ignore it.

    `event_type` is spelt without its prefix. Its attributes are not kept.
    """

    event_type: str


Attributes: TypeAlias = (
    WorkflowExecutionStarted
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionTimedOut
    | WorkflowExecutionCanceled
    | WorkflowExecutionContinuedAsNew
    | WorkflowExecutionTerminated
    | WorkflowExecutionSignaled
    | WorkflowExecutionCancelRequested
    | WorkflowExecutionUpdateAdmitted
    | WorkflowExecutionUpdateAccepted
    | WorkflowExecutionUpdateCompleted
    | WorkflowTaskScheduled
    | WorkflowTaskStarted
    | WorkflowTaskCompleted
    | WorkflowTaskFailed
    | WorkflowTaskTimedOut
    | ActivityTaskScheduled
    | ActivityTaskStarted
    | ActivityTaskCompleted
    | ActivityTaskFailed
    | ActivityTaskTimedOut
    | ActivityTaskCancelRequested
    | ActivityTaskCanceled
    | TimerStarted
    | TimerFired
    | TimerCanceled
    | MarkerRecorded
    | UpsertWorkflowSearchAttributes
    | WorkflowPropertiesModified
    | StartChildWorkflowExecutionInitiated
    | StartChildWorkflowExecutionFailed
    | ChildWorkflowExecutionStarted
    | ChildWorkflowExecutionCompleted
    | ChildWorkflowExecutionFailed
    | ChildWorkflowExecutionCanceled
    | ChildWorkflowExecutionTimedOut
    | ChildWorkflowExecutionTerminated
    | SignalExternalWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionSignaled
    | RequestCancelExternalWorkflowExecutionInitiated
    | RequestCancelExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionCancelRequested
    | Ignorable
)


class UserMetadata(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """`temporal.api.sdk.v1.UserMetadata`: words for people, which change nothing."""

    summary: Payload | None = None
    details: Payload | None = None


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One event of a history.

    Attributes:
        event_id: Position in the history, from 1.
        event_time: When it was written.
        attributes: What happened.
        user_metadata: What whoever caused it says about it.
    """

    event_id: int
    event_time: Timestamp
    attributes: Attributes
    user_metadata: UserMetadata | None = None
