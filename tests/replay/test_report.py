"""What is said when code and history disagree: where, what, and why."""

from __future__ import annotations

import asyncio
import json
import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.replay.bench import recorded
from tests.replay.histories.v1.histories_pb2 import Job, Outcome, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import Command, Story, ends, ends_failed, mark, timer, work
from tests.replay.test_local import marker

from protopact import workflow
from protopact.errors import ApplicationError, NondeterminismError
from protopact.history import History
from protopact.history import event as ev
from protopact.payload import Payload
from protopact.replay import Replayer
from protopact.replay.report import CauseKind, Report
from protopact.workflow import Workflow

SEQUENCE = "histories.v1.Histories.Sequence"


def report_of(cls: type[Workflow], history: History, *, strict: bool = True) -> Report:
    with pytest.raises(NondeterminismError) as caught:
        Replayer(workflows=[cls], strict=strict).replay(history)
    report = caught.value.report
    assert report is not None
    assert str(caught.value) == str(report)
    return report


class Checks(histories.Sequence):
    """Calls something more before what the history holds."""

    async def run(self, request: Job) -> Outcome:
        for step in request.steps:
            if step.name == "bb":
                await self.check(step)
            await histories.work(Step(name=step.name, fail_times=step.fail_times))
        return Outcome(id=request.id)

    async def check(self, step: Step) -> None:
        await histories.beat(step)


def test_the_report_says_where_what_and_why() -> None:
    report = report_of(Checks, History(recorded("sequence")))
    assert report.agreed is not None
    assert (report.agreed.event_id, report.agreed.kind) == (5, "ActivityTaskScheduled")
    assert report.expected is not None
    assert report.expected.event_id == 11
    assert report.expected.fields["activity_type"] == "histories.v1.Histories.Work"
    assert report.expected.fields["input"] == '{"failTimes": 2, "name": "bb"}'
    assert report.produced is not None
    assert report.produced.kind == "ScheduleActivityTask"
    assert report.produced.fields["activity_type"] == "histories.v1.Histories.Beat"
    assert report.produced.fields["input"] == '{"failTimes": 2, "name": "bb"}'
    (stack,) = report.stacks
    assert [(frame.function, frame.code) for frame in stack.frames] == [
        ("Checks.run", "await self.check(step)"),
        ("Checks.check", "await histories.beat(step)"),
    ]
    source = report.source
    assert source is not None
    assert source.file == __file__
    assert linecache.getline(__file__, source.line).strip() == source.code
    assert report.cause is not None
    assert report.cause.kind is CauseKind.INSERTED
    assert report.cause.cure == 'if workflow.patched("add-beat"):\n    await histories.beat(step)'


def test_the_text_shows_both_sides() -> None:
    text = str(report_of(Checks, History(recorded("sequence"))))
    lines = {tuple(line.split()) for line in text.splitlines()}
    assert ("event", "11,", "ActivityTaskScheduled", "ScheduleActivityTask") in lines
    assert ("*", "activity_type", "histories.v1.Histories.Work", "histories.v1.Histories.Beat") in lines
    assert ("activity_id", "2", "2") in lines
    assert "agrees up to               event 5, ActivityTaskScheduled (histories.v1.Histories.Work)" in text
    assert f"called at                  {__file__}:" in text
    assert "likely cause               inserted call: activity Beat is called before activity Work" in text
    assert max(map(len, (line for line in text.splitlines()[1:] if __file__ not in line))) <= 120


def by_worker(history: History, **worker: str) -> History:
    """The same, with another worker behind its last answer that counts."""
    events = [*history]
    answers = [index for index, event in enumerate(events) if isinstance(event.attributes, ev.WorkflowTaskCompleted)]
    index = next(index for index in reversed(answers) if events[index].event_id < 11)
    events[index] = msgspec.structs.replace(
        events[index], attributes=msgspec.structs.replace(events[index].attributes, **worker)
    )
    return history.replace(events)


def test_it_says_which_build_recorded_what_the_code_disagrees_with() -> None:
    history = History(recorded("sequence"))
    report = report_of(Checks, history)
    assert report.recorded_build_id == "094a3824e27caf98d5d5ff586c5c581a"
    assert f"(run {report.run_id}, recorded by build 094a3824e27caf98d5d5ff586c5c581a) does not" in str(report)
    deployed = by_worker(history, deployment_name="nodes", deployment_build_id="2.1")
    report = report_of(Checks, deployed)
    assert (report.recorded_build_id, report.recorded_deployment) == ("2.1", "nodes")
    assert ", recorded by build 2.1 of deployment nodes) does not" in str(report)
    assert "recorded" not in str(report_of(Checks, by_worker(history, build_id=""))).partition("\n")[0]


