"""Activities on Temporal: threads and tasks, heartbeats, cancellation, the end of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from datetime import timedelta

import pytest
from tests.devserver import DevServer
from tests.embedded.bench import find, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import UNSANDBOXED, Lab, serving, soon
from tests.temporal.test_runtime import Free

import protopact
from protopact import ActivityError, ApplicationError, CancelledError, activity
from protopact.activity import CancellationReason
from protopact.engine import WorkflowRef
from protopact.history.event import ActivityTaskCanceled
from protopact.policy import ActivityCancellationType, RetryPolicy

QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=1))
BEATS = timedelta(milliseconds=300)


class Calling(Free):
    """Calls Beat, and cancels it at Go."""

    async def run(self, request: Text) -> Text:
        handle = lab.beat(
            request,
            heartbeat_timeout=BEATS,
            retry_policy=QUICKLY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        going = asyncio.ensure_future(self.go.receive())
        await asyncio.wait([handle, going], return_when=asyncio.FIRST_COMPLETED)
        if not handle.done():
            handle.cancel()
        going.cancel()
        try:
            return await handle
        except ActivityError as error:
            return text(f"{error.cause!r} {list(getattr(error.cause, 'details', ()))}")


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_details_reach_the_next_attempt(temporal_server: DevServer, kind: str) -> None:
    class Beating(Lab):
        def beat(self, request: Text) -> Text:
            return self.work(request)

        def work(self, request: Text) -> Text:
            last = activity.heartbeat_details(Text)
            if last is not None:
                assert activity.info().attempt == 2
                assert activity.heartbeat_details(int, index=1) == 2
                return last
            activity.heartbeat(text("far"), 2)
            raise ApplicationError("again")

    class BeatingAsync(Beating):
        async def beat(self, request: Text) -> Text:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            return self.work(request)

    async with serving(
        temporal_server.url, [Calling], activities=Beating() if kind == "thread" else BeatingAsync()
    ) as bench:
        assert await bench.run() == "far"


async def test_a_task_is_cancelled(temporal_server: DevServer) -> None:
    reasons: list[CancellationReason | None] = []
    started = asyncio.Event()

    class Beating(Lab):
        async def beat(self, request: Text) -> Text:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            started.set()
            try:
                while True:
                    activity.heartbeat()
                    await asyncio.sleep(0.02)
            except asyncio.CancelledError as error:
                reasons.append(activity.cancellation_reason())
                raise CancelledError("cleaned", "up") from error

    async with serving(temporal_server.url, [Calling], activities=Beating()) as bench:
        handle = await bench.start()
        await soon(started.wait())
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "CancelledError('Cancelled') ['up']"
        _, events = await bench.engine.workflow_history(WorkflowRef(handle.id))
    assert reasons == [CancellationReason.CANCEL_REQUESTED]
    assert find(events, ActivityTaskCanceled).details


async def test_a_thread_is_cancelled(temporal_server: DevServer) -> None:
    started = threading.Event()
    seen: list[object] = []

    class Beating(Lab):
        def beat(self, request: Text) -> Text:
            started.set()
            while not activity.is_cancelled():
                activity.heartbeat()
                activity.wait_for_cancelled_sync(0.02)
            seen.append(activity.cancellation_reason())
            with contextlib.suppress(CancelledError), activity.shield_thread_cancel_exception():
                activity.heartbeat("shielded")
                seen.append("inside")
            activity.heartbeat()
            return request

    async with serving(temporal_server.url, [Calling], activities=Beating()) as bench:
        handle = await bench.start()
        await asyncio.to_thread(started.wait)
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "CancelledError('Cancelled') []"
    assert seen == [CancellationReason.CANCEL_REQUESTED, "inside"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_worker_that_stops_hands_its_activities_back(temporal_server: DevServer, kind: str) -> None:
    attempts: list[int] = []
    reasons: list[CancellationReason | None] = []
    started = threading.Event()

    class Beating(Lab):
        def beat(self, request: Text) -> Text:
            attempts.append(activity.info().attempt)
            if len(attempts) > 1:
                return text("second")
            started.set()
            assert activity.wait_for_worker_shutdown_sync(20)
            assert activity.wait_for_cancelled_sync(20)
            reasons.append(activity.cancellation_reason())
            activity.heartbeat()
            return text("not seen")

    class BeatingAsync(Beating):
        async def beat(self, request: Text) -> Text:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            attempts.append(activity.info().attempt)
            if len(attempts) > 1:
                return text("second")
            started.set()
            await activity.wait_for_worker_shutdown()
            try:
                await asyncio.sleep(20)
            finally:
                reasons.append(activity.cancellation_reason())
            return text("not seen")

    activities = Beating() if kind == "thread" else BeatingAsync()

    class Patient(Free):
        async def run(self, request: Text) -> Text:
            return await lab.beat(request, heartbeat_timeout=None, retry_policy=QUICKLY)

    async with (
        protopact.connect(temporal_server.url) as engine,
        engine.worker(
            workflows=[Patient],
            activities=[activities],
            graceful_shutdown_timeout=timedelta(milliseconds=50),
            temporal=UNSANDBOXED,
        ),
    ):
        handle = await lab.Client(engine).start_free(text("x"), id=f"handed-{kind}-{id(activities)}")
        await asyncio.to_thread(started.wait)
    async with serving(temporal_server.url, [Patient], activities=activities) as bench:
        handle = bench.client.free_handle(handle.id)
        assert (await soon(handle.result())).value == "second"
    assert reasons == [CancellationReason.WORKER_SHUTDOWN]
    assert attempts == [1, 2]


async def test_a_failed_attempt_is_one_line(temporal_server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            if activity.info().attempt == 1:
                raise ValueError("bad luck")
            return request

    class Once(Free):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request, retry_policy=QUICKLY)

    caplog.set_level(logging.INFO)
    async with serving(temporal_server.url, [Once], activities=Failing()) as bench:
        assert await bench.run("x") == "x"
    lines = [record for record in caplog.records if "bad luck" in record.getMessage() or record.exc_info]
    assert [(line.levelname, line.exc_info) for line in lines] == [("WARNING", None)]
    assert "failed: ValueError: bad luck" in lines[0].getMessage()


async def test_what_is_wrong_fails_the_activity(temporal_server: DevServer) -> None:
    class Wrong(Lab):
        async def echo(self, request: Text) -> Text:
            if request.value == "exit":
                raise SystemExit(3)
            return "text"  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    class Asking(Free):
        async def run(self, request: Text) -> Text:
            said: list[str] = []
            for value in ("exit", "type"):
                try:
                    await lab.echo(text(value), retry_policy=RetryPolicy(maximum_attempts=1))
                except ActivityError as error:
                    said.append(str(getattr(error.cause, "type", error.cause)))
            return text(" ".join(said))

    async with serving(temporal_server.url, [Asking], activities=Wrong()) as bench:
        assert await bench.run() == "SystemExit MessageMismatchError"
