"""What happens to a run, and when: a list of turns, drawn like the program; and the engine that plays both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st
from tests.differential import program as p
from tests.differential.interpreter import STUBBORN, TRACES, Interpreter, Ours, Trace
from tests.differential.sdk import job
from tests.replay.histories.v1.histories_pb2 import Nudge, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact.embedded.clock import Ids, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.errors import ApplicationError, ProtopactError
from protopact.history.event import Event, WorkflowTaskCompleted
from protopact.history.time import Duration

WORKFLOW_ID: Literal["p"] = "p"


class Signal(msgspec.Struct, frozen=True):
    does: p.Statement
    whom: p.Whom = WORKFLOW_ID


class Update(msgspec.Struct, frozen=True):
    does: p.Statement
    is_refused: bool = False
    whom: p.Whom = WORKFLOW_ID


class CancelRequest(msgspec.Struct, frozen=True):
    whom: p.Whom = WORKFLOW_ID


class Termination(msgspec.Struct, frozen=True):
    whom: p.Whom = WORKFLOW_ID


class Reset(msgspec.Struct, frozen=True):
    """A new run begins with the answer of one of the tasks, if any was answered."""

    task: int = 0
    whom: p.Whom = WORKFLOW_ID


class Query(msgspec.Struct, frozen=True):
    whom: p.Whom = WORKFLOW_ID


class Outcome(msgspec.Struct, frozen=True):
    """One of the attempts that run, if any, ends."""

    attempt: int = 0
    how: Literal["returns", "fails", "is retried"] = "returns"


Happening: TypeAlias = Signal | Update | CancelRequest | Termination | Reset | Query | Outcome


class Turn(msgspec.Struct, frozen=True):
    """What happens at once; and before it: time goes on to the next timer, or no worker is there, or no engine."""

    happenings: tuple[Happening, ...] = ()
    first: Literal["nothing", "time", "worker away", "engine restarts"] = "nothing"


class Schedule(msgspec.Struct, frozen=True):
    """What happens to a run.

    Attributes:
        turns: What happens in order; what is left then ends in order.
        early: What happens before the first worker is there.
        is_cached: Whether the run stays in memory between its tasks.
        rest: How the attempts end that are left after the turns; None lets time pass first. Those after them return.
        hurries: Whether they do so before time goes on.
    """

    turns: tuple[Turn, ...] = ()
    early: tuple[Happening, ...] = ()
    is_cached: bool = True
    rest: tuple[Outcome | None, ...] = ()
    hurries: bool = True

    def ends(self) -> Iterator[Outcome | None]:
        """How attempts end after the turns."""
        yield from self.rest
        while True:
            if not self.hurries:
                yield None
            yield Outcome()


_WHOM: st.SearchStrategy[p.Whom] = st.sampled_from(["p", "p", "p.0", "p.0", "p.1"])
_CALLS: st.SearchStrategy[Happening] = st.one_of(
    st.builds(Signal, p.MESSAGES, _WHOM),
    st.builds(Update, p.MESSAGES, st.booleans(), _WHOM),
    st.builds(Signal, p.MESSAGES),
    st.builds(Update, p.MESSAGES, st.booleans()),
    st.builds(CancelRequest, _WHOM),
    st.builds(Termination, st.sampled_from(["p.0", "p.1", "p"])) | st.builds(Query, _WHOM),
    st.builds(Reset, st.integers(0, 3), st.just(WORKFLOW_ID) | _WHOM),
)
_OUTCOMES: st.SearchStrategy[Happening] = st.builds(
    Outcome, st.integers(0, 3), st.sampled_from(["returns", "fails", "is retried"])
)
_FIRST = st.sampled_from(["nothing", "nothing", "nothing", "time", "time", "worker away", "engine restarts"])
SCHEDULES: st.SearchStrategy[Schedule] = st.builds(
    Schedule,
    st.lists(
        st.builds(Turn, st.lists(st.one_of(_OUTCOMES, _CALLS, _OUTCOMES, _OUTCOMES), max_size=4).map(tuple), _FIRST),
        max_size=8,
    ).map(tuple),
    st.lists(_CALLS, max_size=2).map(tuple),
    st.booleans(),
    st.lists(st.one_of(_OUTCOMES, st.none()), max_size=8).map(tuple),
    st.booleans(),
)


class _Activities(histories.Activities):
    """Attempts that end when they are told to."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Reading]] = []
        self.is_leaving = False

    async def work(self, request: Step) -> Reading:
        attempt: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        try:
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                if request.name != STUBBORN or self.is_leaving:
                    raise
                return await attempt
        finally:
            self.attempts.remove(attempt)

    async def break_(self, request: Step) -> Reading:
        raise NotImplementedError

    async def beat(self, request: Step) -> Reading:
        raise NotImplementedError


class _KeptStore(Store):
    """Memory that outlives its engine, as a file would."""

    _is_open = False

    def open(self) -> None:
        if not self._is_open:
            super().open()
            self._is_open = True

    def close(self) -> None:
        """Not yet."""

    def discard(self) -> None:
        super().close()


@dataclass
class Played:
    """What came of a run.

    Attributes:
        history: Its history, which may end before the run does.
        trace: What its last workflow object noted.
    """

    history: list[Event]
    trace: Trace


