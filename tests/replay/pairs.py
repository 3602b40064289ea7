"""What a program written twice is made of: on generated code, and by hand on temporalio, with the same commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, TypeVar

from temporalio import workflow as temporal
from temporalio.exceptions import ApplicationError as TheirApplicationError
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact import activity, testing, workflow
from protopact.errors import ApplicationError
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

T = TypeVar("T", bound=type)


async def succeeds(handle: Handle, _: testing.Environment) -> None:
    await handle.result()


async def nothing(_: Handle, __: testing.Environment) -> None:
    """Let the worker be the first."""


class Pairs(dict[str, Pair]):
    """Programs with their twins, by title."""

    def add(
        self, name: str, drive: Drive = succeeds, early: Drive = nothing, *, kinds: bool = False
    ) -> Callable[[type[Workflow]], Callable[[T], T]]:
        """Keep a program with its twin, once or, with `kinds`, for each type of cancellation."""

        def of(mine: type[Workflow]) -> Callable[[T], T]:
            def decorate(theirs: T) -> T:
                temporal.defn(name=PROGRAM)(theirs)
                for n, (kind, _) in enumerate(KINDS if kinds else KINDS[:1]):
                    title = f"{name}, {kind.value}" if kinds else name
                    self[title] = Pair(mine, theirs, Job(id="p", n=n), drive, early)
                return theirs

            return decorate

        return of
