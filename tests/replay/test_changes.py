"""The verdict table: what Temporal and we say of each kind of change, and where strict mode says more.

Each row is the workflow as it was, its history, and the workflow as it is now. The workflow as it was replays its own
history everywhere, in strict mode without a warning. What no program does differs in `test_verdicts` (types and ids of
activities, flags, damage), `test_patches` (markers without their upsert) and `test_strict` (what is not compared).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from tests.replay.families import Family, child
from tests.replay.oracle import ACCEPTED, NONDETERMINISM
from tests.replay.stories import Command, Program, Story, ends, ends_failed, mark, timer, told_by_them, told_by_us, work
from tests.replay.test_patches import Changed, lists
from tests.replay.test_strict import memo, signals


@dataclass
class Row:
    """One row: programs, a history of the first, what is said of the second, and what strict mode finds."""

    before: type[Program]
    story: Story
    after: type[Program]
    verdict: str
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


class Works(Program):
    name = "a"

    async def run(self) -> None:
        await self.sdk.work(self.name)


class WorksTwice(Works):
    async def run(self) -> None:
        await self.sdk.work("a")
        await self.sdk.work("b")


class WorksOtherwise(Works):
    name = "z"


class Sleeps(Program):
    async def run(self) -> None:
        await self.sdk.sleep(1)


class SleepsLonger(Program):
    async def run(self) -> None:
        await self.sdk.sleep(9)


class SleepsTwice(Program):
    async def run(self) -> None:
        await asyncio.gather(self.sdk.sleep(1), self.sdk.sleep(2))


class SleepsTwiceTheOtherWay(Program):
    async def run(self) -> None:
        await asyncio.gather(self.sdk.sleep(2), self.sdk.sleep(1))


class Returns(Program):
    async def run(self) -> None:
        self.note("run")


class Fails(Program):
    async def run(self) -> None:
        raise self.sdk.application_error("failed")


class HasAChild(Family):
    id = "c"

    async def run(self) -> None:
        await self.start(self.id)


class HasAnotherChild(HasAChild):
    id = "d"


class HasPatch(Changed):
    async def run(self) -> None:
        self.patched("p")
        await self.sdk.work("a")


class HasDeprecatedPatch(Changed):
    async def run(self) -> None:
        self.deprecate("p")
        await self.sdk.work("a")


class Remembers(Changed):
    value = "x"

    async def run(self) -> None:
        self.upsert_memo({"stage": self.value})


class RemembersOtherwise(Remembers):
    value = "y"


class Signals(Family):
    other = "y"

    async def run(self) -> None:
        await self.signal(self.other)


class SignalsAnother(Signals):
    other = "z"


def told(*commands: Command) -> Story:
    return Story().task().answer(*commands)


def once() -> Story:
    return told(work("1", step="a")).returns("1").task().answer(ends())


def slept() -> Story:
    return told(timer("1"), timer("2", 2)).fires("1").task().answer().fires("2").task().answer(ends())


ROWS: dict[str, Row] = {
    "another kind of command": Row(Works, once(), Sleeps, NONDETERMINISM),
    "a missing command": Row(Works, once(), Returns, NONDETERMINISM),
    "an inserted command": Row(Works, once(), WorksTwice, NONDETERMINISM),
    "complete instead of fail": Row(Fails, told(ends_failed()), Returns, NONDETERMINISM),
    "fail instead of complete": Row(Returns, told(ends()), Fails, NONDETERMINISM),
    "the id of a child": Row(HasAChild, told(child("c")), HasAnotherChild, NONDETERMINISM),
    "the id of a timer that has not fired": Row(
        SleepsTwice, told(timer("1"), timer("2", 2)), SleepsTwiceTheOtherWay, ACCEPTED, [], ["duration", "duration"]
    ),
    "a patch marker without a call": Row(
        HasPatch, told(mark("p"), lists("p"), work("1", step="a")), Works, NONDETERMINISM
    ),
    "a deprecated patch marker without a call": Row(
        HasDeprecatedPatch, told(mark("p", deprecated=True), lists("p"), work("1", step="a")), Works, ACCEPTED
    ),
    "arguments of an activity": Row(Works, once(), WorksOtherwise, ACCEPTED, ["input"]),
    "how long a timer lasts": Row(
        Sleeps, told(timer("1")).fires("1").task().answer(ends()), SleepsLonger, ACCEPTED, [], ["duration"]
    ),
    "two timers swapped": Row(SleepsTwice, slept(), SleepsTwiceTheOtherWay, ACCEPTED, [], ["duration", "duration"]),
    "the target of an external signal": Row(Signals, told(signals()), SignalsAnother, ACCEPTED, ["target"]),
    "values of the memo": Row(Remembers, told(memo("x"), ends()), RemembersOtherwise, ACCEPTED, ["memo"]),
    "extra commands at the end of an open history": Row(
        Works, told(work("1", step="a")).returns("1").task(), WorksTwice, ACCEPTED
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_the_verdict_is_temporals(name: str) -> None:
    row = ROWS[name]
    history = row.story.events
    assert (await told_by_them(row.before, history)).verdict == ACCEPTED
    own = await asyncio.to_thread(told_by_us, row.before, history, strict=True)
    assert (own.verdict, own.differences, own.warnings) == (ACCEPTED, (), ())

    theirs = await told_by_them(row.after, history)
    ours = await asyncio.to_thread(told_by_us, row.after, history)
    assert theirs.verdict == row.verdict
    assert ours.verdict == row.verdict
    strict = await asyncio.to_thread(told_by_us, row.after, history, strict=True)
    if row.verdict == ACCEPTED:
        assert [each.name for each in strict.differences] == row.errors
        assert [each.name for each in strict.warnings] == row.warnings
    else:
        assert strict.verdict == row.verdict
