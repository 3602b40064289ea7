"""Histories made by hand, and programs that run unchanged on both SDKs and note what they see."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, NoReturn, TypeAlias

from temporalio import workflow as temporal
from temporalio.exceptions import ApplicationError as TheirApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner
from tests.replay.bench import CONVERTER, execution
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.oracle import ACCEPTED, Oracle, Verdict

from protopact import workflow
from protopact.contract import Message
from protopact.errors import ApplicationError, NondeterminismError, WorkflowTaskError
from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload, Payloads
from protopact.policy import ActivityCancellationType
from protopact.replay.comparison import Comparer, Difference

P = "histories.v1.Histories."
SECOND = 1_000_000_000
_LONG = 10
START = Timestamp(1_750_000_000 * SECOND)


@dataclass(frozen=True)
class Sdk:
    """One SDK, as programs see it. `work` starts an activity: name, how it is cancelled."""

    work: Callable[..., Any]
    sleep: Callable[[float], Awaitable[None]]
    wait_condition: Callable[..., Awaitable[None]]
    time_ns: Callable[[], int]
    random: Callable[[], Any]
    is_replaying: Callable[[], bool]
    all_handlers_finished: Callable[[], bool]
    application_error: type[Exception]
    continue_as_new: Callable[[], NoReturn]
    history: Callable[[], tuple[int, int, bool]]


def _work(name: str, cancellation_type: str = "TRY_CANCEL", kind: str = "Work") -> workflow.ActivityHandle[Reading]:
    call = histories.work if kind == "Work" else histories.break_
    return call(Step(name=name), cancellation_type=ActivityCancellationType[cancellation_type])


def _their_work(
    name: str, cancellation_type: str = "TRY_CANCEL", kind: str = "Work"
) -> temporal.ActivityHandle[Reading]:
    return temporal.start_activity(
        P + kind,
        Step(name=name),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        cancellation_type=temporal.ActivityCancellationType[cancellation_type],
    )


def _history(info: workflow.Info | temporal.Info) -> tuple[int, int, bool]:
    return info.get_current_history_length(), info.get_current_history_size(), info.is_continue_as_new_suggested()


OURS = Sdk(
    _work,
    workflow.sleep,
    workflow.wait_condition,
    workflow.time_ns,
    workflow.random,
    workflow.is_replaying,
    workflow.all_handlers_finished,
    ApplicationError,
    lambda: Ours.continue_as_new(Job(id="story")),
    lambda: _history(workflow.info()),
)
THEIRS = Sdk(
    _their_work,
    temporal.sleep,
    temporal.wait_condition,
    temporal.time_ns,
    temporal.random,
    temporal.unsafe.is_replaying,
    temporal.all_handlers_finished,
    TheirApplicationError,
    lambda: temporal.continue_as_new(Job(id="story")),
    lambda: _history(temporal.info()),
)


class Program:
    """What a workflow does, on either SDK. Programs derive from it."""

    def __init__(self, sdk: Sdk, trace: list[tuple[object, ...]]) -> None:
        self.sdk = sdk
        self.trace = trace
        self.nudges: list[str] = []
        self.done = False

    def note(self, *what: object) -> None:
        """Note something, with the time and whether it is a replay."""
        self.trace.append((*what, self.sdk.is_replaying(), (self.sdk.time_ns() - START) / SECOND))

    async def run(self) -> None:
        await self.sdk.wait_condition(lambda: self.done)

    async def nudge(self, note: str) -> None:
        self.nudges.append(note)
        self.note("nudge", note)

    def finish(self) -> None:
        self.done = True

    async def add(self, note: str) -> None:
        self.note("add", note)

    def validate(self, note: str) -> None:
        self.note("validate", note)


class _Current:
    program: ClassVar[type[Program]] = Program
    trace: ClassVar[list[tuple[object, ...]]] = []


class Ours(histories.Program):
    def __init__(self) -> None:
        self.program = _Current.program(OURS, _Current.trace)

    async def run(self, request: Job) -> Outcome:
        await self.program.run()
        return Outcome(id=request.id)

    async def on_nudge(self, request: Nudge) -> None:
        await self.program.nudge(request.note)

    async def on_finish(self, request: Nudge) -> None:
        self.program.finish()

    def peek(self, request: Nudge) -> Reading:
        return Reading()

    async def add(self, request: Nudge) -> Reading:
        await self.program.add(request.note)
        return Reading()

    def validate_add(self, request: Nudge) -> None:
        self.program.validate(request.note)


@temporal.defn(name=P + "Program")
class Theirs:
    def __init__(self) -> None:
        self.program = _Current.program(THEIRS, _Current.trace)

    @temporal.run
    async def run(self, job: Job) -> Outcome:
        await self.program.run()
        return Outcome(id=job.id)

    @temporal.signal(name=P + "Nudge", unfinished_policy=temporal.HandlerUnfinishedPolicy.ABANDON)
    async def nudge(self, request: Nudge) -> None:
        await self.program.nudge(request.note)

    @temporal.signal(name=P + "Finish")
    def finish(self, _: Nudge) -> None:
        self.program.finish()

    @temporal.update(name=P + "Add", unfinished_policy=temporal.HandlerUnfinishedPolicy.ABANDON)
    async def add(self, request: Nudge) -> Reading:
        await self.program.add(request.note)
        return Reading()

    @add.validator
    def validate_add(self, request: Nudge) -> None:
        self.program.validate(request.note)


Command: TypeAlias = Callable[["Story"], ev.Attributes]
"""The event with which a command stands in a story's history."""


