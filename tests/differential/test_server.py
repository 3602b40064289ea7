"""Histories of random programs that a real Temporal server has written: our core replays them as Temporal's does."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from hypothesis import Phase, given, seed, settings
from temporalio.api.history.v1 import History as HistoryProto
from tests.devserver import DevServer
from tests.differential.interpreter import Ours
from tests.differential.oracle import Oracle, judged_by_us
from tests.differential.program import PROGRAMS, Statement
from tests.differential.recorder import Recorded, record
from tests.differential.schedule import SCHEDULES, Schedule
from tests.differential.shards import PROGRAMS as PROGRAMS_IN_ALL
from tests.differential.shards import shards
from tests.differential.test_programs import PATIENT, answered, check_history, seen
from tests.replay.oracle import ACCEPTED

from protopact.history import History
from protopact.history.event import MarkerRecorded, WorkflowTaskTimedOut
from protopact.replay import Replayer
from protopact.replay.activation import COMMAND_EVENTS, TERMINAL_EVENTS

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
    """Nothing is lost in reading, every prefix is told as Temporal tells it, and the whole agrees in full.

    A worker of Temporal's that is stopped while local activities run may write what Temporal itself refuses.
    """
    history = recorded.history
    assert list(History.from_json(MessageToJson(recorded.proto))) == list(history)
    assert Parse(history.to_json(), HistoryProto()) == recorded.proto
    check_history(history, oracle)
    if judged_by_us(history).verdict == ACCEPTED:
        assert STRICT.replay(history).warnings == ()
        check_live(recorded)


def check_live(recorded: Recorded) -> None:
    """What the code saw live it sees in a replay; what it saw in a task that was never answered is nowhere.

    A local activity that ends while its task is answered is told when the next one starts, and on replay when it ended.
    """
    events = list(recorded.history)
    if any(isinstance(event.attributes, WorkflowTaskTimedOut) for event in events):
        return  # whoever had the task went on with what is not in history
    end = answered(events)
    while end < len(events) and type(events[end].attributes) in COMMAND_EVENTS:
        end += 1
    if not end:
        return
    again, live = seen(judged_by_us(events[:end]).trace), seen(recorded.trace)
    if type(events[end - 1].attributes) not in TERMINAL_EVENTS:
        again, live = again[: len(live)], live[: len(again)]  # it may have gone on, or have begun anew
    if any(isinstance(event.attributes, MarkerRecorded) for event in events):
        again, live = [(place, what, 0) for place, what, _ in again], [(place, what, 0) for place, what, _ in live]
    assert again == live


@pytest.mark.slow
# Temporal's worker warns of local activities that end as they are cancelled.
@pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")
@pytest.mark.parametrize(("chosen", "count"), shards(max(60, PROGRAMS_IN_ALL // 20), 60))
def test_histories_of_a_server_replay(temporal_server: DevServer, oracle: Oracle, chosen: int, count: int) -> None:
    plays = drawn(chosen, count)

    async def played() -> list[list[Recorded]]:
        return await record(temporal_server, plays)

    for (program, schedule), runs in zip(plays, asyncio.run(played()), strict=True):
        for run in runs:
            try:
                check(run, oracle)
            except BaseException as error:
                error.add_note(f"{program}\n{schedule}\n{run.history.to_json()}")
                raise
