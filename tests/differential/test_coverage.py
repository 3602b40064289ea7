"""Random programs reach what they are meant to: every statement, every event, every moment of every cancellation."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import Phase, given, settings
from tests.differential.coverage import count, counting
from tests.differential.program import PROGRAMS, ChildKind, Kind, Statement
from tests.differential.schedule import SCHEDULES, Schedule, play
from tests.differential.test_programs import PATIENT

from protopact.history import event as ev

NOT_OF_THE_ENGINE = {
    ev.Ignorable,
    ev.WorkflowTaskTimedOut,  # of workers that are lost
}
"""Events that the embedded engine writes for nothing that a program or a schedule can do."""

MEANT = {
    *(f"statement {kind.__name__}" for kind in get_args(Statement)),
    *(f"event {kind.__name__}" for kind in get_args(ev.Attributes) if kind not in NOT_OF_THE_ENGINE),
    *(f"cancel activity {kind} {moment}" for kind in get_args(Kind) for moment in ("unsent", "open")),
    *(f"cancel local activity {kind} open" for kind in get_args(Kind)),
    *(f"cancel child {kind} {moment}" for kind in get_args(ChildKind) for moment in ("asked", "started")),
    "cancel activity over",
    "cancel child over",
    "cancel local activity over",
    "cancel signal unsent",
    "cancelled activity ActivityTaskCanceled in no attempt",
    "cancelled activity ActivityTaskCanceled in the first attempt",
    "cancelled activity ActivityTaskCompleted in the first attempt",
    "WorkflowExecutionCompleted while handlers run",
    "WorkflowExecutionContinuedAsNew while handlers run",
    "WorkflowExecutionFailed while handlers run",
}


@pytest.mark.slow
def test_every_kind_is_reached() -> None:
    @settings(PATIENT, derandomize=True, max_examples=1200, phases=[Phase.generate])
    @given(PROGRAMS, SCHEDULES)
    def run(program: Statement, schedule: Schedule) -> None:
        for played in play(program, schedule):
            count(played, counts)

    with counting() as counts:
        run()
    for what, times in sorted(counts.items()):
        print(f"{times:7} {what}")  # noqa: T201 - what `make prove` shows
    reached = {what.rsplit(" ", words)[0] for what in counts for words in range(2)}
    assert MEANT - reached == set()
