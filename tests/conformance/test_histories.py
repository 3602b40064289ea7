"""What either engine has written is replayed by our replayer and by Temporal's own, with the same workflow classes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHistory
from tests.conformance.bench import Bench, Lab, soon
from tests.conformance.features import Cancelled, Child, Everything
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import text

from protopact import activity, temporal, workflow
from protopact.errors import ApplicationError, WorkflowFailedError
from protopact.history import History
from protopact.replay import Replayer


class Works(Lab):
    """Does what Everything asks for."""

    async def echo(self, request: Text) -> Text:
        if request.value == "fail":
            raise ApplicationError("asked to", text("detail"), type="Asked")
        if request.value == "flaky" and activity.info().attempt == 1:
            raise ApplicationError("again")
        return await super().echo(request)

    async def beat(self, request: Text) -> Text:
        for _ in range(1000):
            activity.heartbeat()
            await asyncio.sleep(0.01)
        return request


async def histories(bench: Bench, *handles: suite.Free.Handle) -> list[History]:
    """Histories of the chains of runs of handles."""
    found = list[History]()
    for handle in handles:
        run_id = handle.run_id
        while run_id:
            history = await bench.client.free_handle(handle.id, run_id=run_id).history()
            found.append(history)
            run_id = getattr(history[-1].attributes, "new_execution_run_id", "")
    return found


async def replay(bench: Bench, found: list[History]) -> None:
    """Both replayers, ours in strict mode."""
    interceptors = bench.interceptors
    ours = Replayer(workflows=[Everything, Child], interceptors=interceptors)
    theirs = temporal.replayer([Everything, Child], interceptors=interceptors)
    for history in found:
        ours.replay(History.from_json(history.to_json()))
        await theirs.replay_workflow(WorkflowHistory.from_json(bench.id(), history.to_json()))


async def test_of_every_feature(bench: Bench) -> None:
    async with bench.worker(Everything, Child, activities=[Works()]):
        handle = await bench.start("a")
        latest = bench.client.free_handle(handle.id)
        for _ in range(2):
            await latest.go(text("gone"))
            assert (await soon(latest.set(text("flaky")))).value == "flaky!"
            run_id = (await latest.describe()).run_id
            await latest.note(text("noted"))
            await bench.until_other_run(latest, run_id)
        result = (await soon(handle.result())).value
        assert "gone childApplicationErrorExternalWorkflowExecutionNotFound" in result
        found = await histories(bench, handle)
    assert len(found) == 2
    await replay(bench, found)


async def test_of_a_run_that_was_cancelled_and_of_one_that_failed(bench: Bench) -> None:
    async with bench.worker(Cancelled, Child, activities=[Works()]):
        handle = await bench.start("a")
        await soon(handle.status(text("")))
        await handle.cancel()
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
        failing = await bench.client.start_other(text("fail"), id=bench.id("failing"))
        with pytest.raises(WorkflowFailedError):
            await soon(failing.result())
        found = [await handle.history(), await failing.history()]
    interceptors = bench.interceptors
    ours = Replayer(workflows=[Cancelled, Child], interceptors=interceptors)
    theirs = temporal.replayer([Cancelled, Child], interceptors=interceptors, sandboxed=False)
    for history in found:
        ours.replay(history)
        await theirs.replay_workflow(WorkflowHistory.from_json(bench.id(), history.to_json()))


async def test_of_an_open_run_at_every_moment(bench: Bench) -> None:
    async with bench.worker(Everything, Child, activities=[Works()]):
        handle = await bench.start("again")
        await soon(handle.set(text("x")))
        first = await handle.history()
        await handle.go(text("gone"))
        await soon(handle.status(text("")))
        second = await handle.history()
        await handle.note(text("noted"))
        await soon(handle.result())
    await replay(bench, [first, second])


async def test_a_change_is_found_by_both(bench: Bench) -> None:
    class Other(Everything):
        async def run(self, request: Text) -> Text:
            await workflow.sleep(timedelta(seconds=1))
            return request

    async with bench.worker(Everything, Child, activities=[Works()]):
        handle = await bench.start("again")
        await handle.go(text("gone"))
        await handle.note(text("noted"))
        await soon(handle.result())
        history = await handle.history()
    interceptors = bench.interceptors
    ours = Replayer(workflows=[Other], interceptors=interceptors)
    theirs = temporal.replayer([Other], interceptors=interceptors, sandboxed=False)
    assert ours.replay(history, raise_on_failure=False).error is not None
    result = await theirs.replay_workflow(
        WorkflowHistory.from_json(bench.id(), history.to_json()), raise_on_replay_failure=False
    )
    assert result.replay_failure is not None
