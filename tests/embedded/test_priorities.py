"""Priorities where a file holds what waits: after a restart, between processes, with many keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Lab, Sleeper, Waiting, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.client import WorkflowHandle
from protopact.embedded.clock import SystemClock, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.policy import Priority

ABOVE_A_BATCH = 150


async def fan_out(request: Text) -> Text:
    """Calls Echo with each word of the request; what stands before a colon is its priority, behind a dot its key."""
    calls = list[Awaitable[Text]]()
    for word in request.value.split():
        key, _, fair = word.partition(":")[0].partition(".")
        priority = Priority(priority_key=int(key) if key else None, fairness_key=fair or None)
        calls.append(lab.echo(text(word), priority=priority))
    await asyncio.gather(*calls)
    return request


class Fan(Waiting):
    async def run(self, request: Text) -> Text:
        return await fan_out(request)


class OtherFan(lab.Other):
    async def run(self, request: Text) -> Text:
        return await fan_out(request)


class Noting(Lab):
    """Notes what it echoes; holds the first one up."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.notes = list[str]()
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def echo(self, request: Text) -> Text:
        self.notes.append(request.value)
        await self.gate.wait()
        return request


async def until_called(handle: WorkflowHandle[Text], number: int) -> None:
    while kinds(await handle.history()).count("ActivityTaskScheduled") < number:
        await asyncio.sleep(0)


async def left_behind(engine: EmbeddedEngine, words: str) -> None:
    """Have a run call Echo, which nobody serves."""
    async with engine.worker(workflows=[Fan], handle_signals=False):
        await until_called(await lab.Client(engine).start_free(text(words), id="left"), len(words.split()))


async def served(engine: EmbeddedEngine) -> list[str]:
    """What is echoed, one after the other."""
    noting = Noting()
    async with engine.worker(workflows=[Fan], activities=[noting], max_concurrent_activities=1, handle_signals=False):
        await soon(lab.Client(engine).free_handle("left").result())
    return noting.notes


async def begun(engine: EmbeddedEngine, *, slots: int, number: int) -> list[str]:
    """What is echoed at once, by a worker of activities alone."""
    noting = Noting(is_open=False)
    async with engine.worker(activities=[noting], max_concurrent_activities=slots, handle_signals=False):
        async with asyncio.timeout(5):
            while len(noting.notes) < number:
                await asyncio.sleep(0)
        noting.gate.set()
    return noting.notes


async def test_a_restart_forgets_no_priority(tmp_path: Path) -> None:
    words = ":a 5:b 1:c 1.x:d 1.x:e :f 2:g"
    async with open_engine(tmp_path / "lab.db") as engine:
        await left_behind(engine, words)
    async with open_engine(tmp_path / "lab.db") as engine:
        assert await served(engine) == ["1:c", "1.x:d", "1.x:e", "2:g", ":a", ":f", "5:b"]


async def test_what_has_no_priority_is_served_as_it_came(path: Path | None) -> None:
    words = [f":{number}" for number in range(30)]
    async with open_engine(path) as engine:
        await left_behind(engine, " ".join(words))
        assert await served(engine) == words


async def test_priorities_hold_between_processes(tmp_path: Path) -> None:
    path, noting = tmp_path / "lab.db", Noting(is_open=False)
    async with open_engine(path, clock=SystemClock()) as one, open_engine(path, clock=SystemClock()) as other:
        # The one runs no activities; the other is busy with one while more come from both.
        serving = other.worker(
            workflows=[OtherFan], activities=[noting], max_concurrent_activities=1, handle_signals=False
        )
        async with one.worker(workflows=[Fan], handle_signals=False), serving:
            own = await lab.Client(other).start_other(text(":busy 4:own 2:own"), id="own")
            await until_called(own, 3)
            others = await lab.Client(one).start_free(text("1:other 3:other 5:other 2.x:other"), id="others")
            await until_called(others, 4)
            assert noting.notes == ["2:own"]
            noting.gate.set()
            await soon(asyncio.gather(own.result(), others.result()))
    assert noting.notes[1:3] == ["1:other", "2.x:other"]
    assert set(noting.notes[3:5]) == {":busy", "3:other"}
    assert noting.notes[5:] == ["4:own", "5:other"]


async def test_many_keys_take_turns(tmp_path: Path) -> None:
    keys = [f".k{number:02}" for number in range(20)]
    words = [f"{key}:{turn}" for key in keys for turn in range(2)]
    async with open_engine(tmp_path / "lab.db", clock=SystemClock()) as one:
        await left_behind(one, " ".join(words))
        async with open_engine(tmp_path / "lab.db", clock=SystemClock()) as other:
            noting = Noting()
            async with (
                one.worker(workflows=[Fan], handle_signals=False),
                other.worker(activities=[noting], max_concurrent_activities=1, handle_signals=False),
            ):
                await soon(lab.Client(one).free_handle("left").result())
    for turn in range(2):
        assert {note.partition(":")[0] for note in noting.notes[20 * turn : 20 * (turn + 1)]} == set(keys)


