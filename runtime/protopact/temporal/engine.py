"""The Temporal engine: the interface of every engine, over a client of the `temporalio` SDK."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest
from temporalio.client import Client, Plugin
from temporalio.client import Interceptor as TemporalInterceptor
from temporalio.runtime import Runtime

from protopact import contract
from protopact.completion import CompleteActivity, FailActivity, HeartbeatActivity, ReportActivityCancellation
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
from protopact.errors import EngineClosedError, OptionError, ProtopactError
from protopact.history.event import Event, WorkflowTaskCompleted
from protopact.interceptor import Interceptor, chain
from protopact.options import check_text
from protopact.payload import Encoding, PayloadCodec, PayloadConverter
from protopact.temporal import histories, views
from protopact.temporal.address import Address
from protopact.temporal.calls import Call, calling
from protopact.temporal.client import connect as connect_client
from protopact.temporal.client import describe_namespace
from protopact.temporal.completions import Completions
from protopact.temporal.converter import data_converter
from protopact.temporal.queries import Queries
from protopact.temporal.refusals import place, refusing
from protopact.temporal.results import result
from protopact.temporal.session import Session
from protopact.temporal.starts import Starts
from protopact.temporal.updates import Updates
from protopact.temporal.worker import serve

__all__ = ["TemporalEngine", "connect", "from_client"]

Req = TypeVar("Req")
Resp = TypeVar("Resp")


class TemporalEngine(Engine):
    """An engine on a Temporal cluster. Used within `async with`, on one event loop.

    Args:
        client: A connected client of the SDK, or what connects one when the engine is opened.
        place: The namespace and its server, for messages.
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
        self._client = client
        self._place = place
        self._converter = PayloadConverter(encoding)
        self._interceptors = tuple(interceptors)
        self._opened: tuple[Session, asyncio.AbstractEventLoop, int] | None = None
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self._start = chain(self._interceptors, "start_workflow", self._do_start)
        self._signal = chain(self._interceptors, "signal_workflow", self._do_signal)
        self._signal_with_start = chain(self._interceptors, "signal_with_start", self._do_signal_with_start)
        self._query = chain(self._interceptors, "query_workflow", self._do_query)
        self._update = chain(self._interceptors, "update_workflow", self._do_update)
        self._update_with_start = chain(self._interceptors, "update_with_start", self._do_update_with_start)
        self._cancel = chain(self._interceptors, "cancel_workflow", self._do_cancel)
        self._terminate = chain(self._interceptors, "terminate_workflow", self._do_terminate)
        self._reset = chain(self._interceptors, "reset_workflow", self._do_reset)
        self._complete = chain(self._interceptors, "complete_activity", self._do_complete)
        self._fail = chain(self._interceptors, "fail_activity", self._do_fail)
        self._report_cancellation = chain(
            self._interceptors, "report_activity_cancellation", self._do_report_cancellation
        )
        self._heartbeat = chain(self._interceptors, "heartbeat_activity", self._do_heartbeat)

    def __repr__(self) -> str:
        """Names the namespace and the server."""
        return f"<{type(self).__name__} on {self._place}>"

    @property
    def client(self) -> Client:
        """The client of the SDK that the engine uses: for what protopact does not wrap.

        Raises:
            EngineClosedError: The engine is not open.
        """
        return self._session.client

    # -- life

    async def open(self) -> None:
        """Connect. `async with` calls it.

        Raises:
            EngineConnectionError: The server cannot be reached or refuses, or has no such namespace.
        """
        if isinstance(self._client, Client):
            client = self._client
            await describe_namespace(client)
        else:
            client = await self._client()
        self._opened = Session(client, self._converter), asyncio.get_running_loop(), os.getpid()

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
        """Stop the workers that still serve, let go of the connection. Idempotent.

        A client that was given stays open.
        """
        if self._opened is None:
            return
        session = self._opened[0]
        try:
            ended = await asyncio.gather(*(stop() for stop in list(self._stops)), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error
        finally:
            self._opened = None
            await session.close()

    @property
    def _session(self) -> Session:
        if self._opened is None:
            raise EngineClosedError(f"the engine on {self._place} is not open; use it within `async with`")
        session, loop, process = self._opened
        if os.getpid() != process:
            raise EngineClosedError(
                f"the engine on {self._place} was opened before this process was forked; connect in each process"
            )
        if asyncio.get_running_loop() is not loop:
            raise EngineClosedError(
                f"the engine on {self._place} was opened on another event loop; connect on this one"
            )
        return session

    # -- starts

    async def start_workflow(self, call: StartWorkflow[Req, Resp]) -> Started:
        """See `Engine`."""
        started: Started = await self._start(call)
        return started

    async def _do_start(self, call: StartWorkflow[Any, Any]) -> Started:
        return await self._starts.start(call)

    async def signal_with_start(self, start: StartWorkflow[Req, Resp], signal: SignalWorkflow[object]) -> Started:
        """See `Engine`."""
        started: Started = await self._signal_with_start(start, signal)
        return started

    async def _do_signal_with_start(self, start: StartWorkflow[Any, Any], signal: SignalWorkflow[Any]) -> Started:
        return await self._starts.with_signal(start, signal)

    async def update_with_start(
        self, start: StartWorkflow[Req, Resp], update: UpdateWorkflow[object, object]
    ) -> tuple[Started, UpdateStarted]:
        """See `Engine`."""
        started: tuple[Started, UpdateStarted] = await self._update_with_start(start, update)
        return started

    async def _do_update_with_start(
        self, start: StartWorkflow[Any, Any], update: UpdateWorkflow[Any, Any]
    ) -> tuple[Started, UpdateStarted]:
        return await self._starts.with_update(start, update)

    @property
    def _starts(self) -> Starts:
        return Starts(self._session, self._updates)

    # -- signals, queries, updates

    async def signal_workflow(self, call: SignalWorkflow[Req]) -> None:
        """See `Engine`."""
        await self._signal(call)

    async def _do_signal(self, call: SignalWorkflow[Any]) -> None:
        session, signal, ref = self._session, call.signal, call.ref
        arguments = session.encoded(signal.request, call.request, f"request of {signal.name}")
        handle = session.calls.get_workflow_handle(ref.workflow_id, run_id=ref.run_id)
        with calling(Call(headers=call.headers, request_id=call.request_id)):
            await self._sending(f"signal {signal.name}", handle.signal(signal.name, args=arguments), ref)

    async def query_workflow(self, call: QueryWorkflow[Req, Resp]) -> Resp:
        """See `Engine`."""
        answer: Resp = await self._query(call)
        return answer

    async def _do_query(self, call: QueryWorkflow[Any, Any]) -> object:
        return await Queries(self._session).ask(call)

    async def update_workflow(self, call: UpdateWorkflow[Req, Resp]) -> UpdateStarted:
        """See `Engine`."""
        started: UpdateStarted = await self._update(call)
        return started

    async def _do_update(self, call: UpdateWorkflow[Any, Any]) -> UpdateStarted:
        return await self._updates.update(call)

    async def update_result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """See `Engine`."""
        return await self._updates.result(update, response)

    @property
    def _updates(self) -> Updates:
        return Updates(self._session)

    # -- results and ends

    async def workflow_result(
        self, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool = True
    ) -> Resp:
        """See `Engine`."""
        return await result(self._session, ref, response, follow_runs=follow_runs)

    async def cancel_workflow(self, call: CancelWorkflow) -> None:
        """See `Engine`."""
        await self._cancel(call)

    async def _do_cancel(self, call: CancelWorkflow) -> None:
        session, ref = self._session, call.ref
        # The server thanks for the request to cancel a closed run.
        await session.runs.check_open(ref)
        handle = session.calls.get_workflow_handle(
            ref.workflow_id, run_id=ref.run_id, first_execution_run_id=ref.first_run_id
        )
        await self._sending("request to cancel", handle.cancel(reason=call.reason), ref)

    async def terminate_workflow(self, call: TerminateWorkflow) -> None:
        """See `Engine`."""
        await self._terminate(call)

    async def _do_terminate(self, call: TerminateWorkflow) -> None:
        ref = call.ref
        handle = self._session.calls.get_workflow_handle(
            ref.workflow_id, run_id=ref.run_id, first_execution_run_id=ref.first_run_id
        )
        await self._sending("termination", handle.terminate(reason=call.reason or None), ref)

    async def _sending(self, what: str, call: Awaitable[None], ref: WorkflowRef) -> None:
        session = self._session

        async def missing() -> ProtopactError:
            return await session.runs.missing(ref)

        await session.sending(what, call, missing=missing)

    async def reset_workflow(self, call: ResetWorkflow) -> str:
        """See `Engine`."""
        run_id: str = await self._reset(call)
        return run_id

    async def _do_reset(self, call: ResetWorkflow) -> str:
        session = self._session
        found = await session.runs.describe(call.ref)
        request = ResetWorkflowExecutionRequest(
            namespace=session.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
            reason=call.reason,
            workflow_task_finish_event_id=call.event_id,
            request_id=str(self.uuid4()),
            identity=session.client.identity,
        )
        what = f"reset of workflow {found.id!r} (run {found.run_id}) to event {call.event_id}"
        try:
            with refusing(what, session.client):
                answer = await session.client.workflow_service.reset_workflow_execution(request, retry=True)
        except OptionError as error:
            history = await histories.fetch(session, found)
            tasks = [str(each.event_id) for each in history if isinstance(each.attributes, WorkflowTaskCompleted)]
            raise OptionError(
                f"{error}; expected an event that starts or ends a workflow task. The completed tasks of the run are "
                f"events {', '.join(tasks) or 'none'}"
            ) from error
        return answer.run_id

    async def delete_workflow(self, ref: WorkflowRef) -> None:
        """See `Engine`. The server deletes when it finds the time: what it holds of a closed run, within a minute."""
        session = self._session
        found = await session.runs.describe(ref)
        execution = WorkflowExecution(workflow_id=found.id, run_id=found.run_id)
        request = DeleteWorkflowExecutionRequest(namespace=session.client.namespace, workflow_execution=execution)
        with refusing(f"deletion of workflow {found.id} (run {found.run_id})", session.client):
            await session.client.workflow_service.delete_workflow_execution(request, retry=True)

    # -- activities that are completed from outside

    async def complete_activity(self, call: CompleteActivity[Resp]) -> None:
        """See `Engine`."""
        await self._complete(call)

    async def _do_complete(self, call: CompleteActivity[Any]) -> None:
        await Completions(self._session).complete(call)

    async def fail_activity(self, call: FailActivity) -> None:
        """See `Engine`."""
        await self._fail(call)

    async def _do_fail(self, call: FailActivity) -> None:
        await Completions(self._session).fail(call)

    async def report_activity_cancellation(self, call: ReportActivityCancellation) -> None:
        """See `Engine`."""
        await self._report_cancellation(call)

    async def _do_report_cancellation(self, call: ReportActivityCancellation) -> None:
        await Completions(self._session).report_cancellation(call)

    async def heartbeat_activity(self, call: HeartbeatActivity) -> None:
        """See `Engine`."""
        await self._heartbeat(call)

    async def _do_heartbeat(self, call: HeartbeatActivity) -> None:
        await Completions(self._session).heartbeat(call)

    # -- views

    async def describe_workflow(self, ref: WorkflowRef) -> WorkflowDescription:
        """See `Engine`."""
        session = self._session
        found = await session.runs.describe(ref)
        task_failure = await histories.task_failure(session, found)
        return await views.describe(found, session.codecs(found.id), task_failure=task_failure)

    async def list_workflows(
        self, *, workflow_type: str | None = None, workflow_id: str | None = None, status: WorkflowStatus | None = None
    ) -> AsyncIterator[WorkflowDescription]:
        """See `Engine`. The server knows of starts and ends a moment later, and lists open runs before closed ones."""
        session = self._session
        check_text((workflow_type, workflow_id), "list of workflows")
        conditions = {
            "WorkflowType": workflow_type,
            "WorkflowId": workflow_id,
            "ExecutionStatus": None if status is None else status.value,
        }
        terms = [views.condition(name, text) for name, text in conditions.items() if text is not None]
        with refusing("list of workflows", session.client):
            async for found in session.calls.list_workflows(" AND ".join(filter(None, terms)) or None):
                if workflow_id in {None, found.id} and workflow_type in {None, found.workflow_type}:
                    yield await views.describe(found, session.codecs(found.id))

    async def workflow_history(self, ref: WorkflowRef) -> tuple[WorkflowRef, Sequence[Event]]:
        """See `Engine`."""
        session = self._session
        found = await session.runs.describe(ref)
        history = await histories.fetch(session, found)
        decoded = history.replace(await session.codecs(found.id).decode_structs(history))
        return WorkflowRef(found.id, found.run_id, found.raw_info.first_run_id), decoded

    # -- workers

    def run_worker(self, options: WorkerOptions) -> AbstractAsyncContextManager[None]:
        """See `Engine`."""
        return serve(
            self.client, options, converter=self._converter, interceptors=self._interceptors, stops=self._stops
        )


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