def test_tools_read_it_as_json() -> None:
    report = json.loads(report_of(Checks, History(recorded("sequence"))).to_json())
    assert report["workflow_type"] == SEQUENCE
    assert report["expected"]["fields"]["activity_id"] == "2"
    assert report["cause"]["kind"] == "inserted call"
    assert report["stacks"][0]["frames"][-1]["function"] == "Checks.check"


# Causes. Each: what the code is, whose history, and what is said.


def seq(*steps: str, end: bool = True) -> Story:
    """A history of activities, one after the other."""
    story = Story(workflow_type=SEQUENCE).task()
    for number, step in enumerate(steps, 1):
        name, _, value = step.partition(":")
        if name == "timer":
            story.answer(timer(str(steps[:number].count("timer")))).fires(str(steps[:number].count("timer"))).task()
            continue
        activity_id = str(sum(not each.startswith("timer") for each in steps[:number]))
        story.answer(work(activity_id, name, step=value or "a")).returns(activity_id).task()
    return story.answer(ends()) if end else story


CALLS: dict[str, Callable[[str], Any]] = {
    "Work": lambda value: histories.work(Step(name=value)),
    "Beat": lambda value: histories.beat(Step(name=value)),
    "Break": lambda value: histories.break_(Step(name=value)),
    "timer": lambda value: workflow.sleep(1),
}


def code(*steps: str, end: str = "returns") -> type[Workflow]:
    """A workflow that calls activities, one after the other."""

    class Coded(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            for step in steps:
                name, _, value = step.partition(":")
                await CALLS[name](value or "a")
            if end == "fails":
                raise ApplicationError("no")
            if end == "waits":
                await workflow.wait_condition(lambda: False)
            return Outcome(id="story")

    return Coded


class Named(histories.Sequence):
    async def run(self, request: Job) -> Outcome:
        await histories.work(Step(name="a"), activity_id="mine")
        return Outcome(id="story")


class Deprecates(histories.Sequence):
    async def run(self, request: Job) -> Outcome:
        await histories.work(Step(name="a"))
        return Outcome(id="story")


@dataclass
class Case:
    """Code, a history of other code, and the likely cause."""

    cls: type[Workflow]
    story: Story
    kind: CauseKind
    texts: list[str] = field(default_factory=list[str])
    strict: bool = True


def patched_story() -> Story:
    return (
        Story(workflow_type=SEQUENCE).task().answer(mark("new"), work("1", step="a")).returns("1").task().answer(ends())
    )


K = CauseKind
CASES: dict[str, Case] = {
    "inserted in front": Case(code("Beat", "Work", "Break"), seq("Work", "Break"), K.INSERTED, ["activity Beat"]),
    "inserted of the same type": Case(code("Work:a", "Work:x", "Work:b"), seq("Work:a", "Work:b"), K.INSERTED),
    "two inserted": Case(
        code("Work", "Beat", "timer", "Break"), seq("Work", "Break"), K.INSERTED, ["activity Beat, a timer of 1 s"]
    ),
    "inserted in an open history": Case(code("Work", "Beat", "Break"), seq("Work", "Break", end=False), K.INSERTED),
    "removed": Case(code("Work", "Break"), seq("Work", "Beat", "Break"), K.REMOVED, ["activity Beat"]),
    "a timer removed": Case(code("Work", "Break"), seq("Work", "timer", "Break"), K.REMOVED, ["a timer of 1 s"]),
    "removed of the same type": Case(code("Work:a", "Work:b"), seq("Work:a", "Work:x", "Work:b"), K.REMOVED),
    "reordered": Case(code("Beat", "Work", "Break"), seq("Work", "Beat", "Break"), K.REORDERED),
    "reordered of one type": Case(
        code("Work:b", "Work:a"), seq("Work:a", "Work:b"), K.REORDERED, ['Work with {"name": "a"} before']
    ),
    "renamed": Case(
        code("Work", "Beat", "Work"), seq("Work", "Break", "Work"), K.RENAMED, ["Break became activity Beat"]
    ),
    "another id": Case(Named, seq("Work"), K.CHANGED_ID, ["had the id '1', and has 'mine'"]),
    "another kind": Case(code("timer", "Beat"), seq("Work", "Beat"), K.CHANGED_KIND, ["became a timer of 1 s"]),
    "another argument": Case(code("Work:x"), seq("Work:a"), K.CHANGED_VALUE, ['{"name": "a"}', '{"name": "x"}']),
    "ended early": Case(code("Work"), seq("Work", "Beat", "Break"), K.ENDED_EARLY, ["activity Beat, activity Break"]),
    "ended late": Case(code("Work", "Beat"), seq("Work"), K.ENDED_LATE, ["goes on with activity Beat"]),
    "ended otherwise": Case(
        code("Work", end="fails"), seq("Work"), K.ENDED_OTHERWISE, ["ends with the failure of the workflow"]
    ),
    "returned instead of failed": Case(
        code(), Story(workflow_type=SEQUENCE).task().answer(ends_failed()), K.ENDED_OTHERWISE
    ),
    "waits": Case(code("Work", end="waits"), seq("Work", "Beat"), K.REMOVED, ["waits for something"]),
    "a patch that is not asked for": Case(Deprecates, patched_story(), K.MISSING_PATCH, ["event 5", "'new'"]),
}


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "as workers do"])
@pytest.mark.parametrize("name", CASES)
def test_the_likely_cause_is_the_one(name: str, strict: bool) -> None:  # noqa: FBT001 - a parameter of a test
    case = CASES[name]
    if not strict and name in {"another argument", "reordered of one type"}:
        assert Replayer(workflows=[case.cls], strict=False).replay(History(case.story.events)).error is None
        return
    report = report_of(case.cls, History(case.story.events), strict=strict)
    assert report.cause is not None
    if strict or "same type" not in name:  # without their arguments, calls of one type are all alike
        assert report.cause.kind is case.kind
        for text in case.texts:
            assert text in report.cause.text
    if report.cause.cure:
        compile(f"async def run():\n{_indented(report.cause.cure)}", "cure", "exec")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def test_what_waits_is_shown_when_nothing_was_asked_for() -> None:
    case = CASES["waits"]
    report = report_of(case.cls, History(case.story.events))
    assert report.produced is None
    (stack,) = report.stacks
    assert stack.doing == "waits"
    assert stack.frames[-1].code == "await workflow.wait_condition(lambda: False)"
    assert "waits at" in str(report)