@pytest.mark.parametrize("are_fair", [False, True])
async def test_runs_that_wait_for_a_worker_are_served_in_order(path: Path | None, are_fair: bool) -> None:  # noqa: FBT001
    begun = list[str]()

    class Begun(Waiting):
        async def run(self, request: Text) -> Text:
            if not workflow.is_replaying():
                begun.append(request.value)
            return request

    async with open_engine(path) as engine:
        client = lab.Client(engine)
        crowd = Priority(fairness_key="crowd") if are_fair else Priority()
        for number in range(ABOVE_A_BATCH):
            await client.start_free(text(f"crowd {number}"), id=f"c{number}", priority=crowd)
        few = Priority(fairness_key="few", fairness_weight=2) if are_fair else Priority(priority_key=2)
        handles = [await client.start_free(text("few"), id=f"f{number}", priority=few) for number in range(4)]
        await client.start_free(text("first"), id="first", priority=Priority(priority_key=1))
        async with engine.worker(workflows=[Begun], handle_signals=False):
            await soon(asyncio.gather(*(handle.result() for handle in handles)))
            await soon(client.free_handle(f"c{ABOVE_A_BATCH - 1}").result())
    crowded = [f"crowd {number}" for number in range(ABOVE_A_BATCH)]
    assert [value for value in begun if value.startswith("crowd")] == crowded
    assert begun[0] == "first"
    assert begun[1:8].count("few") == 4
    if not are_fair:
        assert begun[1:5] == ["few"] * 4


KEYS = [f".k{number:02}" for number in range(40)]


async def test_runs_of_many_keys_all_begin(path: Path | None) -> None:
    async with open_engine(path) as engine:
        client = lab.Client(engine)
        handles = [await client.start_free(text("0"), id=key, priority=Priority(fairness_key=key)) for key in KEYS]
        async with engine.worker(workflows=[Sleeper], handle_signals=False):
            await soon(asyncio.gather(*(handle.result() for handle in handles)))


async def test_a_timer_is_not_missed_among_many_keys_that_are_idle(tmp_path: Path, clock: VirtualClock) -> None:
    class SleeperOrIdle(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "idle":
                return await super().run(request)
            await workflow.sleep(60)
            return request

    async with open_engine(tmp_path / "lab.db", clock=clock) as engine:
        client = lab.Client(engine)
        async with engine.worker(workflows=[SleeperOrIdle], handle_signals=False):
            for key in KEYS:
                await client.start_free(text("idle"), id=key, priority=Priority(fairness_key=key))
            await client.start_free(text("timer"), id="timer", priority=Priority(fairness_key="z"))
            await clock.settle()
    async with (
        open_engine(tmp_path / "lab.db", clock=clock) as engine,
        engine.worker(workflows=[SleeperOrIdle], handle_signals=False),
    ):
        await clock.advance(timedelta(seconds=60))
        await soon(lab.Client(engine).free_handle("timer").result())


async def test_activities_of_many_keys_all_start_after_a_restart(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lab.db") as engine:
        await left_behind(engine, " ".join(KEYS))
    async with open_engine(tmp_path / "lab.db") as engine:
        assert sorted(await begun(engine, slots=100, number=len(KEYS))) == KEYS


async def test_an_activity_is_not_missed_among_many_keys_that_nobody_serves(tmp_path: Path) -> None:
    class Elsewhere(lab.Other):
        async def run(self, request: Text) -> Text:
            await asyncio.gather(
                *(lab.echo(request, task_queue="nobody", priority=Priority(fairness_key=key)) for key in KEYS)
            )
            return request

    path = tmp_path / "lab.db"
    async with open_engine(path, clock=SystemClock()) as one, open_engine(path, clock=SystemClock()) as other:
        client = lab.Client(one)
        async with (
            one.worker(workflows=[Elsewhere, Fan], handle_signals=False),
            other.worker(activities=[Lab()], handle_signals=False),
        ):
            await until_called(await client.start_other(text("a")), len(KEYS))
            await soon(client.execute_free(text(".z")))


async def test_activities_of_many_keys_fill_all_slots_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=SystemClock()) as one, open_engine(path, clock=SystemClock()) as other:
        await left_behind(one, " ".join(KEYS))
        async with one.worker(workflows=[Fan], handle_signals=False):
            assert sorted(await begun(other, slots=len(KEYS), number=len(KEYS))) == KEYS


async def test_no_level_passes_one_with_many_keys(tmp_path: Path) -> None:
    urgent = [f"1{key}" for key in KEYS]
    async with open_engine(tmp_path / "lab.db") as engine:
        await left_behind(engine, " ".join([*(f":{number}" for number in range(60)), *urgent]))
    async with open_engine(tmp_path / "lab.db") as engine:
        assert sorted(await begun(engine, slots=len(urgent), number=len(urgent))) == urgent
