"""The commands that the code has produced, and the events that they become."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from protopact.errors import HistoryError, NondeterminismError
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Attributes,
    Event,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
)
from protopact.policy import ActivityCancellationType
from protopact.replay.command import (
    AcceptUpdate,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    FailWorkflowExecution,
    RejectUpdate,
    RequestCancelActivityTask,
    ScheduleActivityTask,
    StartTimer,
)

__all__ = ["ActivityEnd", "CalledActivity", "Ledger", "StartedTimer"]

ActivityEnd = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
"""Events that end an activity."""

_BECOMES: dict[type[Command], type[Attributes]] = {
    ScheduleActivityTask: ActivityTaskScheduled,
    RequestCancelActivityTask: ActivityTaskCancelRequested,
    StartTimer: TimerStarted,
    CancelTimer: TimerCanceled,
    CompleteWorkflowExecution: WorkflowExecutionCompleted,
    FailWorkflowExecution: WorkflowExecutionFailed,
    CancelWorkflowExecution: WorkflowExecutionCanceled,
    AcceptUpdate: WorkflowExecutionUpdateAccepted,
    CompleteUpdate: WorkflowExecutionUpdateCompleted,
}

_CLOSING = (CompleteWorkflowExecution, FailWorkflowExecution, CancelWorkflowExecution)


@dataclass(slots=True, eq=False)
class CalledActivity:
    """An activity that the code has called. `scheduled_event_id` is 0 until history has it."""

    seq: int
    command: ScheduleActivityTask
    cancellation_type: ActivityCancellationType
    scheduled_event_id: int = 0
    is_cancel_requested: bool = False
    is_resolved: bool = False


@dataclass(slots=True, eq=False)
class StartedTimer:
    """A timer that the code has started. `started_event_id` is 0 until history has it."""

    seq: int
    timer_id: str
    started_event_id: int = 0
    is_cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Entry:
    command: Command
    origin: CalledActivity | StartedTimer | None = None
    is_settled: bool = False


class Ledger:
    """One run's commands in the order in which the code produced them, and what is open because of them.

    Args:
        workflow_type: Registered name of the workflow.
        workflow_id: Id of the workflow.
        run_id: The run.

    Attributes:
        rejections: Updates that the open task refused.
        last_event_id: Last command event that the code agreed with.
    """

    def __init__(self, workflow_type: str, workflow_id: str, run_id: str) -> None:
        self.rejections: list[RejectUpdate] = []
        self._cancelled: list[CalledActivity] = []
        self.last_event_id = 0
        self._run = (workflow_type, workflow_id, run_id)
        self._entries: deque[_Entry] = deque()
        self._activities: dict[int, CalledActivity] = {}
        self._timers: dict[int, StartedTimer] = {}
        self._scheduled: dict[int, CalledActivity] = {}
        self._started: dict[int, StartedTimer] = {}
        self._accepted: dict[str, int] = {}

    # -- what the code asks for

    def add(self, command: Command) -> None:
        """Add a command that concerns no activity and no timer."""
        self._entries.append(_Entry(command))

    def schedule_activity(
        self, seq: int, command: ScheduleActivityTask, cancellation_type: ActivityCancellationType
    ) -> None:
        """Call an activity."""
        activity = CalledActivity(seq, command, cancellation_type)
        self._activities[seq] = activity
        self._entries.append(_Entry(command, activity))

    def cancel_activity(self, seq: int) -> None:
        """Cancel an activity as its cancellation type says; unknown and closed ones are left alone."""
        activity = self._activities.get(seq)
        if activity is None or activity.is_resolved or activity.is_cancel_requested:
            return
        activity.is_cancel_requested = True
        if self._withdraw(activity):
            del self._activities[seq]
            self._tell_cancelled(activity)
            return
        if activity.cancellation_type is not ActivityCancellationType.ABANDON:
            command = RequestCancelActivityTask(scheduled_event_id=activity.scheduled_event_id)
            self._entries.append(_Entry(command, activity))
        if activity.cancellation_type is not ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            self._tell_cancelled(activity)

    def start_timer(self, seq: int, command: StartTimer) -> None:
        """Start a timer."""
        timer = StartedTimer(seq, command.timer_id)
        self._timers[seq] = timer
        self._entries.append(_Entry(command, timer))

    def cancel_timer(self, seq: int) -> None:
        """Cancel a timer; unknown and fired ones are left alone."""
        timer = self._timers.pop(seq, None)
        if timer is None:
            return
        timer.is_cancelled = True
        if not self._withdraw(timer):
            command = CancelTimer(timer_id=timer.timer_id, started_event_id=timer.started_event_id)
            self._entries.append(_Entry(command, timer))

    def accepted_event_id(self, update_id: str) -> int:
        """Event that accepted an update; 0 when the open task does."""
        return self._accepted.get(update_id, 0)

    def take_cancelled(self) -> list[CalledActivity]:
        """Activities whose cancellation the code has still to be told of, in this same task."""
        cancelled, self._cancelled = self._cancelled, []
        return cancelled

    def settle(self) -> None:
        """An activation is over: its commands are final. The one that closes the run goes last (Core flag 3)."""
        closing = [entry for entry in self._entries if isinstance(entry.command, _CLOSING)]
        if closing:
            rest = (entry for entry in self._entries if not isinstance(entry.command, _CLOSING))
            self._entries = deque((*rest, closing[0]))
        for entry in self._entries:
            entry.is_settled = True

    def outgoing(self) -> tuple[Command, ...]:
        """Commands for the open task, rejections of updates last."""
        rejections, self.rejections = self.rejections, []
        return (*(entry.command for entry in self._entries), *rejections)

    def _withdraw(self, origin: CalledActivity | StartedTimer) -> bool:
        """Take back what was asked for in this same activation, as if it had never been."""
        for entry in self._entries:
            if entry.origin is origin and not entry.is_settled:
                self._entries.remove(entry)
                return True
        return False

    def _tell_cancelled(self, activity: CalledActivity) -> None:
        activity.is_resolved = True
        self._cancelled.append(activity)

    # -- what history says

    def match(self, event: Event) -> None:
        """Take a command event, which must be what the code asked for.

        Raises:
            NondeterminismError: It is not.
        """
        attributes = type(event.attributes)
        if not self._entries:
            raise self._disagree(event, None)
        entry = self._entries.popleft()
        if _BECOMES[type(entry.command)] is not attributes:
            raise self._disagree(event, entry.command)
        matcher = _MATCHERS.get(attributes)
        if matcher is not None and not matcher(self, event, entry):
            raise self._disagree(event, entry.command)
        self.last_event_id = event.event_id

    def check_matched(self) -> None:
        """After the command events of an answered task: nothing that the code asked for may be left.

        Raises:
            NondeterminismError: History holds less than the code asked for.
        """
        if self._entries:
            raise self._disagree(None, self._entries[0].command)

    def end_activity(self, event: Event, end: ActivityEnd) -> CalledActivity | None:
        """The activity that has ended; None when the code was told of its cancellation before.

        Raises:
            HistoryError: Nothing scheduled it.
        """
        activity = self._scheduled.pop(end.scheduled_event_id, None)
        if activity is None:
            raise HistoryError(
                f"{self._where()}: event {event.event_id} ({type(end).__name__}) ends the activity of event "
                f"{end.scheduled_event_id}, which is not an activity that is open"
            )
        self._activities.pop(activity.seq, None)
        if activity.is_resolved:
            return None
        activity.is_resolved = True
        return activity

    def fire_timer(self, event: Event, fired: TimerFired) -> int | None:
        """Number of the timer that has fired; None when the code has cancelled it.

        Raises:
            NondeterminismError: It was started with another id (Temporal's Replayer, too, notices only now).
        """
        timer = self._started.pop(fired.started_event_id, None)
        if timer is None:
            raise HistoryError(
                f"{self._where()}: event {event.event_id} (TimerFired) fires the timer of event "
                f"{fired.started_event_id}, which is not a timer that is open"
            )
        if timer.timer_id != fired.timer_id:
            raise self._disagree(event, None)
        if timer.is_cancelled:
            return None
        del self._timers[timer.seq]
        return timer.seq

    def match_scheduled(self, event: Event, entry: _Entry) -> bool:
        """An activity is known by its event from now on."""
        attributes, command, activity = event.attributes, entry.command, entry.origin
        if (
            not isinstance(attributes, ActivityTaskScheduled)
            or not isinstance(command, ScheduleActivityTask)
            or not isinstance(activity, CalledActivity)
            or attributes.activity_id != command.activity_id
            or attributes.activity_type != command.activity_type
        ):
            return False
        activity.scheduled_event_id = event.event_id
        self._scheduled[event.event_id] = activity
        return True

    def match_timer(self, event: Event, entry: _Entry) -> bool:
        """A timer is known by its event from now on."""
        if isinstance(entry.origin, StartedTimer):
            entry.origin.started_event_id = event.event_id
            self._started[event.event_id] = entry.origin
        return True

    def match_timer_cancelled(self, _event: Event, entry: _Entry) -> bool:
        """A timer is gone."""
        if isinstance(entry.origin, StartedTimer):
            self._started.pop(entry.origin.started_event_id, None)
        return True

    def match_accepted(self, event: Event, entry: _Entry) -> bool:
        """An update is known by its event from now on."""
        attributes, command = event.attributes, entry.command
        if not isinstance(attributes, WorkflowExecutionUpdateAccepted) or not isinstance(command, AcceptUpdate):
            return False
        self._accepted[command.request.update_id] = event.event_id
        return attributes.protocol_instance_id in {"", command.request.update_id}

    def match_completed(self, event: Event, entry: _Entry) -> bool:
        """The same update has completed."""
        attributes, command = event.attributes, entry.command
        return (
            isinstance(attributes, WorkflowExecutionUpdateCompleted)
            and isinstance(command, CompleteUpdate)
            and attributes.update_id == command.update_id
        )

    def _where(self) -> str:
        workflow_type, workflow_id, run_id = self._run
        return f"workflow {workflow_type} {workflow_id!r} (run {run_id})"

    def _disagree(self, event: Event | None, command: Command | None) -> NondeterminismError:
        workflow_type, workflow_id, run_id = self._run
        holds = "no further command" if event is None else f"event {event.event_id}, {_event_text(event.attributes)}"
        asks = "nothing" if command is None else _command_text(command)
        return NondeterminismError(
            f"{self._where()} does not follow its history, with which it agrees up to event {self.last_event_id}: the "
            f"history holds {holds}; the code asks for {asks}. Deploy the code that wrote the history, or a change "
            "that leaves what open runs have done as it was",
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            run_id=run_id,
            last_event_id=self.last_event_id,
            event=event,
            command=command,
        )


_MATCHERS: dict[type[Attributes], Callable[[Ledger, Event, _Entry], bool]] = {
    ActivityTaskScheduled: Ledger.match_scheduled,
    TimerStarted: Ledger.match_timer,
    TimerCanceled: Ledger.match_timer_cancelled,
    WorkflowExecutionUpdateAccepted: Ledger.match_accepted,
    WorkflowExecutionUpdateCompleted: Ledger.match_completed,
}


def _event_text(attributes: Attributes) -> str:
    name = type(attributes).__name__
    if isinstance(attributes, ActivityTaskScheduled):
        return f"{name} of {attributes.activity_type} (activity id {attributes.activity_id})"
    if isinstance(attributes, TimerStarted | TimerFired | TimerCanceled):
        return f"{name} (timer id {attributes.timer_id})"
    return name


def _command_text(command: Command) -> str:
    name = type(command).__name__
    if isinstance(command, ScheduleActivityTask):
        return f"{name} of {command.activity_type} (activity id {command.activity_id})"
    if isinstance(command, StartTimer | CancelTimer):
        return f"{name} (timer id {command.timer_id})"
    return name
