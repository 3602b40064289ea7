"""Headers between the interceptors of ours and the SDK, which shows them to interceptors of its own alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from protopact.payload import Headers
from protopact.temporal.payloads import headers_from_protos, headers_to_protos

__all__ = ["HeaderInterceptor", "received_headers", "sending"]

_received: ContextVar[Mapping[str, PayloadProto]] = ContextVar("protopact_received_headers")
_sent: ContextVar[Headers | None] = ContextVar("protopact_sent_headers", default=None)


def received_headers() -> Headers:
    """Headers of the signal, query, update or activity whose code calls."""
    return headers_from_protos(_received.get({}))


@contextmanager
def sending(headers: Headers) -> Generator[None]:
    """Send headers with what the block calls."""
    token = _sent.set(headers or None)
    try:
        yield
    finally:
        _sent.reset(token)


class HeaderInterceptor(Interceptor):
    """Hands headers over, innermost: between the interceptors of the SDK and the code."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Hand the headers of an activity over."""
        return _Activity(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's
    ) -> type[WorkflowInboundInterceptor]:
        """What hands the headers of a run over."""
        return _Inbound


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's
        _received.set(input.headers)
        return await super().execute_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002 - the SDK's
        _received.set(input.headers)
        await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002, ANN401 - the SDK's
        _received.set(input.headers)
        return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002 - the SDK's
        _received.set(input.headers)
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002, ANN401 - the SDK's
        _received.set(input.headers)
        return await super().handle_update_handler(input)


class _Outbound(WorkflowOutboundInterceptor):
    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        super().continue_as_new(input)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002 - the SDK's
        input.headers = _with_sent(input.headers)
        await super().signal_external_workflow(input)


def _with_sent(headers: Mapping[str, PayloadProto]) -> Mapping[str, PayloadProto]:
    sent = _sent.get()
    return headers if sent is None else {**headers, **headers_to_protos(sent)}
