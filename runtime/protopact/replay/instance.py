"""One run's code at work: its loop, its activities, timers and conditions, and how it ends.

Order is that of Temporal's Python SDK: callbacks run in turn until none is left, then conditions are tested in the
order in which they were made, until nothing moves. An activity is a task that awaits the activity's result behind a
shield.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar
from zlib import crc32

from protopact import contract
from protopact.errors import ActivityError, FailureError, PayloadError, ReadOnlyContextError, WorkflowTaskError
from protopact.errors import CancelledError as CancelledFailure
from protopact.history import option
from protopact.history.event import WorkflowExecutionStarted
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp, to_datetime, to_timedelta
from protopact.interceptor import StartActivity
from protopact.limits import LONGEST
from protopact.payload.payload import Payloads
from protopact.policy import ActivityOptions
from protopact.replay.command import (
    CancelWorkflowExecution,
    CompleteWorkflowExecution,
    FailWorkflowExecution,
    ScheduleActivityTask,
    StartTimer,
)
from protopact.replay.definition import Definition
from protopact.replay.ledger import CalledActivity, Ledger
from protopact.replay.loop import Handle, Loop, Task, Unwinding
from protopact.replay.seed import seed_of
from protopact.workflow import RUNTIME_ATTRIBUTE, ActivityHandle, Info, ParentInfo, Runtime

__all__ = ["RAISE_ON_CANCELLING_COMPLETED_ACTIVITY", "Instance"]

T = TypeVar("T")

RAISE_ON_CANCELLING_COMPLETED_ACTIVITY = 1
"""Flag of the Python SDK: cancelling a task that awaits an activity whose result is there cancels the task."""

_TASK_TIMEOUT = Duration(10_000_000_000)
_MILLISECOND = 1_000_000


class _ActivityTask(Task[T], ActivityHandle[T]):
    """An activity of this run."""

    def __init__(self, instance: Instance, seq: int, activity: contract.Activity[Any, T]) -> None:
        self.activity = activity
        self.result_of: asyncio.Future[T] = instance.loop.create_future()
        self.has_begun = False
        self._instance = instance
        self._seq = seq
        super().__init__(self._wait(), instance.loop, f"activity {activity.name}")

    async def _wait(self) -> T:
        self.has_begun = True
        instance, result = self._instance, self.result_of
        while True:
            try:
                return await _shielded(result)
            except asyncio.CancelledError:
                if instance.loop.is_unwound or (result.done() and instance.raises_on_cancelling_completed()):
                    raise
                instance.ledger.cancel_activity(self._seq)
                self.uncancel()

    def cancel(self, msg: object = None) -> bool:
        """Cancel the activity as its cancellation type says."""
        instance = self._instance
        if not instance.loop.is_unwound:
            instance.check_writable("cancel an activity")
            if not self.has_begun and not self.done():
                instance.ledger.cancel_activity(self._seq)
        return super().cancel(msg)


class _TimerHandle(asyncio.TimerHandle):
    """What `call_later` and `call_at` return: a durable timer."""

    def __init__(
        self, instance: Instance, seq: int, when: float, callback: Handle
    ) -> None:  # its base's would want a callback and arguments of its own
        self.callback = callback
        self._instance = instance
        self._seq = seq
        self._at = when
        self._has_been_cancelled = False

    def cancel(self) -> None:
        """Cancel the timer; nothing happens when it has fired."""
        if not self._has_been_cancelled:
            self._has_been_cancelled = True
            self._instance.cancel_timer(self._seq)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._has_been_cancelled

    def when(self) -> float:
        """Loop time at which it fires."""
        return self._at

    def __hash__(self) -> int:
        return self._seq

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<TimerHandle {self._seq} when={self._at}>"


class Instance(Runtime):
    """One run's code.

    Args:
        definition: The workflow class and what goes with it.
        workflow_id: Id of the workflow.
        run_id: The run.
        ledger: Where its commands go.

    Attributes:
        loop: The loop that it runs on.
        ledger: Where its commands go.
        replaying: Whether the code that runs has run before.
        flags: Flags of the Python SDK that history has recorded.
        used_flags: Flags of the Python SDK to record with the open task.
        is_closed: Whether the code has ended the run.
    """

    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str, ledger: Ledger) -> None:
        self.loop = Loop(crc32(run_id.encode()), self._start_timer)
        setattr(self.loop, RUNTIME_ATTRIBUTE, self)
        self.ledger = ledger
        self.replaying = False
        self.flags: set[int] = set()
        self.used_flags: set[int] = set()
        self.is_closed = False
        self._definition = definition
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._info: Info | None = None
        self._random: random.Random | None = None
        self._main: Task[None] | None = None
        self._is_cancel_requested = False
        self._task_error: BaseException | None = None
        self._read_only: str | None = None
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._activities: dict[int, _ActivityTask[Any]] = {}
        self._activity_seq = 0
        self._timers: dict[int, _TimerHandle] = {}
        self._timer_seq = 0
        self._handlers: dict[int, str] = {}
        self._handler_seq = 0
        self._failure_types: tuple[type[BaseException], ...] = (
            FailureError,
            TimeoutError,
            *definition.failure_exception_types,
            *definition.workflow.__failure_exception_types__,
        )

    # -- what has happened

    def begin(self, started: WorkflowExecutionStarted, at: Timestamp) -> None:
        """The run has begun."""
        parent = None
        if started.parent_workflow_id:
            parent = ParentInfo(
                namespace=started.parent_workflow_namespace,
                workflow_id=started.parent_workflow_id,
                run_id=started.parent_run_id,
            )
        self._info = Info(
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            first_run_id=started.first_execution_run_id or self._run_id,
            continued_run_id=started.continued_execution_run_id or None,
            workflow_type=started.workflow_type,
            task_queue=started.task_queue,
            attempt=started.attempt or 1,
            start_time=to_datetime(at),
            execution_timeout=to_timedelta(started.workflow_execution_timeout) or None,
            run_timeout=to_timedelta(started.workflow_run_timeout) or None,
            task_timeout=to_timedelta(started.workflow_task_timeout or _TASK_TIMEOUT),
            retry_policy=started.retry_policy,
            parent=parent,
            headers=started.header,
        )

    def start_main(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start the coroutine that the run is."""
        self._main = self.loop.create_task(self._guard(coroutine), name="run")

    def start_handler(self, name: str, handled: Awaitable[None]) -> None:
        """Start the coroutine that handles a signal."""

        async def handle() -> None:
            with self.handling(name):
                await handled

        self.loop.create_task(self._guard(handle()), name=f"signal {name}")

    @contextmanager
    def handling(self, name: str) -> Generator[None]:
        """Count a handler as running."""
        self._handler_seq += 1
        seq = self._handler_seq
        self._handlers[seq] = name
        try:
            yield
        finally:
            del self._handlers[seq]

    def request_cancel(self) -> None:
        """Somebody has asked the run to cancel."""
        self._is_cancel_requested = True
        if self._main is not None:
            # In its turn, so that code that has not begun yet begins and can take it.
            self.loop.call_soon(self._main.cancel)

    def complete_activity(self, seq: int, result: Payloads) -> None:
        """An activity has returned.

        Raises:
            WorkflowTaskError: Its result cannot be read.
        """
        task = self._activities.pop(seq)
        activity = task.activity
        try:
            value = self._definition.converter.from_payloads(activity.response, result, f"response of {activity.name}")
        except PayloadError as error:
            raise WorkflowTaskError(f"the result of activity {activity.name} cannot be read: {error}") from error
        task.result_of.set_result(value)

    def fail_activity(self, seq: int, failure: Failure) -> None:
        """An activity has failed for good."""
        task = self._activities.pop(seq)
        # A task that was cancelled before it began never awaits its result: a failure there would be reported as lost.
        if task.has_begun or not task.cancelling():
            task.result_of.set_exception(self._definition.failures.from_failure(failure))

    def cancelled_activity(self, activity: CalledActivity) -> None:
        """An activity has been cancelled."""
        error = ActivityError(
            "Activity cancelled",
            activity_type=activity.command.activity_type,
            activity_id=activity.command.activity_id,
            scheduled_event_id=activity.scheduled_event_id,
        )
        error.__cause__ = CancelledFailure("Cancelled")
        task = self._activities.pop(activity.seq)
        if task.has_begun or not task.cancelling():
            task.result_of.set_exception(error)

    def fire_timer(self, seq: int) -> None:
        """A timer has fired."""
        timer = self._timers.pop(seq, None)
        if timer is not None:
            self.loop.ready.append(timer.callback)

    def run(self, tests_conditions: Callable[[], bool]) -> None:
        """Run until nothing moves.

        Raises:
            WorkflowTaskError: The code raised an exception that fails the task.
        """
        loop, ready = self.loop, self.loop.ready
        while ready:
            while ready:
                callback = ready.popleft()
                try:
                    callback()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio: a callback's error is reported, the loop goes on
                    loop.call_exception_handler(
                        {"message": "Exception in a callback of a workflow", "exception": error}
                    )
                if (failure := self._task_error) is not None:
                    raise WorkflowTaskError(f"{type(failure).__name__}: {failure}") from failure
            if self._conditions and tests_conditions():
                self._conditions = [each for each in self._conditions if not each[1].done() and not self._test(*each)]

    def _test(self, fn: Callable[[], bool], future: asyncio.Future[None]) -> bool:
        with self.read_only("a condition"):
            is_true = fn()
        if is_true:
            future.set_result(None)
        return bool(is_true)

    # -- how the code ends

    async def _guard(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """What fails what: see Temporal's Python SDK."""
        try:
            await coroutine
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - becomes the run's failure, or the task's
            if not self.loop.is_unwound:
                self.end(error)

    def end(self, error: BaseException) -> None:
        """The code has raised: cancel the run, fail it, or fail the task."""
        failure = error
        if isinstance(error, asyncio.CancelledError) and not isinstance(error, CancelledFailure):
            failure = CancelledFailure(str(error) or "Cancelled")
        if self._is_cancel_requested and _is_cancellation(failure):
            self.close(CancelWorkflowExecution())
        elif self.is_failure(failure):
            self.close(FailWorkflowExecution(failure=self._definition.failures.to_failure(failure)))
        else:
            self._task_error = error

    def close(self, command: CompleteWorkflowExecution | FailWorkflowExecution | CancelWorkflowExecution) -> None:
        """End the run."""
        self.is_closed = True
        self.ledger.add(command)

    def is_failure(self, error: BaseException) -> bool:
        """Whether an exception fails the run, or an update, rather than the task."""
        return isinstance(error, self._failure_types)

    def fail_task(self, error: BaseException) -> None:
        """Fail the task as soon as the code lets go."""
        self._task_error = error

    def unfinished_handlers(self) -> tuple[str, ...]:
        """Names of the handlers that are running."""
        return tuple(self._handlers.values())

    def unwind(self) -> None:
        """Let go of the code."""
        self.replaying = True
        self.loop.unwind()
        self._conditions.clear()
        self._activities.clear()
        self._timers.clear()

    # -- what the code may not do

    @contextmanager
    def read_only(self, by: str) -> Generator[None]:
        """Refuse whatever would start, wake or command something."""
        self._read_only = by
        self.loop.set_read_only(True)
        try:
            yield
        finally:
            self._read_only = None
            self.loop.set_read_only(False)

    def check_writable(self, what: str) -> None:
        """Refuse `what` where nothing may change.

        Raises:
            ReadOnlyContextError: It may not.
        """
        if self._read_only is not None:
            raise ReadOnlyContextError(
                f"{self._read_only} must change nothing: expected it to read the workflow's state and return, found "
                f"that it tried to {what}. Move that to a signal, an update or `run`."
            )

    def raises_on_cancelling_completed(self) -> bool:
        """Whether the Python SDK's flag 1 is in force; using it records it."""
        if self.replaying and RAISE_ON_CANCELLING_COMPLETED_ACTIVITY not in self.flags:
            return False
        self.used_flags.add(RAISE_ON_CANCELLING_COMPLETED_ACTIVITY)
        return True

    # -- what the code sees

    def info(self) -> Info:
        """What is known of the run."""
        if self._info is None:
            raise WorkflowTaskError("the history does not begin with WorkflowExecutionStarted")
        return self._info

    def time_ns(self) -> int:
        """Workflow time: nanoseconds since the Unix epoch."""
        return self.loop.time_ns

    def random(self) -> random.Random:
        """The run's generator of random numbers."""
        self.check_writable("draw a random number")
        if self._random is None:
            self._random = random.Random(seed_of(self._run_id))  # noqa: S311 - not for secrets; replay draws the same
        return self._random

    def reseed(self, run_id: str) -> None:
        """Draw as the run `run_id` does from now on: a reset made that run out of this one's history."""
        self._random = self._random or random.Random()  # noqa: S311 - as above; whoever holds it draws anew as well
        self._random.seed(seed_of(run_id))

    def is_replaying(self) -> bool:
        """Whether the code that runs now has run before."""
        return self.replaying or self._read_only == "a query"

    def is_silent(self) -> bool:
        """Whether log lines are held back."""
        return self.loop.is_unwound or (self.replaying and self._read_only != "a query")

    def all_handlers_finished(self) -> bool:
        """Whether no handler is running."""
        return not self._handlers

    async def sleep(self, seconds: float) -> None:
        """A durable timer."""
        future: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_later(seconds, _wake, future)
        future.add_done_callback(lambda each: timer.cancel() if each.cancelled() else None)
        await future

    async def wait_condition(self, fn: Callable[[], bool], timeout: float | None) -> None:  # noqa: ASYNC109 - the field's name and habit
        """Wait until `fn` returns true."""
        self._check_loop()
        self.check_writable("wait for a condition")
        future: asyncio.Future[None] = self.loop.create_future()
        self._conditions.append((fn, future))
        await asyncio.wait_for(future, timeout)

    def _start_timer(self, delay: float, handle: Handle) -> asyncio.TimerHandle:
        self._check_loop()
        self.check_writable("start a timer")
        if delay < 0:
            raise ValueError(f"a timer cannot be started {-delay} seconds ago: its delay must not be negative")
        if delay > LONGEST.total_seconds():
            raise ValueError(f"a timer lasts at most {LONGEST.days} days (100 years), not {delay} seconds")
        self._timer_seq += 1
        seq = self._timer_seq
        timer = _TimerHandle(self, seq, self.loop.time() + delay, handle)
        self._timers[seq] = timer
        # A timer takes a whole number of milliseconds, at least one.
        duration = Duration(max(round(delay * 1000), 1) * _MILLISECOND)
        self.ledger.start_timer(seq, StartTimer(timer_id=str(seq), start_to_fire_timeout=duration))
        return timer

    def cancel_timer(self, seq: int) -> None:
        """Cancel a timer that has not fired."""
        if self._timers.pop(seq, None) is not None and not self.loop.is_unwound:
            self.ledger.cancel_timer(seq)

    def start_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: ActivityOptions,
    ) -> ActivityHandle[T]:
        """Start an activity."""
        self._check_loop()
        self.check_writable("start an activity")
        call = StartActivity(activity=activity, request=request, options=options)
        start: Callable[[StartActivity], Awaitable[Any]] = self._start_activity  # of whatever the activity returns
        for interceptor in reversed(self._definition.interceptors):
            start = _within(interceptor.start_activity, start)
        started = start(call)
        if isinstance(started, ActivityHandle):
            return started

        async def answer() -> Any:  # noqa: ANN401 - what an interceptor puts in place of the activity's result
            return await started

        return _Intercepted(answer(), self.loop, f"activity {activity.name}")

    def _start_activity(self, call: StartActivity) -> ActivityHandle[Any]:
        activity, options, info = call.activity, call.options, self.info()
        request = self._definition.converter.to_payloads(activity.request, call.request, f"request of {activity.name}")
        schedule_to_close = options.get("schedule_to_close_timeout", activity.schedule_to_close_timeout)
        start_to_close = options.get("start_to_close_timeout", activity.start_to_close_timeout)
        if start_to_close is None and schedule_to_close is None:
            raise ValueError(
                f"activity {activity.name} needs a start_to_close_timeout or a schedule_to_close_timeout: this call "
                "took both away"
            )
        self._activity_seq += 1
        seq = self._activity_seq
        task: _ActivityTask[Any] = _ActivityTask(self, seq, activity)
        self._activities[seq] = task
        command = ScheduleActivityTask(
            activity_id=options.get("activity_id", str(seq)),
            activity_type=activity.name,
            task_queue=options.get("task_queue", activity.task_queue or info.task_queue),
            header=call.headers,
            input=request,
            retry_policy=option.retry_policy(options.get("retry_policy", activity.retry_policy)),
            priority_key=options.get("priority", activity.priority).priority_key or 0,
            schedule_to_close_timeout=option.duration(schedule_to_close),
            schedule_to_start_timeout=option.duration(
                options.get("schedule_to_start_timeout", activity.schedule_to_start_timeout)
            ),
            start_to_close_timeout=option.duration(start_to_close),
            heartbeat_timeout=option.duration(options.get("heartbeat_timeout", activity.heartbeat_timeout)),
        )
        kind = options.get("cancellation_type", activity.cancellation_type)
        self.ledger.schedule_activity(seq, command, kind)
        return task

    def _check_loop(self) -> None:
        if self.loop.is_unwound:
            raise Unwinding


class _Intercepted(Task[T], ActivityHandle[T]):
    """What an interceptor made of an activity."""


async def _shielded(future: asyncio.Future[T]) -> T:
    """As `asyncio.shield`, in as many turns, but for newer Pythons' report of failures that nobody awaits any more."""
    outer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(_: asyncio.Future[T]) -> None:
        _wake(outer)

    future.add_done_callback(done)
    try:
        await outer
    except asyncio.CancelledError:
        future.remove_done_callback(done)
        raise
    return future.result()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _within(
    hook: Callable[[StartActivity, Callable[[StartActivity], Awaitable[Any]]], Awaitable[Any]],
    inner: Callable[[StartActivity], Awaitable[Any]],
) -> Callable[[StartActivity], Awaitable[Any]]:
    return lambda call: hook(call, inner)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, ActivityError):
        return isinstance(error.cause, CancelledFailure)
    return isinstance(error, CancelledFailure)
