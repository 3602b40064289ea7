"""One interpreter of programs, and the workflow class of either SDK that it is behind.

It notes what the code sees: what ends and how, in order, with the place in the program, `is_replaying`, the time, the
length of history and the random numbers that are drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from temporalio import workflow as temporal
from tests.differential import program as p
from tests.differential.sdk import OURS, THEIRS, Told, WholeSdk, job
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import P

from protopact import workflow
from protopact.replay.loop import Loop

STUBBORN = "stubborn"


@dataclass(frozen=True, slots=True)
class Note:
    """What the code saw at one place."""

    place: str
    what: object
    is_replaying: bool
    time_ns: int
    history_length: int


Trace: TypeAlias = list[Note]

TRACES: dict[tuple[str, str], list[Trace]] = {}
"""What was noted, by workflow and run: one trace for each workflow object that was made."""


_own_number: contextvars.ContextVar[int | None] = contextvars.ContextVar("_own_number", default=None)
"""How many tasks had been started before the one that runs."""


class Tripped(Exception):  # noqa: N818 - it is what a program does, not what went wrong
    """Fails the task."""


class Returned(Exception):  # noqa: N818 - as above
    """Ends what the workflow does."""


class Interpreter:
    """Runs programs on one SDK, and remembers what they share: a count, tasks, a lock.

    Args:
        sdk: The SDK.
        run: Ids of the workflow and of its run. What stands before a colon in the first tells replays apart, and what
            stands before a dash is of all workflows that belong together.

    Attributes:
        tripped: Places where a task has failed, which it does only once; None in a replay, where none fails.
    """

    tripped: ClassVar[set[tuple[str, str, str]] | None] = None

    def __init__(self, sdk: WholeSdk, run: tuple[str, str]) -> None:
        self._sdk = sdk
        self._id = run[0].rpartition(":")[2]
        self._run = run
        self._children: list[Told] = []
        self._trace: Trace = []
        self._count = 0
        self._handlers = 0
        self._tasks: list[asyncio.Future[Any]] = []
        self._lock = asyncio.Lock()
        TRACES.setdefault(run, []).append(self._trace)

    def note(self, place: str, what: object) -> None:
        if _is_let_go(asyncio.get_running_loop()):
            return  # what the code does on its way out has no effect, and no order
        sdk = self._sdk
        self._trace.append(Note(place, what, sdk.is_replaying(), sdk.time_ns(), sdk.history()[0]))

    async def run(self, request: Job) -> Outcome:
        with contextlib.suppress(Returned):
            await self._perform(p.from_text(request.steps[0].text), "run")
        return Outcome(id=self._id, total=self._count)

    async def handle(self, kind: str, text: str) -> None:
        self._handlers += 1
        self._count += 1
        place = f"{kind}{self._handlers}"
        self.note(place, "arrives")
        with contextlib.suppress(Returned):
            await self._perform(p.from_text(text), place)

    async def _perform(self, statement: p.Statement, place: str) -> Any:  # noqa: ANN401 - of whatever is performed
        place = f"{place}/{type(statement).__name__}"
        if _is_let_go(asyncio.get_running_loop()):
            raise asyncio.CancelledError
        try:
            value = await self._PERFORM[type(statement)](self, statement, place)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.note(place, _told(error))
            raise
        self.note(place, value)
        return value

    # Leaves.

    async def _draw(self, _: p.Draw, __: str) -> float:
        drawn: float = self._sdk.random().random()
        return drawn

    async def _work(self, work: p.Work, _: str) -> int:
        reading: Reading = await self._started(work)
        return reading.value

    async def _start(self, start: p.Start, _: str) -> None:
        self._tasks.append(self._started(start))

    def _started(self, activity: p.Work | p.Start) -> Any:  # noqa: ANN401 - the handle of either SDK
        return self._sdk.started(STUBBORN if activity.stubborn else "", activity.kind, activity.is_lost)

    async def _sleep(self, sleep: p.Sleep, _: str) -> None:
        await self._sdk.sleep(sleep.seconds)

    async def _pass(self, _: p.Pass, __: str) -> None:
        await asyncio.sleep(0)

    async def _bump(self, _: p.Bump, __: str) -> int:
        self._count += 1
        return self._count

    async def _wait(self, wait: p.Wait, _: str) -> None:
        await self._sdk.wait_condition(lambda: self._count >= wait.count, timeout=wait.seconds)

    async def _settled(self, _: p.Settled, __: str) -> None:
        await self._sdk.wait_condition(self._sdk.all_handlers_finished)

    async def _local(self, local: p.Local, _: str) -> int:
        reading: Reading = await self._sdk.local(STUBBORN if local.stubborn else "", local.kind, local.is_patient)
        return reading.value

    async def _side_effect(self, _: p.SideEffect, __: str) -> int:
        reading = await self._sdk.side_effect()
        return reading.value

    async def _patch(self, patch: p.Patch, _: str) -> bool | None:
        if patch.is_deprecated:
            self._sdk.deprecate_patch(patch.name)
            return None
        return self._sdk.patched(patch.name)

    async def _upsert(self, upsert: p.Upsert, _: str) -> None:
        if upsert.sets_memo:
            self._sdk.upsert_memo({"value": None if upsert.value is None else str(upsert.value)})
        else:
            self._sdk.upsert_count(upsert.value)

    async def _continue(self, _: p.Continue, __: str) -> None:
        self._sdk.next_run(job(self._id, p.to_text(p.Draw())))

    async def _return(self, _: p.Return, __: str) -> None:
        raise Returned

    async def _fail(self, _: p.Fail, place: str) -> None:
        raise self._sdk.application_error(place)

    async def _trip(self, _: p.Trip, place: str) -> None:
        def trips() -> bool:
            if Interpreter.tripped is not None and (*self._run, place) not in Interpreter.tripped:
                Interpreter.tripped.add((*self._run, place))
                raise Tripped(place)
            return True

        # Out of a condition, past whatever the program would make of it.
        await self._sdk.wait_condition(trips)

    async def _cancel(self, cancel: p.Cancel, _: str) -> bool | None:
        task = self._task(cancel.task)
        return None if task is None else task.cancel()

    async def _join(self, join: p.Join, _: str) -> object:
        # Only what was started before the task that it is in: tasks that await each other in a ring end neither.
        task = self._task(join.task, _own_number.get())
        value = None if task is None else await task
        match value:
            case Reading():
                return value.value
            case Outcome():
                return value.total
            case _:
                return value

    def _task(self, index: int, before: int | None = None) -> asyncio.Future[Any] | None:
        tasks = self._tasks[:before]
        return tasks[index % len(tasks)] if tasks else None

    # Others.

    async def _child(self, child: p.Child, _: str) -> int | None:
        workflow_id = f"{self._id}.{child.number}"
        if not child.is_left:
            return (await self._sdk.execute_child(workflow_id, child)).total
        tell, task = await self._sdk.child(workflow_id, child)
        self._children.append(tell)
        self._tasks.append(task)
        return None

    async def _tell(self, tell: p.Tell, _: str) -> None:
        if self._children:
            await self._children[tell.child % len(self._children)](Nudge(note=p.to_text(tell.does)))

    async def _tell_other(self, tell: p.TellOther, _: str) -> None:
        await self._sdk.tell_other(self._named(tell.whom), Nudge(note=p.to_text(tell.does)))

    async def _cancel_other(self, cancel: p.CancelOther, _: str) -> None:
        await self._sdk.cancel_other(self._named(cancel.whom))

    def _named(self, whom: p.Whom) -> str:
        space, dash, _ = self._id.rpartition("-")
        return f"{space}{dash}{whom}"

    # Branches.

    async def _do(self, do: p.Do, place: str) -> None:
        for index, step in enumerate(do.steps):
            await self._perform(step, f"{place}.{index}")

    async def _gather(self, gather: p.Gather, place: str) -> list[object]:
        branches = [self._perform(branch, f"{place}.{index}") for index, branch in enumerate(gather.branches)]
        results = await asyncio.gather(*branches, return_exceptions=gather.returns_exceptions)
        return [_told(result) if isinstance(result, BaseException) else result for result in results]

    async def _group(self, group: p.Group, place: str) -> None:
        raised: BaseException | None = None
        try:
            async with workflow.TaskGroup() as tasks:
                for index, branch in enumerate(group.branches):
                    tasks.create_task(self._perform(branch, f"{place}.{index}"))
        except BaseExceptionGroup as errors:
            self.note(place, [_told(error) for error in errors.exceptions])
            raised = errors.exceptions[0]
        if raised is not None:
            # A run that ends with a group of no Exception waits for ever on Temporal, without a word; ours fails its
            # task.
            raise raised

    async def _first(self, first: p.First, place: str) -> int:
        tasks = [
            asyncio.create_task(self._perform(branch, f"{place}.{index}"))
            for index, branch in enumerate(first.branches)
        ]
        done, others = await workflow.wait(
            tasks,
            timeout=first.seconds,
            return_when=asyncio.FIRST_EXCEPTION if first.on_error else asyncio.FIRST_COMPLETED,
        )
        for task in others:
            task.cancel()
        return len(done)

    async def _each(self, each: p.Each, place: str) -> int:
        branches = [self._perform(branch, f"{place}.{index}") for index, branch in enumerate(each.branches)]
        count = 0
        for result in workflow.as_completed(branches, timeout=each.seconds):
            self.note(place, await result)
            count += 1
        return count

    async def _within(self, within: p.Within, place: str) -> object:
        if within.waits:
            return await asyncio.wait_for(self._perform(within.body, place), within.seconds)
        async with asyncio.timeout(within.seconds):
            return await self._perform(within.body, place)

    async def _shield(self, shield: p.Shield, place: str) -> object:
        return await asyncio.shield(self._perform(shield.body, place))

    async def _spawn(self, spawn: p.Spawn, place: str) -> None:
        context = contextvars.copy_context()
        context.run(_own_number.set, len(self._tasks))
        self._tasks.append(asyncio.create_task(self._perform(spawn.body, place), context=context))

    async def _rescue(self, rescue: p.Rescue, place: str) -> object:
        try:
            return await self._perform(rescue.body, f"{place}.body")
        except Exception:
            value = await self._perform(rescue.then, f"{place}.then")
            if rescue.raises_again:
                raise
            return value
        except asyncio.CancelledError:
            if not rescue.catches_cancellation:
                raise
            value = await self._perform(rescue.then, f"{place}.then")
            if rescue.raises_again:
                raise
            return value

    async def _finally(self, statement: p.Finally, place: str) -> object:
        try:
            value = await self._perform(statement.body, f"{place}.body")
        except GeneratorExit:
            raise
        except BaseException:
            await self._perform(statement.then, f"{place}.then")
            raise
        await self._perform(statement.then, f"{place}.then")
        return value

    async def _locked(self, locked: p.Locked, place: str) -> object:
        async with self._lock:
            return await self._perform(locked.body, place)

    async def _if(self, choice: p.If, place: str) -> object:
        holds = self._sdk.random().random() < 0.5 if choice.count is None else self._count >= choice.count
        return await self._perform(choice.then if holds else choice.otherwise, f"{place}.{holds}")

    _PERFORM: ClassVar[dict[type[p.Statement], Callable[..., Awaitable[Any]]]] = {
        p.Draw: _draw,
        p.Work: _work,
        p.Start: _start,
        p.Sleep: _sleep,
        p.Pass: _pass,
        p.Bump: _bump,
        p.Wait: _wait,
        p.Settled: _settled,
        p.Local: _local,
        p.SideEffect: _side_effect,
        p.Patch: _patch,
        p.Upsert: _upsert,
        p.Continue: _continue,
        p.Return: _return,
        p.Fail: _fail,
        p.Trip: _trip,
        p.Cancel: _cancel,
        p.Join: _join,
        p.Child: _child,
        p.Tell: _tell,
        p.TellOther: _tell_other,
        p.CancelOther: _cancel_other,
        p.Do: _do,
        p.Gather: _gather,
        p.Group: _group,
        p.First: _first,
        p.Each: _each,
        p.Within: _within,
        p.Shield: _shield,
        p.Spawn: _spawn,
        p.Rescue: _rescue,
        p.Finally: _finally,
        p.Locked: _locked,
        p.If: _if,
    }


def _is_let_go(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the run leaves memory. Temporal's loop says so only in an attribute of its own."""
    return loop.is_closed() if isinstance(loop, Loop) else bool(vars(loop)["_deleting"])


