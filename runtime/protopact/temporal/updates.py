"""Updates: sent, accepted or rejected, and their outcome."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateHandle, WorkflowUpdateStage
from temporalio.common import RawValue

from protopact import contract
from protopact.engine import UpdateStarted, UpdateWorkflow, WorkflowRef
from protopact.errors import ApplicationError, NotFoundError, ProtopactError, UpdateFailedError
from protopact.temporal.calls import Call, calling
from protopact.temporal.refusals import is_not_ready
from protopact.temporal.session import Session

__all__ = ["Updates"]

Resp = TypeVar("Resp")

_CLOSED = "AcceptedUpdateCompletedWorkflow"  # the server's failure type for updates that their run did not wait for


class Updates:
    """The desk for updates.

    Args:
        session: The engine's connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # Calls are of every contract's types.
    async def update(self, call: UpdateWorkflow[Any, Any]) -> UpdateStarted:
        """Send an update and wait until it is accepted; see `Engine.update_workflow`."""
        session, update, ref = self._session, call.update, call.ref
        arguments = session.encoded(update.request, call.request, f"request of {update.name}")
        handle = session.calls.get_workflow_handle(ref.workflow_id, run_id=ref.run_id)

        def send() -> Awaitable[WorkflowUpdateHandle[Any]]:
            # One of its overloads is annotated in part.
            return handle.start_update(  # pyright: ignore[reportUnknownMemberType]
                update.name,
                args=arguments,
                id=call.update_id,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                result_type=RawValue,
            )

        async def missing() -> ProtopactError:
            return await session.runs.missing(ref)

        with calling(Call(headers=call.headers)) as sent:
            # A run whose workflow task fails takes updates when a worker can go on with it.
            sending = session.polling(f"update {update.name}", send, missing=missing, is_passing=is_not_ready)
            updated = await sending
        return await self.accepted(call, WorkflowRef(ref.workflow_id, updated.workflow_run_id), sent)

    async def accepted(self, call: UpdateWorkflow[Any, Any], ref: WorkflowRef, sent: Call) -> UpdateStarted:
        """The answer to an update that the server has answered.

        Args:
            call: The update.
            ref: The run that has it.
            sent: What came back.

        Raises:
            UpdateFailedError: It was rejected.
        """
        started, answer = UpdateStarted(ref, call.update_id), sent.updated
        if answer is not None and answer.HasField("outcome") and answer.outcome.HasField("failure"):
            # An update that was rejected leaves nothing behind; one that was accepted and has failed does.
            try:
                await self._outcome(started)
            except WorkflowUpdateFailedError:
                pass
            except NotFoundError:
                cause = await self._session.failure(ref.workflow_id, answer.outcome.failure)
                raise UpdateFailedError(
                    f"update {call.update.name} of workflow {ref.workflow_id} was rejected: {cause.message}"
                ) from cause
        return started

    async def result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """Wait for the outcome of an accepted update; see `Engine.update_result`."""
        where = f"update {update.update_id!r} of workflow {update.ref.workflow_id}"
        try:
            value = await self._outcome(update)
        except WorkflowUpdateFailedError as error:
            cause = self._session.failures.from_temporal(error.cause)
            if isinstance(cause, ApplicationError) and cause.type == _CLOSED:
                raise UpdateFailedError(f"{where}: the workflow closed before the update completed") from cause
            raise UpdateFailedError(f"{where} failed: {cause.message}") from cause
        return self._session.message(response, value, f"response of {where}")

    async def _outcome(self, update: UpdateStarted) -> RawValue | None:
        """Wait for the outcome of an update.

        Raises:
            NotFoundError: There is no such update that was accepted.
            WorkflowUpdateFailedError: It failed.
        """
        session, ref = self._session, update.ref
        run = session.calls.get_workflow_handle(ref.workflow_id)
        handle: WorkflowUpdateHandle[RawValue | None] = run.get_update_handle(
            update.update_id, workflow_run_id=ref.run_id, result_type=RawValue
        )

        async def missing() -> ProtopactError:
            found = await session.runs.describe(ref)
            return NotFoundError(
                f"workflow {ref.workflow_id} (run {found.run_id}) has no update {update.update_id!r} that was accepted"
            )

        return await session.polling(f"update {update.update_id!r}", handle.result, missing=missing)
