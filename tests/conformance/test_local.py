"""Local activities and side effects: within the workflow task, recorded as markers, never repeated by replay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.conformance.bench import ONCE, QUICKLY, Bench, Lab, find, kinds, millis, running, soon, until
from tests.conformance.features import Calls
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import activity, workflow
from protopact.errors import ActivityError, ApplicationError, QueryError, TimeoutType
from protopact.history.event import TimerStarted
from protopact.policy import ActivityCancellationType, RetryPolicy


class Busy(Lab):
    """Waits until it is let go, then does as its request says; notes what it does."""

    def __init__(self) -> None:
        self.begun = list[str]()
        self.started = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def echo(self, request: Text) -> Text:
        self.begun.append(f"{request.value} {activity.info().attempt}")
        assert activity.info().is_local
        self.started.set()
        await self.free.wait()
        word, _, fails = request.value.partition(" fails ")
        if fails and activity.info().attempt <= int(fails):
            raise ApplicationError(f"not yet {word}", type="NotYet")
        return text(word + "!")


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_one_task_and_a_marker_each(bench: Bench, cached: int) -> None:
    async with bench.worker(Calls, activities=[Busy()], max_cached_workflows=cached):
        handle = await bench.start("a,b")
        assert (await soon(handle.result())).value == "a! b! thread"
        assert (await soon(handle.status(text("")))).value == "new"
        history = await handle.history()
    assert [type(event.attributes).__name__ for event in history] == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        *["MarkerRecorded"] * 3,
        "WorkflowExecutionCompleted",
    ]


async def test_attempts_within_the_task(bench: Bench) -> None:
    busy = Busy()
    async with bench.worker(Calls, activities=[busy]):
        handle = await bench.start("a fails 2")
        assert (await soon(handle.result())).value == "a! thread"
    assert busy.begun == ["a fails 2 1", "a fails 2 2", "a fails 2 3"]
    assert kinds(await handle.history())[1:3] == ["MarkerRecorded", "MarkerRecorded"], "of final outcomes only"


async def test_a_long_wait_between_attempts_is_a_timer(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(300))
        return await suite.Local.echo(request, retry_policy=policy, local_retry_threshold=millis(100))

    busy = Busy()
    async with bench.worker(running(code), activities=[busy]):
        handle = await bench.start("a fails 1")
        assert (await soon(handle.result())).value == "a!"
    history = await handle.history()
    assert kinds(history)[1:5] == ["MarkerRecorded", "TimerStarted", "TimerFired", "MarkerRecorded"]
    assert find(history, TimerStarted).start_to_fire_timeout == 300 * 10**6


async def test_one_succeeds_and_one_fails(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        results = await asyncio.gather(
            suite.Local.echo(text("good")),
            suite.Local.echo(text("bad fails 9"), retry_policy=ONCE),
            return_exceptions=True,
        )
        return text(" ".join(each.value if isinstance(each, Text) else type(each).__name__ for each in results))

    async with bench.worker(running(code), activities=[Busy()]):
        handle = await bench.start()
        assert (await soon(handle.result())).value == "good! ApplicationError"
    assert kinds(await handle.history()).count("MarkerRecorded") == 2


async def test_many_at_once_are_never_regrouped(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        replies = await asyncio.gather(*(suite.Local.echo(text(str(number))) for number in range(10)))
        await workflow.sleep(0.01)
        return text(" ".join(reply.value for reply in replies))

    async with bench.worker(running(code), activities=[Busy()], max_cached_workflows=0):
        assert await bench.run() == " ".join(f"{number}!" for number in range(10))


async def test_a_time_out_of_an_attempt(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(ActivityError) as caught:
            await suite.Local.echo(request, start_to_close_timeout=millis(300), retry_policy=ONCE)
        return text(str(getattr(caught.value.cause, "type", None)))

    busy = Busy()
    busy.free.clear()
    async with bench.worker(running(code), activities=[busy]):
        assert await bench.run("a") == str(TimeoutType.START_TO_CLOSE)


@pytest.mark.parametrize("kind", ActivityCancellationType)
async def test_cancellation_types(bench: Bench, kind: ActivityCancellationType) -> None:
    async def code(request: Text) -> Text:
        handle = suite.Local.echo(request, cancellation_type=kind)
        await suite.Local.beat(text(""))
        handle.cancel()
        with pytest.raises(ActivityError) as caught:
            await handle
        return text(type(caught.value.cause).__name__)

    busy = Busy()
    busy.free.clear()
    async with bench.worker(running(code), activities=[busy]):
        assert await bench.run("a") == "CancelledError"
        busy.free.set()


async def test_what_arrives_meanwhile_comes_behind(bench: Bench) -> None:
    class Meanwhile(Waiting):
        async def run(self, request: Text) -> Text:
            said = await suite.Local.echo(request)
            signal = await self.go.receive()
            return text(f"{said.value} {signal.value}")

    busy = Busy()
    busy.free.clear()
    async with bench.worker(Meanwhile, activities=[busy]):
        handle = await bench.start("a")
        await soon(busy.started.wait())
        await handle.go(text("signal"))
        busy.free.set()
        assert (await soon(handle.result())).value == "a! signal"
    assert busy.begun == ["a 1"]


async def test_a_worker_without_the_activity_parks_the_run(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    async with bench.worker(Calls, build_id="1"):
        handle = await bench.start("a", task_timeout=QUICKLY)
        await bench.until_parked(handle)
    async with bench.worker(Calls, activities=[Busy()], build_id="2"):
        assert (await soon(handle.result())).value == "a! thread"


async def test_a_plain_def(bench: Bench) -> None:
    class Threads(Lab):
        def beat(self, request: Text) -> Text:  # type: ignore[override]  # the contract's class allows both
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return text("thread")

    async def code(request: Text) -> Text:
        return await suite.Local.beat(request)

    async with bench.worker(running(code), activities=[Threads()]):
        assert await bench.run() == "thread"


async def test_a_task_longer_than_its_time_out_is_kept_alive(bench: Bench) -> None:
    class Lingering(Lab):
        async def echo(self, request: Text) -> Text:
            await asyncio.sleep(0.8)
            return text("done")

    async def code(request: Text) -> Text:
        return await suite.Local.echo(request)

    async with bench.worker(running(code), activities=[Lingering()]):
        assert await bench.run(task_timeout=millis(500)) == "done"


# -- side effects


async def test_a_side_effect_is_recorded_once(bench: Bench) -> None:
    asked = list[str]()

    def ask(word: str) -> Text:
        assert not workflow.in_workflow()
        asked.append(word)
        return text(word)

    class Effects(Waiting):
        async def run(self, request: Text) -> Text:
            quota = await workflow.side_effect(lambda: ask("quota"), Text)
            numbers = await workflow.side_effect(lambda: [1, 2], list[int])

            async def later() -> str:
                await asyncio.sleep(0)
                return "later"

            word = await workflow.side_effect(later, str)
            self.state = "recorded"
            await self.go.receive()
            return text(f"{quota.value} {numbers} {word}")

    async with bench.worker(Effects):
        handle = await bench.start()

        async def recorded() -> bool:
            return kinds(await handle.history()).count("MarkerRecorded") == 3

        await until(recorded)
    async with bench.worker(Effects):
        assert (await soon(handle.status(text("")))).value == "recorded"
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "quota [1, 2] later"
    assert asked == ["quota"]


def wrong() -> Text:
    raise KeyError("no quota")


@pytest.mark.parametrize(
    ("fn", "why"), [(wrong, "no quota"), (lambda: 3, "expected suite.v1.Text")], ids=["raises", "type"]
)
async def test_a_side_effect_that_fails(bench: Bench, fn: Callable[[], Text], why: str) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(ApplicationError) as caught:
            await workflow.side_effect(fn, Text)
        return text(str(caught.value))

    async with bench.worker(running(code)):
        assert why in await bench.run()


async def test_a_query_records_no_side_effect(bench: Bench) -> None:
    class Asked(Waiting):
        def status(self, request: Text) -> Text:
            workflow.side_effect(wrong, Text).send(None)
            return request

    async with bench.worker(Asked):
        handle = await bench.start()
        with pytest.raises(QueryError):
            await soon(handle.status(text("")))
