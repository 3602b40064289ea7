"""One run, as the shell knows it: what its history says is pending, and the history that is not stored yet.

The state follows from the events: what is appended changes it by the same functions that rebuild it from the disk.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from protopact.embedded.activity import Activity
from protopact.embedded.priority import Place, inherited, place_of
from protopact.engine import WorkflowStatus
from protopact.history import event as events
from protopact.history.event import Attributes, Event
from protopact.history.time import Timestamp
from protopact.payload.attributes import merged
from protopact.payload.payload import Payload
from protopact.replay.execution import Execution

__all__ = ["ACTIVITY", "CLOSE", "STATUSES", "TIMER", "Child", "Deadline", "Run"]

STATUSES = (
    WorkflowStatus.RUNNING,
    WorkflowStatus.COMPLETED,
    WorkflowStatus.FAILED,
    WorkflowStatus.CANCELED,
    WorkflowStatus.TERMINATED,
    WorkflowStatus.CONTINUED_AS_NEW,
    WorkflowStatus.TIMED_OUT,
)
"""The column `run.status` holds positions in this tuple, so their order never changes; 0 is running."""

Deadline: TypeAlias = tuple[Timestamp, int, int, int]
"""When, order among those of one instant, kind, and the event that set it."""

TIMER = 0
"""A timer fires; the id is the event that started it."""

ACTIVITY = 1
"""An attempt may start, or a time-out passes; the id is the event that scheduled the activity."""

CLOSE = 2
"""The run passes its time-out."""

_LATE = 1 << 62  # orders what is not a timer behind the timers of the same instant


@dataclass(slots=True)
class Child:
    """A child that was asked for and has not closed.

    Attributes:
        workflow_id: Its id.
        parent_close_policy: What its parent's end does to it, spelt as in history.
        run_id: Its first run; empty before it has started.
        started_event_id: The parent's event of its start; 0 before.
    """

    workflow_id: str
    parent_close_policy: str
    run_id: str = ""
    started_event_id: int = 0


class Run:
    """A run in memory.

    Attributes:
        key: Its row.
        holder: Process that holds it.
        status: Position in `STATUSES`.
        started: What it was started with.
        place: Where its workflow tasks stand among those of others.
        memo: Its memo.
        search_attributes: Its search attributes.
        changed_attributes: Whether memo or search attributes differ from its row.
        close_event: What it closed with; None while it is open.
        last_event_id: Length of its history.
        history_size: Bytes that its history takes on disk.
        activities: Open activities, by the event that scheduled them.
        children: Open children, by the event that asked for them; of a closed run, those that were open at its end.
        timers: Open timers: id and due time, by the event that started them.
        admitted: Updates that the workflow is told of with its next task, and that stand in history already: their ids.
        updates: Accepted updates without an outcome: the accepting event, by update id.
        outcomes: Updates with an outcome: the completing event, by update id.
        signal_count: Number of signals.
        signal_requests: Request ids of signals; None without any.
        needs_task: Whether something happened that the workflow has not been told.
        first_task_at: No workflow task before; 0 without a delay.
        task_attempt: Number of the workflow task's next attempt; above 1 when the last one failed.
        task_failure: Why it failed, in a line.
        task_build: Build of the worker it failed on.
        task_retry_at: When it is tried again.
        execution: The workflow's coroutines; None when they are not in memory.
        unfed: Events that `execution` has not been told.
        new_events: Events that are not on disk.
        changed_activities: Activities whose row must be written.
        changed: Whether its row must be written.
        locked: Whether codecs or local activities are at work for it: nothing else happens to it meanwhile.
        stored_state: What the table `run` has of it that seldom changes; None when it is not in the table.
        wake_at: `run.wake_at` as on disk.
    """

    __slots__ = (
        "activities",
        "admitted",
        "agenda",
        "cancel_requested",
        "changed",
        "changed_activities",
        "changed_attributes",
        "children",
        "close_event",
        "close_time",
        "execution",
        "first_run_id",
        "first_task_at",
        "history_size",
        "holder",
        "key",
        "last_event_id",
        "locked",
        "memo",
        "needs_task",
        "new_events",
        "outcomes",
        "place",
        "run_id",
        "search_attributes",
        "signal_count",
        "signal_requests",
        "start_request_id",
        "start_time",
        "started",
        "status",
        "stored_state",
        "task_attempt",
        "task_build",
        "task_failure",
        "task_queue",
        "task_retry_at",
        "timers",
        "unfed",
        "updates",
        "wake_at",
        "workflow_id",
        "workflow_type",
    )

    def __init__(
        self,
        key: int,
        *,
        workflow_id: str,
        run_id: str,
        first_run_id: str,
        workflow_type: str,
        task_queue: str,
        start_request_id: str,
    ) -> None:
        self.key = key
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.first_run_id = first_run_id
        self.workflow_type = workflow_type
        self.task_queue = task_queue
        self.start_request_id = start_request_id
        self.holder: int | None = None
        self.status = 0
        self.started = _NOT_STARTED
        self.place = _NO_PLACE
        self.memo = self.search_attributes = _NO_ATTRIBUTES
        self.changed_attributes = False
        self.start_time = Timestamp(0)
        self.close_time: Timestamp | None = None
        self.close_event: Attributes | None = None
        self.last_event_id = 0
        self.history_size = 0
        self.activities: dict[int, Activity] = {}
        self.children: dict[int, Child] = {}
        self.timers: dict[int, tuple[str, Timestamp]] = {}
        self.admitted: set[str] = set()
        self.updates: dict[str, int] = {}
        self.outcomes: dict[str, int] = {}
        self.signal_count = 0
        self.signal_requests: set[str] | None = None
        self.cancel_requested = False
        self.needs_task = False
        self.first_task_at = Timestamp(0)
        self.task_attempt = 1
        self.task_failure: str | None = None
        self.task_build: str | None = None
        self.task_retry_at: Timestamp | None = None
        self.execution: Execution | None = None
        self.unfed: list[Event] = []
        self.new_events: list[Event] = []
        self.changed_activities: dict[int, None] = {}
        self.agenda: list[Deadline] = []
        self.stored_state: tuple[object, ...] | None = None
        self.changed = False
        self.locked = False
        self.wake_at: Timestamp | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not closed."""
        return self.status == 0

    def has_signal(self, request_id: str) -> bool:
        """Whether the signal with a request id has arrived before."""
        return self.signal_requests is not None and request_id in self.signal_requests

    def has_update(self, update_id: str) -> bool:
        """Whether an update was accepted before."""
        return update_id in self.updates or update_id in self.outcomes

    def append(self, attributes: Attributes, now: Timestamp) -> Event:
        """Append an event; it is on disk once the tick has committed."""
        self.last_event_id += 1
        event = Event(self.last_event_id, now, attributes)
        self.new_events.append(event)
        self.unfed.append(event)
        self.changed = True
        apply = _APPLY.get(type(attributes))
        if apply is not None:
            apply(self, event, attributes)
        return event

    def take_back(self, last_event_id: int) -> None:
        """Undo the last appends, as if they had never been: of events that have changed no state."""
        while self.last_event_id > last_event_id:
            self.last_event_id -= 1
            self.new_events.pop()
            if self.unfed:
                self.unfed.pop()

    def put_back(self, events: Iterable[Event]) -> None:
        """Append what `take_back` has undone."""
        for event in events:
            self.last_event_id += 1
            self.new_events.append(event)
            self.unfed.append(event)

    def load(self, history: Iterable[Event]) -> None:
        """Take a history that is on disk."""
        for event in history:
            self.last_event_id = event.event_id
            self.unfed.append(event)
            apply = _APPLY.get(type(event.attributes))
            if apply is not None:
                apply(self, event, event.attributes)
        self.changed_activities.clear()
        self.changed_attributes = False
        for activity in self.activities.values():
            activity.stored = True

    def drop_execution(self) -> None:
        """End the workflow's coroutines here."""
        if self.execution is not None:
            self.execution.unwind()
            self.execution = None

    def task_due_at(self) -> Timestamp | None:
        """When the next workflow task may start; None when nothing asks for one."""
        if not self.needs_task or self.status:
            return None
        return max(self.first_task_at, self.task_retry_at or Timestamp(0))

    def plan(self, deadline: Timestamp, kind: int, event_id: int = 0) -> None:
        """Put something on the agenda."""
        heapq.heappush(self.agenda, (deadline, event_id if kind == TIMER else _LATE, kind, event_id))

    def close_at(self) -> Timestamp | None:
        """When it passes its run or execution time-out; None without one."""
        return min((deadline for deadline, _, kind, _ in self.agenda if kind == CLOSE), default=None)

    def plan_activity(self, activity: Activity, now: Timestamp) -> None:
        """Put the next deadline of an activity on the agenda, if it has one."""
        deadline = activity.next_deadline(now)
        if deadline is not None:
            self.plan(deadline, ACTIVITY, activity.scheduled_event_id)

    def due(self, now: Timestamp) -> Deadline | None:
        """Take the next thing that is due from the agenda; None when nothing is."""
        while self.agenda and self.agenda[0][0] <= now:
            deadline = heapq.heappop(self.agenda)
            if self._stands(deadline):
                return deadline
        return None

    def next_wake(self) -> Timestamp | None:
        """When it next needs a process, without anything arriving; None is never."""
        task = self.task_due_at() if self.needs_task else None
        while self.agenda and not self._stands(self.agenda[0]):
            heapq.heappop(self.agenda)
        if not self.agenda:
            return task
        return self.agenda[0][0] if task is None else min(task, self.agenda[0][0])

    def _stands(self, deadline: Deadline) -> bool:
        when, _, kind, event_id = deadline
        if self.status:
            return False
        if kind == TIMER:
            return event_id in self.timers
        if kind == ACTIVITY:
            activity = self.activities.get(event_id)
            return activity is not None and activity.next_deadline(Timestamp(when - 1)) == when
        return True


