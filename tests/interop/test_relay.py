"""The same calls across each border, with and without messages, and what fails there.

The workflow is served by one side; its activities, its children and its client are of the other. `converted` is a side
in stock Python with our data converter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from uuid import uuid4

import pytest
from temporalio.client import Client
from tests.devserver import DevServer
from tests.interop.caller import Caller, Element, FailedError, Link, Run
from tests.interop.golang import go_caller, go_worker
from tests.interop.ours import OurCaller, our_worker
from tests.interop.relay.v1.relay_pb2 import (
    AmendRequest,
    AmendResponse,
    BreakRequest,
    Damage,
    FindNoteRequest,
    FindNoteResponse,
    GetNotesResponse,
    NoteRequest,
    RelayRequest,
    RelayResponse,
)
from tests.interop.relay.v1.relay_protopact import RelayService as relay
from tests.interop.stock import StockCaller, stock_worker

import protopact
from protopact.temporal import data_converter

SERVICE = "relay.v1.RelayService."
HURRY = Element(SERVICE + "Hurry", NoneType)
NOTE = Element(SERVICE + "Note", NoneType)
GET_NOTES = Element(SERVICE + "GetNotes", GetNotesResponse)
FIND_NOTE = Element(SERVICE + "FindNote", FindNoteResponse)
AMEND = Element(SERVICE + "Amend", AmendResponse)
CLOSE = Element(SERVICE + "Close", NoneType)
# More than a double holds exactly, and text that is not ASCII.
DAMAGE = Damage(part="Läufer 走者", cents=(1 << 53) + 1)


@dataclass(frozen=True)
class Border:
    """Two sides: whose client calls whose workflows."""

    caller: Caller
    here: str
    """The caller's side's task queue."""
    there: str
    """The task queue of the other side."""

    def run(self, rpc: str) -> Run:
        return Run(SERVICE + rpc, f"{rpc}/{uuid4()}", self.there)


PAIRS = [
    "go calls ours",
    "ours calls go",
    "stock calls ours",
    "ours calls stock",
    "converted calls ours",
    "ours calls converted",
]


@pytest.fixture(params=PAIRS)
async def border(request: pytest.FixtureRequest, temporal_server: DevServer) -> AsyncIterator[Border]:
    here, there = request.param.split(" calls ")
    queues = {side: f"{side}-{uuid4()}" for side in (here, there)}
    async with AsyncExitStack() as stack:
        callers: dict[str, Caller] = {}
        if "go" in queues:
            binary: Path = request.getfixturevalue("go_binary")
            callers["go"] = await stack.enter_async_context(go_caller(binary, temporal_server, Damage))
            await stack.enter_async_context(go_worker(binary, temporal_server, queues["go"]))
        for side in queues.keys() & {"stock", "converted"}:
            config = (await temporal_server.connect()).config()
            if side == "converted":
                config["data_converter"] = data_converter()
            callers[side] = StockCaller(Client(**config), Damage)
            await stack.enter_async_context(stock_worker(Client(**config), queues[side]))
        if "ours" in queues:
            engine = await stack.enter_async_context(protopact.connect(temporal_server.url))
            callers["ours"] = OurCaller(relay.Client(engine), Damage)
            await stack.enter_async_context(our_worker(temporal_server, queues["ours"]))
        yield Border(callers[here], queues[here], queues[there])


async def notes(border: Border, run: Run, *awaited: str) -> list[str]:
    """What was noted, once that is among it."""
    while True:
        noted = list((await border.caller.query(run, GET_NOTES, None)).notes)
        if set(awaited) <= set(noted):
            return noted
        await asyncio.sleep(0.01)


async def failure(awaited: object) -> FailedError:
    with pytest.raises(FailedError) as caught:
        await awaited  # type: ignore[misc] # an awaitable of anything
    return caught.value


async def test_start_signal_query_update_and_result(border: Border) -> None:
    run = border.run("Relay")
    request = RelayRequest(name="a", task_queue=border.here)
    await border.caller.signal_with_start(run, request, HURRY, None)
    assert await notes(border, run, "relayed") == ["hurry", "relayed"]
    await border.caller.signal(run, HURRY, None)
    await border.caller.signal(run, NOTE, NoteRequest(text="Läufer 走者"))
    assert await notes(border, run, "Läufer 走者") == ["hurry", "relayed", "hurry", "Läufer 走者"]
    found = await border.caller.query(run, FIND_NOTE, FindNoteRequest(index=3))
    assert found == FindNoteResponse(text="Läufer 走者")
    assert await border.caller.update(run, AMEND, AmendRequest(index=2, text="b")) == AmendResponse(previous="hurry")
    await border.caller.update(run, CLOSE, None)
    result = await border.caller.result(run, RelayResponse)
    assert result == RelayResponse(notes=["hurry", "relayed", "b", "Läufer 走者"])


async def test_nothing_goes_in_and_nothing_comes_out(border: Border) -> None:
    run = border.run("Ping")
    await border.caller.start(run, None)
    await border.caller.result(run, NoneType)  # each side sees to it that it is nothing


async def test_updates_that_are_rejected_or_fail(border: Border) -> None:
    run = border.run("Relay")
    request = RelayRequest(name="a", task_queue=border.here)
    begun = await failure(border.caller.update_with_start(run, request, AMEND, AmendRequest(index=9, text="x")))
    assert [link.type for link in begun.links] == ["NoSuchNote"]
    await notes(border, run, "relayed")
    failed = await failure(border.caller.update(run, AMEND, AmendRequest(index=1, text="x")))
    missing = Damage(part="notes", cents=1)
    assert failed.links == (Link("application", "NoSuchNote", "there is no such note", details=(missing,)),)
    rejected = await failure(border.caller.update(run, AMEND, AmendRequest(index=0)))
    assert rejected.links == (Link("application", "TextMissing", "a text is needed", details=(Damage(part="text"),)),)
    asked = await failure(border.caller.query(run, FIND_NOTE, FindNoteRequest(index=1)))
    assert "there is no such note" in str(asked)
    await border.caller.update(run, CLOSE, None)
    assert await border.caller.result(run, RelayResponse) == RelayResponse(notes=["relayed"])


@pytest.mark.parametrize("non_retryable", [False, True])
async def test_a_failure_keeps_type_message_details_cause_and_whether_to_retry(
    border: Border, *, non_retryable: bool
) -> None:
    run = border.run("Break")
    broken = BreakRequest(message="it broke", type="BreakError", non_retryable=non_retryable, damage=DAMAGE)
    chain = (
        Link("application", "BreakError", "it broke", non_retryable, (DAMAGE,)),
        Link("application", "CrackError", "a crack"),
    )
    await border.caller.start(run, broken)
    assert (await failure(border.caller.result(run, NoneType))).links == chain

    run = border.run("Break")
    broken.task_queue = border.here
    await border.caller.start(run, broken)
    activity = Link("activity", SERVICE + "Snap")
    assert (await failure(border.caller.result(run, NoneType))).links == (activity, *chain)
