"""What the cases of the suite share: an engine with names of its own, and workflows and activities to derive from."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypedDict, TypeVar, Unpack

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

import protopact
from protopact import activity, workflow
from protopact.activity import Activities
from protopact.client import WorkflowHandle
from protopact.engine import (
    Engine,
    SignalWorkflow,
    Started,
    StartWorkflow,
    UpdateStarted,
    UpdateWorkflow,
    WorkflowStatus,
)
from protopact.history.event import Attributes, Event
from protopact.interceptor import ContinueAsNew, Interceptor, StartActivity, StartChildWorkflow
from protopact.payload import Encoding, PayloadCodec
from protopact.policy import RetryPolicy, StartOptions
from protopact.temporal import TemporalEngine, TemporalWorkerOptions

ROOT = Path(__file__).parents[2]

T = TypeVar("T")
A = TypeVar("A", bound=Attributes)

ONCE = RetryPolicy(maximum_attempts=1)
# The SDK holds heartbeats back for four fifths of their time-out otherwise, which leaves little of a short one.
SANDBOXED = TemporalWorkerOptions(max_heartbeat_throttle_interval=timedelta(milliseconds=100))
UNSANDBOXED = dataclasses.replace(SANDBOXED, sandboxed=False)
"""For classes made in a function, which the sandbox cannot import, and in a module of tests, which imports pytest."""
LEAN = frozenset(f"tests.conformance.{name}" for name in ("programs", "features", "documents"))
"""Modules of workflows that run in Temporal's sandbox, which imports them anew for each run."""
# Core answers nothing when a task fails again, so that the server tries once more when the task has timed out.
QUICKLY = timedelta(seconds=1)
LASTING = pytest.mark.parametrize(
    "place", ["file", pytest.param("temporal", marks=pytest.mark.temporal)], indirect=True
)
"""For cases of several connections or processes: memory has one, and is gone with it."""
PATIENCE = timedelta(seconds=20)
"""After how long what must come has not come."""


def millis(number: float) -> timedelta:
    return timedelta(milliseconds=number)


async def soon(awaitable: Awaitable[T]) -> T:
    """Await what must not take long."""
    return await asyncio.wait_for(awaitable, PATIENCE.total_seconds())


