"""The Go side: its worker and its client, each a process that ends with its input."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from tests.devserver import DevServer
from tests.interop.caller import Caller, Element, FailedError, Link, Run

__all__ = ["GoCaller", "go_caller", "go_worker"]

M = TypeVar("M", bound=Message | None)


@asynccontextmanager
async def _process(binary: Path, *arguments: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(binary, *arguments, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def go_worker(binary: Path, server: DevServer, task_queue: str) -> AsyncGenerator[None]:
    async with _process(binary, "worker", server.address, server.namespace, task_queue) as process:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        yield


@asynccontextmanager
async def go_caller(binary: Path, server: DevServer, detail: type[Message]) -> AsyncGenerator[GoCaller]:
    async with _process(binary, "client", server.address, server.namespace) as process:
        yield GoCaller(process, detail)


class GoCaller(Caller):
    """Has the Go client do what it is asked, by a line of JSON each."""

    def __init__(self, process: Process, detail: type[Message]) -> None:
        super().__init__(detail)
        self._process = process

    async def _ask(self, do: str, run: Run, response: type[M], **parts: object) -> M:
        command = {"do": do, "id": run.id, "workflow": run.workflow, "task_queue": run.task_queue, **parts}
        command |= {"response": _name(response), "detail": _name(self.detail)}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline())
        if "failure" in answer:
            raise FailedError(answer["failure"]["message"], tuple(_links(answer["failure"], self.detail)))
        if response is NoneType:
            assert "response" not in answer
            return None  # type: ignore[return-value] # NoneType is what M is
        return _read(answer["response"], response)

    async def start(self, run: Run, request: Message | None) -> None:
        await self._ask("start", run, NoneType, request=_written(request))

    async def signal_with_start(self, run: Run, request: Message, signal: Element[None], told: Message | None) -> None:
        parts = {"name": signal.name, "request": _written(told), "start": _written(request)}
        await self._ask("signal_with_start", run, NoneType, **parts)

    async def update_with_start(self, run: Run, request: Message, update: Element[M], asked: Message) -> M:
        parts = {"name": update.name, "request": _written(asked), "start": _written(request)}
        return await self._ask("update_with_start", run, update.response, **parts)

    async def result(self, run: Run, response: type[M]) -> M:
        return await self._ask("result", run, response)

    async def signal(self, run: Run, signal: Element[None], request: Message | None) -> None:
        await self._ask("signal", run, NoneType, name=signal.name, request=_written(request))

    async def query(self, run: Run, query: Element[M], request: Message | None) -> M:
        return await self._ask("query", run, query.response, name=query.name, request=_written(request))

    async def update(self, run: Run, update: Element[M], request: Message | None) -> M:
        return await self._ask("update", run, update.response, name=update.name, request=_written(request))


def _name(cls: type[M]) -> str:
    return cls.DESCRIPTOR.full_name if issubclass(cls, Message) else ""


def _written(request: Message | None) -> Mapping[str, Any] | None:
    if request is None:
        return None
    return {"type": request.DESCRIPTOR.full_name, "value": json_format.MessageToDict(request)}


def _read(told: Mapping[str, Any], cls: type[M]) -> M:
    assert issubclass(cls, Message)
    assert told["type"] == cls.DESCRIPTOR.full_name, told
    return json_format.ParseDict(told["value"], cls())


def _links(told: Mapping[str, Any] | None, detail: type[Message]) -> list[Link]:
    """The chain below what wraps it: Go's error of a workflow."""
    links: list[Link] = []
    while told is not None:
        if told["kind"] == "application":
            details = tuple(_read(each, detail) for each in told.get("details", ()))
            retry = told.get("non_retryable", False)
            links.append(Link("application", told.get("type", ""), told["message"], retry, details))
        elif told["kind"] in ("activity", "child"):
            links.append(Link(told["kind"], told["type"]))
        told = told.get("cause")
    return links
