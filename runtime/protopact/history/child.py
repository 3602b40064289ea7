"""Events of child workflows, as plain data: what a parent's history holds of its children. See `history.event`."""

from __future__ import annotations

import msgspec

from protopact.history.failure import Failure
from protopact.history.policy import Priority, RetryPolicy
from protopact.history.time import Duration
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = [
    "ChildWorkflowExecutionCanceled",
    "ChildWorkflowExecutionCompleted",
    "ChildWorkflowExecutionFailed",
    "ChildWorkflowExecutionStarted",
    "ChildWorkflowExecutionTerminated",
    "ChildWorkflowExecutionTimedOut",
    "StartChildWorkflowExecutionFailed",
    "StartChildWorkflowExecutionInitiated",
]


class StartChildWorkflowExecutionInitiated(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The workflow asked for a child."""

    namespace: str = ""
    workflow_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    workflow_execution_timeout: Duration = Duration(0)
    workflow_run_timeout: Duration = Duration(0)
    workflow_task_timeout: Duration = Duration(0)
    parent_close_policy: str = ""
    workflow_task_completed_event_id: int = 0
    workflow_id_reuse_policy: str = ""
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    header: Headers = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: Priority | None = None


class StartChildWorkflowExecutionFailed(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The child could not be started. `cause` is spelt without its prefix: `WORKFLOW_ALREADY_EXISTS`."""

    namespace: str = ""
    workflow_id: str = ""
    workflow_type: str = ""
    cause: str = ""
    initiated_event_id: int = 0
    workflow_task_completed_event_id: int = 0


class ChildWorkflowExecutionStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The child began."""

    namespace: str = ""
    initiated_event_id: int = 0
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    header: Headers = {}


class ChildWorkflowExecutionCompleted(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The child returned."""

    result: Payloads = ()
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0


class ChildWorkflowExecutionFailed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The child failed."""

    failure: Failure | None = None
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
    retry_state: str = ""


class ChildWorkflowExecutionCanceled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The child ended as a cancellation asked."""

    details: Payloads = ()
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0


class ChildWorkflowExecutionTimedOut(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True):
    """The child passed its run or execution time-out."""

    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
    retry_state: str = ""


class ChildWorkflowExecutionTerminated(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The child was terminated."""

    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
