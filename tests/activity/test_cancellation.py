"""How a cancellation reaches an activity, and what is recorded of it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from datetime import timedelta

import pytest
from google.protobuf.source_context_pb2 import SourceContext
from google.protobuf.wrappers_pb2 import StringValue
from tests.activity.bench import Bench

from protopact import activity
from protopact.activity import CancellationReason
from protopact.embedded.attempt import Cancelled, Completed, Failed, HandedBack
from protopact.errors import CancelledError
from protopact.history.failure import ApplicationFailureInfo

pytestmark = pytest.mark.usefixtures("stopped_benches")

KEY = (1, 5, 1)


class Gate:
    """Says that the activity has come so far, to whichever thread waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def arrive(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            await self._event.wait()


async def cancelled(
    bench: Bench, gate: Gate, reason: CancellationReason = CancellationReason.CANCEL_REQUESTED
) -> object:
    """Start an attempt, cancel it where it says it is, and return its outcome."""
    bench.start(key=KEY)
    await gate.wait()
    bench.runner.cancel(KEY, reason)
    return await bench.outcome(KEY)


async def test_an_async_activity_is_cancelled_at_its_await() -> None:
    gate, steps = Gate(), list[object]()

    async def work(_: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        finally:
            steps.append((activity.is_cancelled(), activity.cancellation_reason()))
            await asyncio.sleep(0)
            steps.append("cleaned up")
        raise AssertionError

    assert await cancelled(Bench(work), gate) == Cancelled()
    assert steps == [(True, CancellationReason.CANCEL_REQUESTED), "cleaned up"]


async def test_an_activity_that_returns_all_the_same_has_completed() -> None:
    gate = Gate()

    async def work(request: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        await asyncio.sleep(0)
        return request

    assert isinstance(await cancelled(Bench(work), gate), Completed)


async def test_an_activity_that_fails_while_it_cleans_up_has_failed() -> None:
    gate = Gate()

    async def work(request: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        finally:
            int("undo")
        return request

    outcome = await cancelled(Bench(work), gate)
    assert isinstance(outcome, Failed)
    assert outcome.failure.info == ApplicationFailureInfo(type="ValueError")


async def test_details_of_a_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    async def work(_: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise CancelledError("stopped", SourceContext(file_name="half way"), 2) from None
        raise AssertionError

    bench = Bench(work)
    outcome = await cancelled(bench, gate)
    assert isinstance(outcome, Cancelled)
    assert bench.converter.from_details(outcome.details) == [SourceContext(file_name="half way"), 2]
    assert caplog.messages == []


async def test_an_asyncio_timeout_within_the_activity_is_not_taken_for_the_cancellation() -> None:
    gate = Gate()

    async def work(request: StringValue) -> StringValue:
        try:
            async with asyncio.timeout(60):
                gate.arrive()
                await asyncio.Event().wait()
        except TimeoutError:
            return request
        raise AssertionError

    assert await cancelled(Bench(work), gate) == Cancelled()


async def test_before_the_activity_has_begun_it_never_does() -> None:
    called = list[StringValue]()

    async def work(request: StringValue) -> StringValue:
        called.append(request)
        return request

    bench = Bench(work)
    bench.start(key=KEY)
    bench.runner.cancel(KEY, CancellationReason.CANCEL_REQUESTED)
    assert await bench.outcome(KEY) == Cancelled()
    assert called == []


async def test_after_the_activity_has_ended_it_changes_nothing() -> None:
    bench = Bench()
    assert isinstance(await bench.run(key=KEY), Completed)
    bench.runner.cancel(KEY, CancellationReason.CANCEL_REQUESTED)
    await asyncio.sleep(0)
    assert bench.told == ["done"]


async def test_the_first_reason_stands_and_a_second_cancellation_strikes_again() -> None:
    gate, again = Gate(), Gate()

    async def work(_: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            again.arrive()
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(work)
    bench.start(key=KEY)
    await gate.wait()
    bench.runner.cancel(KEY, CancellationReason.CANCEL_REQUESTED)
    await again.wait()
    bench.runner.cancel(KEY, CancellationReason.TIMED_OUT)
    assert await bench.outcome(KEY) == Cancelled()


@pytest.mark.parametrize("reason", list(CancellationReason))
async def test_a_plain_activity_asks(reason: CancellationReason) -> None:
    gate, seen = Gate(), list[object]()

    def work(_: StringValue) -> StringValue:
        assert not activity.is_cancelled()
        assert activity.cancellation_reason() is None
        assert not activity.wait_for_cancelled_sync(0)
        gate.arrive()
        assert activity.wait_for_cancelled_sync(timedelta(seconds=10))
        assert activity.is_cancelled()
        seen.append(activity.cancellation_reason())
        raise CancelledError("as asked")

    outcome = await cancelled(Bench(work), gate, reason)
    assert outcome == (HandedBack() if reason is CancellationReason.WORKER_SHUTDOWN else Cancelled())
    assert seen == [reason]


async def test_a_heartbeat_of_a_plain_activity_raises_and_is_recorded_all_the_same() -> None:
    gate = Gate()

    def work(_: StringValue) -> StringValue:
        activity.heartbeat("before")
        gate.arrive()
        activity.wait_for_cancelled_sync(10)
        activity.heartbeat("after")
        raise AssertionError

    bench = Bench(work)
    assert await cancelled(bench, gate) == Cancelled()
    assert [bench.converter.from_details(details)[0] for _, _, details in bench.heartbeats] == ["before", "after"]


async def test_a_shield_holds_the_exception_back_until_its_end() -> None:
    gate, steps = Gate(), list[str]()

    def work(_: StringValue) -> StringValue:
        with activity.shield_thread_cancel_exception():
            with activity.shield_thread_cancel_exception():
                gate.arrive()
                activity.wait_for_cancelled_sync(10)
                activity.heartbeat()
                steps.append("after the heartbeat")
            steps.append("after the inner shield")
        raise AssertionError

    assert await cancelled(Bench(work), gate) == Cancelled()
    assert steps == ["after the heartbeat", "after the inner shield"]


async def test_a_shield_that_held_nothing_back_raises_nothing() -> None:
    gate = Gate()

    def work(request: StringValue) -> StringValue:
        with activity.shield_thread_cancel_exception():
            gate.arrive()
            activity.wait_for_cancelled_sync(10)
        return request

    assert isinstance(await cancelled(Bench(work), gate), Completed)


async def test_a_plain_activity_that_waits_for_a_thread_never_begins() -> None:
    release, begun = threading.Event(), list[str]()

    def work(request: StringValue) -> StringValue:
        begun.append(request.value)
        release.wait(10)
        return request

    bench = Bench(work, max_threads=1)
    bench.start("first", key=(1, 1, 1))
    bench.start("second", key=(1, 2, 1))
    await asyncio.sleep(0)
    bench.runner.cancel((1, 2, 1), CancellationReason.CANCEL_REQUESTED)
    release.set()
    assert isinstance(await bench.outcome((1, 1, 1)), Completed)
    assert await bench.outcome((1, 2, 1)) == Cancelled()
    assert begun == ["first"]


async def test_an_async_activity_waits_beside_its_work() -> None:
    gate, seen = Gate(), list[str]()

    async def watch() -> None:
        await activity.wait_for_cancelled()
        seen.append("the watcher saw it")

    async def work(request: StringValue) -> StringValue:
        watcher = asyncio.create_task(watch())
        try:
            gate.arrive()
            await asyncio.Event().wait()
        finally:
            await watcher
        return request

    assert await cancelled(Bench(work), gate) == Cancelled()
    assert seen == ["the watcher saw it"]


async def test_a_thread_of_an_async_activity_learns_of_it_too() -> None:
    gate, seen = Gate(), list[str]()

    def step() -> None:
        gate.arrive()
        activity.wait_for_cancelled_sync(10)
        try:
            activity.heartbeat()
        except CancelledError as error:
            seen.append(str(error))

    async def work(request: StringValue) -> StringValue:
        thread = asyncio.create_task(asyncio.to_thread(step))
        try:
            await asyncio.shield(thread)
        finally:
            await thread
        return request

    assert await cancelled(Bench(work), gate) == Cancelled()
    assert seen == ["activity cancelled: cancel requested"]


async def test_a_thread_started_by_hand_takes_the_context_along() -> None:
    seen = list[bool]()

    async def work(request: StringValue) -> StringValue:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=[lambda: seen.append(activity.in_activity())])
        thread.start()
        thread.join()
        return request

    await Bench(work).result()
    assert seen == [True]


# -- the worker stops


async def test_stopping_lets_activities_end_within_the_grace_period() -> None:
    seen = list[bool]()

    async def work(request: StringValue) -> StringValue:
        seen.append(activity.is_worker_shutdown())
        await activity.wait_for_worker_shutdown()
        seen.append(activity.is_worker_shutdown())
        return request

    bench = Bench(work)
    bench.start(key=KEY)
    await asyncio.sleep(0)
    await bench.stop(grace=10)
    assert isinstance(bench.outcomes[KEY], Completed)
    assert seen == [False, True]


async def test_stopping_reaches_threads() -> None:
    gate = Gate()

    def work(request: StringValue) -> StringValue:
        assert not activity.wait_for_worker_shutdown_sync(0)
        gate.arrive()
        assert activity.wait_for_worker_shutdown_sync(timedelta(seconds=10))
        return request

    bench = Bench(work)
    bench.start(key=KEY)
    await gate.wait()
    await bench.stop(grace=10)
    assert isinstance(bench.outcomes[KEY], Completed)


async def test_what_goes_on_after_the_grace_period_is_cancelled_and_handed_back() -> None:
    gate, seen = Gate(), list[object]()

    async def work(_: StringValue) -> StringValue:
        activity.heartbeat("first")
        activity.heartbeat("second")
        gate.arrive()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(activity.cancellation_reason())
        raise AssertionError

    bench = Bench(work)
    bench.start(key=KEY)
    await gate.wait()
    await bench.stop()
    assert bench.outcomes == {KEY: HandedBack()}
    assert seen == [CancellationReason.WORKER_SHUTDOWN]
    assert bench.told == ["heartbeat", "heartbeat", "done"]


async def test_what_was_cancelled_before_and_ends_at_the_stop_is_cancelled() -> None:
    gate, again = Gate(), Gate()

    async def work(_: StringValue) -> StringValue:
        try:
            gate.arrive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            again.arrive()
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(work)
    bench.start(key=KEY)
    await gate.wait()
    bench.runner.cancel(KEY, CancellationReason.CANCEL_REQUESTED)
    await again.wait()
    await bench.stop()
    assert bench.outcomes == {KEY: Cancelled()}


async def test_what_ignores_everything_is_handed_back_and_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protopact.embedded.attempt._UNWIND_SECONDS", 0.01)
    gate, release, stubborn = Gate(), threading.Event(), asyncio.Event()
    threads = list[threading.Thread]()

    def in_a_thread() -> None:
        threads.append(threading.current_thread())
        gate.arrive()
        release.wait(10)

    async def on_the_loop(request: StringValue) -> StringValue:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue
        return request

    bench = Bench(on_the_loop, ping=in_a_thread)
    bench.start(key=(1, 1, 1))
    bench.start(key=(1, 2, 1), activity_type="lab.v1.Lab.Ping", input=())
    await gate.wait()
    with caplog.at_level(logging.WARNING):
        await bench.stop()
    assert bench.outcomes == {(1, 1, 1): HandedBack(), (1, 2, 1): HandedBack()}
    assert bench.runner.running == 0
    first, second = caplog.messages
    assert first.startswith("activity lab.v1.Lab.Work (id 1, attempt 1, workflow experiment/1) did not end within")
    assert first.endswith("it is handed back, and its task goes on until the process ends")
    assert "thread protopact-activity-1 goes on until the process ends" in second
    # What comes after all is told to nobody.
    stubborn.set()
    release.set()
    await asyncio.to_thread(threads[0].join, 10)
    await bench.clock.settle()
    assert bench.told == ["done", "done"]


async def test_a_second_signal_ends_the_stop_at_once() -> None:
    gate, release = Gate(), asyncio.Event()

    async def work(request: StringValue) -> StringValue:
        gate.arrive()
        await release.wait()
        return request

    bench = Bench(work)
    bench.start(key=KEY)
    await gate.wait()
    stop = asyncio.create_task(bench.stop(grace=60))
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert bench.outcomes == {KEY: HandedBack()}
    release.set()
    await bench.clock.settle()
    assert bench.told == ["done"]


async def test_stopping_with_nothing_to_stop() -> None:
    await Bench().stop(grace=60)


async def test_threads_end_after_the_stop() -> None:
    threads = list[threading.Thread]()

    def work(request: StringValue) -> StringValue:
        threads.append(threading.current_thread())
        return request

    bench = Bench(work)
    await bench.result()
    await bench.stop()
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()
