"""Interceptors, headers and payload codecs."""

from __future__ import annotations

import asyncio
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tests.conformance.bench import Bench, Lab, Place, find, kinds, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Chain, Waiting, text

from protopact import activity, workflow
from protopact.engine import QueryWorkflow, SignalWorkflow, Started, StartWorkflow, UpdateStarted, UpdateWorkflow
from protopact.errors import ActivityError, ApplicationError, UpdateFailedError, WorkflowFailedError
from protopact.history.event import (
    ActivityTaskScheduled,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
)
from protopact.interceptor import (
    ExecuteActivity,
    ExecuteWorkflow,
    HandleQuery,
    HandleSignal,
    HandleUpdate,
    Interceptor,
    SignalExternalWorkflow,
    StartActivity,
    StartChildWorkflow,
    StartLocalActivity,
)
from protopact.payload import Payload, PayloadCodec

PLAIN = {"encoding": b"binary/plain"}


def tag(value: bytes) -> Payload:
    return Payload(PLAIN, value)


class Tagging(Interceptor):
    """Puts a header on everything, and notes who sees which."""

    def __init__(self) -> None:
        self.seen = list[tuple[str, str]]()

    def note(self, where: str, headers: dict[str, Payload]) -> None:
        self.seen.append((where, headers["tag"].data.decode() if "tag" in headers else ""))

    async def start_workflow(
        self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
    ) -> Started:
        call.headers["tag"] = tag(b"start")
        return await next_hook(call)

    async def signal_workflow(
        self, call: SignalWorkflow[Any], next_hook: Callable[[SignalWorkflow[Any]], Awaitable[None]]
    ) -> None:
        call.headers["tag"] = tag(b"signal")
        await next_hook(call)

    async def query_workflow(
        self, call: QueryWorkflow[Any, Any], next_hook: Callable[[QueryWorkflow[Any, Any]], Awaitable[object]]
    ) -> object:
        call.headers["tag"] = tag(b"query")
        return await next_hook(call)

    async def update_workflow(
        self, call: UpdateWorkflow[Any, Any], next_hook: Callable[[UpdateWorkflow[Any, Any]], Awaitable[UpdateStarted]]
    ) -> UpdateStarted:
        call.headers["tag"] = tag(b"update")
        return await next_hook(call)

    async def execute_workflow(
        self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
    ) -> object:
        self.note("workflow", call.headers)
        return await next_hook(call)

    async def handle_signal(self, call: HandleSignal, next_hook: Callable[[HandleSignal], Awaitable[None]]) -> None:
        self.note("handle signal", call.headers)
        await next_hook(call)

    def handle_query(self, call: HandleQuery, next_hook: Callable[[HandleQuery], object]) -> object:
        self.note("handle query", call.headers)
        return next_hook(call)

    def validate_update(self, call: HandleUpdate, next_hook: Callable[[HandleUpdate], None]) -> None:
        self.note("validate update", call.headers)
        next_hook(call)

    async def handle_update(self, call: HandleUpdate, next_hook: Callable[[HandleUpdate], Awaitable[object]]) -> object:
        self.note("handle update", call.headers)
        return await next_hook(call)

    def start_activity(
        self, call: StartActivity, next_hook: Callable[[StartActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.headers["tag"] = tag(b"activity")
        return next_hook(call)

    def start_local_activity(
        self, call: StartLocalActivity, next_hook: Callable[[StartLocalActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.headers["tag"] = tag(b"local activity")
        return next_hook(call)

    async def execute_activity(
        self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
    ) -> object:
        self.note(f"activity {activity.info().is_local}", call.headers)
        return await next_hook(call)


async def test_headers_travel_and_stand_in_history(place: Place) -> None:
    class Both(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            await suite.Local.echo(request)
            return await suite.echo(request)

    tagging = Tagging()
    async with place.connect(interceptors=[tagging]) as bench, bench.worker(Both, activities=[Lab()]):
        handle = await bench.start("a")
        await soon(handle.status(text("")))
        await soon(handle.set(text("x")))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "a!"
        history = await handle.history()
    assert tagging.seen == [
        ("workflow", "start"),
        ("handle query", "query"),
        ("validate update", "update"),
        ("handle update", "update"),
        ("handle signal", "signal"),
        ("activity True", "local activity"),
        ("activity False", "activity"),
    ]
    assert find(history, WorkflowExecutionStarted).header["tag"].data == b"start"
    assert find(history, WorkflowExecutionSignaled).header["tag"].data == b"signal"
    assert find(history, ActivityTaskScheduled).header["tag"].data == b"activity"
    accepted = find(history, WorkflowExecutionUpdateAccepted).accepted_request
    assert accepted is not None
    assert accepted.header["tag"].data == b"update"


async def test_a_signal_and_its_start_have_the_headers_of_both(place: Place) -> None:
    class Apart(Interceptor):
        async def signal_with_start(
            self,
            start: StartWorkflow[Any, Any],
            signal: SignalWorkflow[Any],
            next_hook: Callable[[StartWorkflow[Any, Any], SignalWorkflow[Any]], Awaitable[Started]],
        ) -> Started:
            start.headers["start"] = start.headers["both"] = tag(b"start")
            signal.headers["signal"] = signal.headers["both"] = tag(b"signal")
            return await next_hook(start, signal)

    async with place.connect(interceptors=[Apart()]) as bench, bench.worker(Waiting):
        handle = await bench.client.start_free_with_go(text(""), text("go"), id=bench.id())
        history = await handle.history()
    expected = {"start": b"start", "signal": b"signal", "both": b"signal"}
    for header in (find(history, WorkflowExecutionStarted).header, find(history, WorkflowExecutionSignaled).header):
        assert {name: payload.data for name, payload in header.items()} == expected


async def test_headers_of_children_and_of_signals_between_workflows(place: Place) -> None:
    class Stamping(Interceptor):
        async def start_child_workflow(
            self, call: StartChildWorkflow, next_hook: Callable[[StartChildWorkflow], Awaitable[object]]
        ) -> object:
            call.headers["tag"] = tag(b"child")
            return await next_hook(call)

        async def signal_external_workflow(
            self, call: SignalExternalWorkflow, next_hook: Callable[[SignalExternalWorkflow], Awaitable[None]]
        ) -> None:
            call.headers["tag"] = tag(b"from another")
            await next_hook(call)

    async with place.connect(interceptors=[Stamping()]) as bench:

        class Parent(suite.Other):
            async def run(self, request: Text) -> Text:
                child = await suite.Free.start_child(text("c"), id=f"{request.value}/c")
                await child.go(text("on"))
                return await child

        async with bench.worker(Parent, Waiting):
            handle = await bench.client.start_other(text(place.name), id=bench.id("p"))
            assert (await soon(handle.result())).value == "on new"
        history = await bench.client.free_handle(bench.id("c")).history()
    assert find(history, WorkflowExecutionStarted).header["tag"].data == b"child"
    assert find(history, WorkflowExecutionSignaled).header["tag"].data == b"from another"


async def test_the_first_interceptor_is_outermost(place: Place) -> None:
    order, runs = list[str](), list[str]()

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

        async def execute_workflow(
            self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
        ) -> object:
            if not workflow.is_replaying():
                runs.append(self._name)
            return await next_hook(call)

    async with place.connect(interceptors=[Named("first"), Named("second")]) as bench, bench.worker(Waiting):
        handle = await bench.start()
        await soon(handle.status(text("")))
    assert order == ["first in", "second in", "second out", "first out"]
    assert runs == ["first", "second"]


async def test_an_interceptor_that_raises_fails_its_own_call_only(place: Place) -> None:
    class Refusing(Interceptor):
        async def start_workflow(
            self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
        ) -> Started:
            if call.workflow_id.endswith("bad"):
                raise PermissionError("not you")
            return await next_hook(call)

        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            if activity.info().attempt == 1:
                raise RuntimeError("flaky interceptor")
            return await next_hook(call)

    async with place.connect(interceptors=[Refusing()]) as bench, bench.worker(Chain, activities=[Lab()]):
        with pytest.raises(PermissionError):
            await bench.start(name="bad")
        assert await bench.run("a") == "a!!!"


async def test_an_interceptor_may_answer_in_the_place_of_what_it_wraps(place: Place) -> None:
    class Answering(Interceptor):
        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            call.request = text("changed")
            answer = await next_hook(call)
            assert isinstance(answer, Text)
            return text(f"[{answer.value}]")

        def handle_query(self, call: HandleQuery, next_hook: Callable[[HandleQuery], object]) -> object:
            return text("answered")

        async def execute_workflow(
            self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
        ) -> object:
            answer = await next_hook(call)
            assert isinstance(answer, Text)
            return text(f"<{answer.value}>")

    async def code(request: Text) -> Text:
        return await suite.echo(request)

    async with place.connect(interceptors=[Answering()]) as bench, bench.worker(running(code), activities=[Lab()]):
        handle = await bench.start("a")
        assert (await soon(handle.result())).value == "<[changed!]>"
        assert (await soon(handle.status(text("")))).value == "answered"


# -- codecs


class Squeezing(PayloadCodec):
    """Compresses, and takes several turns of the loop for it."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [self._encode(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [self._decode(payload) for payload in payloads]

    def _encode(self, payload: Payload) -> Payload:
        metadata = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
        text_of = json.dumps([metadata, b64encode(payload.data).decode()])
        return Payload({"encoding": b"binary/squeezed"}, zlib.compress(text_of.encode()))

    def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"binary/squeezed":
            return payload
        metadata, data = json.loads(zlib.decompress(payload.data))
        return Payload({name: b64decode(value) for name, value in metadata.items()}, b64decode(data))


SECRET = "se" + "cret"  # a stack trace shows lines of code, and is no payload


class Everything(Waiting):
    """Gets the word from everywhere."""

    async def run(self, request: Text) -> Text:
        beaten = await suite.beat(text(SECRET + " beat"))
        await workflow.sleep(0.01)
        with pytest.raises(ActivityError) as raised:
            await suite.echo(request)
        assert isinstance(raised.value.cause, ApplicationError)
        detail = raised.value.cause.details.get(0, Text).value
        effect = await workflow.side_effect(lambda: SECRET + " effect", str)
        local = await suite.Local.beat(text(SECRET + " local"))
        signal = await self.go.receive()
        return text(f"{beaten.value} {signal.value} {self.state} {detail} {effect} {local.value}")


class Failing(Lab):
    """Heartbeats, and fails with a detail."""

    async def beat(self, request: Text) -> Text:
        if activity.info().is_local:
            return request
        activity.heartbeat(text(SECRET + " heartbeat"))
        if activity.info().attempt == 1:
            raise ApplicationError("again")
        found = activity.heartbeat_details(Text)
        assert found is not None
        return found

    async def echo(self, request: Text) -> Text:
        raise ApplicationError("no", text(SECRET + " detail"), non_retryable=True)


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_codecs_cover_everything(place: Place, bench: Bench, cached: int) -> None:
    async with (
        place.connect(codecs=[Squeezing()], encoding="binary/protobuf") as coded,
        coded.worker(Everything, activities=[Failing()], max_cached_workflows=cached),
    ):
        handle = await coded.start(SECRET + " request", memo={"m": SECRET + " memo"})
        assert (await soon(handle.set(text(SECRET + " set")))).value == "new"
        with pytest.raises(UpdateFailedError, match="nothing to set"):
            await soon(handle.set(text("")))
        await handle.go(text(SECRET + " go"))
        result = " ".join(f"{SECRET} {what}" for what in ("heartbeat", "go", "set", "detail", "effect", "local"))
        assert (await soon(handle.result())).value == result
        assert (await soon(handle.status(text("")))).value == SECRET + " set", "closed runs answer too"
        assert (await handle.describe()).memo == {"m": SECRET + " memo"}
        readable = find(await handle.history(), WorkflowExecutionStarted).input[0]
        assert SECRET.encode() in readable.data
        assert readable.metadata["encoding"] == b"binary/protobuf"
    if place.is_forgetful:
        return
    undecoded = await bench.client.free_handle(handle.id).history()
    assert SECRET not in undecoded.to_json()
    assert b64encode(SECRET.encode()).decode()[:6] not in undecoded.to_json()


async def test_a_failure_under_a_codec(place: Place) -> None:
    async def code(request: Text) -> Text:
        raise ApplicationError("no", text("detail"), {"n": 1}, type="No")

    async with place.connect(codecs=[Squeezing(), Squeezing()]) as bench, bench.worker(running(code)):
        handle = await bench.start()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.details.get(0, Text) == text("detail")
    assert cause.details.get(1, dict) == {"n": 1}


async def test_a_family_under_a_codec(place: Place) -> None:
    class Parent(suite.Other):
        async def run(self, request: Text) -> Text:
            child = await suite.Free.start_child(text("c"), id=f"{request.value}/c", memo={"who": "me"})
            await child.go(text("on"))
            said = await child
            if not said.value.endswith("again"):
                suite.Free.continue_as_new(text("next"), memo={"said": said.value})
            return said

    async with place.connect(codecs=[Squeezing()]) as bench, bench.worker(Parent, Waiting):
        handle = await bench.client.start_other(text(place.name), id=bench.id("p"))
        latest = bench.client.free_handle(handle.id)
        while (await latest.describe()).run_id == handle.run_id:
            await asyncio.sleep(0.01)
        assert (await latest.describe()).memo == {"said": "on new"}
        await latest.go(text("end"))
        assert (await soon(handle.result())).value == "end new"
    assert "ChildWorkflowExecutionCompleted" not in kinds(await _history(place, handle.id))


async def _history(place: Place, workflow_id: str) -> list[Any]:
    if place.is_forgetful:
        return []
    async with place.connect(codecs=[Squeezing()]) as bench:
        return list(await bench.client.free_handle(workflow_id).history())
