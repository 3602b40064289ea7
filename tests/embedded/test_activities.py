"""Activities: retries, time-outs, heartbeats, cancellation, and what history says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Lab, Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import activity, workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.errors import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    WorkflowFailedError,
)
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskFailed,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
)
from protopact.history.failure import TimeoutFailureInfo
from protopact.policy import ActivityOptions, RetryPolicy


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class Call(Waiting):
    """Calls one activity; a subclass or test sets which, and how."""

    options = ActivityOptions()

    async def run(self, request: Text) -> Text:
        return await lab.echo(request, **self.options)


def calling(**options: object) -> type[Call]:
    return type("Calling", (Call,), {"options": options})


class Flaky(Lab):
    """Fails as often as it is told; notes each attempt."""

    def __init__(self, clock: VirtualClock, failures: int, error: Callable[[], Exception]) -> None:
        self.times = list[float]()
        self.attempts = list[int]()
        self._start = clock.now()
        self._clock = clock
        self._failures = failures
        self._error = error

    async def echo(self, request: Text) -> Text:
        self.times.append((self._clock.now() - self._start) / 1e9)
        self.attempts.append(activity.info().attempt)
        if len(self.times) <= self._failures:
            raise self._error()
        return request


class Stuck(Lab):
    """Never ends by itself; says how it was cancelled."""

    def __init__(self) -> None:
        self.started = 0
        self.reasons = list[activity.CancellationReason | None]()

    async def echo(self, request: Text) -> Text:
        return await self._wait(request)

    async def beat(self, request: Text) -> Text:
        activity.heartbeat(text(f"beat {activity.info().attempt}"))
        return await self._wait(request)

    async def _wait(self, request: Text) -> Text:
        self.started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.reasons.append(activity.cancellation_reason())
            raise
        return request


async def test_retries_back_off_as_the_policy_says(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    flaky = Flaky(clock, 3, lambda: ApplicationError("again"))
    policy = RetryPolicy(initial_interval=seconds(1), backoff_coefficient=3, maximum_interval=seconds(5))
    async with engine.worker(workflows=[calling(retry_policy=policy)], activities=[flaky]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(seconds(1))
        (pending,) = (await handle.describe()).pending_activities
        assert (pending.attempt, pending.started, pending.last_failure) == (3, False, "again")
        assert pending.next_attempt_at is not None
        await clock.advance(seconds(60))
        assert (await soon(handle.result())).value == "a"
    assert flaky.times == [0, 1, 4, 9]
    assert flaky.attempts == [1, 2, 3, 4]
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


async def test_the_last_attempt_fails_the_activity(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    flaky = Flaky(clock, 9, lambda: ApplicationError("never", type="No"))
    async with engine.worker(workflows=[Call], activities=[flaky]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(60))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
    assert flaky.attempts == [1, 2, 3]
    cause = raised.value.cause
    assert isinstance(cause, ActivityError)
    assert cause.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "No"


@pytest.mark.parametrize(
    "error",
    [ApplicationError("no", non_retryable=True), ApplicationError("no", type="Fatal")],
    ids=["said by the failure", "said by the policy"],
)
async def test_a_non_retryable_failure_is_not_tried_again(
    engine: EmbeddedEngine, clock: VirtualClock, error: ApplicationError
) -> None:
    flaky = Flaky(clock, 9, lambda: error)
    policy = RetryPolicy(non_retryable_error_types=("Fatal",))
    async with engine.worker(workflows=[calling(retry_policy=policy)], activities=[flaky]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
    assert flaky.attempts == [1]
    assert find(await handle.history(), ActivityTaskFailed).retry_state == "NON_RETRYABLE_FAILURE"


async def test_a_failure_may_ask_for_its_own_delay(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    flaky = Flaky(clock, 1, lambda: ApplicationError("later", next_retry_delay=seconds(30)))
    async with engine.worker(workflows=[Call], activities=[flaky]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(seconds(60))
        await soon(handle.result())
    assert flaky.times == [0, 30]


async def test_start_to_close_ends_an_attempt_and_the_next_begins(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    stuck = Stuck()
    async with engine.worker(workflows=[Call], activities=[stuck]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(10))
        assert stuck.reasons == [activity.CancellationReason.TIMED_OUT]
        await clock.advance(seconds(60))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
    assert stuck.started == 3
    assert isinstance(raised.value.cause, ActivityError)
    timeout = raised.value.cause.cause
    assert isinstance(timeout, TimeoutError)
    assert timeout.type is TimeoutType.START_TO_CLOSE
    timed_out = find(await handle.history(), ActivityTaskTimedOut)
    assert timed_out.retry_state == "MAXIMUM_ATTEMPTS_REACHED"
    assert timed_out.started_event_id > 0


async def test_a_silent_activity_times_out_with_its_last_details(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Beating(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.beat(request, retry_policy=RetryPolicy(maximum_attempts=2))

    stuck = Stuck()
    async with engine.worker(workflows=[Beating], activities=[stuck]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(30))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
    assert stuck.started == 2
    assert isinstance(raised.value.cause, ActivityError)
    timeout = raised.value.cause.cause
    assert isinstance(timeout, TimeoutError)
    assert timeout.type is TimeoutType.HEARTBEAT
    assert timeout.last_heartbeat_details.get(0, Text).value == "beat 2"


async def test_heartbeats_extend_their_own_deadline_only(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Diligent(Lab):
        beating = asyncio.Event()
        beats = 0

        async def beat(self, request: Text) -> Text:
            while True:
                self.beats += 1
                activity.heartbeat(text(str(self.beats)))
                await self.beating.wait()
                self.beating.clear()

    class Beating(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.beat(request, retry_policy=RetryPolicy(maximum_attempts=1))

    diligent = Diligent()
    async with engine.worker(workflows=[Beating], activities=[diligent]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        for _ in range(14):
            await clock.advance(seconds(4))
            assert not waiting.done()
            diligent.beating.set()
        await clock.advance(seconds(4))
        with pytest.raises(WorkflowFailedError):
            await soon(waiting)
    failure = find(await handle.history(), ActivityTaskTimedOut).failure
    assert failure is not None
    assert isinstance(failure.info, TimeoutFailureInfo)
    assert failure.info.timeout_type == "START_TO_CLOSE"


async def test_schedule_to_start_passes_without_a_worker_and_is_not_retried(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    async with engine.worker(workflows=[calling(schedule_to_start_timeout=seconds(7))]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(7))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, TimeoutError)
    assert raised.value.cause.cause.type is TimeoutType.SCHEDULE_TO_START
    history = await handle.history()
    assert find(history, ActivityTaskTimedOut).started_event_id == 0
    assert "ActivityTaskStarted" not in kinds(history)


async def test_schedule_to_close_limits_all_attempts_together(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    flaky = Flaky(clock, 99, lambda: ApplicationError("again"))
    policy = RetryPolicy(initial_interval=seconds(4), backoff_coefficient=1)
    options = {"retry_policy": policy, "schedule_to_close_timeout": seconds(10)}
    async with engine.worker(workflows=[calling(**options)], activities=[flaky]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(30))
        with pytest.raises(WorkflowFailedError):
            await soon(waiting)
    assert flaky.times == [0, 4, 8]
    failed = find(await handle.history(), ActivityTaskFailed)
    assert failed.retry_state == "TIMEOUT"
    assert failed.failure is not None
    assert failed.failure.message == "again"


async def test_schedule_to_close_ends_a_running_attempt(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    stuck = Stuck()
    options = {"start_to_close_timeout": seconds(60), "schedule_to_close_timeout": seconds(10)}
    async with engine.worker(workflows=[calling(**options)], activities=[stuck]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(seconds(10))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
    assert stuck.reasons == [activity.CancellationReason.TIMED_OUT]
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, TimeoutError)
    assert raised.value.cause.cause.type is TimeoutType.SCHEDULE_TO_CLOSE


async def test_what_a_timed_out_attempt_returns_late_is_ignored(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Late(Lab):
        release = asyncio.Event()
        count = 0

        async def echo(self, request: Text) -> Text:
            self.count += 1
            number = self.count
            while not self.release.is_set():
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    continue
            return text(f"attempt {number}")

    late = Late()
    async with engine.worker(workflows=[Call], activities=[late]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(seconds(11))
        late.release.set()
        assert (await soon(handle.result())).value == "attempt 2"
    assert find(await handle.history(), ActivityTaskStarted).attempt == 2


async def test_cancelling_the_workflow_cancels_its_activity(engine: EmbeddedEngine) -> None:
    class Beating(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.beat(request)

    stuck = Stuck()
    async with engine.worker(workflows=[Beating], activities=[stuck]):
        handle = await lab.Client(engine).start_free(text("a"))
        while not stuck.started:
            await asyncio.sleep(0)
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    assert stuck.reasons == [activity.CancellationReason.CANCEL_REQUESTED]
    history = await handle.history()
    cancelled = find(history, ActivityTaskCanceled)
    asked = [e.event_id for e in history if type(e.attributes).__name__ == "ActivityTaskCancelRequested"]
    assert [cancelled.latest_cancel_requested_event_id] == asked
    assert cancelled.started_event_id > 0


async def test_cancelling_between_attempts_closes_the_activity_at_once(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    class Beating(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                return await lab.beat(request)
            except ActivityError as error:
                return text(type(error.cause).__name__)

    class Failing(Lab):
        async def beat(self, request: Text) -> Text:
            raise ApplicationError("again")

    async with engine.worker(workflows=[Beating], activities=[Failing()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.cancel()
        assert (await soon(handle.result())).value == "CancelledError"
    history = await handle.history()
    assert find(history, ActivityTaskCanceled).started_event_id == 0
    assert "ActivityTaskStarted" not in kinds(history)


async def test_a_parallel_activity_that_ends_wakes_the_workflow_at_once(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    class Race(Waiting):
        async def run(self, request: Text) -> Text:
            slow = asyncio.ensure_future(workflow.sleep(60))
            reply = await lab.echo(request)
            slow.cancel()
            return reply

    async with engine.worker(workflows=[Race], activities=[Lab()]):
        handle = await lab.Client(engine).start_free(text("a"))
        assert (await soon(handle.result())).value == "a!"
    assert "TimerStarted" in kinds(await handle.history())
    assert clock.next_timer is None or clock.next_timer > 0


async def test_an_attempt_that_fails_is_one_line_in_the_log(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            if activity.info().attempt == 2:
                await asyncio.Event().wait()
            raise ValueError("no disk\nno paper")

    class Calling(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request)

    caplog.set_level("DEBUG", logger="protopact.embedded")
    async with engine.worker(workflows=[Calling], activities=[Failing()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(timedelta(seconds=20))
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
    what = "activity lab.v1.LabService.Echo (id 1, attempt {}, workflow a)"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{what.format(1)} failed: ValueError: no disk no paper; attempt 2 follows in 1 s",
        f"{what.format(2)} passed its START_TO_CLOSE time-out; attempt 3 follows in 2 s",
        f"{what.format(3)} failed: ValueError: no disk no paper; it is not tried again (MAXIMUM_ATTEMPTS_REACHED)",
    ]
    assert not any(record.exc_info for record in caplog.records if record.levelname == "WARNING")
    traced = [record for record in caplog.records if record.exc_info]
    assert [record.levelname for record in traced] == ["DEBUG"] * 2


@pytest.mark.parametrize("turns", range(3))
async def test_an_outcome_that_comes_while_its_run_is_claimed(turns: int, tmp_path: Path) -> None:
    """The run is read for the outcome, and is among those that the same tick finds waiting."""

    class Leaving(Lab):
        async def echo(self, request: Text) -> Text:
            left.put_nowait(activity.info().task_token)
            activity.raise_complete_async()

    path, left = tmp_path / "lab.db", asyncio.Queue[bytes]()
    async with open_engine(path) as engine, engine.worker(workflows=[Call], handle_signals=False):
        handle = await lab.Client(engine).start_free(text("a"))
        while not (await handle.describe()).pending_activities:
            await asyncio.sleep(0.01)
    async with (
        open_engine(path) as engine,
        engine.worker(workflows=[Call], activities=[Leaving()], handle_signals=False),
    ):
        token = await left.get()
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.async_activity_handle(lab.Activities.echo, task_token=token).complete(text("b"))
        assert (await soon(lab.Client(engine).free_handle(handle.id).result())).value == "b"
