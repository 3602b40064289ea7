"""Runs attempts of activities: `async def` ones on the caller's loop, plain ones in threads.

The shell says which attempt to start and which to cancel, and is told of heartbeats and of the one outcome of each
attempt. Nothing here knows of retries, time-outs or the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TypeAlias

from protopact import activity
from protopact.activity import CancellationReason, Info
from protopact.embedded.clock import Clock
from protopact.embedded.context import Flag, LocalContext
from protopact.embedded.heartbeat import Heartbeats, throttle_interval
from protopact.embedded.retry import next_attempt, what_follows, with_defaults
from protopact.embedded.tokens import TaskToken
from protopact.embedded.watchdog import Watchdog
from protopact.errors import ApplicationError, CancelledError, FailureError, PayloadSizeError, ServerError, TimeoutType
from protopact.executor import ThreadExecutor
from protopact.failure import SOURCE, FailureConverter, attempt_error
from protopact.history import event
from protopact.history.failure import ApplicationFailureInfo, CanceledFailureInfo, Failure
from protopact.history.time import Duration, Timestamp, to_datetime, to_timedelta
from protopact.interceptor import ExecuteActivity, Interceptor
from protopact.payload import CodecChain, PayloadConverter
from protopact.payload.payload import Headers, Payload, Payloads
from protopact.policy import Priority, RetryPolicy
from protopact.worker import RegisteredActivity, Registry

__all__ = [
    "Attempt",
    "AttemptKey",
    "AttemptRunner",
    "Cancelled",
    "Completed",
    "Failed",
    "HandedBack",
    "Outcome",
    "WillCompleteAsync",
]

_logger = logging.getLogger(__name__)

_NAMESPACE = "default"
_NO_TIMEOUT = Duration(0)
_UNWIND_SECONDS = 1.0
"""How long an activity that was cancelled at the end of the grace period has for its `finally` blocks."""


AttemptKey: TypeAlias = tuple[int, int, int]
"""Names an attempt: row of the run, event that scheduled the activity, number of the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of an activity, as the shell hands it out. Payloads are as on disk: the codec chain's.

    Attributes:
        key: Names the attempt; unlike the key of any other attempt that this process has started.
        activity_type: Registered name that the activity was scheduled under.
        activity_id: Id of the activity within its run.
        workflow_id: Id of the workflow.
        run_id: Run that scheduled it.
        workflow_type: Registered name of the workflow.
        task_queue: Queue that it was scheduled on.
        input: The request; no payload for `google.protobuf.Empty`.
        headers: Headers of the activity.
        attempt: Number of the attempt, from 1.
        scheduled_time: When the activity was scheduled.
        attempt_scheduled_time: When this attempt was scheduled; for the first one, `scheduled_time`.
        started_time: When this attempt was recorded as started.
        schedule_to_close_timeout: 0 is none, as for the other time-outs.
        start_to_close_timeout: Limit of this attempt.
        heartbeat_timeout: Longest silence.
        retry_policy: Retry policy of the activity.
        heartbeat_details: Details of the last heartbeat of the attempts before.
        priority: Its place among the tasks of its queue.
        is_local: Whether its workflow task waits for it.
        function: What to run in place of a registered activity; its result is details.
    """

    key: AttemptKey
    activity_type: str
    activity_id: str
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    input: Payloads = ()
    headers: Headers = field(default_factory=dict[str, Payload])
    attempt: int = 1
    scheduled_time: Timestamp
    attempt_scheduled_time: Timestamp
    started_time: Timestamp
    schedule_to_close_timeout: Duration = _NO_TIMEOUT
    start_to_close_timeout: Duration = _NO_TIMEOUT
    heartbeat_timeout: Duration = _NO_TIMEOUT
    retry_policy: event.RetryPolicy | None = None
    heartbeat_details: Payloads = ()
    priority: event.Priority | None = None
    is_local: bool = False
    function: Callable[[], Awaitable[Sequence[object]]] | None = None

    @property
    def name(self) -> str:
        """What it is, for logs."""
        which = f"id {self.activity_id}, attempt {self.attempt}, workflow {self.workflow_id}"
        return f"activity {self.activity_type} ({which})"

    @property
    def limit(self) -> tuple[Timestamp, TimeoutType] | None:
        """When it passes its own limit or its activity's, and which; of both at once it is the activity's."""
        limits = list[tuple[Timestamp, TimeoutType]]()
        if self.schedule_to_close_timeout:
            whole = Timestamp(self.scheduled_time + self.schedule_to_close_timeout)
            limits.append((whole, TimeoutType.SCHEDULE_TO_CLOSE))
        if self.start_to_close_timeout:
            limits.append((Timestamp(self.started_time + self.start_to_close_timeout), TimeoutType.START_TO_CLOSE))
        return min(limits, key=lambda limit: limit[0], default=None)


@dataclass(frozen=True, slots=True)
class Completed:
    """The activity returned. `result` is ready for the disk; no payload for `google.protobuf.Empty`."""

    result: Payloads


@dataclass(frozen=True, slots=True)
class Failed:
    """The activity raised, or its request or result was wrong. `failure` is ready for the disk.

    Whether it may be retried, and the wait it asks for, stand in the failure: see `retry.next_attempt`.
    """

    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The activity ended as its cancellation asked. `details` are ready for the disk."""

    details: Payloads = ()


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The worker stopped before the attempt ended: nothing is known of its outcome."""


@dataclass(frozen=True, slots=True)
class WillCompleteAsync:
    """The code has ended and left the attempt open, for whoever has its token."""


Outcome: TypeAlias = Completed | Failed | Cancelled | HandedBack | WillCompleteAsync


class _Running(LocalContext):
    """A running attempt, as its activity sees it."""

    __slots__ = ("_info", "attempt", "heartbeats", "interruptible", "refused", "registered", "task", "thread_name")

    def __init__(
        self,
        attempt: Attempt,
        registered: RegisteredActivity | None,
        *,
        heartbeats: Heartbeats,
        converter: PayloadConverter,
        worker_shutdown: Flag,
    ) -> None:
        super().__init__(converter=converter, worker_shutdown=worker_shutdown, loop_thread=threading.get_ident())
        self.attempt = attempt
        self.registered = registered
        self.heartbeats = heartbeats
        self.refused: PayloadSizeError | None = None
        self.task: asyncio.Task[None] | None = None
        self.thread_name: str | None = None
        self.interruptible = False  # whether the task is in the activity's own `async def`
        self._info: Info | None = None

    @property
    def info(self) -> Info:
        if self._info is None:
            self._info = _info(self.attempt)
        return self._info

    def beat(self, details: Payloads) -> None:
        self.heartbeats.beat(details)

    def interrupt(self, message: str) -> None:
        if self.interruptible and self.task is not None:
            self.task.cancel(message)


class AttemptRunner:
    """Runs attempts. It is made, called and calls back on the loop's thread.

    Callbacks run in the context that the runner was made in, never in an activity's, but perhaps within an activity's
    task: they take note and return; they do not raise.

    Args:
        registry: The activities.
        loop: Loop that `async def` activities run on.
        clock: Clock and timers of the shell.
        converter: Messages to payloads and back.
        failure_converter: Exceptions to failures.
        codecs: Payload codecs of the engine.
        interceptors: Interceptors of the engine, the first one outermost.
        on_heartbeat: Called with details to record, ready for the disk: the first heartbeat of an attempt at once,
            later ones at most every 0.8 of its heartbeat time-out (30 s without one, 60 s at most), the latest details
            winning; what is unrecorded when the attempt fails or is handed back comes right before `on_done`.
        on_done: Called once for each attempt started, with its outcome. Of an attempt that was cancelled because it is
            wanted no more (timed out, not found) the outcome comes as well, perhaps much later.
        max_threads: Plain `def` activities that run at once; more wait for a thread.
        watchdog: Watches the loop while attempts run; one of its own by default. It is closed with the runner.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        converter: PayloadConverter,
        failure_converter: FailureConverter,
        codecs: CodecChain,
        interceptors: Sequence[Interceptor] = (),
        on_heartbeat: Callable[[Attempt, Payloads], None],
        on_done: Callable[[Attempt, Outcome], None],
        max_threads: int,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._registry = registry
        self._loop = loop
        self._clock = clock
        self._converter = converter
        self._failure_converter = failure_converter
        self._codecs = codecs
        self._interceptors = tuple(interceptors)
        self._on_heartbeat = on_heartbeat
        self._on_done = on_done
        self._context = contextvars.copy_context()
        self._executor = ThreadExecutor(max_threads, "protopact-activity")
        self._watchdog = watchdog or Watchdog(loop)
        self._worker_shutdown = Flag()
        self._running: dict[AttemptKey, _Running] = {}

    @property
    def running(self) -> int:
        """Number of attempts that have started and whose `on_done` is still to come."""
        return len(self._running)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt; never calls back before it returns."""
        registered = self._registry.activities.get(attempt.activity_type)
        heartbeats = Heartbeats(
            loop=self._loop,
            clock=self._clock,
            codecs=self._codecs,
            interval=throttle_interval(attempt.heartbeat_timeout),
            name=f"the heartbeat of activity {attempt.activity_type}",
            record=lambda details: self._context.copy().run(self._on_heartbeat, attempt, details),
            refuse=lambda error: self._refuse(attempt.key, error),
        )
        running = _Running(
            attempt,
            registered,
            heartbeats=heartbeats,
            converter=self._converter,
            worker_shutdown=self._worker_shutdown,
        )
        self._running[attempt.key] = running
        self._watchdog.begin()
        context = self._context.copy()
        context.run(activity.current.set, running)
        # Not the loop's task factory: an eager one would run the activity within this call.
        running.task = asyncio.Task(self._run(running), loop=self._loop, name=running.attempt.name, context=context)

    def cancel(self, key: AttemptKey, reason: CancellationReason) -> None:
        """Deliver a cancellation, at once; the first reason stands. Unknown keys are ignored: the attempt has ended."""
        if (running := self._running.get(key)) is not None:
            running.cancel(reason)

    def _refuse(self, key: AttemptKey, error: PayloadSizeError) -> None:
        """A heartbeat does not fit: as on the server, the attempt fails with that, whatever it does from now on."""
        if (running := self._running.get(key)) is not None:
            running.refused = error
            running.cancel(CancellationReason.CANCEL_REQUESTED)

    async def stop(self, grace: timedelta) -> None:
        """Stop: let attempts go on for `grace`, cancel the rest, hand back what does not end within another second.

        Every attempt has had its `on_done` when this returns or raises. A thread that does not end goes on as a daemon,
        which ends with the process; a log line names it. Times are the loop's.
        """
        self._worker_shutdown.set()
        try:
            await self._wait(grace.total_seconds())
            for running in self._running.values():
                running.cancel(CancellationReason.WORKER_SHUTDOWN)
            await self._wait(_UNWIND_SECONDS)
        finally:
            for running in list(self._running.values()):
                self._abandon(running, grace)
            self._executor.shutdown()
            self._watchdog.close()

    async def _wait(self, seconds: float) -> None:
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def _abandon(self, running: _Running, grace: timedelta) -> None:
        where = f"thread {running.thread_name}" if running.thread_name else "its task"
        _logger.warning(
            "%s did not end within the worker's grace period of %s, nor when it was cancelled: "
            "it is handed back, and %s goes on until the process ends",
            running.attempt.name,
            grace,
            where,
        )
        self._finish(running, HandedBack())

    def _finish(self, running: _Running, outcome: Outcome) -> None:
        if self._running.pop(running.attempt.key, None) is not None:
            running.task = None  # which holds the context, which holds `running`: no work for the garbage collector
            running.heartbeats.close()
            self._watchdog.end()
            self._context.copy().run(self._on_done, running.attempt, outcome)

    async def _run(self, running: _Running) -> None:
        try:
            outcome = await self._outcome(running)
            if not isinstance(outcome, Completed):
                await running.heartbeats.flush()
            if running.refused is not None:
                outcome = Failed(await self._failure(running, running.refused))
        except BaseException:
            # The loop is being torn down, or Ctrl-C struck within the activity.
            self._finish(running, HandedBack())
            raise
        self._finish(running, outcome)

    async def _outcome(self, running: _Running) -> Outcome:
        try:
            return Completed(await self._execute(running))
        except activity.CompleteAsync:
            return WillCompleteAsync()
        except (asyncio.CancelledError, CancelledError) as error:
            match running.cancellation_reason:
                case CancellationReason.WORKER_SHUTDOWN:
                    return HandedBack()
                case None:
                    return Failed(await self._failure(running, error))
                case _:
                    return Cancelled(await self._cancellation_details(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit in an activity ends the activity, not the worker
            return Failed(await self._failure(running, error))

    async def _execute(self, running: _Running) -> Payloads:
        attempt, registered = running.attempt, running.registered
        if attempt.function is not None:
            running.interruptible = True
            try:
                return await self._codecs.encode(self._converter.to_details(await attempt.function()))
            finally:
                running.interruptible = False
        if registered is None:
            raise ApplicationError(
                f"activity {attempt.activity_type} is not registered on this worker; it has: "
                f"{', '.join(sorted(self._registry.activities)) or 'none'}",
                type="NotFoundError",
            )
        element = registered.contract
        payloads, headers = attempt.input, attempt.headers
        running.details = attempt.heartbeat_details
        if self._codecs:
            payloads = await self._codecs.decode(payloads)
            headers = await self._codecs.decode_headers(headers)
            running.details = await self._codecs.decode(running.details)
        request = self._converter.from_payloads(element.request, payloads, where=f"request of activity {element.name}")
        call = ExecuteActivity(activity=element, request=request, headers=headers)
        result = await self._intercepted(running, registered, call)
        payloads = self._converter.to_payloads(element.response, result, where=f"response of activity {element.name}")
        return await self._codecs.encode(payloads)

    async def _intercepted(self, running: _Running, registered: RegisteredActivity, call: ExecuteActivity) -> object:
        hook: Callable[[ExecuteActivity], Awaitable[object]] = partial(self._call, running, registered)
        for interceptor in reversed(self._interceptors):
            hook = partial(interceptor.execute_activity, next_hook=hook)
        running.raise_if_cancelled()
        running.interruptible = registered.is_async
        try:
            return await hook(call)
        finally:
            running.interruptible = False

    async def _call(self, running: _Running, registered: RegisteredActivity, call: ExecuteActivity) -> object:
        empty = registered.contract.request.type is type(None)
        function = registered.method if empty else partial(registered.method, call.request)
        result = function() if registered.is_async else await self._in_thread(running, function)
        if inspect.isawaitable(result):
            # A plain function that returns an awaitable, as decorators around `async def` do, is awaited here.
            running.interruptible = True
            result = await result
        return result

    async def _in_thread(self, running: _Running, function: Callable[[], object]) -> object:
        loop = self._loop
        ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def resolve(value: object, error: BaseException | None) -> None:
            if not ended.cancelled():
                ended.set_result((value, error))

        def work() -> None:
            value, error = None, None
            try:
                running.thread_name = threading.current_thread().name
                running.raise_if_cancelled()  # it may have waited long for this thread
                value = function()
            except BaseException as caught:  # noqa: BLE001 - whatever it is, it belongs to the attempt
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped without this thread
                loop.call_soon_threadsafe(resolve, value, error)

        self._executor.submit(work, contextvars.copy_context())
        value, error = await ended
        if error is not None:
            raise error
        return value

    async def _failure(self, running: _Running, error: BaseException) -> Failure:
        error.__traceback__ = _without_our_frames(error.__traceback__)
        failure = await self._written(attempt_error(error))
        follows = self._what_follows(running, failure)
        _logger.warning("%s failed: %s; %s", running.attempt.name, _summary(failure), follows)
        _logger.debug("%s failed with:", running.attempt.name, exc_info=error)
        return failure

    def _what_follows(self, running: _Running, failure: Failure) -> str:
        attempt, reason = running.attempt, running.cancellation_reason
        if reason in {CancellationReason.TIMED_OUT, CancellationReason.NOT_FOUND}:
            return "nobody waits for it any more"
        limit = attempt.schedule_to_close_timeout
        decided = next_attempt(
            attempt.retry_policy,
            failure,
            attempt=attempt.attempt,
            now=self._clock.now(),
            expiration=Timestamp(attempt.scheduled_time + limit) if limit else None,
            cancel_requested=reason is CancellationReason.CANCEL_REQUESTED,
        )
        return what_follows(decided, attempt.attempt)

    async def _written(self, error: BaseException) -> Failure:
        if isinstance(error, PayloadSizeError):
            # As the Temporal server refuses it: the next attempt would fail alike.
            error = _caused(ServerError(str(error), non_retryable=True), error)
        elif isinstance(error, asyncio.CancelledError):
            # As Temporal's SDK: the activity cancelled itself, or awaited what somebody else had cancelled.
            error = _caused(ApplicationError(str(error) or "Cancelled", type="CancelledError"), error)
        failure = self._failure_converter.to_failure(error)
        try:
            return await self._codecs.encode_failure(failure)
        except Exception as refused:  # noqa: BLE001 - the attempt must end, whatever the user's codec raises
            activity.logger.exception("the failure of the attempt cannot be encoded by the payload codecs")
            # No payload is left in it, so it can be written as it is.
            message = f"the failure of the activity cannot be encoded by the payload codecs: {refused}"
            return Failure(message, ApplicationFailureInfo(type=type(error).__name__), SOURCE)

    async def _cancellation_details(self, error: BaseException) -> Payloads:
        if not isinstance(error, CancelledError) or not error.details:
            return ()
        failure = await self._written(error)
        return failure.info.details if isinstance(failure.info, CanceledFailureInfo) else ()


def _summary(failure: Failure) -> str:
    """Type and message of a failure, in one line."""
    message = " ".join(failure.message.split())
    name = failure.info.type if isinstance(failure.info, ApplicationFailureInfo) else ""
    return f"{name}: {message}" if name and message else message or name


def _caused(error: FailureError, cause: BaseException) -> FailureError:
    error.__cause__ = cause
    return error


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """What of a traceback is the user's: without the frames at its beginning that are the engine's."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get("__name__") == __name__:
        inner = inner.tb_next
    return inner or trace


