"""What programs see and what is said of them, event for event as Temporal's Replayer has it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

import pytest
from tests.replay.oracle import ACCEPTED, ERROR, NONDETERMINISM
from tests.replay.stories import (
    Cases,
    Program,
    Story,
    accepts,
    cancels,
    completes,
    continues,
    ends,
    ends_cancelled,
    timer,
    told_by_them,
    told_by_us,
    work,
)

CASES = Cases()

P = TypeVar("P", bound=type[Program])


def case(story: Story, verdict: str = ACCEPTED, name: str = "") -> Callable[[P], P]:
    def decorate(program: P) -> P:
        CASES.judged(name or program.__name__, program, story, verdict)
        return program

    return decorate


# Order of what runs.


@case(Story().nudge("early").task().answer(work("1")).returns("1").task().answer(ends()))
class TasksOfTheConstructor(Program):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # whatever its base takes
        self.tasks = [asyncio.create_task(self.beside(n)) for n in range(2)]

    async def beside(self, n: int) -> None:
        self.note("beside", n)
        await asyncio.sleep(0)
        self.note("beside again", n)

    async def run(self) -> None:
        self.note("run")
        await self.sdk.work("a")


@case(Story().task().answer(work("1")).returns("1").task().answer(ends()), name="NoSignalBeforeIt")
class NoSignalBeforeIt(TasksOfTheConstructor):
    pass


@case(Story().task().answer().nudge("a").nudge("b").task().answer().finish().task().answer(ends()))
class HandlersThatRun(Program):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # whatever its base takes
        self.turn = asyncio.Event()

    async def run(self) -> None:
        await self.turn.wait()
        for n in range(3):
            self.note("finished", n, self.sdk.all_handlers_finished())
            await asyncio.sleep(0)
        await super().run()
        self.note("finished at the end", self.sdk.all_handlers_finished())

    async def nudge(self, note: str) -> None:
        self.note(note, self.sdk.all_handlers_finished())
        if note == "b":
            self.turn.set()


@case(
    Story().task().answer(timer("1"), work("1"), work("2")).returns("2").fires("1").returns("1").task().answer(ends())
)
class SeveralAtOnce(Program):
    async def one(self, name: str) -> None:
        self.note(name, (await self.sdk.work(name)).value)

    async def sleeps(self) -> None:
        await self.sdk.sleep(1)
        self.note("slept")

    async def tests(self) -> None:
        await self.sdk.wait_condition(lambda: len(self.trace) > 2)
        self.note("condition")

    async def run(self) -> None:
        await asyncio.gather(self.sleeps(), self.tests(), self.one("a"), self.one("b"))
        self.note("all")


@case(
    Story().task().answer(timer("1", 5), work("1")).returns("1").fires("1").task().answer(ends()),
    name="TheResultFirst",
)
@case(
    Story().task().answer(timer("1", 5), work("1")).fires("1").returns("1").task().answer(ends()),
    name="TheTimeOutFirst",
)
class RaceWithATimeOut(Program):
    async def run(self) -> None:
        try:
            async with asyncio.timeout(5):
                self.note((await self.sdk.work("a")).value)
        except TimeoutError:
            self.note("too late")


@case(
    Story()
    .task()
    .answer(work("1"), work("2"), work("3"), work("4"))
    .returns("3")
    .breaks("2")
    .task()
    .answer()
    .returns("4")
    .returns("1")
    .task()
    .answer(ends())
)
class Primitives(Program):
    async def run(self) -> None:
        lock, gate, queue = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Queue[str]()
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)

        async def one(n: int) -> int:
            variable.set(n)
            value = 0
            try:
                value = (await self.sdk.work(str(n))).value
            except Exception as error:  # noqa: BLE001 - of either SDK
                self.note(type(error).__name__, variable.get())
            async with gate, lock:
                await queue.put(f"{n}")
                await asyncio.sleep(0)
                self.note("one", variable.get(), queue.qsize())
            return value

        tasks = [asyncio.create_task(one(n)) for n in range(4)]
        shielded = asyncio.shield(tasks[0])
        for _ in tasks:
            self.note("got", await queue.get())
        self.note(await asyncio.gather(*tasks, shielded), variable.get())


@case(Story().nudge("a").task().answer(timer("1")).nudge("b").fires("1").nudge("c").task().answer(ends()))
class DrawnNumbers(Program):
    async def nudge(self, note: str) -> None:
        self.note(note, self.sdk.random().random())

    async def run(self) -> None:
        self.note("run", self.sdk.random().random())
        await self.sdk.sleep(1)
        self.note("end", self.sdk.random().random())


# Cancelling.


@case(Story().task().answer(work("1")).nudge("stop").returns("1").task().answer(ends()))
class CancelledAsItReturns(Program):
    async def nudge(self, note: str) -> None:
        self.task.cancel()

    async def call(self) -> None:
        try:
            self.note("returned", (await self.sdk.work("a")).value)
        except asyncio.CancelledError:
            self.note("cancelled")
            raise

    async def run(self) -> None:
        self.task = asyncio.create_task(self.call())
        results = await asyncio.gather(self.task, return_exceptions=True)
        self.note(type(results[0]).__name__)


def cancelling(*lang_flags: int) -> Story:
    told = Story().task().answer(timer("1"), work("1")).fires("1").returns("1").task()
    return told.answer(ends(), lang_flags=lang_flags)


@case(cancelling(1), name="CancelledAfterItReturnedWithTheFlag")
@case(cancelling(), name="CancelledAfterItReturnedWithoutTheFlag")
class CancelledAfterItReturned(CancelledAsItReturns):
    async def run(self) -> None:
        self.task = asyncio.create_task(self.call())
        await self.sdk.sleep(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.task.cancel()
        results = await asyncio.gather(self.task, return_exceptions=True)
        self.note(type(results[0]).__name__)


def stopped(kind: str) -> Story:
    told = Story().task().answer(work("1")).nudge("stop").task()
    told.answer(*([] if kind == "ABANDON" else [cancels("1")]))
    if kind == "WAIT_CANCELLATION_COMPLETED":
        return told.is_cancelled("1").task().answer(ends())
    return told.finish().task().answer(ends())


class Stopped(Program):
    kind = "TRY_CANCEL"

    async def nudge(self, note: str) -> None:
        self.note(note, self.handle.cancel(), self.handle.cancel())
        await asyncio.sleep(0)
        self.note("again", self.handle.done())

    async def run(self) -> None:
        self.handle = self.sdk.work("a", self.kind)
        try:
            await self.handle
        except Exception as error:  # noqa: BLE001 - of either SDK
            self.note(type(error).__name__, type(error.__cause__).__name__)
        if self.kind != "WAIT_CANCELLATION_COMPLETED":
            await super().run()


@case(stopped("TRY_CANCEL"))
class StoppedAtOnce(Stopped):
    pass


@case(stopped("WAIT_CANCELLATION_COMPLETED"))
class StoppedAndWaited(Stopped):
    kind = "WAIT_CANCELLATION_COMPLETED"


@case(stopped("ABANDON"))
@case(
    Story().task().answer(work("1")).nudge("stop").task().answer().returns("1").finish().task().answer(ends()),
    name="AbandonedAndReturned",
)
class Abandoned(Stopped):
    kind = "ABANDON"


@case(Story().task().answer(work("1")).finish().task().answer(cancels("1"), ends()))
class EndsWhileItCancels(Program):
    async def beside(self) -> None:
        try:
            await self.sdk.work("a")
        except Exception as error:  # noqa: BLE001 - of either SDK
            self.note(type(error).__name__)
            await self.sdk.work("undo")

    async def run(self) -> None:
        task = asyncio.create_task(self.beside())
        await super().run()
        task.cancel()
        self.note("end")


@case(
    Story().task().answer(work("1")).asks_to_cancel().nudge("a").task().answer(ends_cancelled()),
    NONDETERMINISM,
    name="CancelRequestHasACommand",
)
@case(Story().task().answer(work("1")).asks_to_cancel().nudge("a").task().answer(cancels("1"), ends_cancelled()))
class CancelRequest(Program):
    async def run(self) -> None:
        try:
            await self.sdk.work("a")
        finally:
            self.note("over")


@case(Story().asks_to_cancel().task().answer(ends_cancelled()))
class CancelRequestAtOnce(Program):
    async def run(self) -> None:
        self.note("begun")
        await super().run()


# Tasks that fail, that are empty, that time out; resets.


@case(Story().task().fails().task().answer(work("1")).returns("1").task().times_out().task().answer(ends()))
class TasksThatFail(Program):
    async def run(self) -> None:
        self.note("run", self.sdk.random().random())
        await self.sdk.work("a")
        self.note("end", self.sdk.random().random())


@case(Story().task().answer().task().answer().task().answer(timer("1")).fires("1").task().answer(ends()))
class EmptyTasks(Program):
    async def run(self) -> None:
        self.note("run")
        await self.sdk.sleep(1)
        self.note("end")


@case(
    Story()
    .task()
    .answer(work("1"))
    .returns("1")
    .task()
    .fails("RESET_WORKFLOW", "another")
    .nudge("after")
    .task()
    .answer(ends())
)
@case(
    Story().task().fails("RESET_WORKFLOW", "other").task().fails("RESET_WORKFLOW", "another").task().answer(work("1")),
    name="ResetTwice",
)
class Reset(Program):
    async def nudge(self, note: str) -> None:
        self.note(note, self.sdk.random().random())

    async def run(self) -> None:
        self.note("run", self.sdk.random().random())
        await self.sdk.work("a")
        self.note("end", self.sdk.random().random())


@case(Story().nudge("early").asks_to_cancel().terminates(), name="EndedBeforeItBegan")
@case(Story().task().fails().terminates(), name="EndedAfterTheFirstTaskHadFailed")
@case(Story().admits("u").task().terminates(), name="EndedInTheFirstTask")
@case(Story().task().fails("RESET_WORKFLOW", "other").terminates(), name="ResetAndEnded")
class NeverAnswered(Program):
    """The code begins even so, as if the task were new; what it cancels is not told so."""

    async def sends(self) -> None:
        try:
            await self.sdk.work("a")
        except asyncio.CancelledError:
            self.note("cancelled")
            raise

    async def run(self) -> None:
        self.note(self.sdk.history(), self.sdk.random().random())
        tasks = [asyncio.create_task(self.sends()) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.note("told")


@case(Story().task().answer(work("1")).nudge("a").task().answer().terminates())
class Terminated(Program):
    async def run(self) -> None:
        await self.sdk.work("a")


# Continuing as new.


@case(Story().task().answer(work("1")).returns("1").task().answer(continues()))
@case(Story().task().answer(work("1")).returns("1").task().answer(ends()), NONDETERMINISM, name="ContinuesAndDidNot")
class Continues(Program):
    async def run(self) -> None:
        try:
            await self.sdk.work("a")
            self.sdk.continue_as_new()
        except Exception:  # noqa: BLE001 - it is none
            self.note("caught")
        finally:
            self.note("on the way out")


@case(Story().task().answer(ends()), NONDETERMINISM, name="EndsButContinued")
class ContinuesAtOnce(Program):
    async def run(self) -> None:
        self.sdk.continue_as_new()


judged_continued = case(Story().task().answer(continues()), NONDETERMINISM, name="ContinuedButEnds")


@judged_continued
class EndsAtOnce(Program):
    async def run(self) -> None:
        self.note("end")


@case(Story().task().answer(timer("1")).nudge("go").task().answer(continues()))
class ContinuesFromASignal(Program):
    async def nudge(self, note: str) -> None:
        self.note(note)
        self.sdk.continue_as_new()

    async def run(self) -> None:
        await self.sdk.sleep(1)
        self.note("slept")


@case(Story().task().answer(timer("1")).fires("1").task().answer(work("1"), continues()))
class ContinuesFromATask(Program):
    async def beside(self) -> None:
        await self.sdk.sleep(1)
        self.sdk.continue_as_new()

    async def run(self) -> None:
        try:
            await asyncio.create_task(self.beside())
        finally:
            self.handle = self.sdk.work("a")


@case(Story().task().answer().nudge("a").task().answer(accepts("u")), ERROR)
class ContinuesFromAnUpdate(Program):
    async def add(self, note: str) -> None:
        self.note(note)
        self.sdk.continue_as_new()


@case(Story().task().answer(timer("1")).asks_to_cancel().fires("1").task().answer(continues()))
class ContinuesThoughCancelled(Program):
    async def run(self) -> None:
        try:
            await self.sdk.sleep(1)
        except asyncio.CancelledError:
            self.sdk.continue_as_new()


@case(
    Story().task().answer().nudge("a").nudge("b").task().answer().nudge("c").task().answer().finish().task(),
    name="TheHistoryGrows",
)
class History(Program):
    async def nudge(self, note: str) -> None:
        self.note(note, *self.sdk.history())

    async def run(self) -> None:
        self.note("run", *self.sdk.history())
        await super().run()
        self.note("end", *self.sdk.history())


# Updates.


@case(
    Story().nudge("a").task().answer(accepts("u"), completes("u")).finish().task().answer(ends()),
    name="AnUpdateInTheFirstTask",
)
@case(
    Story()
    .task()
    .answer()
    .nudge("a")
    .task()
    .answer(accepts("u"), completes("u"), accepts("v"), completes("v"))
    .finish()
    .task()
    .answer(ends()),
    name="UpdatesAfterASignal",
)
@case(
    Story()
    .task()
    .answer()
    .nudge("a")
    .task()
    .answer()
    .task()
    .answer(accepts("u"), completes("u"))
    .finish()
    .task()
    .answer(ends()),
    name="AnUpdateAfterAnEmptyTask",
)
class Updates(Program):
    async def run(self) -> None:
        self.note("run")
        await self.sdk.wait_condition(lambda: self.done)


@case(Story().task().answer(completes("u"), accepts("u")), ERROR)
class UpdatesBackwards(Updates):
    pass


# Updates that a reset has brought along.


@case(Story().admits("a").task().answer(accepts("a", was_admitted=True), completes("a")))
class UpdatesThatWereAdmitted(Program):
    pass


@case(
    Story().task().answer().admits("a").nudge("n").task().answer(accepts("a", was_admitted=True), completes("a")),
)
class UpdatesThatWereAdmittedLater(Program):
    pass


@case(Story().task().answer().admits("a").admits("b").task().answer(accepts("a"), completes("a")))
class UpdatesThatWereAdmittedAndRejected(Program):
    pass


@case(Story().task().answer().admits("a").task())
class UpdatesThatWereAdmittedJustNow(Program):
    pass


@case(Story().task().answer().nudge("n").task().answer(accepts("a", was_admitted=True), completes("a")), ERROR)
class UpdatesOfWhichNothingIsKnown(Program):
    pass


@pytest.mark.parametrize("name", CASES)
async def test_it_is_told_alike(name: str) -> None:
    await CASES[name].check()


async def test_an_update_that_was_admitted_comes_behind_signals_in_an_open_task_too() -> None:
    # Core tells an open task of both in the order of history, and a replay of the signal first. What an open task is
    # told must be what its replay is told.
    story = Story().task().answer().admits("a").nudge("n").task()
    theirs = await told_by_them(UpdatesThatWereAdmittedLater, story.events)
    ours = await asyncio.to_thread(told_by_us, UpdatesThatWereAdmittedLater, story.events)
    assert [note[0] for note in theirs.trace] == ["validate", "add", "nudge"]
    assert [note[0] for note in ours.trace] == ["nudge", "validate", "add"]
    story.answer(accepts("a", was_admitted=True), completes("a"))
    theirs = await told_by_them(UpdatesThatWereAdmittedLater, story.events)
    assert [note[0] for note in theirs.trace] == ["nudge", "add"]


async def test_an_abandoned_activity_may_fail() -> None:
    # Core calls this an invalid transition and fails the task for ever: the one history of ours that it refuses.
    told = Story().task().answer(work("1")).nudge("stop").task().answer().breaks("1").finish().task().answer(ends())
    assert (await told_by_them(Abandoned, told.events)).verdict == ERROR
    assert (await asyncio.to_thread(told_by_us, Abandoned, told.events)).verdict == ACCEPTED
