"""The test environment: virtual time, an engine in memory, activities replaced by fakes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

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
from protopact.interceptor import ExecuteActivity
from protopact.payload import Payload, PayloadCodec
from protopact.policy import RetryPolicy

START = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = GreetRequest(name="Alice")


class Fake(greeting.Activities):
    """Does what the test says."""

    def __init__(self, compose: Callable[[], object] | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self._compose = compose

    async def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
        self.calls.append((request.name, activity.info().attempt))
        if self._compose is not None:
            result = self._compose()
            if asyncio.iscoroutine(result):
                await result
        return ComposeGreetingResponse(greeting=f"Hello, {request.name}!")


class Patient(greeting.Greet):
    """Greets after thirty days, and notes when it did what."""

    steps: list[tuple[str, datetime]]

    def __init__(self) -> None:
        type(self).steps = []

    async def run(self, request: GreetRequest) -> GreetResponse:
        self.steps.append(("started", workflow.now()))
        await workflow.sleep(timedelta(days=30))
        composed = await greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
        self.steps.append(("greeted", workflow.now()))
        return GreetResponse(greeting=composed.greeting)


class Prompt(greeting.Greet):
    """Greets at once."""

    async def run(self, request: GreetRequest) -> GreetResponse:
        composed = await greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
        return GreetResponse(greeting=composed.greeting)


async def test_a_month_takes_no_time() -> None:
    began = time.monotonic()
    async with testing.Environment() as env, env.worker(workflows=[Patient], activities=[Fake()]):
        assert env.now() == START
        assert (await greeting.Client(env).execute_greet(ALICE)).greeting == "Hello, Alice!"
        assert env.now() == START + timedelta(days=30)
    assert Patient.steps == [("started", START), ("greeted", START + timedelta(days=30))]
    assert time.monotonic() - began < 5


async def test_what_is_called_one_after_the_other_happens_at_one_instant() -> None:
    start = datetime(2031, 5, 6, 7, tzinfo=UTC)
    async with testing.Environment(start=start) as env, env.worker(workflows=[Patient], activities=[Fake()]):
        client = greeting.Client(env)
        for name in ("Alice", "Bob", "Carol"):
            handle = await client.start_greet(GreetRequest(name=name))
            await handle.describe()
            assert env.now() == start


async def test_time_passes_in_steps() -> None:
    fake = Fake()
    async with testing.Environment() as env, env.worker(workflows=[Patient], activities=[fake]):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.sleep(timedelta(days=29, hours=23))
        assert fake.calls == []
        await env.sleep(timedelta(hours=1))
        assert fake.calls == [("Alice", 1)]
        assert (await handle.result()).greeting == "Hello, Alice!"
        assert env.now() == START + timedelta(days=30)


async def test_retries_back_off_in_virtual_time() -> None:
    attempts = iter([True, True, True, False])

    def fail() -> None:
        if next(attempts):
            raise ConnectionError("not yet")

    fake = Fake(fail)
    async with testing.Environment() as env, env.worker(workflows=[Prompt], activities=[fake]):
        await greeting.Client(env).execute_greet(ALICE)
        assert env.now() == START + timedelta(seconds=1 + 2 + 4)
    assert fake.calls == [("Alice", attempt) for attempt in (1, 2, 3, 4)]


class Racing(greeting.Greet):
    """Composes the greeting while a timer of a second runs."""

    async def run(self, request: GreetRequest) -> GreetResponse:
        composing = greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
        timer = asyncio.create_task(workflow.sleep(timedelta(seconds=1)))
        composed = await composing
        return GreetResponse(greeting=f"{composed.greeting} {'late' if timer.done() else 'in time'}")


async def test_time_stands_still_while_an_activity_runs() -> None:
    gate = threading.Event()

    class InAThread(greeting.Activities):
        def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
            gate.wait(10)
            return ComposeGreetingResponse(greeting=request.name)

    async with testing.Environment() as env, env.worker(workflows=[Racing], activities=[InAThread()]):
        handle = await greeting.Client(env).start_greet(ALICE)
        await asyncio.sleep(0.05)
        assert env.now() == START
        gate.set()
        assert (await handle.result()).greeting == "Alice in time"


async def test_a_hanging_activity_times_out_when_the_test_lets_time_pass() -> None:
    hang = iter([True, False])

    async def maybe_hang() -> None:
        if next(hang):
            await asyncio.Event().wait()

    fake = Fake(maybe_hang)
    async with testing.Environment() as env, env.worker(workflows=[Prompt], activities=[fake]):
        handle = await greeting.Client(env).start_greet(ALICE)
        await env.advance(timedelta(seconds=9))
        assert fake.calls == [("Alice", 1)]
        await env.advance(timedelta(seconds=1))
        assert (await handle.result()).greeting == "Hello, Alice!"
    assert fake.calls == [("Alice", 1), ("Alice", 2)]


async def test_a_fake_may_take_its_time() -> None:
    async with testing.Environment() as env:

        async def nap() -> None:
            await env.sleep(timedelta(seconds=9) if fake.calls[-1][1] == 2 else timedelta(seconds=11))

        fake = Fake(nap)
        async with env.worker(workflows=[Prompt], activities=[fake]):
            await greeting.Client(env).execute_greet(ALICE)
        # Too long by a second, a second of back-off, and then in time.
        assert env.now() == START + timedelta(seconds=10 + 1 + 9)
    assert fake.calls == [("Alice", 1), ("Alice", 2)]


async def test_an_activity_may_wait_for_a_workflow() -> None:
    async with testing.Environment() as env:

        async def delegate() -> None:
            if fake.calls[-1][0] == "Alice":
                await greeting.Client(env).execute_greet(GreetRequest(name="Bob"), id="another")

        class Sleepy(greeting.Greet):
            async def run(self, request: GreetRequest) -> GreetResponse:
                await workflow.sleep(timedelta(seconds=2))
                composed = await greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
                return GreetResponse(greeting=composed.greeting)

        fake = Fake(delegate)
        async with env.worker(workflows=[Sleepy], activities=[fake]):
            await greeting.Client(env).execute_greet(ALICE)
        assert env.now() == START + timedelta(seconds=4)
    assert [name for name, _ in fake.calls] == ["Alice", "Bob"]


async def test_codecs_and_interceptors_work_as_anywhere() -> None:
    class Shift(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
            await asyncio.sleep(0)
            return [Payload({**each.metadata, "shifted": b"1"}, bytes(b ^ 1 for b in each.data)) for each in payloads]

        async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
            await asyncio.sleep(0)
            return [Payload({**each.metadata}, bytes(b ^ 1 for b in each.data)) for each in payloads]

    seen = list[str]()

    class Trace(protopact.Interceptor):
        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            seen.append(call.activity.name)
            return await next_hook(call)

    async with (
        testing.Environment(codecs=[Shift()], interceptors=[Trace()], encoding="binary/protobuf") as env,
        env.worker(workflows=[Patient], activities=[Fake()]),
    ):
        assert (await greeting.Client(env).execute_greet(ALICE)).greeting == "Hello, Alice!"
    assert seen == ["greeting.v1.GreetingService.ComposeGreeting"]


async def test_time_can_be_held() -> None:
    fake = Fake()
    async with testing.Environment() as env, env.worker(workflows=[Patient], activities=[fake]):
        with env.auto_time_skipping_disabled():
            handle = await greeting.Client(env).start_greet(ALICE)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.result(), 0.05)
            assert env.now() == START
            await env.sleep(timedelta(days=1))
            assert env.now() == START + timedelta(days=1)
        assert (await handle.result()).greeting == "Hello, Alice!"


async def test_without_time_skipping_only_the_test_moves_time() -> None:
    fake = Fake()
    async with (
        testing.Environment(time_skipping=False) as env,
        env.worker(workflows=[Patient], activities=[fake]),
    ):
        handle = await greeting.Client(env).start_greet(ALICE)
        await asyncio.sleep(0.02)
        assert env.now() == START
        await env.sleep(timedelta(days=31))
        assert env.now() == START + timedelta(days=31)
        assert (await handle.result()).greeting == "Hello, Alice!"


async def test_a_workflow_that_waits_too_long_times_out() -> None:
    async with testing.Environment() as env, env.worker(workflows=[Patient], activities=[Fake()]):
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await greeting.Client(env).execute_greet(ALICE, execution_timeout=timedelta(minutes=30))
        assert isinstance(failed.value.cause, protopact.TimeoutError)
        assert env.now() == START + timedelta(minutes=30)


async def test_a_workflow_with_a_mistake_fails_the_test_and_not_the_run() -> None:
    class Mistaken(greeting.Greet):
        async def run(self, request: GreetRequest) -> GreetResponse:
            raise KeyError(request.name)

    async with testing.Environment() as env, env.worker(workflows=[Mistaken], activities=[Fake()]):
        handle = await greeting.Client(env).start_greet(ALICE)
        with pytest.raises(protopact.WorkflowTaskError) as failed:
            await handle.result()
        message = str(failed.value)
        assert message.startswith("the workflow task of greeting.v1.GreetingService.Greet greet/Alice fails")
        assert "KeyError" in message
        assert (await handle.describe()).status.value == "Running"


async def test_the_same_test_gives_the_same_ids() -> None:
    async def run_ids(seed: int) -> list[str]:
        async with testing.Environment(seed=seed) as env:
            client = greeting.Client(env)
            return [(await client.start_greet(GreetRequest(name=name))).run_id or "" for name in ("A", "B")]

    assert await run_ids(0) == await run_ids(0)
    assert await run_ids(0) != await run_ids(1)


async def test_many_workflows_at_once() -> None:
    class Napping(greeting.Greet):
        async def run(self, request: GreetRequest) -> GreetResponse:
            for _ in range(10):
                await workflow.sleep(timedelta(hours=int(request.name)))
            return GreetResponse(greeting=request.name)

    async with testing.Environment() as env, env.worker(workflows=[Napping]):
        client = greeting.Client(env)
        names = [str(number) for number in range(1, 21)]
        results = await asyncio.gather(*(client.execute_greet(GreetRequest(name=name)) for name in names))
        assert [result.greeting for result in results] == names
        assert env.now() == START + timedelta(hours=200)


async def test_an_activity_that_still_runs_at_the_end_is_cancelled_at_once() -> None:
    ended = list[activity.CancellationReason | None]()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(activity.cancellation_reason())

    began = time.monotonic()
    async with testing.Environment() as env, env.worker(workflows=[Prompt], activities=[Fake(hang)]):
        await greeting.Client(env).start_greet(ALICE)
        with env.auto_time_skipping_disabled():
            await env.advance(timedelta(0))
    assert ended == [activity.CancellationReason.WORKER_SHUTDOWN]
    assert time.monotonic() - began < 5


async def test_a_call_may_override_the_contract_here_as_anywhere() -> None:
    class Impatient(greeting.Greet):
        async def run(self, request: GreetRequest) -> GreetResponse:
            await greeting.compose_greeting(
                ComposeGreetingRequest(name=request.name), retry_policy=RetryPolicy(maximum_attempts=2)
            )
            raise AssertionError

    def fail() -> None:
        raise ConnectionError("never")

    fake = Fake(fail)
    async with testing.Environment() as env, env.worker(workflows=[Impatient], activities=[fake]):
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await greeting.Client(env).execute_greet(ALICE)
    error = failed.value.cause
    assert isinstance(error, protopact.ActivityError)
    assert error.retry_state is protopact.RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert fake.calls == [("Alice", 1), ("Alice", 2)]


class Doorkeeper(greeting.Greet):
    """Waits for what nobody brings."""

    async def run(self, request: GreetRequest) -> GreetResponse:
        await asyncio.Event().wait()
        return GreetResponse()


async def hang() -> None:
    await activity.wait_for_cancelled()


@pytest.mark.parametrize(
    ("workflows", "activities", "obstacle"),
    [
        ([], [Fake()], "waits for a worker that serves greeting.v1.GreetingService.Greet"),
        ([Doorkeeper], [], "waits, with no timer or activity pending: for a signal or an update, perhaps"),
        ([Prompt], [], "waits for greeting.v1.GreetingService.ComposeGreeting, which no worker serves"),
        (
            [Prompt],
            [Fake(hang)],
            "these do not end: greeting.v1.GreetingService.ComposeGreeting of workflow",
        ),
    ],
    ids=["no worker", "no signal", "no activity", "hanging activity"],
)
async def test_what_can_never_come_is_an_error_that_says_why(
    workflows: list[type[workflow.Workflow]], activities: list[Fake], obstacle: str
) -> None:
    silence = timedelta(milliseconds=50)
    async with (
        testing.Environment(stalled_after=silence) as env,
        env.worker(workflows=workflows, activities=activities),
    ):
        with pytest.raises(protopact.StalledError, match=rf"^nothing has happened for 0.05 s .*{obstacle}"):
            await greeting.Client(env).execute_greet(ALICE)


async def test_time_that_is_held_is_named_too() -> None:
    silence = timedelta(milliseconds=50)
    async with testing.Environment(stalled_after=silence, time_skipping=False) as env, env.worker(workflows=[Patient]):
        handle = await greeting.Client(env).start_greet(ALICE)
        with pytest.raises(protopact.StalledError, match="time skipping is disabled"):
            await handle.result()
