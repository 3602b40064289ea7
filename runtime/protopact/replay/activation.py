"""Groups the events of a history as Temporal Core does: one group is what one activation of the code answers to.

The rules are those of `find_end_index_of_next_wft_seq` in Temporal Core's `history_update.rs`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from protopact.errors import HistoryError
from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Attributes,
    Event,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)

__all__ = ["COMMAND_EVENTS", "TERMINAL_EVENTS", "group_ends"]

COMMAND_EVENTS: frozenset[type[Attributes]] = frozenset(
    {
        ActivityTaskScheduled,
        ActivityTaskCancelRequested,
        TimerStarted,
        TimerCanceled,
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionContinuedAsNew,
        WorkflowExecutionUpdateAccepted,
        WorkflowExecutionUpdateCompleted,
        MarkerRecorded,
        UpsertWorkflowSearchAttributes,
        WorkflowPropertiesModified,
        StartChildWorkflowExecutionInitiated,
        SignalExternalWorkflowExecutionInitiated,
        RequestCancelExternalWorkflowExecutionInitiated,
    }
)
"""Event types that commands of the code become."""

TERMINAL_EVENTS: frozenset[type[Attributes]] = frozenset(
    {
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionContinuedAsNew,
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

_DECIDING = TERMINAL_EVENTS | {WorkflowTaskStarted}


def group_ends(events: Sequence[Event], *, has_updates: bool = False) -> list[int]:
    """Where the groups of events end that begin right after the last group.

    Args:
        events: The events.
        has_updates: Whether updates have arrived with the task that is open at the end. They are sequenced after the
            task is scheduled, and one that is accepted is the first command of the answer: the code is told of them
            where it will be told on replay.

    Returns:
        The index of the last event of each group: a `WorkflowTaskStarted`, or the end of the run, behind which nothing
        counts. What comes after the last one waits for its next task.

    Raises:
        HistoryError: Something has happened between the start of a task and its end, which no engine writes.
    """
    ends: list[int] = []
    count, begin = len(events), 0
    groups: int | None = None
    started: list[int] = []
    deciding = [index for index, event in enumerate(events) if type(event.attributes) in _DECIDING]
    position = 0
    while position < len(deciding):
        index = deciding[position]
        position += 1
        end = index
        if type(events[index].attributes) is WorkflowTaskStarted:
            following = type(events[index + 1].attributes) if index + 1 < count else None
            if following in _UNANSWERED:
                continue
            started.append(index)
            if following is WorkflowTaskCompleted:
                end = _end(events, started[-2] if len(started) > 1 else begin, index, started)
            elif following is not None:
                raise HistoryError(
                    f"the history cannot be: event {events[index + 1].event_id}, {following.__name__}, stands "
                    f"between the start of a task, event {events[index].event_id}, and the end of that task"
                )
            elif has_updates:
                end = _end_before(events, started, events[index].event_id - 1)
        elif groups is None:
            groups = len(ends) + 1
        if end >= 0:
            ends.append(end)
            if end < index:  # the tasks behind it belong to the next group
                position = bisect_right(deciding, end)
            begin = end + 1
            started.clear()
    return ends[:groups]


def _end(events: Sequence[Event], begin: int, index: int, started: Sequence[int]) -> int:
    """Where the group ends whose task starts at `index`, and holds no command before `begin`; -1 when it goes on."""
    if index + 2 >= len(events):
        return index
    answer = events[index + 2].attributes
    if isinstance(answer, WorkflowTaskScheduled) and not _has_commands(events[begin:index]):
        return -1  # a heartbeat: the task was answered with nothing, and another one followed at once
    if isinstance(answer, WorkflowExecutionUpdateAccepted):
        return _end_before(events, started, answer.accepted_request_sequencing_event_id)
    return index


def _has_commands(events: Sequence[Event]) -> bool:
    return any(type(event.attributes) in COMMAND_EVENTS for event in events)


def _end_before(events: Sequence[Event], started: Sequence[int], sequencing_event_id: int) -> int:
    """Where the group ends whose last task brings an update: the update ran after the events before it."""
    for earlier in reversed(started):
        if events[earlier].event_id < sequencing_event_id:
            return earlier
    return started[-1]
