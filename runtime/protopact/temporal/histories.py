"""Histories out of a server, as events of ours."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import History as HistoryProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import WorkflowExecutionDescription

from protopact.history import History
from protopact.temporal.failures import failure_from_proto
from protopact.temporal.refusals import refusing
from protopact.temporal.session import Session

__all__ = ["fetch", "task_failure"]

_PAGE = 10
_TOO_LARGE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE


async def fetch(session: Session, run: WorkflowExecutionDescription) -> History:
    """The history of a run, payloads as the server holds them.

    Raises:
        NotFoundError: There is no such run any more.
        HistoryError: It holds an event that matters and that this version does not know.
    """
    handle = session.calls.get_workflow_handle(run.id, run_id=run.run_id)
    with refusing(f"history of workflow {run.id!r}", session.client):
        events = [event async for event in handle.fetch_history_events()]
    text = MessageToJson(HistoryProto(events=events), indent=None)
    return History.from_json(text, workflow_id=run.id, run_id=run.run_id)


async def task_failure(session: Session, run: WorkflowExecutionDescription) -> str | None:
    """Why the workflow task of a run fails again and again, in a line; None when it does not.

    Of several failed attempts the server records the first.
    """
    raw, client, token = run.raw_description, session.client, b""
    if not raw.HasField("pending_workflow_task") or raw.pending_workflow_task.attempt < 2:  # noqa: PLR2004 - the first
        return None
    while True:
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=raw.workflow_execution_info.execution,
            maximum_page_size=_PAGE,
            next_page_token=token,
        )
        with refusing(f"history of workflow {run.id!r}", client):
            page = await client.workflow_service.get_workflow_execution_history_reverse(request, retry=True)
        for event in page.history.events:
            if event.event_type in _ENDS_OF_TASKS:
                return await _words(session, run.id, event)
        token = page.next_page_token
        if not token:
            return None


_ENDS_OF_TASKS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    }
)


async def _words(session: Session, workflow_id: str, event: HistoryEvent) -> str | None:
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
        return None
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
        return "the workflow task timed out: the worker that had it has died, or code blocks it"
    written = event.workflow_task_failed_event_attributes.failure
    failure = await session.codecs(workflow_id).decode_failure(failure_from_proto(written))
    if event.workflow_task_failed_event_attributes.cause == _TOO_LARGE:
        return (
            "GrpcMessageTooLarge: what the workflow asks for in one task takes more than the server reads in one call, "
            "which is 4 MiB by default. Ask for less at once, or put large data into a store of its own"
        )
    kind = written.application_failure_info.type
    return f"{kind}: {failure.message}" if kind else failure.message
