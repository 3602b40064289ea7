"""Queries: answered by a worker, refused by the server, or by nobody in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from protopact.engine import QueryWorkflow
from protopact.errors import QueryError
from protopact.temporal import histories
from protopact.temporal.calls import Call, calling
from protopact.temporal.refusals import failure_of_query, is_not_found, is_not_ready, refusal
from protopact.temporal.session import LONGEST_PAUSE, PAUSE, Session

__all__ = ["Queries"]

_TIMED_OUT = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


class Queries:
    """The desk for queries.

    Args:
        session: The engine's connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # Calls are of every contract's types.
    async def ask(self, call: QueryWorkflow[Any, Any]) -> object:
        """Ask a run, open or closed; see `Engine.query_workflow`."""
        session, query, loop = self._session, call.query, asyncio.get_running_loop()
        arguments = session.encoded(query.request, call.request, f"request of {query.name}")
        deadline = loop.time() + call.timeout.total_seconds()
        pause = PAUSE
        while True:
            try:
                value = await self._ask(call, arguments, timedelta(seconds=max(deadline - loop.time(), PAUSE)))
            except RPCError as error:
                await self._raise(call, error, can_wait=deadline - loop.time() > pause)
            else:
                return session.message(query.response, value, f"response of {query.name}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _ask(self, call: QueryWorkflow[Any, Any], arguments: list[RawValue], left: timedelta) -> RawValue | None:
        query, ref = call.query, call.ref
        handle = self._session.calls.get_workflow_handle(ref.workflow_id, run_id=ref.run_id)
        where = f"query {query.name} of workflow {ref.workflow_id}"
        sent = Call(headers=call.headers)
        try:
            with calling(sent):
                answer: RawValue | None = await handle.query(
                    query.name, args=arguments, result_type=RawValue, rpc_timeout=left
                )
                return answer
        except WorkflowQueryRejectedError as error:
            raise QueryError(f"{where} was refused: {error}") from None
        except WorkflowQueryFailedError as error:
            failure = None if sent.refused is None else failure_of_query(sent.refused)
            cause = None if failure is None else await self._session.failure(ref.workflow_id, failure)
            raise QueryError(f"{where} failed: {error.message}") from cause

    async def _raise(self, call: QueryWorkflow[Any, Any], error: RPCError, *, can_wait: bool) -> None:
        """Raise what the server's refusal means, unless the query may be asked again.

        The server refuses at once when no worker has asked for tasks lately; one may be about to start.
        """
        if is_not_found(error):
            raise self._session.runs.not_found(call.ref) from None
        if error.status is RPCStatusCode.FAILED_PRECONDITION and can_wait and not is_not_ready(error):
            return
        if error.status is not RPCStatusCode.FAILED_PRECONDITION and error.status not in _TIMED_OUT:
            raise refusal(error, f"query {call.query.name}", self._session.client) from None
        raise await self._unanswered(call) from None

    async def _unanswered(self, call: QueryWorkflow[Any, Any]) -> QueryError:
        session, query = self._session, call.query
        found = await session.runs.describe(call.ref)
        failure = await histories.task_failure(session, found)
        if failure is not None:
            return QueryError(
                f"query {query.name}: the worker cannot replay workflow {found.id} (run {found.run_id}): {failure}"
            )
        return QueryError(
            f"query {query.name} of workflow {found.id} was not answered within {call.timeout.total_seconds():g} s: no "
            f"worker serves {found.workflow_type} on task queue {found.task_queue!r}, or the one that has the run did "
            "not answer"
        )
