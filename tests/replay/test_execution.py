"""The core through its front: what a run answers, what it refuses, and how it is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.replay import workflows
from tests.replay.bench import CONVERTER, execution, recorded, tasks
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.pairs import Mine
from tests.replay.programs import TheirUndo, Undo

from protopact import workflow
from protopact.errors import HistoryError, NondeterminismError
from protopact.history import event as ev
from protopact.history.json import to_json
from protopact.payload.payload import Payloads
from protopact.replay.advance import QueryRequest
from protopact.replay.command import CompleteWorkflowExecution, ScheduleActivityTask
from protopact.replay.execution import Execution

SEEN: list[object] = []


def replay(cls: type[workflow.Workflow], history: Sequence[ev.Event]) -> Execution:
    run = execution(cls, history)
    run.advance(history)
    return run


def changed(history: Sequence[ev.Event], kind: type, **fields: object) -> list[ev.Event]:
    """The history with other fields in its first event of a type."""
    index = next(i for i, event in enumerate(history) if type(event.attributes) is kind)
    attributes = msgspec.structs.replace(history[index].attributes, **fields)
    return [*history[:index], msgspec.structs.replace(history[index], attributes=attributes), *history[index + 1 :]]


def test_workflow_code_runs_in_a_task_of_its_own_loop() -> None:
    class Looks(workflows.Doomed):
        async def run(self, request: Job) -> Outcome:
            task = asyncio.current_task()
            SEEN.append(task is not None and task.get_loop() is asyncio.get_running_loop())
            return await super().run(request)

    SEEN.clear()
    replay(Looks, recorded("doomed")).unwind()
    assert SEEN == [True]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_run_is_not_advanced_inside_a_task() -> None:
    async def inside() -> None:
        replay(workflows.Doomed, recorded("doomed"))

    with pytest.raises(Exception, match="plain callback"):
        asyncio.run(inside())


def test_a_closed_history_asks_for_nothing() -> None:
    history = recorded("sequence")
    advance = execution(workflows.Sequence, history).advance(history)
    assert advance.commands == ()
    assert advance.is_closed


def test_the_first_task_alone_records_cores_flags() -> None:
    history = recorded("sequence")
    run, told = execution(workflows.Sequence, history), 0
    flags: list[set[int]] = []
    for task in tasks(history):
        flags.append(set(run.advance(task.before[told:]).core_used_flags))
        told = len(task.before)
    assert flags == [{1, 2, 3, 4}, set(), set(), set()]


@pytest.mark.parametrize(("last", "notes"), [(47, []), (62, ["work"])], ids=["open", "closed"])
def test_a_query_sees_the_state_of_the_last_task(last: int, notes: list[str]) -> None:
    run = replay(workflows.Chatty, recorded("chatty_full")[:last])
    peek = QueryRequest(name="histories.v1.Histories.Peek", args=CONVERTER.to_payloads(PEEK.request, Nudge()))
    for _ in range(2):
        answer = run.query(peek)
        assert isinstance(answer, tuple)
        assert list(read(answer).log) == ["n0", "run", "n1", "n2", *notes]
    run.unwind()


PEEK = histories.Chatty.__protopact__().queries[0]


def read(payloads: Payloads) -> Reading:
    found = CONVERTER.from_payloads(PEEK.response, payloads)
    assert isinstance(found, Reading)
    return found


def test_unwinding_runs_what_stands_in_finally_and_asks_for_nothing() -> None:
    class Undoes(workflows.Sequence):
        async def run(self, request: Job) -> Outcome:
            try:
                return await super().run(request)
            finally:
                SEEN.append("finally")
                await histories.work(Step(name="undo"))
                SEEN.append("undone")

    SEEN.clear()
    history = recorded("sequence")
    run = execution(Undoes, history)
    advance = run.advance(history[:3])
    assert [type(command) for command in advance.commands] == [ScheduleActivityTask]
    run.unwind()
    run.unwind()
    assert SEEN == ["finally"]


def test_a_dropped_task_leaves_no_trace() -> None:
    history = recorded("chatty_open")
    run = execution(workflows.Chatty, history)
    run.advance(history[:4])
    told = [
        *history[4:5],
        ev.Event(6, history[4].event_time, ev.WorkflowTaskScheduled()),
        ev.Event(7, history[4].event_time, ev.WorkflowTaskStarted(scheduled_event_id=6)),
    ]
    update = ev.UpdateRequest(
        update_id="u", name="histories.v1.Histories.Add", args=CONVERTER.to_payloads(ADD.request, Nudge(by=-1))
    )
    run.advance(told, updates=[update])
    run.drop_task()
    run.advance(history[5:])
    run.unwind()


ADD = histories.Chatty.__protopact__().updates[0].update


def test_a_gap_is_refused() -> None:
    history = recorded("sequence")
    with pytest.raises(HistoryError, match="expected event 5, found event 6"):
        replay(workflows.Sequence, [*history[:4], *history[5:]])


class Fewer(Mine):
    async def run(self, request: Job) -> Outcome:
        return Outcome(id=request.id)


class Timer(Mine):
    async def run(self, request: Job) -> Outcome:
        await workflow.sleep(1)
        return Outcome(id=request.id)


class More(workflows.Doomed):
    async def run(self, request: Job) -> Outcome:
        await asyncio.gather(histories.break_(Step()), histories.work(Step()))
        return Outcome(id=request.id)


class Succeeds(workflows.Doomed):
    async def run(self, request: Job) -> Outcome:
        await asyncio.gather(histories.break_(Step()), return_exceptions=True)
        return Outcome(id=request.id)


class Other(workflows.Doomed):
    async def run(self, request: Job) -> Outcome:
        await histories.work(Step())
        return Outcome(id=request.id)


@pytest.mark.parametrize(
    ("cls", "event"),
    [
        (Fewer, 5),  # completes in place of the activity
        (Timer, 5),  # another kind of command
        (Other, 5),  # another activity type
        (Succeeds, 11),  # completes instead of failing
    ],
)
def test_other_commands_are_a_nondeterminism(cls: type[workflow.Workflow], event: int) -> None:
    with pytest.raises(NondeterminismError) as raised:
        replay(cls, recorded("doomed"))
    assert raised.value.event is not None
    assert raised.value.event.event_id == event
    assert raised.value.last_event_id < event


def test_a_command_that_history_does_not_hold_is_a_nondeterminism() -> None:
    with pytest.raises(NondeterminismError) as raised:
        replay(More, recorded("doomed"))
    assert raised.value.event is not None
    assert isinstance(raised.value.event.attributes, ev.WorkflowExecutionFailed)  # as Temporal's Replayer, not before
    assert isinstance(raised.value.command, ScheduleActivityTask)


def test_another_activity_id_is_a_nondeterminism() -> None:
    with pytest.raises(NondeterminismError):
        replay(workflows.Doomed, changed(recorded("doomed"), ev.ActivityTaskScheduled, activity_id="9"))


def test_values_are_not_compared() -> None:
    history = changed(recorded("deterministic"), ev.ActivityTaskScheduled, input=(), task_queue="elsewhere")
    replay(workflows.Deterministic, changed(history, ev.TimerStarted, start_to_fire_timeout=1)).unwind()


def test_more_commands_at_the_end_of_an_open_history_are_fine() -> None:
    history = recorded("sequence")
    started = max(i for i, e in enumerate(history) if isinstance(e.attributes, ev.WorkflowTaskStarted))
    advance = execution(workflows.Sequence, history).advance(history[: started + 1])
    assert [type(command) for command in advance.commands] == [CompleteWorkflowExecution]


async def test_temporal_refuses_what_we_refuse() -> None:
    history = recorded("doomed")
    started = msgspec.structs.replace(history[0].attributes, workflow_type="histories.v1.Histories.Program")
    text = to_json([msgspec.structs.replace(history[0], attributes=started), *history[1:]])
    replayer = Replayer(workflows=[TheirUndo], workflow_runner=UnsandboxedWorkflowRunner())
    result = await replayer.replay_workflow(WorkflowHistory.from_json("d", text), raise_on_replay_failure=False)
    assert "TMPRL1100" in str(result.replay_failure)


def test_we_refuse_what_temporal_refuses() -> None:
    with pytest.raises(NondeterminismError):
        replay(Undo, recorded("doomed"))
