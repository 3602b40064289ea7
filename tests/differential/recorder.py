"""A real Temporal server as the author of histories: programs and schedules played by Temporal's own worker.

What the code saw live is noted too. The server's time is real, so programs are made short, and many run at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History as HistoryProto
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker._workflow_instance import WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import _Definition
from tests.devserver import DevServer
from tests.differential import program as p
from tests.differential.interpreter import STUBBORN, TRACES, Interpreter, Theirs, Trace
from tests.differential.schedule import (
    WORKFLOW_ID,
    CancelRequest,
    Happening,
    Outcome,
    Query,
    Reset,
    Schedule,
    Signal,
    Termination,
    Update,
)
from tests.differential.sdk import job
from tests.replay.histories.v1.histories_pb2 import Nudge, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import P

from protopact import connect
from protopact.engine import Engine
from protopact.history import History

_SPEED = 10
"""How many times faster than its program says a run sleeps."""
_AT_ONCE = 15
_TURN = 0.04
"""Seconds between one thing that happens and the next."""
_LONGEST = 8.0
"""Seconds after which a run is left as it is."""
_TASK, _LOST = 1.0, 1.2
"""Seconds that a workflow task may take, and that a lost one takes."""

T = TypeVar("T")


@dataclass
class Recorded:
    """What came of a run.

    Attributes:
        history: As an engine of ours reads it.
        proto: The same events as the server sends them.
        trace: What its last workflow object noted, which may be still at work.
    """

    history: History
    proto: HistoryProto
    trace: Trace


async def record(server: DevServer, plays: Sequence[tuple[p.Statement, Schedule]]) -> list[list[Recorded]]:
    """Play programs, many at once; of each, the histories of all runs that it made."""
    TRACES.clear()
    Interpreter.tripped = set()
    client = await server.connect()
    turn = asyncio.Semaphore(_AT_ONCE)
    try:
        async with connect(server.url) as engine:
            async with asyncio.TaskGroup() as stages:
                played = [
                    stages.create_task(_Stage(client, engine, program, schedule).play(turn))
                    for program, schedule in plays
                ]
            return [each.result() for each in played]
    finally:
        Interpreter.tripped = None
        TRACES.clear()


class _Runner(WorkflowRunner):
    """Runs workflows as Temporal does; it can lose a task, and lets go of what a worker leaves when it stops."""

    def __init__(self) -> None:
        self.loses_task = False
        self._runner = UnsandboxedWorkflowRunner()
        self._instances: dict[str, WorkflowInstance] = {}

    def prepare_workflow(self, defn: _Definition) -> None:
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._runner.create_instance(det)
        activate = instance.activate

        def lose(act: WorkflowActivation) -> WorkflowActivationCompletion:
            completion = activate(act)
            if any(job.HasField("remove_from_cache") for job in act.jobs):
                self._instances.pop(det.info.run_id, None)
            elif self.loses_task:
                self.loses_task = False
                time.sleep(_LOST)
            return completion

        setattr(instance, "activate", lose)  # noqa: B010 - of this one object
        self._instances[det.info.run_id] = instance
        return instance

    def let_go(self) -> None:
        """Do what a worker of Temporal's does not do when it stops."""
        for run_id, instance in list(self._instances.items()):
            job = WorkflowActivationJob(remove_from_cache=RemoveFromCache())
            instance.activate(WorkflowActivation(run_id=run_id, jobs=[job]))


