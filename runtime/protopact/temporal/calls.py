"""What the SDK's client has no parameter for: headers and request ids of a call, and the server's whole answer.

Calls go through the SDK's own methods, so that its interceptors see them. What a `Call` says is added on the way:
headers by an interceptor that stands before all others, request ids where requests leave for the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionResponse,
)
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.service import RPCError, ServiceClient

from protopact.errors import EngineClosedError
from protopact.payload import Headers, Payload
from protopact.temporal.client import settle
from protopact.temporal.payloads import headers_to_protos

__all__ = ["Call", "Calls", "calling"]

R = TypeVar("R", bound=Message)

if not hasattr(ServiceClient, "_rpc_call"):
    # The class is public and this its one abstract method; there is no other place to see each request and answer.
    raise ImportError("its ServiceClient has no method _rpc_call", name="temporalio.service")

_REQUESTS = (StartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionRequest, SignalWorkflowExecutionRequest)


@dataclass(slots=True, kw_only=True)
class Call:
    """A call that is on its way.

    Attributes:
        headers: Headers of what is sent; of an update-with-start, of the start.
        update_headers: Headers of the update of an update-with-start.
        signals: Whether it is a signal-with-start.
        request_id: By which the server knows the request when it comes once more.
        started: What the server answered to a start.
        updated: What the server answered to an update.
        refused: What the server refused it with, of which the SDK may keep the message only.
    """

    headers: Headers = field(default_factory=dict[str, Payload])
    update_headers: Headers = field(default_factory=dict[str, Payload])
    signals: bool = False
    request_id: str | None = None
    started: StartWorkflowExecutionResponse | SignalWithStartWorkflowExecutionResponse | None = None
    updated: UpdateWorkflowExecutionResponse | None = None
    refused: RPCError | None = None

    def mark(self, request: Message) -> None:
        """Give a request the call's id."""
        if self.request_id is None:
            return
        if isinstance(request, _REQUESTS):
            request.request_id = self.request_id
        elif isinstance(request, ExecuteMultiOperationRequest):
            request.operations[0].start_workflow.request_id = self.request_id

    def hear(self, answer: Message) -> None:
        """Note what the server answered."""
        if isinstance(answer, StartWorkflowExecutionResponse | SignalWithStartWorkflowExecutionResponse):
            self.started = answer
        elif isinstance(answer, UpdateWorkflowExecutionResponse):
            self.updated = answer
        elif isinstance(answer, ExecuteMultiOperationResponse):
            self.started = answer.responses[0].start_workflow
            self.updated = answer.responses[1].update_workflow


_current: ContextVar[Call | None] = ContextVar("protopact.temporal.call", default=None)


@contextmanager
def calling(call: Call) -> Generator[Call]:
    """Have what the SDK's client does within the context be this call."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


class Calls:
    """The calls of an engine.

    Args:
        client: A client of the SDK.
        place: The server, for messages.

    Attributes:
        client: A client of the same server, with the same interceptors, whose calls heed `calling` and end with
            `close`.
    """

    def __init__(self, client: Client, place: str) -> None:
        self._service = _Service(client.service_client, place)
        config = client.config(active_config=True)
        config["interceptors"] = [_Headers(), *config["interceptors"]]
        config["service_client"] = self._service
        config["plugins"] = []  # they have configured the client already
        self.client = Client(**config)

    async def close(self) -> None:
        """End the calls that are on their way; whoever awaits one gets an `EngineClosedError`."""
        await self._service.close()


class _Headers(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _HeadersOutbound(next)


# The results of workflows, queries and updates are of any type: the SDK says so.
class _HeadersOutbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - as above
        input.headers = _added(input.headers)
        return await super().start_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002, ANN401 - as above
        input.headers = _added(input.headers)
        return await super().query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002 - as above
        input.headers = _added(input.headers)
        await super().signal_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002 - as above
        input.headers = _added(input.headers)
        return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002 - as above
    ) -> WorkflowUpdateHandle[Any]:
        call = _current.get()
        start, update = input.start_workflow_input, input.update_workflow_input
        start.headers = _added(start.headers)
        if call is not None:
            update.headers = {**update.headers, **headers_to_protos(call.update_headers)}
        return await super().start_update_with_start_workflow(input)


def _added(headers: Mapping[str, PayloadProto]) -> Mapping[str, PayloadProto]:
    call = _current.get()
    return {**headers, **headers_to_protos(call.headers)} if call is not None else headers


class _Service(ServiceClient):
    """The server, as the client's own service client reaches it: requests get their id, and calls their answer."""

    def __init__(self, service: ServiceClient, place: str) -> None:
        super().__init__(service.config)
        self._service = service
        self._place = place
        self._pending = set[asyncio.Task[Any]]()  # of answers of every type
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True
        for pending in self._pending:
            pending.cancel()
        await settle()

    # The type is private to the SDK, and workers are what needs it; they get the client itself.
    @property
    def worker_service_client(self) -> Any:  # noqa: ANN401
        return self._service.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        self._service.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        self._service.update_api_key(api_key)

    async def _rpc_call(
        self,
        rpc: str,
        req: Message,
        resp_type: type[R],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,  # noqa: ASYNC109 - the SDK's signature
    ) -> R:
        call = _current.get() or Call()
        call.mark(req)
        pending = asyncio.ensure_future(
            self._service._rpc_call(  # noqa: SLF001 - see above
                rpc, req, resp_type, service=service, retry=retry, metadata=metadata, timeout=timeout
            )
        )
        self._pending.add(pending)
        try:
            answer = await pending
        except asyncio.CancelledError:
            if self._is_closed:
                raise EngineClosedError(f"the engine on {self._place} was closed during the call") from None
            raise
        except RPCError as error:
            call.refused = error
            raise
        finally:
            self._pending.discard(pending)
        call.hear(answer)
        return answer
