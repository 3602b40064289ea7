"""Our side: workers of both services, and a client that calls generated methods with messages of either library."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, TypeVar

from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node
from google.protobuf.message import Message
from tests.devserver import DevServer
from tests.interop.caller import Caller, Element, FailedError, Link, Run
from tests.interop.our_code import Break, Ping, Provisioner, Relay, Relayer
from tests.interop.relay.v1.relay_protopact import RelayService as relay

import protopact
from protopact import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    QueryError,
    UpdateFailedError,
    WorkflowFailedError,
)

__all__ = ["OurCaller", "our_node_worker", "our_worker"]

M = TypeVar("M", bound=Message | None)


@asynccontextmanager
async def our_worker(server: DevServer, task_queue: str) -> AsyncGenerator[None]:
    async with (
        protopact.connect(server.url) as engine,
        engine.worker(workflows=[Relay, Ping, Break], activities=[Relayer()], services=[relay], task_queue=task_queue),
    ):
        yield


@asynccontextmanager
async def our_node_worker(server: DevServer) -> AsyncGenerator[None]:
    """On the contract's task queue."""
    async with (
        protopact.connect(server.url) as engine,
        engine.worker(workflows=[AddNode, DeleteNode], activities=[Provisioner()], services=[node]),
    ):
        yield


class OurCaller(Caller):
    """Calls the methods of a generated client.

    Args:
        client: Of either service.
        detail: As Caller's.
        messages: Module of betterproto2's messages, when the client takes those.
    """

    def __init__(self, client: Any, detail: type[Message], messages: ModuleType | None = None) -> None:  # noqa: ANN401 - of any service
        super().__init__(detail)
        self._client = client
        self._messages = messages

    def _given(self, request: Message | None) -> list[Any]:
        """The arguments of a method: its request, in the client's library."""
        if request is None:
            return []
        if self._messages is None:
            return [request]
        return [getattr(self._messages, request.DESCRIPTOR.name).parse(request.SerializeToString())]

    def _had(self, value: Any, response: type[M]) -> M:  # noqa: ANN401 - a message of either library
        had: M = value
        if issubclass(response, Message) and not isinstance(value, Message):
            had = response.FromString(bytes(value))
        assert isinstance(had, response)
        return had

    def _handle(self, run: Run) -> Any:  # noqa: ANN401 - of any workflow
        return getattr(self._client, f"{_method(run.workflow)}_handle")(run.id)

    async def _tried(self, call: Callable[[], Any], response: type[M]) -> M:
        try:
            return self._had(await call(), response)
        except (WorkflowFailedError, UpdateFailedError) as error:
            raise FailedError(str(error), tuple(self._links(error.cause))) from error
        except QueryError as error:
            raise FailedError(str(error)) from error

    async def start(self, run: Run, request: Message | None) -> None:
        start = getattr(self._client, f"start_{_method(run.workflow)}")
        await start(*self._given(request), id=run.id, task_queue=run.task_queue)

    async def signal_with_start(self, run: Run, request: Message, signal: Element[None], told: Message | None) -> None:
        start = getattr(self._client, f"start_{_method(run.workflow)}_with_{_method(signal.name)}")
        await start(*self._given(request), *self._given(told), id=run.id, task_queue=run.task_queue)

    async def update_with_start(self, run: Run, request: Message, update: Element[M], asked: Message) -> M:
        start = getattr(self._client, f"start_{_method(run.workflow)}_with_{_method(update.name)}")

        async def call() -> object:
            _, handle = await start(*self._given(request), *self._given(asked), id=run.id, task_queue=run.task_queue)
            return await handle.result()

        return await self._tried(call, update.response)

    async def result(self, run: Run, response: type[M]) -> M:
        return await self._tried(self._handle(run).result, response)

    async def signal(self, run: Run, signal: Element[None], request: Message | None) -> None:
        await getattr(self._handle(run), _method(signal.name))(*self._given(request))

    async def query(self, run: Run, query: Element[M], request: Message | None) -> M:
        method = getattr(self._handle(run), _method(query.name))
        return await self._tried(lambda: method(*self._given(request)), query.response)

    async def update(self, run: Run, update: Element[M], request: Message | None) -> M:
        method = getattr(self._handle(run), _method(update.name))
        return await self._tried(lambda: method(*self._given(request)), update.response)

    def _links(self, error: BaseException | None) -> list[Link]:
        links: list[Link] = []
        while error is not None:
            match error:
                case ApplicationError():
                    details = tuple(self._detail(error, index) for index in range(len(error.details)))
                    links.append(Link("application", error.type or "", error.message, error.non_retryable, details))
                case ActivityError():
                    links.append(Link("activity", error.activity_type))
                case ChildWorkflowError():
                    links.append(Link("child", error.workflow_type))
                case _:
                    raise AssertionError(f"unexpected in a chain: {error!r}")
            error = error.__cause__
        return links

    def _detail(self, error: ApplicationError, index: int) -> Message:
        cls = getattr(self._messages, self.detail.DESCRIPTOR.name) if self._messages else self.detail
        return self._had(error.details.get(index, cls), self.detail)


def _method(name: str) -> str:
    """The Python name of an rpc, by its full name."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.rpartition(".")[2]).lower()