_NO_ATTRIBUTES: Mapping[str, Payload] = {}
_NOT_STARTED = events.WorkflowExecutionStarted()
_NO_PLACE: Place = place_of(None)
_CLOSES: dict[type[Attributes], int] = {
    events.WorkflowExecutionCompleted: STATUSES.index(WorkflowStatus.COMPLETED),
    events.WorkflowExecutionFailed: STATUSES.index(WorkflowStatus.FAILED),
    events.WorkflowExecutionCanceled: STATUSES.index(WorkflowStatus.CANCELED),
    events.WorkflowExecutionContinuedAsNew: STATUSES.index(WorkflowStatus.CONTINUED_AS_NEW),
    events.WorkflowExecutionTerminated: STATUSES.index(WorkflowStatus.TERMINATED),
    events.WorkflowExecutionTimedOut: STATUSES.index(WorkflowStatus.TIMED_OUT),
}

A = TypeVar("A", bound=Attributes)
_APPLY: dict[type[Attributes], Callable[[Run, Event, Any], None]] = {}  # each function takes its own event type


def _applies(*kinds: type[Attributes]) -> Callable[[Callable[[Run, Event, A], None]], Callable[[Run, Event, A], None]]:
    def register(apply: Callable[[Run, Event, A], None]) -> Callable[[Run, Event, A], None]:
        for kind in kinds:
            _APPLY[kind] = apply
        return apply

    return register


