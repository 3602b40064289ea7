"""Groups the events of a history as Temporal Core does: what one activation of the workflow's code answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
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

__all__ = ["COMMAND_EVENTS", "TERMINAL_EVENTS", "Activation", "group"]

COMMAND_EVENTS = frozenset(
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
"""Event types that a command of the workflow's code becomes."""

TERMINAL_EVENTS = frozenset(
    {
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionTerminated,
        WorkflowExecutionTimedOut,
    }
)
"""Event types that end a run."""

_SKIPPED_BEFORE = frozenset(
    {
        WorkflowTaskFailed,
        WorkflowTaskTimedOut,
        WorkflowExecutionTimedOut,
        WorkflowExecutionTerminated,
    }
)


@dataclass(slots=True)
class Activation:
    """Events that belong together, in order; the last one is a `WorkflowTaskStarted`, or ends the run.

    Attributes:
        events: The events.
        is_complete: Whether it is followed by its answer, or by nothing because it is the open task; an activation that
            is not complete is the tail of a history that waits for its next task.
    """

    events: Sequence[Event]
    is_complete: bool = True


def group(events: Sequence[Event]) -> list[Activation]:
    """Split `events`, which begin right after the last activation's."""
    activations: list[Activation] = []
    begin = 0
    commands = 0
    for index, event in enumerate(events):
        kind = type(event.attributes)
        if kind in TERMINAL_EVENTS:
            activations.append(Activation(events[begin : index + 1]))
            begin, commands = index + 1, 0
        elif kind is WorkflowTaskStarted:
            following = [type(each.attributes) for each in events[index + 1 : index + 3]]
            if following and following[0] in _SKIPPED_BEFORE:
                continue
            if following == [WorkflowTaskCompleted, WorkflowTaskScheduled] and not commands:
                continue
            activations.append(Activation(events[begin : index + 1]))
            begin, commands = index + 1, 0
        elif kind in COMMAND_EVENTS:
            commands += 1
    if begin < len(events):
        activations.append(Activation(events[begin:], is_complete=False))
    return activations