class Story:
    """A history, event by event. Each second has one event; every method returns the story."""

    def __init__(self, *, flags: bool = True, workflow_type: str = P + "Program", run_timeout: int = 0) -> None:
        self.events: list[ev.Event] = []
        self._scheduled = self.started = 0
        self._flags = flags
        self.activities: dict[str, int] = {}
        self.timers: dict[str, int] = {}
        self.accepted: dict[str, int] = {}
        self._put(
            ev.WorkflowExecutionStarted(
                workflow_type=workflow_type,
                workflow_run_timeout=Duration(run_timeout),
                task_queue="histories",
                input=payloads(_CONTRACT.request, Job(id="story")),
                workflow_task_timeout=Duration(10 * SECOND),
                original_execution_run_id="story",
                first_execution_run_id="story",
                workflow_id="story",
                attempt=1,
            )
        )

    def _put(self, attributes: ev.Attributes) -> int:
        event_id = len(self.events) + 1
        self.events.append(ev.Event(event_id, Timestamp(START + event_id * SECOND), attributes))
        return event_id

    def task(self) -> Story:
        """A task is scheduled and started."""
        self._scheduled = self._put(ev.WorkflowTaskScheduled(task_queue="histories"))
        self.started = self._put(
            ev.WorkflowTaskStarted(
                scheduled_event_id=self._scheduled,
                history_size_bytes=100 * len(self.events),
                suggest_continue_as_new=len(self.events) > _LONG,
            )
        )
        return self

    def fails(self, cause: str = "WORKFLOW_WORKER_UNHANDLED_FAILURE", new_run_id: str = "") -> Story:
        """The task fails."""
        self._put(
            ev.WorkflowTaskFailed(
                scheduled_event_id=self._scheduled, started_event_id=self.started, cause=cause, new_run_id=new_run_id
            )
        )
        return self

    def times_out(self) -> Story:
        """The task times out."""
        self._put(
            ev.WorkflowTaskTimedOut(
                scheduled_event_id=self._scheduled, started_event_id=self.started, timeout_type="START_TO_CLOSE"
            )
        )
        return self

    def answer(self, *commands: Command, lang_flags: tuple[int, ...] = ()) -> Story:
        """The task is answered."""
        self._put(
            ev.WorkflowTaskCompleted(
                scheduled_event_id=self._scheduled,
                started_event_id=self.started,
                core_used_flags=(1, 2, 3, 4) if self._flags else (),
                lang_used_flags=lang_flags,
            )
        )
        self._flags = False
        for command in commands:
            attributes = command(self)
            event_id = self._put(attributes)
            if isinstance(attributes, ev.ActivityTaskScheduled):
                self.activities[attributes.activity_id] = event_id
            elif isinstance(attributes, ev.TimerStarted):
                self.timers[attributes.timer_id] = event_id
            elif isinstance(attributes, ev.WorkflowExecutionUpdateAccepted):
                self.accepted[attributes.protocol_instance_id] = event_id
        return self

    # What happens.

    def nudge(self, note: str) -> Story:
        self._put(
            ev.WorkflowExecutionSignaled(signal_name=P + "Nudge", input=payloads(_NUDGE.request, Nudge(note=note)))
        )
        return self

    def admits(self, update_id: str) -> Story:
        self._put(ev.WorkflowExecutionUpdateAdmitted(request=_add(update_id), origin="REAPPLY"))
        return self

    def finish(self) -> Story:
        self._put(ev.WorkflowExecutionSignaled(signal_name=P + "Finish", input=payloads(_NUDGE.request, Nudge())))
        return self

    def asks_to_cancel(self) -> Story:
        self._put(ev.WorkflowExecutionCancelRequested())
        return self

    def starts(self, activity_id: str) -> Story:
        self._put(ev.ActivityTaskStarted(scheduled_event_id=self.activities[activity_id], attempt=1))
        return self

    def returns(self, activity_id: str) -> Story:
        return self.starts(activity_id).completes(activity_id)

    def completes(self, activity_id: str) -> Story:
        self._put(
            ev.ActivityTaskCompleted(
                scheduled_event_id=self.activities[activity_id],
                started_event_id=len(self.events),
                result=payloads(_WORK, Reading(value=1)),
            )
        )
        return self

    def breaks(self, activity_id: str) -> Story:
        self.starts(activity_id)
        self._put(
            ev.ActivityTaskFailed(
                scheduled_event_id=self.activities[activity_id],
                started_event_id=len(self.events),
                failure=Failure("broken", ApplicationFailureInfo(type="Broken")),
                retry_state="NON_RETRYABLE_FAILURE",
            )
        )
        return self

    def is_cancelled(self, activity_id: str) -> Story:
        self._put(ev.ActivityTaskCanceled(scheduled_event_id=self.activities[activity_id]))
        return self

    def fires(self, timer_id: str) -> Story:
        self._put(ev.TimerFired(timer_id=timer_id, started_event_id=self.timers[timer_id]))
        return self

    def then(self, *happens: Command) -> Story:
        """Something else happens."""
        for each in happens:
            self._put(each(self))
        return self

    def terminates(self) -> Story:
        self._put(ev.WorkflowExecutionTerminated(reason="enough"))
        return self


