"""Something outside of the workflow that the code waits for, and that ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from protopact.replay.loop import Loop

__all__ = ["Operation"]

T = TypeVar("T")


class Operation(Generic[T]):
    """An outcome to come, awaited by one task at a time.

    It takes as many turns of the loop as in Temporal's Python SDK: the end wakes a waiter in one turn, the waiter the
    task that awaits it in the next.

    Args:
        loop: The run's loop.

    Attributes:
        has_ended: Whether there is an outcome.
    """

    __slots__ = ("_error", "_loop", "_value", "_waiter", "has_ended")

    def __init__(self, loop: Loop) -> None:
        self.has_ended = False
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a task has begun to wait for it."""
        return self._waiter is not None

    def complete(self, value: T) -> None:
        """It has ended well."""
        self._value = value
        self._end()

    def fail(self, error: BaseException) -> None:
        """It has failed, or was cancelled."""
        self._error = error
        self._end()

    def _end(self) -> None:
        self.has_ended = True
        if self._waiter is not None:
            self._loop.ready.append(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, cancel: Callable[[asyncio.CancelledError], bool]) -> T:
        """Wait for the outcome; being cancelled is not one.

        Args:
            cancel: Called when the task that awaits this is cancelled. What it starts decides the outcome, for which
                the wait goes on, unless it returns true: then the task is cancelled.
        """
        while True:
            waiter = self._waiter = asyncio.Future(loop=self._loop)  # nobody else sees it: it needs no order
            if self.has_ended:
                self._loop.call_soon(self._wake)
            try:
                await waiter
                break
            except asyncio.CancelledError as error:
                if cancel(error):
                    raise
                task = asyncio.current_task(self._loop)
                assert task is not None, "workflow code runs in tasks"
                task.uncancel()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
