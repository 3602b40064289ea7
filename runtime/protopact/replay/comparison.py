"""What strict mode compares: each command of the code with the event that it has become, field by field.

`TABLES` is the whole of it. A field of a command that stands in no `Comparison` stands in `Table.left_out`, with the
reason. What the Temporal server writes into events by itself, defaults and upper limits of time-outs, is written into
the command before it is compared (`Table.fill`); an event may hold the field with or without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from protopact.errors import OptionError
from protopact.history import event as ev
from protopact.history.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    TimeoutFailureInfo,
)
from protopact.history.policy import Priority, RetryPolicy
from protopact.history.time import Duration
from protopact.origin import without_origin
from protopact.payload.converter import PayloadConverter
from protopact.payload.payload import Payload, Payloads
from protopact.replay import command as cmd
from protopact.replay.defaults import fill_activity, fill_child, fill_next_run, filled_policy
from protopact.replay.reader import Reader, seconds

__all__ = ["NAMES", "TABLES", "Comparer", "Comparison", "Difference", "Severity", "Table"]


class Severity(Enum):
    """What a difference means for the runs that are open."""

    ERROR = "error"
    """The run would go on with something that it did not ask for."""
    WARNING = "warning"
    """The run goes on as it did; what the code says now counts for later calls."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field in which a command differs from its event.

    Attributes:
        name: Name of the comparison, under which it can be relaxed.
        severity: Whether it is an error.
        event_id: The event.
        event_type: Its type.
        field: Name of the field in the event.
        expected: What the event holds, in words.
        found: What the code asks for, in words.
    """

    name: str
    severity: Severity
    event_id: int
    event_type: str
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"event {self.event_id}, {self.event_type}: the history holds {self.field} {self.expected}, the code asks "
            f"for {self.found} [{self.name}]"
        )


# How values are compared, and what they are in words.

_Same: TypeAlias = Callable[[Reader, Any, Any], bool]  # each takes the type of its fields
_Text: TypeAlias = Callable[[Reader, Any], str]  # the same


def _equal(_: Reader, expected: object, found: object) -> bool:
    return expected == found


def _word(_: Reader, value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _where_said(_: Reader, expected: str, found: str) -> bool:
    """For what the server writes when the command leaves it out."""
    return not found or expected == found


_BY_RUN = re.compile(r"Cancel requested by workflow with run id \S+ with reason: ")
"""What Core writes before the reason of a cancellation; the run is another one after a reset."""


def _same_reason(_: Reader, expected: str, found: str) -> bool:
    return _BY_RUN.sub("", expected) == _BY_RUN.sub("", found)


def _duration(_: Reader, value: Duration) -> str:
    return seconds(value) if value else "none"


def _timer(_: Reader, value: Duration) -> str:
    return seconds(value)


def _same_payloads(reader: Reader, expected: Payloads, found: Payloads) -> bool:
    return reader.same(expected, found)


def _payloads(reader: Reader, value: Payloads) -> str:
    if reader.is_opaque(value):
        return f"{reader.texts(value)} (encoded by a codec that is not known here)"
    return reader.texts(value)


def _same_map(reader: Reader, expected: Mapping[str, Payload], found: Mapping[str, Payload]) -> bool:
    return expected.keys() == found.keys() and all(reader.same((expected[key],), (found[key],)) for key in found)


def _map(reader: Reader, value: Mapping[str, Payload]) -> str:
    return ", ".join(f"{key}={reader.texts((value[key],))}" for key in sorted(value)) or "nothing"


def _same_memo(reader: Reader, expected: Mapping[str, Payload], found: Mapping[str, Payload]) -> bool:
    """Without the digests of the contract that the code was generated from, which another one has otherwise."""
    return _same_map(reader, without_origin(expected), without_origin(found))


def _memo_where_said(reader: Reader, expected: Mapping[str, Payload], found: Mapping[str, Payload]) -> bool:
    return not without_origin(found) or _same_memo(reader, expected, found)


def _memo(reader: Reader, value: Mapping[str, Payload]) -> str:
    return _map(reader, without_origin(value))


def _map_where_said(reader: Reader, expected: Mapping[str, Payload], found: Mapping[str, Payload]) -> bool:
    return not found or _same_map(reader, expected, found)


def _same_keys(_: Reader, expected: Mapping[str, Payload], found: Mapping[str, Payload]) -> bool:
    return expected.keys() == found.keys()


def _keys(_: Reader, value: Mapping[str, Payload]) -> str:
    return ", ".join(sorted(value)) or "none"


def _same_retries(_: Reader, expected: RetryPolicy | None, found: RetryPolicy | None) -> bool:
    return filled_policy(expected) == filled_policy(found)


def _same_retries_if_any(reader: Reader, expected: RetryPolicy | None, found: RetryPolicy | None) -> bool:
    if expected is None or found is None:
        return expected is found
    return _same_retries(reader, expected, found)


def _same_priority(_: Reader, expected: Priority | None, found: Priority | None) -> bool:
    return (expected or Priority()) == (found or Priority())


def _priority(_: Reader, value: Priority | None) -> str:
    given = value or Priority()
    words = [
        *([f"key {given.priority_key}"] if given.priority_key else []),
        *([f"fairness key {given.fairness_key!r}"] if given.fairness_key else []),
        *([f"weight {given.fairness_weight:g}"] if given.fairness_weight else []),
    ]
    return ", ".join(words) or "none"


def _retries(_: Reader, value: RetryPolicy | None) -> str:
    if value is None:
        return "none"
    policy = filled_policy(value)
    words = [
        f"first {seconds(policy.initial_interval)}",
        f"times {policy.backoff_coefficient:g}",
        f"at most {seconds(policy.maximum_interval)}",
        f"{policy.maximum_attempts or 'unlimited'} attempts",
    ]
    if policy.non_retryable_error_types:
        words.append(f"not after {', '.join(policy.non_retryable_error_types)}")
    return ", ".join(words)


def _same_failure(reader: Reader, expected: Failure | None, found: Failure | None) -> bool:
    """Without what differs between machines and releases: source, stack trace, identity, and the SDKs' own words.

    A message is the code's only in an application's failure; of others it is the SDK's, in words of its own.
    """
    while expected is not None and found is not None:
        expected = _unveiled(expected)
        is_worded = isinstance(expected.info, ApplicationFailureInfo)
        if (is_worded and expected.message != found.message) or not _same_info(reader, expected.info, found.info):
            return False
        expected, found = expected.cause, found.cause
    return expected is found


def _unveiled(failure: Failure) -> Failure:
    """A failure whose message a codec had hidden, and that has been decoded."""
    hidden = failure.encoded_attributes
    if hidden is None or hidden.metadata.get("encoding") != b"json/plain":
        return failure
    return msgspec.structs.replace(failure, message=json.loads(hidden.data).get("message", failure.message))


def _same_info(reader: Reader, expected: object, found: object) -> bool:
    match expected, found:
        case ApplicationFailureInfo(), ApplicationFailureInfo():
            return (
                expected.type == found.type
                and expected.non_retryable == found.non_retryable
                and (expected.next_retry_delay or 0) == (found.next_retry_delay or 0)
                and reader.same(expected.details, found.details)
            )
        case CanceledFailureInfo(), CanceledFailureInfo():
            return reader.same(expected.details, found.details)
        case TimeoutFailureInfo(), TimeoutFailureInfo():
            return expected.timeout_type == found.timeout_type and reader.same(
                expected.last_heartbeat_details, found.last_heartbeat_details
            )
        case ActivityFailureInfo(), ActivityFailureInfo():
            return (expected.activity_type, expected.activity_id) == (found.activity_type, found.activity_id)
        case ChildWorkflowFailureInfo(), ChildWorkflowFailureInfo():
            return (expected.workflow_type, expected.workflow_id) == (found.workflow_type, found.workflow_id)
        case _:
            return type(expected) is type(found)


def _failure(_: Reader, value: Failure | None) -> str:
    words: list[str] = []
    while value is not None:
        value = _unveiled(value)
        kind = value.info.type if isinstance(value.info, ApplicationFailureInfo) else type(value.info).__name__
        words.append(f"{kind}: {value.message}" if kind else value.message)
        value = value.cause
    return ", because of ".join(words) or "none"


# The tables.


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field that is compared.

    Attributes:
        name: What `relax` calls it.
        field: Name of the field, in the event and in the command.
        severity: What a difference is.
        same: Whether two values are the same: reader, the event's, the command's.
        text: A value in words.
        always_error: Whether this difference is an error whatever the severity; given both values.
    """

    name: str
    field: str
    severity: Severity = Severity.ERROR
    same: _Same = _equal
    text: _Text = _word
    always_error: Callable[[Any, Any], bool] | None = None  # of the type of its fields


