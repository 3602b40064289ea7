"""What the tests of the core share: how a history is replayed, and what each of its tasks must have answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from protopact.failure import FailureConverter
from protopact.history import event as ev
from protopact.history.json import from_json
from protopact.history.time import Duration
from protopact.origin import without_origin
from protopact.payload import PayloadConverter
from protopact.replay import command as cmd
from protopact.replay.advance import Advance
from protopact.replay.comparison import Comparer
from protopact.replay.definition import Definition
from protopact.replay.execution import Execution
from protopact.replay.marker import local_activity_mark
from protopact.workflow import Workflow

CONVERTER = PayloadConverter()
HISTORIES = Path(__file__).parent / "histories"

FIELDS: dict[type[ev.Attributes], tuple[type, tuple[str, ...]]] = {
    ev.ActivityTaskScheduled: (
        cmd.ScheduleActivityTask,
        ("activity_id", "activity_type", "task_queue", "input", "start_to_close_timeout", "heartbeat_timeout"),
    ),
    ev.ActivityTaskCancelRequested: (cmd.RequestCancelActivityTask, ("scheduled_event_id",)),
    ev.TimerStarted: (cmd.StartTimer, ("timer_id", "start_to_fire_timeout")),
    ev.TimerCanceled: (cmd.CancelTimer, ("timer_id", "started_event_id")),
    ev.MarkerRecorded: (cmd.RecordMarker, ("marker_name",)),
    ev.UpsertWorkflowSearchAttributes: (cmd.UpsertSearchAttributes, ("search_attributes",)),
    ev.WorkflowPropertiesModified: (cmd.ModifyWorkflowProperties, ("upserted_memo",)),
    ev.StartChildWorkflowExecutionInitiated: (
        cmd.StartChildWorkflowExecution,
        (
            "workflow_id",
            "workflow_type",
            "task_queue",
            "input",
            "parent_close_policy",
            "workflow_id_reuse_policy",
            "retry_policy",
            "header",
        ),
    ),
    ev.SignalExternalWorkflowExecutionInitiated: (
        cmd.SignalExternalWorkflowExecution,
        ("workflow_id", "run_id", "signal_name", "input", "child_workflow_only", "header"),
    ),
    ev.RequestCancelExternalWorkflowExecutionInitiated: (
        cmd.RequestCancelExternalWorkflowExecution,
        ("workflow_id", "run_id", "child_workflow_only", "reason"),
    ),
    ev.WorkflowExecutionCompleted: (cmd.CompleteWorkflowExecution, ("result",)),
    ev.WorkflowExecutionFailed: (cmd.FailWorkflowExecution, ()),
    ev.WorkflowExecutionCanceled: (cmd.CancelWorkflowExecution, ("details",)),
    ev.WorkflowExecutionContinuedAsNew: (
        cmd.ContinueAsNewWorkflowExecution,
        ("workflow_type", "task_queue", "input", "workflow_run_timeout", "workflow_task_timeout", "header", "memo"),
    ),
    ev.WorkflowExecutionUpdateAccepted: (cmd.AcceptUpdate, ()),
    ev.WorkflowExecutionUpdateCompleted: (cmd.CompleteUpdate, ("update_id", "success")),
}
"""For each command event: the command that became it, and the fields that must be the same."""


def definition(workflow: type[Workflow]) -> Definition:
    return Definition(workflow=workflow, converter=CONVERTER, failures=FailureConverter(CONVERTER))


def execution(workflow: type[Workflow], history: Sequence[ev.Event], comparer: Comparer | None = None) -> Execution:
    """A run of which nothing has happened yet."""
    started = history[0].attributes
    assert isinstance(started, ev.WorkflowExecutionStarted)
    return Execution(
        definition(workflow),
        workflow_id=started.workflow_id,
        run_id=started.original_execution_run_id,
        comparer=comparer,
    )


def recorded(name: str) -> list[ev.Event]:
    return from_json((HISTORIES / f"{name}.json").read_text())


@dataclass
class Task:
    """An answered task of a history: what came before, the updates it accepted, the events of its answer."""

    before: Sequence[ev.Event]
    updates: list[ev.UpdateRequest]
    answer: Sequence[ev.Event]


def tasks(history: Sequence[ev.Event]) -> Iterator[Task]:
    """The tasks that were answered, with commands or with none."""
    for index, event in enumerate(history):
        if isinstance(event.attributes, ev.WorkflowTaskCompleted):
            end = index + 1
            while end < len(history) and type(history[end].attributes) in FIELDS:
                end += 1
            answer = history[index + 1 : end]
            updates = [
                each.attributes.accepted_request
                for each in answer
                if isinstance(each.attributes, ev.WorkflowExecutionUpdateAccepted)
                and each.attributes.accepted_request is not None
            ]
            yield Task(history[:index], updates, answer)


def check(advance: Advance, task: Task) -> None:
    """The commands are those that became the events of the answer."""
    place = f"after event {task.before[-1].event_id}"
    kinds = [FIELDS[type(event.attributes)][0] for event in task.answer]
    assert [type(command) for command in advance.commands] == kinds, place
    for command, event in zip(advance.commands, task.answer, strict=True):
        for field in FIELDS[type(event.attributes)][1]:
            found, expected = getattr(command, field), getattr(event.attributes, field)
            if field == "memo":  # the contract of recorded histories had no digest
                found, expected = without_origin(found), without_origin(expected)
            elif field.endswith("timeout") and 0 < expected < found:  # cut to what the run may still take
                continue
            elif field == "reason":  # it names the run, which is another one after a reset
                found, expected = [reason.rpartition(" with reason: ")[2] for reason in (found, expected)]
            assert found == expected, f"{field} of event {event.event_id}"

        if isinstance(event.attributes, ev.MarkerRecorded):
            assert isinstance(command, cmd.RecordMarker)
            assert noted(command) == noted(event.attributes), f"event {event.event_id}"


def noted(marker: cmd.RecordMarker | ev.MarkerRecorded) -> object:
    """What a marker says, save the times at which a local activity was scheduled and ended."""
    mark = local_activity_mark(marker)
    if mark is None:
        return marker.details
    return msgspec.structs.replace(mark, complete_time=None, original_schedule_time=None), marker.details.get("result")


def advance(run: Execution, events: Sequence[ev.Event], task: Task) -> Advance:
    """Let a run answer a task; its local activities end as the answer says, in that order.

    A task that was answered while they were still running has none of them; its answer is empty.
    """
    told = run.advance(events, updates=task.updates)
    ends = iter([event.attributes for event in task.answer if isinstance(event.attributes, ev.MarkerRecorded)])
    while told.is_waiting and task.answer:
        end = next(ends)
        mark = local_activity_mark(end)
        if mark is None:
            continue  # of a patch
        outcome = cmd.LocalActivityOutcome(
            seq=mark.seq,
            attempt=mark.attempt,
            result=end.details.get("result", ()),
            failure=end.failure,
            backoff=None if mark.backoff is None else Duration(mark.backoff.in_nanoseconds()),
        )
        told = run.resolve(outcome)
    return told


def check_every_task(workflow: type[Workflow], history: Sequence[ev.Event]) -> None:
    """Replay up to every task, in one run that stays in memory and in a new one each time; then to the end."""
    kept, told = execution(workflow, history), 0
    for task in tasks(history):
        fresh = execution(workflow, history)
        answer = advance(fresh, task.before, task)
        check(answer, task)
        fresh.unwind()
        if not answer.is_waiting:  # else the run in memory goes on with its local activities
            check(advance(kept, task.before[told:], task), task)
            told = len(task.before)
    kept.advance(history[told:])
    kept.unwind()
    whole = execution(workflow, history)
    whole.advance(history)
    whole.unwind()
