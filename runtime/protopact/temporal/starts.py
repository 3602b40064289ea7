"""Starts: of a run, with a signal, with an update; and which run has the id in the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from temporalio.client import WithStartWorkflowOperation, WorkflowExecutionDescription, WorkflowUpdateStage
from temporalio.common import RawValue, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from protopact.engine import (
    SignalWorkflow,
    Started,
    StartWorkflow,
    UpdateStarted,
    UpdateWorkflow,
    WorkflowRef,
    WorkflowStatus,
)
from protopact.errors import AlreadyStartedError, NotFoundError, ProtopactError
from protopact.options import check_policies
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from protopact.temporal.calls import Call, calling
from protopact.temporal.refusals import is_not_found, refusal
from protopact.temporal.session import Session
from protopact.temporal.start import Start, start
from protopact.temporal.updates import Updates
from protopact.temporal.views import status_of

__all__ = ["Starts"]

_MOST_RIVALS = 10


class Starts:
    """The desk for starts.

    Args:
        session: The engine's connection.
        updates: The desk for updates.
    """

    def __init__(self, session: Session, updates: Updates) -> None:
        self._session = session
        self._updates = updates

    # Calls are of every contract's types.
    async def start(self, call: StartWorkflow[Any, Any]) -> Started:
        """Start a run, or find the one that has the id; see `Engine.start_workflow`."""
        session, workflow, given = self._session, call.workflow, _arguments(call)
        arguments = session.encoded(workflow.request, call.request, f"request of {workflow.name}")

        async def send() -> None:
            # The SDK can ask for it without a signal and an update only.
            is_eager = workflow.enable_eager_start
            await session.calls.start_workflow(workflow.name, args=arguments, request_eager_start=is_eager, **given)

        return await self._start(call, f"start of {workflow.name}", Call(headers=call.headers), send)

    async def with_signal(self, call: StartWorkflow[Any, Any], signal: SignalWorkflow[Any]) -> Started:
        """Signal the open run with the id, or start one and signal it; see `Engine.signal_with_start`."""
        session, workflow, given = self._session, call.workflow, _arguments(call)
        if given["id_conflict_policy"] is WorkflowIDConflictPolicy.FAIL:
            # A run that is there is what a signal-with-start looks for.
            given["id_conflict_policy"] = WorkflowIDConflictPolicy.USE_EXISTING
        arguments = session.encoded(workflow.request, call.request, f"request of {workflow.name}")
        signalled = session.encoded(signal.signal.request, signal.request, f"request of {signal.signal.name}")

        async def send() -> None:
            await session.calls.start_workflow(
                workflow.name, args=arguments, start_signal=signal.signal.name, start_signal_args=signalled, **given
            )

        sent = Call(headers={**call.headers, **signal.headers}, signals=True)  # the server gives one header to both
        return await self._start(call, f"start of {workflow.name} with {signal.signal.name}", sent, send)

    async def with_update(
        self, call: StartWorkflow[Any, Any], update: UpdateWorkflow[Any, Any]
    ) -> tuple[Started, UpdateStarted]:
        """Update the open run with the id, or start one and update it; see `Engine.update_with_start`."""
        session, workflow, given = self._session, call.workflow, _arguments(call)
        arguments = session.encoded(workflow.request, call.request, f"request of {workflow.name}")
        updated = session.encoded(update.update.request, update.request, f"request of {update.update.name}")
        what = f"start of {workflow.name} with {update.update.name}"

        async def send() -> None:
            operation = WithStartWorkflowOperation[Any, Any](workflow.name, args=arguments, **given)
            try:
                # One of its overloads is annotated in part.
                await session.calls.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
                    update.update.name,
                    args=updated,
                    id=update.update_id,
                    start_workflow_operation=operation,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    result_type=RawValue,
                )
            except BaseException:
                # The operation keeps the error for whoever asks it, and asyncio would complain that nobody did.
                with suppress(BaseException):
                    await operation.workflow_handle()
                raise

        async def poll() -> None:
            await session.polling(what, send, missing=missing)

        async def missing() -> ProtopactError:
            return await session.runs.missing(WorkflowRef(call.workflow_id))

        sent = Call(headers=call.headers, update_headers=update.headers)
        started = await self._start(call, what, sent, poll)
        return started, await self._updates.accepted(update, WorkflowRef(started.workflow_id, started.run_id), sent)

    async def _start(
        self, call: StartWorkflow[Any, Any], what: str, sent: Call, send: Callable[[], Awaitable[None]]
    ) -> Started:
        """Send a start, and say which run has the id.

        Args:
            call: The start.
            what: The same, for messages.
            sent: What goes with it, and comes back.
            send: Sends it.
        """
        session = self._session
        # By which the server knows a start again that it has had, when the answer was lost or was long in coming.
        sent.request_id = call.options.get("request_id") or str(uuid4())
        rivals = 0
        while (rival := await self._send(call, what, sent, send)) is not None:
            if rivals == _MOST_RIVALS:
                raise _already_started(call, rival)
            await self._make_room(call, rival)
            rivals += 1
        answer = sent.started
        assert answer is not None, "the server has answered"
        first_run_id = answer.first_execution_run_id
        if not first_run_id and not answer.started:
            # A server before 1.32 does not say with which run the chain of an existing one began.
            found = await session.runs.describe(WorkflowRef(call.workflow_id, answer.run_id))
            first_run_id = found.raw_info.first_run_id
        return Started(
            workflow_id=call.workflow_id,
            run_id=answer.run_id,
            first_run_id=first_run_id or answer.run_id,
            started=answer.started,
        )

    async def _send(
        self, call: StartWorkflow[Any, Any], what: str, sent: Call, send: Callable[[], Awaitable[None]]
    ) -> WorkflowExecutionDescription | None:
        """Send a start, once.

        Args:
            call: The start.
            what: The same, for messages.
            sent: What goes with it, and comes back.
            send: Sends it.

        Returns:
            The run of another workflow that has the id and has to give way; None when the start has succeeded.

        Raises:
            AlreadyStartedError: The id is taken.
        """
        name = call.workflow.name
        gives_way = _conflict(call) is WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE
        if gives_way and sent.signals:
            # The server refuses no signal-with-start for the sake of an open run, whatever its type is.
            found = await self._taken_by(call, None)
            if found is not None and found.workflow_type != name and status_of(found) is WorkflowStatus.RUNNING:
                return found
        try:
            with calling(sent):
                await self._session.sending(what, send())
        except WorkflowAlreadyStartedError as error:
            found = await self._taken_by(call, error.run_id)
            if found is None:  # it was deleted just now
                message = f"workflow id {call.workflow_id!r} was taken (run {error.run_id})"
                raise AlreadyStartedError(
                    message, workflow_id=call.workflow_id, run_id=error.run_id or "", workflow_type=name
                ) from None
            if gives_way and found.workflow_type != name and status_of(found) is WorkflowStatus.RUNNING:
                return found
            raise _already_started(call, found) from None
        if gives_way and sent.signals and sent.started is not None and not sent.started.started:
            # A run that has taken the id meanwhile was signalled, and gives way all the same.
            found = await self._taken_by(call, sent.started.run_id)
            return None if found is None or found.workflow_type == name else found
        return None

    async def _taken_by(self, call: StartWorkflow[Any, Any], run_id: str | None) -> WorkflowExecutionDescription | None:
        """The run that has the id; None when there is none."""
        try:
            return await self._session.runs.describe(WorkflowRef(call.workflow_id, run_id))
        except NotFoundError:
            return None

    async def _make_room(self, call: StartWorkflow[Any, Any], rival: WorkflowExecutionDescription) -> None:
        """Terminate the run of another workflow that has the id, unless it has closed meanwhile."""
        reason = f"its id was needed for a {call.workflow.name}: id_conflict_policy TERMINATE_EXISTING_OF_OTHER_TYPE"
        handle = self._session.calls.get_workflow_handle(call.workflow_id, run_id=rival.run_id)
        try:
            await handle.terminate(reason=reason)
        except RPCError as error:
            if not is_not_found(error):
                raise refusal(error, f"start of {call.workflow.name}", self._session.client) from None


def _already_started(call: StartWorkflow[Any, Any], found: WorkflowExecutionDescription) -> AlreadyStartedError:
    status = status_of(found)
    policy = (
        f"id_conflict_policy {_conflict(call).name}"
        if status is WorkflowStatus.RUNNING
        else f"id_reuse_policy {_reuse(call).name}"
    )
    return AlreadyStartedError(
        f"workflow id {call.workflow_id!r} is taken by a {found.workflow_type} that is {status.value} "
        f"(run {found.run_id}); {policy} refuses another",
        workflow_id=found.id,
        run_id=found.run_id,
        workflow_type=found.workflow_type,
    )


def _conflict(call: StartWorkflow[Any, Any]) -> WorkflowIdConflictPolicy:
    return call.options.get("id_conflict_policy", call.workflow.id_conflict_policy)


def _reuse(call: StartWorkflow[Any, Any]) -> WorkflowIdReusePolicy:
    return call.options.get("id_reuse_policy", call.workflow.id_reuse_policy)


def _arguments(call: StartWorkflow[Any, Any]) -> Start:
    check_policies(_reuse(call), _conflict(call))
    return start(call.workflow, call.workflow_id, call.options)
