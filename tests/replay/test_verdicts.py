"""What is said of a program and a history that may not be its own, and of damaged ones, as Temporal's Replayer says."""

from __future__ import annotations

import asyncio

import pytest
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM
from tests.replay.stories import (
    Cases,
    Command,
    Program,
    Story,
    accepts,
    cancels,
    completes,
    ends,
    ends_cancelled,
    ends_failed,
    stops,
    timer,
    work,
)

from protopact.history import event as ev

CASES = Cases()
judged = CASES.judged


class Two(Program):
    async def run(self) -> None:
        await self.sdk.work("a")
        await self.sdk.work("b")


class OneAtATime(Program):
    async def run(self) -> None:
        await self.sdk.work("a")


class Both(Program):
    async def run(self) -> None:
        self.handles = [self.sdk.work("a"), self.sdk.work("b")]
        await self.handles[0]


class Sleeps(Program):
    async def run(self) -> None:
        await self.sdk.sleep(7)


class SleepsTwice(Program):
    async def run(self) -> None:
        await asyncio.gather(self.sdk.sleep(1), self.sdk.sleep(2))


class Nothing(Program):
    async def run(self) -> None:
        self.note("nothing")


class Fails(Program):
    async def run(self) -> None:
        raise self.sdk.application_error("no")


class FailsTheTask(Program):
    async def run(self) -> None:
        raise KeyError("no")


class Waits(Program):
    async def run(self) -> None:
        await self.sdk.wait_condition(lambda: self.done)
        self.note("done")


class WorksAndWaits(Program):
    async def run(self) -> None:
        self.handle = self.sdk.work("a")
        await self.sdk.wait_condition(lambda: self.done)


ONE = Story().task().answer(work("1")).returns("1").task().answer(ends())
OPEN = Story().task().answer(work("1")).returns("1").task()

judged("the same", OneAtATime, ONE, ACCEPTED)
judged("an activity more at the end", Two, ONE, NONDETERMINISM)
judged("an activity more at the end of an open history", Two, OPEN, ACCEPTED)
judged("an activity more beside", Both, ONE, NONDETERMINISM)
judged("an activity more beside in an open history", Both, OPEN, ACCEPTED)
judged("an activity less", Nothing, ONE, NONDETERMINISM)
judged("an activity less in an open history", Nothing, OPEN, NONDETERMINISM)
judged("a timer in its place", Sleeps, ONE, NONDETERMINISM)
judged("nothing in its place", Waits, ONE, NONDETERMINISM)
judged("a failure for an end", Fails, Story().task().answer(ends()), NONDETERMINISM)
judged("an end for a failure", Nothing, Story().task().answer(ends_failed()), NONDETERMINISM)
judged("a failure as recorded", Fails, Story().task().answer(ends_failed()), ACCEPTED)
judged("an end for a cancellation", Nothing, Story().task().answer(ends_cancelled()), NONDETERMINISM)
judged("a task that fails", FailsTheTask, Story().task().answer(ends()), ERROR)
judged("another activity type", OneAtATime, Story().task().answer(work("1", "Break")), NONDETERMINISM)
judged("another activity id", OneAtATime, Story().task().answer(work("2")), NONDETERMINISM)


def old(*commands: Command) -> Story:
    return Story(flags=False).task().answer(*commands)


judged("without flags", OneAtATime, old(work("1")).returns("1").task().answer(ends()), ACCEPTED)
judged("another type, without flags", OneAtATime, old(work("1", "Break")).returns("1").task().answer(ends()), ACCEPTED)
judged("another id in the last task, without flags", OneAtATime, old(work("2")), NONDETERMINISM)


def slept(fired: str, *commands: Command) -> Story:
    return Story().task().answer(*commands).fires(fired).task().answer(ends())


judged("another time", Sleeps, slept("1", timer("1", 3)), ACCEPTED)
judged("another timer id", Sleeps, Story().task().answer(timer("2")), ACCEPTED)
judged("another timer id that fires", Sleeps, slept("2", timer("2")), NONDETERMINISM)
judged("swapped timers", SleepsTwice, slept("1", timer("2"), timer("1")), NONDETERMINISM)


def late() -> Story:
    return Story().task().answer()


judged("waits for the next answer", WorksAndWaits, late().nudge("a").task().answer(work("1")), ACCEPTED)
judged("waits for ever", WorksAndWaits, late().nudge("a").task().answer().nudge("b").task().answer(), ACCEPTED)
judged("waits for the end", WorksAndWaits, late().finish().task().answer(work("1"), ends()), ACCEPTED)

# Damage.


class SleepsAndStops(Program):
    async def run(self) -> None:
        sleeping = asyncio.ensure_future(self.sdk.sleep(7))
        await self.sdk.wait_condition(lambda: self.done)
        sleeping.cancel()
        await self.sdk.work("a")


def fires_nobody(_: Story) -> ev.Attributes:
    return ev.TimerFired(timer_id="1", started_event_id=2)


def returns_nobody(_: Story) -> ev.Attributes:
    return ev.ActivityTaskCompleted(scheduled_event_id=2)


def fires_activity(story: Story) -> ev.Attributes:
    return ev.TimerFired(timer_id="1", started_event_id=story.activities["1"])


def called() -> Story:
    return Story().task().answer(work("1"))


