"""Whether a family that was killed and finished is what one that was never killed is."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
from tests.kill import family
from tests.kill.journal import Journal

from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import WorkflowDescription, WorkflowRef, WorkflowStatus
from protopact.history import History
from protopact.history import event as ev
from protopact.history.event import Event
from protopact.payload import Payload
from protopact.replay import Replayer

STATUSES = {
    "sink": [WorkflowStatus.COMPLETED],
    "parent": [WorkflowStatus.CONTINUED_AS_NEW, WorkflowStatus.COMPLETED],
    "kept": [WorkflowStatus.CANCELED],
    "child": [WorkflowStatus.COMPLETED],
    "stays": [WorkflowStatus.TERMINATED],
}
"""The runs of each workflow id, in order."""

_CHILD_STARTS = {"StartChildWorkflowExecutionInitiated": 1, "ChildWorkflowExecutionStarted": 1}
_SIGNALS = {"SignalExternalWorkflowExecutionInitiated": 1, "ExternalWorkflowExecutionSignaled": 1}
_TIMER = {"TimerStarted": 1, "TimerFired": 1}

EVENTS: dict[tuple[str, int], Counter[str]] = {
    ("parent", 0): Counter(
        {
            "WorkflowExecutionStarted": 1,
            "MarkerRecorded": 3,
            "WorkflowPropertiesModified": 1,
            "UpsertWorkflowSearchAttributes": 2,
            "ChildWorkflowExecutionCompleted": 1,
            "WorkflowExecutionContinuedAsNew": 1,
        }
    )
    + Counter(_CHILD_STARTS)
    + Counter(_CHILD_STARTS)
    + Counter(_SIGNALS)
    + Counter(_SIGNALS)
    + Counter(_TIMER),
    ("parent", 1): Counter(
        {
            "WorkflowExecutionStarted": 1,
            "WorkflowPropertiesModified": 1,
            "RequestCancelExternalWorkflowExecutionInitiated": 1,
            "ExternalWorkflowExecutionCancelRequested": 1,
            "WorkflowExecutionCompleted": 1,
        }
    )
    + Counter(_CHILD_STARTS)
    + Counter(_SIGNALS)
    + Counter(_TIMER),
    ("child", 0): Counter(
        {
            "WorkflowExecutionStarted": 1,
            "WorkflowExecutionSignaled": 1,
            "MarkerRecorded": 1,
            "WorkflowExecutionCompleted": 1,
        }
    )
    + Counter(_SIGNALS),
    ("kept", 0): Counter(
        {
            "WorkflowExecutionStarted": 1,
            "TimerStarted": 1,
            "WorkflowExecutionCancelRequested": 1,
            "TimerCanceled": 1,
            "WorkflowExecutionCanceled": 1,
        }
    ),
}
"""The events of a run but for its workflow tasks: no more and no fewer, wherever a kill falls."""


def check(folder: Path) -> list[History]:
    """Assert that everything holds, and return the histories."""
    journal = Journal(folder / "journal.jsonl")
    assert {entry.name: entry.value for entry in journal.entries("ack")} == family.OUTCOMES
    assert len(journal.entries("ack")) == len(family.OUTCOMES)
    runs = asyncio.run(_read(folder))
    found: dict[str, list[tuple[WorkflowDescription, History]]] = {name: [] for name in STATUSES}
    for run, history in runs:
        found[run.workflow_id].append((run, history))
    assert {name: [run.status for run, _ in chain] for name, chain in found.items()} == STATUSES
    for (name, number), expected in EVENTS.items():
        assert _counted(found[name][number][1]) == expected, f"{name}, run {number}"
    _check_sink(found["sink"][0][1], journal)
    _check_token(found)
    for _, parent in found["parent"]:
        for initiated in (event for event in parent if _is(event, ev.StartChildWorkflowExecutionInitiated)):
            _check_child(parent, initiated, found)
    replayer = Replayer(workflows=list(family.WORKFLOWS.values()))
    for _, history in runs:
        assert [event.event_id for event in history] == list(range(1, len(history) + 1))
        for end in (event.event_id for event in history if _is(event, ev.WorkflowTaskStarted)):
            replayer.replay(History(history[:end]))
        replayer.replay(history)
    return [history for _, history in runs]


def _check_sink(history: History, journal: Journal) -> None:
    """Each signal of a workflow is there once, and so is each acknowledged one of the client."""
    words = Counter(_word(signal.input[0]) for signal in _signals(history))
    assert set(words.values()) == {1}
    acknowledged = journal.entries("ack", "end")[0].number
    late = {entry.number for entry in journal.entries("late", "end")}
    ends = {int(word.partition(" ")[2]) for word in words if word.startswith("end")}
    assert words.keys() - {f"end {number}" for number in ends} == {"parent", "child", "again"}
    assert acknowledged in ends ^ late


def _check_token(found: dict[str, list[tuple[WorkflowDescription, History]]]) -> None:
    """What the side effect drew is what everybody was told, and what the chain carries on."""
    (first, history), (second, _) = found["parent"]
    markers = [event.attributes for event in history if isinstance(event.attributes, ev.MarkerRecorded)]
    token = msgspec.json.decode(markers[0].details["result"][0].data, type=str)
    (told,) = (_word(signal.input[0]) for signal in _signals(found["child"][0][1]))
    assert told == token
    assert first.memo == {"token": token, "stage": "first"}
    assert second.memo == {"token": token, "stage": "second"}
    assert second.search_attributes["Round"] == 1


def _check_child(
    parent: History, initiated: Event, found: dict[str, list[tuple[WorkflowDescription, History]]]
) -> None:
    """A parent and a child of it say the same of each other."""
    asked = initiated.attributes
    assert isinstance(asked, ev.StartChildWorkflowExecutionInitiated)
    ((run, history),) = found[asked.workflow_id]
    (started,) = (
        event.attributes
        for event in parent
        if isinstance(event.attributes, ev.ChildWorkflowExecutionStarted)
        and event.attributes.initiated_event_id == initiated.event_id
    )
    first = history[0].attributes
    assert isinstance(first, ev.WorkflowExecutionStarted)
    assert started.run_id == run.run_id == first.original_execution_run_id
    assert (first.parent_workflow_id, first.parent_run_id) == ("parent", parent.run_id)
    assert (first.parent_initiated_event_id, first.input) == (initiated.event_id, asked.input)


def _counted(history: History) -> Counter[str]:
    names = (type(event.attributes).__name__ for event in history)
    return Counter(name for name in names if not name.startswith("WorkflowTask"))


def _is(event: Event, kind: type[ev.Attributes]) -> bool:
    return isinstance(event.attributes, kind)


async def _read(folder: Path) -> list[tuple[WorkflowDescription, History]]:
    async with EmbeddedEngine(Store(folder / "family.db")) as engine:
        runs = [run async for run in engine.list_workflows()]
        return [(run, await _history(engine, run)) for run in reversed(runs)]


async def _history(engine: EmbeddedEngine, run: WorkflowDescription) -> History:
    _, events = await engine.workflow_history(WorkflowRef(run.workflow_id, run.run_id))
    return History(events, workflow_id=run.workflow_id, run_id=run.run_id)


def _word(payload: Payload) -> str:
    return msgspec.json.decode(payload.data, type=dict[str, str])["value"]


def _signals(history: History) -> list[ev.WorkflowExecutionSignaled]:
    return [event.attributes for event in history if isinstance(event.attributes, ev.WorkflowExecutionSignaled)]
