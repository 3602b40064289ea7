"""Runs whose code changes, and what they set of themselves while they run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.conformance.bench import QUICKLY, Bench, Lab, kinds, running, soon
from tests.conformance.features import After, AtLast, Before, Later
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.engine import WorkflowStatus
from protopact.errors import OptionError, QueryError
from protopact.history.event import WorkflowPropertiesModified


async def run_of(bench: Bench, code: type[Waiting], name: str) -> suite.Free.Handle:
    """A run that a worker with this code has begun, and that waits."""
    async with bench.worker(code):
        handle = await bench.start(name=name, task_timeout=timedelta(seconds=2))
        await soon(handle.status(text("")))
    return handle


async def test_each_run_keeps_the_branch_that_it_took(bench: Bench) -> None:
    old = await run_of(bench, Before, "old")
    new = await run_of(bench, After, "new")
    deprecated = await run_of(bench, Later, "deprecated")
    for handle, code, word in ((old, After, "old!"), (new, Later, "new!"), (deprecated, AtLast, "new!")):
        async with bench.worker(code, activities=[Lab()]):
            await handle.go(text(""))
            assert (await soon(handle.result())).value == word
    assert "MarkerRecorded" not in kinds(await old.history())
    attributes = (await new.describe()).search_attributes
    assert attributes == {"TemporalChangeVersion": ["new-word"]}


async def test_a_run_that_noted_a_patch_needs_the_call(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    handle = await run_of(bench, After, "a")
    async with bench.worker(AtLast, activities=[Lab()], build_id="at last"):
        await handle.go(text(""))
        assert "new-word" in await bench.until_parked(handle)
    async with bench.worker(Later, activities=[Lab()], build_id="later"):
        assert (await soon(handle.result())).value == "new!"


async def test_old_and_new_workers_share_runs_while_a_change_is_deployed(bench: Bench) -> None:
    """The patch is deployed first and taken later: what it guards is the same on both for a while."""

    class Deployed(Before):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            word = "new" if workflow.patched("new-word") else "old"
            return await suite.echo(text(word))

    async with bench.worker(Before, activities=[Lab()], build_id="1"):
        early = [await bench.start(name=f"early{n}") for n in range(3)]
        for handle in early:
            await soon(handle.status(text("")))
    async with bench.worker(Deployed, activities=[Lab()], build_id="2"):
        for handle in early:
            await handle.go(text(""))
        assert {(await soon(handle.result())).value for handle in early} == {"new!"}


async def test_code_that_changed_without_a_patch_parks_the_run_and_the_old_code_cures_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")

    async def two(request: Text) -> Text:
        first = await suite.echo(request)
        await workflow.sleep(0.2)
        return await suite.echo(first)

    async def one(request: Text) -> Text:
        await workflow.sleep(0.2)
        return await suite.echo(request)

    async with bench.worker(running(two), activities=[Lab()], build_id="1"):
        handle = await bench.start("a", task_timeout=QUICKLY)
        while "TimerStarted" not in kinds(await handle.history()):
            await soon(handle.status(text("")))
    async with bench.worker(running(one), activities=[Lab()], build_id="2"):
        assert "ondeterminism" in await bench.until_parked(handle)
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
    async with bench.worker(running(two), activities=[Lab()], build_id="3"):
        assert (await soon(handle.result())).value == "a!!"


# -- upserts


class Setting(Waiting):
    async def run(self, request: Text) -> Text:
        workflow.upsert_memo({"stage": "begun", "note": "a"})
        workflow.upsert_search_attributes({"Nodes": 3, "Ready": False, "Since": workflow.now(), "Zones": ["a", "b"]})
        await self.go.receive()
        workflow.upsert_memo({"note": None, "stage": "over"})
        workflow.upsert_search_attributes({"Ready": True, "Nodes": None, "Load": 0.5, "Zones": []})
        seen = [*workflow.memo().items()], [*workflow.search_attributes().items()]
        await self.go.receive()
        return text("; ".join(str(sorted(each)) for each in seen))


async def test_what_a_run_sets_is_told_of_it(bench: Bench) -> None:
    async with bench.worker(Setting):
        handle = await bench.start(memo={"by": "me"}, search_attributes={"Team": "x"})
        await soon(handle.status(text("")))
        told = await handle.describe()
        assert told.memo == {"by": "me", "stage": "begun", "note": "a"}
        since = told.search_attributes["Since"]
        assert told.search_attributes == {"Team": "x", "Nodes": 3, "Ready": False, "Since": since, "Zones": ["a", "b"]}
    async with bench.worker(Setting):
        await handle.go(text(""))
        await soon(handle.status(text("")))
        told = await handle.describe()
        attributes = {"Team": "x", "Ready": True, "Since": since, "Load": 0.5}
        assert told.memo == {"by": "me", "stage": "over"}
        assert told.search_attributes == attributes
        await handle.go(text(""))
        none: list[str] = []
        seen = [*attributes.items(), ("Zones", none)]
        assert (await soon(handle.result())).value == f"{sorted(told.memo.items())}; {sorted(seen)}"


class Refused(Waiting):
    async def set(self, request: Text) -> Text:
        wrong: dict[str, object] = {"a": 1, "TemporalChangeVersion": ["mine"]}
        upsert: Any = workflow.upsert_memo if request.value == "memo" else workflow.upsert_search_attributes
        with pytest.raises(OptionError) as refused:
            upsert(wrong)
        return text(str(refused.value))

    def status(self, request: Text) -> Text:
        match request.value:
            case "patched":
                workflow.patched("a")
            case "memo":
                workflow.upsert_memo({"a": "b"})
            case _:
                workflow.upsert_search_attributes({"Team": "b"})
        return text("")


@pytest.mark.parametrize("what", ["patched", "memo", "attributes"])
async def test_a_query_sets_nothing(bench: Bench, what: str) -> None:
    async with bench.worker(Refused):
        handle = await bench.start()
        with pytest.raises(QueryError):
            await soon(handle.status(text(what)))
    assert not [each for each in await handle.history() if isinstance(each.attributes, WorkflowPropertiesModified)]


async def test_what_cannot_be_set_is_refused(bench: Bench) -> None:
    async with bench.worker(Refused):
        handle = await bench.start()
        assert "expected a mapping of str to str or None" in (await soon(handle.set(text("memo")))).value
        assert "is set by the engine" in (await soon(handle.set(text("list")))).value