def _told(error: BaseException) -> str:
    """The chain of an exception, as both SDKs tell it."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    return " < ".join(_NAMES.get(name := type(each).__name__, name) for each in chain)


_NAMES = {
    "Continuation": "ContinueAsNewError",
    "_ContinueAsNewError": "ContinueAsNewError",
    "WorkflowAlreadyStartedError": "AlreadyStartedError",
}
"""Exceptions that have no name of their own, and those that the two SDKs call otherwise."""


class Ours(histories.Program):
    def __init__(self) -> None:
        self.interpreter = Interpreter(OURS, (workflow.info().workflow_id, workflow.info().run_id))

    async def run(self, request: Job) -> Outcome:
        return await self.interpreter.run(request)

    async def on_nudge(self, request: Nudge) -> None:
        await self.interpreter.handle("signal", request.note)

    async def on_finish(self, request: Nudge) -> None:
        """Not told."""

    def peek(self, request: Nudge) -> Reading:
        return Reading()

    async def add(self, request: Nudge) -> Reading:
        await self.interpreter.handle("update", request.note)
        return Reading()

    def validate_add(self, request: Nudge) -> None:
        if request.by < 0:
            raise ValueError("refused")


@temporal.defn(name=P + "Program")
class Theirs:
    def __init__(self) -> None:
        self.interpreter = Interpreter(THEIRS, (temporal.info().workflow_id, temporal.info().run_id))

    @temporal.run
    async def run(self, job: Job) -> Outcome:
        return await self.interpreter.run(job)

    # That a run ends before its handlers do is no warning here.
    @temporal.signal(name=P + "Nudge", unfinished_policy=temporal.HandlerUnfinishedPolicy.ABANDON)
    async def nudge(self, request: Nudge) -> None:
        await self.interpreter.handle("signal", request.note)

    @temporal.update(name=P + "Add", unfinished_policy=temporal.HandlerUnfinishedPolicy.ABANDON)
    async def add(self, request: Nudge) -> Reading:
        await self.interpreter.handle("update", request.note)
        return Reading()

    @add.validator
    def validate_add(self, request: Nudge) -> None:
        if request.by < 0:
            raise ValueError("refused")

    @temporal.query(name=P + "Peek")
    def peek(self, _: Nudge) -> Reading:
        return Reading()
