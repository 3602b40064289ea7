"""Priorities: who is served first, what is inherited, and what is refused."""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.worker import PollerBehaviorSimpleMaximum
from tests.conformance.bench import Bench, Lab, find, kinds, running, soon, until
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import text

from protopact import activity, workflow
from protopact.client import WorkflowHandle
from protopact.engine import WorkflowRef
from protopact.history import policy
from protopact.history.event import ActivityTaskScheduled, WorkflowExecutionStarted
from protopact.policy import Priority
from protopact.temporal import TemporalWorkerOptions

ONE = PollerBehaviorSimpleMaximum(1)
ONE_BY_ONE = TemporalWorkerOptions(
    sandboxed=False,
    max_concurrent_workflow_tasks=1,
    workflow_task_poller_behavior=ONE,
    activity_task_poller_behavior=ONE,
)


class Noting(Lab):
    """Notes what it echoes, and with which priority."""

    def __init__(self) -> None:
        self.notes = list[str]()
        self.priorities = dict[str, Priority]()

    async def echo(self, request: Text) -> Text:
        self.notes.append(request.value)
        self.priorities[request.value] = activity.info().priority
        return request


def one_by_one(
    bench: Bench, *workflows: type[workflow.Workflow], noting: Noting | None = None
) -> AbstractAsyncContextManager[None]:
    """A worker that does one thing at a time."""
    return bench.engine.worker(
        workflows=workflows,
        activities=[] if noting is None else [noting],
        task_queue=bench.place.name,
        max_concurrent_activities=1,
        max_cached_workflows=0,
        graceful_shutdown_timeout=timedelta(0),
        handle_signals=False,
        temporal=ONE_BY_ONE,
    )


async def until_called(activities: int, *handles: WorkflowHandle[Any]) -> None:
    """Wait until each of the runs has called activities."""

    async def called() -> bool:
        histories = await asyncio.gather(*(handle.history() for handle in handles))
        return all(kinds(history).count("ActivityTaskScheduled") == activities for history in histories)

    await until(called)


async def test_what_has_priority_is_served_first(ordering: Bench) -> None:
    begun = list[str]()

    async def fan_out(request: Text) -> Text:
        if not workflow.is_replaying():
            begun.append(request.value)
        keys = (5, None, 1, 4, 2)
        priorities = [Priority(priority_key=key) for key in keys]
        calls = [suite.echo(text(f"{request.value}{each.priority_key}"), priority=each) for each in priorities]
        await asyncio.gather(*calls)
        return request

    noting = Noting()
    handles = [
        await ordering.start(name, name=name, priority=Priority(priority_key=key))
        for name, key in (("late", 4), ("last", 9), ("early", 1), ("plain", None))
    ]
    await ordering.until_queued(len(handles))
    async with one_by_one(ordering, running(fan_out)):
        await until_called(5, *handles)
        assert begun == ["early", "plain", "late", "last"]
        await ordering.until_queued(5 * len(handles))
        async with one_by_one(ordering, noting=noting):
            await soon(asyncio.gather(*(handle.result() for handle in handles)))
    keys = [noting.priorities[note].priority_key for note in noting.notes]
    assert [min(key or 3, 5) for key in keys] == [1] * 5 + [2] * 4 + [3] + [4] * 5 + [5] * 5
    inherited = {name: noting.priorities[f"{name}None"].priority_key for name in ("early", "plain", "late", "last")}
    assert inherited == {"early": 1, "plain": None, "late": 4, "last": 9}


async def test_keys_take_turns_by_their_weight(ordering: Bench) -> None:
    async def fan_out(request: Text) -> Text:
        many, heavy = Priority(fairness_key="many"), Priority(fairness_key="heavy", fairness_weight=3)
        calls = [suite.echo(text("many"), priority=many) for _ in range(12)]
        calls += [suite.echo(text("heavy"), priority=heavy) for _ in range(6)]
        calls += [suite.echo(text("first"), priority=Priority(priority_key=1))]
        await asyncio.gather(*calls)
        return request

    noting = Noting()
    async with one_by_one(ordering, running(fan_out)):
        handle = await ordering.start()
        await until_called(19, handle)
        await ordering.until_queued(19)
        async with one_by_one(ordering, noting=noting):
            await soon(handle.result())
    assert noting.notes[0] == "first"
    # Three of the one for each of the other, give or take the turn that is under way.
    assert noting.notes[1:9].count("heavy") == 6, noting.notes
    assert noting.notes[9:] == ["many"] * 10


async def test_children_and_next_runs_inherit_what_they_leave_open(bench: Bench) -> None:
    async def parent(request: Text) -> Text:
        own = Priority(priority_key=4, fairness_key="own")
        await suite.Other.execute_child(request, id=f"{request.value}/a")
        await suite.Other.execute_child(request, id=f"{request.value}/b", priority=own)
        if not workflow.info().continued_run_id:
            suite.Free.continue_as_new(request)
        await suite.echo(text("plain"))
        await suite.echo(text("own"), priority=own)
        await suite.Local.echo(text("local"))
        return request

    class Child(suite.Other):
        async def run(self, request: Text) -> Text:
            return request

    noting = Noting()
    # The server tells an activity that does not go through the queue of no priority.
    worker = bench.engine.worker(
        workflows=[running(parent), Child],
        activities=[noting],
        task_queue=bench.place.name,
        handle_signals=False,
        temporal=TemporalWorkerOptions(sandboxed=False, disable_eager_activity_execution=True),
    )
    async with worker:
        given = Priority(priority_key=2, fairness_key="tenant", fairness_weight=0.5)
        handle = await bench.start(bench.id("p"), name="p", priority=given)
        await soon(handle.result())
    both = policy.Priority(priority_key=4, fairness_key="own", fairness_weight=0.5)
    for name, expected in (
        ("p", policy.Priority(priority_key=2, fairness_key="tenant", fairness_weight=0.5)),
        ("p/a", policy.Priority(priority_key=2, fairness_key="tenant", fairness_weight=0.5)),
        ("p/b", both),
    ):
        _, history = await bench.engine.workflow_history(WorkflowRef(bench.id(name)))
        assert find(history, WorkflowExecutionStarted).priority == expected, name
    # What was asked for is what the event has, and what counts is what the activity is told.
    _, history = await bench.engine.workflow_history(WorkflowRef(bench.id("p")))
    scheduled = [each.attributes for each in history if isinstance(each.attributes, ActivityTaskScheduled)]
    assert [each.priority or policy.Priority() for each in scheduled] == [
        policy.Priority(),
        policy.Priority(priority_key=4, fairness_key="own"),
    ]
    assert noting.priorities == {
        "plain": given,
        "own": Priority(priority_key=4, fairness_key="own", fairness_weight=0.5),
        "local": Priority(),
    }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("priority_key", 0, "priority_key must be 1 or more, not 0"),
        ("fairness_key", "é" * 33, "fairness_key must have at most 64 bytes"),
        ("fairness_weight", 0.0, r"fairness_weight must be positive, not 0\.0"),
        ("fairness_weight", math.nan, "fairness_weight must be positive, not nan"),
    ],
)
def test_a_priority_that_cannot_be(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Priority(**cast("dict[str, Any]", {field: value}))