judged("a result before a start", OneAtATime, called().completes("1").task().answer(ends()), ERROR)
judged("a cancellation out of nowhere", OneAtATime, called().is_cancelled("1").task().answer(ends()), ERROR)
judged("an activity that starts twice", OneAtATime, called().starts("1").returns("1").task().answer(ends()), ERROR)
judged("two results", OneAtATime, called().returns("1").returns("1").task().answer(ends()), ERROR)
judged("a result twice", OneAtATime, called().returns("1").completes("1").task().answer(ends()), ERROR)
TWICE = Story().task().answer(timer("1")).fires("1").fires("1").task().answer(ends())
judged("a timer that fires twice", Sleeps, TWICE, ERROR)
WAITS = Story().task().answer().nudge("a").task()
judged("an update completed out of nowhere", Waits, WAITS.answer(completes("u")), NONDETERMINISM)


class AddsInTheEnd(Program):
    async def add(self, note: str) -> None:
        await self.sdk.wait_condition(lambda: self.done)


ACCEPTED_TWICE = Story().task().answer(accepts("u"), accepts("u")).finish().task().answer(completes("u"), ends())
judged("an update accepted twice", AddsInTheEnd, ACCEPTED_TWICE, NONDETERMINISM)
TIMER = Story().task().answer(timer("1"))
judged("a timer of nobody", Sleeps, TIMER.then(fires_nobody).task().answer(ends()), NONDETERMINISM)
STOPPED = Story().task().answer(timer("1")).finish().task().answer(work("1"), stops("1"))
judged("a cancelled timer that fires", SleepsAndStops, STOPPED.fires("1").task().answer(), ERROR)
STOPPING = Story().task().answer(timer("1")).finish().task()
judged("a timer that fires as it is cancelled", SleepsAndStops, STOPPING.answer().fires("1").task().answer(), ERROR)


class Stops(Program):
    async def run(self) -> None:
        handle = self.sdk.work("a", "WAIT_CANCELLATION_COMPLETED")
        await self.sdk.wait_condition(lambda: self.done)
        handle.cancel()
        await asyncio.gather(handle, return_exceptions=True)


def stopped(*, asks: bool) -> Story:
    return Story().task().answer(work("1")).finish().task().answer(*([cancels("1")] if asks else []))


judged("a request to cancel, and an end", Stops, stopped(asks=True).is_cancelled("1").task().answer(ends()), ACCEPTED)
judged("no request to cancel, and an end", Stops, stopped(asks=False).is_cancelled("1").task().answer(ends()), ERROR)
judged("no request to cancel, and a start", Stops, stopped(asks=False).returns("1").task().answer(ends()), ERROR)
OUT_OF_ORDER = stopped(asks=False).starts("1").then(cancels("1")).task().answer(ends())
judged("a start before the request to cancel", Stops, OUT_OF_ORDER, ERROR)
judged("an activity of nobody", OneAtATime, called().then(returns_nobody).task().answer(ends()), NONDETERMINISM)
judged("a timer for an activity", OneAtATime, called().then(fires_activity).task().answer(ends()), NONDETERMINISM)
OVER = called().returns("1").then(fires_activity).task().answer(ends())
judged("a timer for an activity that is over", OneAtATime, OVER, NONDETERMINISM)
judged("an answer of no task", OneAtATime, called().answer().returns("1").task().answer(ends()), ERROR)
judged("an event after the end", Nothing, Story().task().answer(ends()).nudge("a"), ACCEPTED)
judged("an end after the end", Nothing, Story().task().answer(ends(), ends()), ACCEPTED)
judged("a task after the end", Nothing, Story().task().answer(ends()).task().answer(work("1")), ACCEPTED)
judged("an event after a termination", Waits, Story().task().answer().terminates().nudge("a"), ERROR)

# Workflow tasks.


def starts_again(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskStarted(scheduled_event_id=story.started - 1)


def completes_again(story: Story) -> ev.Attributes:
    return ev.WorkflowTaskCompleted(scheduled_event_id=story.started - 1, started_event_id=story.started)


def before_it_starts() -> Story:
    return Story().then(lambda _: ev.WorkflowTaskScheduled(task_queue="histories")).nudge("a").then(is_started)


def is_started(_: Story) -> ev.Attributes:
    return ev.WorkflowTaskStarted(scheduled_event_id=2)


def is_completed(_: Story) -> ev.Attributes:
    return ev.WorkflowTaskCompleted(scheduled_event_id=2, started_event_id=4, core_used_flags=(1, 2, 3, 4))


judged("a signal before the task starts", Waits, before_it_starts().then(is_completed).finish().task(), ACCEPTED)
story = Story().task().fails().then(starts_again).answer(work("1")).returns("1").task().answer(ends())
judged("a task that starts again after it failed", OneAtATime, story, ERROR)
story = Story().task().times_out().then(starts_again).answer(work("1")).returns("1").task().answer(ends())
judged("a task that starts again after it timed out", OneAtATime, story, ERROR)
story = Story().task().answer(work("1")).then(starts_again).answer().returns("1").task().answer(ends())
judged("a task that starts again after it completed", OneAtATime, story, ERROR)
story = Story().task().answer(work("1")).then(completes_again).returns("1").task().answer(ends())
judged("a task that completes twice", OneAtATime, story, ERROR)


@pytest.mark.parametrize("name", CASES)
async def test_it_is_told_alike(name: str) -> None:
    await CASES[name].check()
