"""Leaving a worker's block, several workers in one engine, and what nobody serves."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Chain, Lab, Sleeper, Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import activity, workflow
from protopact.embedded.clock import SystemClock, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import WorkflowStatus
from protopact.errors import RegistrationError, WorkflowFailedError
from protopact.history.event import ActivityTaskStarted
from protopact.policy import RetryPolicy


class Calling(Waiting):
    async def run(self, request: Text) -> Text:
        return await lab.echo(request)


class Gated(Lab):
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.gate = asyncio.Event()

    async def echo(self, request: Text) -> Text:
        self.started.set()
        await self.gate.wait()
        return text(f"attempt {activity.info().attempt}")


async def test_an_activity_that_ends_within_the_grace_period_is_not_lost(engine: EmbeddedEngine) -> None:
    gated = Gated()
    async with engine.worker(workflows=[Calling], activities=[gated]):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(gated.started.wait())
        asyncio.get_running_loop().call_later(0.05, gated.gate.set)
    assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "ActivityTaskScheduled"]
    async with engine.worker(workflows=[Calling]):
        assert (await soon(handle.result())).value == "attempt 1"


async def test_an_activity_that_does_not_is_cancelled_and_run_again(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    gated = Gated()
    grace = timedelta(seconds=0.05)
    async with engine.worker(workflows=[Calling], activities=[gated], graceful_shutdown_timeout=grace):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(gated.started.wait())
    gated.gate.set()
    async with engine.worker(workflows=[Calling], activities=[gated]):
        waiting = asyncio.create_task(handle.result())
        await clock.advance(timedelta(seconds=10))
        assert (await soon(waiting)).value == "attempt 2"


async def test_nothing_is_claimed_once_the_block_is_left(engine: EmbeddedEngine) -> None:
    gated = Gated()
    async with engine.worker(workflows=[Calling], activities=[gated], max_concurrent_activities=1):
        first = await lab.Client(engine).start_free(text("1"))
        second = await lab.Client(engine).start_free(text("2"))
        await soon(gated.started.wait())
        gated.started.clear()
        asyncio.get_running_loop().call_later(0.05, gated.gate.set)
    assert not gated.started.is_set()
    (pending,) = (await second.describe()).pending_activities
    assert not pending.started
    async with engine.worker(workflows=[Calling], activities=[gated]):
        assert (await soon(first.result())).value == "attempt 1"
        assert (await soon(second.result())).value == "attempt 1"


async def test_workflows_and_activities_in_blocks_of_their_own(engine: EmbeddedEngine) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    async with engine.worker(workflows=[Chain]):
        async with engine.worker(activities=[Lab()]):
            assert (await soon(handle.result())).value == "a!!!"
        later = await lab.Client(engine).start_free(text("b"))
        async with engine.worker(activities=[Lab()]):
            assert (await soon(later.result())).value == "b!!!"


async def test_what_one_block_leaves_the_other_goes_on_with(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[Sleeper]):
        async with engine.worker(workflows=[Sleeper]):
            handle = await lab.Client(engine).start_free(text("10"))
            waiting = asyncio.create_task(handle.result())
            await clock.settle()
        await clock.advance(timedelta(seconds=10))
        await soon(waiting)


async def test_an_engine_that_closes_stops_its_workers(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    gated = Gated()
    engine = EmbeddedEngine(Store(path), clock=SystemClock())
    await engine.open()
    block = engine.worker(workflows=[Calling], activities=[gated], graceful_shutdown_timeout=timedelta(seconds=0.01))
    await block.__aenter__()
    await lab.Client(engine).start_free(text("a"))
    await soon(gated.started.wait())
    await engine.close()
    await block.__aexit__(None, None, None)
    gated.gate.set()
    async with open_engine(path, clock=SystemClock()) as again, again.worker(workflows=[Calling], activities=[gated]):
        assert (await soon(lab.Client(again).free_handle("a").result())).value == "attempt 2"


async def test_a_worker_that_cannot_serve_what_it_was_given(engine: EmbeddedEngine) -> None:
    with pytest.raises(RegistrationError, match="nothing to serve"):
        async with engine.worker():
            pass
    async with engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await soon(handle.result())


async def test_what_was_forgotten_is_named_once(engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture) -> None:
    async with engine.worker(workflows=[Calling], activities=[Lab()]):
        client = lab.Client(engine)
        await client.start_other(text("1"))
        await client.start_other(text("2"))
    (message,) = caplog.messages
    assert message == (
        "workflow lab.v1.LabService.Other waits on task queue 'lab', which a worker here polls, but no worker serves "
        "it; give one its class in workflows=[...]"
    )


async def test_workflow_code_that_blocks_the_loop_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    class Blocking(Waiting):
        async def run(self, request: Text) -> Text:
            with workflow.unsafe.guard_lifted():
                time.sleep(1.4)  # noqa: ASYNC251 - this is what must not be done
            return request

    async with open_engine(clock=SystemClock()) as engine, engine.worker(workflows=[Blocking]):
        await soon(lab.Client(engine).execute_free(text("a")))
    assert any("event loop has been blocked" in message and "in run\n" in message for message in caplog.messages)


async def test_a_graceful_stop_counts_as_an_attempt(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Once(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request, retry_policy=RetryPolicy(maximum_attempts=1))

    gated = Gated()
    grace = timedelta(seconds=0.01)
    async with engine.worker(workflows=[Once], activities=[gated], graceful_shutdown_timeout=grace):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(gated.started.wait())
    async with engine.worker(workflows=[Once], activities=[gated]):
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
        assert (await handle.describe()).status is WorkflowStatus.FAILED
    assert find(await handle.history(), ActivityTaskStarted).attempt == 1
