"""Time-outs and heartbeats of activities, time-outs and retries of runs."""

from __future__ import annotations

import asyncio
import builtins
from datetime import timedelta
from typing import ClassVar, cast

import pytest
from tests.conformance.bench import ONCE, Bench, Lab, Stuck, find, kinds, millis, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import activity, workflow
from protopact.engine import WorkflowStatus
from protopact.errors import (
    ActivityError,
    ApplicationError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    WorkflowFailedError,
)
from protopact.history.event import (
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
)
from protopact.policy import ActivityOptions, RetryPolicy


async def timeout_of(handle: suite.Free.Handle) -> tuple[ActivityError, TimeoutError]:
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(handle.result())
    failed = raised.value.cause
    assert isinstance(failed, ActivityError)
    assert isinstance(failed.cause, TimeoutError)
    return failed, failed.cause


async def test_start_to_close_ends_an_attempt_and_the_next_begins(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(10), maximum_attempts=2)
        return await suite.echo(request, start_to_close_timeout=millis(200), retry_policy=policy)

    stuck = Stuck()
    async with bench.worker(running(code), activities=[stuck]):
        handle = await bench.start()
        failed, timeout = await timeout_of(handle)
    assert stuck.attempts == 2
    assert timeout.type is TimeoutType.START_TO_CLOSE
    assert failed.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    timed_out = find(await handle.history(), ActivityTaskTimedOut)
    assert timed_out.retry_state == "MAXIMUM_ATTEMPTS_REACHED"
    assert timed_out.started_event_id > 0


async def test_a_silent_activity_times_out_with_its_last_details(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(10), maximum_attempts=2)
        return await suite.beat(request, heartbeat_timeout=millis(300), retry_policy=policy)

    stuck = Stuck()
    async with bench.worker(running(code), activities=[stuck]):
        handle = await bench.start()
        _, timeout = await timeout_of(handle)
    assert stuck.attempts == 2
    assert timeout.type is TimeoutType.HEARTBEAT
    assert timeout.last_heartbeat_details.get(0, Text).value == "beat 2"


async def test_heartbeats_extend_their_own_deadline_only(bench: Bench) -> None:
    class Diligent(Lab):
        beats = 0

        async def beat(self, request: Text) -> Text:
            while True:
                self.beats += 1
                activity.heartbeat(text(str(self.beats)))
                await asyncio.sleep(0.02)

    async def code(request: Text) -> Text:
        return await suite.beat(
            request, heartbeat_timeout=millis(500), start_to_close_timeout=millis(800), retry_policy=ONCE
        )

    diligent = Diligent()
    async with bench.worker(running(code), activities=[diligent]):
        handle = await bench.start()
        _, timeout = await timeout_of(handle)
    assert timeout.type is TimeoutType.START_TO_CLOSE
    assert diligent.beats > 5


async def test_details_of_the_last_heartbeat_reach_the_next_attempt(bench: Bench) -> None:
    class Resuming(Lab):
        found: ClassVar[list[tuple[Text | None, int | None]]] = []

        async def beat(self, request: Text) -> Text:
            self.found.append((activity.heartbeat_details(Text), activity.heartbeat_details(int, index=1)))
            activity.heartbeat(text("first"))
            activity.heartbeat(text(f"after {activity.info().attempt}"), activity.info().attempt)
            if activity.info().attempt < 3:
                raise ApplicationError("again")
            return request

    resuming = Resuming()

    async def code(request: Text) -> Text:
        return await suite.beat(request)

    async with bench.worker(running(code), activities=[resuming]):
        await bench.run()
    assert resuming.found == [(None, None), (text("after 1"), 1), (text("after 2"), 2)]


async def test_schedule_to_start_passes_without_a_worker_and_is_not_retried(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.echo(request, schedule_to_start_timeout=millis(200))

    async with bench.worker(running(code)):
        handle = await bench.start()
        _, timeout = await timeout_of(handle)
    assert timeout.type is TimeoutType.SCHEDULE_TO_START
    history = await handle.history()
    assert find(history, ActivityTaskTimedOut).started_event_id == 0
    assert "ActivityTaskStarted" not in kinds(history)


async def test_schedule_to_close_limits_all_attempts_together(bench: Bench) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise ApplicationError("again")

    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(500), backoff_coefficient=1)
        return await suite.echo(request, retry_policy=policy, schedule_to_close_timeout=millis(900))

    async with bench.worker(running(code), activities=[Failing()]):
        handle = await bench.start()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ActivityError)
    failed = find(await handle.history(), ActivityTaskFailed)
    assert failed.retry_state == "TIMEOUT"
    assert failed.failure is not None
    assert failed.failure.message == "again"


