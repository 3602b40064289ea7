"""Timers, time-outs of runs, delayed starts, runs that are retried, retention."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Sleeper, Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import Ids, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import WorkflowStatus
from protopact.errors import (
    ApplicationError,
    NotFoundError,
    TimeoutError,  # noqa: A004 - Temporal's name
    WorkflowFailedError,
)
from protopact.history.event import WorkflowExecutionFailed, WorkflowExecutionStarted, WorkflowExecutionTimedOut
from protopact.policy import RetryPolicy


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


async def test_timers_fire_in_the_order_of_their_time(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Order(Waiting):
        async def run(self, request: Text) -> Text:
            woken = list[str]()

            async def sleep(name: str, duration: float) -> None:
                await workflow.sleep(duration)
                woken.append(name)

            await asyncio.gather(sleep("c", 3), sleep("a", 1), sleep("b", 2), sleep("a2", 1))
            return text(" ".join(woken))

    async with engine.worker(workflows=[Order]):
        handle = await lab.Client(engine).start_free(text("x"))
        await clock.advance(seconds(3))
        assert (await soon(handle.result())).value == "a a2 b c"


async def test_timers_that_fell_due_while_nobody_ran_fire_once_in_order(tmp_path: Path, clock: VirtualClock) -> None:
    class Order(Waiting):
        async def run(self, request: Text) -> Text:
            woken = list[str]()

            async def sleep(name: str, duration: float) -> None:
                await workflow.sleep(duration)
                woken.append(name)

            await asyncio.gather(sleep("b", 20), sleep("a", 10), sleep("c", 3600))
            return text(" ".join(woken))

    path = tmp_path / "lab.db"
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Order]):
        handle = await lab.Client(engine).start_free(text("x"))
        await clock.settle()
    await clock.advance(seconds(60))
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Order]):
        handle = lab.Client(engine).free_handle("x")
        await clock.settle()
        history = await handle.history()
        fired = [event for event in history if type(event.attributes).__name__ == "TimerFired"]
        assert len(fired) == 2
        assert {event.event_time for event in fired} == {clock.now()}
        await clock.advance(seconds(3539))
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
        await clock.advance(seconds(1))
        assert (await soon(handle.result())).value == "a b c"


async def test_a_run_time_out(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[Sleeper]):
        handle = await lab.Client(engine).start_free(text("3600"), run_timeout=seconds(60))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(59))
        assert not waiting.done()
        await clock.advance(seconds(1))
        with pytest.raises(WorkflowFailedError, match="timed out") as raised:
            await soon(waiting)
    assert isinstance(raised.value.cause, TimeoutError)
    assert find(await handle.history(), WorkflowExecutionTimedOut).retry_state == "RETRY_POLICY_NOT_SET"


async def test_an_execution_time_out_without_any_worker_is_noticed_when_one_comes(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    handle = await lab.Client(engine).start_free(text("3600"), execution_timeout=seconds(60))
    await clock.advance(seconds(100))
    async with engine.worker(workflows=[Sleeper]):
        with pytest.raises(WorkflowFailedError, match="timed out"):
            await soon(handle.result())
    assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionTimedOut"]


async def test_a_delayed_start(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"), start_delay=seconds(60))
        await handle.go(text("go"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(59))
        assert not waiting.done()
        assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
        await clock.advance(seconds(1))
        assert (await soon(waiting)).value == "go new"
    assert find(await handle.history(), WorkflowExecutionStarted).first_workflow_task_backoff == 60 * 10**9


async def test_a_delayed_start_before_any_worker(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    handle = await lab.Client(engine).start_free(text("0.5"), start_delay=seconds(60))
    async with engine.worker(workflows=[Sleeper]):
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(60))
        assert not waiting.done()
        await clock.advance(seconds(1))
        await soon(waiting)


async def test_a_failed_run_is_retried_as_another_of_its_chain(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Third(Waiting):
        async def run(self, request: Text) -> Text:
            if workflow.info().attempt < 3:
                raise ApplicationError(f"attempt {workflow.info().attempt}")
            return text(workflow.info().first_run_id)

    client = lab.Client(engine)
    policy = RetryPolicy(initial_interval=seconds(10), maximum_attempts=3)
    async with engine.worker(workflows=[Third]):
        handle = await client.start_free(text("a"), retry_policy=policy)
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(10))
        assert not waiting.done()
        await clock.advance(seconds(20))
        assert (await soon(waiting)).value == handle.run_id
        assert handle.run_id is not None
        first = client.free_handle("a", run_id=handle.run_id)
        failed = find(await first.history(), WorkflowExecutionFailed)
        assert failed.retry_state == "IN_PROGRESS"
        second = client.free_handle("a", run_id=failed.new_execution_run_id)
        started = find(await second.history(), WorkflowExecutionStarted)
        assert (started.attempt, started.initiator) == (2, "RETRY")
        assert started.continued_execution_run_id == handle.run_id
        assert started.first_workflow_task_backoff == 10 * 10**9
        assert started.continued_failure is not None
        assert started.continued_failure.message == "attempt 1"
        with pytest.raises(WorkflowFailedError, match="attempt 1"):
            await soon(first.result(follow_runs=False))
    runs = [each async for each in engine.list_workflows(workflow_id="a")]
    assert [run.status for run in runs] == [WorkflowStatus.COMPLETED, WorkflowStatus.FAILED, WorkflowStatus.FAILED]
    assert {run.first_run_id for run in runs} == {handle.run_id}


async def test_a_run_whose_attempts_are_used_up(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            raise ApplicationError("no")

    client = lab.Client(engine)
    async with engine.worker(workflows=[Failing]):
        handle = await client.start_free(text("a"), retry_policy=RetryPolicy(maximum_attempts=2))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(10))
        with pytest.raises(WorkflowFailedError, match="no"):
            await soon(waiting)
        last = find(await client.free_handle("a").history(), WorkflowExecutionFailed)
    assert last.retry_state == "MAXIMUM_ATTEMPTS_REACHED"
    assert last.new_execution_run_id == ""


async def test_closed_runs_are_kept_as_long_as_retention_says(tmp_path: Path, clock: VirtualClock) -> None:
    engine = EmbeddedEngine(Store(tmp_path / "lab.db"), clock=clock, ids=Ids(1), retention=timedelta(hours=1))
    async with engine, engine.worker(workflows=[Waiting]):
        client = lab.Client(engine)
        closed, still_open = await client.start_free(text("a")), await client.start_free(text("b"))
        await closed.go(text("go"))
        await soon(closed.result())
        await clock.advance(timedelta(minutes=59))
        await closed.describe()
        await clock.advance(timedelta(minutes=2))
        with pytest.raises(NotFoundError):
            await closed.describe()
        await still_open.describe()
