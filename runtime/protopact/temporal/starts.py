"""Starts: of a run, with a signal, with an update; and which run has the id in the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateStage
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
from protopact.policy import WorkflowIdConflictPolicy
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
            await session.calls.start_workflow(workflow.name, args=arguments, **given)

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

        # The server keeps one header for both.
        sent = Call(headers={**call.headers, **signal.headers})
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
        conflict = call.options.get("id_conflict_policy", call.workflow.id_conflict_policy)
        rivals = _MOST_RIVALS if conflict is WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE else 0
        while True:
            try:
                with calling(sent):
                    await session.sending(what, send())
                break
            except WorkflowAlreadyStartedError as error:
                refused = await self._already_started(call, error.run_id)
            if not (rivals and refused.workflow_type != call.workflow.name and await self._make_room(call, refused)):
                raise refused
            rivals -= 1
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

    async def _already_started(self, call: StartWorkflow[Any, Any], run_id: str | None) -> AlreadyStartedError:
        workflow, options = call.workflow, call.options
        try:
            found = await self._session.runs.describe(WorkflowRef(call.workflow_id, run_id))
        except NotFoundError:  # it was deleted just now
            message = f"workflow id {call.workflow_id!r} was taken (run {run_id})"
            return AlreadyStartedError(
                message, workflow_id=call.workflow_id, run_id=run_id or "", workflow_type=workflow.name
            )
        status = status_of(found)
        policy = (
            f"id_conflict_policy {options.get('id_conflict_policy', workflow.id_conflict_policy).name}"
            if status is WorkflowStatus.RUNNING
            else f"id_reuse_policy {options.get('id_reuse_policy', workflow.id_reuse_policy).name}"
        )
        return AlreadyStartedError(
            f"workflow id {call.workflow_id!r} is taken by a {found.workflow_type} that is {status.value} "
            f"(run {found.run_id}); {policy} refuses another",
            workflow_id=found.id,
            run_id=found.run_id,
            workflow_type=found.workflow_type,
        )

    async def _make_room(self, call: StartWorkflow[Any, Any], rival: AlreadyStartedError) -> bool:
        """Terminate the open run of another workflow that has the id; whether there was one."""
        reason = f"its id was needed for a {call.workflow.name}: id_conflict_policy TERMINATE_EXISTING_OF_OTHER_TYPE"
        handle = self._session.calls.get_workflow_handle(call.workflow_id, run_id=rival.run_id)
        try:
            await handle.terminate(reason=reason)
        except RPCError as error:
            if not is_not_found(error):
                raise refusal(error, f"start of {call.workflow.name}", self._session.client) from None
            return False  # it is closed, and id_reuse_policy refuses
        return True


def _arguments(call: StartWorkflow[Any, Any]) -> Start:
    workflow, options = call.workflow, call.options
    check_policies(
        options.get("id_reuse_policy", workflow.id_reuse_policy),
        options.get("id_conflict_policy", workflow.id_conflict_policy),
    )
    return start(workflow, call.workflow_id, options)
