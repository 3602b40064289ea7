"""Cancellation of activities: each type at each moment of its life, and those that do not obey."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from tests.conformance.bench import Bench, Lab, Stuck, find, kinds, millis, running, soon, until
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import activity, workflow
from protopact.engine import WorkflowStatus
from protopact.errors import ActivityError, ApplicationError, CancelledError, WorkflowFailedError
from protopact.history.event import ActivityTaskCanceled
from protopact.policy import ActivityCancellationType, RetryPolicy, WaitForStage


class Obedient(Stuck):
    """Heartbeats until it is cancelled."""

    async def linger(self) -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.02)


async def until_between_attempts(handle: suite.Free.Handle) -> None:
    """Wait until an activity of the run has failed once, and is to be tried again."""

    async def waits() -> bool:
        pending = (await handle.describe()).pending_activities
        return bool(pending) and pending[0].attempt == 2 and not pending[0].started

    await until(waits)


HOURLY = RetryPolicy(initial_interval=timedelta(hours=1))


@pytest.mark.parametrize("kind", ActivityCancellationType)
async def test_cancelled_before_it_is_scheduled(bench: Bench, kind: ActivityCancellationType) -> None:
    async def code(request: Text) -> Text:
        handle = suite.beat(request, cancellation_type=kind)
        await asyncio.sleep(0)
        handle.cancel()
        with pytest.raises(ActivityError) as caught:
            await handle
        assert isinstance(caught.value.cause, CancelledError)
        return text("done")

    async with bench.worker(running(code), activities=[Lab()]):
        handle = await bench.start()
        assert (await soon(handle.result())).value == "done"
    assert not [name for name in kinds(await handle.history()) if "Activity" in name]


@pytest.mark.parametrize("kind", ActivityCancellationType)
async def test_cancelled_after_it_has_completed(bench: Bench, kind: ActivityCancellationType) -> None:
    async def code(request: Text) -> Text:
        handle = suite.echo(request, cancellation_type=kind)
        await handle
        handle.cancel()
        await suite.echo(request)
        return await handle

    async with bench.worker(running(code), activities=[Lab()]):
        handle = await bench.start("a")
        assert (await soon(handle.result())).value == "a!"
    assert "ActivityTaskCancelRequested" not in kinds(await handle.history())


class Cancels(Waiting):
    """Calls Beat and cancels the call at Go, with the type of cancellation that its request names."""

    async def run(self, request: Text) -> Text:
        kind = ActivityCancellationType[request.value]
        handle = suite.beat(request, cancellation_type=kind, heartbeat_timeout=millis(500), retry_policy=HOURLY)
        await asyncio.sleep(0)
        await self.go.receive()
        handle.cancel()
        with pytest.raises(ActivityError) as caught:
            await handle
        assert isinstance(caught.value.cause, CancelledError)
        return text("done")


@pytest.mark.parametrize("kind", ActivityCancellationType)
@pytest.mark.parametrize("moment", ["before a worker comes", "running", "between attempts"])
async def test_each_type_at_each_moment(bench: Bench, kind: ActivityCancellationType, moment: str) -> None:
    class Beating(Obedient):
        async def beat(self, request: Text) -> Text:
            if moment == "between attempts":
                raise ApplicationError("again")
            return await super().beat(request)

    beating = Beating()
    activities = [] if moment == "before a worker comes" else [beating]
    async with bench.worker(Cancels, activities=activities):
        handle = await bench.start(kind.name)
        if moment == "running":
            await soon(beating.started.wait())
        elif moment == "before a worker comes":
            await soon(handle.status(text("")))
        elif moment == "between attempts":
            await until_between_attempts(handle)
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "done"
        if moment == "running" and kind is not ActivityCancellationType.ABANDON:
            await soon(beating.ended.wait())
    found = [name for name in kinds(await handle.history()) if "Activity" in name]
    if kind is ActivityCancellationType.ABANDON:
        assert "ActivityTaskCancelRequested" not in found
    else:
        assert found[:2] == ["ActivityTaskScheduled", "ActivityTaskCancelRequested"]
    if kind is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
        assert found[-1] == "ActivityTaskCanceled"


async def test_cancelling_the_workflow_cancels_its_activity(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=millis(500))

    obedient = Obedient()
    async with bench.worker(running(code), activities=[obedient]):
        handle = await bench.start()
        await soon(obedient.started.wait())
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    assert obedient.reasons == [activity.CancellationReason.CANCEL_REQUESTED]
    history = await handle.history()
    cancelled = find(history, ActivityTaskCanceled)
    asked = [e.event_id for e in history if type(e.attributes).__name__ == "ActivityTaskCancelRequested"]
    assert [cancelled.latest_cancel_requested_event_id] == asked
    assert cancelled.started_event_id > 0


async def test_cancelling_between_attempts_closes_the_activity_at_once(bench: Bench) -> None:
    class Failing(Lab):
        async def beat(self, request: Text) -> Text:
            raise ApplicationError("again")

    async def code(request: Text) -> Text:
        try:
            return await suite.beat(request, retry_policy=HOURLY)
        except ActivityError as error:
            return text(type(error.cause).__name__)

    async with bench.worker(running(code), activities=[Failing()]):
        handle = await bench.start()
        await until_between_attempts(handle)
        await handle.cancel()
        assert (await soon(handle.result())).value == "CancelledError"
    history = await handle.history()
    assert find(history, ActivityTaskCanceled).started_event_id == 0
    assert "ActivityTaskStarted" not in kinds(history)


async def test_cancelling_while_an_activity_retries(bench: Bench) -> None:
    class Retrying(Obedient):
        """The first two attempts fail, the third one is cancelled."""

        async def beat(self, request: Text) -> Text:
            if activity.info().attempt < 3:
                raise ApplicationError("again")
            return await super().beat(request)

    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=millis(500))

    retrying = Retrying()
    async with bench.worker(running(code), activities=[retrying]):
        handle = await bench.start()
        await soon(retrying.started.wait())
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    assert retrying.attempts == 1


async def test_an_activity_that_ignores_its_cancellation(bench: Bench) -> None:
    class Deaf(Lab):
        def __init__(self) -> None:
            self.started = asyncio.Event()
            self.cancelled = 0

        async def beat(self, request: Text) -> Text:
            self.started.set()
            while self.cancelled < 1:
                try:
                    activity.heartbeat()
                    await asyncio.sleep(0.02)
                except asyncio.CancelledError:
                    self.cancelled += 1
            return text("done all the same")

    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=millis(500))

    deaf = Deaf()
    async with bench.worker(running(code), activities=[deaf]):
        handle = await bench.start()
        await soon(deaf.started.wait())
        await handle.cancel()
        assert (await soon(handle.result())).value == "done all the same"
    assert "ActivityTaskCompleted" in kinds(await handle.history())


async def test_an_activity_that_does_not_heartbeat_is_waited_for(bench: Bench) -> None:
    class Silent(Lab):
        def __init__(self) -> None:
            self.started = asyncio.Event()
            self.free = asyncio.Event()

        async def beat(self, request: Text) -> Text:
            self.started.set()
            while not self.free.is_set():
                try:
                    await self.free.wait()
                except asyncio.CancelledError:
                    continue
            return text("ended by itself")

    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=None)

    silent = Silent()
    async with bench.worker(running(code), activities=[silent]):
        handle = await bench.start()
        await soon(silent.started.wait())
        await handle.cancel()

        async def asked() -> bool:
            return "ActivityTaskCancelRequested" in kinds(await handle.history())

        await until(asked)
        silent.free.set()
        assert (await soon(handle.result())).value == "ended by itself"


async def test_a_thread_is_cancelled(bench: Bench) -> None:
    class Threads(Lab):
        def __init__(self) -> None:
            self.started = threading.Event()
            self.reasons = list[activity.CancellationReason | None]()

        def beat(self, request: Text) -> Text:  # type: ignore[override]  # the contract's class allows both
            self.started.set()
            try:
                for _ in range(1000):
                    activity.heartbeat()
                    if activity.wait_for_cancelled_sync(0.02):
                        raise asyncio.CancelledError
            finally:  # the exception may also come on its own, anywhere above
                self.reasons.append(activity.cancellation_reason())
            return request

    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=millis(500))

    threads = Threads()
    async with bench.worker(running(code), activities=[threads]):
        handle = await bench.start()
        await asyncio.to_thread(threads.started.wait)
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    assert threads.reasons == [activity.CancellationReason.CANCEL_REQUESTED]


async def test_a_run_that_closes_cancels_what_still_runs(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=millis(500))

    obedient = Obedient()
    async with bench.worker(running(code), activities=[obedient]):
        handle = await bench.start()
        await soon(obedient.started.wait())
        await handle.terminate()
        await soon(obedient.ended.wait())
    assert obedient.reasons == [activity.CancellationReason.NOT_FOUND]


async def test_a_worker_that_stops_gives_a_grace_period(bench: Bench) -> None:
    class Graceful(Lab):
        def __init__(self) -> None:
            self.started = asyncio.Event()

        async def echo(self, request: Text) -> Text:
            self.started.set()
            await activity.wait_for_worker_shutdown()
            assert activity.is_worker_shutdown()
            return text("in time")

    async def code(request: Text) -> Text:
        return await suite.echo(request)

    graceful = Graceful()
    async with bench.worker(running(code), activities=[graceful], graceful_shutdown_timeout=timedelta(seconds=10)):
        handle = await bench.start()
        await soon(graceful.started.wait())
    async with bench.worker(running(code), activities=[Lab()]):
        assert (await soon(handle.result())).value == "in time"


async def test_a_shield_and_cleaning_up(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            cleaned = await suite.echo(text("cleaned"))
            return text(f"{cleaned.value} {(await suite.echo(text('twice'))).value}")
        return request

    async with bench.worker(running(code), activities=[Lab()]):
        handle = await bench.start()

        async def started() -> bool:
            return len(await handle.history()) > 3

        await until(started)
        await handle.cancel()
        assert (await soon(handle.result())).value == "cleaned! twice!"
    assert (await handle.describe()).status is WorkflowStatus.COMPLETED


async def test_a_workflow_cancelled_before_its_first_task(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.echo(request)

    handle = await bench.start()
    await handle.cancel(reason="never mind")
    async with bench.worker(running(code), activities=[Lab()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)


async def test_compensation_in_a_handler_when_the_workflow_is_cancelled(bench: Bench) -> None:
    class Compensating(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                await workflow.wait_condition(lambda: False)
            finally:
                await workflow.wait_condition(workflow.all_handlers_finished)
            return request

        async def set(self, request: Text) -> Text:
            self.state = request.value
            await self.note.receive()
            return await suite.echo(text("compensated"))

    async with bench.worker(Compensating, activities=[Lab()]):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        await handle.cancel()
        await handle.note(text(""))
        assert (await soon(update.result())).value == "compensated!"
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
