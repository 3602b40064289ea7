"""Much that is due at once: a tick takes its share of it, and nobody waits for all the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.embedded.bench import Waiting, open_engine, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.records import Records
from protopact.embedded.run import Run

RUNS = 300


class Sleeps(Waiting):
    async def run(self, request: Text) -> Text:
        await workflow.sleep(timedelta(hours=1))
        return request


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each tick has written."""
    counts: list[int] = []
    write = Records.write_runs

    def counting(records: Records, runs: Sequence[Run]) -> None:
        counts.append(len(runs))
        write(records, runs)

    monkeypatch.setattr(Records, "write_runs", counting)
    return counts


async def test_timers_of_many_runs_fire_over_several_ticks(written: list[int]) -> None:
    clock = VirtualClock()
    async with (
        open_engine(clock=clock) as engine,
        engine.worker(workflows=[Sleeps], max_cached_workflows=10),
    ):
        client = lab.Client(engine)
        handles = await asyncio.gather(*(client.start_free(text(str(number))) for number in range(RUNS)))
        await clock.settle()
        written.clear()
        await clock.advance(timedelta(hours=1))
        results = await asyncio.gather(*(handle.result() for handle in handles))
        assert [result.value for result in results] == [str(number) for number in range(RUNS)]
        assert sum(written) == RUNS
        assert max(written) < RUNS


async def test_more_calls_than_a_tick_takes_are_answered_in_order(written: list[int]) -> None:
    async with open_engine() as engine:
        client = lab.Client(engine)
        order = list[int]()

        async def start(number: int) -> None:
            await client.start_free(text(str(number)))
            order.append(number)

        await asyncio.gather(*map(start, range(1200)))
        assert order == list(range(1200))
        assert sum(written) == 1200
        assert max(written) < 1200