async def test_schedule_to_close_ends_a_running_attempt(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.echo(request, schedule_to_close_timeout=millis(250))

    stuck = Stuck()
    async with bench.worker(running(code), activities=[stuck]):
        handle = await bench.start()
        _, timeout = await timeout_of(handle)
    assert timeout.type is TimeoutType.SCHEDULE_TO_CLOSE


async def test_what_a_timed_out_attempt_returns_late_is_ignored(bench: Bench) -> None:
    class Late(Lab):
        def __init__(self) -> None:
            self.count = 0
            self.second = asyncio.Event()
            self.late = asyncio.Event()

        async def echo(self, request: Text) -> Text:
            self.count += 1
            number = self.count
            if number == 1:
                while not self.second.is_set():
                    try:
                        await self.second.wait()
                    except asyncio.CancelledError:
                        continue
                asyncio.get_running_loop().call_soon(self.late.set)
            else:
                self.second.set()
                await self.late.wait()
            return text(f"attempt {number}")

    async def code(request: Text) -> Text:
        return await suite.echo(request, start_to_close_timeout=millis(250))

    async with bench.worker(running(code), activities=[Late()]):
        assert await bench.run() == "attempt 2"


async def test_a_caught_time_out_is_the_same_after_replay(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(ActivityError) as caught:
            await suite.echo(request, start_to_close_timeout=millis(100), retry_policy=ONCE)
        await workflow.sleep(0.02)
        assert isinstance(caught.value.cause, TimeoutError)
        return text(f"{caught.value.cause.type} {caught.value.retry_state}")

    async with bench.worker(running(code), activities=[Stuck()], max_cached_workflows=0):
        assert await bench.run() == f"{TimeoutType.START_TO_CLOSE} {RetryState.MAXIMUM_ATTEMPTS_REACHED}"


# -- runs


async def test_a_run_time_out(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start(run_timeout=millis(300))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, TimeoutError)
    assert find(await handle.history(), WorkflowExecutionTimedOut).retry_state == "RETRY_POLICY_NOT_SET"
    assert (await handle.describe()).status is WorkflowStatus.TIMED_OUT


async def test_an_execution_time_out_without_any_worker(bench: Bench) -> None:
    handle = await bench.start(execution_timeout=millis(50))
    await asyncio.sleep(0.1)
    async with bench.worker(Waiting):
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, TimeoutError)
    assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionTimedOut"]


async def test_a_failed_run_is_retried_as_another_of_its_chain(bench: Bench) -> None:
    class Third(Waiting):
        async def run(self, request: Text) -> Text:
            if workflow.info().attempt < 3:
                raise ApplicationError(f"attempt {workflow.info().attempt}")
            return text(workflow.info().first_run_id)

    policy = RetryPolicy(initial_interval=millis(50), maximum_attempts=3)
    async with bench.worker(Third):
        handle = await bench.start(retry_policy=policy)
        assert (await soon(handle.result())).value == handle.run_id
        first = bench.client.free_handle(handle.id, run_id=handle.run_id)
        failed = find(await first.history(), WorkflowExecutionFailed)
        assert failed.retry_state == "IN_PROGRESS"
        second = bench.client.free_handle(handle.id, run_id=failed.new_execution_run_id)
        started = find(await second.history(), WorkflowExecutionStarted)
        assert (started.attempt, started.initiator) == (2, "RETRY")
        assert started.continued_execution_run_id == handle.run_id
        assert started.first_workflow_task_backoff == 50 * 10**6
        assert started.continued_failure is not None
        assert started.continued_failure.message == "attempt 1"
        with pytest.raises(WorkflowFailedError, match="attempt 1"):
            await soon(first.result(follow_runs=False))


async def test_a_run_whose_attempts_are_used_up(bench: Bench) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            raise ApplicationError("no")

    async with bench.worker(Failing):
        handle = await bench.start(retry_policy=RetryPolicy(initial_interval=millis(20), maximum_attempts=2))
        with pytest.raises(WorkflowFailedError, match="no"):
            await soon(handle.result())
        last = find(await bench.client.free_handle(handle.id).history(), WorkflowExecutionFailed)
    assert last.retry_state == "MAXIMUM_ATTEMPTS_REACHED"
    assert last.new_execution_run_id == ""


async def test_the_contracts_retry_policy_of_a_workflow(bench: Bench) -> None:
    class Declared(suite.Declared):
        async def run(self, request: Document) -> Document:
            if request.word:
                raise ApplicationError("for good", type="Fatal")
            if workflow.info().attempt < 3:
                raise ApplicationError("again")
            return Document(number=workflow.info().attempt)

        async def rename(self, request: Document) -> Document:
            return request

    document = Document(title=bench.place.name, inner=Text(value="x"), number=5)
    document.at.FromSeconds(1_767_225_600)
    async with bench.worker(Declared):
        assert (await soon(bench.client.execute_declared(document))).number == 3
        document.number, document.word = 6, "fatal"
        with pytest.raises(WorkflowFailedError, match="for good"):
            await soon(bench.client.execute_declared(document))
        found = bench.client.declared_handle(f"declared/{bench.place.name}/x/6")
        assert find(await found.history(), WorkflowExecutionFailed).retry_state == "NON_RETRYABLE_FAILURE"


async def test_timers_fire_in_the_order_of_their_time(bench: Bench) -> None:
    async def order(request: Text) -> Text:
        woken = list[str]()

        async def sleep(name: str, duration: timedelta) -> None:
            await workflow.sleep(duration)
            woken.append(name)

        await asyncio.gather(
            sleep("c", millis(300)), sleep("a", millis(100)), sleep("b", millis(200)), sleep("z", timedelta(0))
        )
        return text(" ".join(woken))

    async with bench.worker(running(order)):
        handle = await bench.start()
        assert (await soon(handle.result())).value == "z a b c"


async def test_conditions_and_their_time_outs(bench: Bench) -> None:
    class Conditional(Waiting):
        async def run(self, request: Text) -> Text:
            began = workflow.now()
            with pytest.raises(builtins.TimeoutError):
                await workflow.wait_condition(lambda: self.state != "new", timeout=0.05)
            waited = workflow.now() - began
            assert waited >= millis(50)
            await workflow.wait_condition(lambda: self.state != "new", timeout=60)
            async with asyncio.timeout(60):
                await asyncio.sleep(0.01)
            return text(self.state)

    async with bench.worker(Conditional):
        handle = await bench.start()
        await soon(handle.status(text("")))
        while "TimerFired" not in kinds(await handle.history()):
            await asyncio.sleep(0.01)
        await soon(handle.set(text("set")))
        assert (await soon(handle.result())).value == "set"


async def test_a_time_out_of_asyncio_fails_the_run(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        async with asyncio.timeout(0.02):
            await workflow.wait_condition(lambda: False)
        return request

    async with bench.worker(running(code)):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    assert isinstance(raised.value.cause, (ApplicationError, TimeoutError))


# -- within each other


class Timed(Lab):
    """Says what limits it."""

    async def echo(self, request: Text) -> Text:
        info = activity.info()
        limits = info.schedule_to_close_timeout, info.start_to_close_timeout, info.heartbeat_timeout
        return text(" ".join("-" if limit is None else f"{limit.total_seconds():g}" for limit in limits))


@pytest.mark.parametrize(
    ("run", "asked", "expected"),
    [
        (None, {"schedule_to_close_timeout": 3, "start_to_close_timeout": 30, "heartbeat_timeout": 60}, "3 3 3"),
        (20, {"start_to_close_timeout": 3000}, "20 20 -"),
        (20, {"schedule_to_close_timeout": 3000, "start_to_close_timeout": 5, "heartbeat_timeout": 9}, "20 5 5"),
    ],
)
async def test_those_of_an_activity(bench: Bench, run: int | None, asked: dict[str, int], expected: str) -> None:
    async def code(request: Text) -> Text:
        options = {name: timedelta(seconds=value) for name, value in asked.items()}
        return await suite.echo(request, **cast("ActivityOptions", options))

    async with bench.worker(running(code), activities=[Timed()]):
        handle = await bench.start(run_timeout=None if run is None else timedelta(seconds=run))
        assert (await soon(handle.result())).value == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((50, 5, 500), "5 5 5"),
        ((None, 30, 500), "30 30 30"),
        ((40, None, None), "40 - 10"),
        ((None, None, 500), "- - 120"),
    ],
)
async def test_those_of_a_run(bench: Bench, asked: tuple[int | None, int | None, int | None], expected: str) -> None:
    def said() -> str:
        info = workflow.info()
        limits = info.run_timeout, info.execution_timeout, info.task_timeout
        return " ".join("-" if limit is None else f"{limit.total_seconds():g}" for limit in limits)

    run, execution, task = (None if each is None else timedelta(seconds=each) for each in asked)

    class Parent(suite.Other):
        async def run(self, request: Text) -> Text:
            child = suite.Free.execute_child
            return await child(
                text("c"), id=f"{request.value}/c", run_timeout=run, execution_timeout=execution, task_timeout=task
            )

    class Said(Waiting):
        async def run(self, request: Text) -> Text:
            return text(said())

    async with bench.worker(Parent, Said):
        assert await bench.run(run_timeout=run, execution_timeout=execution, task_timeout=task) == expected
        parent = await bench.client.start_other(text(bench.id("p")), id=bench.id("p"))
        assert (await soon(parent.result())).value == expected


async def test_those_of_a_run_that_goes_on(bench: Bench) -> None:
    class Going(Waiting):
        async def run(self, request: Text) -> Text:
            info = workflow.info()
            if request.value:
                self.continue_as_new(text(""), run_timeout=timedelta(seconds=50), task_timeout=timedelta(seconds=500))
            return text(f"{info.run_timeout} {info.execution_timeout} {info.task_timeout}")

    async with bench.worker(Going):
        assert await bench.run("again", execution_timeout=timedelta(seconds=30)) == "0:00:30 0:00:30 0:00:30"
