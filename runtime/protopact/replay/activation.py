"""Groups the events of a history as Temporal Core does: one group is what one activation of the code answers to.

The rules are those of `find_end_index_of_next_wft_seq` in Temporal Core's `history_update.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence

from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Attributes,
    Event,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)

__all__ = ["COMMAND_EVENTS", "TERMINAL_EVENTS", "group"]

COMMAND_EVENTS: frozenset[type[Attributes]] = frozenset(
    {
        ActivityTaskScheduled,
        ActivityTaskCancelRequested,
        TimerStarted,
        TimerCanceled,
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionUpdateAccepted,
        WorkflowExecutionUpdateCompleted,
    }
)
"""Event types that commands of the code become."""

TERMINAL_EVENTS: frozenset[type[Attributes]] = frozenset(
    {
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionTerminated,
        WorkflowExecutionTimedOut,
    }
)
"""Event types that end a run."""

_UNANSWERED: frozenset[type[Attributes]] = frozenset(
    {
        WorkflowTaskFailed,
        WorkflowTaskTimedOut,
        WorkflowExecutionTimedOut,
        WorkflowExecutionTerminated,
        WorkflowExecutionCanceled,
    }
)
"""What may follow a `WorkflowTaskStarted` whose task was never answered."""


def group(events: Sequence[Event]) -> tuple[list[Sequence[Event]], Sequence[Event]]:
    """Split events that begin right after the last group.

    Returns:
        The groups, each ending with a `WorkflowTaskStarted` or with the end of the run; and the rest, which waits for
        its next task.
    """
    groups: list[Sequence[Event]] = []
    begin, index, count = 0, 0, len(events)
    saw_command = False
    started: list[int] = []
    while index < count:
        kind = type(events[index].attributes)
        end = -1
        if kind is WorkflowTaskStarted:
            following = type(events[index + 1].attributes) if index + 1 < count else None
            if following not in _UNANSWERED:
                started.append(index)
                end = _end(events, index, started, saw_command=saw_command)
        elif kind in COMMAND_EVENTS:
            saw_command = True
        if kind in TERMINAL_EVENTS:
            end = index
        if end >= 0:
            groups.append(events[begin : end + 1])
            begin = index = end + 1
            saw_command = False
            started.clear()
        else:
            index += 1
    return groups, events[begin:]


def _end(events: Sequence[Event], index: int, started: Sequence[int], *, saw_command: bool) -> int:
    """Where the group ends whose task starts at `index`; -1 when it goes on."""
    if index + 2 >= len(events) or type(events[index + 1].attributes) is not WorkflowTaskCompleted:
        return index
    answer = events[index + 2].attributes
    if isinstance(answer, WorkflowTaskScheduled) and not saw_command:
        return -1  # a heartbeat: the task was answered with nothing, and another one followed at once
    if isinstance(answer, WorkflowExecutionUpdateAccepted):
        # The update ran in the last task before the event that it was sequenced after.
        for earlier in reversed(started):
            if events[earlier].event_id < answer.accepted_request_sequencing_event_id:
                return earlier
    return index
