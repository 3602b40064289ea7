"""A real Temporal server as the author of histories: programs and schedules played by Temporal's own worker.

What the code saw live is noted too. The server's time is real, so programs are made short, and many run at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from temporalio import activity
from temporalio.client import Client, RPCTimeoutOrCancelledError, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.differential import program as p
from tests.differential.interpreter import STUBBORN, TRACES, Interpreter, Theirs, Trace
from tests.differential.schedule import (
    WORKFLOW_ID,
    CancelRequest,
    Happening,
    Outcome,
    Query,
    Schedule,
    Signal,
    Termination,
    Update,
)
from tests.differential.sdk import job
from tests.replay.histories.v1.histories_pb2 import Nudge, Reading, Step
from tests.replay.stories import P

_SPEED = 10
"""How many times faster than its program says a run sleeps."""
_AT_ONCE = 25
_TURN = 0.04
"""Seconds between one thing that happens and the next."""
_LONGEST = 8.0
"""Seconds after which a run is left as it is."""

T = TypeVar("T")


@dataclass
class Recorded:
    """What came of a run.

    Attributes:
        json: Its history, in Temporal's JSON.
        trace: What its last workflow object noted.
    """

    json: str
    trace: Trace


async def record(client: Client, plays: Sequence[tuple[p.Statement, Schedule]]) -> list[list[Recorded]]:
    """Play programs, many at once; of each, the histories of all runs that it made."""
    TRACES.clear()
    Interpreter.tripped = set()
    activities = _Activities()
    queue = f"recorder-{uuid4()}"
    try:
        async with _worker(client, f"{queue}-kept", activities, 1000), _worker(client, queue, activities, 0):
            stages = [
                _Stage(client, activities, f"{queue}-kept" if schedule.is_cached else queue, program, schedule)
                for program, schedule in plays
            ]
            turn = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*[stage.play(turn) for stage in stages])
            recorded = [await stage.histories() for stage in stages]
            await asyncio.gather(*[stage.end() for stage in stages])
            activities.is_leaving.set()
    finally:
        Interpreter.tripped = None
        TRACES.clear()
    return recorded


def _worker(client: Client, task_queue: str, activities: _Activities, cached: int) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Theirs],
        activities=[activities.work, activities.side_effect],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=cached,
        max_heartbeat_throttle_interval=timedelta(milliseconds=20),
        graceful_shutdown_timeout=timedelta(0),
    )


class _Activities:
    """Attempts that end when they are told to, by the program that they belong to."""

    def __init__(self) -> None:
        self.attempts: dict[str, list[asyncio.Future[Reading]]] = defaultdict(list)
        self.is_leaving = asyncio.Event()

    @activity.defn(name=P + "Work")
    async def work(self, request: Step) -> Reading:
        info = activity.info()
        attempt: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        attempts = self.attempts[(info.workflow_id or "").rpartition("-")[0]]
        attempts.append(attempt)
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
            attempts.remove(attempt)

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
    activities: _Activities
    queue: str
    program: p.Statement
    schedule: Schedule
    space: str = field(default_factory=lambda: uuid4().hex)
    calls: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    outcomes: int = 0

    async def play(self, turn: asyncio.Semaphore) -> None:
        async with turn:
            await self._play()

    async def _play(self) -> None:
        workflow_id = f"{self.space}-{WORKFLOW_ID}"
        handle = await self.client.start_workflow(
            P + "Program",
            job(workflow_id, p.to_text(_shortened(self.program))),
            id=workflow_id,
            task_queue=self.queue,
            task_timeout=timedelta(seconds=5),
        )
        self._happen(self.schedule.early)
        for turn in self.schedule.turns:
            await asyncio.sleep(_TURN * (5 if turn.first == "time" else 1))
            self._happen(turn.happenings)
        result = asyncio.create_task(self._quietly(handle.result()))
        ends = self.schedule.ends()
        until = asyncio.get_running_loop().time() + _LONGEST
        while not result.done() and asyncio.get_running_loop().time() < until:
            outcome = next(ends)
            if outcome is not None:
                self._end(outcome)
            await asyncio.wait([result], timeout=_TURN)
        await asyncio.sleep(_TURN)
        for call in (*self.calls, result):
            call.cancel()
        await asyncio.gather(*self.calls, result, return_exceptions=True)

    async def histories(self) -> list[Recorded]:
        """Histories of all runs, as they are, each with a trace that is as long, or longer."""
        histories = {
            run: (await self.client.get_workflow_handle(run[0], run_id=run[1]).fetch_history()).to_json()
            for run in self._runs()
        }
        return [Recorded(json, TRACES[run][-1].copy()) for run, json in histories.items()]

    async def end(self) -> None:
        """Leave nothing running."""
        for workflow_id, run_id in self._runs():
            await self._quietly(self.client.get_workflow_handle(workflow_id, run_id=run_id).terminate())

    def _runs(self) -> list[tuple[str, str]]:
        return [run for run in TRACES if run[0].startswith(self.space)]

    def _happen(self, happenings: Sequence[Happening]) -> None:
        for happening in happenings:
            if isinstance(happening, Outcome):
                self._end(happening)
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
                case Query():
                    self._call(handle.query(P + "Peek", Nudge(), result_type=Reading))

    def _nudge(self, does: p.Statement) -> Nudge:
        return Nudge(note=p.to_text(_shortened(does)))

    def _end(self, outcome: Outcome) -> None:
        waiting = [attempt for attempt in self.activities.attempts[self.space] if not attempt.done()]
        if not waiting:
            return
        self.outcomes += 1
        attempt = waiting[outcome.attempt % len(waiting)]
        if outcome.how == "returns":
            attempt.set_result(Reading(value=self.outcomes))
        else:
            attempt.set_exception(ApplicationError("broken", non_retryable=outcome.how == "fails"))

    def _call(self, call: Awaitable[object]) -> None:
        self.calls.append(asyncio.create_task(self._quietly(call)))

    async def _quietly(self, call: Awaitable[object]) -> None:
        try:
            await call
        except (RPCError, RPCTimeoutOrCancelledError, WorkflowFailureError, WorkflowUpdateFailedError):
            return  # the run is over, or it has refused
