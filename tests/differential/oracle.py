"""Temporal's Replayer as a judge of histories: one worker of it serves them all, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from temporalio import workflow as temporal
from temporalio.client import WorkflowHistory
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig
from temporalio.worker import Replayer
from tests.differential.activations import ACTIVATIONS, Activation, RecordingRunner, recording
from tests.differential.interpreter import TRACES, Note, Ours, Theirs, Trace

from protopact.errors import HistoryError, NondeterminismError, WorkflowTaskError
from protopact.history import History
from protopact.history.event import (
    Event,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from protopact.history.json import to_json
from protopact.replay import Replayer as OurReplayer

ACCEPTED, NONDETERMINISM, ERROR, SILENCE = "accepted", "nondeterminism", "error", "silence"
PANIC: Literal["panic"] = "panic"
"""The server that Temporal's Replayer plays has died of a history that no server sends."""

_SAID = {"Nondeterminism error:": NONDETERMINISM, "Fatal error in workflow machines:": ERROR}
"""What Core says of a history that it refuses."""


@dataclass
class Verdict:
    """What is said of a history, what the code saw while it was replayed, and what it was told and asked for."""

    verdict: str
    trace: Trace = field(default_factory=list[Note])
    activations: list[Activation] = field(default_factory=list[Activation])
    why: str = field(default="", compare=False)


_Given: TypeAlias = tuple[WorkflowHistory, Future[Verdict]]
_Histories: TypeAlias = asyncio.Queue[_Given | None]


class _CoreLog(logging.Logger):
    """Hears from Core what it has against a run, mostly nothing, when it lets go of it; and of its server's death."""

    FILTER = "off,temporalio_sdk_core::worker::workflow=debug,temporalio_sdk_core::pollers=error"

    def __init__(self, tell: Callable[[str], object], panic: Callable[[str], object]) -> None:
        super().__init__("core")
        self._tell = tell
        self._panic = panic
        self._failure = ""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - whatever the tests have switched off
        return True

    def handle(self, record: logging.LogRecord) -> None:
        log = vars(record)["temporal_log"]
        if log.message == "Failing workflow task":
            self._failure = log.fields["failure"]
        elif log.message == "Sending activation to lang" and "RemoveFromCache" in log.fields["activation"]:
            self._tell(self._failure)
            self._failure = ""
        elif log.message.startswith("Poller task died"):
            self._panic(log.message)


