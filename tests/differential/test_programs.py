"""Random programs under random schedules: Temporal's Replayer and our core say and see the same of what they leave.

A disagreement shrinks to a program of a few lines, and stays as an `example`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from tests.differential.interpreter import Ours, Trace
from tests.differential.oracle import Oracle, Verdict, judged_by_us
from tests.differential.program import PROGRAMS, Cancel, Continue, Do, If, Sleep, Statement, Wait, Work
from tests.differential.schedule import SCHEDULES, Played, Schedule, Turn, Update, play
from tests.differential.shards import PROGRAMS as PROGRAMS_IN_ALL
from tests.differential.shards import shards
from tests.replay.bench import check_every_task
from tests.replay.oracle import ACCEPTED

from protopact.history.event import (
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ChildWorkflowExecutionTerminated,
    Event,
    SignalExternalWorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from protopact.replay.activation import TERMINAL_EVENTS


def task_boundaries(history: Sequence[Event]) -> list[int]:
    """How many events there are when a task starts, and when the run has ended."""
    return [
        event.event_id
        for event in history
        if type(event.attributes) is WorkflowTaskStarted or type(event.attributes) in TERMINAL_EVENTS
    ]


CORE_IS_WRONG = {
    "Invalid transition in state machine": (SignalExternalWorkflowExecutionFailed, ChildWorkflowExecutionTerminated),
    "ActivityMachine in state Canceled says the transition is invalid": (ActivityTaskFailed, ActivityTaskTimedOut),
}
"""What Core says where its machines miss a transition, and the events after which they do.

A cancellation that comes when a signal has failed, or a child was terminated: Core passes over it when a signal has
arrived and when a child has ended otherwise, as we do always. An abandoned activity that fails: Core passes over one
that returns. `tests.replay.test_damage` has a row for each.
"""


def is_core_wrong(history: Sequence[Event], theirs: Verdict) -> bool:
    """Whether Core refuses what it should pass over."""
    return any(
        words in theirs.why and any(isinstance(event.attributes, kinds) for event in history)
        for words, kinds in CORE_IS_WRONG.items()
    )


def is_told_in_another_order(history: Sequence[Event]) -> bool:
    """Whether Core tells an open task of an update before the signals that came after it, which no replay does.

    It is an update that a reset has brought along; `tests.replay.test_stories` has the row. A run that has ended before
    any of its tasks was answered is told the same.
    """
    news = [type(event.attributes) for event in history[answered(history) :]]
    is_open = news[-1:] == [WorkflowTaskStarted] or len(news) == len(history)
    if not is_open or WorkflowExecutionUpdateAdmitted not in news:
        return False
    return WorkflowExecutionSignaled in news[news.index(WorkflowExecutionUpdateAdmitted) :]


def answered(history: Sequence[Event]) -> int:
    """The last event that says that a task was answered."""
    return max((e.event_id for e in history if isinstance(e.attributes, WorkflowTaskCompleted)), default=0)


def check(program: Statement, schedule: Schedule, oracle: Oracle) -> None:
    """Run a program; what it leaves is told alike, and as it was told live.

    Of the first run, and of those that begin with a reset, every prefix that ends with a task.
    """
    for index, played in enumerate(play(program, schedule)):
        check_history(played.history, oracle, every=not index or is_reset(played.history))
        if check_live(played):
            check_every_task(Ours, played.history)


def is_reset(history: Sequence[Event]) -> bool:
    """Whether a run goes on from the middle of another one."""
    return any(isinstance(e.attributes, WorkflowTaskFailed) and e.attributes.cause == "RESET_WORKFLOW" for e in history)


def check_history(history: Sequence[Event], oracle: Oracle, *, every: bool = True) -> None:
    """Every prefix that ends with a task is told alike, or the longest one is."""
    lengths = task_boundaries(history)
    if not every:
        lengths = lengths[-1:]
    for length, theirs in zip(lengths, oracle.judge_prefixes(history, lengths), strict=True):
        ours = judged_by_us(history[:length])
        if ours.verdict == ACCEPTED and is_core_wrong(history[:length], theirs):
            return
        if is_told_in_another_order(history[:length]):
            assert ours.verdict == theirs.verdict == ACCEPTED
            continue
        assert ours == theirs, f"after event {length}: {ours.why or 'accepted'}; {theirs.why or 'accepted'}"


def check_live(played: Played) -> bool:
    """What the code saw live it sees in a replay.

    Returns:
        False when its last task failed, of which a replay sees nothing.
    """
    history = played.history
    ends = [e for e in history if isinstance(e.attributes, WorkflowTaskCompleted | WorkflowTaskFailed)]
    if not ends or isinstance(ends[-1].attributes, WorkflowTaskFailed):
        return False
    again, live = seen(judged_by_us(history).trace), seen(played.trace)
    if isinstance(history[-1].attributes, WorkflowExecutionTerminated | WorkflowExecutionTimedOut):
        live = live[: len(again)]  # the end came while a task was open, of which nothing is in history
    assert again == live
    return True


def seen(trace: Trace) -> list[tuple[str, object, int]]:
    """What is noted before `run` has ended: patches of what runs on are not in history."""
    notes: list[tuple[str, object, int]] = []
    for note in trace:
        notes.append((note.place, note.what, note.time_ns))
        if note.place.startswith("run/") and note.place.count("/") == 1 and "." not in note.place:
            break
    return notes


PATIENT = settings(
    deadline=None, database=None, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large)
)


@settings(PATIENT, derandomize=True, max_examples=250)
@given(PROGRAMS, SCHEDULES)
# A run that is not in memory when an update comes: the update is handled after what ran in the task before.
@example(
    If(Do((Cancel(), Wait())), Work()),
    Schedule((Turn((Update(Work()),)),), is_cached=False),
)
# An activation in which the code fails its task is an activation.
@example(
    Wait(3),
    Schedule((Turn((Update(Do((Sleep(1), Continue()))),)), Turn((), "time"))),
)
def test_they_agree(oracle: Oracle, program: Statement, schedule: Schedule) -> None:
    check(program, schedule, oracle)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "count"), shards(PROGRAMS_IN_ALL))
def test_they_agree_at_length(oracle: Oracle, chosen: int, count: int) -> None:
    """`make prove PROGRAMS=20000 SEED=1`; both may be left out."""

    @seed(chosen)
    @settings(PATIENT, max_examples=count)
    @given(PROGRAMS, SCHEDULES)
    def agree(program: Statement, schedule: Schedule) -> None:
        check(program, schedule, oracle)

    agree()
