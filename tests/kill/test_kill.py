"""A process is killed at every commit, before and after it, and at any time; nothing that was acknowledged is lost."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.kill import oracle, verdict
from tests.kill.journal import Journal
from tests.kill.scenario import Part
from tests.kill.zygote import Zygote

COMMITS = 21
"""Commits of the scenario in one process that is not killed: what there is to lose. Fewer means that less is tried."""

LEAST_COMMITS = {"client": 10, "worker": 10}
"""Commits of a client alone and of a worker alone, at least; what happens in one commit and what in two is chance."""

KILLS = 200
"""Kills at any time."""

MOST_KILLS = 4
"""Kills of one run: the contract gives CreateVm five attempts, and a kill may cost one."""

LONGEST_LIFE = 0.12
"""Seconds: about as long as the scenario takes."""

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


def test_a_run_that_is_not_killed(zygote: Zygote, tmp_path: Path) -> None:
    assert zygote.wait(zygote.fork(tmp_path, Part())) == 0
    histories = verdict.check(tmp_path, kills=0)
    assert Journal(tmp_path / "journal.jsonl").entries("commits")[0].number == COMMITS
    assert oracle.replay(histories) == []


@pytest.mark.parametrize("die_after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_commit(zygote: Zygote, tmp_path: Path, *, die_after: bool) -> None:
    histories: list[verdict.History] = []
    for commit in range(1, COMMITS + 1):
        folder = tmp_path / str(commit)
        folder.mkdir()
        assert zygote.wait(zygote.fork(folder, Part(die_at=commit, die_after=die_after))) == KILLED
        assert zygote.wait(zygote.fork(folder, Part())) == 0
        histories += verdict.check(folder, kills=1)
    assert oracle.replay(histories) == []


@pytest.mark.slow
@pytest.mark.parametrize("die_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("victim", ["client", "worker"])
def test_a_kill_at_every_commit_of_one_of_two(zygote: Zygote, tmp_path: Path, victim: str, *, die_after: bool) -> None:
    """Client and worker are two processes; one of them is killed at every commit of its own, and started again."""
    histories: list[verdict.History] = []
    parts = {"client": Part(worker=False), "worker": Part(client=False)}
    for commit in itertools.count(1):
        folder = tmp_path / str(commit)
        folder.mkdir()
        doomed = msgspec.structs.replace(parts[victim], die_at=commit, die_after=die_after)
        running = {name: zygote.fork(folder, doomed if name == victim else part) for name, part in parts.items()}
        if zygote.wait_any(*running.values()) != running[victim] or zygote.wait(running[victim]) == 0:
            break  # the client was done before
        running[victim] = zygote.fork(folder, parts[victim])
        assert zygote.wait(running["client"]) == 0
        assert zygote.kill(running["worker"]) == KILLED
        histories += verdict.check(folder, kills=1)
    assert len(histories) >= 3 * LEAST_COMMITS[victim]
    assert oracle.replay(histories) == []


@pytest.mark.slow
def test_kills_at_any_time(zygote: Zygote, tmp_path: Path) -> None:
    """Client and worker are one process or two; what was killed is started again."""
    seed = int(os.environ.get("PROTOPACT_KILL_SEED", time.time_ns()))
    print(f"PROTOPACT_KILL_SEED={seed}")  # noqa: T201 - what repeats a failure, as far as time can be repeated
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    histories: list[verdict.History] = []
    kills = 0
    while kills < KILLS:
        folder = tmp_path / f"{len(histories)}"
        folder.mkdir()
        parts = chance.choice([[Part()], [Part(worker=False), Part(client=False)]])
        here = kill_some(zygote, folder, parts, chance)
        histories += verdict.check(folder, kills=here)
        kills += here
    assert oracle.replay(histories) == []


def kill_some(zygote: Zygote, folder: Path, parts: list[Part], chance: random.Random) -> int:
    """Kill the processes that play `parts`, now this one, now that one, then let the client finish; how many kills."""
    kills = 0
    running = [zygote.fork(folder, part) for part in parts]
    for _ in range(chance.randint(1, MOST_KILLS)):
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        victim = chance.randrange(len(parts))
        code = zygote.kill(running[victim])
        if code == 0:
            assert parts[victim].client, "a worker does not end by itself"
            running[victim] = zygote.fork(folder, parts[victim])
            break
        assert code == KILLED
        kills += 1
        running[victim] = zygote.fork(folder, parts[victim])
    assert zygote.wait(running[0]) == 0
    for pid in running[1:]:
        assert zygote.kill(pid) == KILLED
    return kills
