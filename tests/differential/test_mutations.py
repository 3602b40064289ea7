"""Damaged histories of random programs: Core and we say the same of them, or a row of `DIFFERENCES` says why not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.differential.difference import DIFFERENCES
from tests.differential.mutation import MUTATIONS, Mutation, mutated
from tests.differential.oracle import Oracle, Verdict, foreseen, judged_by_us
from tests.differential.program import PROGRAMS, Statement
from tests.differential.schedule import SCHEDULES, Schedule, play
from tests.differential.shards import PROGRAMS as PROGRAMS_IN_ALL
from tests.differential.shards import shards
from tests.differential.test_programs import PATIENT, is_core_wrong, task_boundaries
from tests.replay.oracle import ACCEPTED

from protopact.history.event import Event


def check(history: Sequence[Event], theirs: Verdict) -> None:
    """Ours is their verdict, or the difference is known; and the code has seen the same."""
    ours = judged_by_us(history)
    if ours.verdict != theirs.verdict:
        known = is_core_wrong(history, theirs) or any(each.covers(history, ours, theirs) for each in DIFFERENCES)
        assert known, (
            f"{ours.verdict}, not {theirs.verdict}: {ours.why or 'we accept'}; {theirs.why or 'and they say nothing'}"
        )
    elif ours.verdict == ACCEPTED and task_boundaries(history)[-1:] == [len(history)]:
        assert ours.trace == theirs.trace


def damage(program: Statement, schedule: Schedule, mutations: Sequence[Mutation], oracle: Oracle) -> None:
    for played in play(program, schedule)[:1]:
        whole = played.history[: task_boundaries(played.history)[-1]]
        for mutation in mutations:
            damaged = mutated(whole, mutation)
            check(damaged, foreseen(damaged) or oracle.judge(damaged))


SEVERAL = st.lists(MUTATIONS, min_size=1, max_size=6)


@settings(PATIENT, derandomize=True, max_examples=25)
@given(PROGRAMS, SCHEDULES, SEVERAL)
def test_damage_is_told_alike(
    oracle: Oracle, program: Statement, schedule: Schedule, mutations: list[Mutation]
) -> None:
    damage(program, schedule, mutations, oracle)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "count"), shards(PROGRAMS_IN_ALL // 8))
def test_damage_is_told_alike_at_length(oracle: Oracle, chosen: int, count: int) -> None:
    @seed(chosen)
    @settings(PATIENT, max_examples=count)
    @given(PROGRAMS, SCHEDULES, SEVERAL)
    def agree(program: Statement, schedule: Schedule, mutations: list[Mutation]) -> None:
        damage(program, schedule, mutations, oracle)

    agree()
