"""Activities that are completed from outside, by their token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.conformance.bench import LASTING, ONCE, Bench, Lab, Place, find, millis, running, soon, until
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import text

from protopact import AsyncActivityHandle, Interceptor, activity
from protopact.completion import CompleteActivity, FailActivity, HeartbeatActivity, ReportActivityCancellation
from protopact.engine import Engine
from protopact.errors import (
    ActivityError,
    ApplicationError,
    AsyncActivityCancelledError,
    CancelledError,
    MessageMismatchError,
    NotFoundError,
    OptionError,
    PayloadSizeError,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    WorkflowFailedError,
)
from protopact.history.event import ActivityTaskCompleted, ActivityTaskStarted
from protopact.policy import ActivityCancellationType, ActivityOptions, RetryPolicy

SOON_AGAIN = RetryPolicy(initial_interval=millis(10), maximum_attempts=2)


class Leaving(Lab):
    """Hands out what names each attempt, and leaves it open."""

    def __init__(self) -> None:
        self.left = asyncio.Queue[activity.Info]()
        self.details = list[str | None]()

    async def echo(self, request: Text) -> Text:
        _ = request
        self.details.append(activity.heartbeat_details(str))
        self.left.put_nowait(activity.info())
        activity.raise_complete_async()


class LeavingInThread(suite.Activities):
    """The same, as a plain function."""

    def __init__(self) -> None:
        self.left = asyncio.Queue[activity.Info]()
        self._loop = asyncio.get_running_loop()

    def echo(self, request: Text) -> Text:
        _ = request
        self._loop.call_soon_threadsafe(self.left.put_nowait, activity.info())
        activity.raise_complete_async()

    def beat(self, request: Text) -> Text:
        return request

    def nothing(self) -> None:
        return None

    def copy(self, request: Document) -> Document:
        return request


def calling(**options: object) -> type:
    given = ActivityOptions(**{"retry_policy": ONCE, **options})  # type: ignore[typeddict-item]  # each test gives what is right

    async def code(request: Text) -> Text:
        return await suite.echo(request, **given)

    return running(code)


def of(engine: Engine, token: bytes) -> AsyncActivityHandle[Text]:
    return engine.async_activity_handle(suite.Activities.echo, task_token=token)


@pytest.mark.parametrize("kind", [Leaving, LeavingInThread], ids=["coroutine", "thread"])
async def test_it_is_completed_by_its_token(bench: Bench, kind: type[Leaving | LeavingInThread]) -> None:
    lab = kind()
    async with bench.worker(calling(), activities=[lab], identity="me"):
        handle = await bench.start("a")
        token = (await soon(lab.left.get())).task_token
        await of(bench.engine, token).complete(text("b"))
        assert (await soon(handle.result())).value == "b"
    history = await handle.history()
    assert find(history, ActivityTaskStarted).identity == "me"
    assert find(history, ActivityTaskCompleted).identity == "client"
    with pytest.raises(NotFoundError, match="is not open"):
        await of(bench.engine, token).complete(text("c"))


async def test_what_fails_it_is_a_failure_of_an_application(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(calling(), activities=[lab]):
        handle = await bench.start("a")
        token = (await soon(lab.left.get())).task_token
        await of(bench.engine, token).fail(CancelledError("x"))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ActivityError)
    failed = raised.value.cause.cause
    assert isinstance(failed, ApplicationError)
    assert (failed.type, failed.message) == ("CancelledError", "x")
    assert isinstance(failed.cause, CancelledError)


async def test_interceptors_stand_around_it(place: Place) -> None:
    seen = list[str]()

    class Noting(Interceptor):
        async def complete_activity(
            self, call: CompleteActivity[Any], next_hook: Callable[[CompleteActivity[Any]], Awaitable[None]]
        ) -> None:
            seen.append(f"complete {call.activity.method} {call.response.value}")
            call.response = text("changed")
            await next_hook(call)

        async def fail_activity(self, call: FailActivity, next_hook: Callable[[FailActivity], Awaitable[None]]) -> None:
            seen.append(f"fail {call.error} {list(call.last_heartbeat_details)}")
            await next_hook(call)

        async def heartbeat_activity(
            self, call: HeartbeatActivity, next_hook: Callable[[HeartbeatActivity], Awaitable[None]]
        ) -> None:
            seen.append(f"heartbeat {list(call.details)}")
            await next_hook(call)

        async def report_activity_cancellation(
            self, call: ReportActivityCancellation, next_hook: Callable[[ReportActivityCancellation], Awaitable[None]]
        ) -> None:
            seen.append(f"cancel {list(call.details)}")
            await next_hook(call)

    lab = Leaving()
    async with (
        place.connect(interceptors=[Noting()]) as bench,
        bench.worker(calling(retry_policy=SOON_AGAIN), activities=[lab]),
    ):
        handle = await bench.start("a")
        first = of(bench.engine, (await soon(lab.left.get())).task_token)
        await first.heartbeat("far")
        with pytest.raises(OptionError):
            await first.report_cancellation("unasked")
        await first.fail(ApplicationError("again"), last_heartbeat_details=["further"])
        await of(bench.engine, (await soon(lab.left.get())).task_token).complete(text("b"))
        assert (await soon(handle.result())).value == "changed"
    assert seen == ["heartbeat ['far']", "cancel ['unasked']", "fail again ['further']", "complete echo b"]


async def test_it_is_completed_by_its_ids(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(calling(), activities=[lab]):
        handle = await bench.start("a")
        known = await soon(lab.left.get())
        outside = bench.engine.async_activity_handle(
            suite.Activities.echo, workflow_id=known.workflow_id, activity_id=known.activity_id
        )
        await outside.complete(text("b"))
        assert (await soon(handle.result())).value == "b"


async def test_a_response_of_another_type_is_refused(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(calling(), activities=[lab]):
        handle = await bench.start("a")
        outside = of(bench.engine, (await soon(lab.left.get())).task_token)
        with pytest.raises(MessageMismatchError, match="suite.v1.Text"):
            await outside.complete(Document())  # type: ignore[arg-type]  # what is tested
        await outside.complete(text("b"))
        assert (await soon(handle.result())).value == "b"


async def test_details_that_are_too_large_are_refused(bench: Bench) -> None:
    lab, large = Leaving(), "x" * (3 << 20)
    async with bench.worker(calling(), activities=[lab]):
        handle = await bench.start("a")
        outside = of(bench.engine, (await soon(lab.left.get())).task_token)
        with pytest.raises(PayloadSizeError):
            await outside.heartbeat(large)
        with pytest.raises(PayloadSizeError):
            await outside.fail(ApplicationError("no"), last_heartbeat_details=[large])
        with pytest.raises(PayloadSizeError):
            await outside.report_cancellation(large)
        await outside.complete(text("b"))
        assert (await soon(handle.result())).value == "b"


async def test_a_failure_is_tried_again_under_another_token(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(calling(retry_policy=SOON_AGAIN), activities=[lab]):
        handle = await bench.start("a")
        first = (await soon(lab.left.get())).task_token
        await of(bench.engine, first).fail(ApplicationError("no", type="No"), last_heartbeat_details=["half"])
        second = (await soon(lab.left.get())).task_token
        with pytest.raises(NotFoundError, match="attempt"):
            await of(bench.engine, first).complete(text("late"))
        await of(bench.engine, second).fail(ApplicationError("never", 3, type="Never"))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert lab.details == [None, "half"]
    assert isinstance(raised.value.cause, ActivityError)
    failure = raised.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.message, failure.details.get(0, int)) == ("Never", "never", 3)


async def test_its_time_outs_go_on(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(calling(start_to_close_timeout=millis(300)), activities=[lab]):
        handle = await bench.start("a")
        outside = of(bench.engine, (await soon(lab.left.get())).task_token)
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, TimeoutError)
    assert raised.value.cause.cause.type is TimeoutType.START_TO_CLOSE
    with pytest.raises(NotFoundError):
        await outside.heartbeat()


async def test_heartbeats_from_outside_keep_it_alive(bench: Bench) -> None:
    lab = Leaving()
    options = {"heartbeat_timeout": millis(1000), "retry_policy": SOON_AGAIN}
    async with bench.worker(calling(**options), activities=[lab]):
        handle = await bench.start("a")
        outside = of(bench.engine, (await soon(lab.left.get())).task_token)
        for part in range(5):
            await outside.heartbeat(f"part {part}")
            await asyncio.sleep(0.3)
        assert lab.left.empty()
        again = of(bench.engine, (await soon(lab.left.get())).task_token)  # nobody heartbeats any more
        await again.complete(text("b"))
        assert (await soon(handle.result())).value == "b"
    assert lab.details == [None, "part 4"]


async def test_a_cancellation_is_told_to_heartbeats(bench: Bench) -> None:
    lab = Leaving()
    async with bench.worker(
        calling(cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED), activities=[lab]
    ):
        handle = await bench.start("a")
        outside = of(bench.engine, (await soon(lab.left.get())).task_token)
        await outside.heartbeat("alive")
        with pytest.raises(OptionError):
            await outside.report_cancellation("unasked")
        await handle.cancel()

        async def is_cancelled() -> bool:
            try:
                await outside.heartbeat("still")
            except AsyncActivityCancelledError:
                return True
            return False

        await until(is_cancelled)
        await outside.report_cancellation("cleaned")
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)


@LASTING
async def test_a_token_outlives_its_worker_and_its_engine(place: Place) -> None:
    lab = Leaving()
    workflow_class = calling(start_to_close_timeout=timedelta(minutes=5))
    async with place.connect() as bench, bench.worker(workflow_class, activities=[lab]):
        handle = await bench.start("a")
        token = (await soon(lab.left.get())).task_token
    async with place.connect() as bench:
        await of(bench.engine, token).complete(text("b"))
    async with place.connect() as bench, bench.worker(workflow_class, activities=[lab]):
        found = bench.client.free_handle(handle.id)
        assert (await soon(found.result())).value == "b"
    assert lab.left.empty()


@LASTING
async def test_another_engine_completes_it_and_heartbeats(place: Place) -> None:
    lab = Leaving()
    async with place.connect() as bench, place.connect() as other, bench.worker(calling(), activities=[lab]):
        handle = await bench.start("a")
        outside = of(other.engine, (await soon(lab.left.get())).task_token)
        await outside.heartbeat("there")
        await outside.complete(text("b"))
        assert (await soon(handle.result())).value == "b"
        with pytest.raises(NotFoundError, match="is not open"):
            await outside.complete(text("c"))


@LASTING
async def test_an_attempt_stays_open_when_the_worker_of_its_activities_has_gone(place: Place) -> None:
    lab = Leaving()
    options = {"heartbeat_timeout": timedelta(minutes=5), "start_to_close_timeout": timedelta(minutes=5)}
    async with place.connect() as bench, bench.worker(calling(**options)):
        async with place.connect() as other, other.worker(activities=[lab]):
            handle = await bench.start("a")
            token = (await soon(lab.left.get())).task_token
        outside = of(bench.engine, token)
        await outside.heartbeat("alone")
        await outside.complete(text("b"))
        assert (await soon(handle.result())).value == "b"
    assert lab.left.empty()


async def test_what_is_no_token_and_no_activity_is_refused(bench: Bench) -> None:
    with pytest.raises(OptionError):
        await of(bench.engine, b"nonsense").complete(text("b"))
    with pytest.raises(OptionError, match="no method of a generated activities class"):
        bench.engine.async_activity_handle(text, task_token=b"x")
    with pytest.raises(OptionError, match="give task_token=, or"):
        bench.engine.async_activity_handle(suite.Activities.echo)


async def test_a_local_activity_cannot_be_left_open(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.Local.echo(request, retry_policy=ONCE, start_to_close_timeout=timedelta(seconds=5))

    async with bench.worker(running(code), activities=[Leaving()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(bench.run("a"))
    assert "local activity" in str(raised.value.cause)
