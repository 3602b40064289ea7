"""The running activity that runs in this process: what its code gets when it asks `protopact.activity`."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from protopact.activity import CancellationReason, Context
from protopact.errors import CancelledError
from protopact.payload import PayloadConverter, Payloads

__all__ = ["Flag", "LocalContext"]

T = TypeVar("T")

_lock = threading.Lock()
"""Held for the time of an assignment: threads of activities against the loop's."""


class Flag:
    """Something that happens once; tasks of the loop and threads can wait for it."""

    __slots__ = ("_event", "_thread_event")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._thread_event = threading.Event()

    def set(self) -> None:
        """Say that it has happened. On the loop's thread."""
        self._event.set()
        self._thread_event.set()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._thread_event.is_set()

    async def wait(self) -> None:
        """Wait until it has happened."""
        await self._event.wait()

    def wait_sync(self, timeout: timedelta | float | None) -> bool:
        """Block until it has happened or the time (a timedelta, or seconds) is over; whether it has happened."""
        return self._thread_event.wait(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


class LocalContext(Context):
    """An activity in this process.

    Args:
        converter: For details of heartbeats.
        worker_shutdown: Set when the worker begins to stop.
        loop_thread: Thread in which a cancellation comes as `asyncio.CancelledError`, so that heartbeats do not raise.

    Attributes:
        details: Details of the last heartbeat of the attempts before, decoded by the codecs.
    """

    __slots__ = (
        "_cancelled",
        "_converter",
        "_loop_thread",
        "_reason",
        "_shielded",
        "_shields",
        "_worker_shutdown",
        "details",
    )

    def __init__(self, *, converter: PayloadConverter, worker_shutdown: Flag, loop_thread: int | None) -> None:
        self.details: Payloads = ()
        self._converter = converter
        self._worker_shutdown = worker_shutdown
        self._loop_thread = loop_thread
        self._reason: CancellationReason | None = None
        self._cancelled: Flag | None = None
        self._shields = 0
        self._shielded = False

    @abstractmethod
    def beat(self, details: Payloads) -> None:
        """Take a heartbeat, from any thread.

        Raises:
            PayloadSizeError: It is too large.
        """

    @abstractmethod
    def interrupt(self, message: str) -> None:
        """A cancellation strikes: cancel the activity's task, if it runs in one."""

    @property
    def cancellation_reason(self) -> CancellationReason | None:
        """See `Context`."""
        return self._reason

    @property
    def is_worker_shutdown(self) -> bool:
        """See `Context`."""
        return self._worker_shutdown.is_set()

    def cancel(self, reason: CancellationReason) -> None:
        """Deliver a cancellation; the first reason stands."""
        with _lock:
            self._reason = self._reason or reason
            flag = self._cancelled
        if flag is not None:
            flag.set()
        self.interrupt(f"activity cancelled: {self._reason.value}")

    def raise_if_cancelled(self) -> None:
        """Raise when it was cancelled.

        Raises:
            CancelledError: It was.
        """
        if self._reason is not None:
            raise CancelledError(f"activity cancelled: {self._reason.value}")

    def heartbeat(self, *details: object) -> None:
        """See `Context`."""
        self.beat(self._converter.to_details(details))
        if self._reason is None or threading.get_ident() == self._loop_thread:
            return
        if self._shields:
            self._shielded = True
        else:
            self.raise_if_cancelled()

    def heartbeat_details(self, cls: type[T], index: int) -> T | None:
        """See `Context`."""
        if index >= len(self.details):
            return None
        where = f"heartbeat detail {index} of activity {self.info.activity_type}"
        return self._converter.detail_as(self.details[index], cls, where=where)

    async def wait_for_cancelled(self) -> None:
        """See `Context`."""
        await self._cancelled_flag().wait()

    def wait_for_cancelled_sync(self, timeout: timedelta | float | None) -> bool:
        """See `Context`."""
        return self._cancelled_flag().wait_sync(timeout)

    async def wait_for_worker_shutdown(self) -> None:
        """See `Context`."""
        await self._worker_shutdown.wait()

    def wait_for_worker_shutdown_sync(self, timeout: timedelta | float | None) -> bool:
        """See `Context`."""
        return self._worker_shutdown.wait_sync(timeout)

    @contextmanager
    def shield_thread_cancel_exception(self) -> Generator[None]:
        """See `Context`."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._shielded and not self._shields:
                self._shielded = False
                self.raise_if_cancelled()

    def _cancelled_flag(self) -> Flag:
        # Few activities wait for their cancellation, so what that takes is made when it is asked for.
        with _lock:
            if self._cancelled is None:
                self._cancelled = Flag()
                if self._reason is not None:
                    self._cancelled.set()
            return self._cancelled
