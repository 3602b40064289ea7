"""Activities: retries, threads, slots, options, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.bench import (
    ONCE,
    PATIENCE,
    Bench,
    Lab,
    Place,
    Stuck,
    WorkerSettings,
    find,
    kinds,
    millis,
    running,
    soon,
    until,
)
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Chain, Waiting, text

from protopact import activity, workflow
from protopact.errors import (
    ActivityError,
    ApplicationError,
    MessageMismatchError,
    NotInActivityError,
    OptionError,
    RetryState,
    WorkflowFailedError,
)
from protopact.history.event import (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
)
from protopact.interceptor import ExecuteActivity, Interceptor
from protopact.policy import ActivityOptions, Priority, RetryPolicy


class Flaky(Lab):
    """Fails as often as it is told; notes each attempt."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.attempts = list[int]()
        self.times = list[float]()
        self._failures = failures
        self._error = error

    async def echo(self, request: Text) -> Text:
        self.attempts.append(activity.info().attempt)
        self.times.append(time.monotonic())
        if len(self.attempts) <= self._failures:
            raise self._error or ApplicationError("again")
        return request


def calling(**options: object) -> type:
    """A workflow that calls Echo."""
    given = ActivityOptions(**options)  # type: ignore[typeddict-item]  # each test gives what is right

    async def code(request: Text) -> Text:
        return await suite.echo(request, **given)

    return running(code)


async def failure_of(bench: Bench) -> ActivityError:
    """How a call of Echo fails, by a worker that is there already."""
    with pytest.raises(WorkflowFailedError) as raised:
        await bench.run("a")
    assert isinstance(raised.value.cause, ActivityError)
    return raised.value.cause


# -- retries


async def test_retries_back_off_as_the_policy_says(bench: Bench) -> None:
    flaky = Flaky(3)
    policy = RetryPolicy(initial_interval=millis(20), backoff_coefficient=3, maximum_interval=millis(50))
    async with bench.worker(calling(retry_policy=policy), activities=[flaky]):
        handle = await bench.start("a")
        assert (await soon(handle.result())).value == "a"
    assert flaky.attempts == [1, 2, 3, 4]
    waits = [later - earlier for earlier, later in zip(flaky.times, flaky.times[1:], strict=False)]
    assert waits[0] >= 0.019
    assert waits[1] >= 0.049
    assert waits[2] >= 0.049
    history = await handle.history()
    started = find(history, ActivityTaskStarted)
    assert started.attempt == 4
    assert started.last_failure is not None
    assert started.last_failure.message == "again"
    assert kinds(history) == [
        "WorkflowExecutionStarted",
        "ActivityTaskScheduled",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowExecutionCompleted",
    ]


async def test_an_activity_between_attempts_is_described(bench: Bench) -> None:
    policy = RetryPolicy(initial_interval=timedelta(hours=1))
    async with bench.worker(calling(retry_policy=policy), activities=[Flaky(9)]):
        handle = await bench.start("a")

        async def waits() -> bool:
            pending = (await handle.describe()).pending_activities
            return bool(pending) and pending[0].attempt == 2

        await until(waits)
        (pending,) = (await handle.describe()).pending_activities
    assert pending.activity_type == "suite.v1.SuiteService.Echo"
    assert (pending.attempt, pending.started, pending.last_failure) == (2, False, "again")
    assert pending.next_attempt_at is not None
    assert timedelta(minutes=55) < pending.next_attempt_at - datetime.now(UTC) <= timedelta(hours=1)


async def test_the_last_attempt_fails_the_activity(bench: Bench) -> None:
    flaky = Flaky(9, ApplicationError("never", type="No"))
    async with bench.worker(calling(), activities=[flaky], identity="me"):
        cause = await failure_of(bench)
    assert flaky.attempts == [1, 2, 3]
    assert cause.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert (cause.activity_type, cause.identity) == ("suite.v1.SuiteService.Echo", "me")
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "No"


@pytest.mark.parametrize(
    "error",
    [ApplicationError("no", non_retryable=True), ApplicationError("no", type="Fatal")],
    ids=["said by the failure", "said by the policy"],
)
async def test_a_non_retryable_failure_is_not_tried_again(bench: Bench, error: ApplicationError) -> None:
    flaky = Flaky(9, error)
    policy = RetryPolicy(non_retryable_error_types=("Fatal",))
    async with bench.worker(calling(retry_policy=policy), activities=[flaky]):
        handle = await bench.start("a")
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
    assert flaky.attempts == [1]
    assert find(await handle.history(), ActivityTaskFailed).retry_state == "NON_RETRYABLE_FAILURE"


async def test_a_failure_may_ask_for_its_own_delay(bench: Bench) -> None:
    flaky = Flaky(1, ApplicationError("later", next_retry_delay=millis(150)))
    async with bench.worker(calling(), activities=[flaky]):
        await bench.run("a")
    assert flaky.times[1] - flaky.times[0] >= 0.149


async def test_a_builtin_exception_is_retried_and_named(bench: Bench) -> None:
    flaky = Flaky(9, ValueError("no number"))
    async with bench.worker(calling(retry_policy=RetryPolicy(maximum_attempts=1)), activities=[flaky]):
        cause = (await failure_of(bench)).cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message, cause.non_retryable) == ("ValueError", "no number", False)


