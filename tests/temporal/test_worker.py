"""Workers on Temporal: queues, aliases, settings, interceptors and headers, and how they end."""

# ruff: noqa: ANN401 - interceptors are given calls of every kind
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from temporalio.common import RawValue
from temporalio.plugin import SimplePlugin
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import (
    Interceptor as TemporalInterceptor,
)
from temporalio.worker import (
    Worker,
    WorkerConfig,
    WorkerTuner,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from tests.conformance.google.suite.v1.suite_pb2 import Text as SuiteText
from tests.conformance.google.suite.v1.suite_protopact import QueuedService
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import UNSANDBOXED, Lab, serving, soon
from tests.temporal.programs import Greeter
from tests.temporal.test_runtime import Free, Other

import protopact
from protopact import interceptor, workflow
from protopact.engine import StartWorkflow
from protopact.errors import EngineConnectionError, EngineError, RegistrationError
from protopact.payload import Payload
from protopact.temporal import TemporalEngine, TemporalWorkerOptions, connect, side_effects

ROOT = Path(__file__).parents[2]


class Tracing(protopact.Interceptor):
    """Passes a header along, and notes who has it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def start_workflow(
        self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Any]]
    ) -> Any:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"1"')
        return await next_hook(call)

    async def signal_workflow(self, call: Any, next_hook: Callable[[Any], Awaitable[None]]) -> None:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"2"')
        await next_hook(call)

    async def query_workflow(self, call: Any, next_hook: Callable[[Any], Awaitable[object]]) -> object:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"3"')
        return await next_hook(call)

    async def update_workflow(self, call: Any, next_hook: Callable[[Any], Awaitable[Any]]) -> Any:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"4"')
        return await next_hook(call)

    def _note(self, what: str, call: Any) -> None:
        trace = call.headers.get("trace")
        self.seen.append(f"{what} {trace.data.decode() if trace else None}")

    async def execute_workflow(
        self, call: interceptor.ExecuteWorkflow, next_hook: Callable[[interceptor.ExecuteWorkflow], Awaitable[object]]
    ) -> object:
        self._note(call.workflow.method, call)
        return await next_hook(call)

    async def handle_signal(
        self, call: interceptor.HandleSignal, next_hook: Callable[[interceptor.HandleSignal], Awaitable[None]]
    ) -> None:
        self._note("signal", call)
        await next_hook(call)

    def handle_query(
        self, call: interceptor.HandleQuery, next_hook: Callable[[interceptor.HandleQuery], object]
    ) -> object:
        self._note("query", call)
        return next_hook(call)

    def validate_update(
        self, call: interceptor.HandleUpdate, next_hook: Callable[[interceptor.HandleUpdate], None]
    ) -> None:
        self._note("validate", call)
        next_hook(call)

    async def handle_update(
        self, call: interceptor.HandleUpdate, next_hook: Callable[[interceptor.HandleUpdate], Awaitable[object]]
    ) -> object:
        self._note(f"update {call.update_id}", call)
        return await next_hook(call)

    def start_activity(
        self, call: interceptor.StartActivity, next_hook: Callable[[interceptor.StartActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"5"')
        return next_hook(call)

    def start_local_activity(
        self,
        call: interceptor.StartLocalActivity,
        next_hook: Callable[[interceptor.StartLocalActivity], Awaitable[object]],
    ) -> Awaitable[object]:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"6"')
        return next_hook(call)

    async def start_child_workflow(
        self,
        call: interceptor.StartChildWorkflow,
        next_hook: Callable[[interceptor.StartChildWorkflow], Awaitable[object]],
    ) -> object:
        call.headers["trace"] = Payload({"encoding": b"json/plain"}, b'"7"')
        return await next_hook(call)

    async def execute_activity(
        self, call: interceptor.ExecuteActivity, next_hook: Callable[[interceptor.ExecuteActivity], Awaitable[object]]
    ) -> object:
        self._note(call.activity.method, call)
        return await next_hook(call)


async def test_interceptors_and_headers(temporal_server: DevServer) -> None:
    class Calling(Free):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            await lab.echo(request)
            await lab.Local.echo(request)
            return await lab.Other.execute_child(request, id=f"{workflow.info().workflow_id}-c")

    tracing = Tracing()
    async with serving(temporal_server.url, [Calling, Other], interceptors=[tracing]) as bench:
        handle = await bench.start("x")
        await handle.status(text(""))
        await soon(handle.set(text("y"), id="mine"))
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "child of x"
    assert tracing.seen == [
        'free "1"',
        'query "3"',
        'validate "4"',
        'update mine "4"',
        'signal "2"',
        'echo "5"',
        'echo "6"',
        'other "7"',
    ]


async def test_interceptors_of_the_sdk_work_beside(temporal_server: DevServer) -> None:
    seen: list[str] = []

    class Inbound(WorkflowInboundInterceptor):
        async def execute_workflow(self, input: Any) -> Any:  # noqa: A002 - the SDK's
            seen.append("before")
            result = await super().execute_workflow(input)
            assert isinstance(result, RawValue)
            seen.append("after")
            return result

    class Outer(TemporalInterceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
            return Inbound

    options = TemporalWorkerOptions(sandboxed=False, interceptors=[Outer()])
    async with serving(temporal_server.url, [Greeter], temporal=options) as bench:
        await bench.run("x")
    assert seen == ["before", "after"]


async def test_each_queue_has_a_worker(temporal_server: DevServer) -> None:
    class Sending(Free):
        async def run(self, request: Text) -> Text:
            await lab.echo(request)
            return await lab.Local.echo(request)

    queue = f"alone-{uuid4()}"
    async with (
        protopact.connect(temporal_server.url) as engine,
        engine.worker(workflows=[Sending], activities=[Lab()], task_queue=queue, temporal=UNSANDBOXED),
        engine.worker(activities=[Lab()], temporal=UNSANDBOXED, task_queue="lab"),
    ):
        # Workflows here, activities there: local ones run where the workflow does.
        found = await lab.Client(engine).execute_free(text("x"), id=queue, task_queue=queue)
        assert found.value == "x!"


async def test_what_an_interceptor_raises_of_a_worker_that_is_made(temporal_server: DevServer) -> None:
    class Crash(TemporalInterceptor):
        def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
            raise ConnectionError("no collector")

    options = TemporalWorkerOptions(sandboxed=False, interceptors=[Crash()])
    with pytest.raises(RegistrationError, match="task queue 'lab' cannot be made: ConnectionError: no collector"):
        async with serving(temporal_server.url, [Greeter], temporal=options):
            pass


async def test_a_queue_that_cannot_be_served_leaves_none_behind(temporal_server: DevServer) -> None:
    class Picky(SimplePlugin):
        def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
            if (
                cast("Mapping[str, object]", config)["task_queue"] == "suite-queued"
            ):  # the second one, in the order of their names
                raise ValueError("not this one")
            return config

    class Hop(QueuedService.Hop):
        async def run(self, request: SuiteText) -> SuiteText:
            return request

    class Landing(QueuedService.Activities):
        async def land(self, request: SuiteText) -> SuiteText:
            return request

    async with protopact.connect(temporal_server.url) as engine:
        assert isinstance(engine, TemporalEngine)
        options = TemporalWorkerOptions(sandboxed=False, plugins=[Picky("picky")])
        with pytest.raises(RegistrationError, match="task queue 'suite-queued' cannot be made: not this one"):
            async with engine.worker(workflows=[Hop], activities=[Landing()], temporal=options):
                pass
        # The SDK refuses the queue as long as the connection has a worker of it.
        Worker(engine.client, task_queue="suite-landing", activities=[side_effects.activity])


async def test_a_worker_beside_one_of_the_sdk(temporal_server: DevServer) -> None:
    queue = f"beside-{uuid4()}"
    async with protopact.connect(temporal_server.url) as engine:
        assert isinstance(engine, TemporalEngine)
        stock = Worker(engine.client, task_queue=queue, activities=[side_effects.activity])
        async with stock, engine.worker(workflows=[Other], activities=[Lab()], task_queue=queue, temporal=UNSANDBOXED):
            found = await lab.Client(engine).execute_other(text("x"), id=queue, task_queue=queue)
            assert found.value == "child of x"


async def test_a_connection_of_its_own_that_cannot_be_made(temporal_server: DevServer) -> None:
    dialled = 0

    class Dialling(SimplePlugin):
        async def connect_service_client(
            self,
            config: ConnectConfig,
            next: Callable[[ConnectConfig], Awaitable[ServiceClient]],  # noqa: A002 - the SDK's
        ) -> ServiceClient:
            nonlocal dialled
            dialled += 1
            if dialled == 2:
                raise RuntimeError("Failed client connect: Connection refused")
            return await next(config)

    async with (
        connect(temporal_server.url, plugins=[Dialling("dialling")]) as engine,
        engine.worker(workflows=[Greeter], activities=[Lab()], temporal=UNSANDBOXED),
    ):
        with pytest.raises(EngineConnectionError, match="cannot be reached a second time: nothing listens there"):
            async with engine.worker(workflows=[Greeter], activities=[Lab()], temporal=UNSANDBOXED):
                pass
        async with engine.worker(workflows=[Greeter], activities=[Lab()], temporal=UNSANDBOXED):
            pass
    assert dialled == 3


async def test_a_tuner_says_how_many_threads_there_are(temporal_server: DevServer) -> None:
    together = threading.Barrier(4)

    class Meeting(Lab):
        def beat(self, request: Text) -> Text:
            together.wait(10)
            return request

    class Calling(Free):
        async def run(self, request: Text) -> Text:
            await asyncio.gather(*(lab.beat(request) for _ in range(together.parties)))
            return request

    tuner = WorkerTuner.create_fixed(activity_slots=together.parties)
    async with (
        protopact.connect(temporal_server.url) as engine,
        engine.worker(
            workflows=[Calling],
            activities=[Meeting()],
            max_concurrent_activities=1,
            max_concurrent_local_activities=1,
            temporal=TemporalWorkerOptions(sandboxed=False, tuner=tuner),
        ),
    ):
        await soon(lab.Client(engine).execute_free(text("x"), id=f"meeting-{uuid4()}"))


async def test_an_engine_that_closes_stops_its_workers(temporal_server: DevServer) -> None:
    engine = connect(temporal_server.url)
    await engine.open()
    block = engine.worker(workflows=[Greeter], activities=[Lab()], temporal=UNSANDBOXED)
    await block.__aenter__()
    assert any(task.get_name().startswith("worker of") for task in asyncio.all_tasks())
    await soon(engine.close())
    assert not any(task.get_name().startswith("worker of") for task in asyncio.all_tasks())
    await soon(block.__aexit__(None, None, None))


async def test_an_engine_that_closes_stops_its_workers_at_once(temporal_server: DevServer) -> None:
    class Meeting(Lab):
        """Ends when that of the other worker is told to end, too."""

        def __init__(self, told: asyncio.Event, other: asyncio.Event) -> None:
            self.started = asyncio.Event()
            self._told, self._other = told, other

        async def echo(self, request: Text) -> Text:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self._told.set()
                await self._other.wait()
            return request

    class Calling(Free):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request, task_queue=request.value)

    events = asyncio.Event(), asyncio.Event()
    sides = Meeting(*events), Meeting(*reversed(events))
    queues = [f"meeting-{uuid4()}" for _ in sides]
    engine = connect(temporal_server.url)
    async with engine, AsyncExitStack() as stack:
        for queue, side in zip(queues, sides, strict=True):
            worker = engine.worker(
                workflows=[Calling],
                activities=[side],
                task_queue=queue,
                graceful_shutdown_timeout=timedelta(0),
                temporal=UNSANDBOXED,
            )
            await stack.enter_async_context(worker)
            await lab.Client(engine).start_free(text(queue), id=queue, task_queue=queue)
        await soon(asyncio.gather(*(side.started.wait() for side in sides)))
        await soon(engine.close())
    async with connect(temporal_server.url) as engine:
        for queue in queues:
            await lab.Client(engine).free_handle(queue).terminate()


async def test_a_worker_that_fails_ends_its_block(temporal_server: DevServer) -> None:
    failing = asyncio.Event()

    class Broken(SimplePlugin):
        async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002
            running = asyncio.ensure_future(next(worker))
            told = asyncio.ensure_future(failing.wait())
            await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
            await worker.shutdown()
            await running
            raise ConnectionError("plugin")

    async def serve() -> None:
        async with serving(temporal_server.url, [Greeter], temporal=options) as bench:
            assert (await bench.run("x")).startswith("x! ")
            failing.set()
            await asyncio.Event().wait()

    options = TemporalWorkerOptions(sandboxed=False, plugins=[Broken("broken")])
    with pytest.raises(EngineError, match="the worker failed and has stopped: plugin"):
        await soon(serve())


async def test_a_worker_that_fails_before_it_serves(temporal_server: DevServer) -> None:
    class Broken(SimplePlugin):
        async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002
            await asyncio.sleep(0)
            raise ConnectionError("plugin")

    options = TemporalWorkerOptions(sandboxed=False, plugins=[Broken("broken")])
    with pytest.raises(EngineError, match="the worker failed and has stopped: plugin"):
        await soon(serve_for_long(temporal_server.url, options))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(EngineError):
        async with serving(temporal_server.url, [Greeter], temporal=options):
            await asyncio.sleep(5)
    assert task.cancelling() == 0, "the block's own cancellation is over with the block"


async def serve_for_long(url: str, options: TemporalWorkerOptions) -> None:
    async with serving(url, [Greeter], temporal=options):
        await asyncio.sleep(30)


SERVING = """
import asyncio, sys
import protopact
from tests.temporal.bench import Lab
from tests.temporal.programs import Greeter

async def main(url):
    async with protopact.connect(url) as engine, engine.worker(workflows=[Greeter], activities=[Lab()]):
        print("serving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def test_a_signal_ends_a_process_that_serves(temporal_server: DevServer, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVING)
    process = subprocess.Popen(
        [sys.executable, str(script), temporal_server.url],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "Traceback" not in errors
