"""Parent, children and signals between workflows, killed at every commit: nothing is lost and nothing comes twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.kill import family_oracle, family_verdict, oracle
from tests.kill.journal import Journal
from tests.kill.scenario import Part
from tests.kill.test_kill import KILLED
from tests.kill.zygote import Zygote

from protopact.history import History

COMMITS = 16
"""Commits of the program in one process that is not killed: what there is to lose. Fewer means that less is tried."""

LEAST_COMMITS = 8
"""Commits of each of two processes, at least; what happens in one commit and what in two is chance."""

WHOLE = Part(program="family")
PARENTS = Part(program="family", serves=("Other",))
CHILDREN = Part(program="family", serves=("Free",), client=False)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


def replayed(histories: list[History]) -> list[str]:
    """What Temporal's Replayer says against the histories."""
    return oracle.replay(histories, family_oracle.WORKFLOWS)


def test_a_family_that_is_not_killed(zygote: Zygote, tmp_path: Path) -> None:
    assert zygote.wait(zygote.fork(tmp_path, WHOLE)) == 0
    histories = family_verdict.check(tmp_path)
    assert Journal(tmp_path / "journal.jsonl").entries("commits")[0].number == COMMITS
    assert replayed(histories) == []


@pytest.mark.parametrize("die_after", [False, True], ids=["before", "after"])
def test_a_family_killed_at_every_commit(zygote: Zygote, tmp_path: Path, *, die_after: bool) -> None:
    histories: list[History] = []
    for commit in range(1, COMMITS + 1):
        folder = tmp_path / str(commit)
        folder.mkdir()
        doomed = msgspec.structs.replace(WHOLE, die_at=commit, die_after=die_after)
        assert zygote.wait(zygote.fork(folder, doomed)) == KILLED
        assert zygote.wait(zygote.fork(folder, WHOLE)) == 0
        histories += family_verdict.check(folder)
    assert replayed(histories) == []


@pytest.mark.slow
@pytest.mark.parametrize("die_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("victim", ["parents", "children"])
def test_parents_and_children_in_two_processes(zygote: Zygote, tmp_path: Path, victim: str, *, die_after: bool) -> None:
    """One of them is killed at every commit of its own, and started again; the other goes on meanwhile."""
    histories: list[History] = []
    parts = {"parents": PARENTS, "children": CHILDREN}
    for commit in itertools.count(1):
        folder = tmp_path / str(commit)
        folder.mkdir()
        doomed = msgspec.structs.replace(parts[victim], die_at=commit, die_after=die_after)
        running = {name: zygote.fork(folder, doomed if name == victim else part) for name, part in parts.items()}
        if zygote.wait_any(*running.values()) != running[victim] or zygote.wait(running[victim]) == 0:
            zygote.kill(running["children"])
            break  # the client was done before
        running[victim] = zygote.fork(folder, parts[victim])
        assert zygote.wait(running["parents"]) == 0
        assert zygote.kill(running["children"]) == KILLED
        histories += family_verdict.check(folder)
    assert len(histories) >= 6 * LEAST_COMMITS
    assert replayed(histories) == []
