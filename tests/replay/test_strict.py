"""Strict mode: each command is compared with its event in full, and what others write is not mistaken for a change."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.replay.bench import CONVERTER, recorded
from tests.replay.families import Family, child
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.oracle import ACCEPTED
from tests.replay.stories import (
    Command,
    Program,
    Story,
    accepts,
    completes,
    ends,
    ends_failed,
    timer,
    told_by_them,
    told_by_us,
    work,
)
from tests.replay.test_patches import Changed as Changes
from tests.replay.workflows import RECORDED

from protopact.errors import NondeterminismError, OptionError
from protopact.history import History
from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.history.policy import RetryPolicy
from protopact.history.time import Duration
from protopact.payload import Payload, PayloadConverter
from protopact.payload.converter import Encoding
from protopact.payload.payload import Payloads
from protopact.policy import RetryPolicy as Retries
from protopact.replay import Replayer
from protopact.replay.activation import COMMAND_EVENTS
from protopact.replay.comparison import NAMES, TABLES, Severity
from protopact.workflow import Workflow

SECOND = 1_000_000_000


def test_every_field_of_every_command_is_compared_or_says_why_not() -> None:
    assert set(TABLES) == COMMAND_EVENTS
    for table in TABLES.values():
        fields = {each.name for each in msgspec.structs.fields(table.command)}
        compared = {each.field for each in table.comparisons}
        assert compared | set(table.left_out) == fields, table.command
        assert not compared & set(table.left_out), table.command


@pytest.mark.parametrize(("name", "cls"), RECORDED, ids=[name for name, _ in RECORDED])
def test_what_the_server_recorded_passes_without_a_warning(name: str, cls: type[Workflow]) -> None:
    result = Replayer(workflows=[cls]).replay(History(recorded(name)))
    assert result.warnings == ()


# What is changed is found.


def altered(name: str, kind: type[ev.Attributes], changes: dict[str, Any], nth: int = 0) -> History:
    """A recorded history in which one event says something else."""
    events = recorded(name)
    index = [index for index, event in enumerate(events) if isinstance(event.attributes, kind)][nth]
    attributes = msgspec.structs.replace(events[index].attributes, **changes)
    events[index] = ev.Event(events[index].event_id, events[index].event_time, attributes)
    return History(events)


def encoded(message: object, encoding: Encoding = "json/protobuf") -> Payloads:
    return PayloadConverter(encoding).to_details((message,))


A, T = ev.ActivityTaskScheduled, ev.TimerStarted
Change = tuple[str, type[ev.Attributes], dict[str, Any], str, Severity]
CHANGES: list[Change] = [
    ("sequence", A, {"input": encoded(Step(name="z"))}, "input", Severity.ERROR),
    ("sequence", A, {"input": ()}, "input", Severity.ERROR),
    ("sequence", A, {"header": {"trace": Payload()}}, "header", Severity.ERROR),
    ("sequence", A, {"task_queue": "elsewhere"}, "task_queue", Severity.WARNING),
    ("sequence", A, {"start_to_close_timeout": Duration(SECOND)}, "start_to_close_timeout", Severity.WARNING),
    ("sequence", A, {"schedule_to_close_timeout": Duration(SECOND)}, "schedule_to_close_timeout", Severity.WARNING),
    ("sequence", A, {"schedule_to_start_timeout": Duration(SECOND)}, "schedule_to_start_timeout", Severity.WARNING),
    ("sequence", A, {"heartbeat_timeout": Duration(SECOND)}, "heartbeat_timeout", Severity.WARNING),
    ("sequence", A, {"retry_policy": RetryPolicy(maximum_attempts=3)}, "retry_policy", Severity.WARNING),
    ("sequence", A, {"priority": ev.Priority(priority_key=2)}, "priority", Severity.WARNING),
    ("cancellable", T, {"start_to_fire_timeout": Duration(SECOND)}, "duration", Severity.WARNING),
    ("cancellable", T, {"start_to_fire_timeout": Duration(0)}, "duration", Severity.ERROR),
    ("cancellable", ev.WorkflowExecutionCanceled, {"details": encoded(Step())}, "details", Severity.ERROR),
    ("sequence", ev.WorkflowExecutionCompleted, {"result": encoded(Outcome(id="z"))}, "result", Severity.ERROR),
    ("saga", ev.WorkflowExecutionFailed, {"failure": Failure("other")}, "failure", Severity.ERROR),
    (
        "saga",
        ev.WorkflowExecutionFailed,
        {"failure": Failure("rolled back", ApplicationFailureInfo(type="RolledBack"))},
        "failure",
        Severity.ERROR,
    ),
    ("chatty_full", ev.WorkflowExecutionUpdateCompleted, {"success": ()}, "result", Severity.ERROR),
]
EVERY = list({cls for _, cls in RECORDED})


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change[3]} of {change[1].__name__}")
def test_a_change_is_found_and_relaxed_by_its_name(change: Change) -> None:
    name, kind, changes, comparison, severity = change
    history = altered(name, kind, changes)
    result = Replayer(workflows=EVERY).replay(history, raise_on_failure=False)
    if severity is Severity.ERROR:
        assert isinstance(result.error, NondeterminismError)
        found = result.error.differences
    else:
        assert result.error is None
        found = result.warnings
    assert [(each.name, each.severity) for each in found] == [(comparison, severity)]
    assert found[0].field in changes
    relaxed = Replayer(workflows=EVERY, relax={comparison}).replay(history)
    assert relaxed.warnings == ()
    assert Replayer(workflows=EVERY, strict=False).replay(history).warnings == ()


def test_ids_and_types_are_compared_whatever_the_flags_of_the_history() -> None:
    for field in ("activity_id", "activity_type"):
        history = altered("sequence", A, {field: "z"}, nth=1)
        events = [
            ev.Event(each.event_id, each.event_time, msgspec.structs.replace(each.attributes, core_used_flags=()))
            if isinstance(each.attributes, ev.WorkflowTaskCompleted)
            else each
            for each in history
        ]
        assert Replayer(workflows=EVERY, strict=False).replay(History(events)).error is None
        with pytest.raises(NondeterminismError) as caught:
            Replayer(workflows=EVERY).replay(History(events))
        assert [each.field for each in caught.value.differences] == [field]


def test_a_comparison_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="there is no comparison 'retries'; expected names among .*'?retry_policy"):
        Replayer(workflows=EVERY, relax={"retries"})
    assert "retry_policy" in NAMES


# What is no change is none.


def test_encodings_do_not_matter() -> None:
    events = recorded("sequence")
    for index, event in enumerate(events):
        if isinstance(event.attributes, A):
            (payload,) = event.attributes.input
            binary = encoded(CONVERTER.from_detail(payload), "binary/protobuf")
            attributes = msgspec.structs.replace(event.attributes, input=binary)
            events[index] = ev.Event(event.event_id, event.event_time, attributes)
    assert Replayer(workflows=EVERY).replay(History(events)).warnings == ()


@pytest.mark.parametrize(
    "payload",
    [
        Payload({"encoding": b"json/protobuf"}, b'{"name":"a"}'),
        Payload(
            {"encoding": b"json/protobuf", "messageType": b"histories.v1.Step"}, b'{ "failTimes": 0, "name": "a" }'
        ),
        Payload({"encoding": b"json/protobuf", "messageType": b"histories.v1.Step"}, b'{"name": "a", "gone": [1]}'),
        Payload({"encoding": b"binary/protobuf", "messageType": b"histories.v1.Step"}, b"\x0a\x01a\xfa\x3f\x01b"),
    ],
    ids=["without a type", "spelt otherwise", "an unknown field in JSON", "an unknown field in binary"],
)
def test_equal_messages_are_equal(payload: Payload) -> None:
    assert Replayer(workflows=EVERY).replay(altered("sequence", A, {"input": (payload,)})).warnings == ()


def test_a_message_of_another_type_is_another_message() -> None:
    other = Payload({"encoding": b"json/protobuf", "messageType": b"histories.v1.Nudge"}, b'{"name":"a"}')
    with pytest.raises(NondeterminismError):
        Replayer(workflows=EVERY).replay(altered("sequence", A, {"input": (other,)}))


def test_what_nobody_can_read_is_said() -> None:
    secret = (Payload({"encoding": b"binary/encrypted"}, b"..."),)
    with pytest.raises(NondeterminismError, match=r"binary/encrypted, 3 bytes \(encoded by a") as caught:
        Replayer(workflows=EVERY).replay(altered("sequence", A, {"input": secret}))
    assert caught.value.differences[0].name == "input"


class Overridden(histories.Sequence):
    """Every option of an activity, within a run that has a time-out."""

    async def run(self, request: Job) -> Outcome:
        await histories.work(
            Step(name="a"),
            schedule_to_close_timeout=timedelta(seconds=20),
            start_to_close_timeout=timedelta(seconds=30),
            heartbeat_timeout=timedelta(seconds=40),
            retry_policy=Retries(maximum_attempts=2),
        )
        await histories.work(Step(name="b"))
        return Outcome(id=request.id)


def test_what_the_server_caps_is_no_change() -> None:
    story = Story(workflow_type="histories.v1.Histories.Sequence", run_timeout=15 * SECOND).task()

    def capped(name: str, activity_id: str, work_seconds: int, heartbeat: int, attempts: int) -> Command:
        return lambda _: A(
            activity_id=activity_id,
            activity_type="histories.v1.Histories.Work",
            task_queue="histories",
            input=encoded(Step(name=name)),
            schedule_to_close_timeout=Duration(15 * SECOND),
            schedule_to_start_timeout=Duration(15 * SECOND),
            start_to_close_timeout=Duration(work_seconds * SECOND),
            heartbeat_timeout=Duration(heartbeat * SECOND),
            retry_policy=RetryPolicy(Duration(SECOND), 2.0, Duration(100 * SECOND), attempts),
        )

    story.answer(capped("a", "1", 15, 15, 2)).returns("1").task().answer(capped("b", "2", 10, 0, 0))
    assert Replayer(workflows=[Overridden]).replay(History(story.events)).warnings == ()


class Mutates(histories.Sequence):
    """Changes a message after it was handed over."""

    async def run(self, request: Job) -> Outcome:
        step = Step(name="a")
        first = histories.work(step)
        step.name = "b"
        await first
        return Outcome(id="story")


def test_a_message_is_compared_as_it_was_handed_over() -> None:
    story = Story(workflow_type="histories.v1.Histories.Sequence").task().answer(work("1", step="a"))
    story.returns("1").task().answer(ends())
    result = Replayer(workflows=[Mutates]).replay(History(story.events))
    assert not [each for each in result.warnings if each.name == "input"]


# What Temporal accepts silently.


class Swapped(Program):
    async def run(self) -> None:
        await self.sdk.work("b")
        await self.sdk.work("a")


class SwappedTimers(Program):
    async def run(self) -> None:
        await self.sdk.sleep(2)
        await self.sdk.sleep(1)


class Changed(Program):
    async def run(self) -> None:
        await self.sdk.work("z")


class SetsMemo(Changes):
    async def run(self) -> None:
        self.upsert_memo({"stage": "y"})


class SetsAttributes(Changes):
    async def run(self) -> None:
        self.upsert_keyword("Stage", "y")


class SignalsAnother(Family):
    async def run(self) -> None:
        await self.signal("y")


class CancelsAnother(Family):
    async def run(self) -> None:
        await self.cancel("y")


class HasAChild(Family):
    async def run(self) -> None:
        await self.start("c")


class Works(Program):
    async def run(self) -> None:
        await self.sdk.work("a")


class Returns(Program):
    async def run(self) -> None:
        self.note("run")


class Fails(Program):
    async def run(self) -> None:
        raise self.sdk.application_error("no")


def begun(*commands: Command) -> Story:
    return Story().task().answer(*commands)


def says(command: Command, **changes: object) -> Command:
    """A command that says something else."""
    return lambda story: msgspec.structs.replace(command(story), **changes)


def memo(value: str) -> Command:
    payload = Payload({"encoding": b"json/plain"}, json.dumps(value).encode())
    return lambda _: ev.WorkflowPropertiesModified(upserted_memo={"stage": payload})


def keyword(value: str) -> Command:
    payload = Payload({"encoding": b"json/plain", "type": b"Keyword"}, json.dumps(value).encode())
    return lambda _: ev.UpsertWorkflowSearchAttributes(search_attributes={"Stage": payload})


def signals(**changes: str) -> Command:
    event = ev.SignalExternalWorkflowExecutionInitiated(
        namespace="default",
        workflow_id="y",
        signal_name="histories.v1.Histories.Nudge",
        input=encoded(Nudge()),
    )
    return lambda _: msgspec.structs.replace(event, **changes)


def requests(**changes: str) -> Command:
    reason = "Cancel requested by workflow with run id story with reason: why not"
    event = ev.RequestCancelExternalWorkflowExecutionInitiated(namespace="default", workflow_id="y", reason=reason)
    return lambda _: msgspec.structs.replace(event, **changes)


SILENT: dict[str, tuple[type[Program], Story, list[str], list[str]]] = {
    "two swapped calls": (
        Swapped,
        begun(work("1", step="a")).returns("1").task().answer(work("2", step="b")).returns("2").task().answer(ends()),
        ["input"],
        [],
    ),
    "a changed argument": (Changed, begun(work("1", step="a")).returns("1").task().answer(ends()), ["input"], []),
    "two swapped timers": (
        SwappedTimers,
        begun(timer("1", 1)).fires("1").task().answer(timer("2", 2)).fires("2").task().answer(ends()),
        [],
        ["duration", "duration"],
    ),
    "another id of a timer": (SwappedTimers, begun(timer("2", 2)), ["id"], []),
    "another queue": (Works, begun(says(work("1", step="a"), task_queue="other")), [], ["task_queue"]),
    "another time-out": (
        Works,
        begun(says(work("1", step="a"), start_to_close_timeout=Duration(SECOND))),
        [],
        ["start_to_close_timeout"],
    ),
    "another retry policy": (
        Works,
        begun(says(work("1", step="a"), retry_policy=RetryPolicy(maximum_attempts=2))),
        [],
        ["retry_policy"],
    ),
    "another memo": (SetsMemo, begun(memo("x"), ends()), ["memo"], []),
    "another search attribute": (SetsAttributes, begun(keyword("x"), ends()), ["search_attributes"], []),
    "another signal": (SignalsAnother, begun(signals(signal_name="histories.v1.Histories.Finish")), ["type"], []),
    "a signal to another": (SignalsAnother, begun(signals(workflow_id="x")), ["target"], []),
    "a request to another": (CancelsAnother, begun(requests(workflow_id="x")), ["target"], []),
    "a child with another argument": (HasAChild, begun(says(child(), input=encoded(Job(id="x")))), ["input"], []),
    "a child with other options": (
        HasAChild,
        begun(says(child(), parent_close_policy="ABANDON", workflow_run_timeout=Duration(SECOND))),
        [],
        ["run_timeout", "parent_close_policy"],
    ),
    "another result": (Returns, begun(says(ends(), result=encoded(Outcome(id="x")))), ["result"], []),
    "another failure": (Fails, begun(ends_failed()), ["failure"], []),
    "another result of an update": (
        Program,
        begun().nudge("a").task().answer(accepts("u"), says(completes("u"), success=encoded(Reading(value=7)))),
        ["result"],
        [],
    ),
}
"""What strict mode finds and Temporal accepts: the code, a history of other code, errors and warnings."""


@pytest.mark.parametrize("name", SILENT)
async def test_what_temporal_accepts_silently_is_found(name: str) -> None:
    program, story, errors, warnings = SILENT[name]
    assert (await told_by_them(program, story.events)).verdict == ACCEPTED
    assert (await asyncio.to_thread(told_by_us, program, story.events)).verdict == ACCEPTED
    told = await asyncio.to_thread(told_by_us, program, story.events, strict=True)
    assert [each.name for each in told.differences] == errors
    assert [each.name for each in told.warnings] == warnings
