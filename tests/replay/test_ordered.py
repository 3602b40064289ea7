"""Groups and waits in order; asyncio's own, which keep tasks in sets; and what else of asyncio both engines repeat."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from tests.replay.bench import execution
from tests.replay.stories import Ours, Program, Story, ends, playing, stops, timer, told_by_them, told_by_us, work

from protopact import workflow
from protopact.replay.command import Command, ScheduleActivityTask

MANY = 12


def kind(n: int) -> str:
    """Of two activities, the one that the n-th of several tasks calls: an order of its own."""
    return ("Work", "Break")[n % 3 == 1]


class Group(Program):
    """Cancels a group of tasks; each asks for something on its way out."""

    group: type[asyncio.TaskGroup] = asyncio.TaskGroup

    async def member(self, n: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.handles = [*getattr(self, "handles", []), self.sdk.work(str(n), kind=kind(n))]

    async def fail(self) -> None:
        await self.sdk.sleep(1)
        raise self.sdk.application_error("enough")

    async def run(self) -> None:
        try:
            async with self.group() as group:
                for n in range(MANY):
                    group.create_task(self.member(n))
                group.create_task(self.fail())
        except* self.sdk.application_error:
            self.note("failed")
        await super().run()


class OrderedGroup(Group):
    group = workflow.TaskGroup


class Wait(Program):
    """Asks for something for each task that is done."""

    async def each(self, tasks: list[asyncio.Task[int]]) -> Iterable[asyncio.Task[int]]:
        return (await asyncio.wait(tasks))[0]

    async def member(self, n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def run(self) -> None:
        await self.sdk.sleep(1)
        done = await self.each([asyncio.create_task(self.member(n)) for n in range(MANY)])
        self.handles = [self.sdk.work(str(each.result()), kind=kind(each.result())) for each in done]
        await super().run()


class OrderedWait(Wait):
    async def each(self, tasks: list[asyncio.Task[int]]) -> Iterable[asyncio.Task[int]]:
        return (await workflow.wait(tasks))[0]


class Completed(Program):
    """Asks for something for each result."""

    as_completed: Callable[[Iterable[Awaitable[int]]], Iterable[Awaitable[int]]] = staticmethod(asyncio.as_completed)

    async def member(self, n: int) -> int:
        return n

    async def run(self) -> None:
        await self.sdk.sleep(1)
        self.handles: list[Any] = []
        for each in self.as_completed([self.member(n) for n in range(MANY)]):
            n = await each
            self.handles.append(self.sdk.work(str(n), kind=kind(n)))
        await super().run()


class CompletedTasks(Completed):
    """With tasks: coroutines have no hash of ours, and asyncio puts them into a set before it makes tasks of them."""

    async def run(self) -> None:
        given = self.as_completed
        self.as_completed = lambda fs: given([asyncio.create_task(each) for each in fs])  # type: ignore[arg-type] # coroutines
        await super().run()


class OrderedCompleted(Completed):
    as_completed = staticmethod(workflow.as_completed)


STORY = Story().task().answer(timer("1")).fires("1").task().answer(*(work(str(n + 1), kind(n)) for n in range(MANY)))
SETS = [Group, Wait, Completed]
ORDERED = [OrderedGroup, OrderedWait, OrderedCompleted]


@pytest.mark.parametrize("program", SETS)
async def test_temporal_refuses_what_sets_have_ordered(program: type[Program]) -> None:
    # By memory address, which by chance may be the order of the history.
    verdicts = [(await told_by_them(program, STORY.events)).verdict for _ in range(4)]
    assert "nondeterminism" in verdicts


@pytest.mark.parametrize("program", ORDERED)
async def test_both_accept_what_is_in_order(program: type[Program]) -> None:
    for _ in range(4):
        theirs = await told_by_them(program, STORY.events)
        assert theirs.verdict == "accepted"
        ours = await asyncio.to_thread(told_by_us, program, STORY.events)
        assert ours == theirs


@pytest.mark.parametrize("program", [Group, Wait, CompletedTasks])
def test_on_our_loop_sets_iterate_alike(program: type[Program]) -> None:
    def answer() -> tuple[Command, ...]:
        history = STORY.events[:8]
        with playing(program):
            run = execution(Ours, history)
            commands = run.advance(history).commands
            run.unwind()
        return commands

    first, kept = answer(), list[list[object]]()
    for n in range(20):
        kept.append([object() for _ in range(997 * n)])  # so that the next objects lie elsewhere
        assert answer() == first
    assert [type(each) for each in first] == [ScheduleActivityTask] * MANY
    assert asyncio.run(told_again(program, first)) == "accepted"


async def told_again(program: type[Program], commands: tuple[Command, ...]) -> str:
    """Our verdict on a history that holds the commands in their order."""
    names = [each.activity_type.rpartition(".")[2] for each in commands if isinstance(each, ScheduleActivityTask)]
    story = Story().task().answer(timer("1")).fires("1").task()
    story.answer(*(work(str(n + 1), each) for n, each in enumerate(names)))
    return (await asyncio.to_thread(told_by_us, program, story.events)).verdict


# What else there is, the same program on both.

SAME: dict[str, tuple[type[Program], Story]] = {}


def same(story: Story) -> Callable[[type[Program]], type[Program]]:
    def keep(program: type[Program]) -> type[Program]:
        SAME[program.__name__] = program, story
        return program

    return keep


@same(
    Story()
    .task()
    .answer(work("1"), work("2"), timer("1"))
    .returns("2")
    .task()
    .answer()
    .fires("1")
    .task()
    .answer()
    .returns("1")
    .task()
    .answer(ends())
)
class WaitsForTheFirst(Program):
    async def run(self) -> None:
        sleeper: asyncio.Future[Any] = asyncio.ensure_future(self.sdk.sleep(1))
        given = pending = [sleeper, self.sdk.work("a"), self.sdk.work("b")]
        while pending:
            done, pending = await workflow.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            self.note([given.index(each) for each in done], [given.index(each) for each in pending])


@same(Story().task().answer(work("1"), timer("1", 3)).fires("1").task().answer(ends()))
class WaitsWithATimeout(Program):
    async def run(self) -> None:
        handle = self.sdk.work("a")
        done, pending = await workflow.wait([handle], timeout=3)
        self.note(len(done), pending == [handle])


@same(Story().task().answer(work("1"), work("2"), timer("1", 9)).returns("2").fires("1").task().answer(ends()))
class CompletedWithATimeout(Program):
    async def run(self) -> None:
        for each in workflow.as_completed([self.sdk.work("a"), self.sdk.work("b")], timeout=9):
            try:
                self.note((await each).value)
            except TimeoutError:
                self.note("time is over")


@same(Story().task().answer(work("1"), work("2")).breaks("2").returns("1").task().answer(ends()))
class CompletedAsTheyFail(Program):
    async def run(self) -> None:
        for each in workflow.as_completed([self.sdk.work("a"), self.sdk.work("b")]):
            try:
                self.note((await each).value)
            except Exception as error:  # noqa: BLE001 - of either SDK
                self.note(type(error).__name__)


@same(
    Story()
    .task()
    .answer(work("1"), work("2"))
    .returns("1")
    .task()
    .answer(timer("1"))
    .returns("2")
    .task()
    .answer(stops("1"), ends())
)
class Gathers(Program):
    async def run(self) -> None:
        first, second = self.sdk.work("a"), self.sdk.work("b")
        self.note((await first).value)
        sleeper = asyncio.ensure_future(self.sdk.sleep(1))
        both: list[asyncio.Future[Any]] = [second, sleeper]
        gathered = asyncio.gather(*both, return_exceptions=True)
        await second
        gathered.cancel()
        try:
            await gathered
        except asyncio.CancelledError:
            self.note("cancelled", sleeper.cancelled())


@same(
    Story()
    .task()
    .answer(timer("1", 5), timer("2", 2))
    .fires("2")
    .task()
    .answer(timer("3", 1))
    .fires("3")
    .task()
    .answer(stops("1"), ends())
)
class Timeouts(Program):
    async def run(self) -> None:
        async with asyncio.timeout(5) as outer:
            inner = asyncio.timeout(2)
            try:
                async with inner:
                    await asyncio.Event().wait()
            except TimeoutError:
                self.note("inner", inner.expired(), outer.expired())
            await self.sdk.sleep(1)
        self.note("outer", outer.expired())


@same(
    Story()
    .task()
    .answer(timer("1", 5))
    .nudge("later")
    .task()
    .answer(stops("1"), timer("2", 7))
    .fires("2")
    .task()
    .answer(ends())
)
class TimeoutMoved(Program):
    async def nudge(self, note: str) -> None:
        self.limit.reschedule(asyncio.get_running_loop().time() + 7)

    async def run(self) -> None:
        try:
            async with asyncio.timeout(5) as self.limit:
                await asyncio.Event().wait()
        except TimeoutError:
            self.note("over")


@same(Story().task().answer(work("1")).nudge("stop").returns("1").task().answer(ends()))
class Shields(Program):
    async def nudge(self, note: str) -> None:
        self.task.cancel()

    async def shielded(self) -> None:
        inner = asyncio.ensure_future(self.sdk.work("a"))
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            self.note("outer", inner.cancelled())
            self.note((await inner).value)

    async def run(self) -> None:
        self.task = asyncio.create_task(self.shielded())
        await self.task


@same(Story().task().answer().nudge("a").task().answer().nudge("b").finish().task().answer(ends()))
class Events(Program):
    async def nudge(self, note: str) -> None:
        if not hasattr(self, "event"):
            self.event = asyncio.Event()
        self.event.set() if note == "a" else self.event.clear()

    async def waiter(self, n: int) -> None:
        await self.event.wait()
        self.note("woken", n)

    async def run(self) -> None:
        self.event = asyncio.Event()
        await asyncio.gather(*(self.waiter(n) for n in range(3)))
        await super().run()
        self.note(self.event.is_set())


@same(Story().task().answer(work("1")).returns("1").task().answer(work("2")).returns("2").task().answer(ends()))
class Locks(Program):
    async def member(self, n: int) -> None:
        async with self.lock:
            self.note("in", n)
            await self.sdk.work(str(n))
        self.note("out", n)

    async def run(self) -> None:
        self.lock = asyncio.Lock()
        tasks = [asyncio.create_task(self.member(n)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        self.note(await asyncio.gather(*tasks, return_exceptions=True) == [None])


@same(
    Story()
    .task()
    .answer(work("1"), work("2"))
    .returns("2")
    .task()
    .answer(work("3"))
    .returns("1")
    .returns("3")
    .task()
    .answer(ends())
)
class Semaphores(Program):
    async def member(self, n: int) -> None:
        async with self.semaphore:
            self.note("in", n)
            await self.sdk.work(str(n))
        self.note("out", n)

    async def run(self) -> None:
        self.semaphore = asyncio.BoundedSemaphore(2)
        await asyncio.gather(*(self.member(n) for n in range(3)))
        self.note(self.semaphore.locked())


@same(Story().task().answer().nudge("a").nudge("b").nudge("c").task().answer().finish().task().answer(ends()))
class Queues(Program):
    async def nudge(self, note: str) -> None:
        await self.queue.put(note)
        self.note("put", note, self.queue.qsize())

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # whatever its base takes
        self.queue: asyncio.Queue[str] = asyncio.Queue(1)

    async def consume(self, which: int) -> None:
        while True:
            self.note(which, await self.queue.get())
            self.queue.task_done()

    async def run(self) -> None:
        consumers = [asyncio.create_task(self.consume(n)) for n in range(2)]
        await super().run()
        await self.queue.join()
        for each in consumers:
            each.cancel()
        self.note(len(await asyncio.gather(*consumers, return_exceptions=True)))


@same(Story().task().answer().nudge("a").nudge("b").task().answer().finish().task().answer(ends()))
class Conditions(Program):
    async def waiter(self, n: int) -> None:
        async with self.condition:
            await self.condition.wait_for(lambda: len(self.nudges) > n)
            self.note("holds", n)

    async def nudge(self, note: str) -> None:
        self.nudges.append(note)
        async with self.condition:
            self.condition.notify_all()

    async def run(self) -> None:
        self.condition = asyncio.Condition()
        await asyncio.gather(*(self.waiter(n) for n in range(2)))
        await super().run()


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@same(Story().task().answer(timer("1")).nudge("a").fires("1").task().answer(ends()))
class ContextVariables(Program):
    async def nudge(self, note: str) -> None:
        self.note("handler", VARIABLE.get())
        VARIABLE.set("of the handler")

    async def member(self, n: int) -> None:
        VARIABLE.set(f"member {n}")
        await asyncio.sleep(0)
        self.note(VARIABLE.get())

    async def run(self) -> None:
        VARIABLE.set("run")
        await asyncio.gather(self.member(0), self.member(1))
        asyncio.get_running_loop().call_soon(lambda: self.note("callback", VARIABLE.get()))
        await self.sdk.sleep(1)
        self.note(VARIABLE.get())
        await self.sdk.wait_condition(lambda: VARIABLE.get() != "")


@pytest.mark.parametrize("program", SAME)
async def test_it_is_repeated_alike(program: str) -> None:
    cls, story = SAME[program]
    theirs = await told_by_them(cls, story.events)
    assert theirs.verdict == "accepted"
    assert theirs.trace
    assert await asyncio.to_thread(told_by_us, cls, story.events) == theirs
