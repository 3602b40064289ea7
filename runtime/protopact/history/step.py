"""What belongs together in a history: events grouped in steps, as a person tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, TypeVar

import msgspec

from protopact import contract
from protopact.history import event as ev
from protopact.history.failure import CanceledFailureInfo, Failure
from protopact.history.time import Timestamp
from protopact.history.words import DescribePayload, describe_failure, describe_payload, duration_text, short_name
from protopact.payload.payload import Payload, Payloads

__all__ = ["CLOSED", "Line", "Outcome", "Step", "steps"]

T = TypeVar("T", bound=msgspec.Struct)

CLOSED: Mapping[type[ev.Attributes], str] = {
    ev.WorkflowExecutionCompleted: "completed",
    ev.WorkflowExecutionFailed: "failed",
    ev.WorkflowExecutionTimedOut: "timed out",
    ev.WorkflowExecutionCanceled: "cancelled",
    ev.WorkflowExecutionTerminated: "terminated",
    ev.WorkflowExecutionContinuedAsNew: "continued as new",
}
"""How a run has ended, by its last event."""


class Outcome(Enum):
    """How a step stands."""

    OPEN = "open"
    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Line:
    """A value or a remark that belongs to a step, for example `result` and `{"vmId": "vm-1"}`.

    Attributes:
        label: What it is; empty for a further line of the same.
        text: The value, in one line.
        is_whole: It is not cut to fit.
    """

    label: str
    text: str
    is_whole: bool = False


@dataclass(slots=True, kw_only=True)
class Step:
    """Events that tell one thing: an activity from scheduling to its end, a timer, a signal, an update.

    Attributes:
        time: When it began.
        title: What it is, for example `activity CreateVm`.
        event_ids: The events it consists of, in order.
        state: How it stands, in words, for example `completed`; empty when there is nothing to say.
        outcome: The same for programs.
        end: When it ended; None for an open step and for one that takes no time.
        attempt: Number of its last attempt; 0 when it has none, or none has been recorded.
        lines: Values and remarks, in order.
    """

    time: Timestamp
    title: str
    event_ids: list[int] = field(default_factory=list[int])
    state: str = ""
    outcome: Outcome = Outcome.NEUTRAL
    end: Timestamp | None = None
    attempt: int = 0
    lines: list[Line] = field(default_factory=list[Line])


def steps(
    events: Sequence[ev.Event], *, describe: DescribePayload = describe_payload, workflow_tasks: bool = False
) -> list[Step]:
    """Group events in steps, in the order in which the steps began.

    Args:
        events: A history, or the beginning of one.
        describe: Puts a payload into words.
        workflow_tasks: Whether each workflow task is a step; otherwise only those that failed are.
    """
    grouping = _Grouping(describe, workflow_tasks=workflow_tasks)
    for event in events:
        grouping.add(event)
    return grouping.steps


class _Grouping:
    """Builds steps from events, one event after the other."""

    def __init__(self, describe: DescribePayload, *, workflow_tasks: bool) -> None:
        self.steps: list[Step] = []
        self._describe = describe
        self._workflow_tasks = workflow_tasks
        self._by_event: dict[int, Step] = {}
        self._tasks: dict[int, Step] = {}
        self._patch: Step | None = None  # of the event before

    def add(self, event: ev.Event) -> None:
        """Take the next event."""
        patch, self._patch = self._patch, None
        attributes = event.attributes
        if patch is not None and _lists_patches(attributes):
            patch.event_ids.append(event.event_id)  # Core writes it with the marker
            return
        self._TELL[type(attributes)](self, event, attributes)

    # Runs.

    def _started(self, event: ev.Event, started: ev.WorkflowExecutionStarted) -> None:
        step = self._begin(event, f"started {short_name(started.workflow_type)}")
        self._values(step, "request", started.input)
        if started.first_workflow_task_backoff:
            step.lines.append(Line("delayed", f"by {duration_text(started.first_workflow_task_backoff)}"))
        if started.continued_execution_run_id:
            step.lines.append(Line("continues", f"run {started.continued_execution_run_id}"))
        if started.parent_workflow_id:
            step.lines.append(Line("parent", started.parent_workflow_id))

    def _completed(self, event: ev.Event, completed: ev.WorkflowExecutionCompleted) -> None:
        step = self._end(event, Outcome.GOOD)
        self._values(step, "result", completed.result)

    def _failed(self, event: ev.Event, failed: ev.WorkflowExecutionFailed) -> None:
        _failure(self._end(event, Outcome.BAD), failed.failure)

    def _timed_out(self, event: ev.Event, _: ev.WorkflowExecutionTimedOut) -> None:
        self._end(event, Outcome.BAD)

    def _canceled(self, event: ev.Event, canceled: ev.WorkflowExecutionCanceled) -> None:
        self._values(self._end(event, Outcome.NEUTRAL), "details", canceled.details)

    def _terminated(self, event: ev.Event, terminated: ev.WorkflowExecutionTerminated) -> None:
        step = self._end(event, Outcome.BAD)
        if terminated.reason:
            step.lines.append(Line("reason", terminated.reason))
        self._values(step, "details", terminated.details)

    def _continued_as_new(self, event: ev.Event, continued: ev.WorkflowExecutionContinuedAsNew) -> None:
        step = self._end(event, Outcome.NEUTRAL)
        step.lines.append(Line("as", short_name(continued.workflow_type)))
        step.lines.append(Line("run", continued.new_execution_run_id))
        self._values(step, "request", continued.input)
        if continued.backoff_start_interval:
            step.lines.append(Line("delayed", f"by {duration_text(continued.backoff_start_interval)}"))
        _failure(step, continued.failure)

    def _end(self, event: ev.Event, outcome: Outcome) -> Step:
        step = self._begin(event, CLOSED[type(event.attributes)])
        step.outcome = outcome
        return step

    # What reaches a run.

    def _signaled(self, event: ev.Event, signaled: ev.WorkflowExecutionSignaled) -> None:
        step = self._begin(event, f"signal {short_name(signaled.signal_name)}")
        self._values(step, "request", signaled.input)

    def _cancel_requested(self, event: ev.Event, requested: ev.WorkflowExecutionCancelRequested) -> None:
        step = self._begin(event, "cancel requested")
        if requested.cause:
            step.lines.append(Line("reason", requested.cause))

    def _update_admitted(self, event: ev.Event, admitted: ev.WorkflowExecutionUpdateAdmitted) -> None:
        request = admitted.request or ev.UpdateRequest()
        self._values(self._begin(event, f"update {short_name(request.name)} arrived"), "request", request.args)

    def _update_accepted(self, event: ev.Event, accepted: ev.WorkflowExecutionUpdateAccepted) -> None:
        request = accepted.accepted_request or ev.UpdateRequest()
        step = self._begin(event, f"update {short_name(request.name)}", open_=True)
        self._values(step, "request", request.args)

    def _update_completed(self, event: ev.Event, completed: ev.WorkflowExecutionUpdateCompleted) -> None:
        state, outcome = ("failed", Outcome.BAD) if completed.failure else ("completed", Outcome.GOOD)
        step = self._close(event, completed.accepted_event_id, state, outcome)
        self._values(step, "result", completed.success)
        _failure(step, completed.failure)

    # Workflow tasks.

    def _task_scheduled(self, event: ev.Event, scheduled: ev.WorkflowTaskScheduled) -> None:
        step = Step(time=event.event_time, title="workflow task", state="open", outcome=Outcome.OPEN)
        step.event_ids.append(event.event_id)
        step.attempt = scheduled.attempt
        self._tasks[event.event_id] = step
        if self._workflow_tasks:
            self.steps.append(step)

    def _task_started(self, event: ev.Event, started: ev.WorkflowTaskStarted) -> None:
        self._task(event, started.scheduled_event_id).state = "running"

    def _task_completed(self, event: ev.Event, completed: ev.WorkflowTaskCompleted) -> None:
        step = self._task(event, completed.scheduled_event_id)
        step.state, step.outcome, step.end = "completed", Outcome.GOOD, event.event_time

    def _task_failed(self, event: ev.Event, failed: ev.WorkflowTaskFailed) -> None:
        step = self._lost_task(event, failed.scheduled_event_id, "failed")
        if failed.cause:
            step.lines.append(Line("cause", failed.cause))
        _failure(step, failed.failure)

    def _task_timed_out(self, event: ev.Event, timed_out: ev.WorkflowTaskTimedOut) -> None:
        self._lost_task(event, timed_out.scheduled_event_id, "timed out")

    def _lost_task(self, event: ev.Event, scheduled_event_id: int, state: str) -> Step:
        """A task that came to nothing, which is shown always."""
        found = scheduled_event_id in self._tasks
        step = self._task(event, scheduled_event_id)
        step.state, step.outcome, step.end = state, Outcome.BAD, event.event_time
        if not (self._workflow_tasks and found):
            self.steps.append(step)
        return step

    def _task(self, event: ev.Event, scheduled_event_id: int) -> Step:
        step = self._tasks.get(scheduled_event_id) or Step(time=event.event_time, title="workflow task")
        step.event_ids.append(event.event_id)
        return step

    # Activities.

    def _activity_scheduled(self, event: ev.Event, scheduled: ev.ActivityTaskScheduled) -> None:
        step = self._begin(event, f"activity {short_name(scheduled.activity_type)}", open_=True)
        self._values(step, "request", scheduled.input)

    def _activity_started(self, event: ev.Event, started: ev.ActivityTaskStarted) -> None:
        step = self._join(event, started.scheduled_event_id)
        step.state, step.attempt = "running", started.attempt
        if started.last_failure is not None:
            step.lines.append(Line(f"attempt {started.attempt - 1}", describe_failure(started.last_failure)))

    def _activity_cancel_requested(self, event: ev.Event, requested: ev.ActivityTaskCancelRequested) -> None:
        step = self._join(event, requested.scheduled_event_id)
        step.lines.append(Line("cancel", f"requested after {duration_text(event.event_time - step.time)}"))

    def _activity_completed(self, event: ev.Event, completed: ev.ActivityTaskCompleted) -> None:
        step = self._close(event, completed.scheduled_event_id, "completed", Outcome.GOOD)
        self._values(step, "result", completed.result)

    def _activity_failed(self, event: ev.Event, failed: ev.ActivityTaskFailed) -> None:
        _failure(self._close(event, failed.scheduled_event_id, "failed", Outcome.BAD), failed.failure)

    def _activity_timed_out(self, event: ev.Event, timed_out: ev.ActivityTaskTimedOut) -> None:
        _failure(self._close(event, timed_out.scheduled_event_id, "timed out", Outcome.BAD), timed_out.failure)

    def _activity_canceled(self, event: ev.Event, canceled: ev.ActivityTaskCanceled) -> None:
        step = self._close(event, canceled.scheduled_event_id, "cancelled", Outcome.NEUTRAL)
        self._values(step, "details", canceled.details)

    # Timers.

    def _timer_started(self, event: ev.Event, started: ev.TimerStarted) -> None:
        self._begin(event, f"timer {duration_text(started.start_to_fire_timeout)}", open_=True)

    def _timer_fired(self, event: ev.Event, fired: ev.TimerFired) -> None:
        self._close(event, fired.started_event_id, "fired", Outcome.GOOD)

    def _timer_canceled(self, event: ev.Event, canceled: ev.TimerCanceled) -> None:
        self._close(event, canceled.started_event_id, "cancelled", Outcome.NEUTRAL)

    # Children.

    def _child_initiated(self, event: ev.Event, initiated: ev.StartChildWorkflowExecutionInitiated) -> None:
        title = f"child {short_name(initiated.workflow_type)} {initiated.workflow_id}"
        self._values(self._begin(event, title, open_=True), "request", initiated.input)

    def _child_not_started(self, event: ev.Event, failed: ev.StartChildWorkflowExecutionFailed) -> None:
        step = self._close(event, failed.initiated_event_id, "not started", Outcome.BAD)
        step.lines.append(Line("cause", failed.cause))

    def _child_started(self, event: ev.Event, started: ev.ChildWorkflowExecutionStarted) -> None:
        step = self._join(event, started.initiated_event_id)
        step.state = "running"
        step.lines.append(Line("run", started.run_id))

    def _child_completed(self, event: ev.Event, completed: ev.ChildWorkflowExecutionCompleted) -> None:
        step = self._close(event, completed.initiated_event_id, "completed", Outcome.GOOD)
        self._values(step, "result", completed.result)

    def _child_failed(self, event: ev.Event, failed: ev.ChildWorkflowExecutionFailed) -> None:
        _failure(self._close(event, failed.initiated_event_id, "failed", Outcome.BAD), failed.failure)

    def _child_canceled(self, event: ev.Event, canceled: ev.ChildWorkflowExecutionCanceled) -> None:
        step = self._close(event, canceled.initiated_event_id, "cancelled", Outcome.NEUTRAL)
        self._values(step, "details", canceled.details)

    def _child_timed_out(self, event: ev.Event, timed_out: ev.ChildWorkflowExecutionTimedOut) -> None:
        self._close(event, timed_out.initiated_event_id, "timed out", Outcome.BAD)

    def _child_terminated(self, event: ev.Event, terminated: ev.ChildWorkflowExecutionTerminated) -> None:
        self._close(event, terminated.initiated_event_id, "terminated", Outcome.BAD)

    # Other workflows.

    def _signal_initiated(self, event: ev.Event, initiated: ev.SignalExternalWorkflowExecutionInitiated) -> None:
        title = f"signal {short_name(initiated.signal_name)} to {initiated.workflow_id}"
        self._values(self._begin(event, title, open_=True), "request", initiated.input)

    def _signal_sent(self, event: ev.Event, sent: ev.ExternalWorkflowExecutionSignaled) -> None:
        self._close(event, sent.initiated_event_id, "sent", Outcome.GOOD)

    def _cancel_initiated(self, event: ev.Event, initiated: ev.RequestCancelExternalWorkflowExecutionInitiated) -> None:
        step = self._begin(event, f"cancel {initiated.workflow_id}", open_=True)
        if initiated.reason:
            step.lines.append(Line("reason", initiated.reason))

    def _cancel_sent(self, event: ev.Event, sent: ev.ExternalWorkflowExecutionCancelRequested) -> None:
        self._close(event, sent.initiated_event_id, "requested", Outcome.GOOD)

    def _not_sent(
        self,
        event: ev.Event,
        failed: ev.SignalExternalWorkflowExecutionFailed | ev.RequestCancelExternalWorkflowExecutionFailed,
    ) -> None:
        step = self._close(event, failed.initiated_event_id, "failed", Outcome.BAD)
        step.lines.append(Line("cause", failed.cause))

    # What a worker notes.

    def _marker(self, event: ev.Event, marker: ev.MarkerRecorded) -> None:
        details = marker.details
        if marker.marker_name == "core_patch":
            patch = _noted(_Patch, details.get("patch-data"))
            older = b"".join(payload.data for payload in details.get("patch_id", ()))
            self._patch = self._begin(event, f"patch {patch.id or older.decode(errors='replace')}")
            if patch.deprecated:
                self._patch.state = "deprecated"
        elif marker.marker_name == "core_local_activity":
            call = _noted(_LocalActivity, details.get("data"))
            is_side_effect = call.activity_type == contract.SIDE_EFFECT.name
            what = "side effect" if is_side_effect else f"local activity {short_name(call.activity_type)}"
            step = self._begin(event, what)
            step.state, step.outcome = _ended(marker.failure)
            step.attempt = call.attempt
            self._values(step, "result", details.get("result", ()))
            _failure(step, marker.failure)
            if call.backoff is not None:
                wait = duration_text(call.backoff.seconds * 10**9 + call.backoff.nanos)
                step.lines.append(Line("retried", f"after a timer of {wait}"))
        else:
            step = self._begin(event, f"marker {marker.marker_name}")
            for name, payloads in details.items():
                self._values(step, name, payloads)
            _failure(step, marker.failure)

    def _attributes_set(self, event: ev.Event, upserted: ev.UpsertWorkflowSearchAttributes) -> None:
        self._fields(self._begin(event, "search attributes"), upserted.search_attributes)

    def _memo_set(self, event: ev.Event, modified: ev.WorkflowPropertiesModified) -> None:
        self._fields(self._begin(event, "memo"), modified.upserted_memo)

    def _ignorable(self, event: ev.Event, ignorable: ev.Ignorable) -> None:
        self._begin(event, ignorable.event_type.lower().replace("_", " "))

    # Steps.

    def _begin(self, event: ev.Event, title: str, *, open_: bool = False) -> Step:
        step = Step(time=event.event_time, title=title, event_ids=[event.event_id])
        if open_:
            step.outcome = Outcome.OPEN
            step.state = "open"
        if event.user_metadata is not None and event.user_metadata.summary is not None:
            step.lines.append(Line("summary", self._describe(event.user_metadata.summary)))
        self._by_event[event.event_id] = step
        self.steps.append(step)
        return step

    def _join(self, event: ev.Event, begun_by: int) -> Step:
        """Add `event` to the step that event `begun_by` began; a step of its own when that one is not there."""
        step = self._by_event.get(begun_by)
        if step is None:
            return self._begin(event, f"{type(event.attributes).__name__} of event {begun_by}")
        step.event_ids.append(event.event_id)
        return step

    def _close(self, event: ev.Event, begun_by: int, state: str, outcome: Outcome) -> Step:
        step = self._join(event, begun_by)
        step.state, step.outcome, step.end = state, outcome, event.event_time
        return step

    def _values(self, step: Step, label: str, payloads: Payloads) -> None:
        step.lines.extend(Line(label, self._describe(payload)) for payload in payloads)

    def _fields(self, step: Step, payloads: Mapping[str, Payload]) -> None:
        for name, payload in payloads.items():
            self._values(step, name, (payload,))

    _TELL: ClassVar[Mapping[type[ev.Attributes], Callable[..., None]]] = {  # each takes its own type of event
        ev.WorkflowExecutionStarted: _started,
        ev.WorkflowExecutionCompleted: _completed,
        ev.WorkflowExecutionFailed: _failed,
        ev.WorkflowExecutionTimedOut: _timed_out,
        ev.WorkflowExecutionCanceled: _canceled,
        ev.WorkflowExecutionContinuedAsNew: _continued_as_new,
        ev.WorkflowExecutionTerminated: _terminated,
        ev.WorkflowExecutionSignaled: _signaled,
        ev.WorkflowExecutionCancelRequested: _cancel_requested,
        ev.WorkflowExecutionUpdateAdmitted: _update_admitted,
        ev.WorkflowExecutionUpdateAccepted: _update_accepted,
        ev.WorkflowExecutionUpdateCompleted: _update_completed,
        ev.WorkflowTaskScheduled: _task_scheduled,
        ev.WorkflowTaskStarted: _task_started,
        ev.WorkflowTaskCompleted: _task_completed,
        ev.WorkflowTaskFailed: _task_failed,
        ev.WorkflowTaskTimedOut: _task_timed_out,
        ev.ActivityTaskScheduled: _activity_scheduled,
        ev.ActivityTaskStarted: _activity_started,
        ev.ActivityTaskCancelRequested: _activity_cancel_requested,
        ev.ActivityTaskCompleted: _activity_completed,
        ev.ActivityTaskFailed: _activity_failed,
        ev.ActivityTaskTimedOut: _activity_timed_out,
        ev.ActivityTaskCanceled: _activity_canceled,
        ev.TimerStarted: _timer_started,
        ev.TimerFired: _timer_fired,
        ev.TimerCanceled: _timer_canceled,
        ev.StartChildWorkflowExecutionInitiated: _child_initiated,
        ev.StartChildWorkflowExecutionFailed: _child_not_started,
        ev.ChildWorkflowExecutionStarted: _child_started,
        ev.ChildWorkflowExecutionCompleted: _child_completed,
        ev.ChildWorkflowExecutionFailed: _child_failed,
        ev.ChildWorkflowExecutionCanceled: _child_canceled,
        ev.ChildWorkflowExecutionTimedOut: _child_timed_out,
        ev.ChildWorkflowExecutionTerminated: _child_terminated,
        ev.SignalExternalWorkflowExecutionInitiated: _signal_initiated,
        ev.ExternalWorkflowExecutionSignaled: _signal_sent,
        ev.SignalExternalWorkflowExecutionFailed: _not_sent,
        ev.RequestCancelExternalWorkflowExecutionInitiated: _cancel_initiated,
        ev.ExternalWorkflowExecutionCancelRequested: _cancel_sent,
        ev.RequestCancelExternalWorkflowExecutionFailed: _not_sent,
        ev.MarkerRecorded: _marker,
        ev.UpsertWorkflowSearchAttributes: _attributes_set,
        ev.WorkflowPropertiesModified: _memo_set,
        ev.Ignorable: _ignorable,
    }


def _lists_patches(attributes: ev.Attributes) -> bool:
    if not isinstance(attributes, ev.UpsertWorkflowSearchAttributes):
        return False
    return set(attributes.search_attributes) == {"TemporalChangeVersion"}


class _Patch(msgspec.Struct):
    id: str = ""
    deprecated: bool = False


class _Wait(msgspec.Struct):
    seconds: int = 0
    nanos: int = 0


class _LocalActivity(msgspec.Struct):
    activity_type: str = ""
    attempt: int = 0
    backoff: _Wait | None = None


def _noted(kind: type[T], payloads: Payloads | None) -> T:
    """What Core notes in a marker; nothing when it is not what Core writes."""
    try:
        return msgspec.json.decode(payloads[0].data if payloads else b"{}", type=kind)
    except msgspec.DecodeError:
        return kind()


def _ended(failure: Failure | None) -> tuple[str, Outcome]:
    if failure is None:
        return "completed", Outcome.GOOD
    each: Failure | None = failure
    while each is not None:
        if isinstance(each.info, CanceledFailureInfo):
            return "cancelled", Outcome.NEUTRAL
        each = each.cause
    return "failed", Outcome.BAD


def _failure(step: Step, failure: Failure | None) -> None:
    """Add a failure and what led to it."""
    label = "failure"
    while failure is not None:
        first, *rest = describe_failure(failure).splitlines() or [""]
        step.lines.append(Line(label, first, is_whole=bool(rest)))
        step.lines.extend(Line("", line, is_whole=True) for line in rest)  # a report, which has columns of its own
        label, failure = "caused by", failure.cause