@_applies(events.WorkflowExecutionStarted)
def _started(run: Run, event: Event, attributes: events.WorkflowExecutionStarted) -> None:
    run.started = attributes
    run.place = place_of(attributes.priority)
    run.memo, run.search_attributes = attributes.memo, attributes.search_attributes
    run.start_time = event.event_time
    run.needs_task = True
    begins = Timestamp(event.event_time + attributes.first_workflow_task_backoff)
    if attributes.first_workflow_task_backoff:
        run.first_task_at = begins
    _plan_close(run, begins)


def _plan_close(run: Run, begins: Timestamp) -> None:
    attributes = run.started
    limits = [Timestamp(begins + attributes.workflow_run_timeout)] if attributes.workflow_run_timeout else []
    if attributes.workflow_execution_expiration_time is not None:
        limits.append(attributes.workflow_execution_expiration_time)
    if limits:
        run.plan(min(limits), CLOSE)


@_applies(*_CLOSES)
def _closed(run: Run, event: Event, attributes: Attributes) -> None:
    run.status = _CLOSES[type(attributes)]
    run.close_time = event.event_time
    run.close_event = attributes
    run.needs_task = False
    for activity in run.activities:
        run.changed_activities[activity] = None
    run.activities.clear()
    run.timers.clear()
    run.agenda.clear()


