"""Activities that are completed from outside, through the SDK's handle of them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import temporalio.client

from protopact.completion import (
    ActivityRef,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    ReportActivityCancellation,
)
from protopact.errors import AsyncActivityCancelledError, NotFoundError, ProtopactError
from protopact.failure import attempt_error
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

    async def complete(self, call: CompleteActivity[Any]) -> None:
        """Complete one with its response."""
        activity, ref = call.activity, call.ref
        values = self._session.encoded(activity.response, call.response, f"response of activity {activity.name}")
        await self._sending("completion", ref, self._handle(ref).complete(*values))

    async def fail(self, call: FailActivity) -> None:
        """Fail an attempt."""
        details = self._session.details(call.last_heartbeat_details, f"the last heartbeat of {call.ref}")
        written = self._session.failures.to_temporal(attempt_error(call.error))
        failing = self._handle(call.ref).fail(written, last_heartbeat_details=details)
        await self._sending("failure", call.ref, failing)

    async def report_cancellation(self, call: ReportActivityCancellation) -> None:
        """End one whose cancellation was requested."""
        values = self._session.details(call.details, f"the cancellation of {call.ref}")
        await self._sending("cancellation", call.ref, self._handle(call.ref).report_cancellation(*values))

    async def heartbeat(self, call: HeartbeatActivity) -> None:
        """Record a heartbeat."""
        ref = call.ref
        values = self._session.details(call.details, f"the heartbeat of {ref}")
        try:
            await self._sending("heartbeat", ref, self._handle(ref).heartbeat(*values))
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
