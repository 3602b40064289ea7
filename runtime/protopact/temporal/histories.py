"""Histories out of a server, as events of ours."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History as HistoryProto
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.service import RPCError

from protopact.errors import NotFoundError
from protopact.history import History
from protopact.payload import CodecChain
from protopact.temporal.failures import failure_from_proto
from protopact.temporal.refusals import is_not_found, place, refusal

__all__ = ["fetch", "task_failure"]

_PAGE = 10


async def fetch(client: Client, workflow_id: str, run_id: str) -> History:
    """The history of a run, payloads as the server holds them.

    Raises:
        NotFoundError: There is no such run.
        HistoryError: It holds an event that matters and that this version does not know.
    """
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        events = [event async for event in handle.fetch_history_events()]
    except RPCError as error:
        if is_not_found(error):
            raise NotFoundError(f"there is no run {run_id} of workflow {workflow_id!r} in {place(client)}") from None
        raise refusal(error, f"history of workflow {workflow_id!r}", client) from None
    text = MessageToJson(HistoryProto(events=events), indent=None)
    return History.from_json(text, workflow_id=workflow_id, run_id=run_id)


async def task_failure(client: Client, workflow_id: str, run_id: str, codecs: CodecChain) -> str | None:
    """Why the last workflow task of a run failed, in a line; None when the history does not say.

    The server records the first of several failed attempts.
    """
    with_token = b""
    while True:
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace, maximum_page_size=_PAGE, next_page_token=with_token
        )
        request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
        page = await client.workflow_service.get_workflow_execution_history_reverse(request, retry=True)
        for event in page.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                return None
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                return "the workflow task timed out: the worker that had it has died, or its code blocks the worker"
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                attributes = event.workflow_task_failed_event_attributes
                failure = await codecs.decode_failure(failure_from_proto(attributes.failure))
                kind = attributes.failure.application_failure_info.type
                return f"{kind}: {failure.message}" if kind else failure.message
        with_token = page.next_page_token
        if not with_token:
            return None
