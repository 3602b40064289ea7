"""Activities: the root of the generated base classes, and what the code of an activity may call.

The words are those of Temporal's Python SDK. The functions find the running activity in a context variable: it is there
in the activity's own task or thread, in tasks that it creates, and in `asyncio.to_thread`; a thread that the activity
starts by hand needs `contextvars.copy_context().run`.

Cancellation reaches an activity on the embedded engine at once; on Temporal only with the answer to a heartbeat, so an
activity that should be cancellable heartbeats. An `async def` activity gets `asyncio.CancelledError` at its `await`; a
plain `def` activity asks `is_cancelled`, waits with `wait_for_cancelled_sync`, or gets `protopact.CancelledError` from
`heartbeat`. `cancellation_reason` says why. An activity that ends with the exception is recorded as cancelled; one that
returns all the same has completed.
"""

from __future__ import annotations

import contextvars
import logging
from abc import ABC, abstractmethod
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NoReturn, TypeVar

from protopact import contract
from protopact.errors import NotInActivityError, OptionError
from protopact.policy import Priority, RetryPolicy

__all__ = [
    "Activities",
    "CancellationReason",
    "CompleteAsync",
    "Context",
    "Info",
    "cancellation_reason",
    "current",
    "heartbeat",
    "heartbeat_details",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]

T = TypeVar("T")


class Activities(ABC):
    """Root of the generated `Activities` classes, one per service.

    A generated class has one abstract method per activity; an implementation writes each as `async def`, which runs on
    the worker's event loop, or as plain `def`, which runs in a thread. Instances are given to a worker, with what they
    need injected by their own constructor.
    """

    @classmethod
    @abstractmethod
    def __protopact__(cls) -> contract.Service:
        """The service whose activities these are."""


class CancellationReason(Enum):
    """Why an activity was cancelled."""

    CANCEL_REQUESTED = "cancel requested"
    """Its workflow cancelled it."""

    TIMED_OUT = "timed out"
    """It passed one of its time-outs; what it returns is not recorded any more."""

    NOT_FOUND = "not found"
    """Its run has closed; what it returns is not recorded any more."""

    WORKER_SHUTDOWN = "worker shutdown"
    """The worker stops, and its grace period is over; another worker runs the activity again."""

    PAUSED = "paused"
    """An operator has paused it, which only Temporal's can; it runs again when it is unpaused."""

    RESET = "reset"
    """An operator has reset it, which only Temporal's can; it runs again from its first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of the running attempt. Times are UTC; a time-out of None is not set.

    Attributes:
        activity_id: Id of the activity within its run.
        activity_type: Registered name that it was called under.
        attempt: Number of this attempt, from 1.
        namespace: Namespace of the workflow.
        workflow_id: Workflow that called it.
        workflow_run_id: Run that called it.
        workflow_type: Registered name of that workflow.
        task_queue: Queue that it was scheduled on.
        scheduled_time: When it was first scheduled.
        current_attempt_scheduled_time: When this attempt was scheduled.
        started_time: When this attempt started.
        schedule_to_close_timeout: Limit from the first scheduling to the end, retries included.
        start_to_close_timeout: Limit of one attempt.
        heartbeat_timeout: Longest silence between two heartbeats.
        retry_policy: How it is retried; None where a server does not say it.
        priority: Its place among the tasks of its queue.
        is_local: Whether it is a local activity, which its workflow task waits for.
        task_token: Names this attempt to whoever completes it from outside, by `Engine.async_activity_handle`: bytes of
            the engine's own. Empty for a local activity, which cannot be completed so.
    """

    activity_id: str
    activity_type: str
    attempt: int
    namespace: str
    workflow_id: str
    workflow_run_id: str
    workflow_type: str
    task_queue: str
    scheduled_time: datetime
    current_attempt_scheduled_time: datetime
    started_time: datetime
    schedule_to_close_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    priority: Priority
    is_local: bool = False
    task_token: bytes = b""


class CompleteAsync(BaseException):
    """Raised by `raise_complete_async`; let it pass.

    It is no `Exception`, so that code which handles failures does not take it for one.
    """


class Context(ABC):
    """The running activity, as its engine knows it; the functions of this module ask the current one.

    Every method may be called from any thread, save the two that are awaited: those belong to the worker's event loop.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def info(self) -> Info:
        """What is known of the attempt."""

    @property
    @abstractmethod
    def cancellation_reason(self) -> CancellationReason | None:
        """Why it was cancelled; None while it is not. Set once."""

    @property
    @abstractmethod
    def is_worker_shutdown(self) -> bool:
        """Whether its worker stops."""

    @abstractmethod
    def heartbeat(self, *details: object) -> None:
        """Record that it is alive."""

    @abstractmethod
    def heartbeat_details(self, cls: type[T], index: int) -> T | None:
        """One of the details that the attempts before recorded."""

    @abstractmethod
    async def wait_for_cancelled(self) -> None:
        """Wait until it is cancelled."""

    @abstractmethod
    def wait_for_cancelled_sync(self, timeout: timedelta | float | None) -> bool:
        """Block until it is cancelled or the time is over; whether it is cancelled."""

    @abstractmethod
    async def wait_for_worker_shutdown(self) -> None:
        """Wait until the worker stops."""

    @abstractmethod
    def wait_for_worker_shutdown_sync(self, timeout: timedelta | float | None) -> bool:
        """Block until the worker stops or the time is over; whether it stops."""

    @abstractmethod
    def shield_thread_cancel_exception(self) -> AbstractContextManager[None]:
        """Hold the exception of a cancellation back while the block runs."""


current: contextvars.ContextVar[Context] = contextvars.ContextVar("protopact.activity")
"""The running activity. Engines set it, nobody else."""


def _context() -> Context:
    try:
        return current.get()
    except LookupError:
        raise NotInActivityError(
            "not in an activity: this is called from the code of an activity, in its own task or thread "
            "(a thread started by hand needs contextvars.copy_context().run)"
        ) from None


def in_activity() -> bool:
    """Whether the calling code runs in an activity."""
    return current.get(None) is not None


def info() -> Info:
    """What is known of the running attempt.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().info


