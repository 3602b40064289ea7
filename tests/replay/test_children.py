"""Children and other workflows: what programs see and what is said of them, as Temporal's Replayer has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from temporalio import workflow as temporal
from temporalio.client import WorkflowHistory
from temporalio.exceptions import ChildWorkflowError as TheirChildWorkflowError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.replay import workflows
from tests.replay.bench import check_every_task, recorded
from tests.replay.families import (
    ABANDON,
    REQUESTED,
    TRY,
    WAIT,
    Family,
    arrives,
    asked,
    asks,
    begins,
    begun,
    child,
    does_not_arrive,
    does_not_begin,
    fails,
    is_asked,
    is_cancelled,
    is_not_asked,
    is_terminated,
    returns,
    run_of,
    sends,
    times_out,
)
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.oracle import ERROR, NONDETERMINISM
from tests.replay.pairs import Activities
from tests.replay.stories import OURS, Cases, P, Story, cancels, ends, ends_cancelled, ends_failed, stops, timer, work

from protopact import testing
from protopact.history import event as ev
from protopact.history.json import to_json

CASES = Cases()
judged = CASES.judged


# How a child ends.


class One(Family):
    async def run(self) -> None:
        handle = await self.start("c")
        self.note("started", handle.id)
        await self.tried("result", handle)


for name, end in {
    "returns": returns(),
    "fails": fails(),
    "is cancelled": is_cancelled(),
    "times out": times_out(),
    "is terminated": is_terminated(),
}.items():
    judged(f"a child {name}", One, begun().then(end).task().answer(ends()))
    judged(f"a child {name} at once", One, asked().then(begins(), end).task().answer(ends()))
judged("a child goes on", One, begun())


class Starts(Family):
    async def run(self) -> None:
        await self.noted("start", self.start("c"))


judged("an id that is taken", Starts, asked().then(does_not_begin()).task().answer(ends_failed()))
judged(
    "no such namespace", Starts, asked().then(does_not_begin("c", "NAMESPACE_NOT_FOUND")).task().answer(ends()), ERROR
)
judged("a handle that nobody awaits", Starts, asked().then(begins()).task().answer(ends()))


class Caught(Family):
    async def run(self) -> None:
        await self.tried("start", self.execute("c"))
        await self.tried("again", self.execute("d"))


judged(
    "an id that is taken, caught",
    Caught,
    asked().then(does_not_begin()).task().answer(child("d")).then(begins("d"), fails("d")).task().answer(ends()),
)


class Several(Family):
    async def run(self) -> None:
        await asyncio.gather(
            *(self.tried(each, self.execute(each)) for each in "ab"),
            self.tried("work", self.sdk.work("a")),
            self.tried("handle", self.handled()),
        )

    async def handled(self) -> str:
        handle = await self.start("c")
        self.note("started")
        result: str = (await handle).id
        return result


judged(
    "several at once",
    Several,
    asked(work("1"), child("a"), child("b"), child("c"))
    .then(begins("b"), begins("a"))
    .task()
    .answer()
    .then(fails("b"), begins("c"))
    .returns("1")
    .then(returns("a"))
    .task()
    .answer()
    .then(returns("c"))
    .task()
    .answer(ends()),
)
judged("children swapped", Several, asked(work("1"), child("b"), child("a"), child("c")), NONDETERMINISM)
judged("a child of another id", One, asked(child("d")), NONDETERMINISM)
judged("a child of another type", One, asked(child("c", "Sequence")), NONDETERMINISM)
judged("an activity for a child", One, asked(work("1")), NONDETERMINISM)
judged("no child", One, asked().then(begins(), returns()).task().answer(child("d")), NONDETERMINISM)

# Cancelling.


class _Cancelled(Family):
    cancellation = WAIT

    async def run(self) -> None:
        self.beside(self.tried("child", self.execute("c", self.cancellation)))
        await super().run()


class Waits(_Cancelled):
    pass


class Tries(_Cancelled):
    cancellation = TRY


class Abandons(_Cancelled):
    cancellation = ABANDON


class WaitsForRequest(_Cancelled):
    cancellation = REQUESTED


def finished(story: Story) -> Story:
    return story.finish().task().answer(ends())


for program in (Waits, WaitsForRequest):
    name = program.__name__
    story = begun().nudge("stop").task().answer(asks()).then(is_asked()).task().answer()
    judged(f"{name}: cancelled", program, finished(story.then(is_cancelled()).task().answer()))
    story = begun().nudge("stop").task().answer(asks()).then(is_asked())
    judged(f"{name}: returned all the same", program, finished(story.then(returns()).task().answer()))
    story = asked().nudge("stop").task().answer(asks(run=False)).then(begins()).task().answer()
    judged(f"{name}: before it began", program, finished(story.then(is_asked(), is_cancelled()).task().answer()))
    story = asked().nudge("stop").task().answer(asks(run=False)).then(does_not_begin(), is_not_asked())
    judged(f"{name}: before it did not begin", program, finished(story.task().answer()))
    story = begun().nudge("stop").task().answer(asks()).then(is_asked()).nudge("stop").task().answer(asks())
    judged(f"{name}: twice", program, finished(story.then(is_asked(), is_cancelled()).task().answer()))
    story = begun().nudge("stop").then(returns()).task().answer()
    judged(f"{name}: as it returned", program, finished(story))
    judged(f"{name}: as it failed", program, finished(begun().nudge("stop").then(fails()).task().answer()))
    judged(f"{name}: after it returned", program, finished(begun().then(returns()).task().answer().nudge("stop")))
    judged(f"{name}: forgotten", program, finished(begun().nudge("stop").task().answer()), NONDETERMINISM)

for end in (is_cancelled(), returns(), fails(), times_out(), is_terminated()):
    name = end(asked()).__class__.__name__
    story = begun().nudge("stop").task().answer(asks()).then(is_asked(), end)
    judged(f"Tries: then {name}", Tries, finished(story.task().answer()))
    judged(
        f"Abandons: then {name}", Abandons, finished(begun().nudge("stop").task().answer().then(end).task().answer())
    )
judged("Tries: cancelled", Tries, finished(begun().nudge("stop").task().answer(asks()).then(is_asked())))
story = begun().nudge("stop").task().answer(asks()).then(is_not_asked()).nudge("stop").task().answer()
judged("Tries: cancelled twice", Tries, finished(story))
story = asked().nudge("stop").task().answer(asks(run=False)).then(begins(), is_asked()).task().answer()
judged("Tries: before it began", Tries, finished(story.then(is_cancelled())))
story = asked().nudge("stop").task().answer(asks(run=False)).then(does_not_begin(), is_not_asked())
judged("Tries: before it did not begin", Tries, finished(story))
judged("Abandons: before it began", Abandons, finished(asked().nudge("stop").task().answer().then(begins())))


class TakenBack(Family):
    cancellation = WAIT

    async def run(self) -> None:
        self.beside(self.tried("child", self.execute("c", self.cancellation)))
        self.beside(self.tried("signal", self.signal("x")))
        await asyncio.sleep(0)
        for task in self.tasks:
            task.cancel("changed my mind")
        await self.sdk.work("a")


class AbandonedAtOnce(TakenBack):
    cancellation = ABANDON


judged("TakenBack", TakenBack, asked(work("1")).returns("1").task().answer(ends()))
judged("AbandonedAtOnce", AbandonedAtOnce, asked(work("1")).returns("1").task().answer(ends()))


class FailsOthers(Family):
    """A signal that was never sent has failed; the task that sends it is not cancelled."""

    async def run(self) -> None:
        task = asyncio.create_task(self.signal("x"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        self.note(task.cancelled(), type(task.exception()).__name__)


judged("FailsOthers", FailsOthers, asked(ends()))


class Mixed(Family):
    async def run(self) -> None:
        self.beside(self.tried("work", self.sdk.work("a", "TRY_CANCEL")))
        self.beside(self.tried("child", self.execute("c", TRY)))
        self.beside(self.tried("more work", self.sdk.work("b", "TRY_CANCEL")))
        self.beside(self.tried("another child", self.execute("d", ABANDON)))
        await super().run()


judged(
    "of every kind at once",
    Mixed,
    finished(
        asked(work("1"), work("2"), child("c"), child("d"))
        .then(begins("c"), begins("d"))
        .task()
        .answer()
        .nudge("stop")
        .task()
        .answer(cancels("1"), asks("c"), cancels("2"))
    ),
)


class InTime(Family):
    async def run(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self.noted("child", self.execute("c"))
        except BaseException as error:  # noqa: BLE001 - of either SDK
            self.note("block", type(error).__name__)


judged(
    "too late",
    InTime,
    asked(timer("1", 5), child())
    .then(begins())
    .task()
    .answer()
    .fires("1")
    .task()
    .answer(asks())
    .then(is_asked(), is_cancelled())
    .task()
    .answer(ends()),
)
judged(
    "in time",
    InTime,
    asked(timer("1", 5), child()).then(begins(), returns()).task().answer(stops("1"), ends()),
)


class ByHandle(Family):
    async def run(self) -> None:
        handle = await self.start("c")
        if self.sdk is OURS:
            handle.cancel(reason="enough")
        else:
            handle.cancel("enough")
        await self.tried("child", handle)


class NothingCaught(Family):
    cancellation = WAIT

    async def run(self) -> None:
        await self.noted("child", self.execute("c", self.cancellation))


class NothingCaughtTries(NothingCaught):
    cancellation = TRY


judged(
    "by its handle, which has not waited yet",
    ByHandle,
    asked().then(begins()).task().answer(asks(reason="enough")).then(is_asked(), is_cancelled()).task().answer(ends()),
)
story = begun().asks_to_cancel().task().answer(asks()).then(is_asked(), is_cancelled()).task()
judged("with the whole workflow", NothingCaught, story.answer(ends_cancelled()))
story = asked().asks_to_cancel().task().answer(asks(run=False), ends_cancelled())
judged("with the whole workflow, before it began", NothingCaught, story)
story = begun().asks_to_cancel().task().answer(asks(), ends_cancelled())
judged("with the whole workflow, at once", NothingCaughtTries, story)
judged(
    "with the whole workflow, before the first task",
    NothingCaught,
    Story().asks_to_cancel().task().answer(ends_cancelled()),
)

# Signals to others.


class Signals(Family):
    async def run(self) -> None:
        handle = await self.start("c")
        await self.tried("child", self.signal_child(handle))
        await self.tried("other", self.signal("x"))
        await self.tried("all", asyncio.gather(self.signal("y"), self.signal("z"), self.signal("y")))


def signalled() -> Story:
    return asked().then(begins()).task().answer(sends()).then(arrives()).task().answer(sends("x", to_child=False))


BOTH = sends("y", to_child=False), sends("z", to_child=False), sends("y", to_child=False)
judged(
    "signals arrive",
    Signals,
    signalled()
    .then(arrives("x"))
    .task()
    .answer(*BOTH)
    .then(arrives("z"))
    .task()
    .answer()
    .then(arrives("y"))
    .task()
    .answer(),
)
judged(
    "a signal does not arrive",
    Signals,
    signalled().then(does_not_arrive("x")).task().answer(*BOTH).then(does_not_arrive("z")).task().answer(ends()),
)
for cause in ("NAMESPACE_NOT_FOUND", "SIGNAL_COUNT_LIMIT_EXCEEDED", "UNSPECIFIED"):
    story = signalled().then(does_not_arrive("x", cause)).task().answer(*BOTH)
    judged(f"a signal does not arrive: {cause}", Signals, story)
judged(
    "a signal to another workflow than recorded",
    Signals,
    asked().then(begins()).task().answer(sends("other", to_child=False)).then(arrives("other")).task(),
)
judged("no signal", Signals, asked().then(begins()).task().answer(work("1")), NONDETERMINISM)


class SignalsBeside(Family):
    async def run(self) -> None:
        self.beside(self.tried("signal", self.signal("x")))
        await super().run()


SENT = sends("x", to_child=False)
story = asked(SENT).nudge("stop").task().answer().then(arrives("x")).task().answer()
judged("a signal that is out is not taken back", SignalsBeside, finished(story))
story = asked(SENT).nudge("stop").then(arrives("x")).task().answer()
judged("a signal that arrives as it is taken back", SignalsBeside, finished(story))
judged(
    "a signal's answer comes twice", SignalsBeside, asked(SENT).then(arrives("x"), arrives("x")).task().answer(), ERROR
)
story = asked(SENT).then(does_not_arrive("x"), arrives("x"))
judged("a signal that does not arrive, and does", SignalsBeside, story.task().answer(), ERROR)

# Cancelling others.


class CancelsOthers(Family):
    async def run(self) -> None:
        await self.tried("x", self.cancel("x"))
        self.beside(self.tried("y", self.cancel("y", run_of("y"))))
        await super().run()


OF_X = asks("x", run=False, of_child=False, reason="why not")
OF_Y = asks("y", of_child=False, reason="why not")
story = asked(OF_X).then(is_asked("x")).task().answer(OF_Y).then(is_asked("y")).task().answer()
judged("a request arrives", CancelsOthers, finished(story))
for cause in ("EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND", "NAMESPACE_NOT_FOUND", "UNSPECIFIED"):
    story = (
        asked(OF_X).then(is_not_asked("x", cause)).task().answer(OF_Y).then(is_not_asked("y", cause)).task().answer()
    )
    judged(f"a request does not arrive: {cause}", CancelsOthers, finished(story))
story = asked(OF_X).then(is_asked("x")).task().answer(OF_Y).nudge("stop").task().answer()
judged("whoever asked was cancelled", CancelsOthers, finished(story.then(is_asked("y"))))


class Asks(Family):
    async def run(self) -> None:
        await self.cancel("x")


def is_signaled(story: Story) -> ev.Attributes:
    return ev.ExternalWorkflowExecutionSignaled(initiated_event_id=len(story.events), workflow_id="x")


def is_requested(story: Story) -> ev.Attributes:
    return ev.ExternalWorkflowExecutionCancelRequested(initiated_event_id=len(story.events), workflow_id="x")


judged("a request is answered as a signal", Asks, asked(OF_X).then(is_signaled).task().answer(ends()), NONDETERMINISM)
story = asked(SENT).then(is_requested).task().answer(ends())
judged("a signal is answered as a request", SignalsBeside, story, NONDETERMINISM)
judged("no request", Asks, asked(work("1")), NONDETERMINISM)
judged("a request's answer comes twice", Asks, asked(OF_X).then(is_asked("x"), is_asked("x")).task().answer(), ERROR)
story = asked(OF_X).then(is_not_asked("x"), is_asked("x"))
judged("a request that does not arrive, and does", Asks, story.task().answer(), ERROR)

# Damage.

judged("a child that begins twice", One, asked().then(begins(), begins()).task().answer(), ERROR)
judged("a child that ends before it begins", One, asked().then(returns()).task().answer(), ERROR)
judged(
    "a child that does not begin twice", One, asked().then(does_not_begin(), does_not_begin()).task().answer(), ERROR
)
judged("a child that does not begin, and does", One, asked().then(does_not_begin(), begins()).task().answer(), ERROR)
judged("a child that ends twice, otherwise", One, begun().then(returns(), is_terminated()).task().answer(ends()), ERROR)
judged("a child that ends twice", One, begun().then(returns(), returns()).task().answer(ends()), ERROR)


@pytest.mark.parametrize("name", CASES)
async def test_it_is_told_alike(name: str) -> None:
    await CASES[name].check()


# On the embedded engine.


@temporal.defn(name=P + "Parent")
class TheirParent:
    """`workflows.Parent`, as it was recorded."""

    @temporal.run
    async def run(self, job: Job) -> Outcome:
        first = await temporal.execute_child_workflow(P + "Sequence", Job(), id=f"{job.id}/c0", result_type=Outcome)
        chat = await temporal.start_child_workflow(P + "Chatty", Job(), id=f"{job.id}/c1", result_type=Outcome)
        await chat.signal(P + "Nudge", Nudge())
        await temporal.get_external_workflow_handle(f"{job.id}/c1").signal(P + "Finish", Nudge())
        log = [first.id, *(await chat).log]
        with contextlib.suppress(TheirChildWorkflowError):
            await temporal.execute_child_workflow(P + "Doomed", Job(), id=f"{job.id}/c2", result_type=Outcome)
        task = asyncio.create_task(
            temporal.execute_child_workflow(P + "Chatty", Job(), id=f"{job.id}/c3", result_type=Outcome)
        )
        await asyncio.sleep(0.2)
        task.cancel()
        with contextlib.suppress(TheirChildWorkflowError):
            await task
        return Outcome(id=job.id, log=log)


async def played() -> list[ev.Event]:
    async with testing.Environment() as env:
        served = [workflows.Parent, workflows.Sequence, workflows.Chatty, workflows.Doomed]
        async with env.worker(workflows=served, activities=[Activities(env)]):
            handle = await histories.Client(env).start_parent(Job(id="p"))
            outcome = await handle.result()
        # The signal is there before the child's first task, which the parent's next one precedes in its transaction.
        assert outcome.log == ["c0", "from parent", "run", "ActivityError", "cancelled child"]
        return list(await handle.history())


def test_the_embedded_engine_writes_what_the_server_wrote() -> None:
    history = asyncio.run(played())
    assert kinds(history) == kinds(recorded("parent"))
    check_every_task(workflows.Parent, history)
    replayer = Replayer(workflows=[TheirParent], workflow_runner=UnsandboxedWorkflowRunner())
    asyncio.run(replayer.replay_workflow(WorkflowHistory.from_json("p", to_json(history))))


def kinds(history: Sequence[ev.Event]) -> list[str]:
    """Event types without those of workflow tasks."""
    names = [type(event.attributes).__name__ for event in history]
    return [name for name in names if not name.startswith("WorkflowTask")]
