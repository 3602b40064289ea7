"""The timeline of hand-written histories, compared as text: what a person sees is what is asserted."""

from __future__ import annotations

from textwrap import dedent
from typing import get_args

import msgspec
import pytest

from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, CanceledFailureInfo, Failure, TimeoutFailureInfo
from protopact.history.step import Outcome, steps
from protopact.history.time import Duration, Timestamp
from protopact.history.timeline import render
from protopact.history.words import describe_payload, duration_text
from protopact.payload.payload import Payload

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
START = 1_767_225_600 * SECOND  # 2026-01-01 00:00:00 UTC


def history(*attributes: tuple[int, ev.Attributes]) -> list[ev.Event]:
    """Events from (milliseconds since the start, attributes)."""
    return [
        ev.Event(event_id=number, event_time=Timestamp(START + at * MILLISECOND), attributes=event)
        for number, (at, event) in enumerate(attributes, start=1)
    ]


def value(text: str, message: str = "nodes.v1.Message") -> tuple[Payload, ...]:
    return (Payload(metadata={"encoding": b"json/protobuf", "messageType": message.encode()}, data=text.encode()),)


ADD_NODE = history(
    (
        0,
        ev.WorkflowExecutionStarted(
            workflow_type="nodes.v1.Nodes.AddNode",
            workflow_id="node/n1",
            original_execution_run_id="run-1",
            task_queue="nodes",
            input=value('{"nodeId":"n1","machineType":"e2"}'),
        ),
    ),
    (0, ev.WorkflowExecutionSignaled(signal_name="nodes.v1.Nodes.Pause", input=value('{"reason":"lunch"}'))),
    (0, ev.WorkflowTaskScheduled(task_queue="nodes")),
    (1, ev.WorkflowTaskStarted(scheduled_event_id=3)),
    (2, ev.WorkflowTaskCompleted(scheduled_event_id=3, started_event_id=4)),
    (2, ev.ActivityTaskScheduled(activity_id="1", activity_type="nodes.v1.Nodes.CreateVm", input=value("{}"))),
    (2, ev.TimerStarted(timer_id="2", start_to_fire_timeout=Duration(90 * SECOND))),
    (
        3,
        ev.ActivityTaskStarted(
            scheduled_event_id=6, attempt=3, last_failure=Failure("no room", ApplicationFailureInfo(type="CloudError"))
        ),
    ),
    (40, ev.ActivityTaskCompleted(scheduled_event_id=6, started_event_id=8, result=value('{"vmId": "vm-1"}'))),
    (40, ev.WorkflowTaskScheduled(task_queue="nodes")),
    (41, ev.WorkflowTaskStarted(scheduled_event_id=10)),
    (42, ev.WorkflowTaskFailed(scheduled_event_id=10, cause="NON_DETERMINISTIC_ERROR", failure=Failure("no call"))),
    (50, ev.WorkflowTaskScheduled(task_queue="nodes", attempt=2)),
    (51, ev.WorkflowTaskStarted(scheduled_event_id=13)),
    (52, ev.WorkflowTaskCompleted(scheduled_event_id=13, started_event_id=14)),
    (
        52,
        ev.WorkflowExecutionUpdateAccepted(
            accepted_request=ev.UpdateRequest(update_id="u1", name="nodes.v1.Nodes.Resize", args=value('{"to":"big"}'))
        ),
    ),
    (52, ev.WorkflowExecutionUpdateCompleted(update_id="u1", accepted_event_id=16, success=value('{"was":"small"}'))),
    (52, ev.TimerCanceled(timer_id="2", started_event_id=7)),
    (1300, ev.WorkflowExecutionCompleted(result=value('{"vmId": "vm-1"}'))),
)


def test_a_history_reads_as_steps_with_values_attempts_and_durations() -> None:
    assert render(ADD_NODE) == dedent("""\
        AddNode node/n1  completed after 1.30 s
          type     nodes.v1.Nodes.AddNode
          run      run-1
          queue    nodes
          started  2026-01-01 00:00:00.000 UTC
          events   19, 3 workflow tasks

        +0.000 s  started AddNode    [1]
                  request  {"nodeId": "n1", "machineType": "e2"}

        +0.000 s  signal Pause       [2]
                  request  {"reason": "lunch"}

        +0.002 s  activity CreateVm  completed in 38 ms, attempt 3  [6, 8-9]
                  request    {}
                  attempt 2  CloudError: no room
                  result     {"vmId": "vm-1"}

        +0.002 s  timer 1 min 30 s   cancelled in 50 ms  [7, 18]

        +0.040 s  workflow task      failed in 2 ms  [10-12]
                  cause    NON_DETERMINISTIC_ERROR
                  failure  no call

        +0.052 s  update Resize      completed in 0 us  [16-17]
                  request  {"to": "big"}
                  result   {"was": "small"}

        +1.300 s  completed          [19]
                  result  {"vmId": "vm-1"}
        """)


