"""Activities on the engine, from their schedule to what the workflow and the history say of their end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar, Unpack

import pytest
from generated.betterproto2.greeting.v1 import (
    ComposeGreetingRequest,
    ComposeGreetingResponse,
    GreetRequest,
    GreetResponse,
)
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting

import protopact
from protopact import activity, testing, workflow
from protopact.history import event
from protopact.history.event import Attributes
from protopact.policy import ActivityCancellationType, ActivityOptions, RetryPolicy

START = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = GreetRequest(name="Alice")
ONCE = RetryPolicy(maximum_attempts=1)

A = TypeVar("A", bound=Attributes)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class Stage(greeting.Activities):
    """The activity of the test: each attempt does the next thing it is told, the last one again and again."""

    def __init__(self, *scenes: Callable[[], Awaitable[None]]) -> None:
        self.scenes = scenes
        self.attempts: list[tuple[int, datetime]] = []
        self.reasons: list[activity.CancellationReason | None] = []
        self.env: testing.Environment | None = None

    async def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
        attempt = activity.info().attempt
        self.attempts.append((attempt, activity.info().started_time))
        if self.scenes:
            try:
                await self.scenes[min(attempt, len(self.scenes)) - 1]()
            except asyncio.CancelledError:
                self.reasons.append(activity.cancellation_reason())
                raise
        return ComposeGreetingResponse(greeting=f"Hello, {request.name}!")


async def hang() -> None:
    await asyncio.Event().wait()


async def fine() -> None:
    pass


def fail(error: Exception) -> Callable[[], Awaitable[None]]:
    async def scene() -> None:
        raise error

    return scene


def calling(**options: Unpack[ActivityOptions]) -> type[greeting.Greet]:
    """A workflow that calls the activity with options, and fails as it fails."""

    class Calling(greeting.Greet):
        async def run(self, request: GreetRequest) -> GreetResponse:
            composed = await greeting.compose_greeting(ComposeGreetingRequest(name=request.name), **options)
            return GreetResponse(greeting=composed.greeting)

    return Calling


async def failure(env: testing.Environment) -> protopact.ActivityError:
    """Why the activity of the run failed."""
    with pytest.raises(protopact.WorkflowFailedError) as failed:
        await greeting.Client(env).greet_handle("greet/Alice").result()
    error = failed.value.cause
    assert isinstance(error, protopact.ActivityError)
    assert error.activity_type == "greeting.v1.GreetingService.ComposeGreeting"
    assert error.activity_id == "1"
    return error


async def events(env: testing.Environment, kind: type[A]) -> list[A]:
    history = await greeting.Client(env).greet_handle("greet/Alice").history()
    return [each.attributes for each in history if isinstance(each.attributes, kind)]


# -- time-outs


@pytest.mark.parametrize(
    ("options", "after", "timeout_type"),
    [
        ({"start_to_close_timeout": seconds(5)}, 5, protopact.TimeoutType.START_TO_CLOSE),
        ({"heartbeat_timeout": seconds(2)}, 2, protopact.TimeoutType.HEARTBEAT),
        ({"schedule_to_close_timeout": seconds(3)}, 3, protopact.TimeoutType.SCHEDULE_TO_CLOSE),
        (
            {"task_queue": "nowhere", "schedule_to_start_timeout": seconds(4)},
            4,
            protopact.TimeoutType.SCHEDULE_TO_START,
        ),
        (
            {"task_queue": "nowhere", "schedule_to_close_timeout": seconds(6)},
            6,
            protopact.TimeoutType.SCHEDULE_TO_CLOSE,
        ),
    ],
)
async def test_each_time_out_is_itself(
    options: ActivityOptions, after: float, timeout_type: protopact.TimeoutType
) -> None:
    stage = Stage(hang)
    only_once: ActivityOptions = {**options, "retry_policy": ONCE}
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[calling(**only_once)], activities=[stage]),
    ):
        await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(after - 0.001))
        assert await events(env, event.ActivityTaskTimedOut) == []
        await env.advance(seconds(0.001))
        error = await failure(env)
        assert isinstance(error.cause, protopact.TimeoutError)
        assert error.cause.type is timeout_type
        started = timeout_type is not protopact.TimeoutType.SCHEDULE_TO_START and "task_queue" not in options
        assert len(await events(env, event.ActivityTaskStarted)) == started
        assert stage.reasons == [activity.CancellationReason.TIMED_OUT] * started


async def test_a_heartbeat_extends_the_heartbeat_time_out_and_no_other() -> None:
    beats = asyncio.Queue[int]()

    async def beat() -> None:
        while True:
            activity.heartbeat(await beats.get())

    stage = Stage(beat)
    options = ActivityOptions(heartbeat_timeout=seconds(2), start_to_close_timeout=seconds(10), retry_policy=ONCE)
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[calling(**options)], activities=[stage]),
    ):
        await greeting.Client(env).start_greet(ALICE)
        for second in range(10):
            assert await events(env, event.ActivityTaskTimedOut) == []
            beats.put_nowait(second)
            await env.advance(seconds(1))
        error = await failure(env)
    assert isinstance(error.cause, protopact.TimeoutError)
    assert error.cause.type is protopact.TimeoutType.START_TO_CLOSE
    # Recorded at 0, and then at most every 1.6 s, the latest of them at 9.6 s.
    assert error.cause.last_heartbeat_details.get(0, int) == 9


async def test_a_time_out_is_tried_again_with_the_last_details() -> None:
    seen = list[int | None]()

    async def silent() -> None:
        seen.append(activity.heartbeat_details(int))
        activity.heartbeat(7)
        await hang()

    async def resume() -> None:
        seen.append(activity.heartbeat_details(int))

    stage = Stage(silent, resume)
    async with (
        testing.Environment() as env,
        env.worker(workflows=[calling(heartbeat_timeout=seconds(2))], activities=[stage]),
    ):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(2))
        await handle.result()
        assert seen == [None, 7]
        assert stage.attempts == [(1, START), (2, START + seconds(3))]
        [started] = await events(env, event.ActivityTaskStarted)
        assert started.attempt == 2
        assert started.last_failure is not None
        assert started.last_failure.message == "activity Heartbeat timeout"


async def test_without_the_time_for_another_attempt_the_last_failure_stands() -> None:
    stage = Stage(fail(ConnectionError("away")))
    options = ActivityOptions(schedule_to_close_timeout=seconds(6), retry_policy=RetryPolicy())
    async with testing.Environment() as env, env.worker(workflows=[calling(**options)], activities=[stage]):
        await greeting.Client(env).start_greet(ALICE)
        error = await failure(env)
        assert env.now() == START + seconds(3)
    assert error.retry_state is protopact.RetryState.TIMEOUT
    assert isinstance(error.cause, protopact.ApplicationError)
    assert (error.cause.type, error.cause.message) == ("ConnectionError", "away")
    assert [attempt for attempt, _ in stage.attempts] == [1, 2, 3]


# -- failures and retries


@pytest.mark.parametrize(
    ("error", "policy", "state", "attempts"),
    [
        (ValueError("v"), ONCE, protopact.RetryState.MAXIMUM_ATTEMPTS_REACHED, 1),
        (ValueError("v"), RetryPolicy(maximum_attempts=3), protopact.RetryState.MAXIMUM_ATTEMPTS_REACHED, 3),
        (
            ValueError("v"),
            RetryPolicy(non_retryable_error_types=("ValueError",)),
            protopact.RetryState.NON_RETRYABLE_FAILURE,
            1,
        ),
        (
            protopact.ApplicationError("v", non_retryable=True),
            RetryPolicy(),
            protopact.RetryState.NON_RETRYABLE_FAILURE,
            1,
        ),
    ],
)
async def test_when_attempts_end(
    error: Exception, policy: RetryPolicy, state: protopact.RetryState, attempts: int
) -> None:
    stage = Stage(fail(error))
    async with testing.Environment() as env, env.worker(workflows=[calling(retry_policy=policy)], activities=[stage]):
        await greeting.Client(env).start_greet(ALICE)
        failed = await failure(env)
        assert failed.retry_state is state
        assert isinstance(failed.cause, protopact.ApplicationError)
        assert failed.cause.message == "v"
        assert len(stage.attempts) == attempts
        [started] = await events(env, event.ActivityTaskStarted)
        assert started.attempt == attempts
        [recorded] = await events(env, event.ActivityTaskFailed)
        assert recorded.retry_state == state.name


async def test_a_failure_may_ask_for_its_delay() -> None:
    wait = protopact.ApplicationError("later", next_retry_delay=timedelta(hours=5))
    stage = Stage(fail(wait), fine)
    async with testing.Environment() as env, env.worker(workflows=[calling()], activities=[stage]):
        await greeting.Client(env).execute_greet(ALICE)
    assert stage.attempts == [(1, START), (2, START + timedelta(hours=5))]


async def test_a_result_that_is_too_large_is_a_failure_and_no_loop() -> None:
    class Verbose(greeting.Activities):
        async def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
            return ComposeGreetingResponse(greeting=request.name * 1_000_000)

    async with testing.Environment() as env, env.worker(workflows=[calling()], activities=[Verbose()]):
        await greeting.Client(env).start_greet(ALICE)
        error = await failure(env)
    assert error.retry_state is protopact.RetryState.NON_RETRYABLE_FAILURE
    assert isinstance(error.cause, protopact.ServerError)


# -- cancellation


def cancelling(kind: ActivityCancellationType, after: float, policy: RetryPolicy = ONCE) -> type[greeting.Greet]:
    """A workflow that cancels the activity after some seconds, and says what awaiting it did, and when."""

    class Cancelling(greeting.Greet):
        async def run(self, request: GreetRequest) -> GreetResponse:
            began = workflow.now()
            composing = greeting.compose_greeting(
                ComposeGreetingRequest(name=request.name), cancellation_type=kind, retry_policy=policy
            )
            if after >= 0:
                await workflow.sleep(seconds(after))
            composing.cancel()
            try:
                outcome = (await composing).greeting
            except asyncio.CancelledError:
                outcome = "cancelled"
            except protopact.ActivityError as error:
                outcome = type(error.cause).__name__
            return GreetResponse(greeting=f"{outcome} after {(workflow.now() - began).total_seconds():g} s")

    return Cancelling


async def outcome(env: testing.Environment) -> str:
    return (await greeting.Client(env).greet_handle("greet/Alice").result()).greeting


TRY = ActivityCancellationType.TRY_CANCEL
WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
ABANDON = ActivityCancellationType.ABANDON


@pytest.mark.parametrize("kind", [TRY, WAIT, ABANDON])
async def test_before_it_is_scheduled_it_never_is(kind: ActivityCancellationType) -> None:
    stage = Stage()
    async with testing.Environment() as env, env.worker(workflows=[cancelling(kind, -1)], activities=[stage]):
        await greeting.Client(env).start_greet(ALICE)
        assert (await outcome(env)).endswith(" after 0 s")
        assert await events(env, event.ActivityTaskScheduled) == []
    assert stage.attempts == []


@pytest.mark.parametrize("kind", [TRY, WAIT])
async def test_while_it_runs_it_is_told(kind: ActivityCancellationType) -> None:
    stage = Stage(hang)
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[cancelling(kind, 1)], activities=[stage]),
    ):
        await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(1))
        assert (await outcome(env)).endswith(" after 1 s")
        assert stage.reasons[0] in (
            activity.CancellationReason.CANCEL_REQUESTED,
            activity.CancellationReason.NOT_FOUND,  # the run has closed before the activity had
        )
        assert len(await events(env, event.ActivityTaskCancelRequested)) == 1


async def test_waiting_for_the_cancellation_waits_for_what_the_activity_makes_of_it() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            await release.wait()

    stage = Stage(stubborn)
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[cancelling(WAIT, 1)], activities=[stage]),
    ):
        await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(3))
        assert await events(env, event.WorkflowExecutionCompleted) == []
        release.set()
        assert await outcome(env) == "Hello, Alice! after 3 s"


async def test_an_abandoned_activity_goes_on() -> None:
    gate = asyncio.Event()
    stage = Stage(gate.wait)  # type: ignore[arg-type]  # what it returns does not matter
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[cancelling(ABANDON, 1)], activities=[stage]),
    ):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(1))
        assert (await handle.result()).greeting.endswith(" after 1 s")
        assert await events(env, event.ActivityTaskCancelRequested) == []


async def test_between_attempts_it_is_cancelled_on_the_spot() -> None:
    stage = Stage(fail(ConnectionError("away")))
    policy = RetryPolicy(initial_interval=seconds(100))
    async with (
        testing.Environment() as env,
        env.worker(workflows=[cancelling(WAIT, 1, policy)], activities=[stage]),
    ):
        await greeting.Client(env).start_greet(ALICE)
        assert (await outcome(env)).endswith(" after 1 s")
        assert len(await events(env, event.ActivityTaskCanceled)) == 1
        assert await events(env, event.ActivityTaskStarted) == []
    assert len(stage.attempts) == 1


async def test_after_its_completion_nothing_happens() -> None:
    stage = Stage()
    async with testing.Environment() as env, env.worker(workflows=[cancelling(WAIT, 1)], activities=[stage]):
        await greeting.Client(env).start_greet(ALICE)
        assert await outcome(env) == "Hello, Alice! after 1 s"
        assert await events(env, event.ActivityTaskCancelRequested) == []


async def test_a_run_that_closes_cancels_what_runs() -> None:
    stage = Stage(hang)
    async with testing.Environment() as env, env.worker(workflows=[calling()], activities=[stage]):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(1))
        await handle.terminate(reason="enough")
        await env.advance(seconds(0))
        assert stage.reasons == [activity.CancellationReason.NOT_FOUND]


# -- the worker


async def test_a_worker_that_stops_hands_its_attempts_to_the_next() -> None:
    seen = list[str | None]()

    async def first() -> None:
        activity.heartbeat("half way")
        await hang()

    async def second() -> None:
        seen.append(activity.heartbeat_details(str))

    stage = Stage(first, second)
    async with testing.Environment() as env:
        async with env.worker(workflows=[calling()], activities=[stage]):
            handle = await greeting.Client(env).start_greet(ALICE)
            await env.advance(seconds(1))
        assert stage.reasons == [activity.CancellationReason.WORKER_SHUTDOWN]
        async with env.worker(workflows=[calling()], activities=[stage]):
            await handle.result()
            assert stage.attempts == [(1, START), (2, START + seconds(1) + timedelta(milliseconds=1))]
    assert seen == ["half way"]


async def test_an_activity_that_stops_its_worker_with_one_attempt_allowed_is_not_run_again() -> None:
    stage = Stage(hang)
    async with testing.Environment() as env:
        async with env.worker(workflows=[calling(retry_policy=ONCE)], activities=[stage]):
            await greeting.Client(env).start_greet(ALICE)
            await env.advance(seconds(1))
        async with env.worker(workflows=[calling(retry_policy=ONCE)], activities=[stage]):
            error = await failure(env)
    assert error.retry_state is protopact.RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert len(stage.attempts) == 1


async def test_workflows_and_activities_on_two_workers() -> None:
    stage = Stage()
    async with testing.Environment() as env, env.worker(workflows=[calling()]):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.advance(seconds(1))
        assert stage.attempts == []
        async with env.worker(activities=[stage]):
            assert (await handle.result()).greeting == "Hello, Alice!"


async def test_no_more_attempts_at_once_than_allowed() -> None:
    most, now = 0, 0
    lock = threading.Lock()
    begun = threading.Barrier(3)

    class Counting(greeting.Activities):
        def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            begun.wait(10)
            with lock:
                now -= 1
            return ComposeGreetingResponse(greeting=request.name)

    async with (
        testing.Environment() as env,
        env.worker(workflows=[calling()], activities=[Counting()], max_concurrent_activities=3),
    ):
        client = greeting.Client(env)
        names = [f"n{number}" for number in range(9)]
        results = await asyncio.gather(*(client.execute_greet(GreetRequest(name=name)) for name in names))
    assert [result.greeting for result in results] == names
    assert most == 3
