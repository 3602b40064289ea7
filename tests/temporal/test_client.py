"""What only a server shows: the SDK's interceptors and headers, request ids, chains, codecs, calls that are cut off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Interceptor as TemporalInterceptor
from temporalio.client import (
    OutboundInterceptor,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode
from tests import devserver
from tests.conformance.google.suite.v1.suite_pb2 import Document
from tests.conformance.google.suite.v1.suite_pb2 import Text as Suited
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import UNSANDBOXED, Bench, Lab, serving, soon

import protopact
from protopact import workflow
from protopact.engine import Started, StartWorkflow, WorkflowRef, WorkflowStatus
from protopact.interceptor import ExecuteWorkflow, Interceptor
from protopact.payload import Payload, PayloadCodec
from protopact.policy import WaitForStage, WorkflowIdConflictPolicy
from protopact.temporal import connect, from_client
from protopact.temporal.payloads import to_proto

SCRIPT = """
import asyncio, sys
import protopact
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

async def main(url, workflow_id):
    async with protopact.connect(url) as engine:
        handle = await lab.Client(engine).start_free(Text(), id=workflow_id, task_queue="nobody's")
        try:
            await asyncio.wait_for(handle.result(), 0.2)
        except TimeoutError:
            print("not yet")

asyncio.run(main(*sys.argv[1:]))
"""


class Waiter(lab.Free):
    """Waits for a Go; "again" makes it continue as new, "stuck" fails its tasks."""

    def __init__(self) -> None:
        self.said = ""
        self.set_to = ""

    async def run(self, request: Text) -> Text:
        if request.value == "stuck" and not cured:
            raise RuntimeError("out of order")
        await workflow.wait_condition(lambda: bool(self.said))
        if self.said == "again":
            self.continue_as_new(text("next"))
        return text(f"{request.value} {self.said}")

    async def on_go(self, request: Text) -> None:
        self.said = request.value

    def status(self, request: Text) -> Text:
        return text(self.set_to)

    async def set(self, request: Text) -> Text:
        self.set_to = request.value
        if request.value == "never":
            await workflow.wait_condition(lambda: False)
        return request


class Another(lab.Other):
    """Answers."""

    async def run(self, request: Text) -> Text:
        return request


cured: list[str] = []


@pytest.fixture
async def bench(temporal_server: DevServer) -> AsyncIterator[Bench]:
    cured.clear()
    async with serving(temporal_server.url, [Waiter, Another]) as opened:
        yield opened


class Noting(Interceptor):
    """Sends a header, and notes what reaches the workflow."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}

    async def start_workflow(
        self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
    ) -> Started:
        call.headers["ours"] = Payload({"encoding": b"json/plain"}, b'"1"')
        return await next_hook(call)

    async def execute_workflow(
        self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
    ) -> object:
        self.received |= {name: payload.data for name, payload in call.headers.items()}
        return await next_hook(call)


