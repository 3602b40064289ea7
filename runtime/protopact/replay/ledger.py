"""The commands that the code has produced, in order, and the events that they become.

The rules are Temporal Core's: a command event must be of the type that the first command in line becomes. What is left
in line when a task has been answered waits for the next answer, and goes out with it when history holds no more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from protopact.errors import HistoryError, NondeterminismError
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Attributes,
    Event,
    MarkerRecorded,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionUpdateCompleted,
)
from protopact.policy import ActivityCancellationType
from protopact.replay.command import (
    CancelTimer,
    Command,
    RecordMarker,
    RejectUpdate,
    ScheduleActivityTask,
    StartChildWorkflowExecution,
    StartTimer,
)
from protopact.replay.comparison import Comparer, Difference
from protopact.replay.entries import (
    AcceptedUpdate,
    ActivityCancellation,
    CalledActivity,
    Closing,
    Entry,
    StartedTimer,
    TimerCancellation,
)
from protopact.replay.marker import MarkedPatch, PatchMark, patch_mark
from protopact.replay.past import Past

if TYPE_CHECKING:
    from protopact.replay.child import Child
    from protopact.replay.external import SentSignal
    from protopact.replay.operation import Operation

__all__ = ["ActivityEnd", "Kind", "Ledger"]

Kind: TypeAlias = Literal["activity", "timer", "child workflow", "signal or request to cancel"]
"""What events begin and end, in words."""

ActivityEnd = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
"""Events that end an activity."""


class Ledger:
    """One run's commands, and what is open because of them.

    Args:
        workflow_type: Registered name of the workflow.
        workflow_id: Id of the workflow.
        run_id: The run.

    Attributes:
        rejections: Updates that the open task refused.
        cancelled: What was cancelled and of whose cancellation the code is told in this same task.
        activities: Activities that history has and that are not over, by the event that scheduled them.
        timers: Timers that history has and that are not over, by the event that started them.
        external: What waits for the answer of another workflow, by the event that asked; None when nobody does.
        accepted: Events that accepted updates that are not over, by update id.
        checks_ids: Whether ids and types of activities are compared (Core's flag 1).
        last_event_id: Last command event that the code agreed with.
        is_closed: Whether the code has ended the run.
        comparer: Compares commands with their events in full; None when kinds and ids are enough.
    """

    __slots__ = (
        "_closing",
        "_closing_at",
        "_past",
        "_queue",
        "_run",
        "accepted",
        "activities",
        "cancelled",
        "checks_ids",
        "comparer",
        "external",
        "is_closed",
        "last_event_id",
        "rejections",
        "timers",
    )

    def __init__(self, workflow_type: str, workflow_id: str, run_id: str) -> None:
        self.rejections: list[RejectUpdate] = []
        self.cancelled: list[CalledActivity | Child | SentSignal] = []
        self.activities: dict[int, CalledActivity] = {}
        self.timers: dict[int, StartedTimer] = {}
        self.external: dict[int, Operation[None] | asyncio.Future[None] | None] = {}
        self.accepted: dict[str, int] = {}
        self.checks_ids = True
        self.last_event_id = 0
        self.is_closed = False
        self.comparer: Comparer | None = None
        self._run = (workflow_type, workflow_id, run_id)
        self._past = defaultdict[Kind, Past](Past)  # events of what has ended: Core tells it from what never was
        self._queue: deque[Entry] = deque()
        self._closing: Closing | None = None
        self._closing_at = 0

    # What the code asks for.

    def add(self, entry: Entry) -> None:
        """Put a command in line."""
        self._queue.append(entry)

    def notice(self, called: object, /) -> None:
        """Hear of a call that is no command: a local activity, before its marker."""

    def close(self, closing: Closing) -> None:
        """End the run; of several ends the first counts."""
        if not self.is_closed:
            self.is_closed = True
            self._closing = closing
            self._closing_at = len(self._queue)

    def cancel_activity(self, activity: CalledActivity) -> None:
        """Cancel an activity as its cancellation type says; one that is over is left alone."""
        if activity.is_resolved or activity.is_cancel_requested:
            return
        activity.is_cancel_requested = True
        if not activity.scheduled_event_id:
            activity.is_withdrawn = True
            self._tell_cancelled(activity)
            return
        if activity.cancellation_type is not ActivityCancellationType.ABANDON:
            self.add(ActivityCancellation(activity))
        if activity.cancellation_type is not ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            self._tell_cancelled(activity)

    def cancel_timer(self, timer: StartedTimer) -> None:
        """Cancel a timer; one that has fired is left alone."""
        if timer.is_fired:
            return
        if not timer.started_event_id:
            timer.is_withdrawn = True
        else:
            self.add(TimerCancellation(timer))

    def settle(self, *, is_cut: bool) -> None:
        """An activation is over: what ends the run goes behind its other commands (Core's flag 3).

        Args:
            is_cut: The flag is not in force: commands that came after the end are dropped.
        """
        if self._closing is not None:
            if is_cut:
                while len(self._queue) > self._closing_at:
                    self._queue.pop()
            self._queue.append(self._closing)
            self._closing = None

    def outgoing(self) -> tuple[Command, ...]:
        """Commands for the open task, up to the one that ends the run; then rejections of updates."""
        commands: list[Command] = []
        for entry in self._queue:
            if not entry.is_withdrawn:
                commands.append(entry.command())
                if isinstance(entry, Closing):
                    break
        rejections, self.rejections = self.rejections, []
        return (*commands, *rejections)

    def _tell_cancelled(self, activity: CalledActivity) -> None:
        activity.is_resolved = True
        self.cancelled.append(activity)

    # What history says.

    def match(self, event: Event) -> None:
        """Take a command event, which must be what the code asked for next.

        Raises:
            NondeterminismError: It is not.
            HistoryError: It cannot be, whatever the code asks for.
        """
        attributes, queue = event.attributes, self._queue
        while queue:
            entry = queue.popleft()
            if entry.is_withdrawn or entry.is_optional:
                continue
            if entry.becomes is not type(attributes):
                if isinstance(entry, AcceptedUpdate) and isinstance(attributes, WorkflowExecutionUpdateCompleted):
                    raise self.impossible(event, "completes an update that was not accepted before")
                raise self.disagree(event, entry)
            differences: tuple[Difference, ...] = ()
            if self.comparer is not None:
                differences = self.comparer.errors(event, entry.command())
            if differences or not entry.meet(self, event.event_id, attributes):
                raise self.disagree(event, entry, differences)
            self.last_event_id = event.event_id
            return
        raise self.disagree(event, None)

    def match_patch(self, event: Event, mark: PatchMark) -> bool:
        """Take the marker of a patch.

        Returns:
            False when the code does not ask for it any more, which a deprecated patch may do without.

        Raises:
            NondeterminismError: The code does not ask for it, although the patch is not deprecated.
        """
        queue = self._queue
        while queue and queue[0].is_withdrawn:
            queue.popleft()
        entry = queue[0] if queue else None
        if isinstance(entry, MarkedPatch) and entry.patch_id == mark.id:
            queue.popleft()
            self.last_event_id = event.event_id
            return True
        if mark.deprecated:
            return False
        raise self.disagree(event, entry)

    def start_activity(self, event: Event, scheduled_event_id: int) -> None:
        """The last attempt of an activity has started.

        Raises:
            NondeterminismError: There is no such activity.
            HistoryError: It has started before.
        """
        activity = self._open_activity(event, scheduled_event_id)
        if activity.is_started:
            raise self.impossible(event, "starts an activity that has started before")
        activity.is_started = True

    def end_activity(self, event: Event, end: ActivityEnd) -> CalledActivity | None:
        """The activity that has ended; None when the code was told of its cancellation before.

        Raises:
            NondeterminismError: There is no such activity.
            HistoryError: It cannot end like this.
        """
        activity = self._open_activity(event, end.scheduled_event_id)
        if isinstance(end, ActivityTaskCanceled):
            if not activity.is_cancel_requested:
                raise self.impossible(event, "cancels an activity that the code did not cancel")
        elif not activity.is_started and not isinstance(end, ActivityTaskTimedOut):
            raise self.impossible(event, "ends an activity that has not started")
        del self.activities[end.scheduled_event_id]
        self.forget("activity", end.scheduled_event_id)
        if activity.is_resolved:
            return None
        activity.is_resolved = True
        return activity

    def fire_timer(self, event: Event, fired: TimerFired) -> StartedTimer:
        """The timer that has fired.

        Raises:
            NondeterminismError: There is no such timer, or the code started it with another id, which Temporal's
                Replayer, too, notices only now.
            HistoryError: It has fired before, or the code has cancelled it.
        """
        timer = self.timers.pop(fired.started_event_id, None)
        if timer is None:
            raise self.unexpected(event, "timer", fired.started_event_id)
        self.forget("timer", fired.started_event_id)
        if timer.cancelled():
            raise self.impossible(event, "fires a timer that the code has cancelled")
        if timer.timer_id != fired.timer_id:
            raise self.disagree(event, timer)
        timer.is_fired = True
        return timer

    def _open_activity(self, event: Event, scheduled_event_id: int) -> CalledActivity:
        activity = self.activities.get(scheduled_event_id)
        if activity is None:
            raise self.unexpected(event, "activity", scheduled_event_id)
        if activity.awaits_cancellation:
            raise self.impossible(event, "stands before the request to cancel its activity, which the code has made")
        return activity

    def forget(self, kind: Kind, event_id: int) -> None:
        """What the event `event_id` began is over."""
        self._past[kind].add(event_id)

    def impossible(self, event: Event, why: str) -> HistoryError:
        """The error to raise for an event that cannot be."""
        return HistoryError(
            f"{self._where()}: event {event.event_id}, {type(event.attributes).__name__}, {why}; the history is damaged"
        )

    def unexpected(self, event: Event, kind: Kind, begun_by: int) -> NondeterminismError | HistoryError:
        """The error to raise for an event of something that is not open.

        Args:
            event: The event.
            kind: What it is about.
            begun_by: The event that began what it is about: unknown to the code, or of something that is over.
        """
        if begun_by in self._past[kind]:
            return self.impossible(event, f"is of the {kind} of event {begun_by}, which has ended before")
        return self.disagree(event, None)

    def _where(self) -> str:
        workflow_type, workflow_id, run_id = self._run
        return f"workflow {workflow_type} {workflow_id!r} (run {run_id})"

    def disagree(
        self, event: Event, entry: Entry | None, differences: tuple[Difference, ...] = ()
    ) -> NondeterminismError:
        """The error to raise when the code does not ask for what history holds."""
        workflow_type, workflow_id, run_id = self._run
        command = None if entry is None else entry.command()
        asks = "nothing" if command is None else _command_text(command)
        asks += "".join(f"; {each.field} is {each.found} instead of {each.expected}" for each in differences)
        return NondeterminismError(
            f"{self._where()} does not follow its history, with which it agrees up to event {self.last_event_id}: the "
            f"history holds event {event.event_id}, {_event_text(event.attributes)}; the code asks for {asks}. Deploy "
            "the code that wrote the history, or a change that leaves what open runs have done as it was",
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            run_id=run_id,
            last_event_id=self.last_event_id,
            event=event,
            command=command,
            differences=differences,
        )


def _event_text(attributes: Attributes) -> str:
    name = type(attributes).__name__
    if isinstance(attributes, ActivityTaskScheduled):
        return f"{name} of {attributes.activity_type} (activity id {attributes.activity_id})"
    if isinstance(attributes, StartChildWorkflowExecutionInitiated):
        return f"{name} of {attributes.workflow_type} (workflow id {attributes.workflow_id})"
    if isinstance(attributes, TimerStarted | TimerFired | TimerCanceled):
        return f"{name} (timer id {attributes.timer_id})"
    if isinstance(attributes, MarkerRecorded):
        mark = patch_mark(attributes)
        return f"{name} of {attributes.marker_name}" if mark is None else f"{name} of patch {mark.id!r}"
    return name


def _command_text(command: Command) -> str:
    name = type(command).__name__
    if isinstance(command, ScheduleActivityTask):
        return f"{name} of {command.activity_type} (activity id {command.activity_id})"
    if isinstance(command, StartChildWorkflowExecution):
        return f"{name} of {command.workflow_type} (workflow id {command.workflow_id})"
    if isinstance(command, StartTimer | CancelTimer):
        return f"{name} (timer id {command.timer_id})"
    if isinstance(command, RecordMarker):
        return f"{name} of {command.marker_name}"
    return name
