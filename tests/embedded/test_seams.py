"""Interceptors, headers, codecs, and limits of size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.embedded.bench import Chain, Lab, Sleeper, Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import activity, workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import SignalWorkflow, Started, StartWorkflow, UpdateStarted, UpdateWorkflow, WorkflowStatus
from protopact.errors import (
    ActivityError,
    ApplicationError,
    PayloadError,
    PayloadSizeError,
    QueryError,
    ServerError,
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.history.event import (
    ActivityTaskScheduled,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    WorkflowTaskFailed,
)
from protopact.interceptor import ExecuteActivity, ExecuteWorkflow, Interceptor, StartActivity
from protopact.payload import Payload, PayloadCodec
from protopact.payload.sizes import LIMIT


class Tagging(Interceptor):
    """Puts a header on everything, and notes who sees which."""

    def __init__(self) -> None:
        self.seen = list[tuple[str, str]]()

    def note(self, where: str, headers: dict[str, Payload]) -> None:
        self.seen.append((where, headers["tag"].data.decode() if "tag" in headers else ""))

    async def start_workflow(
        self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
    ) -> Started:
        call.headers["tag"] = Payload(data=b"start")
        return await next_hook(call)

    async def signal_workflow(
        self, call: SignalWorkflow[Any], next_hook: Callable[[SignalWorkflow[Any]], Awaitable[None]]
    ) -> None:
        call.headers["tag"] = Payload(data=b"signal")
        await next_hook(call)

    async def update_workflow(
        self, call: UpdateWorkflow[Any, Any], next_hook: Callable[[UpdateWorkflow[Any, Any]], Awaitable[UpdateStarted]]
    ) -> UpdateStarted:
        call.headers["tag"] = Payload(data=b"update")
        return await next_hook(call)

    async def execute_workflow(
        self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
    ) -> object:
        self.note("workflow", call.headers)
        return await next_hook(call)

    def start_activity(
        self, call: StartActivity, next_hook: Callable[[StartActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.headers["tag"] = Payload(data=b"activity")
        return next_hook(call)

    async def execute_activity(
        self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
    ) -> object:
        self.note("activity", call.headers)
        return await next_hook(call)


async def test_headers_travel_and_stand_in_history(path: Path | None, clock: VirtualClock) -> None:
    class Both(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            return await lab.echo(request)

    tagging = Tagging()
    async with (
        open_engine(path, clock=clock, interceptors=[tagging]) as engine,
        engine.worker(workflows=[Both], activities=[Lab()]),
    ):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(handle.set(text("x")))
        await handle.go(text("go"))
        await soon(handle.result())
        history = await handle.history()
    assert tagging.seen == [("workflow", "start"), ("activity", "activity")]
    assert find(history, WorkflowExecutionStarted).header["tag"].data == b"start"
    assert find(history, WorkflowExecutionSignaled).header["tag"].data == b"signal"
    assert find(history, ActivityTaskScheduled).header["tag"].data == b"activity"
    accepted = find(history, WorkflowExecutionUpdateAccepted).accepted_request
    assert accepted is not None
    assert accepted.header["tag"].data == b"update"


async def test_the_first_interceptor_is_outermost(clock: VirtualClock) -> None:
    order = list[str]()

    class Named(Interceptor):
        def __init__(self, name: str) -> None:
            self._name = name

        async def start_workflow(
            self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
        ) -> Started:
            order.append(f"{self._name} in")
            started = await next_hook(call)
            order.append(f"{self._name} out")
            return started

    async with open_engine(clock=clock, interceptors=[Named("first"), Named("second")]) as engine:
        await lab.Client(engine).start_free(text("a"))
    assert order == ["first in", "second in", "second out", "first out"]


async def test_an_interceptor_that_raises_fails_its_own_call_only(clock: VirtualClock) -> None:
    class Refusing(Interceptor):
        async def start_workflow(
            self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
        ) -> Started:
            if call.workflow_id == "bad":
                raise PermissionError("not you")
            return await next_hook(call)

        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            if activity.info().attempt == 1:
                raise RuntimeError("flaky interceptor")
            return await next_hook(call)

    async with (
        open_engine(clock=clock, interceptors=[Refusing()]) as engine,
        engine.worker(workflows=[Chain], activities=[Lab()]),
    ):
        client = lab.Client(engine)
        with pytest.raises(PermissionError):
            await client.start_free(text("bad"))
        handle = await client.start_free(text("a"))
        await clock.advance(timedelta(seconds=10))
        assert (await soon(handle.result())).value == "a!!!"


class Squeezing(PayloadCodec):
    """Compresses, and takes several turns of the loop for it."""

    def __init__(self) -> None:
        self.broken = False

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._turn()
        return [
            Payload({"encoding": b"squeezed"}, zlib.compress(repr((payload.metadata, payload.data)).encode()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._turn()
        if self.broken:
            raise ConnectionError("no key today")
        return [self._decode(payload) for payload in payloads]

    def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"squeezed":
            return payload
        metadata, data = eval(zlib.decompress(payload.data))  # noqa: S307 - what `encode` wrote
        return Payload(metadata, data)

    async def _turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


SECRET = "se" + "cret"  # a stack trace shows lines of code, and is no payload


async def test_a_slow_codec_covers_everything_on_disk(tmp_path: Path, clock: VirtualClock) -> None:
    class Everything(Waiting):
        async def run(self, request: Text) -> Text:
            beaten = await lab.beat(text(SECRET + " beat"))
            await workflow.sleep(1)
            with pytest.raises(ActivityError) as raised:
                await lab.echo(request)
            assert isinstance(raised.value.cause, ApplicationError)
            detail = raised.value.cause.details.get(0, Text).value
            signal = await self.go.receive()
            return text(f"{beaten.value} {signal.value} {self.state} {detail}")

    class Failing(Lab):
        async def beat(self, request: Text) -> Text:
            activity.heartbeat(text(SECRET + " heartbeat"))
            if activity.info().attempt == 1:
                raise ApplicationError("again")
            found = activity.heartbeat_details(Text)
            assert found is not None
            return found

        async def echo(self, request: Text) -> Text:
            raise ApplicationError("no", text(SECRET + " detail"), non_retryable=True)

    path = tmp_path / "lab.db"
    async with (
        open_engine(path, clock=clock, codecs=[Squeezing()]) as engine,
        engine.worker(workflows=[Everything], activities=[Failing()]),
    ):
        handle = await lab.Client(engine).start_free(text(SECRET + " request"), id="a", memo={"m": SECRET + " memo"})
        assert (await soon(handle.set(text(SECRET + " set")))).value == "new"
        with pytest.raises(UpdateFailedError, match="nothing to set"):
            await soon(handle.set(text("")))
        await handle.go(text(SECRET + " go"))
        await clock.advance(timedelta(seconds=5))
        assert (await soon(handle.status(text(f" {SECRET} status")))).value == f"{SECRET} set {SECRET} status"
        result = " ".join(f"{SECRET} {what}" for what in ("heartbeat", "go", "set", "detail"))
        assert (await soon(handle.result())).value == result
        assert (await soon(handle.status(text("")))).value == SECRET + " set", "closed runs answer too"
        assert (await handle.describe()).memo == {"m": SECRET + " memo"}
        readable = find(await handle.history(), WorkflowExecutionStarted).input[0].data
        assert f"{SECRET} request".encode() in readable
    for file in tmp_path.glob("lab.db*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


class Gated(Squeezing):
    """Decodes when its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self.gate.wait()
        return await super().decode(payloads)