def test_a_failure_shows_where_it_was_raised() -> None:
    case = CASES["ended otherwise"]
    report = report_of(case.cls, History(case.story.events))
    assert report.stacks[0].doing == "raised"
    assert report.source is not None
    assert report.source.code == 'raise ApplicationError("no")'


def test_a_return_shows_the_method() -> None:
    case = CASES["ended early"]
    report = report_of(case.cls, History(case.story.events))
    assert report.stacks[0].doing == "returned"
    assert report.source is not None
    assert report.source.function.endswith("Coded.run")


class Counted(histories.Sequence):
    """Does something else each time."""

    count = 0

    async def run(self, request: Job) -> Outcome:
        type(self).count += 1
        await histories.work(Step(name=f"a{self.count}"))
        return Outcome()


def test_code_that_does_not_repeat_itself_is_told_so() -> None:
    report = report_of(Counted, History(seq("Work:a").events))
    assert report.cause is not None
    assert report.cause.kind is CauseKind.NOT_REPEATABLE
    assert "global variable" in report.cause.text


def test_a_signal_that_is_not_known_any_more_is_the_cause() -> None:
    class Quiet(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await workflow.wait_condition(lambda: False)
            return Outcome()

    story = Story(workflow_type=SEQUENCE).task().answer().nudge("a").task().answer(work("1"))
    report = report_of(Quiet, History(story.events))
    assert report.cause is not None
    assert report.cause.kind is CauseKind.UNKNOWN_SIGNAL
    assert "histories.v1.Histories.Nudge" in report.cause.text


def test_calls_of_other_tasks_are_named() -> None:
    class Beside(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await asyncio.create_task(self.step(), name="the step")
            return Outcome()

        async def step(self) -> None:
            await histories.beat(Step(name="x"))

    report = report_of(Beside, History(seq("Work").events))
    assert report.stacks[0].task == "the step"
    assert "called at by task 'the step'" in str(report)
    assert [frame.function.rpartition(".")[2] for frame in report.stacks[0].frames] == ["step"]


def test_calls_of_the_constructor_show_its_lines_alone() -> None:
    class Eager(histories.Sequence):
        def __init__(self) -> None:
            self.handle = histories.beat(Step(name="x"))

        async def run(self, request: Job) -> Outcome:
            await self.handle
            return Outcome()

    report = report_of(Eager, History(seq("Work").events))
    (stack,) = report.stacks
    assert [frame.code for frame in stack.frames] == ['self.handle = histories.beat(Step(name="x"))']


# Local activities: their markers hold no input.


def local_story(*steps: str) -> Story:
    """A history of local activities."""
    story = Story(workflow_type=SEQUENCE).task()
    markers = [marker(seq, name=name) for seq, name in enumerate(steps, 1)]
    return story.answer(*markers, ends())


def local_code(*steps: str) -> type[Workflow]:
    class Coded(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            for step in steps:
                if step == "remote":
                    await histories.work(Step(name="a"))
                else:
                    await LOCAL[step]()
            return Outcome(id="story")

    return Coded


LOCAL: dict[str, Callable[[], Any]] = {
    "Work": lambda: histories.Local.work(Step(name="a")),
    "Beat": lambda: histories.Local.beat(Step(name="a")),
}

LOCAL_CASES = {
    "the same": (local_code("Work", "Beat"), local_story("Work", "Beat"), None),
    "renamed": (local_code("Work", "Beat"), local_story("Work", "Work"), K.RENAMED),
    "removed": (local_code("Work"), local_story("Work", "Beat"), K.ENDED_EARLY),
    "made remote": (local_code("remote", "Beat"), local_story("Work", "Beat"), K.CHANGED_KIND),
    "made local": (local_code("Work"), seq("Work"), K.CHANGED_KIND),
}


@pytest.mark.parametrize("name", LOCAL_CASES)
def test_local_activities_have_causes_too(name: str) -> None:
    cls, story, kind = LOCAL_CASES[name]
    if kind is None:
        assert Replayer(workflows=[cls]).replay(History(story.events)).warnings == ()
        return
    report = report_of(cls, History(story.events))
    assert report.cause is not None
    assert report.cause.kind is kind
    if name == "renamed":
        assert report.expected is not None
        assert report.expected.fields["activity_type"] == "histories.v1.Histories.Work"
        assert report.expected.fields["input"] == "not compared: markers of local activities hold none"
        assert report.source is not None
        assert "histories.Local.beat" in report.source.code


def test_local_activities_that_are_over_are_no_news() -> None:
    class Pausing(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await histories.Local.work(Step(name="a"))
            await histories.work(Step(name="b"))
            await workflow.sleep(5)
            await histories.work(Step(name="c"))
            return Outcome()

    story = Story(workflow_type=SEQUENCE).task().answer(marker(1), work("2")).returns("2").task()
    cause = report_of(Pausing, History(story.answer(work("3")).events), strict=False).cause
    assert cause is not None
    assert cause.kind is K.INSERTED
    assert cause.text.startswith("a timer of 5 s is called before activity Work")
    assert "workflow.sleep(5)" in cause.cure


@pytest.mark.parametrize(
    ("gone", "text", "cure"),
    [
        (marker(1), "local activity Work", "await Histories.Local.work(...)"),
        (marker(1, name="protopact.side_effect"), "a side effect", "await workflow.side_effect(...)"),
    ],
)
def test_what_was_local_is_cured_locally(gone: Command, text: str, cure: str) -> None:
    class Without(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await histories.work(Step(name="b"))
            return Outcome()

    cause = report_of(Without, History(Story(workflow_type=SEQUENCE).task().answer(gone, work("2")).events)).cause
    assert cause is not None
    assert cause.kind is K.REMOVED
    assert text in cause.text
    assert cure in cause.cure


def test_a_result_is_not_read_as_another_ones() -> None:
    class Without(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await histories.Local.beat(Step(name="a"))
            return Outcome()

    told = Payload({"encoding": b"json/plain"}, b'"free text"')
    story = Story(workflow_type=SEQUENCE).task()
    gone = marker(1, name="protopact.side_effect")(story)
    assert isinstance(gone, ev.MarkerRecorded)
    gone = msgspec.structs.replace(gone, details={**gone.details, "result": (told,)})
    cause = report_of(Without, History(story.answer(lambda _: gone, marker(2, name="Beat"), ends()).events)).cause
    assert cause is not None
    assert cause.kind is K.REMOVED
    assert "a side effect" in cause.text


def test_columns_stay_apart() -> None:
    class Other(histories.Sequence):
        async def run(self, request: Job) -> Outcome:
            await histories.work(Step(name="b"), schedule_to_start_timeout=timedelta(seconds=7))
            return Outcome()

    began = ev.StartChildWorkflowExecutionInitiated(workflow_id="child", workflow_type=SEQUENCE)
    text = str(report_of(Other, History(Story(workflow_type=SEQUENCE).task().answer(lambda _: began).events)))
    assert "StartChildWorkflowExecutionInitiated  ScheduleActivityTask" in text
    assert re.search(r"schedule_to_start_timeout {2,}7 s", text)
