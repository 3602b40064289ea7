"""The recorded workflows, written once more on generated code: same names, same order of commands."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact import workflow
from protopact.errors import ActivityError, ApplicationError, ChildWorkflowError
from protopact.policy import ChildWorkflowCancellationType, RetryPolicy
from protopact.workflow import Workflow


class Sequence(histories.Sequence):
    async def run(self, request: Job) -> Outcome:
        log: list[str] = []
        total = 0
        for step in request.steps:
            reading = await histories.work(
                Step(name=step.name, fail_times=step.fail_times),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
            )
            log.extend(reading.log)
            total += reading.value
        return Outcome(id=request.id, log=log, total=total)


class Looper(histories.Looper):
    async def run(self, request: Job) -> Outcome:
        await asyncio.sleep(0.02)
        if request.n > 0:
            self.continue_as_new(Job(id=request.id, n=request.n - 1))
        return Outcome(id=request.id, total=request.n)


class Fanout(histories.Fanout):
    async def run(self, request: Job) -> Outcome:
        readings = await asyncio.gather(*[histories.work(Step(name=f"{request.id}-{i}")) for i in range(request.n)])
        return Outcome(id=request.id, total=sum(reading.value for reading in readings))


class Race(histories.Race):
    async def run(self, request: Job) -> Outcome:
        log: list[str] = []
        try:
            await asyncio.wait_for(histories.beat(Step(name="b")), timeout=0.5)
        except (TimeoutError, ActivityError) as error:
            log.append(type(error).__name__)
        await asyncio.sleep(0.05)
        return Outcome(id=request.id, log=log)


class Chatty(histories.Chatty):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total = 0
        self.done = False

    async def run(self, request: Job) -> Outcome:
        self.notes.append("run")
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Outcome(id=request.id, log=self.notes, total=self.total)

    async def on_nudge(self, request: Nudge) -> None:
        self.notes.append(request.note)
        if request.note == "work":
            self.total += (await histories.work(Step(name="signalled"))).value

    async def on_finish(self, request: Nudge) -> None:
        self.done = True

    def peek(self, request: Nudge) -> Reading:
        return Reading(value=self.total, log=self.notes)

    async def add(self, request: Nudge) -> Reading:
        await histories.work(Step(name=request.note))
        self.total += request.by
        return Reading(value=self.total)

    def validate_add(self, request: Nudge) -> None:
        if request.by < 0:
            raise ApplicationError("negative", type="Negative")


class Doomed(histories.Doomed):
    async def run(self, request: Job) -> Outcome:
        await histories.break_(Step(name="b"))
        return Outcome()


class Saga(histories.Saga):
    async def run(self, request: Job) -> Outcome:
        undo: list[str] = []
        try:
            for step in request.steps:
                await histories.work(Step(name=step.name))
                undo.append(f"undo-{step.name}")
            await histories.break_(Step(name="pay"))
        except ActivityError as error:
            for name in reversed(undo):
                await histories.work(Step(name=name))
            raise ApplicationError("rolled back", type="RolledBack", non_retryable=True) from error
        return Outcome(id=request.id)


class Cancellable(histories.Cancellable):
    async def run(self, request: Job) -> Outcome:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.shield(histories.work(Step(name="cleanup")))
            raise
        return Outcome()


class Deterministic(histories.Deterministic):
    async def run(self, request: Job) -> Outcome:
        log = [str(workflow.uuid4()), str(workflow.random().randint(0, 10**9))]
        for name in log:
            await histories.work(Step(name=name), activity_id=f"id-{name}")
        await asyncio.sleep(0.1)
        log.append(str(int(workflow.now().timestamp() * 1000)))
        await histories.work(Step(name=log[-1]))
        log.append(str(workflow.uuid4()))
        return Outcome(id=request.id, log=log)


class Tasks(histories.Tasks):
    async def run(self, request: Job) -> Outcome:
        log: list[str] = []
        gate, ready, queue = asyncio.Semaphore(2), asyncio.Event(), asyncio.Queue[int]()
        done: asyncio.Queue[int] = asyncio.Queue()

        async def one(i: int) -> None:
            async with gate:
                reading = await histories.work(Step(name="w" * (i + 1)))
                await queue.put(reading.value)
                ready.set()
            await done.put(reading.value)

        tasks = [asyncio.create_task(one(i)) for i in range(5)]
        await ready.wait()
        log.append(f"first {await queue.get()}")
        for _ in tasks:
            log.append(str(await done.get()))  # noqa: PERF401 - one after the other, as they come
        bad = histories.break_(Step(name="z"))
        results = await asyncio.gather(histories.work(Step(name="ok")), bad, return_exceptions=True)
        log.append(type(results[1]).__name__)
        return Outcome(id=request.id, log=log)


class Patched(histories.Patched):
    async def run(self, request: Job) -> Outcome:
        log: list[str] = []
        if workflow.patched("switch-activities"):
            log.append("new")
            await histories.work(Step(name="new"))
        else:
            await histories.work(Step(name="old"))
        workflow.deprecate_patch("long-gone")
        workflow.upsert_memo({"stage": "patched"})
        await asyncio.sleep(0.01)
        if workflow.patched("switch-activities"):
            log.append("still new")
        return Outcome(id=request.id, log=log)


class Parent(histories.Parent):
    async def run(self, request: Job) -> Outcome:
        first = await histories.Sequence.execute_child(Job(id="c0", steps=[Step(name="x")]), id=f"{request.id}/c0")
        log = [first.id]
        chat = await histories.Chatty.start_child(Job(id="c1"), id=f"{request.id}/c1")
        await chat.nudge(Nudge(note="from parent"))
        await histories.Chatty.external(f"{request.id}/c1").finish(Nudge())
        log.extend((await chat).log)
        try:
            await histories.Doomed.execute_child(Job(id="c2"), id=f"{request.id}/c2")
        except ChildWorkflowError as error:
            log.append(type(error.cause).__name__)
        wait = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        last = histories.Chatty.execute_child(Job(id="c3"), id=f"{request.id}/c3", cancellation_type=wait)
        task = asyncio.create_task(last)
        await asyncio.sleep(0.2)
        task.cancel()
        try:
            await task
        except ChildWorkflowError:
            log.append("cancelled child")
        return Outcome(id=request.id, log=log)


class Local(histories.Local_):
    async def run(self, request: Job) -> Outcome:
        total = 0
        for i in range(2):
            total += (await histories.Local.work(Step(name=f"l{i}"))).value
        readings = await asyncio.gather(*[histories.Local.work(Step(name="p" * i)) for i in range(1, 4)])
        total += sum(reading.value for reading in readings)
        slow = await histories.Local.work(
            Step(name="slow", fail_times=2),
            local_retry_threshold=timedelta(milliseconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1.0),
        )
        return Outcome(id=request.id, total=total + slow.value)


RECORDED: list[tuple[str, type[Workflow]]] = [
    ("cancellable", Cancellable),
    ("chatty_early", Chatty),
    ("chatty_full", Chatty),
    ("chatty_open", Chatty),
    ("deterministic", Deterministic),
    ("doomed", Doomed),
    ("fanout", Fanout),
    ("looper", Looper),
    ("parent", Parent),
    ("local", Local),
    ("patched", Patched),
    ("reset", Deterministic),
    ("saga", Saga),
    ("sequence", Sequence),
    ("tasks", Tasks),
    ("terminated", Chatty),
]
if sys.version_info < (3, 12):
    RECORDED.append(("race", Race))  # asyncio.wait_for does things in another order since
"""Recorded histories, and the class that replays each."""