async def test_a_task_under_a_slow_codec_is_never_half_on_disk(tmp_path: Path, clock: VirtualClock) -> None:
    """What arrives while the codec works waits in the inbox; a run that would close meanwhile is told first."""

    class Draining(Waiting):
        async def run(self, request: Text) -> Text:
            values = [(await self.go.receive()).value]
            while (more := self.go.try_receive()) is not None:
                values.append(more.value)
            return text(" ".join(values))

    codec = Gated()
    path = tmp_path / "lab.db"
    async with (
        open_engine(path, clock=clock, codecs=[codec]) as engine,
        engine.worker(workflows=[Draining]),
    ):
        codec.gate.set()
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        codec.gate.clear()
        await handle.go(text("one"))
        await clock.settle()
        assert kinds(await engine_history(engine, path)) == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
        await handle.go(text("two"))
        assert kinds(await engine_history(engine, path)) == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
        codec.gate.set()
        assert (await soon(handle.result())).value == "one two"
        history = await handle.history()
    assert find(history, WorkflowTaskFailed).cause == "UNHANDLED_COMMAND"


async def engine_history(engine: EmbeddedEngine, path: Path) -> list[Any]:
    """What is on disk, undecoded."""
    other = EmbeddedEngine(Store(path))
    async with other:
        return (await other.workflow_history(lab.Client(other).free_handle("a").__protopact__.latest))[1]


