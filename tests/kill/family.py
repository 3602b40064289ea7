"""A second program for processes that are killed: a parent that continues as new, its children, and a sink of signals.

The parent draws a token as a side effect, calls a local activity, sets attributes, starts two children, signals one of
them and the sink, and goes on as another run. That one starts a third child, cancels the second, signals the sink and
ends; its end terminates the third.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.embedded.bench import Lab, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.kill.journal import Journal
from tests.kill.scenario import MortalStore, Part

import protopact
from protopact import workflow
from protopact.embedded.engine import EmbeddedEngine

OUTCOMES = {
    "start sink": "sink",
    "start parent": "parent",
    "parent": "child of a family, local!",
    "kept": "CancelledError",
    "end": "",
    "sink": "again, child, parent",
}
"""What each call answers, killed or not."""


class Parent(lab.Other):
    """The parent, in two runs."""

    async def run(self, request: Text) -> Text:
        if request.value == "parent":
            await self._first()
        return await self._second(request)

    async def _first(self) -> None:
        token = await workflow.side_effect(lambda: str(uuid.uuid4()), str)
        workflow.upsert_memo({"token": token, "stage": "first"})
        noted = await lab.Local.echo(text("local"))
        if workflow.patched("family"):
            workflow.upsert_search_attributes({"Round": 1})
        await lab.Free.start_child(text("kept"), parent_close_policy=protopact.ParentClosePolicy.ABANDON)
        child = await lab.Free.start_child(text("child"))
        await child.go(text(token))
        await lab.Free.external("sink").go(text("parent"))
        said = await child
        await workflow.sleep(0.001)
        self.continue_as_new(text(f"{said.value}, {noted.value}"), memo=workflow.memo())

    async def _second(self, request: Text) -> Text:
        workflow.upsert_memo({"stage": "second"})
        await lab.Free.start_child(text("stays"))
        await lab.Free.external("kept").cancel(reason="no more")
        await workflow.sleep(0.001)
        await lab.Free.external("sink").go(text("again"))
        return request


class Member(lab.Free):
    """A child, or the sink."""

    async def run(self, request: Text) -> Text:
        match request.value:
            case "sink":
                return await self._gather()
            case "child":
                return await self._work()
            case _:
                await workflow.sleep(3600)
                return request

    async def _gather(self) -> Text:
        got = list[str]()
        while not (word := (await self.go.receive()).value).startswith("end"):
            got.append(word)
        return text(", ".join(sorted(got)))

    async def _work(self) -> Text:
        token = await self.go.receive()
        await lab.Local.echo(token)
        await lab.Free.external("sink").go(text("child"))
        return text("child of a family")

    def status(self, request: Text) -> Text:
        return request

    async def set(self, request: Text) -> Text:
        return request


WORKFLOWS: dict[str, type[workflow.Workflow]] = {"Other": Parent, "Free": Member}


def play(folder: Path, part: Part) -> None:
    """Do a part. The database and the journal are in `folder`."""
    asyncio.run(_play(folder, part))


async def _play(folder: Path, part: Part) -> None:
    journal = Journal(folder / "journal.jsonl")
    store = MortalStore(folder / "family.db", part)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(EmbeddedEngine(store))
        served = [WORKFLOWS[name] for name in part.serves or WORKFLOWS]
        await stack.enter_async_context(engine.worker(workflows=served, activities=[Lab()]))
        if part.client:
            await Calls(lab.Client(engine), journal).make()
        else:
            await asyncio.Event().wait()
    journal.write("commits", number=store.commits)


class Calls:
    """A client whose calls are made again until they are acknowledged; their argument is the number of the try."""

    def __init__(self, client: lab.Client, journal: Journal) -> None:
        self._client = client
        self._journal = journal

    async def make(self) -> None:
        """Make every call that has not been acknowledged."""
        calls: tuple[Callable[[int], Awaitable[str]], ...] = (
            self._start_sink,
            self._start_parent,
            self._parent,
            self._kept,
            self._end,
            self._sink,
        )
        for name, call in zip(OUTCOMES, calls, strict=True):
            if not self._journal.entries("ack", name):
                number = len(self._journal.entries("call", name)) + 1
                self._journal.write("call", name, number)
                self._journal.write("ack", name, number, await call(number))

    async def _start_sink(self, _: int) -> str:
        return (await self._client.start_free(text("sink"), request_id="sink")).id

    async def _start_parent(self, _: int) -> str:
        return (await self._client.start_other(text("parent"), request_id="parent")).id

    async def _parent(self, _: int) -> str:
        return (await self._client.other_handle("parent").result()).value

    async def _kept(self, _: int) -> str:
        try:
            await self._client.free_handle("kept").result()
        except protopact.WorkflowFailedError as error:
            return type(error.__cause__).__name__
        return "returned"

    async def _end(self, number: int) -> str:
        try:
            await self._client.free_handle("sink").go(text(f"end {number}"))
        except protopact.AlreadyClosedError:
            self._journal.write("late", "end", number)
        return ""

    async def _sink(self, _: int) -> str:
        return (await self._client.free_handle("sink").result()).value