class Oracle:
    """Temporal's verdicts.

    One that never comes is `SILENCE`; another worker then goes on with the next history, as it does after a `PANIC`.

    They are Core's. Temporal's Replayer is done with a history as soon as Core has begun with what is new in it, which
    behind the last task that was answered is all but the answer: if Core then refuses the rest, the Replayer has
    the run go for no reason, and nobody hears of it but Core's log.
    """

    _PATIENCE_SECONDS = float(os.environ.get("PATIENCE") or 6)
    """PATIENCE=60 keeps a machine with much else to do from being taken for silence."""

    def __init__(self) -> None:
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._histories: _Histories = asyncio.Queue()
        self._thread = threading.Thread(target=self._run, args=[self._loop, self._histories], daemon=True)
        self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop, histories: _Histories) -> None:
        loop.run_until_complete(self._serve(histories))
        loop.close()

    def close(self) -> None:
        self._put(None)
        self._thread.join(self._PATIENCE_SECONDS)

    def _put(self, what: _Given | None) -> None:
        self._loop.call_soon_threadsafe(self._histories.put_nowait, what)

    def judge_prefixes(self, history: Sequence[Event], lengths: Sequence[int]) -> list[Verdict]:
        """A verdict for each of the first so many events."""
        events = WorkflowHistory.from_json("", to_json(history)).events
        started = history[0].attributes
        workflow_id = started.workflow_id if isinstance(started, WorkflowExecutionStarted) else ""
        awaited: list[Future[Verdict]] = []
        for length in lengths:
            self._count += 1
            verdict: Future[Verdict] = Future()
            self._put((WorkflowHistory(f"{self._count}:{workflow_id}", events[:length]), verdict))
            awaited.append(verdict)
        return [self._await(verdict) for verdict in awaited]

    def judge(self, history: Sequence[Event]) -> Verdict:
        return self.judge_prefixes(history, [len(history)])[0]

    def _await(self, future: Future[Verdict]) -> Verdict:
        try:
            verdict = future.result(self._PATIENCE_SECONDS)
        except TimeoutError:
            verdict = Verdict(SILENCE)
        if verdict.verdict in {SILENCE, PANIC}:
            self._begin()
        return verdict

    async def _serve(self, histories: _Histories) -> None:
        given: list[Future[Verdict]] = []
        told: asyncio.Queue[tuple[Future[Verdict], Verdict] | None] = asyncio.Queue()
        reasons: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def panic(why: str) -> None:
            given[0].set_result(Verdict(PANIC, why=why))

        log = _CoreLog(lambda reason: loop.call_soon_threadsafe(reasons.put_nowait, reason), panic)
        forwarding = LogForwardingConfig(log, append_log_fields_to_message=False)

        async def give() -> AsyncGenerator[WorkflowHistory]:
            while (what := await histories.get()) is not None:
                history, verdict = what
                given[:] = [verdict]
                yield history

        async def settle() -> None:
            while (what := await told.get()) is not None:
                future, verdict = what
                why = await reasons.get()
                for words, said in _SAID.items():
                    if words in why:
                        verdict.verdict, verdict.why = said, why
                future.set_result(verdict)

        replayer = Replayer(
            workflows=[Theirs],
            workflow_runner=RecordingRunner(),
            debug_mode=True,  # a machine with much to do is no deadlock
            runtime=Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(_CoreLog.FILTER, forwarding))),
        )
        settling = asyncio.create_task(settle())
        async with replayer.workflow_replay_iterator(give()) as results:
            async for result in results:
                failure = result.replay_failure
                verdict = Verdict(ACCEPTED)
                if failure is not None:
                    is_nondeterminism = isinstance(failure, temporal.NondeterminismError)
                    verdict = Verdict(NONDETERMINISM if is_nondeterminism else ERROR, why=str(failure))
                run = result.history.workflow_id, result.history.run_id
                verdict.trace = TRACES.pop(run, [[]])[-1]
                verdict.activations = ACTIVATIONS.pop(run, [])
                told.put_nowait((given[0], verdict))
        told.put_nowait(None)
        await settling


_AFTER_STARTED = (
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskTimedOut,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)


def foreseen(history: Sequence[Event]) -> Verdict | None:
    """Temporal's verdict where asking costs it a worker: `test_what_is_foreseen` does ask.

    The server that it plays panics of what no server sends: a history begins with its beginning, which names the run,
    and a task that has started ends before anything else happens. Of a beginning alone it says nothing.
    """
    started = history[0].attributes
    if not isinstance(started, WorkflowExecutionStarted) or not started.original_execution_run_id:
        return Verdict(PANIC)
    kinds = [type(event.attributes) for event in history]
    for kind, following in pairwise(kinds):
        if kind is WorkflowTaskStarted and following not in _AFTER_STARTED:
            return Verdict(PANIC)
    return Verdict(SILENCE) if len(history) == 1 else None


_REPLAYER = OurReplayer(workflows=[Ours], strict=False)


def judged_by_us(history: Sequence[Event]) -> Verdict:
    """Our verdict. Whatever is raised but the errors that a replay may raise is not caught."""
    TRACES.clear()
    error: WorkflowTaskError | None
    with recording() as activations:
        try:
            error = _REPLAYER.replay(History(history), raise_on_failure=False).error
        except HistoryError as damage:
            error = damage
    trace = TRACES.popitem()[1][0] if TRACES else []
    if error is None:
        return Verdict(ACCEPTED, trace, activations)
    if isinstance(error, NondeterminismError):
        return Verdict(NONDETERMINISM, trace, activations, why=str(error))
    # That the code fails the task that is open is no matter of the history for Temporal's Replayer; nor is the first
    # task of a run that has ended without one.
    is_open = type(history[-1].attributes) is WorkflowTaskStarted
    is_unheard = not any(type(event.attributes) is WorkflowTaskCompleted for event in history)
    is_of_open_task = error.__cause__ is not None and (is_open or is_unheard)
    return Verdict(ACCEPTED if is_of_open_task else ERROR, trace, activations, why=str(error))