@_applies(events.WorkflowTaskCompleted)
def _task_completed(run: Run, _event: Event, _attributes: events.WorkflowTaskCompleted) -> None:
    run.needs_task = False
    run.first_task_at = Timestamp(0)
    run.task_attempt = 1
    run.task_failure = run.task_build = run.task_retry_at = None
    run.admitted.clear()


@_applies(events.WorkflowTaskFailed)
def _task_failed(run: Run, event: Event, attributes: events.WorkflowTaskFailed) -> None:
    run.needs_task = True
    if attributes.cause == "RESET_WORKFLOW":
        # The times of the run, and of what it waits for, begin anew.
        run.agenda = [each for each in run.agenda if each[2] != CLOSE]
        heapq.heapify(run.agenda)
        _plan_close(run, event.event_time)
        for activity in run.activities.values():
            activity.scheduled_time = activity.due_at = event.event_time


@_applies(events.WorkflowExecutionSignaled)
def _signaled(run: Run, _event: Event, attributes: events.WorkflowExecutionSignaled) -> None:
    run.needs_task = True
    run.signal_count += 1
    if attributes.request_id:
        if run.signal_requests is None:
            run.signal_requests = set()
        run.signal_requests.add(attributes.request_id)


@_applies(events.WorkflowExecutionCancelRequested)
def _cancel_requested(run: Run, _event: Event, _attributes: events.WorkflowExecutionCancelRequested) -> None:
    run.needs_task = True
    run.cancel_requested = True
    run.first_task_at = Timestamp(0)


@_applies(events.ActivityTaskScheduled)
def _activity_scheduled(run: Run, event: Event, attributes: events.ActivityTaskScheduled) -> None:
    priority = inherited(run.started.priority, attributes.priority)
    run.activities[event.event_id] = Activity(event.event_id, event.event_time, attributes, priority)
    run.changed_activities[event.event_id] = None


@_applies(events.ActivityTaskCancelRequested)
def _activity_cancel_requested(run: Run, event: Event, attributes: events.ActivityTaskCancelRequested) -> None:
    activity = run.activities.get(attributes.scheduled_event_id)
    if activity is not None:
        activity.cancel_event_id = event.event_id


@_applies(
    events.ActivityTaskCompleted, events.ActivityTaskFailed, events.ActivityTaskTimedOut, events.ActivityTaskCanceled
)
def _activity_closed(
    run: Run,
    _event: Event,
    attributes: events.ActivityTaskCompleted
    | events.ActivityTaskFailed
    | events.ActivityTaskTimedOut
    | events.ActivityTaskCanceled,
) -> None:
    del run.activities[attributes.scheduled_event_id]
    run.changed_activities[attributes.scheduled_event_id] = None
    run.needs_task = True


@_applies(events.TimerStarted)
def _timer_started(run: Run, event: Event, attributes: events.TimerStarted) -> None:
    due = Timestamp(event.event_time + attributes.start_to_fire_timeout)
    run.timers[event.event_id] = (attributes.timer_id, due)
    run.plan(due, TIMER, event.event_id)


