"""A history as a person reads it: what belongs together in one step, with values, attempts and durations.

`steps` groups events, `render` writes the groups as text. Both are pure functions over the event model; values are put
into words by a function that the caller may give, so that this module needs no message library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, Failure, TimeoutFailureInfo
from protopact.history.time import Timestamp, to_datetime
from protopact.payload.payload import Payload, Payloads

__all__ = [
    "DescribePayload",
    "Line",
    "Outcome",
    "Step",
    "describe_payload",
    "duration_text",
    "render",
    "short_name",
    "steps",
]

DescribePayload = Callable[[Payload], str]
"""Puts a payload into words, in one line."""

_ActivityEvent: TypeAlias = (
    ev.ActivityTaskScheduled
    | ev.ActivityTaskStarted
    | ev.ActivityTaskCancelRequested
    | ev.ActivityTaskCompleted
    | ev.ActivityTaskFailed
    | ev.ActivityTaskTimedOut
    | ev.ActivityTaskCanceled
)
_WorkflowTaskEvent: TypeAlias = (
    ev.WorkflowTaskScheduled
    | ev.WorkflowTaskStarted
    | ev.WorkflowTaskCompleted
    | ev.WorkflowTaskFailed
    | ev.WorkflowTaskTimedOut
)
_ClosingEvent: TypeAlias = (
    ev.WorkflowExecutionCompleted
    | ev.WorkflowExecutionFailed
    | ev.WorkflowExecutionTimedOut
    | ev.WorkflowExecutionCanceled
    | ev.WorkflowExecutionTerminated
)
_OtherEvent: TypeAlias = (
    ev.WorkflowExecutionStarted
    | ev.WorkflowExecutionSignaled
    | ev.WorkflowExecutionCancelRequested
    | ev.WorkflowExecutionUpdateAccepted
    | ev.WorkflowExecutionUpdateCompleted
)
_TimerEvent: TypeAlias = ev.TimerStarted | ev.TimerFired | ev.TimerCanceled

_CLOSED: dict[type[ev.Attributes], str] = {
    ev.WorkflowExecutionCompleted: "completed",
    ev.WorkflowExecutionFailed: "failed",
    ev.WorkflowExecutionTimedOut: "timed out",
    ev.WorkflowExecutionCanceled: "cancelled",
    ev.WorkflowExecutionTerminated: "terminated",
}

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE


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


def short_name(name: str) -> str:
    """The rpc of a registered name: `CreateVm` of `nodes.provisioning.v1.NodeProvisionerService.CreateVm`."""
    return name.rpartition(".")[2] or name


def duration_text(value: int) -> str:
    """A duration in nanoseconds as a person says it: `850 us`, `12 ms`, `1.32 s`, `2 min 3 s`, `1 h 5 min`."""
    if value < 1_000_000:  # noqa: PLR2004 - a millisecond
        return f"{value // 1000} us"
    if value < _SECOND:
        return f"{value // 1_000_000} ms"
    if value < _MINUTE:
        return f"{value / _SECOND:.2f} s" if value % _SECOND else f"{value // _SECOND} s"
    if value < _HOUR:
        minutes, rest = divmod(value, _MINUTE)
        return f"{minutes} min {rest // _SECOND} s" if rest >= _SECOND else f"{minutes} min"
    hours, rest = divmod(value, _HOUR)
    return f"{hours} h {rest // _MINUTE} min" if rest >= _MINUTE else f"{hours} h"


def describe_payload(payload: Payload) -> str:
    """A payload in words: JSON as it is, anything else by its type and size."""
    encoding = payload.metadata.get("encoding", b"").decode("utf-8", "replace")
    if encoding.startswith("json/"):
        try:
            return json.dumps(json.loads(payload.data), ensure_ascii=False)
        except ValueError:
            return f"{encoding} that is not JSON, {len(payload.data)} bytes"
    if encoding == "binary/null":
        return "null"
    message_type = payload.metadata.get("messageType", b"").decode("utf-8", "replace")
    return f"{message_type or encoding or 'no encoding'}, {len(payload.data)} bytes"


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


def render(
    events: Sequence[ev.Event],
    *,
    describe: DescribePayload = describe_payload,
    workflow_tasks: bool = False,
    colour: bool = False,
    width: int | None = None,
) -> str:
    """A history as text.

    Args:
        events: A history, or the beginning of one.
        describe: Puts a payload into words.
        workflow_tasks: Whether workflow tasks are shown; those that failed always are.
        colour: Whether to use the escape sequences of a terminal.
        width: Longest line, in characters; values are cut to fit. None does not cut.
    """
    if not events:
        return "No events.\n"
    paint = _Paint(enabled=colour)
    all_steps = steps(events, describe=describe, workflow_tasks=workflow_tasks)
    lines = list(_heading(events, all_steps, paint))
    begin = events[0].event_time
    offsets = [f"+{_offset(step.time - begin)}" for step in all_steps]
    margin = max(len(offset) for offset in offsets)
    titles = max(len(step.title) for step in all_steps)
    for step, offset in zip(all_steps, offsets, strict=True):
        lines.append("")
        first = f"{offset:>{margin}}  {step.title:<{titles}}  "
        state = _state(step)
        ids = paint.dim(f"[{_ranges(step.event_ids)}]")
        lines.append(f"{first}{paint.outcome(step.outcome, state)}{'  ' if state else ''}{ids}")
        labels = max((len(line.label) for line in step.lines), default=0)
        for line in step.lines:
            label = f"{'':{margin}}  {line.label:<{labels}}  "
            text = line.text if width is None or line.is_whole else _cut(line.text, width - len(label))
            lines.append(f"{paint.dim(label)}{text}")
    return "\n".join(lines) + "\n"


class _Grouping:
    """Builds steps from events, one event after the other."""

    def __init__(self, describe: DescribePayload, *, workflow_tasks: bool) -> None:
        self.steps: list[Step] = []
        self._describe = describe
        self._workflow_tasks = workflow_tasks
        self._by_event: dict[int, Step] = {}
        self._tasks: dict[int, Step] = {}

    def add(self, event: ev.Event) -> None:
        """Take the next event."""
        attributes = event.attributes
        if isinstance(attributes, _ActivityEvent):
            self._activity(event, attributes)
        elif isinstance(attributes, _WorkflowTaskEvent):
            self._workflow_task(event, attributes)
        elif isinstance(attributes, _TimerEvent):
            self._timer(event, attributes)
        elif isinstance(attributes, _ClosingEvent):
            self._closing(event, attributes)
        elif isinstance(attributes, _OtherEvent):
            self._other(event, attributes)
        elif isinstance(attributes, ev.Ignorable):
            self._begin(event, attributes.event_type.lower().replace("_", " "))
        else:
            self._begin(event, re.sub(r"(?<!^)(?=[A-Z])", " ", type(attributes).__name__).lower())

    def _activity(self, event: ev.Event, attributes: _ActivityEvent) -> None:
        match attributes:
            case ev.ActivityTaskScheduled():
                step = self._begin(event, f"activity {short_name(attributes.activity_type)}", open_=True)
                self._values(step, "request", attributes.input)
            case ev.ActivityTaskStarted():
                step = self._join(event, attributes.scheduled_event_id)
                step.state, step.attempt = "running", attributes.attempt
                if attributes.last_failure is not None:
                    step.lines.append(Line(f"attempt {attributes.attempt - 1}", _failure_text(attributes.last_failure)))
            case ev.ActivityTaskCancelRequested():
                step = self._join(event, attributes.scheduled_event_id)
                step.lines.append(Line("cancel", f"requested after {duration_text(event.event_time - step.time)}"))
            case ev.ActivityTaskCompleted():
                step = self._close(event, attributes.scheduled_event_id, "completed", Outcome.GOOD)
                self._values(step, "result", attributes.result)
            case ev.ActivityTaskFailed():
                step = self._close(event, attributes.scheduled_event_id, "failed", Outcome.BAD)
                _failure(step, attributes.failure)
            case ev.ActivityTaskTimedOut():
                step = self._close(event, attributes.scheduled_event_id, "timed out", Outcome.BAD)
                _failure(step, attributes.failure)
            case ev.ActivityTaskCanceled():
                step = self._close(event, attributes.scheduled_event_id, "cancelled", Outcome.NEUTRAL)
                self._values(step, "details", attributes.details)

    def _closing(self, event: ev.Event, attributes: _ClosingEvent) -> None:
        state = _CLOSED[type(attributes)]
        step = self._begin(event, state)
        match attributes:
            case ev.WorkflowExecutionCompleted():
                step.outcome = Outcome.GOOD
                self._values(step, "result", attributes.result)
            case ev.WorkflowExecutionFailed():
                step.outcome = Outcome.BAD
                _failure(step, attributes.failure)
            case ev.WorkflowExecutionTimedOut():
                step.outcome = Outcome.BAD
            case ev.WorkflowExecutionCanceled():
                self._values(step, "details", attributes.details)
            case ev.WorkflowExecutionTerminated():
                step.outcome = Outcome.BAD
                if attributes.reason:
                    step.lines.append(Line("reason", attributes.reason))
                self._values(step, "details", attributes.details)

    def _timer(self, event: ev.Event, attributes: _TimerEvent) -> None:
        match attributes:
            case ev.TimerStarted():
                self._begin(event, f"timer {duration_text(attributes.start_to_fire_timeout)}", open_=True)
            case ev.TimerFired():
                self._close(event, attributes.started_event_id, "fired", Outcome.GOOD)
            case ev.TimerCanceled():
                self._close(event, attributes.started_event_id, "cancelled", Outcome.NEUTRAL)

    def _other(self, event: ev.Event, attributes: _OtherEvent) -> None:
        match attributes:
            case ev.WorkflowExecutionStarted():
                step = self._begin(event, f"started {short_name(attributes.workflow_type)}")
                self._values(step, "request", attributes.input)
                if attributes.first_workflow_task_backoff:
                    step.lines.append(Line("delayed", f"by {duration_text(attributes.first_workflow_task_backoff)}"))
                if attributes.continued_execution_run_id:
                    step.lines.append(Line("continues", f"run {attributes.continued_execution_run_id}"))
            case ev.WorkflowExecutionSignaled():
                step = self._begin(event, f"signal {short_name(attributes.signal_name)}")
                self._values(step, "request", attributes.input)
            case ev.WorkflowExecutionCancelRequested():
                step = self._begin(event, "cancel requested")
                if attributes.cause:
                    step.lines.append(Line("reason", attributes.cause))
            case ev.WorkflowExecutionUpdateAccepted():
                request = attributes.accepted_request or ev.UpdateRequest()
                step = self._begin(event, f"update {short_name(request.name)}", open_=True)
                self._values(step, "request", request.args)
            case ev.WorkflowExecutionUpdateCompleted():
                state, outcome = ("failed", Outcome.BAD) if attributes.failure else ("completed", Outcome.GOOD)
                step = self._close(event, attributes.accepted_event_id, state, outcome)
                self._values(step, "result", attributes.success)
                _failure(step, attributes.failure)

    def _begin(self, event: ev.Event, title: str, *, open_: bool = False) -> Step:
        step = Step(time=event.event_time, title=title, event_ids=[event.event_id])
        if open_:
            step.outcome = Outcome.OPEN
            step.state = "open"
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

    def _workflow_task(self, event: ev.Event, attributes: _WorkflowTaskEvent) -> None:
        if isinstance(attributes, ev.WorkflowTaskScheduled):
            step = Step(time=event.event_time, title="workflow task", state="open", outcome=Outcome.OPEN)
            step.event_ids.append(event.event_id)
            step.attempt = attributes.attempt
            self._tasks[event.event_id] = step
            if self._workflow_tasks:
                self.steps.append(step)
            return
        found = self._tasks.get(attributes.scheduled_event_id)
        step = found or Step(time=event.event_time, title="workflow task")
        step.event_ids.append(event.event_id)
        if isinstance(attributes, ev.WorkflowTaskStarted):
            step.state = "running"
            return
        step.end = event.event_time
        if isinstance(attributes, ev.WorkflowTaskCompleted):
            step.state, step.outcome = "completed", Outcome.GOOD
            return
        step.outcome = Outcome.BAD
        if isinstance(attributes, ev.WorkflowTaskFailed):
            step.state = "failed"
            if attributes.cause:
                step.lines.append(Line("cause", attributes.cause))
            _failure(step, attributes.failure)
        else:
            step.state = "timed out"
        if not (self._workflow_tasks and found):
            self.steps.append(step)


def _failure(step: Step, failure: Failure | None) -> None:
    """Add a failure and what led to it."""
    label = "failure"
    while failure is not None:
        first, *rest = _failure_text(failure).splitlines() or [""]
        step.lines.append(Line(label, first, is_whole=bool(rest)))
        step.lines.extend(Line("", line, is_whole=True) for line in rest)  # a report, which has columns of its own
        label, failure = "caused by", failure.cause


def _failure_text(failure: Failure) -> str:
    match failure.info:
        case ApplicationFailureInfo(type=name) if name:
            return f"{name}: {failure.message}"
        case TimeoutFailureInfo(timeout_type=kind) if kind:
            return f"{kind} timeout: {failure.message}"
        case _:
            return failure.message or "a failure without a message"


def _heading(events: Sequence[ev.Event], all_steps: Sequence[Step], paint: _Paint) -> Iterator[str]:
    first, last = events[0], events[-1]
    if not isinstance(first.attributes, ev.WorkflowExecutionStarted):
        yield paint.bold(f"Events {first.event_id} to {last.event_id} of a history")
        return
    started = first.attributes
    closed = _CLOSED.get(type(last.attributes))
    took = duration_text(last.event_time - first.event_time)
    state = f"{closed} after {took}" if closed else f"open for {took} so far"
    outcome = all_steps[-1].outcome if closed else Outcome.OPEN
    yield f"{paint.bold(f'{short_name(started.workflow_type)} {started.workflow_id}')}  {paint.outcome(outcome, state)}"
    tasks = sum(isinstance(event.attributes, ev.WorkflowTaskScheduled) for event in events)
    facts = (
        ("type", started.workflow_type),
        ("run", started.original_execution_run_id),
        ("queue", started.task_queue),
        ("started", f"{to_datetime(first.event_time):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"),
        ("events", f"{len(events)}, {tasks} workflow {'task' if tasks == 1 else 'tasks'}"),
    )
    for label, text in facts:
        if text:
            yield f"{paint.dim(f'  {label:<9}')}{text}"


def _state(step: Step) -> str:
    words = step.state
    if step.end is not None:
        words += f" in {duration_text(step.end - step.time)}"
    if step.attempt > 1:
        words += f", attempt {step.attempt}"
    return words


def _offset(value: int) -> str:
    """Time since the start, for a column: `0.012 s`, `2:05.250`, `1:02:05`."""
    if value < _MINUTE:
        return f"{value / _SECOND:.3f} s"
    minutes, rest = divmod(value, _MINUTE)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes}:{rest / _SECOND:06.3f}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // _SECOND:02d}"


def _ranges(ids: Sequence[int]) -> str:
    """Event ids, neighbours as a range: `5, 9-10`."""
    parts: list[tuple[int, int]] = []
    for number in ids:
        if parts and number == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], number)
        else:
            parts.append((number, number))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= max(width, 20) else text[: max(width, 20) - 1] + "…"


_COLOUR = {Outcome.OPEN: "33", Outcome.GOOD: "32", Outcome.BAD: "31", Outcome.NEUTRAL: "36"}


class _Paint:
    """Colours, or none."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    def outcome(self, outcome: Outcome, text: str) -> str:
        return self._wrap(_COLOUR[outcome], text)

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._enabled and text else text
