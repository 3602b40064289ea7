"""Cancelling an activity: each cancellation type at each moment, on either SDK."""

from __future__ import annotations

import asyncio
from typing import ClassVar, cast

import pytest
from tests.replay.stories import Program, Story, cancels, ends, timer, told_by_them, told_by_us, work

KINDS = ("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON")


class Cancelling(Program):
    """Cancels an activity when it is told, and says how it ended."""

    kind: ClassVar[str] = "TRY_CANCEL"

    async def nudge(self, note: str) -> None:
        self.note(note, self.handle.cancel())

    async def ended(self) -> None:
        try:
            self.note("returned", (await self.handle).value)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - of either SDK
            self.note(type(error).__name__, type(error.__cause__).__name__)

    async def run(self) -> None:
        self.handle = self.sdk.work("a", self.kind)
        await self.ended()
        await super().run()


class AtOnce(Cancelling):
    async def run(self) -> None:
        self.handle = self.sdk.work("a", self.kind)
        self.note(self.handle.cancel())
        await self.ended()
        await self.sdk.sleep(1)


class BeforeItIsScheduled(Cancelling):
    async def run(self) -> None:
        self.handle = self.sdk.work("a", self.kind)
        await asyncio.sleep(0)
        self.note(self.handle.cancel())
        await self.ended()
        await self.sdk.sleep(1)


class ByItsWaiter(Cancelling):
    """Cancels who awaits the activity."""

    async def nudge(self, note: str) -> None:
        self.note(note, self.task.cancel())

    async def run(self) -> None:
        self.handle = self.sdk.work("a", self.kind)
        self.task = asyncio.create_task(self.ended())
        await asyncio.gather(self.task, return_exceptions=True)
        await Program.run(self)


def asked(kind: str) -> Story:
    story = Story().task().answer(work("1")).nudge("cancel").task()
    return story.answer(*([] if kind == "ABANDON" else [cancels("1")]))


def cancelled(kind: str) -> Story:
    story = asked(kind)
    if kind != "ABANDON":
        story.is_cancelled("1")
    return story.finish().task().answer(ends())


def returned_all_the_same(kind: str) -> Story:
    return asked(kind).returns("1").finish().task().answer(ends())


def returns_first(_: str) -> Story:
    return Story().task().answer(work("1")).returns("1").task().answer().nudge("cancel").finish().task().answer(ends())


def withdrawn(_: str) -> Story:
    return Story().task().answer(timer("1")).fires("1").task().answer(ends())


MOMENTS = {
    "at once": (AtOnce, withdrawn),
    "before it is scheduled": (BeforeItIsScheduled, withdrawn),
    "while it runs": (Cancelling, cancelled),
    "while it runs, by its waiter": (ByItsWaiter, cancelled),
    "while it runs, and it returns": (Cancelling, returned_all_the_same),
    "after it has returned": (Cancelling, returns_first),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_it_is_told_alike(kind: str, moment: str) -> None:
    base, story = MOMENTS[moment]
    program = cast("type[Program]", type(base.__name__, (base,), {"kind": kind}))
    events = story(kind).events
    theirs = await told_by_them(program, events)
    assert theirs.verdict == "accepted"
    assert theirs.trace
    assert await asyncio.to_thread(told_by_us, program, events) == theirs
