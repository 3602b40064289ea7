"""Histories that no server sends, of which Temporal's Replayer dies or says nothing: what we say, and that it is so."""

from __future__ import annotations

import pytest
from tests.differential.oracle import Oracle, foreseen, judged_by_us
from tests.differential.program import Local, Pass
from tests.differential.schedule import Schedule, play
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM, PANIC, SILENCE
from tests.replay.stories import Command, Story, accepts, completes, ends, ends_cancelled, mark, work

from protopact.history import event as ev


def starts_again(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskStarted(scheduled_event_id=story.started - 1)


def requests_cancellation(_: Story) -> ev.Attributes:
    return ev.WorkflowExecutionCancelRequested()


BETWEEN = "stands between the start of a task, event {}, and the end of that task"
PANICS: dict[str, tuple[Story, str]] = {
    "a signal between the start of a task and its completion": (
        Story().task().nudge("a").answer(),
        "event 4, WorkflowExecutionSignaled, " + BETWEEN.format(3),
    ),
    "a signal between the start of a task and its failure": (
        Story().task().nudge("a").fails(),
        "event 4, WorkflowExecutionSignaled, " + BETWEEN.format(3),
    ),
    "a request to cancel between the start of a task and its time-out": (
        Story().task().then(requests_cancellation).times_out(),
        "event 4, WorkflowExecutionCancelRequested, " + BETWEEN.format(3),
    ),
    "a second start of a task": (
        Story().task().then(starts_again).answer(ends()),
        "event 4, WorkflowTaskStarted, " + BETWEEN.format(3),
    ),
    "a task within a task": (
        Story().task().task().answer(ends()),
        "event 4, WorkflowTaskScheduled, " + BETWEEN.format(3),
    ),
    "commands without the completion of their task": (
        Story().task().then(work("1")),
        "event 4, ActivityTaskScheduled, " + BETWEEN.format(3),
    ),
    "an update within a task": (
        Story().task().then(accepts("u"), completes("u")).answer(),
        "event 4, WorkflowExecutionUpdateAccepted, " + BETWEEN.format(3),
    ),
}


@pytest.mark.parametrize("name", PANICS)
def test_what_they_die_of_we_refuse(oracle: Oracle, name: str) -> None:
    story, words = PANICS[name]
    prediction = foreseen(story.events)
    assert prediction is not None
    assert prediction.verdict == PANIC
    theirs = oracle.judge(story.events)
    assert theirs.verdict == PANIC
    assert "Invalid history!" in theirs.why
    ours = judged_by_us(story.events)
    assert ours.verdict == ERROR
    assert words in ours.why


def test_a_run_that_is_cancelled_in_a_task_is_told_by_its_code(oracle: Oracle) -> None:
    """Core passes over such a task, as we do; the server that its Replayer plays does not."""
    cancelled = Story().task().then(ends_cancelled())
    assert oracle.judge(cancelled.events).verdict == PANIC
    assert judged_by_us(cancelled.events).verdict == NONDETERMINISM


def test_a_history_without_its_beginning_is_refused(oracle: Oracle) -> None:
    rest = Story().task().answer(ends()).events[1:]
    assert oracle.judge(rest).verdict == PANIC
    ours = judged_by_us(rest)
    assert ours.verdict == ERROR
    assert "a history begins with WorkflowExecutionStarted" in ours.why


@pytest.mark.slow
def test_core_waits_for_more_than_a_beginning(oracle: Oracle) -> None:
    begun = Story().events
    prediction = foreseen(begun)
    assert prediction is not None
    assert prediction.verdict == oracle.judge(begun).verdict == SILENCE
    assert judged_by_us(begun).verdict == ACCEPTED


def behind_the_end(late: Command) -> list[ev.Event]:
    (played,) = play(Pass(), Schedule())
    last = played.history[-1]
    return [*played.history, ev.Event(last.event_id + 1, last.event_time, late(Story().task()))]


@pytest.mark.slow
@pytest.mark.parametrize("late", [accepts("u"), mark("patch")], ids=["update", "patch"])
def test_core_is_stuck_on_what_it_reads_ahead_behind_the_end(oracle: Oracle, late: Command) -> None:
    damaged = behind_the_end(late)
    assert oracle.judge(damaged).verdict == SILENCE
    ours = judged_by_us(damaged)
    assert ours.verdict == ERROR
    assert "stands behind the end of its run" in ours.why


@pytest.mark.parametrize("late", [completes("u"), work("1"), ends()], ids=["update's end", "activity", "end"])
def test_nothing_else_counts_behind_the_end(oracle: Oracle, late: Command) -> None:
    damaged = behind_the_end(late)
    assert oracle.judge(damaged).verdict == judged_by_us(damaged).verdict == ACCEPTED


def test_a_local_activity_of_nobody_behind_the_end_is_refused(oracle: Oracle) -> None:
    (played,) = play(Local(), Schedule())
    marker = next(each.attributes for each in played.history if isinstance(each.attributes, ev.MarkerRecorded))
    damaged = behind_the_end(lambda _: marker)
    assert oracle.judge(damaged).verdict == ACCEPTED
    assert judged_by_us(damaged).verdict == ERROR
