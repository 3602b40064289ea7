"""Two judges of a history, Temporal's Replayer and ours, on the same random programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.differential.activations import ACTIVATIONS, Activation, RecordingRunner, recording
from tests.differential.interpreter import TRACES, Note, Ours, Theirs, Trace
from tests.replay import oracle
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM, PANIC, SILENCE

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
from protopact.replay import Replayer as OurReplayer


@dataclass
class Verdict(oracle.Verdict):
    """What is said of a history, what the code saw while it was replayed, and what it was told and asked for."""

    trace: Trace = field(default_factory=list[Note])
    activations: list[Activation] = field(default_factory=list[Activation])


class Oracle(oracle.Oracle[Verdict]):
    """Temporal's verdicts on the histories of random programs."""

    def __init__(self) -> None:
        super().__init__(Theirs, RecordingRunner(), Verdict, _note)


def _note(verdict: Verdict, run: tuple[str, str]) -> None:
    verdict.trace = TRACES.pop(run, [[]])[-1]
    verdict.activations = ACTIVATIONS.pop(run, [])


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
        return Verdict(ACCEPTED, trace=trace, activations=activations)
    if isinstance(error, NondeterminismError):
        return Verdict(NONDETERMINISM, str(error), trace, activations)
    # That the code fails the task that is open is no matter of the history for Temporal's Replayer; nor is the first
    # task of a run that has ended without one.
    is_open = type(history[-1].attributes) is WorkflowTaskStarted
    is_unheard = not any(type(event.attributes) is WorkflowTaskCompleted for event in history)
    is_of_open_task = error.__cause__ is not None and (is_open or is_unheard)
    return Verdict(ACCEPTED if is_of_open_task else ERROR, str(error), trace, activations)