def play(program: p.Statement, schedule: Schedule) -> list[Played]:
    """Run a program on the embedded engine: the first run that it made, and all others."""
    TRACES.clear()
    Interpreter.tripped = set()
    stage = _Stage(program, schedule)
    try:
        return asyncio.run(stage.play())
    finally:
        Interpreter.tripped = None
        stage.store.discard()


async def _reset(handle: histories.Program.Handle, task: int) -> None:
    answers = [e.event_id for e in await handle.history() if isinstance(e.attributes, WorkflowTaskCompleted)]
    if answers:
        await handle.reset(event_id=answers[task % len(answers)])


@dataclass
class _Stage:
    program: p.Statement
    schedule: Schedule
    store: _KeptStore = field(default_factory=_KeptStore)
    clock: VirtualClock = field(default_factory=VirtualClock)
    calls: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    ids: Ids = field(default_factory=lambda: Ids(1))
    outcomes: int = 0
    traces: dict[tuple[str, str], list[Trace]] = field(default_factory=dict[tuple[str, str], list[Trace]])

    _ROUNDS = 60
    """After so many, a run that goes on for ever is left alone."""

    async def play(self) -> list[Played]:
        turns = list(self.schedule.turns)
        is_begun = is_over = False
        while not is_over:
            async with EmbeddedEngine(self.store, clock=self.clock, ids=self.ids, identity="test") as engine:
                client = histories.Client(engine)
                if not is_begun:
                    await client.start_program(job(WORKFLOW_ID, p.to_text(self.program)))
                    self._happen(self.schedule.early, client, [])
                    await self.clock.settle()
                    is_begun = True
                is_over = await self._serve(engine, turns)
                for call in self.calls:
                    call.cancel()
                await asyncio.gather(*self.calls, return_exceptions=True)
                self.calls.clear()
                if is_over:
                    return [
                        Played(list(await client.program_handle(workflow_id, run_id=run_id).history()), traces[-1])
                        for (workflow_id, run_id), traces in self.traces.items()
                    ]
        raise AssertionError("it is over only once")

    async def _serve(self, engine: EmbeddedEngine, turns: list[Turn]) -> bool:
        """Play until the engine is to restart, or all is over."""
        client = histories.Client(engine)
        while True:
            activities = _Activities()
            async with engine.worker(
                workflows=[Ours],
                activities=[activities],
                max_cached_workflows=100 if self.schedule.is_cached else 0,
                graceful_shutdown_timeout=timedelta(0),
                handle_signals=False,
            ):
                await self.clock.settle()
                while turns and turns[0].first in {"nothing", "time"}:
                    turn = turns.pop(0)
                    if turn.first == "time":
                        await self._let_time_pass()
                    self._happen(turn.happenings, client, activities.attempts)
                    await self.clock.settle()
                if not turns:
                    await self._finish(activities)
                    self.traces = {run: [trace.copy() for trace in traces] for run, traces in TRACES.items()}
                activities.is_leaving = True
            if not turns:
                return True
            turn = turns.pop(0)
            if turn.first == "engine restarts":
                turns.insert(0, Turn(turn.happenings))
                return False
            self._happen(turn.happenings, client, [])
            await self.clock.settle()

    async def _finish(self, activities: _Activities) -> None:
        for outcome in itertools.islice(self.schedule.ends(), self._ROUNDS):
            if activities.attempts and outcome is not None:
                self._end(activities.attempts, outcome)
                await self.clock.settle()
            elif not await self._let_time_pass() and not activities.attempts:
                return

    async def _let_time_pass(self) -> bool:
        due = self.clock.next_timer
        if due is None:
            return False
        await self.clock.advance(timedelta(microseconds=-(-Duration(due - self.clock.now()) // 1000)))
        return True

    def _happen(
        self,
        happenings: Sequence[Happening],
        client: histories.Client,
        attempts: list[asyncio.Future[Reading]],
    ) -> None:
        for happening in happenings:
            match happening:
                case Signal(does, whom):
                    self._call(client.program_handle(whom).nudge(Nudge(note=p.to_text(does))))
                case Update(does, is_refused, whom):
                    nudge = Nudge(note=p.to_text(does), by=-int(is_refused))
                    self._call(client.program_handle(whom).add(nudge))
                case CancelRequest(whom):
                    self._call(client.program_handle(whom).cancel())
                case Termination(whom):
                    self._call(client.program_handle(whom).terminate())
                case Reset(task, whom):
                    self._call(_reset(client.program_handle(whom), task))
                case Query(whom):
                    self._call(client.program_handle(whom).peek(Nudge()))
                case Outcome():
                    self._end(attempts, happening)

    def _end(self, attempts: list[asyncio.Future[Reading]], outcome: Outcome) -> None:
        waiting = [attempt for attempt in attempts if not attempt.done()]
        if not waiting:
            return
        self.outcomes += 1
        attempt = waiting[outcome.attempt % len(waiting)]
        if outcome.how == "returns":
            attempt.set_result(Reading(value=self.outcomes))
        else:
            attempt.set_exception(ApplicationError("broken", non_retryable=outcome.how == "fails"))

    def _call(self, call: Awaitable[object]) -> None:
        async def answered() -> None:
            try:
                await call
            except ProtopactError:
                return  # the run is over, or it has refused

        self.calls.append(asyncio.create_task(answered()))
