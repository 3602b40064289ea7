"""Temporal's JSON, both ways; Temporal's own classes are the judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.api.enums import v1 as enums
from temporalio.api.enums.v1 import (
    ApplicationErrorCategory,
    CancelExternalWorkflowExecutionFailedCause,
    ContinueAsNewInitiator,
    EventType,
    ParentClosePolicy,
    RetryState,
    SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
    TimeoutType,
    UpdateAdmittedEventOrigin,
    VersioningBehavior,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import History as History_
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from protopact.errors import HistoryError
from protopact.history import History
from protopact.history import event as ev
from protopact.history import failure as fl
from protopact.history.enums import NAMES
from protopact.history.json import from_json, to_json
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload

HISTORIES = Path(__file__).parents[1] / "replay" / "histories"
RECORDED = sorted(HISTORIES.glob("*.json"))

# Everything that the event model can hold: a strategy for each of its classes, out of its fields.


def names_of(enum: EnumDescriptor, prefix: str) -> st.SearchStrategy[str]:
    names = [value.name.removeprefix(prefix) for value in enum.values]
    return st.sampled_from(["" if name == "UNSPECIFIED" else name for name in names])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
NANOSECONDS = st.one_of(
    st.integers(0, 10**4).map(lambda seconds: seconds * 10**9),
    st.integers(0, 10**7).map(lambda milliseconds: milliseconds * 10**6),
    st.integers(0, 10**10).map(lambda microseconds: microseconds * 10**3),
    st.integers(-(10**18), 10**18),
)
TIMES = st.integers(-(62_135_596_800 * 10**9), 253_402_300_800 * 10**9 - 1) | NANOSECONDS
RETRY_STATES = names_of(RetryState.DESCRIPTOR, "RETRY_STATE_")
TIMEOUT_TYPES = names_of(TimeoutType.DESCRIPTOR, "TIMEOUT_TYPE_")
UINT32 = st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "attempt": INT32,
    "category": names_of(ApplicationErrorCategory.DESCRIPTOR, "APPLICATION_ERROR_CATEGORY_"),
    "core_used_flags": UINT32,
    "initiator": names_of(ContinueAsNewInitiator.DESCRIPTOR, "CONTINUE_AS_NEW_INITIATOR_"),
    "fairness_weight": st.integers(0, 80).map(lambda eighths: eighths / 8),
    "lang_used_flags": UINT32,
    "maximum_attempts": INT32,
    "origin": names_of(UpdateAdmittedEventOrigin.DESCRIPTOR, "UPDATE_ADMITTED_EVENT_ORIGIN_"),
    "priority_key": INT32,
    "retry_state": RETRY_STATES,
    "timeout_type": TIMEOUT_TYPES,
    "parent_close_policy": names_of(ParentClosePolicy.DESCRIPTOR, "PARENT_CLOSE_POLICY_"),
    "versioning_behavior": names_of(VersioningBehavior.DESCRIPTOR, "VERSIONING_BEHAVIOR_"),
    "workflow_id_reuse_policy": names_of(WorkflowIdReusePolicy.DESCRIPTOR, "WORKFLOW_ID_REUSE_POLICY_"),
}
CAUSES: dict[type[msgspec.Struct], st.SearchStrategy[str]] = {
    ev.WorkflowTaskFailed: names_of(WorkflowTaskFailedCause.DESCRIPTOR, "WORKFLOW_TASK_FAILED_CAUSE_"),
    ev.StartChildWorkflowExecutionFailed: names_of(
        StartChildWorkflowExecutionFailedCause.DESCRIPTOR, "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_"
    ),
    ev.SignalExternalWorkflowExecutionFailed: names_of(
        SignalExternalWorkflowExecutionFailedCause.DESCRIPTOR, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_"
    ),
    ev.RequestCancelExternalWorkflowExecutionFailed: names_of(
        CancelExternalWorkflowExecutionFailedCause.DESCRIPTOR, "CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_"
    ),
}

payloads = st.builds(
    Payload, metadata=st.dictionaries(TEXT, st.binary(max_size=5), max_size=2), data=st.binary(max_size=5)
)


def of_type(hint: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a type expression
    arguments = get_args(hint)
    if type(None) in arguments:
        inner = [each for each in arguments if each is not type(None)]
        return st.none() | st.one_of(*map(of_type, inner))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return payloads if hint is Payload else failures if hint is fl.Failure else structs(hint)
    scalars = {str: TEXT, int: INT64, bool: st.booleans(), Timestamp: TIMES, Duration: NANOSECONDS}
    if hint in scalars:
        return scalars[hint]
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if get_origin(hint) is dict:
        return st.dictionaries(TEXT, payloads if arguments[1] is Payload else of_type(arguments[1]), max_size=2)
    return st.lists(of_type(arguments[0]), max_size=2).map(tuple)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    build: Callable[..., msgspec.Struct] = kind
    fields = {
        name: CAUSES[kind] if name == "cause" and kind in CAUSES else FIELDS[name] if name in FIELDS else of_type(hint)
        for name, hint in get_type_hints(kind).items()
        if name not in {"success", "failure"} or kind is not ev.WorkflowExecutionUpdateCompleted
    }
    # Any subset of the fields: what is absent keeps its default.
    built = st.fixed_dictionaries({}, optional=fields)
    if kind is ev.WorkflowExecutionUpdateCompleted:
        outcome = st.fixed_dictionaries({"success": st.lists(payloads, max_size=2).map(tuple)}) | st.fixed_dictionaries(
            {"failure": failures}
        )
        return st.tuples(built, outcome).map(lambda both: build(**both[0], **both[1]))
    return built.map(lambda values: build(**values))


def later(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """What `structs` makes of a class; a failure holds failures, so it is asked when a value is drawn."""
    return st.deferred(lambda: structs(kind))


infos = st.none() | st.one_of(*(later(kind) for kind in get_args(fl.FailureInfo)))
leaves = st.builds(
    fl.Failure, message=TEXT, info=infos, source=TEXT, stack_trace=TEXT, encoded_attributes=st.none() | payloads
)
failures: st.SearchStrategy[fl.Failure] = leaves | st.builds(fl.Failure, message=TEXT, info=infos, cause=leaves)

KNOWN = [kind for kind in get_args(ev.Attributes) if kind is not ev.Ignorable]


@pytest.mark.parametrize("kind", KNOWN, ids=lambda kind: kind.__name__)
def test_every_event_type_passes_through_temporals_own_classes(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(structs(kind), TIMES, st.none() | structs(ev.UserMetadata))
    def check(attributes: ev.Attributes, time: int, words: ev.UserMetadata | None) -> None:
        events = [ev.Event(1, Timestamp(time), attributes, words)]
        text = to_json(events)
        assert from_json(text) == events
        theirs = json_format.Parse(text, History_())
        assert theirs.events[0].WhichOneof("attributes") is not None
        assert from_json(json_format.MessageToJson(theirs)) == events
        assert from_json(json_format.MessageToJson(theirs, preserving_proto_field_name=True)) == events

    check()


def test_every_attributes_class_is_an_event_type_of_temporal() -> None:
    for kind in KNOWN:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__)
        assert f"EVENT_TYPE_{name.upper()}" in EventType.DESCRIPTOR.values_by_name
        assert f"{name.lower()}_event_attributes" in HistoryEvent.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_history_round_trips(path: Path) -> None:
    text = path.read_text()
    history = History.from_json(text)
    again = history.to_json()
    assert History.from_json(again) == history
    # Everything is there, fields that the event model lacks too.
    assert json_format.Parse(again, History_()) == json_format.Parse(text, History_())
    # So it is when the file spells its fields and enums otherwise.
    other = json_format.MessageToJson(
        json_format.Parse(text, History_()), preserving_proto_field_name=True, use_integers_for_enums=True
    )
    assert History.from_json(other) == history
    assert json_format.Parse(History.from_json(other).to_json(), History_()) == json_format.Parse(text, History_())


def one(**fields: object) -> str:
    event = {"eventId": "1", "eventTime": "2026-01-01T00:00:00Z", "eventType": "EVENT_TYPE_TIMER_STARTED"}
    return json.dumps({"events": [event | fields]})


def timer(**fields: object) -> str:
    return one(timerStartedEventAttributes=fields)


def test_older_files_spell_enums_integers_and_zones_otherwise() -> None:
    text = json.dumps(
        {
            "events": [
                {
                    "eventId": 1,
                    "eventTime": "2022-03-04T07:06:07.5+02:00",
                    "version": 0,
                    "eventType": "WorkflowExecutionStarted",
                    "workflowExecutionStartedEventAttributes": {
                        "initiator": "CronSchedule",
                        "attempt": 1,
                        "memo": None,
                    },
                },
                {
                    "eventId": 2,
                    "eventTime": "2022-03-04T05:06:08.000000001Z",
                    "eventType": "ActivityTaskTimedOut",
                    "activityTaskTimedOutEventAttributes": {
                        "scheduledEventId": 5,
                        "retryState": "MaximumAttemptsReached",
                        "failure": {"timeoutFailureInfo": {"timeoutType": "StartToClose"}},
                    },
                },
            ]
        }
    )
    first, second = from_json(text)
    assert first.event_time == 1_646_370_367_500_000_000
    assert first.attributes == ev.WorkflowExecutionStarted(initiator="CRON_SCHEDULE", attempt=1)
    assert second.event_time == 1_646_370_368_000_000_001
    assert second.attributes == ev.ActivityTaskTimedOut(
        scheduled_event_id=5,
        retry_state="MAXIMUM_ATTEMPTS_REACHED",
        failure=fl.Failure(info=fl.TimeoutFailureInfo(timeout_type="START_TO_CLOSE")),
    )
    assert from_json(WorkflowHistory.from_json("any", text).to_json()) == [first, second]


def test_the_text_is_as_temporal_writes_it() -> None:
    started = ev.TimerStarted(
        timer_id="1", start_to_fire_timeout=Duration(1_500_000_000), workflow_task_completed_event_id=4
    )
    assert json.loads(to_json([ev.Event(5, Timestamp(1_767_225_600_000_120_000), started)])) == {
        "events": [
            {
                "eventId": "5",
                "eventTime": "2026-01-01T00:00:00.000120Z",
                "eventType": "EVENT_TYPE_TIMER_STARTED",
                "timerStartedEventAttributes": {
                    "timerId": "1",
                    "startToFireTimeout": "1.500s",
                    "workflowTaskCompletedEventId": "4",
                },
            }
        ]
    }


def test_unknown_fields_are_ignored() -> None:
    (event,) = from_json(timer(timerId="1", invented={"deep": [1]}))
    assert event.attributes == ev.TimerStarted(timer_id="1")


def test_an_unknown_event_type_is_refused_by_name() -> None:
    with pytest.raises(HistoryError, match=r"event 1 .* EVENT_TYPE_NEXUS_OPERATION_SCHEDULED, which matters"):
        from_json(one(eventType="EVENT_TYPE_NEXUS_OPERATION_SCHEDULED"))


@pytest.mark.parametrize(
    "name",
    [
        "WORKFLOW_EXECUTION_UPDATE_REJECTED",
        "WORKFLOW_PROPERTIES_MODIFIED_EXTERNALLY",
        "ACTIVITY_PROPERTIES_MODIFIED_EXTERNALLY",
        "NEXUS_OPERATION_SCHEDULED",
        "NEXUS_OPERATION_CANCEL_REQUEST_FAILED",
    ],
)
def test_an_event_type_that_matters_to_temporals_core_is_refused_whatever_it_says_itself(name: str) -> None:
    with pytest.raises(HistoryError, match=f"EVENT_TYPE_{name}, which matters"):
        from_json(one(eventType=f"EVENT_TYPE_{name}", workerMayIgnore=True))


def test_an_unknown_event_type_that_may_be_ignored_is_kept_as_such() -> None:
    events = from_json(one(eventType="EVENT_TYPE_FROM_THE_FUTURE", workerMayIgnore=True))
    assert events[0].attributes == ev.Ignorable(event_type="FROM_THE_FUTURE")
    assert from_json(to_json(events)) == events


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not Temporal's JSON: Input data was truncated"),
        ("[]", "not Temporal's JSON: Expected `object`, got `array`; expected an object with a list 'events'"),
        ("{}", "missing required field `events`"),
        ('{"events": [3]}', r"events\[0\]: expected an object, found 3"),
        (one(eventId="x"), r'events\[0\]\.eventId: expected an integer, found "x"'),
        (one(eventTime=None), r"events\[0\]\.eventTime: expected text, found null"),
        (one(eventTime="yesterday"), r'events\[0\]\.eventTime: expected an RFC 3339 time, found "yesterday"'),
        (one(eventTime="2026-02-30T00:00:00Z"), r"eventTime: expected an RFC 3339 time"),
        (one(eventType=[11]), r"events\[0\]\.eventType: expected text, found \[11\]"),
        (timer(timerId=3), r"events\[0\]\.timerStartedEventAttributes\.timerId: expected text, found 3"),
        (timer(startToFireTimeout="ten"), r'startToFireTimeout: expected a duration such as "10s", found "ten"'),
        (
            one(
                eventType="EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                activityTaskScheduledEventAttributes={"input": {"payloads": [{"data": "%"}]}},
            ),
            r'EventAttributes\.input\.payloads\[0\]\.data: expected base64, found "%"',
        ),
        (
            one(
                eventType="EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                activityTaskScheduledEventAttributes={"activityType": "Work", "input": {"payloads": {}}},
            ),
            r'EventAttributes\.activityType: expected an object, found "Work"',
        ),
        (
            one(
                eventType="EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                activityTaskScheduledEventAttributes={"header": {"fields": {"trace": []}}, "input": {"payloads": {}}},
            ),
            r"header\.fields\.trace: expected an object, found \[\]",
        ),
        (
            one(
                eventType="EVENT_TYPE_WORKFLOW_TASK_COMPLETED",
                workflowTaskCompletedEventAttributes={"sdkMetadata": {"coreUsedFlags": "1" * 100}},
            ),
            r'sdkMetadata\.coreUsedFlags: expected a list, found "1{59}\.\.\.',
        ),
    ],
)
def test_what_is_no_history_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        from_json(text)


@pytest.mark.parametrize("prefix", NAMES)
def test_enums_are_as_long_as_temporals_and_may_be_numbers(prefix: str) -> None:
    (enum,) = (
        found.DESCRIPTOR
        for found in vars(enums).values()
        if isinstance(found, EnumTypeWrapper) and f"{prefix}UNSPECIFIED" in found.DESCRIPTOR.values_by_name
    )
    numbers = {prefix + (name or "UNSPECIFIED"): number for number, name in enumerate(NAMES[prefix])}
    assert numbers == {value.name: value.number for value in enum.values}


def test_numbers_of_enums_are_read_and_those_of_the_future_are_kept() -> None:
    text = one(eventType=9, workflowTaskFailedEventAttributes={"cause": 24})
    assert from_json(text)[0].attributes == ev.WorkflowTaskFailed(cause="NON_DETERMINISTIC_ERROR")
    text = one(eventType=9, workflowTaskFailedEventAttributes={"cause": 1024})
    events = from_json(text)
    assert events[0].attributes == ev.WorkflowTaskFailed(cause="1024")
    written = json_format.Parse(to_json(events), History_())
    assert written.events[0].workflow_task_failed_event_attributes.cause == 1024
    events = from_json(one(eventType=1024, workerMayIgnore=True))
    assert events[0].attributes == ev.Ignorable(event_type="1024")
    assert json_format.Parse(to_json(events), History_()).events[0].event_type == 1024
    with pytest.raises(HistoryError, match="event 1 of the history is of the type 1024, which matters"):
        from_json(one(eventType=1024))
