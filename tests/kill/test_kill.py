"""A process is killed at every commit, before and after it, and at any time; nothing that was acknowledged is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kill import oracle, verdict
from tests.kill.journal import Journal
from tests.kill.scenario import Part
from tests.kill.zygote import Zygote

COMMITS = 21
"""Commits of the scenario in one process that is not killed: what there is to lose. Fewer means that less is tried."""

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
