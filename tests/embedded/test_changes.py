"""Runs whose code changes, and what they set of themselves while they run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.embedded.bench import Lab, Waiting, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_seams import Squeezing

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.errors import OptionError, QueryError
from protopact.history.event import WorkflowPropertiesModified


class After(Waiting):
    async def run(self, request: Text) -> Text:
        old = not workflow.patched("new-word")
        await self.go.receive()
        assert workflow.patched("new-word") is not old, "it answers alike all along"
        return await lab.echo(text("old" if old else "new"))


class Later(Waiting):
    async def run(self, request: Text) -> Text:
        workflow.deprecate_patch("new-word")
        await self.go.receive()
        return await lab.echo(text("new"))


class AtLast(Waiting):
    async def run(self, request: Text) -> Text:
        await self.go.receive()
        return await lab.echo(text("new"))


async def run_of(engine: EmbeddedEngine, code: type[Waiting], workflow_id: str) -> lab.Free.Handle:
    """A run that a worker with this code has begun, and that waits."""
    async with engine.worker(workflows=[code]):
        handle = await lab.Client(engine).start_free(text(workflow_id))
        await soon(handle.status(text("")))
    return handle


async def test_a_run_that_noted_a_patch_needs_the_call(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    handle = await run_of(engine, After, "a")
    async with engine.worker(workflows=[AtLast], activities=[Lab()]):
        await handle.go(text(""))
        await clock.settle()
    assert "the marker of patch 'new-word'" in ((await handle.describe()).task_failure or "")
    async with engine.worker(workflows=[Later], activities=[Lab()]):
        await clock.advance(timedelta(seconds=2))
        assert (await soon(handle.result())).value == "new!"


class Setting(Waiting):
    seen: list[object]

    async def run(self, request: Text) -> Text:
        workflow.upsert_memo({"stage": "begun", "note": "a"})
        workflow.upsert_search_attributes({"Nodes": 3, "Ready": False, "Since": workflow.now(), "Zones": ["a", "b"]})
        await self.go.receive()
        workflow.upsert_memo({"note": None, "stage": "over"})
        workflow.upsert_search_attributes({"Ready": True, "Nodes": None})
        type(self).seen = [dict(workflow.memo()), dict(workflow.search_attributes())]
        await self.go.receive()
        return text("")


@pytest.mark.parametrize("codecs", [(), (Squeezing(),)], ids=["plain", "coded"])
async def test_what_a_run_sets_is_told_of_it(
    path: Path | None, clock: VirtualClock, codecs: tuple[Squeezing, ...]
) -> None:
    async with open_engine(path, clock=clock, codecs=codecs) as engine:
        client = lab.Client(engine)
        async with engine.worker(workflows=[Setting]):
            handle = await client.start_free(text("a"), memo={"by": "me"}, search_attributes={"Team": "x"})
            await soon(handle.status(text("")))
        told = await handle.describe()
        assert told.memo == {"by": "me", "stage": "begun", "note": "a"}
        since = datetime.fromtimestamp(clock.now() / 1e9, UTC)
        assert told.search_attributes == {"Team": "x", "Nodes": 3, "Ready": False, "Since": since, "Zones": ["a", "b"]}
        async with engine.worker(workflows=[Setting]):
            await handle.go(text(""))
            await soon(handle.status(text("")))
        told = await handle.describe()
        attributes = {"Team": "x", "Ready": True, "Since": since, "Zones": ["a", "b"]}
        assert told.memo == {"by": "me", "stage": "over"}
        assert told.search_attributes == attributes
        assert Setting.seen == [told.memo, attributes]
        (listed,) = [each async for each in engine.list_workflows()]
        assert listed.memo == told.memo


class Refused(Waiting):
    async def set(self, request: Text) -> Text:
        wrong: dict[str, Any] = {"a": 1, "TemporalChangeVersion": ["mine"]}
        try:
            if request.value == "memo":
                workflow.upsert_memo(wrong)
            else:
                workflow.upsert_search_attributes({} if request.value == "nothing" else wrong)
        except OptionError as error:
            return text(str(error))
        return text("")

    def status(self, request: Text) -> Text:
        match request.value:
            case "patched":
                workflow.patched("a")
            case "memo":
                workflow.upsert_memo({"a": "b"})
            case "attributes":
                workflow.upsert_search_attributes({"a": "b"})
            case _:
                pass
        return text("")


@pytest.mark.parametrize("what", ["patched", "memo", "attributes"])
async def test_a_query_sets_nothing(engine: EmbeddedEngine, what: str) -> None:
    async with engine.worker(workflows=[Refused]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(QueryError, match="must change nothing"):
            await soon(handle.status(text(what)))
    assert not [each for each in await handle.history() if isinstance(each.attributes, WorkflowPropertiesModified)]


async def test_what_cannot_be_set_is_refused(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Refused]):
        handle = await lab.Client(engine).start_free(text("a"))
        assert "expected a mapping of str to str or None" in (await soon(handle.set(text("memo")))).value
        assert "is set by the engine" in (await soon(handle.set(text("list")))).value
        assert (await soon(handle.set(text("nothing")))).value == ""