@_applies(events.TimerFired)
def _timer_fired(run: Run, _event: Event, attributes: events.TimerFired) -> None:
    del run.timers[attributes.started_event_id]
    run.needs_task = True


@_applies(events.TimerCanceled)
def _timer_canceled(run: Run, _event: Event, attributes: events.TimerCanceled) -> None:
    del run.timers[attributes.started_event_id]


@_applies(events.UpsertWorkflowSearchAttributes)
def _search_attributes_upserted(run: Run, _event: Event, attributes: events.UpsertWorkflowSearchAttributes) -> None:
    # What is searched for cannot be an empty list, which the server takes for a removal; the run's code still sees it.
    emptied = {name for name, payload in attributes.search_attributes.items() if payload.data == b"[]"}
    found = merged(run.search_attributes, attributes.search_attributes)
    run.search_attributes = {name: payload for name, payload in found.items() if name not in emptied}
    run.changed_attributes = True


@_applies(events.WorkflowPropertiesModified)
def _memo_upserted(run: Run, _event: Event, attributes: events.WorkflowPropertiesModified) -> None:
    run.memo = merged(run.memo, attributes.upserted_memo)
    run.changed_attributes = True


@_applies(events.WorkflowExecutionUpdateAdmitted)
def _update_admitted(run: Run, _event: Event, attributes: events.WorkflowExecutionUpdateAdmitted) -> None:
    run.needs_task = True
    if attributes.request is not None:
        run.admitted.add(attributes.request.update_id)


@_applies(events.WorkflowExecutionUpdateAccepted)
def _update_accepted(run: Run, event: Event, attributes: events.WorkflowExecutionUpdateAccepted) -> None:
    run.updates[attributes.protocol_instance_id] = event.event_id


@_applies(events.WorkflowExecutionUpdateCompleted)
def _update_completed(run: Run, event: Event, attributes: events.WorkflowExecutionUpdateCompleted) -> None:
    run.updates.pop(attributes.update_id, None)
    run.outcomes[attributes.update_id] = event.event_id


@_applies(events.StartChildWorkflowExecutionInitiated)
def _child_initiated(run: Run, event: Event, attributes: events.StartChildWorkflowExecutionInitiated) -> None:
    run.children[event.event_id] = Child(attributes.workflow_id, attributes.parent_close_policy)


@_applies(events.ChildWorkflowExecutionStarted)
def _child_started(run: Run, event: Event, attributes: events.ChildWorkflowExecutionStarted) -> None:
    child = run.children[attributes.initiated_event_id]
    child.run_id, child.started_event_id = attributes.run_id, event.event_id
    run.needs_task = True


@_applies(
    events.StartChildWorkflowExecutionFailed,
    events.ChildWorkflowExecutionCompleted,
    events.ChildWorkflowExecutionFailed,
    events.ChildWorkflowExecutionCanceled,
    events.ChildWorkflowExecutionTimedOut,
    events.ChildWorkflowExecutionTerminated,
)
def _child_closed(
    run: Run,
    _event: Event,
    attributes: events.StartChildWorkflowExecutionFailed
    | events.ChildWorkflowExecutionCompleted
    | events.ChildWorkflowExecutionFailed
    | events.ChildWorkflowExecutionCanceled
    | events.ChildWorkflowExecutionTimedOut
    | events.ChildWorkflowExecutionTerminated,
) -> None:
    del run.children[attributes.initiated_event_id]
    run.needs_task = True


@_applies(
    events.ExternalWorkflowExecutionSignaled,
    events.SignalExternalWorkflowExecutionFailed,
    events.ExternalWorkflowExecutionCancelRequested,
    events.RequestCancelExternalWorkflowExecutionFailed,
)
def _answered(run: Run, _event: Event, _attributes: Attributes) -> None:
    run.needs_task = True
