"""Events about other workflows that a workflow signals or cancels, as plain data. See `history.event`."""

from __future__ import annotations

import msgspec

from protopact.payload.payload import Headers, Payloads

__all__ = [
    "ExternalWorkflowExecutionCancelRequested",
    "ExternalWorkflowExecutionSignaled",
    "RequestCancelExternalWorkflowExecutionFailed",
    "RequestCancelExternalWorkflowExecutionInitiated",
    "SignalExternalWorkflowExecutionFailed",
    "SignalExternalWorkflowExecutionInitiated",
]


class SignalExternalWorkflowExecutionInitiated(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The workflow asked to signal another one."""

    workflow_task_completed_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    signal_name: str = ""
    input: Payloads = ()
    child_workflow_only: bool = False
    header: Headers = {}


class SignalExternalWorkflowExecutionFailed(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The signal could not be sent. `cause` is spelt without its prefix: `EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND`."""

    cause: str = ""
    workflow_task_completed_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    initiated_event_id: int = 0


class ExternalWorkflowExecutionSignaled(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The other workflow has the signal."""

    initiated_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""


class RequestCancelExternalWorkflowExecutionInitiated(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The workflow asked to cancel another one, a child or not."""

    workflow_task_completed_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    child_workflow_only: bool = False
    reason: str = ""


class RequestCancelExternalWorkflowExecutionFailed(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The other workflow could not be asked. `cause` is spelt as in `SignalExternalWorkflowExecutionFailed`."""

    cause: str = ""
    workflow_task_completed_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    initiated_event_id: int = 0


class ExternalWorkflowExecutionCancelRequested(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True, kw_only=True
):
    """The other workflow has been asked to cancel."""

    initiated_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
