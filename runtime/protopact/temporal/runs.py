"""Which run a reference means, and how a run ended."""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError

from protopact.engine import WorkflowRef, WorkflowStatus
from protopact.errors import AlreadyClosedError, NotFoundError, ProtopactError
from protopact.temporal.refusals import is_not_found, place, refusal
from protopact.temporal.views import status_of

__all__ = ["Runs", "successor_of"]


class Runs:
    """Finds runs on a server.

    Args:
        client: A client of it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def describe(self, ref: WorkflowRef) -> WorkflowExecutionDescription:
        """What the server knows of the run that is meant.

        Raises:
            NotFoundError: There is no such run.
        """
        if ref.run_id is None and ref.first_run_id is not None:
            return await self._of_chain(ref)
        handle = self._client.get_workflow_handle(ref.workflow_id, run_id=ref.run_id)
        try:
            return await handle.describe()
        except RPCError as error:
            if is_not_found(error):
                raise self.not_found(ref) from None
            raise refusal(error, f"description of workflow {ref.workflow_id!r}", self._client) from None

    async def _of_chain(self, ref: WorkflowRef) -> WorkflowExecutionDescription:
        """The latest run of a chain, which may have lost its id to another one."""
        try:
            latest = await self.describe(WorkflowRef(ref.workflow_id))
            if latest.raw_info.first_run_id == ref.first_run_id:
                return latest
        except NotFoundError:  # the latest run was deleted; the others are still there
            pass
        run_id = ref.first_run_id
        while True:
            run = await self.describe(WorkflowRef(ref.workflow_id, run_id))
            if run.status is WorkflowExecutionStatus.RUNNING:
                return run
            run_id = successor_of(await self.close_event(run.id, run.run_id))
            if not run_id:
                return run

    async def close_event(self, workflow_id: str, run_id: str) -> HistoryEvent:
        """Wait until a run has closed.

        Raises:
            NotFoundError: There is no such run.
        """
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        try:
            async for event in handle.fetch_history_events(
                wait_new_event=True,
                event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT,
                skip_archival=True,
            ):
                return event
        except RPCError as error:
            if not is_not_found(error):
                raise refusal(error, f"result of workflow {workflow_id!r}", self._client) from None
        raise self.not_found(WorkflowRef(workflow_id, run_id))

    def not_found(self, ref: WorkflowRef) -> NotFoundError:
        """What to raise for a run that is not there."""
        run = f"run {ref.run_id} of workflow" if ref.run_id is not None else "workflow"
        return NotFoundError(f"there is no {run} {ref.workflow_id!r} in {place(self._client)}")

    async def missing(self, ref: WorkflowRef) -> ProtopactError:
        """What to raise for a run that took nothing: it is not there, or closed, which the server does not say."""
        try:
            return await self._look(ref) or self.not_found(ref)
        except NotFoundError as error:
            return error

    async def check_open(self, ref: WorkflowRef) -> None:
        """See that a run is open.

        Raises:
            NotFoundError: There is no such run.
            AlreadyClosedError: It is closed.
        """
        problem = await self._look(ref)
        if problem is not None:
            raise problem

    async def _look(self, ref: WorkflowRef) -> ProtopactError | None:
        run = await self.describe(WorkflowRef(ref.workflow_id, ref.run_id))
        first_run_id = run.raw_info.first_run_id
        if ref.first_run_id not in {None, first_run_id}:
            return NotFoundError(
                f"workflow {ref.workflow_id!r} is another one by now: it began with run {first_run_id}, the one that "
                f"is meant with run {ref.first_run_id}"
            )
        status = status_of(run)
        if status is WorkflowStatus.RUNNING:
            return None
        return AlreadyClosedError(f"workflow {run.id} (run {run.run_id}) is closed: {status.value}")


def successor_of(event: HistoryEvent) -> str:
    """The run that continues or retries one that closed with an event; empty when there is none."""
    name = event.WhichOneof("attributes")
    attributes = getattr(event, name) if name else None
    successor: str = getattr(attributes, "new_execution_run_id", "")
    return successor
