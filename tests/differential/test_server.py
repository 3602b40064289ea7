"""Histories of random programs that a real Temporal server has written: our core replays them as Temporal's does."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import Phase, given, seed, settings
from tests.devserver import DevServer
from tests.differential.interpreter import Ours
from tests.differential.oracle import Oracle
from tests.differential.program import PROGRAMS, Statement
from tests.differential.recorder import Recorded, record
from tests.differential.schedule import SCHEDULES, Played, Schedule
from tests.differential.shards import PROGRAMS as PROGRAMS_IN_ALL
from tests.differential.shards import shards
from tests.differential.test_programs import PATIENT, check_history, check_live

from protopact.history import History
from protopact.replay import Replayer

STRICT = Replayer(workflows=[Ours], relax=["task_queue"])
"""The workers that record have queues of their own."""


def drawn(chosen: int, count: int) -> list[tuple[Statement, Schedule]]:
    """So many programs, each with its schedule."""
    plays: list[tuple[Statement, Schedule]] = []

    @seed(chosen)
    @settings(PATIENT, max_examples=count, phases=[Phase.generate])
    @given(PROGRAMS, SCHEDULES)
    def draw(program: Statement, schedule: Schedule) -> None:
        plays.append((program, schedule))

    draw()
    return plays


def check(recorded: Recorded, oracle: Oracle) -> None:
    """Every prefix is told as Temporal tells it; the whole agrees in full, and the code sees what it saw live."""
    history = History.from_json(recorded.json)
    check_history(history, oracle)
    assert STRICT.replay(history).warnings == ()
    check_live(Played(list(history), recorded.trace), is_longer=True)


@pytest.mark.slow
# Temporal's worker warns of local activities that end as they are cancelled.
@pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")
@pytest.mark.parametrize(("chosen", "count"), shards(max(60, PROGRAMS_IN_ALL // 20), 60))
def test_histories_of_a_server_replay(temporal_server: DevServer, oracle: Oracle, chosen: int, count: int) -> None:
    plays = drawn(chosen, count)

    async def played() -> list[list[Recorded]]:
        return await record(await temporal_server.connect(), plays)

    for (program, schedule), runs in zip(plays, asyncio.run(played()), strict=True):
        for run in runs:
            try:
                check(run, oracle)
            except BaseException as error:
                error.add_note(f"{program}\n{schedule}\n{run.json}")
                raise