async def test_a_run_is_terminated_in_the_middle_of_its_task(clock: VirtualClock) -> None:
    codec = Squeezing()
    async with open_engine(clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Sleeper]):
        handle = await lab.Client(engine).start_free(text("60"))
        await handle.terminate()
        await clock.advance(timedelta(seconds=61))
        assert kinds(await handle.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionTerminated"]


async def test_a_codec_that_fails_parks_the_run_until_it_works(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    codec = Squeezing()
    async with (
        open_engine(clock=clock, codecs=[codec]) as engine,
        engine.worker(workflows=[Chain], activities=[Lab()]),
    ):
        codec.broken = True
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        assert (await handle.describe()).task_failure == "ConnectionError: no key today"
        with pytest.raises(QueryError, match="no key today"):
            await soon(handle.status(text("")))
        codec.broken = False
        await clock.advance(timedelta(seconds=1))
        assert (await soon(handle.result())).value == "a!!!"


BIG = "x" * (LIMIT + 1)


async def test_a_request_that_is_too_large_is_refused_where_it_is_made(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    with pytest.raises(PayloadSizeError, match=r"request of lab.v1.LabService.Free takes \d+ bytes; at most 2097152"):
        await client.start_free(text(BIG), id="a")
    handle = await client.start_free(text("a"))
    with pytest.raises(PayloadSizeError, match="request of lab.v1.LabService.Go"):
        await handle.go(text(BIG))
    with pytest.raises(PayloadError, match="request of lab.v1.LabService.Set"):
        await handle.set(text(BIG))


async def test_a_result_that_is_too_large_fails_the_activity(engine: EmbeddedEngine) -> None:
    class Large(Lab):
        async def echo(self, request: Text) -> Text:
            return text(BIG)

    async with engine.worker(workflows=[Chain], activities=[Large()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(lab.Client(engine).execute_free(text("a")))
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, ServerError)
    assert "exceeds size limit" in str(raised.value.cause.cause)


async def test_a_workflow_that_asks_for_too_much_is_terminated_and_does_not_loop(engine: EmbeddedEngine) -> None:
    class Greedy(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.echo(text(BIG))

    async with engine.worker(workflows=[Greedy], activities=[Lab()]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(WorkflowFailedError, match="ScheduleActivityTaskCommandAttributes.Input exceeds size limit"):
            await soon(handle.result())
        assert (await handle.describe()).status is WorkflowStatus.TERMINATED
    history = await handle.history()
    assert find(history, WorkflowTaskFailed).cause == "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES"
    assert find(history, WorkflowExecutionTerminated).reason.startswith("BAD_SCHEDULE_ACTIVITY_ATTRIBUTES")


async def test_a_run_is_terminated_while_codecs_are_at_work_for_a_query(clock: VirtualClock) -> None:
    codec = Gated()
    codec.gate.set()
    async with open_engine(clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        codec.gate.clear()
        query = asyncio.ensure_future(handle.status(text("?")))
        await clock.settle()
        await handle.terminate()
        codec.gate.set()
        assert (await soon(query)).value == "new?"