# -- ways to write one


async def test_a_plain_def_activity_runs_in_a_thread(bench: Bench) -> None:
    class Threads(Lab):
        def echo(self, request: Text) -> Text:  # type: ignore[override]  # the contract's class allows both
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            activity.heartbeat()
            return text(f"{threading.current_thread() is threading.main_thread()} {activity.info().attempt}")

    async with bench.worker(calling(), activities=[Threads()]):
        assert await bench.run() == "False 1"


async def test_an_activity_knows_of_itself(bench: Bench) -> None:
    class Knowing(Lab):
        async def echo(self, request: Text) -> Text:
            info = activity.info()
            assert activity.in_activity()
            assert info.activity_type == "suite.v1.SuiteService.Echo"
            assert info.workflow_type == "suite.v1.SuiteService.Free"
            assert (info.workflow_id, info.task_queue) == (bench.id(), bench.place.name)
            assert info.start_to_close_timeout == timedelta(seconds=10)
            assert info.heartbeat_timeout is None
            assert info.retry_policy is not None
            assert info.retry_policy.maximum_attempts == 3
            assert info.scheduled_time <= info.started_time
            assert not info.is_local
            assert not activity.is_cancelled()
            assert not activity.is_worker_shutdown()
            assert activity.heartbeat_details(Text) is None
            return text(info.workflow_run_id)

    async with bench.worker(calling(), activities=[Knowing()]):
        handle = await bench.start()
        assert (await soon(handle.result())).value == handle.run_id
    with pytest.raises(NotInActivityError):
        activity.info()


async def test_a_call_overrides_the_contract(bench: Bench) -> None:
    options = ActivityOptions(
        activity_id="mine",
        schedule_to_close_timeout=timedelta(seconds=40),
        schedule_to_start_timeout=timedelta(seconds=30),
        start_to_close_timeout=timedelta(seconds=20),
        heartbeat_timeout=timedelta(seconds=15),
        retry_policy=RetryPolicy(initial_interval=millis(30), maximum_attempts=7, non_retryable_error_types=("A", "B")),
        priority=Priority(priority_key=3),
    )
    async with bench.worker(calling(**options), activities=[Lab()]):
        handle = await bench.start()
        await soon(handle.result())
    scheduled = find(await handle.history(), ActivityTaskScheduled)
    assert scheduled.activity_id == "mine"
    assert scheduled.schedule_to_close_timeout == 40 * 10**9
    assert scheduled.schedule_to_start_timeout == 30 * 10**9
    assert scheduled.start_to_close_timeout == 20 * 10**9
    assert scheduled.heartbeat_timeout == 15 * 10**9
    policy = scheduled.retry_policy
    assert policy is not None
    assert (policy.initial_interval, policy.maximum_attempts) == (30 * 10**6, 7)
    assert tuple(policy.non_retryable_error_types) == ("A", "B")


async def test_an_activity_on_another_queue(bench: Bench) -> None:
    queue = f"{bench.place.name}-other"
    async with (
        bench.worker(calling(task_queue=queue)),
        bench.worker(activities=[Lab()], task_queue=queue),
    ):
        assert await bench.run("a") == "a!"


async def test_a_wrong_message_or_option_is_told_at_the_call(bench: Bench) -> None:
    async def wrong(request: Text) -> Text:
        with pytest.raises(MessageMismatchError):
            suite.echo("text")  # type: ignore[arg-type]  # what is refused
        with pytest.raises(OptionError):
            suite.echo(request, start_to_close_timeout=timedelta(0))
        return request

    async with bench.worker(running(wrong)):
        assert await bench.run("a") == "a"


async def test_an_activity_that_returns_the_wrong_message_fails(bench: Bench) -> None:
    class Wrong(Lab):
        async def echo(self, request: Text) -> Text:
            return Document()  # type: ignore[return-value]  # what is refused

    async with bench.worker(calling(retry_policy=ONCE), activities=[Wrong()]):
        cause = (await failure_of(bench)).cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == MessageMismatchError.__name__
    assert "Document" in cause.message


# -- several at once


async def test_results_come_in_the_order_of_the_calls(bench: Bench) -> None:
    class Backwards(Lab):
        def __init__(self) -> None:
            self.turn = [asyncio.Event() for _ in range(4)]
            self.turn[3].set()

        async def echo(self, request: Text) -> Text:
            number = int(request.value)
            await self.turn[number].wait()
            if number:
                self.turn[number - 1].set()
            return request

    async def fan_out(request: Text) -> Text:
        replies = await asyncio.gather(*(suite.echo(text(str(number))) for number in range(4)))
        nothing = await asyncio.gather(*list[asyncio.Task[Text]]())
        return text(" ".join(reply.value for reply in replies) + str(nothing))

    async with bench.worker(running(fan_out), activities=[Backwards()]):
        assert await bench.run() == "0 1 2 3[]"