_CONTRACT = Ours.__protopact__()
_NUDGE = _CONTRACT.signals[0].signal
_ADD = _CONTRACT.updates[0].update
_WORK: Message[Any] = _ADD.response  # Work and Add both return a Reading


def payloads(message: Message[Any], value: object) -> Payloads:
    return CONVERTER.to_payloads(message, value)


# What tasks are answered with.


def work(activity_id: str, name: str = "Work", *, step: str = "") -> Command:
    return lambda _: ev.ActivityTaskScheduled(
        activity_id=activity_id,
        activity_type=P + name,
        task_queue="histories",
        input=CONVERTER.to_details((Step(name=step),)) if step else (),
        start_to_close_timeout=Duration(10 * SECOND),
    )


def cancels(activity_id: str) -> Command:
    return lambda story: ev.ActivityTaskCancelRequested(scheduled_event_id=story.activities[activity_id])


def timer(timer_id: str, seconds: float = 1) -> Command:
    return lambda _: ev.TimerStarted(timer_id=timer_id, start_to_fire_timeout=Duration(int(seconds * SECOND)))


def stops(timer_id: str) -> Command:
    return lambda story: ev.TimerCanceled(timer_id=timer_id, started_event_id=story.timers[timer_id])


def _add(update_id: str) -> ev.UpdateRequest:
    return ev.UpdateRequest(update_id=update_id, name=P + "Add", args=payloads(_NUDGE.request, Nudge(note=update_id)))


