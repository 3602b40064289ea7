"""What the tests of the embedded engine share: workflows and activities to derive from, and ways to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import Clock, Ids, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.history.event import Attributes, Event
from protopact.interceptor import Interceptor
from protopact.payload import PayloadCodec

T = TypeVar("T")


def text(value: str) -> Text:
    return Text(value=value)


async def soon(awaitable: Awaitable[T]) -> T:
    """Await what must not take long."""
    return await asyncio.wait_for(awaitable, 5)


@asynccontextmanager
async def open_engine(
    path: Path | None = None,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
) -> AsyncGenerator[EmbeddedEngine]:
    engine = EmbeddedEngine(
        store or Store(path),
        clock=clock or VirtualClock(),
        ids=Ids(1),
        codecs=codecs,
        interceptors=interceptors,
        identity="client",
    )
    async with engine:
        yield engine


def kinds(history: Sequence[Event]) -> list[str]:
    """Event types without those of workflow tasks."""
    names = [type(event.attributes).__name__ for event in history]
    return [name for name in names if not name.startswith("WorkflowTask")]


def all_kinds(history: Sequence[Event]) -> list[str]:
    return [type(event.attributes).__name__ for event in history]


A = TypeVar("A", bound=Attributes)


def find(history: Sequence[Event], kind: type[A]) -> A:
    """The attributes of the only event of a type."""
    (found,) = [event.attributes for event in history if isinstance(event.attributes, kind)]
    return found


class Waiting(lab.Free):
    """Waits for Go; Set changes what Status says."""

    def __init__(self) -> None:
        self.state = "new"

    async def run(self, request: Text) -> Text:
        signal = await self.go.receive()
        return text(f"{signal.value} {self.state}")

    def status(self, request: Text) -> Text:
        return text(self.state + request.value)

    def validate_set(self, request: Text) -> None:
        if not request.value:
            raise ValueError("nothing to set")

    async def set(self, request: Text) -> Text:
        before, self.state = self.state, request.value
        return text(before)


class Chain(Waiting):
    """Calls Echo three times, one after the other."""

    async def run(self, request: Text) -> Text:
        reply = request
        for _ in range(3):
            reply = await lab.echo(reply)
        return reply


class Sleeper(Waiting):
    """Sleeps as many seconds as it is told."""

    async def run(self, request: Text) -> Text:
        await workflow.sleep(float(request.value))
        return text("slept")


class Lab(lab.Activities):
    """Does what the activities say."""

    async def echo(self, request: Text) -> Text:
        return text(request.value + "!")

    async def beat(self, request: Text) -> Text:
        return request
