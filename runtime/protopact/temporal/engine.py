"""The Temporal engine: the interface of every engine, over a client of the `temporalio` SDK."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    Plugin,
    RPCTimeoutOrCancelledError,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.client import Interceptor as TemporalInterceptor
from temporalio.common import RawValue, WorkflowIDConflictPolicy
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from protopact import contract
from protopact.engine import (
    CancelWorkflow,
    Engine,
    QueryWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    Started,
    StartWorkflow,
    TerminateWorkflow,
    UpdateStarted,
    UpdateWorkflow,
    WorkerOptions,
    WorkflowDescription,
    WorkflowRef,
    WorkflowStatus,
)
from protopact.errors import (
    AlreadyStartedError,
    ApplicationError,
    EngineClosedError,
    EngineError,
    FailureError,
    NotFoundError,
    QueryError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name; it is the builtin too
    TimeoutType,
    UpdateFailedError,
    WorkflowContinuedAsNewError,
    WorkflowFailedError,
)
from protopact.history.event import Event
from protopact.history.failure import CanceledFailureInfo, Failure
from protopact.interceptor import Interceptor, chain
from protopact.options import check_policies
from protopact.payload import CodecChain, Encoding, PayloadCodec, PayloadConverter, Payloads
from protopact.policy import WorkflowIdConflictPolicy
from protopact.temporal import histories, start, views
from protopact.temporal.address import Address
from protopact.temporal.calls import Call, calling, with_calls
from protopact.temporal.client import connect as connect_client
from protopact.temporal.client import describe_namespace
from protopact.temporal.converter import data_converter
from protopact.temporal.failures import TemporalFailures, failure_from_proto, failure_to_proto
from protopact.temporal.payloads import codecs_of, from_protos, from_raw_values, to_raw_values
from protopact.temporal.refusals import failure_of_query, is_not_found, is_not_ready, place, refusal, refusing
from protopact.temporal.runs import Runs, successor_of
from protopact.temporal.worker import serve

__all__ = ["TemporalEngine", "connect", "from_client"]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
T = TypeVar("T")

_CLOSED = "AcceptedUpdateCompletedWorkflow"  # the server's failure type for updates that their run did not wait for
_TIMED_OUT = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})
_MOST_RIVALS = 10
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class _Open:
    """What an engine has while it is open."""

    client: Client
    calls: Client
    runs: Runs
    loop: asyncio.AbstractEventLoop
    process: int


class TemporalEngine(Engine):
    """An engine on a Temporal cluster. Used within `async with`, on one event loop.

    Args:
        client: A connected client of the SDK, or what connects one when the engine is opened.
        place: The server, for messages.
        encoding: How messages are written; both encodings are always read.
        interceptors: Hooks around clients, workflows and activities, the first one outermost.
    """

    def __init__(
        self,
        client: Client | Callable[[], Awaitable[Client]],
        *,
        place: str,
        encoding: Encoding = "json/protobuf",
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._source = client
        self._place = place
        self._converter = PayloadConverter(encoding)
        self._failures = TemporalFailures(self._converter)
        self._interceptors = tuple(interceptors)
        self._opened: _Open | None = None
        self._start = chain(self._interceptors, "start_workflow", self._do_start)
        self._signal = chain(self._interceptors, "signal_workflow", self._do_signal)
        self._signal_with_start = chain(self._interceptors, "signal_with_start", self._do_signal_with_start)
        self._query = chain(self._interceptors, "query_workflow", self._do_query)
        self._update = chain(self._interceptors, "update_workflow", self._do_update)
        self._update_with_start = chain(self._interceptors, "update_with_start", self._do_update_with_start)
        self._cancel = chain(self._interceptors, "cancel_workflow", self._do_cancel)
        self._terminate = chain(self._interceptors, "terminate_workflow", self._do_terminate)

    def __repr__(self) -> str:
        """Names the server and the namespace."""
        return f"<{type(self).__name__} on {self._place}>"

    @property
    def client(self) -> Client:
        """The client of the SDK that the engine uses: for what protopact does not wrap.

        Raises:
            EngineClosedError: The engine is not open.
        """
        return self._open.client

    # -- life

    async def open(self) -> None:
        """Connect. `async with` calls it.

        Raises:
            EngineConnectionError: The server cannot be reached or refuses, or has no such namespace.
        """
        if isinstance(self._source, Client):
            client = self._source
            await describe_namespace(client)
        else:
            client = await self._source()
        calls = with_calls(client)
        self._opened = _Open(client, calls, Runs(calls), asyncio.get_running_loop(), os.getpid())

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Let go of the connection. Idempotent; a client that was given stays open."""
        self._opened = None

    @property
    def _open(self) -> _Open:
        opened = self._opened
        if opened is None:
            raise EngineClosedError(f"the engine on {self._place} is not open; use it within `async with`")
        if os.getpid() != opened.process:
            raise EngineClosedError(
                f"the engine on {self._place} was opened before this process was forked; connect in each process"
            )
        if asyncio.get_running_loop() is not opened.loop:
            raise EngineClosedError(
                f"the engine on {self._place} was opened on another event loop; connect on this one"
            )
        return opened

    # -- starts

    async def start_workflow(self, call: StartWorkflow[Req, Resp]) -> Started:
        """See `Engine`."""
        started: Started = await self._start(call)
        return started

    async def _do_start(self, call: StartWorkflow[Any, Any]) -> Started:
        given, what = self._arguments(call), f"start of {call.workflow.name}"
        arguments = self._encoded(call.workflow.request, call.request, f"request of {call.workflow.name}")

        async def send(sent: Call) -> None:
            with calling(sent):
                await self._open.calls.start_workflow(call.workflow.name, args=arguments, **given)

        return await self._started(call, what, send, Call(headers=call.headers))

    async def signal_with_start(self, start: StartWorkflow[Req, Resp], signal: SignalWorkflow[object]) -> Started:
        """See `Engine`."""
        started: Started = await self._signal_with_start(start, signal)
        return started

    async def _do_signal_with_start(self, start: StartWorkflow[Any, Any], signal: SignalWorkflow[Any]) -> Started:
        given, what = self._arguments(start), f"start of {start.workflow.name} with {signal.signal.name}"
        if given["id_conflict_policy"] is WorkflowIDConflictPolicy.FAIL:
            # A run that is there is what a signal-with-start looks for.
            given["id_conflict_policy"] = WorkflowIDConflictPolicy.USE_EXISTING
        arguments = self._encoded(start.workflow.request, start.request, f"request of {start.workflow.name}")
        signalled = self._encoded(signal.signal.request, signal.request, f"request of {signal.signal.name}")

        async def send(sent: Call) -> None:
            with calling(sent):
                await self._open.calls.start_workflow(
                    start.workflow.name,
                    args=arguments,
                    start_signal=signal.signal.name,
                    start_signal_args=signalled,
                    **given,
                )

        # The server keeps one header for both.
        return await self._started(start, what, send, Call(headers={**start.headers, **signal.headers}))

    async def update_with_start(
        self, start: StartWorkflow[Req, Resp], update: UpdateWorkflow[object, object]
    ) -> tuple[Started, UpdateStarted]:
        """See `Engine`."""
        started: tuple[Started, UpdateStarted] = await self._update_with_start(start, update)
        return started

    async def _do_update_with_start(
        self, start: StartWorkflow[Any, Any], update: UpdateWorkflow[Any, Any]
    ) -> tuple[Started, UpdateStarted]:
        given, what = self._arguments(start), f"start of {start.workflow.name} with {update.update.name}"
        arguments = self._encoded(start.workflow.request, start.request, f"request of {start.workflow.name}")
        updated = self._encoded(update.update.request, update.request, f"request of {update.update.name}")

        async def send(sent: Call) -> None:
            operation = WithStartWorkflowOperation[Any, Any](start.workflow.name, args=arguments, **given)
            try:
                with calling(sent):
                    # One of its overloads is annotated in part.
                    await self._open.calls.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
                        update.update.name,
                        args=updated,
                        id=update.update_id,
                        start_workflow_operation=operation,
                        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                        result_type=RawValue,
                    )
            except BaseException:
                # The operation keeps the error for whoever asks it; asyncio would complain that nobody did.
                with suppress(BaseException):
                    await operation.workflow_handle()
                raise

        call = Call(headers=start.headers, update_headers=update.headers)
        started = await self._started(start, what, send, call)
        return started, await self._accepted(update, WorkflowRef(started.workflow_id, started.run_id), call)

    def _arguments(self, call: StartWorkflow[Any, Any]) -> start.Start:
        workflow, options = call.workflow, call.options
        check_policies(
            options.get("id_reuse_policy", workflow.id_reuse_policy),
            options.get("id_conflict_policy", workflow.id_conflict_policy),
        )
        return start.start(workflow, call.workflow_id, options)

    async def _started(
        self, call: StartWorkflow[Any, Any], what: str, send: Callable[[Call], Awaitable[None]], sent: Call
    ) -> Started:
        """Send a start, and say which run has the id."""
        sent.request_id = call.options.get("request_id")
        conflict = call.options.get("id_conflict_policy", call.workflow.id_conflict_policy)
        rivals = _MOST_RIVALS if conflict is WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE else 0
        while True:
            try:
                await self._sending(what, send(sent))
                break
            except WorkflowAlreadyStartedError as error:
                refused = await self._already_started(call, error.run_id or None)
            if not (rivals and refused.workflow_type != call.workflow.name and await self._make_room(call, refused)):
                raise refused
            rivals -= 1
        answer = sent.started
        assert answer is not None, "the server has answered"
        first_run_id = answer.first_execution_run_id
        if not first_run_id and not answer.started:
            # A server before 1.32 does not say with which run the chain of an existing one began.
            found = await self._open.runs.describe(WorkflowRef(call.workflow_id, answer.run_id))
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
            found = await self._open.runs.describe(WorkflowRef(call.workflow_id, run_id))
        except NotFoundError:
            return AlreadyStartedError(
                f"workflow id {call.workflow_id!r} is taken (run {run_id})",
                workflow_id=call.workflow_id,
                run_id=run_id or "",
                workflow_type="",
            )
        policy = (
            f"id_conflict_policy {options.get('id_conflict_policy', workflow.id_conflict_policy).name}"
            if found.status is WorkflowExecutionStatus.RUNNING
            else f"id_reuse_policy {options.get('id_reuse_policy', workflow.id_reuse_policy).name}"
        )
        return AlreadyStartedError(
            f"workflow id {call.workflow_id!r} is taken by a {found.workflow_type} that is "
            f"{views.status_of(found).value} (run {found.run_id}); {policy} refuses another",
            workflow_id=found.id,
            run_id=found.run_id,
            workflow_type=found.workflow_type,
        )

    async def _make_room(self, call: StartWorkflow[Any, Any], rival: AlreadyStartedError) -> bool:
        """Terminate the open run of another workflow that has the id; whether there was one."""
        reason = f"its id was needed for a {call.workflow.name}: id_conflict_policy TERMINATE_EXISTING_OF_OTHER_TYPE"
        handle = self._open.calls.get_workflow_handle(call.workflow_id, run_id=rival.run_id)
        try:
            await handle.terminate(reason=reason)
        except RPCError as error:
            if not is_not_found(error):
                raise refusal(error, f"start of {call.workflow.name}", self._open.client) from None
            return False  # it is closed, and id_reuse_policy refuses
        return True

    # -- signals, queries, updates

    async def signal_workflow(self, call: SignalWorkflow[Req]) -> None:
        """See `Engine`."""
        await self._signal(call)

    async def _do_signal(self, call: SignalWorkflow[Any]) -> None:
        arguments = self._encoded(call.signal.request, call.request, f"request of {call.signal.name}")
        handle = self._open.calls.get_workflow_handle(call.ref.workflow_id, run_id=call.ref.run_id)
        with calling(Call(headers=call.headers, request_id=call.request_id)):
            await self._sending(
                f"signal {call.signal.name}", handle.signal(call.signal.name, args=arguments), to=call.ref
            )

    async def query_workflow(self, call: QueryWorkflow[Req, Resp]) -> Resp:
        """See `Engine`."""
        answer: Resp = await self._query(call)
        return answer

    async def _do_query(self, call: QueryWorkflow[Any, Any]) -> object:
        query, ref, opened = call.query, call.ref, self._open
        arguments = self._encoded(query.request, call.request, f"request of {query.name}")
        handle = opened.calls.get_workflow_handle(ref.workflow_id, run_id=ref.run_id)
        where = f"query {query.name} of workflow {ref.workflow_id}"
        deadline = opened.loop.time() + call.timeout.total_seconds()
        pause = _PAUSE
        while True:
            left = deadline - opened.loop.time()
            try:
                with calling(Call(headers=call.headers)):
                    value = await handle.query(
                        query.name,
                        args=arguments,
                        result_type=RawValue,
                        rpc_timeout=timedelta(seconds=max(left, _PAUSE)),
                    )
            except WorkflowQueryFailedError as error:
                refused = error.__context__  # what the server said, of which the SDK keeps the message only
                failure = failure_of_query(refused) if isinstance(refused, RPCError) else None
                cause = None if failure is None else await self._failure(ref.workflow_id, failure)
                raise QueryError(f"{where} failed: {error.message}") from cause
            except WorkflowQueryRejectedError as error:
                raise QueryError(f"{where} was refused: {error}") from None
            except RPCError as error:
                if is_not_found(error):
                    raise opened.runs.not_found(ref) from None
                if error.status is not RPCStatusCode.FAILED_PRECONDITION and error.status not in _TIMED_OUT:
                    raise refusal(error, where, opened.client) from None
                if is_not_ready(error):
                    raise await self._unanswered(call) from None
                # The server refuses at once what no worker has asked for lately; one may be about to start.
                if error.status in _TIMED_OUT or deadline - opened.loop.time() <= pause:
                    raise await self._unanswered(call) from None
            else:
                payloads = () if value is None else from_raw_values([value])
                return self._converter.from_payloads(query.response, payloads, where=f"response of {query.name}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _unanswered(self, call: QueryWorkflow[Any, Any]) -> QueryError:
        found = await self.describe_workflow(call.ref)
        if found.task_failure is not None:
            return QueryError(
                f"query {call.query.name}: the worker cannot replay workflow {found.workflow_id} (run {found.run_id}): "
                f"{found.task_failure}"
            )
        return QueryError(
            f"query {call.query.name} of workflow {call.ref.workflow_id} was not answered within "
            f"{call.timeout.total_seconds():g} s: no worker serves {found.workflow_type} on task queue "
            f"{found.task_queue!r}, or the one that has the run did not answer"
        )

    async def update_workflow(self, call: UpdateWorkflow[Req, Resp]) -> UpdateStarted:
        """See `Engine`."""
        started: UpdateStarted = await self._update(call)
        return started

    async def _do_update(self, call: UpdateWorkflow[Any, Any]) -> UpdateStarted:
        arguments = self._encoded(call.update.request, call.request, f"request of {call.update.name}")
        handle = self._open.calls.get_workflow_handle(call.ref.workflow_id, run_id=call.ref.run_id)
        with calling(Call(headers=call.headers)) as sent:
            update = await self._sending(
                f"update {call.update.name}",
                handle.start_update(  # pyright: ignore[reportUnknownMemberType] - as above
                    call.update.name,
                    args=arguments,
                    id=call.update_id,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    result_type=RawValue,
                ),
                to=call.ref,
            )
        return await self._accepted(call, WorkflowRef(call.ref.workflow_id, update.workflow_run_id), sent)

    async def _accepted(self, call: UpdateWorkflow[Any, Any], ref: WorkflowRef, sent: Call) -> UpdateStarted:
        """The answer to an update that was accepted.

        Raises:
            UpdateFailedError: It was rejected.
        """
        started, answer = UpdateStarted(ref, call.update_id), sent.updated
        if answer is not None and answer.HasField("outcome") and answer.outcome.HasField("failure"):
            # An update that was rejected leaves nothing behind; one that was accepted and has failed does.
            try:
                await self._outcome(started)
            except NotFoundError:
                raise UpdateFailedError(
                    f"update {call.update.name} of workflow {ref.workflow_id} was rejected: "
                    f"{answer.outcome.failure.message}"
                ) from await self._failure(ref.workflow_id, answer.outcome.failure)
            except WorkflowUpdateFailedError:
                pass
        return started

    async def update_result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """See `Engine`."""
        where = f"update {update.update_id!r} of workflow {update.ref.workflow_id}"
        try:
            value = await self._outcome(update)
        except WorkflowUpdateFailedError as error:
            cause = self._failures.from_temporal(error.cause)
            if isinstance(cause, ApplicationError) and cause.type == _CLOSED:
                raise UpdateFailedError(f"{where}: the workflow closed before the update completed") from cause
            raise UpdateFailedError(f"{where} failed: {cause.message}") from cause
        payloads = () if value is None else from_raw_values([value])
        return self._converter.from_payloads(response, payloads, where=f"response of {where}")

    async def _outcome(self, update: UpdateStarted) -> RawValue | None:
        """Wait for the outcome of an update.

        Raises:
            NotFoundError: There is no such update that was accepted.
            WorkflowUpdateFailedError: It failed.
        """
        ref = update.ref
        handle: WorkflowUpdateHandle[RawValue | None] = self._open.calls.get_workflow_handle(
            ref.workflow_id
        ).get_update_handle(update.update_id, workflow_run_id=ref.run_id, result_type=RawValue)
        try:
            return await self._sending(f"update {update.update_id!r}", handle.result())
        except _NotFound:
            found = await self._open.runs.describe(ref)
            raise NotFoundError(
                f"workflow {ref.workflow_id} (run {found.run_id}) has no update {update.update_id!r} that was accepted"
            ) from None

    # -- results

    async def workflow_result(
        self, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool = True
    ) -> Resp:
        """See `Engine`."""
        runs, workflow_id, run_id = self._open.runs, ref.workflow_id, ref.run_id
        if run_id is None:
            run_id = (await runs.describe(ref)).run_id
        while True:
            event = await runs.close_event(workflow_id, run_id)
            successor = successor_of(event)
            if not (successor and follow_runs):
                break
            run_id = successor
        if event.HasField("workflow_execution_continued_as_new_event_attributes"):
            raise WorkflowContinuedAsNewError(
                f"workflow {workflow_id} (run {run_id}) went on as run {successor}", new_run_id=successor
            )
        if event.HasField("workflow_execution_completed_event_attributes"):
            result = event.workflow_execution_completed_event_attributes.result
            payloads = await self._decoded(workflow_id, result.payloads)
            return self._converter.from_payloads(response, payloads, where=f"response of workflow {workflow_id}")
        cause, verb = await self._end(workflow_id, event)
        raise WorkflowFailedError(
            f"workflow {workflow_id} (run {run_id}) {verb}: {cause.message}", workflow_id=workflow_id, run_id=run_id
        ) from cause

    async def _end(self, workflow_id: str, event: HistoryEvent) -> tuple[FailureError, str]:
        match event.WhichOneof("attributes"):
            case "workflow_execution_failed_event_attributes":
                failure = event.workflow_execution_failed_event_attributes.failure
                return await self._failure(workflow_id, failure), "failed"
            case "workflow_execution_canceled_event_attributes":
                details = from_protos(event.workflow_execution_canceled_event_attributes.details.payloads)
                cancelled = Failure(message="Workflow cancelled", info=CanceledFailureInfo(details=details))
                return await self._failure(workflow_id, failure_to_proto(cancelled)), "was cancelled"
            case "workflow_execution_terminated_event_attributes":
                reason = event.workflow_execution_terminated_event_attributes.reason
                return TerminatedError(reason or "Workflow terminated"), "was terminated"
            case "workflow_execution_timed_out_event_attributes":
                return TimeoutError("Workflow timed out", type=TimeoutType.START_TO_CLOSE), "timed out"
            case name:
                return FailureError(f"it ended with {name}"), "failed"

    # -- ends

    async def cancel_workflow(self, call: CancelWorkflow) -> None:
        """See `Engine`."""
        await self._cancel(call)

    async def _do_cancel(self, call: CancelWorkflow) -> None:
        # To the server, asking a closed run to cancel is a success.
        await self._open.runs.check_open(call.ref)
        handle = self._handle(call.ref)
        await self._sending("request to cancel", handle.cancel(reason=call.reason), to=call.ref)

    async def terminate_workflow(self, call: TerminateWorkflow) -> None:
        """See `Engine`."""
        await self._terminate(call)

    async def _do_terminate(self, call: TerminateWorkflow) -> None:
        handle = self._handle(call.ref)
        await self._sending("termination", handle.terminate(reason=call.reason or None), to=call.ref)

    def _handle(self, ref: WorkflowRef) -> WorkflowHandle[Any, Any]:
        return self._open.calls.get_workflow_handle(
            ref.workflow_id, run_id=ref.run_id, first_execution_run_id=ref.first_run_id
        )

    async def reset_workflow(self, call: ResetWorkflow) -> str:
        """See `Engine`."""
        client = self._open.client
        found = await self._open.runs.describe(call.ref)
        request = ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
            reason=call.reason,
            workflow_task_finish_event_id=call.event_id,
            request_id=str(self.uuid4()),
            identity=client.identity,
        )
        with refusing(f"reset of workflow {found.id} (run {found.run_id}) to event {call.event_id}", client):
            answer = await client.workflow_service.reset_workflow_execution(request, retry=True)
        return answer.run_id

    async def delete_workflow(self, ref: WorkflowRef) -> None:
        """See `Engine`."""
        client, runs = self._open.client, self._open.runs
        found = await runs.describe(ref)
        execution = WorkflowExecution(workflow_id=found.id, run_id=found.run_id)
        request = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
        with refusing(f"deletion of workflow {found.id} (run {found.run_id})", client):
            await client.workflow_service.delete_workflow_execution(request, retry=True)
        pause = _PAUSE
        with suppress(NotFoundError):  # the server deletes when it finds the time
            while True:
                await runs.describe(WorkflowRef(found.id, found.run_id))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    # -- views

    async def describe_workflow(self, ref: WorkflowRef) -> WorkflowDescription:
        """See `Engine`."""
        client = self._open.client
        found = await self._open.runs.describe(ref)
        codecs, failure = self._codecs(found.id), None
        raw = found.raw_description
        if raw.HasField("pending_workflow_task") and raw.pending_workflow_task.attempt > 1:
            with refusing(f"history of workflow {found.id}", client):
                failure = await histories.task_failure(client, found.id, found.run_id, codecs)
        return await views.describe(found, codecs, task_failure=failure)

    async def list_workflows(
        self, *, workflow_type: str | None = None, workflow_id: str | None = None, status: WorkflowStatus | None = None
    ) -> AsyncIterator[WorkflowDescription]:
        """See `Engine`."""
        conditions = {
            "WorkflowType": workflow_type,
            "WorkflowId": workflow_id,
            "ExecutionStatus": None if status is None else status.value,
        }
        query = " AND ".join(f"{name} = {_quoted(value)}" for name, value in conditions.items() if value is not None)
        client = self._open.client
        with refusing("list of workflows", client):
            async for found in client.list_workflows(query or None):
                yield await views.describe(found, self._codecs(found.id))

    async def workflow_history(self, ref: WorkflowRef) -> tuple[WorkflowRef, list[Event]]:
        """See `Engine`."""
        found = await self._open.runs.describe(ref)
        history = await histories.fetch(self._open.client, found.id, found.run_id)
        events = await self._codecs(found.id).decode_structs(history)
        return WorkflowRef(found.id, found.run_id, found.raw_info.first_run_id), events

    # -- workers

    def run_worker(self, options: WorkerOptions) -> AbstractAsyncContextManager[None]:
        """See `Engine`."""
        return serve(self.client, options, converter=self._converter, interceptors=self._interceptors)

    # -- payloads and calls

    def _encoded(self, message: contract.Message[Any], value: object, where: str) -> list[RawValue]:
        return to_raw_values(self._converter.to_payloads(message, value, where=where))

    def _context(self, workflow_id: str) -> DataConverter:
        client = self._open.client
        context = WorkflowSerializationContext(namespace=client.namespace, workflow_id=workflow_id)
        return client.data_converter.with_context(context)

    def _codecs(self, workflow_id: str) -> CodecChain:
        return codecs_of(self._context(workflow_id))

    async def _decoded(self, workflow_id: str, payloads: Sequence[PayloadProto]) -> Payloads:
        if not payloads:
            return ()
        values: list[RawValue] = await self._context(workflow_id).decode(payloads, [RawValue] * len(payloads))
        return from_raw_values(values)

    async def _failure(self, workflow_id: str, failure: FailureProto) -> FailureError:
        return self._failures.from_failure(await self._codecs(workflow_id).decode_failure(failure_from_proto(failure)))

    async def _sending(self, what: str, sent: Awaitable[T], *, to: WorkflowRef | None = None) -> T:
        """Await a call of the SDK's client; what the server refuses becomes an exception of ours.

        Raises:
            _NotFound: There is no such thing, and `to` does not say what it is.
        """
        try:
            return await sent
        except RPCTimeoutOrCancelledError as error:
            if isinstance(error.__cause__, RPCError):
                raise refusal(error.__cause__, what, self._open.client) from None
            if isinstance(error.__cause__, asyncio.CancelledError):
                raise error.__cause__ from None  # whoever cancels the caller is no time-out, which the SDK takes it for
            raise EngineError(f"{what}: {error}") from error
        except RPCError as error:
            if not is_not_found(error):
                raise refusal(error, what, self._open.client) from None
        if to is None:
            raise _NotFound
        raise await self._open.runs.missing(to)


