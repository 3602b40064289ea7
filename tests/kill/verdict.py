"""Whether a run that was killed and finished is what one that was never killed is."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec
from examples.node_provisioner.cloud import Cloud
from examples.node_provisioner.workflows import AddNode, DeleteNode
from tests.kill import scenario
from tests.kill.journal import Journal

import protopact
from protopact.engine import WorkflowDescription, WorkflowRef, WorkflowStatus
from protopact.failure import FailureConverter
from protopact.history import event as ev
from protopact.history.failure import TimeoutFailureInfo
from protopact.payload import PayloadConverter
from protopact.replay.definition import Definition
from protopact.replay.execution import Execution

T = TypeVar("T")

History = list[ev.Event]

_CONVERTER = PayloadConverter()
_CLASSES = {cls.__protopact__().name: cls for cls in (AddNode, DeleteNode)}


def read(folder: Path) -> list[tuple[WorkflowDescription, History]]:
    """Every run and its history, oldest first."""
    return asyncio.run(_read(folder))


def check(folder: Path, *, kills: int) -> list[History]:
    """Assert that everything holds, and return the histories."""
    journal = Journal(folder / "journal.jsonl")
    runs = read(folder)
    assert {entry.name: entry.value for entry in journal.entries("ack")} == scenario.OUTCOMES
    assert len(journal.entries("ack")) == len(scenario.OUTCOMES)
    assert [(run.workflow_id, _short(run.workflow_type), run.status) for run, _ in runs] == [
        ("node/n1", "AddNode", WorkflowStatus.COMPLETED),
        ("node/n2", "AddNode", WorkflowStatus.FAILED),
        ("node/n1", "DeleteNode", WorkflowStatus.COMPLETED),
    ]
    _check_signals(runs[0][1], journal)
    _check_updates(runs[0][1])
    _check_effects(folder)
    for _, history in runs:
        assert [event.event_id for event in history] == list(range(1, len(history) + 1))
        _check_attempts(history, journal, kills=kills)
        _check_replay(history)
    return [history for _, history in runs]


def _check_signals(history: History, journal: Journal) -> None:
    """Each acknowledged signal is there once; one that was not acknowledged may be there."""
    reasons = Counter(
        msgspec.json.decode(attributes.input[0].data, type=dict[str, str])["reason"]
        for attributes in _attributes(history, ev.WorkflowExecutionSignaled)
    )
    assert set(reasons.values()) == {1}
    for name in scenario.SIGNALS:
        acknowledged = journal.entries("ack", name)[0].number
        late = {entry.number for entry in journal.entries("late", name)}
        there = {number for number in range(1, acknowledged + 1) if f"{name} {number}" in reasons}
        assert there, f"no try of {name!r} is in history"
        assert acknowledged in there ^ late, f"try {acknowledged} of {name!r} was acknowledged; there are {there}"


def _check_updates(history: History) -> None:
    """The update that was accepted is there once, whatever it took; the rejected one is not."""
    accepted = _attributes(history, ev.WorkflowExecutionUpdateAccepted)
    completed = _attributes(history, ev.WorkflowExecutionUpdateCompleted)
    assert [update.accepted_request and update.accepted_request.update_id for update in accepted] == ["resize"]
    assert [update.update_id for update in completed] == ["resize"]


def _check_effects(folder: Path) -> None:
    """Idempotent activities had each effect once, whatever was run twice."""
    effects = Cloud(folder / "cloud").effects()
    assert [effect["do"] for effect in effects] == ["create", "announce", "delete"]


def _check_attempts(history: History, journal: Journal, *, kills: int) -> None:
    """Attempts are counted without a gap, each begins once, and none begins after one that was recorded."""
    started = history[0].attributes
    assert isinstance(started, ev.WorkflowExecutionStarted)
    starts = {start.scheduled_event_id: start for start in _attributes(history, ev.ActivityTaskStarted)}
    for event in history:
        if not isinstance(event.attributes, ev.ActivityTaskScheduled):
            continue
        name = f"{started.original_execution_run_id}/{event.attributes.activity_id}"
        begun = [entry.number for entry in journal.entries("begin", name)]
        last = starts[event.event_id].attempt
        lost = starts[event.event_id].last_failure
        assert begun == sorted(set(begun)), f"{name}: an attempt began twice: {begun}"
        assert begun[-1] == last, f"{name}: attempt {last} is recorded, attempt {begun[-1]} was the last to begin"
        assert lost is None if last == 1 else lost and isinstance(lost.info, TimeoutFailureInfo), f"{name}: {lost}"
        assert last <= kills + 1, f"{name}: {last} attempts for {kills} kills"
        assert (name, last) in [(entry.name, entry.number) for entry in journal.entries("end", name)]


def _check_replay(history: History) -> None:
    """The history replays on the core, whole and up to each workflow task."""
    started = history[0].attributes
    assert isinstance(started, ev.WorkflowExecutionStarted)
    definition = Definition(
        workflow=_CLASSES[started.workflow_type], converter=_CONVERTER, failures=FailureConverter(_CONVERTER)
    )
    tasks = [n for n, event in enumerate(history, start=1) if isinstance(event.attributes, ev.WorkflowTaskStarted)]
    for end in (*tasks, len(history)):
        execution = Execution(definition, workflow_id=started.workflow_id, run_id=started.original_execution_run_id)
        advance = execution.advance(history[:end])
        assert advance.is_closed == (end == len(history) or end == tasks[-1])
        execution.unwind()


async def _read(folder: Path) -> list[tuple[WorkflowDescription, History]]:
    async with protopact.connect(f"sqlite:///{folder}/nodes.db") as engine:
        runs = [run async for run in engine.list_workflows()]
        return [
            (run, list((await engine.workflow_history(WorkflowRef(run.workflow_id, run.run_id)))[1]))
            for run in reversed(runs)
        ]


def _attributes(history: History, kind: type[T]) -> list[T]:
    return [event.attributes for event in history if isinstance(event.attributes, kind)]


def _short(name: str) -> str:
    return name.rpartition(".")[2]