def heartbeat(*details: object) -> None:
    """Say that the activity is alive, and record how far it is.

    Heartbeats are cheap: the engine records the first at once, then the latest at most every 0.8 of the heartbeat
    time-out (at most every 30 s without one). The latest details reach the next attempt, through `heartbeat_details`.

    Args:
        *details: Messages of the contract, or JSON values.

    Raises:
        NotInActivityError: Not in an activity.
        PayloadError: A detail cannot be written.
        CancelledError: The activity was cancelled, and this is not the thread of the event loop; the heartbeat is
            recorded all the same. See `shield_thread_cancel_exception`.
    """
    _context().heartbeat(*details)


def heartbeat_details(cls: type[T], /, *, index: int = 0) -> T | None:
    """What the last heartbeat of the attempts before recorded.

    Args:
        cls: Class of the detail: a message of the contract, or `str`, `int`, `float`, `bool`, `list` or `dict`.
        index: Which of the details of that heartbeat, from 0.

    Returns:
        The detail; None when no attempt has recorded one.

    Raises:
        NotInActivityError: Not in an activity.
        PayloadError: The detail is not of that class.
    """
    return _context().heartbeat_details(cls, index)


def raise_complete_async() -> NoReturn:
    """End the code of the activity and leave the activity open: `Engine.async_activity_handle` completes it later.

    Hand `info().task_token` out before. The time-outs of the attempt go on: without its completion, or a heartbeat of
    the handle, the attempt times out and is tried again, under another token.

    Raises:
        CompleteAsync: Always; let it pass.
        NotInActivityError: Not in an activity.
        OptionError: In a local activity, which its workflow task waits for.
    """
    known = _context().info
    if known.is_local:
        raise OptionError(
            f"activity {known.activity_type} is called as a local activity, which cannot be completed from outside; "
            "call it as an ordinary one"
        )
    raise CompleteAsync


def is_cancelled() -> bool:
    """Whether the activity was cancelled.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().cancellation_reason is not None


def cancellation_reason() -> CancellationReason | None:
    """Why the activity was cancelled; None while it is not. It does not change once it is set.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().cancellation_reason


async def wait_for_cancelled() -> None:
    """Wait until the activity is cancelled; for tasks beside the activity's own, which is cancelled itself.

    Raises:
        NotInActivityError: Not in an activity.
    """
    await _context().wait_for_cancelled()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> bool:
    """Block the thread of a plain `def` activity until the activity is cancelled.

    Args:
        timeout: Longest wait, in real time, as a timedelta or in seconds; None waits for ever.

    Returns:
        Whether it is cancelled.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().wait_for_cancelled_sync(timeout)


def is_worker_shutdown() -> bool:
    """Whether the worker stops: the activity has the rest of the grace period to end or to record where it is.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().is_worker_shutdown


async def wait_for_worker_shutdown() -> None:
    """Wait until the worker stops.

    Raises:
        NotInActivityError: Not in an activity.
    """
    await _context().wait_for_worker_shutdown()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> bool:
    """Block the thread of a plain `def` activity until the worker stops.

    Args:
        timeout: Longest wait, in real time, as a timedelta or in seconds; None waits for ever.

    Returns:
        Whether it stops.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().wait_for_worker_shutdown_sync(timeout)


def shield_thread_cancel_exception() -> AbstractContextManager[None]:
    """Hold back the `CancelledError` that `heartbeat` raises in threads, for the time of a `with` block.

    When a heartbeat within the block would have raised, the end of the outermost block raises instead.

    Raises:
        NotInActivityError: Not in an activity.
    """
    return _context().shield_thread_cancel_exception()


# What a logging call passes through is the logging module's own business, not ours to type.
class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Adds the running attempt to each record: at the message's end, and as the record's attribute `activity`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:  # noqa: ANN401
        """Add the attempt."""
        context = current.get(None)
        if context is None:
            return msg, kwargs
        attempt = context.info
        details = {
            "activity_id": attempt.activity_id,
            "activity_type": attempt.activity_type,
            "attempt": attempt.attempt,
            "namespace": attempt.namespace,
            "task_queue": attempt.task_queue,
            "workflow_id": attempt.workflow_id,
            "workflow_run_id": attempt.workflow_run_id,
            "workflow_type": attempt.workflow_type,
        }
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "activity": details}
        return f"{msg} ({details})", kwargs


logger: logging.LoggerAdapter[logging.Logger] = _Logger(logging.getLogger(__name__))
"""Logger that adds the running attempt to each record; outside activities an ordinary logger."""