@dataclass(frozen=True, slots=True)
class Table:
    """What is compared of one kind of command.

    Attributes:
        command: The command.
        comparisons: Its fields that are compared.
        left_out: Its fields that are not, and why.
        fill: Writes into the command what the server writes into the event.
    """

    command: type[Any]
    comparisons: tuple[Comparison, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    fill: Callable[[Any, ev.WorkflowExecutionStarted], Any] | None = None


def _warn(
    name: str,
    *,
    field: str = "",
    same: _Same = _equal,
    text: _Text = _word,
    always_error: Callable[[Any, Any], bool] | None = None,
) -> Comparison:
    return Comparison(name, field or name, Severity.WARNING, same, text, always_error=always_error)


def _is_zero_for_one(expected: Duration, found: Duration) -> bool:
    """A timer of no time fires at once, in the same task."""
    return not expected or not found


_INPUT = Comparison("input", "input", same=_same_payloads, text=_payloads)
_HEADER = Comparison("header", "header", same=_same_keys, text=_keys)
_RESULT = Comparison("result", "result", same=_same_payloads, text=_payloads)
_FAILURE = Comparison("failure", "failure", same=_same_failure, text=_failure)
_TARGET = (
    Comparison("target", "namespace", same=_where_said),
    Comparison("target", "workflow_id"),
    Comparison("target", "run_id"),
    Comparison("target", "child_workflow_only"),
)

TABLES: Mapping[type[ev.Attributes], Table] = {
    ev.ActivityTaskScheduled: Table(
        cmd.ScheduleActivityTask,
        (
            Comparison("type", "activity_type"),
            Comparison("id", "activity_id"),
            _INPUT,
            _warn("task_queue"),
            _warn("schedule_to_close_timeout", text=_duration),
            _warn("schedule_to_start_timeout", text=_duration),
            _warn("start_to_close_timeout", text=_duration),
            _warn("heartbeat_timeout", text=_duration),
            _warn("retry_policy", same=_same_retries, text=_retries),
            _warn("priority", same=_same_priority, text=_priority),
            _HEADER,
        ),
        {},
        fill_activity,
    ),
    ev.ActivityTaskCancelRequested: Table(cmd.RequestCancelActivityTask, (Comparison("target", "scheduled_event_id"),)),
    ev.TimerStarted: Table(
        cmd.StartTimer,
        (
            Comparison("id", "timer_id"),
            _warn("duration", field="start_to_fire_timeout", text=_timer, always_error=_is_zero_for_one),
        ),
    ),
    ev.TimerCanceled: Table(cmd.CancelTimer, (Comparison("id", "timer_id"), Comparison("target", "started_event_id"))),
    ev.WorkflowExecutionCompleted: Table(cmd.CompleteWorkflowExecution, (_RESULT,)),
    ev.WorkflowExecutionFailed: Table(cmd.FailWorkflowExecution, (_FAILURE,)),
    ev.WorkflowExecutionCanceled: Table(
        cmd.CancelWorkflowExecution, (Comparison("details", "details", same=_same_payloads, text=_payloads),)
    ),
    ev.WorkflowExecutionContinuedAsNew: Table(
        cmd.ContinueAsNewWorkflowExecution,
        (
            Comparison("type", "workflow_type"),
            _INPUT,
            _warn("task_queue"),
            _warn("run_timeout", field="workflow_run_timeout", text=_duration),
            _warn("task_timeout", field="workflow_task_timeout", text=_duration),
            _warn("backoff_start_interval", same=_where_said, text=_duration),
            _HEADER,
            _warn("memo", same=_memo_where_said, text=_memo),
            _warn("search_attributes", same=_map_where_said, text=_map),
        ),
        {"retry_policy": "the event does not hold it; the next run's start does"},
        fill_next_run,
    ),
    ev.MarkerRecorded: Table(
        cmd.RecordMarker,
        (Comparison("marker", "marker_name"),),
        {
            "details": "the core compares the id of a patch, and the type and order of local activities, whose markers "
            "hold no input",
            "header": "the SDKs write none",
            "failure": "a local activity is not run again: its marker is its outcome",
        },
    ),
    ev.UpsertWorkflowSearchAttributes: Table(
        cmd.UpsertSearchAttributes, (Comparison("search_attributes", "search_attributes", same=_same_map, text=_map),)
    ),
    ev.WorkflowPropertiesModified: Table(
        cmd.ModifyWorkflowProperties, (Comparison("memo", "upserted_memo", same=_same_map, text=_map),)
    ),
    ev.StartChildWorkflowExecutionInitiated: Table(
        cmd.StartChildWorkflowExecution,
        (
            Comparison("type", "workflow_type"),
            Comparison("id", "workflow_id"),
            _INPUT,
            Comparison("target", "namespace", same=_where_said),
            _warn("task_queue"),
            _warn("execution_timeout", field="workflow_execution_timeout", text=_duration),
            _warn("run_timeout", field="workflow_run_timeout", text=_duration),
            _warn("task_timeout", field="workflow_task_timeout", text=_duration),
            _warn("parent_close_policy"),
            _warn("id_reuse_policy", field="workflow_id_reuse_policy"),
            _warn("retry_policy", same=_same_retries_if_any, text=_retries),
            _warn("cron_schedule"),
            _HEADER,
            _warn("memo", same=_same_memo, text=_memo),
            _warn("search_attributes", same=_same_map, text=_map),
            _warn("priority", same=_same_priority, text=_priority),
        ),
        {},
        fill_child,
    ),
    ev.SignalExternalWorkflowExecutionInitiated: Table(
        cmd.SignalExternalWorkflowExecution, (*_TARGET, Comparison("type", "signal_name"), _INPUT, _HEADER)
    ),
    ev.RequestCancelExternalWorkflowExecutionInitiated: Table(
        cmd.RequestCancelExternalWorkflowExecution, (*_TARGET, Comparison("reason", "reason", same=_same_reason))
    ),
    ev.WorkflowExecutionUpdateAccepted: Table(
        cmd.AcceptUpdate,
        (),
        {
            "request": "the code is handed the request that the event holds",
            "sequencing_event_id": "it says when the update came, which the code does not choose",
        },
    ),
    ev.WorkflowExecutionUpdateCompleted: Table(
        cmd.CompleteUpdate,
        (
            Comparison("id", "update_id"),
            Comparison("target", "accepted_event_id"),
            Comparison("result", "success", same=_same_payloads, text=_payloads),
            _FAILURE,
        ),
    ),
}
"""For each type of command event what is compared of it."""


def _values(table: Table) -> Callable[[Any], tuple[Any, ...]]:  # of the command, or of the event
    names = [each.field for each in table.comparisons]
    get = attrgetter(*names) if names else None
    if len(names) > 1 and get is not None:
        return get
    return lambda of: () if get is None else (get(of),)


_VALUES = {kind: _values(table) for kind, table in TABLES.items()}
"""What is compared, out of a command or of the event that it has become."""

NAMES: frozenset[str] = frozenset(each.name for table in TABLES.values() for each in table.comparisons)
"""Names of the comparisons, for `relax`."""


class Comparer:
    """Compares the commands of one run with its events, and keeps what is worth a warning.

    Args:
        converter: Reads payloads.
        relax: Names of comparisons that are not made.

    Attributes:
        warnings: Differences that are no errors, in the order of the events.

    Raises:
        OptionError: There is no such comparison.
    """

    __slots__ = ("_relax", "_started", "reader", "warnings")

    def __init__(self, converter: PayloadConverter, relax: Collection[str] = ()) -> None:
        if unknown := sorted(set(relax) - NAMES):
            raise OptionError(
                f"relax: there is no comparison {', '.join(map(repr, unknown))}; expected names among "
                f"{', '.join(sorted(NAMES))}"
            )
        self.reader = Reader(converter)
        self.warnings: list[Difference] = []
        self._relax = frozenset(relax)
        self._started = ev.WorkflowExecutionStarted()

    def begin(self, started: ev.WorkflowExecutionStarted) -> None:
        """The run has begun: what it says is the default of much that it asks for."""
        self._started = started

    def errors(self, event: ev.Event, command: cmd.Command) -> tuple[Difference, ...]:
        """Compare a command with its event; warnings are kept.

        Args:
            event: The event.
            command: A command that becomes events of its type.

        Returns:
            The differences that are errors.
        """
        found = list(self.differences(event, command))
        if not found:
            return ()
        errors = tuple(each for each in found if each.severity is Severity.ERROR)
        if not errors:  # otherwise it is another call, whose options say nothing
            self.warnings += found
        return errors

    def differences(self, event: ev.Event, command: cmd.Command) -> Iterator[Difference]:
        """All differences between a command and its event."""
        kind = type(event.attributes)
        table, values = TABLES[kind], _VALUES[kind]
        held, asked = values(event.attributes), values(command)
        if held == asked:  # what is equal is the same, whatever it is
            return
        filled = asked if table.fill is None else values(table.fill(command, self._started))
        for each, expected, found, written in zip(table.comparisons, held, asked, filled, strict=True):
            if expected in (found, written) or each.name in self._relax:
                continue
            if each.same(self.reader, expected, found) or each.same(self.reader, expected, written):
                continue
            severity = each.severity
            if each.always_error is not None and each.always_error(expected, found):
                severity = Severity.ERROR
            yield Difference(
                name=each.name,
                severity=severity,
                event_id=event.event_id,
                event_type=kind.__name__,
                field=each.field,
                expected=each.text(self.reader, expected),
                found=each.text(self.reader, found),
            )
