"""Where our verdict is not Temporal's: rows of a program, a history, and what each says of it, with the reason."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
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
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM
from tests.replay.stories import (
    Program,
    Story,
    accepts,
    cancels,
    completes,
    ends,
    stops,
    timer,
    told_by_them,
    told_by_us,
    work,
)

from protopact.history import event as ev


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


class Works(Program):
    async def run(self) -> None:
        await self.sdk.work("a")


class WorksAndStops(Program):
    """An activity is waited for until it is cancelled, and the end as well."""

    async def run(self) -> None:
        handle = self.sdk.work("a", "WAIT_CANCELLATION_COMPLETED")
        await self.sdk.wait_condition(lambda: bool(self.nudges))
        handle.cancel()
        await asyncio.gather(handle, return_exceptions=True)
        await self.sdk.wait_condition(lambda: self.done)


class SleepsTwice(Program):
    async def run(self) -> None:
        sleeping = asyncio.ensure_future(self.sdk.sleep(7))
        await self.sdk.wait_condition(lambda: self.done)
        await self.sdk.sleep(7)
        await sleeping


def is_scheduled(_: Story) -> ev.Attributes:
    return ev.WorkflowTaskScheduled(task_queue="histories")


def starts_unscheduled(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskStarted(scheduled_event_id=len(story.events))


def starts_the_first(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskStarted(scheduled_event_id=len(story.events) - 1)


def completes_the_first(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskCompleted(scheduled_event_id=len(story.events) - 2, started_event_id=len(story.events))


def completes_unscheduled(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskCompleted(scheduled_event_id=story.started, started_event_id=story.started)


def accepts_another(story: Story) -> ev.Attributes:
    accepted = accepts("u")(story)
    return msgspec.structs.replace(accepted, protocol_instance_id="v")


def completes_another(story: Story) -> ev.Attributes:
    return msgspec.structs.replace(completes("u")(story), update_id="v")


CALLED = Story().task().answer(work("1"))
RETURNED = Story().task().answer(work("1")).returns("1")
NUDGED = Story().task().answer(work("1")).nudge("a").task().answer(cancels("1")).is_cancelled("1")
SLEEPS = Story().task().answer(timer("1")).finish().task()
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
    "two tasks wait: Core follows each by itself": Row(
        Works, RETURNED.then(is_scheduled, is_scheduled, starts_the_first, completes_the_first, ends()), ERROR, ACCEPTED
    ),
    "a task starts that was not scheduled: no code could agree with it": Row(
        Works,
        CALLED.nudge("a").then(starts_unscheduled).answer().returns("1").task().answer(ends()),
        ERROR,
        NONDETERMINISM,
    ),
    "a task completes that was not scheduled: no code could agree with it": Row(
        Works,
        Story()
        .task()
        .answer(work("1"))
        .nudge("a")
        .task()
        .then(completes_unscheduled)
        .returns("1")
        .task()
        .answer(ends()),
        ERROR,
        NONDETERMINISM,
    ),
    "an activity starts after it was cancelled: no code could agree with it": Row(
        WorksAndStops, NUDGED.starts("1").finish().task().answer(ends()), ERROR, NONDETERMINISM
    ),
    "a timer is cancelled where the code starts one: Core names the timer's state": Row(
        SleepsTwice, SLEEPS.answer(stops("1")).nudge("a").task().answer(ends()), NONDETERMINISM, ERROR
    ),
    "an update is accepted by two names: its caller would have the answer of another": Row(
        Works, Story().task().answer(accepts_another, completes("u"), work("1")), NONDETERMINISM, ACCEPTED
    ),
    "an update is completed by another name: its caller would have the answer of another": Row(
        Works, Story().task().answer(accepts("u"), completes_another, work("1")), NONDETERMINISM, ACCEPTED
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_the_verdicts_differ_as_they_should(name: str) -> None:
    row = ROWS[name]
    assert (await told_by_them(row.program, row.story.events)).verdict == row.theirs
    assert (await asyncio.to_thread(told_by_us, row.program, row.story.events)).verdict == row.ours