def core(text: str) -> tuple[Payload, ...]:
    return (Payload(metadata={"encoding": b"json/plain"}, data=text.encode()),)


LOCAL = '{"activity_type":"nodes.v1.Nodes.Price","attempt":2,"backoff":{"seconds":70,"nanos":0},"new":1}'
PARENT = history(
    (
        0,
        ev.WorkflowExecutionStarted(
            workflow_type="nodes.v1.Nodes.Fleet", workflow_id="fleet", parent_workflow_id="region/eu", parent_run_id="r"
        ),
    ),
    (0, ev.MarkerRecorded(marker_name="core_patch", details={"patch-data": core('{"id":"faster","deprecated":true}')})),
    (0, ev.UpsertWorkflowSearchAttributes(search_attributes={"TemporalChangeVersion": core('["faster"]')[0]})),
    (0, ev.MarkerRecorded(marker_name="core_patch", details={"patch_id": (Payload({}, b"older"),)})),
    (1, ev.UpsertWorkflowSearchAttributes(search_attributes={"Region": core('"eu"')[0]})),
    (1, ev.WorkflowPropertiesModified(upserted_memo={"note": core('"first"')[0]})),
    (
        2,
        ev.MarkerRecorded(
            marker_name="core_local_activity",
            details={"data": core(LOCAL)},
            failure=Failure("not yet", ApplicationFailureInfo(type="Busy")),
        ),
    ),
    (
        2,
        ev.MarkerRecorded(
            marker_name="core_local_activity", details={"data": core("no JSON"), "result": value('{"euros":3}')}
        ),
    ),
    (2, ev.MarkerRecorded(marker_name="Version", details={"version": core("3")})),
    (
        3,
        ev.StartChildWorkflowExecutionInitiated(
            workflow_type="nodes.v1.Nodes.AddNode", workflow_id="node/a", input=value('{"nodeId":"a"}')
        ),
    ),
    (3, ev.StartChildWorkflowExecutionInitiated(workflow_type="nodes.v1.Nodes.AddNode", workflow_id="node/b")),
    (3, ev.SignalExternalWorkflowExecutionInitiated(workflow_id="bank", signal_name="Pay", input=value("{}"))),
    (3, ev.RequestCancelExternalWorkflowExecutionInitiated(workflow_id="old", reason="replaced")),
    (4, ev.ChildWorkflowExecutionStarted(initiated_event_id=10, workflow_id="node/a", run_id="run-a")),
    (4, ev.StartChildWorkflowExecutionFailed(initiated_event_id=11, cause="WORKFLOW_ALREADY_EXISTS")),
    (5, ev.ExternalWorkflowExecutionSignaled(initiated_event_id=12)),
    (
        5,
        ev.RequestCancelExternalWorkflowExecutionFailed(
            initiated_event_id=13, cause="EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"
        ),
    ),
    (
        903,
        ev.ChildWorkflowExecutionCompleted(initiated_event_id=10, started_event_id=14, result=value('{"vmId":"v"}')),
    ),
    (
        1000,
        ev.WorkflowExecutionContinuedAsNew(
            workflow_type="nodes.v1.Nodes.Fleet",
            new_execution_run_id="run-2",
            input=value('{"left":4}'),
            backoff_start_interval=Duration(60 * SECOND),
        ),
    ),
)


