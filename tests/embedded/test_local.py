"""Local activities on the embedded engine."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Lab, Waiting, all_kinds, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_seams import Squeezing

from protopact import activity, errors, workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import WorkerOptions, WorkflowStatus
from protopact.errors import (
    ActivityError,
    ApplicationError,
    TerminatedError,
    WorkflowFailedError,
)
from protopact.history.event import MarkerRecorded, TimerStarted, WorkflowTaskFailed
from protopact.interceptor import Interceptor, StartLocalActivity
from protopact.payload import Payload
from protopact.policy import ActivityCancellationType, LocalActivityOptions, RetryPolicy
from protopact.replay.entries import CalledActivity, StartedTimer
from protopact.replay.local import CalledLocalActivity

ONCE = RetryPolicy(maximum_attempts=1)


class Busy(lab.Activities):
    """Waits until it is let go, then does as its request says; notes what it does."""

    def __init__(self) -> None:
        self.begun = list[str]()
        self.free = asyncio.Event()
        self.free.set()

    async def echo(self, request: Text) -> Text:
        self.begun.append(f"{request.value} {activity.info().attempt}")
        assert activity.info().is_local
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.begun.append(f"{request.value} cancelled")
            raise
        word, _, fails = request.value.partition(" fails ")
        if fails and activity.info().attempt <= int(fails):
            raise ApplicationError(f"not yet {word}", type="NotYet")
        return text(word + "!")

    def beat(self, request: Text) -> Text:
        return text(request.value + "?")


class Calls(Waiting):
    """Calls what its request lists, one after the other."""

    async def run(self, request: Text) -> Text:
        said = [(await lab.Local.echo(text(word))).value for word in request.value.split(",")]
        said.append((await lab.Local.beat(text("thread"))).value)
        return text(" ".join(said))


@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_one_task_and_a_marker_each(
    path: Path | None, clock: VirtualClock, *, is_coded: bool, cached: int
) -> None:
    codecs = [Squeezing()] if is_coded else []
    async with (
        open_engine(path, clock=clock, codecs=codecs) as engine,
        engine.worker(workflows=[Calls], activities=[Busy()], max_cached_workflows=cached),
    ):
        handle = await lab.Client(engine).start_free(text("a,b"))
        assert (await soon(handle.result())).value == "a! b! thread?"
        assert (await soon(handle.status(text("")))).value == "new"
        history = await handle.history()
    assert all_kinds(history) == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        *["MarkerRecorded"] * 3,
        "WorkflowExecutionCompleted",
    ]


async def test_attempts_within_the_task(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    async with engine.worker(workflows=[Calls], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a fails 2"))
        await clock.advance(timedelta(seconds=10))
        assert (await soon(handle.result())).value == "a! thread?"
    assert busy.begun == ["a fails 2 1", "a fails 2 2", "a fails 2 3"]
    history = await handle.history()
    assert kinds(history)[1:3] == ["MarkerRecorded", "MarkerRecorded"], "of final outcomes only"
    assert history[-1].event_time - history[0].event_time == 3_000_000_000


class Patient(Waiting):
    async def run(self, request: Text) -> Text:
        policy = RetryPolicy(initial_interval=timedelta(seconds=5))
        said = await lab.Local.echo(request, retry_policy=policy, local_retry_threshold=timedelta(seconds=1))
        return text(f"{said.value} after {workflow.now() - workflow.info().start_time}")


async def test_a_long_wait_between_attempts_is_a_timer(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    async with engine.worker(workflows=[Patient], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a fails 1"))
        await clock.settle()
        assert find(await handle.history(), TimerStarted).start_to_fire_timeout == 5_000_000_000
    async with engine.worker(workflows=[Patient], activities=[busy]):
        await clock.advance(timedelta(seconds=10))
        assert (await soon(handle.result())).value == "a! after 0:00:05"
    assert kinds(await handle.history())[1:5] == ["MarkerRecorded", "TimerStarted", "TimerFired", "MarkerRecorded"]


@pytest.mark.parametrize("limit", ["start_to_close", "schedule_to_close"])
async def test_time_outs(engine: EmbeddedEngine, clock: VirtualClock, limit: str) -> None:
    class TimesOut(Waiting):
        async def run(self, request: Text) -> Text:
            second = timedelta(seconds=1)
            try:
                if limit == "start_to_close":
                    await lab.Local.echo(request, start_to_close_timeout=second, retry_policy=ONCE)
                else:
                    await lab.Local.echo(request, schedule_to_close_timeout=second)
            except ActivityError as error:
                return text(str(getattr(error.cause, "type", None)))
            return request

    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[TimesOut], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(timedelta(seconds=5))
        assert (await soon(handle.result())).value == f"TimeoutType.{limit.upper()}"
    assert busy.begun[-1] == "a cancelled"
    marker = find(await handle.history(), MarkerRecorded)
    assert marker.failure is not None


@pytest.mark.parametrize("kind", list(ActivityCancellationType))
async def test_cancellation_types(engine: EmbeddedEngine, clock: VirtualClock, kind: ActivityCancellationType) -> None:
    class Stops(Waiting):
        async def run(self, request: Text) -> Text:
            handle = lab.Local.echo(request, cancellation_type=kind)
            await lab.Local.beat(text(""))
            handle.cancel()
            try:
                await handle
            except ActivityError as error:
                return text(type(error.cause).__name__)
            return text("")

    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Stops], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        assert (await soon(handle.result())).value == "CancelledError"
        if kind is ActivityCancellationType.ABANDON:
            assert busy.begun == ["a 1"]
            busy.free.set()
        await clock.settle()
    assert kinds(await handle.history()).count("MarkerRecorded") == 2


class Meanwhile(Waiting):
    async def run(self, request: Text) -> Text:
        said = await lab.Local.echo(request)
        signal = await self.go.receive()
        return text(f"{said.value} {signal.value}")


async def test_what_arrives_meanwhile_comes_behind(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Meanwhile], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.go(text("signal"))
        query = asyncio.ensure_future(handle.status(text("")))
        update = asyncio.ensure_future(handle.set(text("b")))
        await clock.settle()
        assert not query.done()
        assert all_kinds(await handle.history()) == ["WorkflowExecutionStarted"], "the task is not written before"
        busy.free.set()
        assert (await soon(handle.result())).value == "a! signal"
        await soon(asyncio.gather(query, update, return_exceptions=True))
    assert kinds(await handle.history())[1:3] == ["MarkerRecorded", "WorkflowExecutionSignaled"]


class Fans(Waiting):
    """Calls what its request lists, all at once."""

    async def run(self, request: Text) -> Text:
        calls = [self.call(text(word)) for word in request.value.split(",")]
        return text(" ".join(await asyncio.gather(*calls)))

    async def call(self, request: Text) -> str:
        options = LocalActivityOptions(retry_policy=ONCE)
        if request.value.startswith("late"):
            options["schedule_to_start_timeout"] = timedelta(seconds=5)
        try:
            return (await lab.Local.echo(request, **options)).value
        except ActivityError as error:
            cause = error.cause
            return cause.type.name if isinstance(cause, errors.TimeoutError) and cause.type else type(cause).__name__


async def test_so_many_run_at_once_as_the_worker_has_slots(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Fans], activities=[busy], max_concurrent_local_activities=2):
        handle = await lab.Client(engine).start_free(text("a,b,c,d,e"))
        await clock.settle()
        assert busy.begun == ["a 1", "b 1"]
        other = await lab.Client(engine).start_free(text("f"), id="other")
        await clock.settle()
        assert busy.begun == ["a 1", "b 1"], "the slots are the worker's"
        await other.terminate()
        busy.free.set()
        assert (await soon(handle.result())).value == "a! b! c! d! e!"
    assert busy.begun == [f"{each} 1" for each in "abcde"]


async def test_who_waits_too_long_for_a_slot_times_out(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Fans], activities=[busy], max_concurrent_local_activities=1):
        handle = await lab.Client(engine).start_free(text("a,late,b"))
        await clock.advance(timedelta(seconds=6))
        busy.free.set()
        assert (await soon(handle.result())).value == "a! SCHEDULE_TO_START b!"
    assert busy.begun == ["a 1", "b 1"]


async def test_what_waits_for_a_slot_of_a_worker_that_stops_runs_on_another(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR")
    first, second = Busy(), Busy()
    first.free.clear()
    async with AsyncExitStack() as stack:
        options = WorkerOptions(
            workflows=[Fans],
            activities=[first],
            max_concurrent_local_activities=1,
            graceful_shutdown_timeout=timedelta(0),
        )
        await stack.enter_async_context(engine.run_worker(options))
        async with engine.worker(workflows=[Fans], activities=[second]):
            handle = await lab.Client(engine).start_free(text("a,b"))
            await clock.settle()
            await stack.aclose()
            await clock.advance(timedelta(seconds=1))
            assert (await soon(handle.result())).value == "a! b!"
    assert first.begun == ["a 1", "a cancelled"]
    assert second.begun == ["a 1", "b 1"]


async def test_an_attempt_that_is_wanted_no_more_keeps_its_slot_until_it_ends(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    class Deaf(Busy):
        async def echo(self, request: Text) -> Text:
            while True:
                try:
                    return await super().echo(request)
                except asyncio.CancelledError:
                    continue

    busy = Deaf()
    busy.free.clear()
    async with engine.worker(workflows=[Fans], activities=[busy], max_concurrent_local_activities=1):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.terminate()
        other = await lab.Client(engine).start_free(text("b"), id="b")
        await clock.settle()
        assert "b 1" not in busy.begun
        busy.free.set()
        assert (await soon(other.result())).value == "b!"


async def test_a_run_keeps_nothing_of_what_is_over(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Steps(Waiting):
        async def run(self, request: Text) -> Text:
            for number in range(20):
                await lab.Local.echo(text(str(number)))
                await lab.echo(text(str(number)))
                await workflow.sleep(1)
            return await self.go.receive()

    async with engine.worker(workflows=[Steps], activities=[Lab()]):
        await lab.Client(engine).start_free(text("a"))
        alive = list[int]()
        for _ in range(3):
            await clock.advance(timedelta(seconds=5))
            gc.collect()
            kept = (CalledLocalActivity, CalledActivity, StartedTimer)
            # By identity of the type: some objects of other tests raise when they, or their types, are compared.
            alive.append(sum(any(type(each) is kind for kind in kept) for each in gc.get_objects()))
        assert alive[2] <= alive[0]


class Hasty(Waiting):
    async def run(self, request: Text) -> Text:
        return await lab.Local.echo(request)


async def test_an_end_is_put_off_for_what_arrives(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Hasty], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.go(text("signal"))
        busy.free.set()
        assert (await soon(handle.result())).value == "a!"
    assert find(await handle.history(), WorkflowTaskFailed).cause == "UNHANDLED_COMMAND"
    assert busy.begun == ["a 1", "a 1"], "nothing of the first task stands in history, so it ran again"


async def test_a_worker_that_stops_leaves_nothing(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Calls], activities=[busy], graceful_shutdown_timeout=timedelta(0)):
        handle = await lab.Client(engine).start_free(text("a,b"))
        await clock.settle()
    assert all_kinds(await handle.history()) == ["WorkflowExecutionStarted"]
    busy.free.set()
    async with engine.worker(workflows=[Calls], activities=[busy]):
        assert (await soon(handle.result())).value == "a! b! thread?"
    assert busy.begun == ["a 1", "a cancelled", "a 1", "b 1"]


async def test_a_termination_cancels_what_runs(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Calls], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, TerminatedError)
        await clock.settle()
        assert busy.begun == ["a 1", "a cancelled"]


async def test_a_cancel_request_comes_when_the_task_is_over(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    busy = Busy()
    busy.free.clear()
    async with engine.worker(workflows=[Meanwhile], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.cancel()
        busy.free.set()
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
        assert (await handle.describe()).status is WorkflowStatus.CANCELED


async def test_a_worker_without_the_activity_parks_the_run(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    async with engine.worker(workflows=[Calls]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        assert "lab.v1.LabService.Echo is called locally" in ((await handle.describe()).task_failure or "")
    async with engine.worker(workflows=[Calls], activities=[Busy()]):
        await clock.advance(timedelta(seconds=2))
        assert (await soon(handle.result())).value == "a! thread?"


class Tagging(Interceptor):
    def start_local_activity(
        self, call: StartLocalActivity, next_hook: Callable[[StartLocalActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.headers["tag"] = Payload(data=b"local")
        call.request = text("tagged")
        return next_hook(call)


async def test_interceptors(clock: VirtualClock) -> None:
    async with (
        open_engine(clock=clock, interceptors=[Tagging()]) as engine,
        engine.worker(workflows=[Hasty], activities=[Busy()]),
    ):
        assert (await soon(lab.Client(engine).execute_free(text("a")))).value == "tagged!"


class Effects(Waiting):
    """Side effects of several types; none runs on replay."""

    asked: list[str]

    async def run(self, request: Text) -> Text:
        quota = await workflow.side_effect(lambda: self.ask("quota"), Text)
        numbers = await workflow.side_effect(lambda: [1, 2], list[int])

        async def later() -> str:
            await asyncio.sleep(0)
            return "later"

        word = await workflow.side_effect(later, str)
        await self.go.receive()
        return text(f"{quota.value} {numbers} {word}")

    def ask(self, word: str) -> Text:
        assert not workflow.in_workflow()
        type(self).asked.append(word)
        return text(word)


async def test_a_side_effect_is_recorded_once(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    Effects.asked = []
    async with engine.worker(workflows=[Effects]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
    async with engine.worker(workflows=[Effects]):
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "quota [1, 2] later"
    assert Effects.asked == ["quota"]
    assert kinds(await handle.history()).count("MarkerRecorded") == 3


def wrong() -> Text:
    raise KeyError("no quota")


@pytest.mark.parametrize(
    ("fn", "why"), [(wrong, "no quota"), (lambda: 3, "expected lab.v1.Text")], ids=["raises", "type"]
)
async def test_a_side_effect_that_fails(engine: EmbeddedEngine, fn: Callable[[], Text], why: str) -> None:
    class Wrong(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                return await workflow.side_effect(fn, Text)
            except ApplicationError as error:
                return text(str(error))

    async with engine.worker(workflows=[Wrong]):
        handle = await lab.Client(engine).start_free(text("a"))
        assert why in (await soon(handle.result())).value


async def test_a_query_records_no_side_effect(engine: EmbeddedEngine) -> None:
    class Asked(Waiting):
        def status(self, request: Text) -> Text:
            workflow.side_effect(wrong, Text).send(None)
            return request

    async with engine.worker(workflows=[Asked]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(errors.QueryError, match="must change nothing"):
            await soon(handle.status(text("")))


@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
async def test_a_run_times_out_while_its_task_is_open(
    path: Path | None, clock: VirtualClock, *, is_coded: bool
) -> None:
    busy = Busy()
    busy.free.clear()
    codecs = [Squeezing()] if is_coded else []
    async with (
        open_engine(path, clock=clock, codecs=codecs) as engine,
        engine.worker(workflows=[Calls], activities=[busy]),
    ):
        handle = await lab.Client(engine).start_free(text("a"), run_timeout=timedelta(seconds=5))
        await clock.advance(timedelta(seconds=4))
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
        await clock.advance(timedelta(seconds=1))
        history = await handle.history()
        assert all_kinds(history) == ["WorkflowExecutionStarted", "WorkflowExecutionTimedOut"]
        assert history[-1].event_time - history[0].event_time == 5_000_000_000
        await clock.settle()
        assert busy.begun == ["a 1", "a cancelled"]


@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
async def test_queries_wait_for_a_task_that_never_ends(clock: VirtualClock, *, is_coded: bool) -> None:
    """The run times out amid the task: they are answered from its history, as if the task had never begun."""

    class Free(Waiting):
        async def set(self, request: Text) -> Text:
            self.state = "amid a task"
            return await lab.Local.echo(request)

    busy = Busy()
    busy.free.clear()
    codecs = [Squeezing()] if is_coded else []
    async with open_engine(clock=clock, codecs=codecs) as engine, engine.worker(workflows=[Free], activities=[busy]):
        handle = await lab.Client(engine).start_free(text("a"), run_timeout=timedelta(seconds=5))
        await clock.settle()
        update = asyncio.ensure_future(handle.set(text("b")))
        await clock.settle()
        queries = [asyncio.ensure_future(handle.status(text(""))) for _ in range(2)]
        await clock.advance(timedelta(seconds=5))
        assert [(await soon(query)).value for query in queries] == ["new", "new"]
        with pytest.raises(errors.AlreadyClosedError):
            await soon(update)
        assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionTimedOut"]
