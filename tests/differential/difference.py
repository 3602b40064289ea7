"""Where our verdict on a damaged history is not Core's: what both say, and why ours is the better one.

Every row is of words that both sides have said. What stands in none of them fails the tests. We never accept what Core
refuses, but for the transitions that Core misses (`tests.differential.test_programs.CORE_IS_WRONG`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.differential.oracle import Verdict
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM, PANIC, SILENCE

from protopact.history.event import (
    Event,
    WorkflowExecutionCanceled,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)


@dataclass(frozen=True)
class Difference:
    """A difference of verdicts.

    Attributes:
        ours: Our verdict.
        we_say: Pattern of our words.
        theirs: Core's.
        they_say: Pattern of its words.
        reason: Why ours is better.
        damage: Whether a history has the damage that this is about.
    """

    ours: str
    we_say: str
    theirs: str
    they_say: str
    reason: str
    damage: Callable[[Sequence[Event]], bool] = lambda _: True

    def covers(self, history: Sequence[Event], ours: Verdict, theirs: Verdict) -> bool:
        """Whether this is the difference of these verdicts on a history."""
        return (
            (self.ours, self.theirs) == (ours.verdict, theirs.verdict)
            and re.search(self.we_say, ours.why) is not None
            and re.search(self.they_say, theirs.why) is not None
            and self.damage(history)
        )


def two_tasks_wait(history: Sequence[Event]) -> bool:
    """Whether a task is scheduled while one waits to be started."""
    waits = False
    for event in history:
        if waits and isinstance(event.attributes, WorkflowTaskScheduled):
            return True
        if isinstance(event.attributes, WorkflowTaskScheduled | WorkflowTaskStarted):
            waits = isinstance(event.attributes, WorkflowTaskScheduled)
    return False


def is_accepted_by_two_names(history: Sequence[Event]) -> bool:
    """Whether an event that accepts an update gives it another name than its request does."""
    return any(
        isinstance(event.attributes, WorkflowExecutionUpdateAccepted)
        and event.attributes.accepted_request is not None
        and event.attributes.accepted_request.update_id != event.attributes.protocol_instance_id
        for event in history
    )


def completes_another_update(history: Sequence[Event]) -> bool:
    """Whether an update is completed under another name than it was accepted under."""
    names = {
        event.event_id: event.attributes.protocol_instance_id
        for event in history
        if isinstance(event.attributes, WorkflowExecutionUpdateAccepted)
    }
    return any(
        isinstance(event.attributes, WorkflowExecutionUpdateCompleted)
        and names.get(event.attributes.accepted_event_id) != event.attributes.update_id
        for event in history
    )


def is_cancelled_in_a_task(history: Sequence[Event]) -> bool:
    """Whether the run ends as cancelled right behind the start of a task."""
    return any(
        isinstance(event.attributes, WorkflowTaskStarted)
        and isinstance(following.attributes, WorkflowExecutionCanceled)
        for event, following in pairwise(history)
    )


_NO_SUCH_TASK = "this event had an initial command ID but we could not find a matching command for it.*WorkflowTask"

DIFFERENCES = (
    Difference(
        ERROR,
        "WorkflowTaskStarted, starts a task that does not wait",
        NONDETERMINISM,
        _NO_SUCH_TASK,
        "no code schedules tasks, so that no other code would agree with the history",
    ),
    Difference(
        ERROR,
        r"WorkflowTask\w+, is the end of a task that has not started",
        NONDETERMINISM,
        _NO_SUCH_TASK,
        "the same",
    ),
    Difference(
        ERROR,
        "WorkflowTaskStarted, starts a task that does not wait",
        ACCEPTED,
        "",
        "Core follows each task by itself; a run has one at a time",
        two_tasks_wait,
    ),
    Difference(
        ERROR,
        r"ActivityTask(Started|Completed), is of the activity of event \d+, which has ended before",
        NONDETERMINISM,
        "Non-Abandon cancel mode activities cannot be (started|completed) after being cancell?ed",
        "no code starts or ends activities; behind any other end of one, Core, too, calls it impossible",
    ),
    Difference(
        ERROR,
        r"is of the signal or request to cancel of event \d+, which has ended before",
        NONDETERMINISM,
        "(Cancel|Signal) external WF machine does not handle this event",
        "no code answers requests; of an answer of the right kind Core, too, calls it impossible",
    ),
    Difference(
        NONDETERMINISM,
        "does not follow its history",
        ERROR,
        r"(Timer|Activity|Update)Machine in state (Start|Schedule|Scheduled\w*Cancel|Started\w*Cancel|Cancel|Completed)"
        r"\w*Command(Created|Sent) says the transition is invalid during event EventInfo {[^}]*"
        "(TimerStarted|TimerCanceled|ActivityTaskScheduled|ActivityTaskCancelRequested|UpdateAccepted|UpdateCompleted)",
        "the code asks for another command than history holds; Core says so of a timer and an activity, but not of a "
        "timer's start and its cancellation",
    ),
    Difference(
        NONDETERMINISM,
        "does not follow its history",
        ACCEPTED,
        "",
        "Core does not compare the two names: the caller of one update would have the answer of another",
        is_accepted_by_two_names,
    ),
    Difference(
        NONDETERMINISM,
        "does not follow its history",
        ACCEPTED,
        "",
        "Core does not compare the names: the caller of one update would have the answer of another",
        completes_another_update,
    ),
    Difference(
        ERROR,
        "stands behind the end of its run",
        SILENCE,
        "",
        "Core wakes the code for what it reads there ahead of time, and waits for ever for its answer",
    ),
    Difference(
        ERROR,
        "MarkerRecorded, stands behind the end of its run",
        ACCEPTED,
        "",
        "the same, of a local activity that nobody waits for",
    ),
    Difference(
        ACCEPTED,
        "",
        SILENCE,
        "",
        "a run that has just begun is as it should be; Core waits for more",
        lambda history: len(history) == 1,
    ),
    Difference(
        ERROR,
        "",
        PANIC,
        "",
        "the server that its Replayer plays says that it is invalid, and dies of it",
    ),
    Difference(
        NONDETERMINISM,
        "does not follow its history",
        PANIC,
        "",
        "Core passes over a task behind which the run is cancelled; the server that its Replayer plays does not",
        is_cancelled_in_a_task,
    ),
)