def test_children_other_workflows_and_markers_read_as_steps() -> None:
    assert render(PARENT) == dedent("""\
        Fleet fleet  continued as new after 1 s
          type     nodes.v1.Nodes.Fleet
          started  2026-01-01 00:00:00.000 UTC
          events   19, 0 workflow tasks

        +0.000 s  started Fleet         [1]
                  parent  region/eu

        +0.000 s  patch faster          deprecated  [2-3]

        +0.000 s  patch older           [4]

        +0.001 s  search attributes     [5]
                  Region  "eu"

        +0.001 s  memo                  [6]
                  note  "first"

        +0.002 s  local activity Price  failed, attempt 2  [7]
                  failure  Busy: not yet
                  retried  after a timer of 1 min 10 s

        +0.002 s  local activity        completed  [8]
                  result  {"euros": 3}

        +0.002 s  marker Version        [9]
                  version  3

        +0.003 s  child AddNode node/a  completed in 900 ms  [10, 14, 18]
                  request  {"nodeId": "a"}
                  run      run-a
                  result   {"vmId": "v"}

        +0.003 s  child AddNode node/b  not started in 1 ms  [11, 15]
                  cause  WORKFLOW_ALREADY_EXISTS

        +0.003 s  signal Pay to bank    sent in 2 ms  [12, 16]
                  request  {}

        +0.003 s  cancel old            failed in 2 ms  [13, 17]
                  reason  replaced
                  cause   EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND

        +1.000 s  continued as new      [19]
                  as       Fleet
                  run      run-2
                  request  {"left": 4}
                  delayed  by 1 min
        """)


