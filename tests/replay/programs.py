"""Programs, each written twice: on generated code, and by hand on temporalio, with the same commands in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, TypeVar

from temporalio import workflow as temporal
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError as TheirActivityError
from temporalio.exceptions import ApplicationError as TheirApplicationError
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact import activity, testing, workflow
from protopact.errors import ActivityError, ApplicationError, UpdateFailedError, WorkflowFailedError
from protopact.policy import ActivityCancellationType
from protopact.workflow import Workflow

PROGRAM = "histories.v1.Histories.Program"
P = "histories.v1.Histories."

Handle: TypeAlias = histories.Program.Handle
Drive: TypeAlias = Callable[[Handle, testing.Environment], Awaitable[None]]


class Mine(histories.Program):
    """Counts what it is told; programs derive from it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.done = False

    async def run(self, request: Job) -> Outcome:
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Outcome(log=self.log)

    async def on_nudge(self, request: Nudge) -> None:
        self.log.append(request.note)
        if request.by:
            await histories.work(Step(name=request.note))

    async def on_finish(self, request: Nudge) -> None:
        self.done = True

    def peek(self, request: Nudge) -> Reading:
        return Reading(log=self.log)

    async def add(self, request: Nudge) -> Reading:
        if request.note == "fail":
            raise ApplicationError("asked to")
        for _ in range(request.by):
            await histories.work(Step(name=request.note))
        self.log.append(request.note)
        return Reading(log=self.log)

    def validate_add(self, request: Nudge) -> None:
        if request.by < 0:
            raise ValueError("negative")