async def until(probe: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is true: for what an engine tells only who asks."""

    async def ask() -> T:
        while not (answer := await probe()):
            await asyncio.sleep(0.01)
        return answer

    return await soon(ask())


def kinds(history: Sequence[Event]) -> list[str]:
    """Event types without those of workflow tasks."""
    names = [type(event.attributes).__name__ for event in history]
    return [name for name in names if not name.startswith("WorkflowTask")]


def find(history: Sequence[Event], kind: type[A]) -> A:
    """The attributes of the only event of a type."""
    (found,) = [event.attributes for event in history if isinstance(event.attributes, kind)]
    return found


class Routing(Interceptor):
    """Sends everything to one task queue, so that tests which share a server do not share workers."""

    def __init__(self, queue: str) -> None:
        self._queue = queue

    async def start_workflow(
        self, call: StartWorkflow[Any, Any], next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]]
    ) -> Started:
        call.options.setdefault("task_queue", self._queue)
        return await next_hook(call)

    async def signal_with_start(
        self,
        start: StartWorkflow[Any, Any],
        signal: SignalWorkflow[Any],
        next_hook: Callable[[StartWorkflow[Any, Any], SignalWorkflow[Any]], Awaitable[Started]],
    ) -> Started:
        start.options.setdefault("task_queue", self._queue)
        return await next_hook(start, signal)

    async def update_with_start(
        self,
        start: StartWorkflow[Any, Any],
        update: UpdateWorkflow[Any, Any],
        next_hook: Callable[
            [StartWorkflow[Any, Any], UpdateWorkflow[Any, Any]], Awaitable[tuple[Started, UpdateStarted]]
        ],
    ) -> tuple[Started, UpdateStarted]:
        start.options.setdefault("task_queue", self._queue)
        return await next_hook(start, update)

    def start_activity(
        self, call: StartActivity, next_hook: Callable[[StartActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        call.options.setdefault("task_queue", self._queue)
        return next_hook(call)

    async def start_child_workflow(
        self, call: StartChildWorkflow, next_hook: Callable[[StartChildWorkflow], Awaitable[object]]
    ) -> object:
        call.options.setdefault("task_queue", self._queue)
        return await next_hook(call)

    def continue_as_new(self, call: ContinueAsNew, next_hook: Callable[[ContinueAsNew], NoReturn]) -> NoReturn:
        call.options.setdefault("task_queue", self._queue)
        next_hook(call)


class WorkerSettings(TypedDict, total=False):
    """What a test says of its worker."""

    services: Sequence[type]
    task_queue: str | None
    max_concurrent_activities: int
    max_cached_workflows: int
    graceful_shutdown_timeout: timedelta
    workflow_failure_exception_types: Sequence[type[Exception]]
    identity: str
    build_id: str


class ConnectSettings(TypedDict, total=False):
    """What a test says of its connection."""

    encoding: Encoding
    codecs: Sequence[PayloadCodec]
    interceptors: Sequence[Interceptor]


@dataclass(frozen=True)
class Place:
    """An engine's URL, with names that no other test has."""

    url: str
    name: str

    @property
    def is_forgetful(self) -> bool:
        """Whether what it holds is gone with the connection."""
        return self.url == "sqlite://"

    @asynccontextmanager
    async def connect(self, **settings: Unpack[ConnectSettings]) -> AsyncGenerator[Bench]:
        """The engine, once more; a memory engine begins anew."""
        settings["interceptors"] = [*settings.get("interceptors", ()), Routing(self.name)]
        async with protopact.connect(self.url, identity="client", **settings) as engine:
            yield Bench(self, engine)


@dataclass
class Bench:
    """An engine under test."""

    place: Place
    engine: Engine
    client: suite.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = suite.Client(self.engine)

    def id(self, name: str = "w") -> str:
        """A workflow id that no other test has."""
        return f"{self.place.name}/{name}"

    def worker(
        self,
        *workflows: type[workflow.Workflow],
        activities: Sequence[Activities] = (),
        **settings: Unpack[WorkerSettings],
    ) -> AbstractAsyncContextManager[None]:
        """Serve workflows and activities on the test's queue; what still runs at the end is cancelled at once."""
        given = WorkerSettings(task_queue=self.place.name, graceful_shutdown_timeout=timedelta(0))
        given.update(settings)
        options = SANDBOXED if all(each.__module__ in LEAN for each in workflows) else UNSANDBOXED
        return self.engine.worker(
            workflows=workflows, activities=activities, handle_signals=False, temporal=options, **given
        )

    async def start(self, value: str = "", *, name: str = "w", **options: Unpack[StartOptions]) -> suite.Free.Handle:
        """Start a Free."""
        options.setdefault("id", self.id(name))
        return await self.client.start_free(text(value), **options)

    async def run(self, value: str = "", *, name: str = "w", **options: Unpack[StartOptions]) -> str:
        """Start a Free, and what it returns."""
        handle = await self.start(value, name=name, **options)
        return (await soon(handle.result())).value

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        """What runs around the workflows of this bench, for replays."""
        return [Routing(self.place.name)]

    async def dying_worker(self) -> subprocess.Popen[bytes]:
        """A process that serves activities on the test's queue, and ends with 1 in the middle of a Beat."""
        program = [sys.executable, "-m", "tests.conformance.dying_worker", self.place.url, self.place.name]
        return await asyncio.to_thread(subprocess.Popen[bytes], program, cwd=ROOT)

    async def until_other_run(self, handle: WorkflowHandle[Any], run_id: str) -> None:
        """Wait until a run has closed, or gone on as another one."""

        async def other() -> bool:
            description = await handle.describe()
            return description.run_id != run_id or description.status is not WorkflowStatus.RUNNING

        await until(other)

    async def until_queued(self, tasks: int) -> None:
        """Wait until a server has so many tasks in the test's queue; the file has them at once."""
        if not isinstance(self.engine, TemporalEngine):
            return
        service = self.engine.client.workflow_service

        async def queued() -> bool:
            found = 0
            for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
                request = DescribeTaskQueueRequest(
                    namespace="default",
                    task_queue=TaskQueue(name=self.place.name),
                    task_queue_type=kind,
                    report_stats=True,
                )
                found += (await service.describe_task_queue(request)).stats.approximate_backlog_count
            return found >= tasks

        await until(queued)

    async def until_parked(self, handle: WorkflowHandle[Any]) -> str:
        """Wait until a run's workflow task has failed; why it did."""

        async def failure() -> str | None:
            return (await handle.describe()).task_failure

        return await until(failure) or ""


def running(code: Callable[[Text], Awaitable[Text]]) -> type[Waiting]:
    """A Free that runs `code`."""

    class Running(Waiting):
        async def run(self, request: Text) -> Text:
            return await code(request)

    return Running


class Lab(suite.Activities):
    """Does what the activities say."""

    async def echo(self, request: Text) -> Text:
        return text(request.value + "!")

    async def beat(self, request: Text) -> Text:
        return request

    async def nothing(self) -> None:
        return None

    async def copy(self, request: Document) -> Document:
        return request


class Stuck(Lab):
    """Never ends by itself; says how it was cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.attempts = 0
        self.reasons = list[activity.CancellationReason | None]()

    async def echo(self, request: Text) -> Text:
        return await self._wait(request)

    async def beat(self, request: Text) -> Text:
        activity.heartbeat(text(f"beat {activity.info().attempt}"))
        return await self._wait(request)

    async def linger(self) -> None:
        await asyncio.Event().wait()

    async def _wait(self, request: Text) -> Text:
        self.attempts += 1
        self.started.set()
        try:
            await self.linger()
        except asyncio.CancelledError:
            self.reasons.append(activity.cancellation_reason())
            self.ended.set()
            raise
        return request
