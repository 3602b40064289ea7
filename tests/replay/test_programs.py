"""Histories of the embedded engine: Temporal's Replayer accepts each, and so does our core at every task."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.replay.bench import check_every_task
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.marked import MARKED
from tests.replay.pairs import Activities, Pair
from tests.replay.programs import PROGRAMS

from protopact import testing
from protopact.history import History
from protopact.history.event import Event
from protopact.history.json import from_json, to_json
from protopact.replay import Replayer as HistoryReplayer

PAIRS = {**PROGRAMS, **MARKED}


async def play(pair: Pair, *, cached: int) -> list[Event]:
    async with testing.Environment() as env:
        handle = await histories.Client(env).start_program(pair.job)
        await pair.early(handle, env)
        async with env.worker(workflows=[pair.mine], activities=[Activities(env)], max_cached_workflows=cached):
            await pair.drive(handle, env)
        return list(await handle.history())


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
@pytest.mark.parametrize("name", PAIRS)
async def test_temporal_accepts_it(name: str, cached: int) -> None:
    pair = PAIRS[name]
    history = await play(pair, cached=cached)
    text = to_json(history)
    assert from_json(text) == history
    replayer = Replayer(workflows=[pair.theirs], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(WorkflowHistory.from_json("p", text))


@pytest.mark.parametrize("name", PAIRS)
def test_every_task_is_answered_as_it_was(name: str) -> None:
    history = asyncio.run(play(PAIRS[name], cached=1000))
    check_every_task(PAIRS[name].mine, history)
    assert HistoryReplayer(workflows=[PAIRS[name].mine]).replay(History(history)).warnings == ()
