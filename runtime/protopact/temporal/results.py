"""Results of runs: what they returned, or why they did not."""

from __future__ import annotations

from typing import TypeVar

from temporalio.api.history.v1 import HistoryEvent

from protopact import contract
from protopact.engine import WorkflowRef
from protopact.errors import (
    FailureError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name; it is the builtin too
    TimeoutType,
    WorkflowContinuedAsNewError,
    WorkflowFailedError,
)
from protopact.history.failure import CanceledFailureInfo, Failure
from protopact.temporal.failures import failure_to_proto
from protopact.temporal.payloads import from_protos
from protopact.temporal.runs import successor_of
from protopact.temporal.session import Session

__all__ = ["result"]

Resp = TypeVar("Resp")


async def result(session: Session, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool) -> Resp:
    """Wait until a run has closed, and give what it returned; see `Engine.workflow_result`."""
    workflow_id, run_id = ref.workflow_id, ref.run_id
    if run_id is None:
        run_id = (await session.runs.describe(ref)).run_id
    while True:
        event = await session.runs.close_event(workflow_id, run_id)
        successor = successor_of(event)
        if not (successor and follow_runs):
            break
        run_id = successor
    continued = event.workflow_execution_continued_as_new_event_attributes
    if successor and not continued.HasField("failure"):
        raise WorkflowContinuedAsNewError(
            f"workflow {workflow_id} (run {run_id}) went on as run {successor}", new_run_id=successor
        )
    if event.HasField("workflow_execution_completed_event_attributes"):
        returned = event.workflow_execution_completed_event_attributes.result
        payloads = await session.decoded(workflow_id, returned.payloads)
        return session.converter.from_payloads(response, payloads, where=f"response of workflow {workflow_id}")
    cause, verb = await _end(session, workflow_id, event)
    raise WorkflowFailedError(
        f"workflow {workflow_id} (run {run_id}) {verb}: {cause.message}", workflow_id=workflow_id, run_id=run_id
    ) from cause


async def _end(session: Session, workflow_id: str, event: HistoryEvent) -> tuple[FailureError, str]:
    match event.WhichOneof("attributes"):
        case "workflow_execution_continued_as_new_event_attributes":  # so the server words a failure that is retried
            failure = event.workflow_execution_continued_as_new_event_attributes.failure
            return await session.failure(workflow_id, failure), "failed"
        case "workflow_execution_failed_event_attributes":
            failure = event.workflow_execution_failed_event_attributes.failure
            return await session.failure(workflow_id, failure), "failed"
        case "workflow_execution_canceled_event_attributes":
            details = from_protos(event.workflow_execution_canceled_event_attributes.details.payloads)
            cancelled = Failure(message="Workflow cancelled", info=CanceledFailureInfo(details=details))
            return await session.failure(workflow_id, failure_to_proto(cancelled)), "was cancelled"
        case "workflow_execution_terminated_event_attributes":
            reason = event.workflow_execution_terminated_event_attributes.reason
            return TerminatedError(reason or "Workflow terminated"), "was terminated"
        case "workflow_execution_timed_out_event_attributes":
            return TimeoutError("Workflow timed out", type=TimeoutType.START_TO_CLOSE), "timed out"
        case name:
            return FailureError(f"it ended with {name}"), "failed"