def _info(attempt: Attempt) -> Info:
    return Info(
        activity_id=attempt.activity_id,
        activity_type=attempt.activity_type,
        attempt=attempt.attempt,
        namespace=_NAMESPACE,
        workflow_id=attempt.workflow_id,
        workflow_run_id=attempt.run_id,
        workflow_type=attempt.workflow_type,
        task_queue=attempt.task_queue,
        scheduled_time=to_datetime(attempt.scheduled_time),
        current_attempt_scheduled_time=to_datetime(attempt.attempt_scheduled_time),
        started_time=to_datetime(attempt.started_time),
        schedule_to_close_timeout=_timeout(attempt.schedule_to_close_timeout),
        start_to_close_timeout=_timeout(attempt.start_to_close_timeout),
        heartbeat_timeout=_timeout(attempt.heartbeat_timeout),
        retry_policy=_retry_policy(attempt.retry_policy),
        priority=_priority(attempt.priority),
        is_local=attempt.is_local,
        task_token=b""
        if attempt.is_local
        else TaskToken(attempt.workflow_id, attempt.run_id, attempt.key[1], attempt.attempt).encode(),
    )


def _timeout(value: Duration) -> timedelta | None:
    return to_timedelta(value) if value else None


def _priority(recorded: event.Priority | None) -> Priority:
    if recorded is None:
        return Priority()
    return Priority(
        priority_key=recorded.priority_key or None,
        fairness_key=recorded.fairness_key or None,
        fairness_weight=recorded.fairness_weight or None,
    )


def _retry_policy(recorded: event.RetryPolicy | None) -> RetryPolicy | None:
    if recorded is None:
        return None
    recorded = with_defaults(recorded)
    return RetryPolicy(
        initial_interval=to_timedelta(recorded.initial_interval),
        backoff_coefficient=recorded.backoff_coefficient,
        maximum_interval=to_timedelta(recorded.maximum_interval),
        maximum_attempts=recorded.maximum_attempts,
        non_retryable_error_types=recorded.non_retryable_error_types,
    )