def accepts(update_id: str, *, was_admitted: bool = False) -> Command:
    return lambda story: ev.WorkflowExecutionUpdateAccepted(
        protocol_instance_id=update_id,
        accepted_request_message_id=f"{update_id}/request",
        accepted_request_sequencing_event_id=story.started - 1,
        accepted_request=None if was_admitted else _add(update_id),
    )


def completes(update_id: str) -> Command:
    return lambda story: ev.WorkflowExecutionUpdateCompleted(
        update_id=update_id,
        accepted_event_id=story.accepted.get(update_id, 0),
        success=payloads(_ADD.response, Reading()),
    )


def mark(patch_id: str, *, deprecated: bool = False) -> Command:
    data = json.dumps({"id": patch_id, "deprecated": deprecated}).encode()
    return lambda _: ev.MarkerRecorded(
        marker_name="core_patch", details={"patch-data": (Payload({"encoding": b"json/plain"}, data),)}
    )


def ends() -> Command:
    return lambda _: ev.WorkflowExecutionCompleted(result=payloads(_CONTRACT.response, Outcome(id="story")))


def continues() -> Command:
    return lambda _: ev.WorkflowExecutionContinuedAsNew(new_execution_run_id="next", initiator="WORKFLOW")


def ends_failed() -> Command:
    return lambda _: ev.WorkflowExecutionFailed(failure=Failure("failed", ApplicationFailureInfo()))


def ends_cancelled() -> Command:
    return lambda _: ev.WorkflowExecutionCanceled()


@dataclass
class Told:
    """What came of a replay: the verdict, what the program noted; in strict mode, how commands and events differ."""

    verdict: str
    trace: list[tuple[object, ...]]
    differences: tuple[Difference, ...] = ()
    warnings: tuple[Difference, ...] = ()


@contextmanager
def playing(program: type[Program]) -> Generator[None]:
    """Have `Ours` and `Theirs` play a program whose notes nobody reads."""
    before = _Current.program, _Current.trace
    _Current.program, _Current.trace = program, []
    yield
    _Current.program, _Current.trace = before


def told_by_us(program: type[Program], history: list[ev.Event], *, strict: bool = False) -> Told:
    _Current.program, _Current.trace = program, []
    comparer = Comparer(CONVERTER) if strict else None
    run = execution(Ours, history, comparer)
    verdict = "accepted"
    differences: tuple[Difference, ...] = ()
    try:
        run.advance(history)
    except NondeterminismError as error:
        verdict = "nondeterminism"
        differences = error.differences
    except WorkflowTaskError:
        verdict = "error"
    trace = list(_Current.trace)
    run.unwind()
    return Told(verdict, trace, differences, tuple(comparer.warnings) if comparer is not None else ())


@functools.cache
def _oracle() -> Oracle[Verdict]:
    oracle = Oracle(Theirs, UnsandboxedWorkflowRunner(), Verdict)
    atexit.register(oracle.close)
    return oracle


async def told_by_them(program: type[Program], history: list[ev.Event]) -> Told:
    _Current.program, _Current.trace = program, []
    verdict = await asyncio.to_thread(_oracle().judge, history)
    return Told(verdict.verdict, list(_Current.trace))


async def check_told_alike(program: type[Program], story: Story, verdict: str) -> None:
    """Temporal's verdict is `verdict`, ours is as good, and the program sees the same on both."""
    theirs = await told_by_them(program, story.events)
    assert theirs.verdict == verdict, "of Temporal"
    ours = await asyncio.to_thread(told_by_us, program, story.events)
    assert ours.trace == theirs.trace
    assert ours.verdict == theirs.verdict


@dataclass(frozen=True)
class Case:
    """A program, a history that may or may not be its own, and what is said of the two."""

    program: type[Program]
    story: Story
    verdict: str

    async def check(self) -> None:
        """Both SDKs are told alike, and say that."""
        await check_told_alike(self.program, self.story, self.verdict)


class Cases(dict[str, Case]):
    """Cases by name."""

    def judged(self, name: str, program: type[Program], story: Story, verdict: str = ACCEPTED) -> None:
        """Add a case."""
        assert name not in self
        self[name] = Case(program, story, verdict)