class Tracing(TemporalInterceptor):
    """An interceptor of the SDK, as that of OpenTelemetry is: it adds a header."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Tracing(next, self.seen)


class _Tracing(OutboundInterceptor):
    def __init__(self, outer: OutboundInterceptor, seen: list[list[str]]) -> None:
        super().__init__(outer)
        self._seen = seen

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's name
        self._seen.append(sorted(input.headers))
        payload = to_proto(Payload({"encoding": b"json/plain"}, b'"2"'))
        input.headers = {**input.headers, "theirs": payload}
        return await super().start_workflow(input)


class Hiding(PayloadCodec):
    """Turns bytes around."""

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [
            Payload({"encoding": b"hidden", **{f"-{k}": v for k, v in each.metadata.items()}}, each.data[::-1])
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [
            Payload({k[1:]: v for k, v in each.metadata.items() if k[0] == "-"}, each.data[::-1])
            if each.metadata["encoding"] == b"hidden"
            else each
            for each in payloads
        ]


async def test_interceptors_of_both_and_codecs(temporal_server: DevServer) -> None:
    noting, tracing = Noting(), Tracing()
    engine = connect(
        temporal_server.url, interceptors=[noting], temporal_interceptors=[tracing], codecs=[Hiding()], identity="me"
    )
    async with engine, engine.worker(workflows=[Waiter], activities=[Lab()], temporal=UNSANDBOXED):
        client = lab.Client(engine)
        handle = await client.start_free_with_go(text("a"), text("b"), id=f"both-{uuid4()}", memo={"note": "secret"})
        assert (await soon(handle.result())).value == "a b"
        handle = await client.start_free(text("a"), id=handle.id, memo={"note": "secret"})
        assert (await handle.set(text("x"))).value == "x"
        assert (await handle.status(text(""))).value == "x"
        await handle.go(text("end"))
        assert (await soon(handle.result())).value == "a end"
        assert noting.received == {"ours": b'"1"', "theirs": b'"2"'}
        assert tracing.seen == [[], ["ours"]]
        assert (await handle.describe()).memo == {"note": "secret"}
        history = await handle.history()
        assert b"nosaer" not in history.to_json().encode()
        stored = (await engine.client.get_workflow_handle(handle.id).fetch_history()).to_json()
        first = json.loads(stored)["events"][0]["workflowExecutionStartedEventAttributes"]
        assert first["identity"] == "me"
        encodings = [
            *(each["metadata"]["encoding"] for each in first["input"]["payloads"]),
            *(each["metadata"]["encoding"] for each in first["header"]["fields"].values()),
            first["memo"]["fields"]["note"]["metadata"]["encoding"],
        ]
        assert set(encodings) == {"aGlkZGVu"}  # "hidden"


async def test_a_request_that_comes_twice_is_one(bench: Bench) -> None:
    workflow_id = f"twice-{uuid4()}"
    one = await bench.client.start_free(text("a"), id=workflow_id, request_id="r")
    other = await bench.client.start_free(text("a"), id=workflow_id, request_id="r")
    assert one.run_id == other.run_id
    await one.go(text("b"))
    assert (await soon(other.result())).value == "a b"


async def test_a_start_with_an_update_whose_answer_was_lost_is_one(temporal_server: DevServer) -> None:
    sent = 0

    class Losing(TemporalInterceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's
            return LosingOutbound(next)

    class LosingOutbound(OutboundInterceptor):
        async def start_update_with_start_workflow(
            self,
            input: StartWorkflowUpdateWithStartInput,  # noqa: A002 - the SDK's
        ) -> WorkflowUpdateHandle[Any]:
            nonlocal sent
            sent += 1
            handle = await super().start_update_with_start_workflow(input)
            if sent == 1:  # the update is rejected, which leaves nothing by which the server would know it again
                raise RPCError("lost on its way", RPCStatusCode.DEADLINE_EXCEEDED, b"")
            return handle

    class Refusing(Waiter):
        def validate_set(self, request: Text) -> None:
            raise protopact.ApplicationError("not that")

    async with (
        connect(temporal_server.url, temporal_interceptors=[Losing()]) as engine,
        engine.worker(workflows=[Refusing], activities=[Lab()], temporal=UNSANDBOXED),
    ):
        name = f"lost-{uuid4()}"
        start = lab.Client(engine).start_free_with_set(
            text("a"), text("b"), id=name, id_conflict_policy=WorkflowIdConflictPolicy.FAIL
        )
        with pytest.raises(protopact.UpdateFailedError, match="not that"):
            await soon(start)
        await lab.Client(engine).free_handle(name).terminate()
    assert sent == 2


async def test_a_handle_follows_its_chain_and_leaves_others_alone(bench: Bench) -> None:
    first = await bench.start("a")
    await first.go(text("again"))
    with pytest.raises(protopact.WorkflowContinuedAsNewError):
        await soon(first.result(follow_runs=False))
    described = await first.describe()
    assert described.run_id != first.run_id
    assert described.first_run_id == first.run_id
    joined = await bench.client.start_free(
        text(""), id=first.id, id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING
    )
    assert joined.__protopact__.started is not None
    assert joined.__protopact__.started.first_run_id == first.run_id
    assert not joined.__protopact__.started.started
    await first.terminate(reason="enough")
    with pytest.raises(protopact.WorkflowFailedError, match="was terminated: enough"):
        await soon(first.result())
    second = await bench.client.start_free(text("b"), id=first.id)
    for end in (first.cancel, first.terminate):
        with pytest.raises(protopact.NotFoundError, match=f"is another one by now: it began with run {second.run_id}"):
            await end()
    assert (await first.describe()).status is WorkflowStatus.TERMINATED
    assert (await second.describe()).status is WorkflowStatus.RUNNING
    assert len(await first.history()) > 2
    await second.terminate()


async def test_room_is_made_for_another_workflow_only(bench: Bench) -> None:
    waiter = await bench.start("a")
    policy = WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE
    with pytest.raises(protopact.AlreadyStartedError):
        await bench.client.start_free(text(""), id=waiter.id, id_conflict_policy=policy)
    other = await bench.client.start_other(text("x"), id=waiter.id, id_conflict_policy=policy)
    assert (await soon(other.result())).value == "x"
    with pytest.raises(protopact.WorkflowFailedError, match="its id was needed for a lab.v1.LabService.Other"):
        await soon(waiter.result())


async def test_a_run_that_takes_the_id_meanwhile_gives_way_too(temporal_server: DevServer) -> None:
    rivals = list[WorkflowHandle[Any, Any]]()

    class Racing(TemporalInterceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's
            return RacingOutbound(next)

    class RacingOutbound(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's
            if not rivals:
                client = await temporal_server.connect()
                rival = await client.start_workflow("Another", id=input.id, task_queue="nobody's")
                rivals.append(client.get_workflow_handle(input.id, run_id=rival.result_run_id))
            return await super().start_workflow(input)

    async with connect(temporal_server.url, temporal_interceptors=[Racing()]) as engine:
        started = await lab.Client(engine).start_free_with_go(
            text("a"),
            text("b"),
            id=f"race-{uuid4()}",
            task_queue="nobody's",
            id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE,
        )
        kinds = [type(event.attributes).__name__ for event in await started.history()]
        assert kinds == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
        assert (await started.describe()).workflow_type == "lab.v1.LabService.Free"
        rival = await rivals[0].describe()
        assert (rival.workflow_type, rival.status) == ("Another", WorkflowExecutionStatus.TERMINATED)
        await started.terminate()


async def test_the_first_task_comes_with_the_answer_to_an_eager_start(temporal_server: DevServer) -> None:
    class Declared(suite.Declared):
        async def run(self, request: Document) -> Document:
            return request

        async def rename(self, request: Document) -> Document:
            return request

    class Free(suite.Free):
        async def run(self, request: Suited) -> Suited:
            return request

        def status(self, request: Suited) -> Suited:
            return request

        async def set(self, request: Suited) -> Suited:
            return request

    async def is_eager(workflow_id: str) -> bool:
        events = (await temporal_server.connect()).get_workflow_handle(workflow_id).fetch_history_events()
        return (await anext(events)).workflow_execution_started_event_attributes.eager_execution_accepted

    queue = f"eager-{uuid4()}"
    document = Document(title=queue, inner=Suited(value="x"))
    document.at.GetCurrentTime()
    async with protopact.connect(temporal_server.url) as engine:
        client = suite.Client(engine)
        async with engine.worker(workflows=[Declared, Free], task_queue=queue, temporal=UNSANDBOXED):
            handle = await client.start_declared(document, task_queue=queue)
            assert (await soon(handle.result())).title == queue
            plain = await client.start_free(Suited(value="x"), id=queue, task_queue=queue)
            await soon(plain.result())
    assert await is_eager(handle.id)
    assert not await is_eager(plain.id)


async def test_a_run_whose_task_fails_says_why_and_takes_updates_when_it_is_cured(bench: Bench) -> None:
    # The server tries again when the task has timed out.
    once = timedelta(seconds=1)
    handle = await bench.client.start_free(text("stuck"), id=f"stuck-{uuid4()}", task_timeout=once)

    async def fails() -> str:
        while (failure := (await handle.describe()).task_failure) is None:
            await asyncio.sleep(0.02)
        return failure

    assert await soon(fails()) == "RuntimeError: out of order"
    update = asyncio.create_task(handle.set(text("late")))
    cured.append("")
    assert (await asyncio.wait_for(update, 30)).value == "late"
    assert (await handle.describe()).task_failure is None
    await handle.terminate()


async def test_whoever_is_cancelled_while_waiting_is_cancelled(bench: Bench) -> None:
    handle = await bench.start("a")
    update = await handle.start_set(text("never"), id="u", wait_for_stage=WaitForStage.ACCEPTED)
    nobodys = await bench.client.start_free(text(""), id=f"nobody-{uuid4()}", task_queue="nobody's")
    for awaited in (handle.result(), update.result(), nobodys.set(text("")), nobodys.status(text(""))):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited, 0.1)
    await handle.go(text("b"))
    with pytest.raises(protopact.UpdateFailedError, match="the workflow closed before the update completed") as raised:
        await soon(update.result())
    assert isinstance(raised.value.cause, protopact.ApplicationError)
    assert raised.value.cause.type == "AcceptedUpdateCompletedWorkflow"
    with pytest.raises(protopact.AlreadyClosedError, match="is closed: Completed"):
        await handle.set(text("x"))
    again = await handle.start_set(text("x"), id="u", wait_for_stage=WaitForStage.ACCEPTED)
    assert again.id == "u"
    await nobodys.terminate()


async def test_calls_end_with_the_engine(temporal_server: DevServer) -> None:
    async with protopact.connect(temporal_server.url) as engine:
        handle = await lab.Client(engine).start_free(text(""), id=f"cut-{uuid4()}", task_queue="nobody's")
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.05)
    with pytest.raises(protopact.EngineClosedError, match="was closed during the call"):
        await soon(waiting)
    async with protopact.connect(temporal_server.url) as engine:
        await engine.delete_workflow(WorkflowRef(handle.id))


def test_a_process_that_gave_up_waiting_ends(temporal_server: DevServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, temporal_server.url, f"gave-up-{uuid4()}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "not yet\n", "")


async def test_runs_are_listed_and_deleted(bench: Bench) -> None:
    odd = f"it's odd é {uuid4()}"
    handle = await bench.client.start_free(text("a"), id=odd)

    async def listed(status: WorkflowStatus) -> list[str]:
        return [
            run.run_id
            async for run in bench.engine.list_workflows(
                workflow_id=odd, workflow_type="lab.v1.LabService.Free", status=status
            )
        ]

    async def until(status: WorkflowStatus, expected: list[str]) -> None:
        while await listed(status) != expected:
            await asyncio.sleep(0.02)

    assert handle.run_id is not None
    await soon(until(WorkflowStatus.RUNNING, [handle.run_id]))
    await handle.terminate()
    await soon(until(WorkflowStatus.TERMINATED, [handle.run_id]))
    assert await listed(WorkflowStatus.RUNNING) == []
    await bench.engine.delete_workflow(WorkflowRef(odd))
    with pytest.raises(protopact.NotFoundError):
        await bench.engine.delete_workflow(WorkflowRef(f"nowhere-{uuid4()}"))


async def test_what_the_server_refuses(bench: Bench) -> None:
    with pytest.raises(protopact.PayloadSizeError, match=r"request of lab\.v1\.LabService\.Free takes 20972\d\d bytes"):
        await bench.start("x" * (2 * 1024 * 1024 + 1))
    with pytest.raises(protopact.PayloadSizeError):
        await bench.start("x" * (5 * 1024 * 1024))
    with pytest.raises(protopact.OptionError, match="search attribute Unheard; register it: temporal operator"):
        await bench.client.start_free(text(""), id=f"attribute-{uuid4()}", search_attributes={"Unheard": "x"})
    handle = await bench.start("a")
    with pytest.raises(protopact.OptionError, match="reset of workflow .* to event 2: "):
        await handle.reset(event_id=2)
    with pytest.raises(protopact.NotFoundError, match="there is no run not-a-run of workflow"):
        await bench.client.free_handle(handle.id, run_id="not-a-run").describe()
    await handle.terminate()


async def test_a_client_of_the_sdk_speaks_to_the_same_runs(temporal_server: DevServer, bench: Bench) -> None:
    stock = await temporal_server.connect()
    handle = await stock.start_workflow(
        "lab.v1.LabService.Free",
        text("a"),
        id=f"stock-{uuid4()}",
        task_queue="lab",
        result_type=Text,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    async with from_client(stock) as engine:
        await lab.Client(engine).free_handle(handle.id).go(text("b"))
    assert (await soon(handle.result())).value == "a b"


@pytest.mark.slow
@pytest.mark.temporal
async def test_waiting_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with devserver.start(tmp_path, namespaces=(), search_attributes={}) as server:
        port = int(server.address.rpartition(":")[2])
        engine = protopact.connect(server.url)
        opened = await engine.__aenter__()
        handle = await lab.Client(opened).start_free(text("a"), id="outlives", task_queue="nobody's")
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.2)
    with devserver.start(tmp_path, namespaces=(), search_attributes={}, port=port):
        await handle.terminate(reason="after all")
        with pytest.raises(protopact.WorkflowFailedError, match="after all"):
            await asyncio.wait_for(waiting, 60)
        await engine.__aexit__(None, None, None)