class Theirs:
    """What `Mine` is, on temporalio."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.done = False

    # That a run ends before its handlers do is no warning here.
    @temporal.signal(name=P + "Nudge", unfinished_policy=temporal.HandlerUnfinishedPolicy.ABANDON)
    async def nudge(self, request: Nudge) -> None:
        self.log.append(request.note)
        if request.by:
            await their_work(request.note)

    @temporal.signal(name=P + "Finish")
    async def finish(self, _: Nudge) -> None:
        self.done = True

    @temporal.update(name=P + "Add")
    async def add(self, request: Nudge) -> Reading:
        if request.note == "fail":
            raise TheirApplicationError("asked to")
        for _ in range(request.by):
            await their_work(request.note)
        self.log.append(request.note)
        return Reading(log=self.log)


def their_work(name: str, fail_times: int = 0) -> temporal.ActivityHandle[Reading]:
    step = Step(name=name, fail_times=fail_times)
    return temporal.start_activity(P + "Work", step, result_type=Reading, start_to_close_timeout=timedelta(seconds=10))


def their_break() -> temporal.ActivityHandle[Reading]:
    return temporal.start_activity(
        P + "Break", Step(), result_type=Reading, start_to_close_timeout=timedelta(seconds=10)
    )


def their_beat(cancellation_type: temporal.ActivityCancellationType) -> temporal.ActivityHandle[Reading]:
    return temporal.start_activity(
        P + "Beat",
        Step(),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=60),
        heartbeat_timeout=timedelta(seconds=5),
        cancellation_type=cancellation_type,
    )


class Activities(histories.Activities):
    def __init__(self, env: testing.Environment) -> None:
        self._env = env

    async def work(self, request: Step) -> Reading:
        if activity.info().attempt <= request.fail_times:
            raise ApplicationError(f"not yet: {request.name}")
        return Reading(value=len(request.name), log=[request.name])

    async def break_(self, request: Step) -> Reading:
        raise ApplicationError("broken", Nudge(note=request.name), non_retryable=True)

    async def beat(self, request: Step) -> Reading:
        while True:
            await self._env.sleep(timedelta(seconds=1))
            activity.heartbeat()


@dataclass
class Pair:
    """A program and its twin.

    Attributes:
        job: Its request; `n` is an index into `KINDS`.
        drive: What clients do from the start to the end.
        early: What clients do before there is a worker.
    """

    mine: type[Workflow]
    theirs: type
    job: Job
    drive: Drive
    early: Drive


KINDS = (
    (ActivityCancellationType.TRY_CANCEL, temporal.ActivityCancellationType.TRY_CANCEL),
    (
        ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        temporal.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    ),
    (ActivityCancellationType.ABANDON, temporal.ActivityCancellationType.ABANDON),
)

PAIRS: dict[str, Pair] = {}

T = TypeVar("T", bound=type)


async def succeeds(handle: Handle, _: testing.Environment) -> None:
    await handle.result()


async def nothing(_: Handle, __: testing.Environment) -> None:
    """Let the worker be the first."""


def pair(
    name: str, drive: Drive = succeeds, early: Drive = nothing, *, kinds: bool = False
) -> Callable[[type[Workflow]], Callable[[T], T]]:
    """Keep a program with its twin, once or, with `kinds`, for each type of cancellation."""

    def of(mine: type[Workflow]) -> Callable[[T], T]:
        def decorate(theirs: T) -> T:
            temporal.defn(name=PROGRAM)(theirs)
            for n, (kind, _) in enumerate(KINDS if kinds else KINDS[:1]):
                title = f"{name}, {kind.value}" if kinds else name
                PAIRS[title] = Pair(mine, theirs, Job(id="p", n=n), drive, early)
            return theirs

        return decorate

    return of


# Activities.


class Calls(Mine):
    async def run(self, request: Job) -> Outcome:
        first = await histories.work(Step(name="a"))
        rest = await asyncio.gather(*[histories.work(Step(name=name)) for name in ("b", "cc")])
        return Outcome(id=request.id, total=first.value + sum(each.value for each in rest))


@pair("activities one after the other and at once")(Calls)
class TheirCalls(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await their_work("a")
        await asyncio.gather(their_work("b"), their_work("cc"))
        return Outcome()


class Undo(Mine):
    async def run(self, request: Job) -> Outcome:
        try:
            await histories.break_(Step(name="x"))
        except ActivityError:
            await histories.work(Step(name="undo"))
        return Outcome(id=request.id)


@pair("a failure that is caught")(Undo)
class TheirUndo(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        try:
            await their_break()
        except TheirActivityError:
            await their_work("undo")
        return Outcome()


class Fail(Mine):
    async def run(self, request: Job) -> Outcome:
        await asyncio.gather(histories.work(Step(name=request.id)), histories.break_(Step(name="x")))
        return Outcome()


async def fails(handle: Handle, _: testing.Environment) -> None:
    try:
        await handle.result()
    except WorkflowFailedError:
        return
    raise AssertionError("it must fail")


@pair("a failure that is not caught", fails)(Fail)
class TheirFail(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await asyncio.gather(their_work("a"), their_break())
        return Outcome()


class Retried(Mine):
    async def run(self, request: Job) -> Outcome:
        reading = await histories.work(Step(name="again", fail_times=2))
        return Outcome(id=request.id, total=reading.value)


@pair("an activity that is tried again")(Retried)
class TheirRetried(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await their_work("again", 2)
        return Outcome()


# Time.


class Timers(Mine):
    async def run(self, request: Job) -> Outcome:
        await asyncio.sleep(1)
        await asyncio.gather(asyncio.sleep(3), workflow.sleep(timedelta(milliseconds=20)))
        await asyncio.sleep(0)
        forgotten = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0.5)
        forgotten.cancel()
        await workflow.sleep(0.001)
        return Outcome(id=request.id)


@pair("timers")(Timers)
class TheirTimers(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await asyncio.sleep(1)
        await asyncio.gather(asyncio.sleep(3), temporal.sleep(0.02))
        await asyncio.sleep(0)
        forgotten = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0.5)
        forgotten.cancel()
        await temporal.sleep(0.001)
        return Outcome()


class NeverSent(Mine):
    """Begun and cancelled in one task: neither the timer nor the activity is in history."""

    async def run(self, request: Job) -> Outcome:
        tasks = [asyncio.create_task(asyncio.sleep(9)), asyncio.create_task(self.call())]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await histories.work(Step(name="after"))
        return Outcome(id=request.id)

    async def call(self) -> None:
        await histories.work(Step(name="never"))


@pair("what is cancelled before it is sent")(NeverSent)
class TheirNeverSent(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        tasks = [asyncio.create_task(asyncio.sleep(9)), asyncio.create_task(self.call())]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await their_work("after")
        return Outcome()

    async def call(self) -> None:
        await their_work("never")


class Drawn(Mine):
    async def run(self, request: Job) -> Outcome:
        await histories.work(Step(name="x"), activity_id=str(workflow.uuid4()))
        await workflow.sleep(workflow.random().randint(1, 10**6))
        await histories.work(Step(name="x"), activity_id=f"at-{workflow.now():%s}-{workflow.time_ns()}")
        await histories.work(Step(name="x"), activity_id=str(workflow.uuid4()))
        return Outcome(id=request.id)


@pair("random numbers, ids and the time")(Drawn)
class TheirDrawn(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await self.work(str(temporal.uuid4()))
        await temporal.sleep(temporal.random().randint(1, 10**6))
        await self.work(f"at-{temporal.now():%s}-{temporal.time_ns()}")
        await self.work(str(temporal.uuid4()))
        return Outcome()

    async def work(self, activity_id: str) -> None:
        await temporal.execute_activity(
            P + "Work",
            Step(),
            result_type=Reading,
            activity_id=activity_id,
            start_to_close_timeout=timedelta(seconds=10),
        )


# Cancellation of activities, by type.


async def fails_when_cancelled(handle: Handle, env: testing.Environment) -> None:
    await env.sleep(timedelta(seconds=3))
    await handle.cancel()
    await fails(handle, env)


class TimedOut(Mine):
    async def run(self, request: Job) -> Outcome:
        try:
            async with asyncio.timeout(2):
                await histories.beat(Step(), cancellation_type=KINDS[request.n][0])
        except (TimeoutError, ActivityError) as error:
            self.log.append(type(error).__name__)
        await histories.work(Step(name="after"))
        return Outcome(id=request.id, log=self.log)


@pair("a time-out over an activity", kinds=True)(TimedOut)
class TheirTimedOut(Theirs):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        try:
            async with asyncio.timeout(2):
                await their_beat(KINDS[job.n][1])
        except (TimeoutError, TheirActivityError) as error:
            self.log.append(type(error).__name__)
        await their_work("after")
        return Outcome(log=self.log)


class Cancelled(Mine):
    async def run(self, request: Job) -> Outcome:
        handle = histories.beat(Step(), cancellation_type=KINDS[request.n][0])
        await asyncio.sleep(1)
        handle.cancel()
        try:
            await handle
        except (asyncio.CancelledError, ActivityError):
            await asyncio.gather(asyncio.sleep(1), histories.work(Step(name="after")))
        return Outcome(id=request.id)


@pair("an activity cancelled by its handle", kinds=True)(Cancelled)
class TheirCancelled(Theirs):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        handle = their_beat(KINDS[job.n][1])
        await asyncio.sleep(1)
        handle.cancel()
        try:
            await handle
        except (asyncio.CancelledError, TheirActivityError):
            await asyncio.gather(asyncio.sleep(1), their_work("after"))
        return Outcome()


class Asked(Mine):
    async def run(self, request: Job) -> Outcome:
        await asyncio.gather(histories.beat(Step(), cancellation_type=KINDS[request.n][0]), asyncio.sleep(1000))
        return Outcome(id=request.id)


@pair("a cancel request while an activity runs", fails_when_cancelled, kinds=True)(Asked)
class TheirAsked(Theirs):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        await asyncio.gather(their_beat(KINDS[job.n][1]), asyncio.sleep(1000))
        return Outcome()


# Cancel requests.


class CleansUp(Mine):
    async def run(self, request: Job) -> Outcome:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.shield(histories.work(Step(name=request.id)))
            raise
        return Outcome()


@pair("a cancel request, cleaned up after", fails_when_cancelled)(CleansUp)
class TheirCleansUp(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.shield(their_work("cleanup"))
            raise
        return Outcome()


async def cancel(handle: Handle, env: testing.Environment) -> None:
    await env.sleep(timedelta(seconds=3))
    await handle.cancel()
    await handle.result()


class Goes(Mine):
    async def run(self, request: Job) -> Outcome:
        try:
            await workflow.wait_condition(lambda: self.done)
        except asyncio.CancelledError:
            await histories.work(Step(name="instead"))
        return Outcome(id=request.id)


@pair("a cancel request that is not followed", cancel)(Goes)
class TheirGoes(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        try:
            await temporal.wait_condition(lambda: self.done)
        except asyncio.CancelledError:
            await their_work("instead")
        return Outcome()


# Conditions.


class Conditions(Mine):
    async def run(self, request: Job) -> Outcome:
        try:
            await workflow.wait_condition(lambda: self.done, timeout=5)
        except TimeoutError:
            await histories.work(Step(name="late"))
        await workflow.wait_condition(lambda: self.done, timeout=timedelta(hours=1))
        await workflow.wait_condition(lambda: self.done)
        await histories.work(Step(name="done"))
        return Outcome(id=request.id)


async def finish_late(handle: Handle, env: testing.Environment) -> None:
    await env.sleep(timedelta(seconds=8))
    await handle.finish(Nudge())
    await handle.result()


@pair("conditions with and without a time-out", finish_late)(Conditions)
class TheirConditions(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        try:
            await temporal.wait_condition(lambda: self.done, timeout=5)
        except TimeoutError:
            await their_work("late")
        await temporal.wait_condition(lambda: self.done, timeout=timedelta(hours=1))
        await temporal.wait_condition(lambda: self.done)
        await their_work("done")
        return Outcome()


# Signals and updates.


async def nudge_early(handle: Handle, _: testing.Environment) -> None:
    await handle.nudge(Nudge(note="one", by=1))
    await handle.nudge(Nudge(note="two"))
    await handle.nudge(Nudge(note="three", by=1))


async def nudge_and_finish(handle: Handle, env: testing.Environment) -> None:
    await env.sleep(timedelta(seconds=1))
    await handle.nudge(Nudge(note="four", by=1))
    await handle.nudge(Nudge(note="five", by=1))
    assert list((await handle.peek(Nudge())).log)[:3] == ["one", "two", "three"]
    await handle.finish(Nudge())
    await handle.result()


class TheirMine(Theirs):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        await temporal.wait_condition(lambda: self.done)
        await temporal.wait_condition(temporal.all_handlers_finished)
        return Outcome(log=self.log)


@pair("signals before and while it runs", nudge_and_finish, nudge_early)(Mine)
class TheirSignals(TheirMine):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await super().run(job)


class Channels(histories.Program):
    """Takes the signals from their channels."""

    async def run(self, request: Job) -> Outcome:
        log = [(await self.nudge.receive()).note for _ in range(3)]
        await histories.work(Step(name=log[-1]))
        await self.finish.receive()
        return Outcome(id=request.id, log=log)

    def peek(self, request: Nudge) -> Reading:
        return Reading(log=["one", "two", "three"])

    async def add(self, request: Nudge) -> Reading:
        return Reading()


@pair("signals out of channels", nudge_and_finish, nudge_early)(Channels)
class TheirChannels(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await temporal.wait_condition(lambda: len(self.log) >= 3)
        await their_work("three")
        await temporal.wait_condition(lambda: self.done)
        return Outcome()

    @temporal.signal(name=P + "Nudge")
    async def nudge(self, request: Nudge) -> None:
        self.log.append(request.note)


class Hasty(Mine):
    """Ends while a handler is still at work."""

    async def run(self, request: Job) -> Outcome:
        await workflow.wait_condition(lambda: self.done)
        return Outcome(id=request.id)


async def nudge_then_finish(handle: Handle, env: testing.Environment) -> None:
    await env.sleep(timedelta(seconds=1))
    await asyncio.gather(handle.nudge(Nudge(note="one", by=1)), handle.finish(Nudge()))
    await handle.result()


@pair("an end while a handler runs", nudge_then_finish)(Hasty)
class TheirHasty(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await temporal.wait_condition(lambda: self.done)
        return Outcome()


async def refused(update: Awaitable[object]) -> None:
    try:
        await update
    except UpdateFailedError:
        return
    raise AssertionError("it must fail")


async def update_it(handle: Handle, env: testing.Environment) -> None:
    assert list((await handle.add(Nudge(note="zero"))).log) == ["zero"]
    await env.sleep(timedelta(seconds=1))
    await handle.add(Nudge(note="one", by=2))
    await refused(handle.add(Nudge(note="refused", by=-1)))
    await refused(handle.add(Nudge(note="fail")))
    await asyncio.gather(
        *[handle.add(Nudge(note=f"p{i}", by=i)) for i in range(3)], handle.nudge(Nudge(note="n", by=1))
    )
    await asyncio.gather(handle.add(Nudge(note="last")), handle.finish(Nudge()))
    await handle.result()


@pair("updates: accepted, rejected, failed, many at once", update_it)(Mine)
class TheirUpdates(TheirMine):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await super().run(job)


async def update_early(handle: Handle, _: testing.Environment) -> None:
    await handle.add(Nudge(note="first", by=1))
    await handle.finish(Nudge())
    await handle.result()


@pair("signals before it runs, and an update at once", update_early, nudge_early)(Mine)
class TheirEarlyUpdate(TheirMine):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await super().run(job)


# Patches and upserts.


class Changes(Mine):
    async def run(self, request: Job) -> Outcome:
        log = [str(workflow.patched("b")), str(workflow.patched("a"))]
        workflow.upsert_memo({"stage": "begun"})
        await histories.work(Step(name="a"))
        workflow.deprecate_patch("c")
        workflow.upsert_search_attributes({"Stage": "end", "Count": 3})
        await workflow.sleep(1)
        log.append(str(workflow.patched("b")))
        return Outcome(log=log)


@pair("patches, memo and search attributes")(Changes)
class TheirChanges(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        log = [str(temporal.patched("b")), str(temporal.patched("a"))]
        temporal.upsert_memo({"stage": "begun"})
        await their_work("a")
        temporal.deprecate_patch("c")
        temporal.upsert_search_attributes(  # pyright: ignore[reportUnknownMemberType] # an overload of theirs
            [SearchAttributeKey.for_keyword("Stage").value_set("end"), SearchAttributeKey.for_int("Count").value_set(3)]
        )
        await temporal.sleep(1)
        log.append(str(temporal.patched("b")))
        return Outcome(log=log)


# Local activities.


def their_local(name: str, fail_times: int = 0, threshold: float = 60) -> temporal.ActivityHandle[Reading]:
    return temporal.start_local_activity(
        P + "Work",
        Step(name=name, fail_times=fail_times),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        local_retry_threshold=timedelta(seconds=threshold),
    )


class Locals(Mine):
    async def run(self, request: Job) -> Outcome:
        first = await histories.Local.work(Step(name="a"))
        rest = await asyncio.gather(
            *[histories.Local.work(Step(name=name)) for name in ("b", "cc")],
            histories.Local.break_(Step(name="bad")),
            histories.work(Step(name="remote")),
            return_exceptions=True,
        )
        threshold = timedelta(seconds=0.5)
        late = await histories.Local.work(Step(name="late", fail_times=2), local_retry_threshold=threshold)
        log = [type(each).__name__ for each in rest] + [str(workflow.patched("p"))]
        await histories.Local.work(Step(name="end", fail_times=1))
        return Outcome(total=first.value + late.value, log=log)


@pair("local activities")(Locals)
class TheirLocals(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        first = await their_local("a")
        rest = await asyncio.gather(
            *[their_local(name) for name in ("b", "cc")],
            temporal.start_local_activity(
                P + "Break", Step(), result_type=Reading, start_to_close_timeout=timedelta(seconds=10)
            ),
            their_work("remote"),
            return_exceptions=True,
        )
        late = await their_local("late", 2, 0.5)
        log = [type(each).__name__ for each in rest] + [str(temporal.patched("p"))]
        await their_local("end", 1)
        return Outcome(total=first.value + late.value, log=log)


class LocalHandlers(Mine):
    async def run(self, request: Job) -> Outcome:
        await histories.Local.work(Step(name="run"))
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Outcome(log=self.log)

    async def on_nudge(self, request: Nudge) -> None:
        self.log.append((await histories.Local.work(Step(name=request.note))).log[0])

    async def add(self, request: Nudge) -> Reading:
        return await histories.Local.work(Step(name=request.note))


@pair("local activities of handlers", nudge_and_finish, nudge_early)(LocalHandlers)
class TheirLocalHandlers(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await their_local("run")
        await temporal.wait_condition(lambda: self.done)
        await temporal.wait_condition(temporal.all_handlers_finished)
        return Outcome(log=self.log)

    @temporal.signal(name=P + "Nudge")
    async def nudge(self, request: Nudge) -> None:
        self.log.append((await their_local(request.note)).log[0])

    @temporal.update(name=P + "Add")
    async def add(self, request: Nudge) -> Reading:  # type: ignore[override]  # theirs does not know itself again
        return await their_local(request.note)


class SideEffects(Mine):
    async def run(self, request: Job) -> Outcome:
        reading = await workflow.side_effect(lambda: Reading(value=7), Reading)
        word = await workflow.side_effect(lambda: "word", str)
        await histories.work(Step(name=word * reading.value))
        return Outcome(total=reading.value)


@pair("side effects")(SideEffects)
class TheirSideEffects(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        limit = timedelta(seconds=10)
        reading = await temporal.start_local_activity(
            "protopact.side_effect", result_type=Reading, start_to_close_timeout=limit
        )
        word = await temporal.start_local_activity(
            "protopact.side_effect", result_type=str, start_to_close_timeout=limit
        )
        await their_work(word * reading.value)
        return Outcome(total=reading.value)
