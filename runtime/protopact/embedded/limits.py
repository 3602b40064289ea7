"""What a run may take: the limits of Temporal's server as it comes, met here before a program moves to a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from protopact.embedded.run import Run
from protopact.errors import OptionError
from protopact.limits import LONGEST_ID
from protopact.replay.command import (
    Command,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)

__all__ = [
    "LONGEST_ID",
    "MOST_BYTES",
    "MOST_EVENTS",
    "MOST_PENDING",
    "MOST_SIGNALS",
    "MOST_UPDATES",
    "SUGGESTED_BYTES",
    "SUGGESTED_EVENTS",
    "Excess",
    "check_id",
    "excess",
    "overlong",
    "suggests_continue_as_new",
]

MOST_EVENTS = 50 * 1024
"""Most events of a history: a run that has more is terminated. `limit.historyCount.error` of the server."""

MOST_BYTES = 50 * 1024 * 1024
"""Most bytes of a history, likewise. `limit.historySize.error`."""

SUGGESTED_EVENTS = 4 * 1024
"""With more events than that a run is told to continue as new. `limit.historyCount.suggestContinueAsNew`."""

SUGGESTED_BYTES = 4 * 1024 * 1024
"""Likewise. `limit.historySize.suggestContinueAsNew`."""

MOST_SIGNALS = 10_000
"""Most signals that a run takes. `history.maximumSignalsPerExecution`."""

MOST_UPDATES = 2_000
"""Most updates of a run, rejected ones not counted. `history.maxTotalUpdates`."""

MOST_PENDING = 2_000
"""Most activities of a run that are pending, and as many of each other kind. `limit.numPendingActivities.error`."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Why a workflow task fails that asks for too much.

    Attributes:
        cause: As `WorkflowTaskFailed` spells it.
        message: As the server words it.
    """

    cause: str
    message: str


def suggests_continue_as_new(events: int, size: int) -> bool:
    """Whether a run is told that it is time to continue as new.

    Args:
        events: Length of its history.
        size: Bytes that the history takes.
    """
    return events > SUGGESTED_EVENTS or size > SUGGESTED_BYTES


def overlong(run: Run) -> str | None:
    """Why a run is to be terminated for the length of its history; None when it is not."""
    what, found, most = "count", f"{run.last_event_id} events", f"{MOST_EVENTS}"
    if run.last_event_id <= MOST_EVENTS:
        if run.history_size <= MOST_BYTES:
            return None
        what, found, most = "size", f"{run.history_size} bytes", f"{MOST_BYTES}"
    return (
        f"Workflow history {what} exceeds limit: {found} of at most {most}; the workflow must continue as new before, "
        "see workflow.info().is_continue_as_new_suggested()"
    )


def check_id(value: str, name: str, where: str) -> None:
    """Refuse an id that is too long.

    Args:
        value: The id.
        name: What it is: `WorkflowId`.
        where: Whose, for the message: `start of acme.v1.S.Do`.

    Raises:
        OptionError: It is too long.
    """
    problem = _length_problem(value, name)
    if problem is not None:
        raise OptionError(f"{where}: {problem}")


def excess(run: Run, commands: Iterable[Command]) -> Excess | None:
    """What a workflow asks for beyond what may be pending, or under ids that cannot be; None when all of it fits."""
    counts: dict[type[Command], int] = {}
    open_ids: set[str] | None = None
    for command in commands:
        kind = type(command)
        if isinstance(command, RequestCancelActivityTask | ScheduleActivityTask):
            if open_ids is None:
                open_ids = {activity.event.activity_id for activity in run.activities.values()}
            if (taken := _taken(run, command, open_ids)) is not None:
                return taken
        if kind not in _PENDING:
            continue
        pending = _PENDING[kind]
        count = counts[kind] = counts.get(kind, pending.count(run)) + 1
        if count > MOST_PENDING:
            return Excess(
                f"PENDING_{pending.cause}_LIMIT_EXCEEDED",
                f"{pending.error}LimitExceeded: the number of {pending.what}, {count - 1}, has reached the "
                f"per-workflow limit of {MOST_PENDING}",
            )
        if isinstance(command, StartChildWorkflowExecution):
            problem = _length_problem(command.workflow_id, "WorkflowId")
            if problem is not None:
                return Excess("BAD_START_CHILD_EXECUTION_ATTRIBUTES", f"BadStartChildExecutionAttributes: {problem}")
    return None


def _taken(run: Run, command: RequestCancelActivityTask | ScheduleActivityTask, open_ids: set[str]) -> Excess | None:
    """Why an activity cannot be scheduled whose id an open one has; keeps the ids that open activities have."""
    if isinstance(command, RequestCancelActivityTask):
        activity = run.activities.get(command.scheduled_event_id)
        if activity is not None and activity.started_at is None:  # it is over at once
            open_ids.discard(activity.event.activity_id)
        return None
    if command.activity_id in open_ids:
        return Excess(
            "SCHEDULE_ACTIVITY_DUPLICATE_ID",
            f"ScheduleActivityDuplicateId: activity {command.activity_type} cannot have id {command.activity_id!r}: "
            "another activity of the run has it and is open; give each an activity_id of its own, or none",
        )
    open_ids.add(command.activity_id)
    return None


def _length_problem(value: str, name: str) -> str | None:
    # A character takes four bytes at most.
    if len(value) * 4 <= LONGEST_ID or (length := len(value.encode())) <= LONGEST_ID:
        return None
    return f"{name} length exceeds limit: {length} bytes of at most {LONGEST_ID}: {value[:40]}..."


@dataclass(frozen=True, slots=True)
class _Pending:
    """What a kind of command leaves pending: its words, and how many a run has."""

    cause: str
    error: str
    what: str
    count: Callable[[Run], int]


_PENDING: dict[type[Command], _Pending] = {
    ScheduleActivityTask: _Pending(
        "ACTIVITIES", "PendingActivities", "pending activities", lambda run: len(run.activities)
    ),
    StartChildWorkflowExecution: _Pending(
        "CHILD_WORKFLOWS", "PendingChildWorkflows", "pending child workflow executions", lambda run: len(run.children)
    ),
    # What is asked of others is answered with the task that asks: of earlier tasks nothing is pending.
    SignalExternalWorkflowExecution: _Pending(
        "SIGNALS", "PendingSignals", "pending signals to external workflows", lambda _run: 0
    ),
    RequestCancelExternalWorkflowExecution: _Pending(
        "REQUEST_CANCEL", "PendingRequestCancel", "pending requests to cancel external workflows", lambda _run: 0
    ),
}
