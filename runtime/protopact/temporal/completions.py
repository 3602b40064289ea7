"""Activities that are completed from outside, through the SDK's handle of them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import temporalio.client

from protopact import contract
from protopact.completion import ActivityRef
from protopact.errors import AsyncActivityCancelledError, NotFoundError, ProtopactError
from protopact.payload.sizes import check_size
from protopact.temporal.payloads import to_raw_values
from protopact.temporal.refusals import place
from protopact.temporal.session import Session

__all__ = ["Completions"]


class Completions:
    """What is told of activities from outside; see `protopact.completion.AsyncActivityHandle`.

    Args:
        session: The engine's connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def complete(self, ref: ActivityRef, activity: contract.Activity[Any, Any], response: object) -> None:
        """Complete one with its response."""
        values = self._session.encoded(activity.response, response, f"response of activity {activity.name}")
        await self._sending("completion", ref, self._handle(ref).complete(*values))

    async def fail(self, ref: ActivityRef, error: Exception, last_heartbeat_details: Sequence[object]) -> None:
        """Fail an attempt."""
        details = to_raw_values(self._session.converter.to_details(last_heartbeat_details))
        written = self._session.failures.to_temporal(error)
        await self._sending("failure", ref, self._handle(ref).fail(written, last_heartbeat_details=details))

    async def report_cancellation(self, ref: ActivityRef, details: Sequence[object]) -> None:
        """End one whose cancellation was requested."""
        values = to_raw_values(self._session.converter.to_details(details))
        await self._sending("cancellation", ref, self._handle(ref).report_cancellation(*values))

    async def heartbeat(self, ref: ActivityRef, details: Sequence[object]) -> None:
        """Record a heartbeat."""
        payloads = self._session.converter.to_details(details)
        check_size(payloads, f"the heartbeat of {ref}")
        try:
            await self._sending("heartbeat", ref, self._handle(ref).heartbeat(*to_raw_values(payloads)))
        except temporalio.client.AsyncActivityCancelledError as error:
            why = error.details
            said = (
                "paused"
                if why is not None and why.paused
                else "reset"
                if why is not None and why.reset
                else "cancelled"
            )
            where = place(self._session.client)
            raise AsyncActivityCancelledError(f"{ref} was {said}, in {where}") from None

    def _handle(self, ref: ActivityRef) -> temporalio.client.AsyncActivityHandle:
        client = self._session.calls
        if ref.task_token is not None:
            return client.get_async_activity_handle(task_token=ref.task_token)
        return client.get_async_activity_handle(
            workflow_id=ref.workflow_id, run_id=ref.run_id, activity_id=ref.activity_id
        )

    async def _sending(self, what: str, ref: ActivityRef, call: Awaitable[None]) -> None:
        async def missing() -> ProtopactError:
            return NotFoundError(
                f"{ref} is not open: it has ended, its workflow is closed, or its token is of an older attempt, in "
                f"{place(self._session.client)}"
            )

        await self._session.sending(f"{what} of {ref}", call, missing=missing)