@pytest.mark.parametrize(
    ("end", "state", "label"),
    [
        (ev.ChildWorkflowExecutionFailed(initiated_event_id=2, failure=Failure("no")), "failed", "failure"),
        (ev.ChildWorkflowExecutionCanceled(initiated_event_id=2, details=value("{}")), "cancelled", "details"),
        (ev.ChildWorkflowExecutionTimedOut(initiated_event_id=2), "timed out", None),
        (ev.ChildWorkflowExecutionTerminated(initiated_event_id=2), "terminated", None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_child_ends_in_many_ways(end: ev.Attributes, state: str, label: str | None) -> None:
    events = history(
        (0, ev.WorkflowExecutionStarted()),
        (0, ev.StartChildWorkflowExecutionInitiated(workflow_type="C", workflow_id="c")),
        (7, end),
    )
    child = steps(events)[1]
    assert (child.title, child.state, child.end) == ("child C c", state, START + 7 * MILLISECOND)
    assert [line.label for line in child.lines] == ([label] if label else [])


def test_a_cancelled_local_activity_and_the_other_answers_of_other_workflows() -> None:
    events = history(
        (0, ev.WorkflowExecutionStarted()),
        (
            0,
            ev.MarkerRecorded(
                marker_name="core_local_activity",
                failure=Failure("over", cause=Failure("cancelled", CanceledFailureInfo())),
            ),
        ),
        (0, ev.SignalExternalWorkflowExecutionInitiated(workflow_id="w", signal_name="S")),
        (0, ev.RequestCancelExternalWorkflowExecutionInitiated(workflow_id="w")),
        (1, ev.SignalExternalWorkflowExecutionFailed(initiated_event_id=3, cause="NAMESPACE_NOT_FOUND")),
        (1, ev.ExternalWorkflowExecutionCancelRequested(initiated_event_id=4)),
    )
    assert [(step.title, step.state, step.outcome) for step in steps(events)[1:]] == [
        ("local activity ", "cancelled", Outcome.NEUTRAL),
        ("signal S to w", "failed", Outcome.BAD),
        ("cancel w", "requested", Outcome.GOOD),
    ]


def test_what_a_command_says_of_itself_is_shown() -> None:
    (event,) = history((0, ev.TimerStarted(start_to_fire_timeout=Duration(SECOND))))
    said = msgspec.structs.replace(event, user_metadata=ev.UserMetadata(summary=core('"a rest"')[0]))
    assert [(line.label, line.text) for line in steps([said])[0].lines] == [("summary", '"a rest"')]


def test_every_type_of_event_has_its_words() -> None:
    for kind in get_args(ev.Attributes):
        attributes = kind(event_type="X") if kind is ev.Ignorable else kind()
        assert render(history((0, ev.WorkflowExecutionStarted()), (1, attributes)), workflow_tasks=True)


def test_failures_show_their_causes() -> None:
    failure = Failure("activity task timed out", TimeoutFailureInfo("HEARTBEAT"), cause=Failure("the disk is full"))
    events = history(
        (0, ev.WorkflowExecutionStarted(workflow_type="W", workflow_id="w")),
        (1, ev.ActivityTaskScheduled(activity_type="Wait")),
        (2, ev.ActivityTaskStarted(scheduled_event_id=2, attempt=1)),
        (9, ev.ActivityTaskTimedOut(scheduled_event_id=2, started_event_id=3, failure=failure)),
        (10, ev.WorkflowExecutionFailed(failure=Failure("activity failed", cause=failure))),
    )
    _, activity, end = steps(events)
    assert activity.outcome is Outcome.BAD
    assert [(line.label, line.text) for line in activity.lines] == [
        ("failure", "HEARTBEAT timeout: activity task timed out"),
        ("caused by", "the disk is full"),
    ]
    assert [line.label for line in end.lines] == ["failure", "caused by", "caused by"]
    assert render(events).startswith("W w  failed after 10 ms\n")


def test_an_open_history_shows_what_is_open() -> None:
    events = ADD_NODE[:8]
    by_title = {step.title: step for step in steps(events)}
    assert by_title["activity CreateVm"].state == "running"
    assert by_title["timer 1 min 30 s"].outcome is Outcome.OPEN
    assert render(events).startswith("AddNode node/n1  open for 3 ms so far\n")


def test_every_event_belongs_to_one_step_when_workflow_tasks_are_shown() -> None:
    ids = [number for step in steps(ADD_NODE, workflow_tasks=True) for number in step.event_ids]
    assert sorted(ids) == [event.event_id for event in ADD_NODE]


def test_the_tail_of_a_history_is_shown_too() -> None:
    text = render(ADD_NODE[7:])
    assert text.startswith("Events 8 to 19 of a history\n")
    assert "ActivityTaskStarted of event 6" in text


def test_an_event_of_an_unknown_type_is_shown_by_its_name() -> None:
    events = history((0, ev.WorkflowExecutionStarted()), (1, ev.Ignorable(event_type="NEXUS_OPERATION_SCHEDULED")))
    assert steps(events)[1].title == "nexus operation scheduled"


def test_no_events() -> None:
    assert render([]) == "No events.\n"


def test_colour_only_when_asked() -> None:
    assert "\033" not in render(ADD_NODE)
    assert "\033[32m" in render(ADD_NODE, colour=True)


def test_values_are_cut_to_the_width() -> None:
    values = [line for line in render(ADD_NODE, width=44).splitlines() if "request  " in line or "failure  " in line]
    assert max(map(len, values)) == 44
    assert '          request  {"reason": "lunch"}' in values
    assert '          request  {"nodeId": "n1", "machin…' in values


def test_payloads_in_words() -> None:
    assert describe_payload(value('{"name":"Zoë"}')[0]) == '{"name": "Zoë"}'
    assert describe_payload(Payload({"encoding": b"binary/null"})) == "null"
    binary = Payload({"encoding": b"binary/protobuf", "messageType": b"nodes.v1.Vm"}, b"\x0a\x01n")
    assert describe_payload(binary) == "nodes.v1.Vm, 3 bytes"
    assert describe_payload(Payload({"encoding": b"binary/encrypted"}, b"???")) == "binary/encrypted, 3 bytes"
    assert describe_payload(Payload({"encoding": b"json/plain"}, b"{")) == "json/plain that is not JSON, 1 bytes"
    assert describe_payload(Payload({}, b"")) == "no encoding, 0 bytes"


def test_durations_in_words() -> None:
    minute, hour = 60 * SECOND, 3600 * SECOND
    assert [duration_text(n) for n in (0, 850_000, 12 * MILLISECOND, 1_320 * MILLISECOND, 30 * SECOND)] == [
        "0 us",
        "850 us",
        "12 ms",
        "1.32 s",
        "30 s",
    ]
    assert [duration_text(n) for n in (minute, 2 * minute + 3 * SECOND, hour, hour + 5 * minute)] == [
        "1 min",
        "2 min 3 s",
        "1 h",
        "1 h 5 min",
    ]


def test_offsets_grow_with_the_history() -> None:
    hour = 3_600_000
    events = history(
        (0, ev.WorkflowExecutionStarted(workflow_type="W", workflow_id="w")),
        (125_250, ev.WorkflowExecutionSignaled(signal_name="S")),
        (hour + 125_000, ev.WorkflowExecutionSignaled(signal_name="S")),
    )
    text = render(events)
    assert "\n +0.000 s  started W" in text
    assert "\n+2:05.250  signal S" in text
    assert "\n +1:02:05  signal S" in text
