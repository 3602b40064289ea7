"""Queries and updates, and the order in which things reach a workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Lab, Sleeper, Waiting, all_kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import UpdateStarted, WorkflowRef
from protopact.errors import (
    ApplicationError,
    NotFoundError,
    QueryError,
    UpdateFailedError,
)
from protopact.policy import UpdateWithStartOptions, WaitForStage


async def test_a_query_that_raises(engine: EmbeddedEngine) -> None:
    class Raising(Waiting):
        def status(self, request: Text) -> Text:
            raise ApplicationError("not now", type="Moody")

    async with engine.worker(workflows=[Raising]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(QueryError, match="query lab.v1.LabService.Status of workflow a failed: not now") as raised:
            await soon(handle.status(text("")))
    assert isinstance(raised.value.__cause__, ApplicationError)


async def test_a_query_of_a_run_that_never_ran(engine: EmbeddedEngine) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    await handle.terminate()
    async with engine.worker(workflows=[Waiting]):
        with pytest.raises(QueryError, match="none of its workflow tasks has run, so there is no state to ask for"):
            await soon(handle.status(text("")))


async def test_a_query_that_nobody_can_answer(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    waiting = asyncio.create_task(handle.status(text("")))
    await clock.advance(timedelta(seconds=10))
    with pytest.raises(QueryError, match="not answered within 10 s: no worker serves lab.v1.LabService.Free"):
        await soon(waiting)


async def test_a_rejected_update_leaves_no_history_at_all(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        before = await handle.history()
        for _ in range(3):
            with pytest.raises(UpdateFailedError, match="was rejected: nothing to set") as raised:
                await soon(handle.set(text(""), id="same"))
            assert isinstance(raised.value.cause, ApplicationError)
        assert await handle.history() == before
        assert (await soon(handle.set(text("x"), id="same"))).value == "new", "a rejected id may be used again"
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go x"


async def test_update_ids_de_duplicate_across_restarts(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(handle.set(text("x"), id="u1"))
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Waiting]):
        handle = lab.Client(engine).free_handle("a")
        assert (await soon(handle.set(text("y"), id="u1"))).value == "new"
        assert (await soon(handle.status(text("")))).value == "x"
        await handle.go(text("go"))
        await soon(handle.result())
        assert (await soon(handle.set(text("z"), id="u1"))).value == "new", "a closed run remembers too"


async def test_stages_of_an_update(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Slow(Waiting):
        async def set(self, request: Text) -> Text:
            await workflow.sleep(10)
            if request.value == "fail":
                raise ApplicationError("failed", type="T")
            return request

    async with engine.worker(workflows=[Slow]):
        handle = await lab.Client(engine).start_free(text("a"))
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        failing = await soon(handle.start_set(text("fail"), wait_for_stage=WaitForStage.ACCEPTED))
        waiting = asyncio.create_task(update.result())
        await clock.advance(timedelta(seconds=9))
        assert not waiting.done()
        await clock.advance(timedelta(seconds=1))
        assert (await soon(waiting)).value == "x"
        with pytest.raises(UpdateFailedError, match="failed: failed") as raised:
            await soon(failing.result())
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == "T"


async def test_an_update_whose_workflow_ends_first(engine: EmbeddedEngine) -> None:
    class Slow(Waiting):
        async def set(self, request: Text) -> Text:
            await workflow.sleep(10)
            return request

    async with engine.worker(workflows=[Slow]):
        handle = await lab.Client(engine).start_free(text("a"))
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        waiting = asyncio.create_task(update.result())
        await asyncio.sleep(0)
        await handle.go(text("go"))
        with pytest.raises(UpdateFailedError, match="closed before the update completed"):
            await soon(waiting)
        with pytest.raises(UpdateFailedError, match="closed before the update completed"):
            await soon(update.result())


async def test_an_unknown_update_id(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        unknown = UpdateStarted(WorkflowRef("a"), "never")
        with pytest.raises(NotFoundError, match="has no update 'never'"):
            await soon(engine.update_result(unknown, handle.__protopact__.workflow.response))


@pytest.mark.parametrize("request_id", [None, "r"])
async def test_update_with_start_sent_again_after_the_end_has_the_outcome(
    engine: EmbeddedEngine, request_id: str | None
) -> None:
    class Twice(Waiting):
        async def run(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: self.state != "new")
            if request.value == "a":
                self.continue_as_new(text("b"))
            return request

    async def send() -> tuple[str, str]:
        options: UpdateWithStartOptions = {"id": "w", "update_id": "u"}
        if request_id is not None:
            options["request_id"] = request_id
        handle, update = await soon(lab.Client(engine).start_free_with_set(text("a"), text("x"), **options))
        return handle.run_id or "", (await soon(update.result())).value

    async with engine.worker(workflows=[Twice]):
        first = await send()
        handle = lab.Client(engine).free_handle("w")
        await handle.set(text("y"))
        assert (await soon(handle.result())).value == "b"
        assert await send() == first
        assert len([each async for each in engine.list_workflows()]) == 2


async def test_things_of_one_instant_go_into_one_task(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Sleeper], activities=[Lab()]):
        handle = await lab.Client(engine).start_free(text("60"))
        await asyncio.gather(*(handle.go(text(str(number))) for number in range(10)))
        assert all_kinds(await handle.history())[-14:] == [
            "TimerStarted",
            *["WorkflowExecutionSignaled"] * 10,
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
        ]
