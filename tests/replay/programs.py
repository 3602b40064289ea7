"""Programs of calls, timers, cancellations, conditions, signals and updates, each with its twin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from temporalio import workflow as temporal
from temporalio.exceptions import ActivityError as TheirActivityError
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.pairs import KINDS, Handle, Mine, P, Pairs, Theirs, their_beat, their_break, their_work

from protopact import testing, workflow
from protopact.errors import ActivityError, UpdateFailedError, WorkflowFailedError

PROGRAMS = Pairs()

# Activities.


class Calls(Mine):
    async def run(self, request: Job) -> Outcome:
        first = await histories.work(Step(name="a"))
        rest = await asyncio.gather(*[histories.work(Step(name=name)) for name in ("b", "cc")])
        return Outcome(id=request.id, total=first.value + sum(each.value for each in rest))


@PROGRAMS.add("activities one after the other and at once")(Calls)
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


@PROGRAMS.add("a failure that is caught")(Undo)
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


@PROGRAMS.add("a failure that is not caught", fails)(Fail)
class TheirFail(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await asyncio.gather(their_work("a"), their_break())
        return Outcome()


class Retried(Mine):
    async def run(self, request: Job) -> Outcome:
        reading = await histories.work(Step(name="again", fail_times=2))
        return Outcome(id=request.id, total=reading.value)


@PROGRAMS.add("an activity that is tried again")(Retried)
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


@PROGRAMS.add("timers")(Timers)
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


@PROGRAMS.add("what is cancelled before it is sent")(NeverSent)
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


@PROGRAMS.add("random numbers, ids and the time")(Drawn)
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


@PROGRAMS.add("a time-out over an activity", kinds=True)(TimedOut)
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


@PROGRAMS.add("an activity cancelled by its handle", kinds=True)(Cancelled)
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


@PROGRAMS.add("a cancel request while an activity runs", fails_when_cancelled, kinds=True)(Asked)
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


@PROGRAMS.add("a cancel request, cleaned up after", fails_when_cancelled)(CleansUp)
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


@PROGRAMS.add("a cancel request that is not followed", cancel)(Goes)
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


@PROGRAMS.add("conditions with and without a time-out", finish_late)(Conditions)
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


@PROGRAMS.add("signals before and while it runs", nudge_and_finish, nudge_early)(Mine)
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


@PROGRAMS.add("signals out of channels", nudge_and_finish, nudge_early)(Channels)
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


@PROGRAMS.add("an end while a handler runs", nudge_then_finish)(Hasty)
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


@PROGRAMS.add("updates: accepted, rejected, failed, many at once", update_it)(Mine)
class TheirUpdates(TheirMine):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await super().run(job)


async def update_early(handle: Handle, _: testing.Environment) -> None:
    await handle.add(Nudge(note="first", by=1))
    await handle.finish(Nudge())
    await handle.result()


@PROGRAMS.add("signals before it runs, and an update at once", update_early, nudge_early)(Mine)
class TheirEarlyUpdate(TheirMine):
    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await super().run(job)
