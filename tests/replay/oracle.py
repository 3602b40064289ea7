"""Temporal's Replayer as a judge of histories: one worker of it serves them all, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from temporalio import workflow as temporal
from temporalio.client import WorkflowHistory
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig
from temporalio.worker import Replayer, WorkflowRunner

from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.history.json import to_json

ACCEPTED, NONDETERMINISM, ERROR, SILENCE = "accepted", "nondeterminism", "error", "silence"
PANIC: Literal["panic"] = "panic"
"""The server that Temporal's Replayer plays has died of a history that no server sends."""

_SAID = {"Nondeterminism error:": NONDETERMINISM, "Fatal error in workflow machines:": ERROR}
"""What Core says of a history that it refuses."""


@dataclass
class Verdict:
    """What is said of a history."""

    verdict: str
    why: str = field(default="", compare=False)


V = TypeVar("V", bound=Verdict)
_Queue: TypeAlias = "asyncio.Queue[tuple[WorkflowHistory, Future[V]] | None]"


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


def _unnoted(_verdict: Verdict, _run: tuple[str, str]) -> None:
    """Of what the code saw nothing is kept here."""


class Oracle(Generic[V]):
    """Temporal's verdicts.

    Args:
        workflow: The workflow class that histories are replayed on.
        runner: What runs it.
        verdict: Makes a verdict.
        note: Called with the verdict on a run, its workflow id and run id, as soon as the code has been replayed.

    One that never comes is `SILENCE`; another worker then goes on with the next history, as it does after a `PANIC`.

    They are Core's. Temporal's Replayer is done with a history as soon as Core has begun with what is new in it, which
    behind the last task that was answered is all but the answer: if Core then refuses the rest, the Replayer has
    the run go for no reason, and nobody hears of it but Core's log.
    """

    _PATIENCE_SECONDS = float(os.environ.get("PATIENCE") or 20)
    """PATIENCE=60 keeps a machine with much else to do from being taken for silence."""

    def __init__(
        self,
        workflow: type,
        runner: WorkflowRunner,
        verdict: Callable[[str], V],
        note: Callable[[V, tuple[str, str]], object] = _unnoted,
    ) -> None:
        self._workflow = workflow
        self._runner = runner
        self._verdict = verdict
        self._note = note
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._histories: _Queue[V] = asyncio.Queue()
        self._thread = threading.Thread(target=self._run, args=[self._loop, self._histories], daemon=True)
        self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop, histories: _Queue[V]) -> None:
        loop.run_until_complete(self._serve(histories))
        loop.close()

    def close(self) -> None:
        self._put(None)
        self._thread.join(self._PATIENCE_SECONDS)

    def _put(self, what: tuple[WorkflowHistory, Future[V]] | None) -> None:
        self._loop.call_soon_threadsafe(self._histories.put_nowait, what)

    def judge_prefixes(self, history: Sequence[Event], lengths: Sequence[int]) -> list[V]:
        """A verdict for each of the first so many events."""
        events = WorkflowHistory.from_json("", to_json(history)).events
        started = history[0].attributes
        workflow_id = started.workflow_id if isinstance(started, WorkflowExecutionStarted) else ""
        awaited: list[Future[V]] = []
        for length in lengths:
            self._count += 1
            verdict: Future[V] = Future()
            self._put((WorkflowHistory(f"{self._count}:{workflow_id}", events[:length]), verdict))
            awaited.append(verdict)
        return [self._await(verdict) for verdict in awaited]

    def judge(self, history: Sequence[Event]) -> V:
        return self.judge_prefixes(history, [len(history)])[0]

    def _await(self, future: Future[V]) -> V:
        try:
            verdict = future.result(self._PATIENCE_SECONDS)
        except TimeoutError:
            verdict = self._verdict(SILENCE)
        if verdict.verdict in {SILENCE, PANIC}:
            self._begin()
        return verdict

    async def _serve(self, histories: _Queue[V]) -> None:
        given: list[Future[V]] = []
        told: asyncio.Queue[tuple[Future[V], V] | None] = asyncio.Queue()
        reasons: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def panic(why: str) -> None:
            verdict = self._verdict(PANIC)
            verdict.why = why
            given[0].set_result(verdict)

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
            workflows=[self._workflow],
            workflow_runner=self._runner,
            debug_mode=True,  # a machine with much to do is no deadlock
            runtime=Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(_CoreLog.FILTER, forwarding))),
        )
        settling = asyncio.create_task(settle())
        async with replayer.workflow_replay_iterator(give()) as results:
            async for result in results:
                failure = result.replay_failure
                verdict = self._verdict(ACCEPTED)
                if failure is not None:
                    is_nondeterminism = isinstance(failure, temporal.NondeterminismError)
                    verdict.verdict, verdict.why = NONDETERMINISM if is_nondeterminism else ERROR, str(failure)
                self._note(verdict, (result.history.workflow_id, result.history.run_id))
                told.put_nowait((given[0], verdict))
        told.put_nowait(None)
        await settling
