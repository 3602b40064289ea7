"""The commands that the code has produced and the events that they become."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from protopact.errors import HistoryError, NondeterminismError
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
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

__all__ = ["Activity", "Entry", "Ledger", "Timer"]


@dataclass(slots=True)
class Entry:
    """A command that waits to become an event. `command` is None when it was cancelled before it was sent."""

    command: Command | None
    owner: Activity | Timer | None = None


@dataclass(slots=True)
class Activity:
    """An activity that the code has called."""

    seq: int
    schedule: ScheduleActivityTask
    cancellation_type: ActivityCancellationType
    entry: Entry | None = None
    scheduled_event_id: int = 0
    cancel_requested: bool = False
    resolved: bool = False


@dataclass(slots=True)
class Timer:
    """A timer that the code has started."""

    seq: int
    timer_id: str
    entry: Entry | None = None
    started_event_id: int = 0


_BECOMES: dict[type[Command], type] = {
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


@dataclass(slots=True)
class Ledger:
    """Commands in the order in which the code produced them, and what is open because of them."""

    describe: Callable[[], tuple[str, str, str]]
    entries: deque[Entry] = field(default_factory=deque)
    rejections: list[RejectUpdate] = field(default_factory=list)
    activities: dict[int, Activity] = field(default_factory=dict)
    timers: dict[int, Timer] = field(default_factory=dict)
    scheduled: dict[int, Activity] = field(default_factory=dict)
    started: dict[int, Timer] = field(default_factory=dict)
    cancelled_now: deque[Activity] = field(default_factory=deque)
    accepted: dict[str, int] = field(default_factory=dict)
    last_event_id: int = 0

    # What the code asks for.

    def schedule_activity(self, seq: int, command: ScheduleActivityTask, kind: ActivityCancellationType) -> None:
        activity = Activity(seq, command, kind)
        activity.entry = Entry(command, activity)
        self.activities[seq] = activity
        self.entries.append(activity.entry)

    def cancel_activity(self, seq: int) -> None:
        activity = self.activities.get(seq)
        if activity is None or activity.resolved or activity.cancel_requested:
            return
        activity.cancel_requested = True
        if activity.entry is not None and not activity.scheduled_event_id and activity.entry in self.entries:
            activity.entry.command = None
            self._resolve_now(activity)
            return
        if activity.cancellation_type is not ActivityCancellationType.ABANDON:
            self.entries.append(
                Entry(RequestCancelActivityTask(scheduled_event_id=activity.scheduled_event_id), activity)
            )
        if activity.cancellation_type is not ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            self._resolve_now(activity)

    def _resolve_now(self, activity: Activity) -> None:
        activity.resolved = True
        self.cancelled_now.append(activity)

    def start_timer(self, seq: int, command: StartTimer) -> None:
        timer = Timer(seq, command.timer_id)
        timer.entry = Entry(command, timer)
        self.timers[seq] = timer
        self.entries.append(timer.entry)

    def cancel_timer(self, seq: int) -> None:
        timer = self.timers.pop(seq, None)
        if timer is None:
            return
        if not timer.started_event_id and timer.entry is not None:
            timer.entry.command = None
            return
        self.started.pop(timer.started_event_id, None)
        self.entries.append(Entry(CancelTimer(timer_id=timer.timer_id, started_event_id=timer.started_event_id), timer))

    def add(self, command: Command) -> Entry:
        entry = Entry(command)
        self.entries.append(entry)
        return entry

    def outgoing(self) -> tuple[Command, ...]:
        """Commands for the open task: a command that closes the run is last (Core flag 3), rejections after it."""
        closing: list[Command] = []
        commands: list[Command] = []
        kept: deque[Entry] = deque()
        last: Entry | None = None
        for entry in self.entries:
            if entry.command is None:
                continue
            if isinstance(
                entry.command, CompleteWorkflowExecution | FailWorkflowExecution | CancelWorkflowExecution
            ):
                if last is None:
                    last = entry
                    closing.append(entry.command)
                continue
            commands.append(entry.command)
            kept.append(entry)
        if last is not None:
            kept.append(last)
        self.entries = kept
        rejections, self.rejections = self.rejections, []
        return (*commands, *closing, *rejections)

    # What history says.

    def match(self, event: Event) -> None:
        """A command event: it must be what the code asked for."""
        attributes = event.attributes
        while self.entries and self.entries[0].command is None:
            self.entries.popleft()
        entry = self.entries.popleft() if self.entries else None
        command = entry.command if entry is not None else None
        if entry is None or command is None or _BECOMES[type(command)] is not type(attributes):
            raise self.disagree(event, command)
        match attributes, command:
            case ActivityTaskScheduled(), ScheduleActivityTask():
                if (attributes.activity_id, attributes.activity_type) != (command.activity_id, command.activity_type):
                    raise self.disagree(event, command)
                assert isinstance(entry.owner, Activity)
                entry.owner.scheduled_event_id = event.event_id
                self.scheduled[event.event_id] = entry.owner
            case TimerStarted(), StartTimer():
                assert isinstance(entry.owner, Timer)
                entry.owner.started_event_id = event.event_id
                self.started[event.event_id] = entry.owner
            case WorkflowExecutionUpdateAccepted(), AcceptUpdate():
                if attributes.protocol_instance_id != command.request.update_id:
                    raise self.disagree(event, command)
                self.accepted[command.request.update_id] = event.event_id
            case WorkflowExecutionUpdateCompleted(), CompleteUpdate():
                if attributes.update_id != command.update_id:
                    raise self.disagree(event, command)
            case _:
                pass
        self.last_event_id = event.event_id

    def resolve_activity(
        self, event: Event, attributes: ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
    ) -> Activity | None:
        """The activity that ended; None when the code was told already."""
        activity = self.scheduled.pop(attributes.scheduled_event_id, None)
        if activity is None:
            raise HistoryError(f"event {event.event_id} ends an activity that event {attributes.scheduled_event_id} did not schedule")
        self.activities.pop(activity.seq, None)
        if activity.resolved:
            return None
        activity.resolved = True
        return activity

    def fire_timer(self, event: Event, attributes: TimerFired) -> Timer | None:
        timer = self.started.pop(attributes.started_event_id, None)
        if timer is None:
            return None
        if timer.timer_id != attributes.timer_id:
            raise self.disagree(event, StartTimer(timer_id=timer.timer_id, start_to_fire_timeout=0))  # type: ignore[arg-type]
        self.timers.pop(timer.seq, None)
        return timer

    def disagree(self, event: Event | None, command: Command | None) -> NondeterminismError:
        workflow_type, workflow_id, run_id = self.describe()
        expected = "nothing more" if event is None else f"event {event.event_id}, {_event_text(event)}"
        found = "no command" if command is None else _command_text(command)
        return NondeterminismError(
            f"workflow {workflow_type} {workflow_id} (run {run_id}) does not follow its history after event "
            f"{self.last_event_id}: the history holds {expected}; the code asks for {found}. Deploy the code that wrote the "
            "history, or make the change behind a patch.",
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            run_id=run_id,
            last_event_id=self.last_event_id,
            event=event,
            command=command,
        )


def _event_text(event: Event) -> str:
    attributes = event.attributes
    name = type(attributes).__name__
    match attributes:
        case ActivityTaskScheduled():
            return f"{name} of {attributes.activity_type} (id {attributes.activity_id})"
        case TimerStarted() | TimerFired() | TimerCanceled():
            return f"{name} (timer {attributes.timer_id})"
        case _:
            return name


def _command_text(command: Command) -> str:
    name = type(command).__name__
    match command:
        case ScheduleActivityTask():
            return f"{name} of {command.activity_type} (id {command.activity_id})"
        case StartTimer() | CancelTimer():
            return f"{name} (timer {command.timer_id})"
        case _:
            return name
