"""Generated activities as Temporal activities, and what their code gets when it asks `protopact.activity`.

The SDK sees `async def` functions only, which take and return raw payloads: plain `def` activities run in daemon
threads, as on the embedded engine, so that one that never ends does not hold the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

import temporalio.activity
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError as TemporalApplicationError
from temporalio.exceptions import ApplicationErrorCategory

from protopact import activity
from protopact.activity import CancellationReason, Context, Info
from protopact.errors import ApplicationError, CancelledError, PayloadSizeError, ServerError
from protopact.executor import ThreadExecutor
from protopact.failure import attempt_error, worker_shutdown
from protopact.interceptor import ExecuteActivity, Interceptor
from protopact.payload import PayloadConverter
from protopact.payload.sizes import check_size
from protopact.policy import Priority, RetryPolicy
from protopact.temporal import side_effects
from protopact.temporal.conversion import cancelled_as
from protopact.temporal.failures import TemporalFailures
from protopact.temporal.headers import received_headers
from protopact.temporal.payloads import from_proto, to_raw_values
from protopact.temporal.run import NO_REQUEST
from protopact.worker import RegisteredActivity, Registry

__all__ = ["Activities"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Activities:
    """The activities of a worker.

    Args:
        registry: What the worker serves.
        converter: Messages to payloads and back.
        failures: Exceptions to failures and back.
        interceptors: Hooks around attempts, the first one outermost.
        is_coded: Whether a codec or a storage changes payloads, whose size the server judges then.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        converter: PayloadConverter,
        failures: TemporalFailures,
        interceptors: Sequence[Interceptor],
        is_coded: bool,
    ) -> None:
        self._converter = converter
        self._is_coded = is_coded
        self._failures = failures
        self._interceptors = tuple(interceptors)
        # As many threads as there are slots: the SDK counts those, for each queue, or its tuner does.
        self._executor = ThreadExecutor(None, "protopact-activity")
        self.functions = [self._define(name, each) for name, each in registry.activities.items()]
        """The Temporal activities, with the one that side effects are."""
        self.functions.append(side_effects.activity)

    def close(self) -> None:
        """Let the threads end; one that is busy goes on as a daemon, which ends with the process."""
        self._executor.shutdown()

    def _define(self, name: str, registered: RegisteredActivity) -> Callable[..., Awaitable[RawValue]]:
        async def attempt(request: RawValue = NO_REQUEST) -> RawValue:
            return await self._attempt(registered, request)

        return temporalio.activity.defn(name=name)(attempt)

    async def _attempt(self, registered: RegisteredActivity, raw: RawValue) -> RawValue:
        context = _Attempt(registered, self._converter, is_coded=self._is_coded)
        activity.current.set(context)
        try:
            return await self._execute(context, raw)
        except activity.CompleteAsync:
            temporalio.activity.raise_complete_async()
        except (asyncio.CancelledError, CancelledError) as error:
            raise self._cancelled(context, error) from error
        except (Exception, SystemExit) as error:  # sys.exit in an activity ends the activity, not the worker
            raise self._failed(context, error) from error

    async def _execute(self, context: _Attempt, raw: RawValue) -> RawValue:
        element = context.registered.contract
        payloads = () if raw is NO_REQUEST else (from_proto(raw.payload),)
        request = self._converter.from_payloads(element.request, payloads, f"request of activity {element.name}")
        hook: Callable[[ExecuteActivity], Awaitable[object]] = partial(self._call, context)
        if self._interceptors:
            for interceptor in reversed(self._interceptors):
                hook = partial(interceptor.execute_activity, next_hook=hook)
        result = await hook(ExecuteActivity(activity=element, request=request, headers=received_headers()))
        written = self._converter.to_payloads(element.response, result, f"response of activity {element.name}")
        return to_raw_values(written)[0] if written else NO_REQUEST

    async def _call(self, context: _Attempt, call: ExecuteActivity) -> object:
        registered = context.registered
        empty = registered.contract.request.type is type(None)
        function = registered.method if empty else partial(registered.method, call.request)
        result = function() if registered.is_async else await self._in_thread(context, function)
        if inspect.isawaitable(result):
            # A plain function that returns an awaitable, as decorators around `async def` do, is awaited here.
            result = await result
        return result

    async def _in_thread(self, context: _Attempt, function: Callable[[], object]) -> object:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def resolve(value: object, error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result((value, error))

        def work() -> None:
            value, error = None, None
            try:
                context.raise_if_cancelled()  # it may have waited long for this thread
                value = function()
            except BaseException as caught:  # noqa: BLE001 - whatever it is, it belongs to the attempt
                error = caught
            with suppress(RuntimeError):  # the loop is closed: the worker has stopped without this thread
                loop.call_soon_threadsafe(resolve, value, error)

        self._executor.submit(work, contextvars.copy_context())
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            if not temporalio.activity.is_cancelled():
                raise  # somebody within the worker does not want to wait: a time limit of an interceptor's
            # The thread is told by what it asks, and goes on until it ends; but a worker waits for nobody.
            is_stopping = context.cancellation_reason is CancellationReason.WORKER_SHUTDOWN
            await asyncio.wait([ended], timeout=_UNWIND_SECONDS if is_stopping else None)
            if not ended.done():
                raise
        value, error = ended.result()
        if error is not None:
            raise error
        return value

    def _cancelled(self, context: _Attempt, error: BaseException) -> BaseException:
        """What an attempt ends with that a cancellation ends: its own, the worker's, or one nobody has asked for."""
        match context.cancellation_reason:
            case CancellationReason.WORKER_SHUTDOWN:
                return _AttemptFailedError(self._failures.to_proto(worker_shutdown(context.name)))
            case CancellationReason.TIMED_OUT | CancellationReason.NOT_FOUND:  # nobody waits for it any more
                return _AttemptFailedError(self._failures.to_proto(attempt_error(error)))
            case None if temporalio.activity.is_cancelled():  # a heartbeat could not be sent, and the SDK knows why
                return asyncio.CancelledError()
            case None if not isinstance(error, CancelledError):
                # As the SDK: the activity cancelled itself, or awaited what somebody else had cancelled.
                own = ApplicationError(str(error) or "Cancelled", type="CancelledError")
                own.__cause__ = error
                return self._failed(context, own)
            case None:
                return self._failed(context, error)
            case _:
                if isinstance(error, CancelledError) and error.details:
                    cancelled_as.set(self._failures.to_proto(error))
                return asyncio.CancelledError()

    def _failed(self, context: _Attempt, error: BaseException) -> _AttemptFailedError:
        if isinstance(error, PayloadSizeError):
            # The server would refuse it, and the next attempt would fail alike.
            refused = ServerError(str(error), non_retryable=True)
            refused.__cause__ = error
            error = refused
        proto = self._failures.to_proto(attempt_error(error))
        kind = proto.application_failure_info.type
        message = " ".join(proto.message.split())
        _logger.warning("%s failed: %s", context.name, f"{kind}: {message}" if kind and message else message or kind)
        _logger.debug("%s failed with:", context.name, exc_info=error)
        return _AttemptFailedError(proto)


_UNWIND_SECONDS = 1.0
"""How long an activity in a thread has for its end once the grace period is over."""


class _AttemptFailedError(TemporalApplicationError):
    """The failure of an attempt, as it is written. The SDK, which would log it again, is told that it is benign."""

    def __init__(self, proto: FailureProto) -> None:
        super().__init__(proto.message, category=ApplicationErrorCategory.BENIGN)
        self._failure = proto


class _Attempt(Context):
    """An attempt, as its code sees it; all of it is the SDK's, which finds it in the context of the task or thread."""

    __slots__ = ("_converter", "_info", "_is_coded", "_loop", "_shielded", "_shields", "_thread", "registered")

    def __init__(self, registered: RegisteredActivity, converter: PayloadConverter, *, is_coded: bool) -> None:
        self.registered = registered
        self._is_coded = is_coded
        self._converter = converter
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._info: Info | None = None
        self._shields = 0
        self._shielded = False

    @property
    def name(self) -> str:
        """What it is, for logs."""
        known = self.info
        return (
            f"activity {known.activity_type} (id {known.activity_id}, attempt {known.attempt}, "
            f"workflow {known.workflow_id})"
        )

    @property
    def info(self) -> Info:
        if self._info is None:
            self._info = _info(temporalio.activity.info())
        return self._info

    @property
    def cancellation_reason(self) -> CancellationReason | None:
        details = temporalio.activity.cancellation_details()
        return None if details is None else _reason(details)

    @property
    def is_worker_shutdown(self) -> bool:
        return temporalio.activity.is_worker_shutdown()

    def raise_if_cancelled(self) -> None:
        """Raise when it was cancelled.

        Raises:
            CancelledError: It was.
        """
        reason = self.cancellation_reason
        if reason is not None:
            raise CancelledError(f"activity cancelled: {reason.value}")

    def heartbeat(self, *details: object) -> None:
        payloads = self._converter.to_details(details)
        if not self._is_coded:
            check_size(payloads, f"the heartbeat of activity {self.info.activity_type}")
        values = to_raw_values(payloads)
        if threading.get_ident() == self._thread:
            temporalio.activity.heartbeat(*values)
            return
        with suppress(RuntimeError):  # the loop is closed: the worker has stopped without this thread
            self._loop.call_soon_threadsafe(partial(temporalio.activity.heartbeat, *values))
        if self.cancellation_reason is None:
            return
        if self._shields:
            self._shielded = True
        else:
            self.raise_if_cancelled()

    def heartbeat_details(self, cls: type[T], index: int) -> T | None:
        details: Sequence[RawValue] = temporalio.activity.info().heartbeat_details
        if index >= len(details):
            return None
        where = f"heartbeat detail {index} of activity {self.info.activity_type}"
        return self._converter.detail_as(from_proto(details[index].payload), cls, where=where)

    async def wait_for_cancelled(self) -> None:
        await temporalio.activity.wait_for_cancelled()

    def wait_for_cancelled_sync(self, timeout: timedelta | float | None) -> bool:
        temporalio.activity.wait_for_cancelled_sync(timeout)
        return temporalio.activity.is_cancelled()

    async def wait_for_worker_shutdown(self) -> None:
        await temporalio.activity.wait_for_worker_shutdown()

    def wait_for_worker_shutdown_sync(self, timeout: timedelta | float | None) -> bool:
        temporalio.activity.wait_for_worker_shutdown_sync(timeout)
        return temporalio.activity.is_worker_shutdown()

    @contextmanager
    def shield_thread_cancel_exception(self) -> Generator[None]:
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._shielded and not self._shields:
                self._shielded = False
                self.raise_if_cancelled()


def _reason(details: temporalio.activity.ActivityCancellationDetails) -> CancellationReason | None:
    return next((reason for reason in CancellationReason if getattr(details, reason.name.lower())), None)


def _info(known: temporalio.activity.Info) -> Info:
    policy = known.retry_policy
    return Info(
        activity_id=known.activity_id,
        activity_type=known.activity_type,
        attempt=known.attempt,
        namespace=known.namespace,
        workflow_id=known.workflow_id or "",
        workflow_run_id=known.workflow_run_id or "",
        workflow_type=known.workflow_type or "",
        task_queue=known.task_queue,
        scheduled_time=known.scheduled_time,
        current_attempt_scheduled_time=known.current_attempt_scheduled_time,
        started_time=known.started_time,
        schedule_to_close_timeout=known.schedule_to_close_timeout,
        start_to_close_timeout=known.start_to_close_timeout,
        heartbeat_timeout=known.heartbeat_timeout,
        retry_policy=None
        if policy is None
        else RetryPolicy(
            initial_interval=policy.initial_interval,
            backoff_coefficient=policy.backoff_coefficient,
            maximum_interval=policy.maximum_interval or None,
            maximum_attempts=policy.maximum_attempts,
            non_retryable_error_types=tuple(policy.non_retryable_error_types or ()),
        ),
        priority=Priority(
            priority_key=known.priority.priority_key,
            fairness_key=known.priority.fairness_key,
            fairness_weight=known.priority.fairness_weight,
        ),
        is_local=known.is_local,
        task_token=b"" if known.is_local else known.task_token,
    )