class _NotFound(Exception):  # noqa: N818 - it says what is not there, and is no error by itself
    """There is no such thing on the server."""


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def connect(
    url: str,
    *,
    encoding: Encoding = "json/protobuf",
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    identity: str | None = None,
    temporal_interceptors: Sequence[TemporalInterceptor] = (),
    plugins: Sequence[Plugin] = (),
    runtime: Runtime | None = None,
) -> TemporalEngine:
    """As `protopact.connect` for a `temporal://` URL, with what the `temporalio` SDK has beside it.

    Args:
        url: See `protopact.temporal.address`.
        encoding: How messages are written; `json/protobuf` and `binary/protobuf` are always read.
        codecs: Applied to every payload on its way to the server, in this order: compression, encryption.
        interceptors: Hooks of ours around clients, workflows and activities, the first one outermost.
        identity: Name of this process in histories; process id and host by default.
        temporal_interceptors: Interceptors of the SDK; those of workers too serve the engine's workers.
        plugins: Plugins of the SDK.
        runtime: Runtime of the SDK, with its metrics and logs.

    Raises:
        EngineUrlError: The URL, the environment or the configuration file is wrong.
        EngineConnectionError: On entering: the server cannot be reached or refuses, or has no such namespace.
    """
    address = Address.of_url(url, os.environ)
    return TemporalEngine(
        partial(
            connect_client,
            address,
            data_converter=data_converter(encoding=encoding, codecs=codecs),
            identity=identity,
            interceptors=temporal_interceptors,
            plugins=plugins,
            runtime=runtime,
        ),
        place=f"namespace {address.namespace!r} of Temporal at {address.target}",
        encoding=encoding,
        interceptors=interceptors,
    )


def from_client(
    client: Client, *, encoding: Encoding = "json/protobuf", interceptors: Sequence[Interceptor] = ()
) -> TemporalEngine:
    """An engine on a client of the `temporalio` SDK, with the interceptors, plugins and the data converter it has.

    ::

        async with protopact.temporal.from_client(client) as engine:
            ...

    Messages are written and read by protopact; the data converter's codec is applied to them, and external storage.

    Args:
        client: A connected client; it stays connected when the engine is closed.
        encoding: How messages are written; `json/protobuf` and `binary/protobuf` are always read.
        interceptors: Hooks of ours around clients, workflows and activities, the first one outermost.
    """
    return TemporalEngine(client, place=place(client), encoding=encoding, interceptors=interceptors)