async def test_slots_limit_how_many_run_at_once(bench: Bench) -> None:
    class Counting(Lab):
        running = most = 0

        async def echo(self, request: Text) -> Text:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.002)
            self.running -= 1
            return request

    async def many(request: Text) -> Text:
        replies = await asyncio.gather(*(suite.echo(text(str(number))) for number in range(12)))
        return text(" ".join(reply.value for reply in replies))

    counting = Counting()
    async with bench.worker(running(many), activities=[counting], max_concurrent_activities=3):
        assert await bench.run() == " ".join(map(str, range(12)))
    assert 1 <= counting.most <= 3


async def test_a_finished_sibling_is_not_run_again(bench: Bench) -> None:
    class Noting(Lab):
        def __init__(self) -> None:
            self.begun = list[str]()

        async def echo(self, request: Text) -> Text:
            self.begun.append(request.value)
            if request.value == "flaky" and activity.info().attempt == 1:
                raise ApplicationError("again")
            return request

    async def both(request: Text) -> Text:
        await asyncio.gather(suite.echo(text("steady")), suite.echo(text("flaky")))
        return request

    noting = Noting()
    async with bench.worker(running(both), activities=[noting], max_cached_workflows=0):
        await bench.run()
    assert sorted(noting.begun) == ["flaky", "flaky", "steady"]


@pytest.mark.parametrize("identity", [None, "me"], ids=["by default", "given"])
async def test_whose_work_it_is(bench: Bench, identity: str | None) -> None:
    settings = WorkerSettings() if identity is None else WorkerSettings(identity=identity)
    async with bench.worker(calling(), activities=[Lab()], **settings):
        handle = await bench.start("a")
        await soon(handle.result())
    history = await handle.history()
    assert find(history, WorkflowExecutionStarted).identity == "client"
    assert find(history, ActivityTaskStarted).identity == (identity or "client")
    assert find(history, ActivityTaskCompleted).identity == (identity or "client")
    found = [each.attributes for each in history]
    by = {each.identity for each in found if isinstance(each, WorkflowTaskCompleted)}
    assert by == {identity or "client"}


async def test_an_interceptor_need_not_wait_for_a_thread(place: Place) -> None:
    held = threading.Event()

    class Hasty(Interceptor):
        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            try:
                async with asyncio.timeout(0.05):
                    return await next_hook(call)
            finally:
                held.set()

    class Held(Lab):
        def echo(self, request: Text) -> Text:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            held.wait(PATIENCE.total_seconds())
            return request

    async with (
        place.connect(interceptors=[Hasty()]) as bench,
        bench.worker(calling(retry_policy=ONCE), activities=[Held()]),
    ):
        error = await failure_of(bench)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "TimeoutError"


async def test_a_race_against_a_timer(bench: Bench) -> None:
    async def race(request: Text) -> Text:
        slow = asyncio.ensure_future(workflow.sleep(60))
        reply = await suite.echo(request)
        slow.cancel()
        return reply

    async with bench.worker(running(race), activities=[Lab()]):
        handle = await bench.start("a")
        assert (await soon(handle.result())).value == "a!"
    assert "TimerStarted" in kinds(await handle.history())


async def test_b_awaited_before_a(bench: Bench) -> None:
    async def crossed(request: Text) -> Text:
        a, b = suite.echo(text("a")), suite.echo(text("b"))
        second = await b
        await workflow.sleep(0.05)
        first = await a
        return text(first.value + second.value)

    async with bench.worker(running(crossed), activities=[Lab()], max_cached_workflows=0):
        assert await bench.run() == "a!b!"


async def test_one_queue_many_workflows(bench: Bench) -> None:
    async with bench.worker(Chain, activities=[Lab()]):
        results = await soon(asyncio.gather(*(bench.run(str(n), name=str(n)) for n in range(20))))
    assert results == [f"{n}!!!" for n in range(20)]


async def test_an_empty_fan_out(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        none: list[Text] = list(await asyncio.gather(*(suite.echo(text(word)) for word in request.value)))
        return text(f"{len(none)}")

    async with bench.worker(running(code), activities=[Lab()]):
        assert await bench.run() == "0"


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_what_ends_while_the_run_waits_for_something_else(bench: Bench, cached: int) -> None:
    class Busy(Waiting):
        async def run(self, request: Text) -> Text:
            calls = [
                suite.echo(text("result")),
                suite.echo(text("failure"), retry_policy=ONCE),
                suite.echo(text("time-out"), retry_policy=ONCE, start_to_close_timeout=millis(100)),
            ]
            await self.go.receive()
            found = list[str]()
            for call in calls:
                try:
                    found.append((await call).value)
                except ActivityError as error:
                    found.append(type(error.cause).__name__)
            return text(" ".join(found))

    class Various(Stuck):
        async def echo(self, request: Text) -> Text:
            if request.value == "failure":
                raise ApplicationError("no")
            return await super().echo(request) if request.value == "time-out" else request

    async with bench.worker(Busy, activities=[Various()], max_cached_workflows=cached):
        handle = await bench.start()

        async def all_have_ended() -> bool:
            found = kinds(await handle.history())
            return {"ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskTimedOut"} <= set(found)

        await until(all_have_ended)
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "result ApplicationError TimeoutError"
