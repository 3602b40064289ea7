"""Where our verdict is not Temporal's: rows of a program, a history, and what each says of it, with the reason."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from tests.replay.families import (
    Family,
    asked,
    asks,
    begins,
    child,
    does_not_arrive,
    is_not_asked,
    is_terminated,
    sends,
)
from tests.replay.stories import (
    ACCEPTED,
    ERROR,
    NONDETERMINISM,
    Program,
    Story,
    ends,
    told_by_them,
    told_by_us,
    work,
)


@dataclass(frozen=True)
class Row:
    """A program, a history, our verdict and theirs."""

    program: type[Program]
    story: Story
    ours: str
    theirs: str


class Stops(Family):
    """What is awaited is cancelled in the task in which its end is there, by what ends before it."""

    async def stops(self) -> None:
        try:
            await self.cancel("y")
        except Exception:  # noqa: BLE001 - of either SDK
            self.tasks[0].cancel()

    async def run(self) -> None:
        stops = asyncio.create_task(self.stops())
        await asyncio.sleep(0)
        self.beside(self.tried("other", self.other()))
        await asyncio.gather(stops, *self.tasks, return_exceptions=True)

    async def other(self) -> None:
        raise NotImplementedError


class StopsASignal(Stops):
    async def other(self) -> None:
        await self.signal("c")


class StopsAChild(Stops):
    async def other(self) -> None:
        await self.execute("c")


class Abandons(Program):
    """An activity is abandoned, and ends nevertheless."""

    async def run(self) -> None:
        handle = self.sdk.work("a", "ABANDON")
        await asyncio.sleep(0)
        await self.sdk.wait_condition(lambda: bool(self.nudges))
        handle.cancel()
        await self.sdk.wait_condition(lambda: self.done)


ABANDONED = Story().task().answer(work("1")).nudge("a").task().answer()
ROWS: dict[str, Row] = {
    "a signal that failed is cancelled: Core has no such transition, though of one that arrived": Row(
        StopsASignal,
        asked(asks("y"), sends("x", to_child=False))
        .then(is_not_asked("y"), does_not_arrive("x"))
        .task()
        .answer(ends()),
        ACCEPTED,
        NONDETERMINISM,
    ),
    "a child that was terminated is cancelled: Core has no such transition, though of one that ended otherwise": Row(
        StopsAChild,
        asked(asks("y"), child("c")).then(begins(), is_not_asked("y"), is_terminated()).task().answer(ends()),
        ACCEPTED,
        NONDETERMINISM,
    ),
    "an abandoned activity fails: Core has no such transition, though for one that returns": Row(
        Abandons, ABANDONED.breaks("1").finish().task().answer(ends()), ACCEPTED, ERROR
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_the_verdicts_differ_as_they_should(name: str) -> None:
    row = ROWS[name]
    assert (await told_by_them(row.program, row.story.events)).verdict == row.theirs
    assert (await asyncio.to_thread(told_by_us, row.program, row.story.events)).verdict == row.ours