class _Activities:
    """Attempts that end when they are told to."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Reading]] = []
        self.is_leaving = asyncio.Event()

    @activity.defn(name=P + "Work")
    async def work(self, request: Step) -> Reading:
        info = activity.info()
        attempt: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        leaving = asyncio.create_task(self.is_leaving.wait())
        try:
            while not (attempt.done() or self.is_leaving.is_set()):
                try:
                    both: list[asyncio.Future[Any]] = [attempt, leaving]
                    await asyncio.wait(both, timeout=_TURN, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    if request.name != STUBBORN:
                        raise
                if not info.is_local:
                    activity.heartbeat()
            if not attempt.done():
                raise CancelledError("the test is over")
            return attempt.result()
        finally:
            leaving.cancel()
            self.attempts.remove(attempt)

    @activity.defn(name="protopact.side_effect")
    async def side_effect(self) -> Reading:
        return Reading(value=7)


def _shortened(statement: T) -> T:
    """The same, but for how long it waits."""
    if isinstance(statement, tuple):
        return tuple(map(_shortened, statement))  # type: ignore[return-value] # pyright: ignore[reportReturnType,reportUnknownVariableType,reportUnknownArgumentType] # of the same types
    if not isinstance(statement, msgspec.Struct):
        return statement
    changed = {name: _shortened(getattr(statement, name)) for name in statement.__struct_fields__}
    if changed.get("seconds"):
        changed["seconds"] = 1.0 if isinstance(statement, p.Child) else changed["seconds"] / _SPEED
    return msgspec.structs.replace(statement, **changed)


@dataclass
class _Stage:
    client: Client
    engine: Engine
    program: p.Statement
    schedule: Schedule
    space: str = field(default_factory=lambda: uuid4().hex)
    runner: _Runner = field(default_factory=_Runner)
    activities: _Activities = field(default_factory=_Activities)
    calls: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    outcomes: int = 0

    async def play(self, turn: asyncio.Semaphore) -> list[Recorded]:
        async with turn:
            workflow_id = f"{self.space}-{WORKFLOW_ID}"
            await self.client.start_workflow(
                P + "Program",
                job(workflow_id, p.to_text(_shortened(self.program))),
                id=workflow_id,
                task_queue=self.space,
                task_timeout=timedelta(seconds=_TASK),
            )
            self._happen(self.schedule.early)
            turns = list(self.schedule.turns)
            while True:
                async with self._worker():
                    while turns and turns[0].first != "worker away":
                        turn_ = turns.pop(0)
                        self.runner.loses_task = turn_.first == "engine restarts"
                        await asyncio.sleep(_TURN * (5 if turn_.first == "time" else 1))
                        self._happen(turn_.happenings)
                    if not turns:
                        await self._finish(workflow_id)
                        return await self._end()
                self._happen(turns.pop(0).happenings)
                await asyncio.sleep(_TURN)

    @asynccontextmanager
    async def _worker(self) -> AsyncGenerator[None]:
        activities = self.activities = _Activities()
        try:
            async with Worker(
                self.client,
                task_queue=self.space,
                workflows=[Theirs],
                activities=[activities.work, activities.side_effect],
                workflow_runner=self.runner,
                max_cached_workflows=100 if self.schedule.is_cached else 0,
                max_concurrent_workflow_task_polls=2,
                max_concurrent_activity_task_polls=1,
                max_heartbeat_throttle_interval=timedelta(milliseconds=20),
                graceful_shutdown_timeout=timedelta(0),
            ):
                yield
                activities.is_leaving.set()
        finally:
            await asyncio.to_thread(self.runner.let_go)

    async def _finish(self, workflow_id: str) -> None:
        over = asyncio.create_task(self._over(workflow_id))
        ends = self.schedule.ends()
        until = asyncio.get_running_loop().time() + _LONGEST
        while not over.done() and asyncio.get_running_loop().time() < until:
            outcome = next(ends)
            if outcome is not None:
                self._end_attempt(outcome)
            await asyncio.wait([over], timeout=_TURN)
        await asyncio.sleep(_TURN)
        for call in (*self.calls, over):
            call.cancel()
        await asyncio.gather(*self.calls, over, return_exceptions=True)

    async def _over(self, workflow_id: str) -> None:
        """Wait until the last of the runs that have the id, each of which may be reset, has ended."""
        handle, run_id = self.client.get_workflow_handle(workflow_id), ""
        while (last := (await handle.describe()).run_id) != run_id:
            run_id = last
            await _quietly(handle.result())

    async def _end(self) -> list[Recorded]:
        """Histories of all runs, as they are, each with a trace that is as long, or longer; then nothing is left."""
        runs = [run for run in TRACES if run[0].startswith(self.space)]
        recorded = [await self._recorded(workflow_id, run_id) for workflow_id, run_id in runs]
        for workflow_id, run_id in runs:
            await _quietly(self.client.get_workflow_handle(workflow_id, run_id=run_id).terminate())
        return recorded

    async def _recorded(self, workflow_id: str, run_id: str) -> Recorded:
        handle = histories.Client(self.engine).program_handle(workflow_id, run_id=run_id)
        history = await handle.history()
        sent = await self.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        proto = HistoryProto(events=sent.events[: len(history)])
        return Recorded(history, proto, TRACES[workflow_id, run_id][-1].copy())

    def _happen(self, happenings: Sequence[Happening]) -> None:
        for happening in happenings:
            if isinstance(happening, Outcome):
                self._end_attempt(happening)
                continue
            handle = self.client.get_workflow_handle(f"{self.space}-{happening.whom}")
            match happening:
                case Signal(does):
                    self._call(handle.signal(P + "Nudge", self._nudge(does)))
                case Update(does, is_refused):
                    nudge = self._nudge(does)
                    nudge.by = -int(is_refused)
                    self._call(handle.execute_update(P + "Add", nudge, result_type=Reading))  # pyright: ignore[reportUnknownMemberType] # an overload of theirs
                case CancelRequest():
                    self._call(handle.cancel())
                case Termination():
                    self._call(handle.terminate())
                case Reset(task):
                    self._call(self._reset(handle, task))
                case Query():
                    self._call(handle.query(P + "Peek", Nudge(), result_type=Reading))

    def _nudge(self, does: p.Statement) -> Nudge:
        return Nudge(note=p.to_text(_shortened(does)))

    def _end_attempt(self, outcome: Outcome) -> None:
        waiting = [attempt for attempt in self.activities.attempts if not attempt.done()]
        if not waiting:
            return
        self.outcomes += 1
        attempt = waiting[outcome.attempt % len(waiting)]
        if outcome.how == "returns":
            attempt.set_result(Reading(value=self.outcomes))
        else:
            attempt.set_exception(ApplicationError("broken", non_retryable=outcome.how == "fails"))

    async def _reset(self, handle: WorkflowHandle[Any, Any], task: int) -> None:
        kind, answers = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, list[int]()
        while not answers:
            await asyncio.sleep(_TURN)
            history = await handle.fetch_history()
            answers = [event.event_id for event in history.events if event.event_type == kind]
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            workflow_task_finish_event_id=answers[task % len(answers)],
            request_id=str(uuid4()),
        )
        await self.client.workflow_service.reset_workflow_execution(request)

    def _call(self, call: Awaitable[object]) -> None:
        self.calls.append(asyncio.create_task(_quietly(call)))


async def _quietly(call: Awaitable[object]) -> None:
    try:
        await call
    except (RPCError, RPCTimeoutOrCancelledError, WorkflowFailureError, WorkflowUpdateFailedError):
        return  # the run is over, or it has refused
