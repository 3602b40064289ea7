"""An activity as the code sees it: a task that awaits the activity's end, and cancels it when it is cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from protopact.replay.entries import CalledActivity
from protopact.replay.loop import Task
from protopact.workflow import ActivityHandle

if TYPE_CHECKING:
    from protopact.replay.instance import Instance

__all__ = ["ActivityTask"]

T = TypeVar("T")


class ActivityTask(Task[T], ActivityHandle[T]):
    """A called activity.

    It takes as many turns of the loop as the handle of Temporal's Python SDK: the end of the activity wakes a waiter in
    one turn, the waiter this task in the next, this task whoever awaits it in the third.

    Args:
        instance: The run's code.
        activity: The activity.
    """

    __slots__ = ("_activity", "_error", "_has_begun", "_has_ended", "_instance", "_value", "_waiter")

    def __init__(self, instance: Instance, activity: CalledActivity) -> None:
        self._instance = instance
        self._activity = activity
        self._waiter: asyncio.Future[None] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._has_begun = False
        self._has_ended = False
        super().__init__(self._wait(), instance.loop, activity.activity.name)

    def complete(self, value: T) -> None:
        """The activity has returned."""
        self._value = value
        self._end()

    def fail(self, error: BaseException) -> None:
        """The activity has failed, or was cancelled."""
        self._error = error
        self._end()

    def cancel(self, msg: object = None) -> bool:
        """Cancel the activity as its cancellation type says."""
        instance = self._instance
        if not instance.loop.is_unwound:
            instance.check_writable("cancel an activity")
            if not self._has_begun and not self.done():
                instance.ledger.cancel_activity(self._activity)
        return super().cancel(msg)

    def _end(self) -> None:
        self._has_ended = True
        if self._waiter is not None:
            self._instance.loop.ready.append(partial(_wake, self._waiter))

    async def _wait(self) -> T:
        self._has_begun = True
        instance = self._instance
        while True:
            waiter = self._waiter = asyncio.Future(loop=instance.loop)  # nobody else sees it: it needs no order
            if self._has_ended:
                instance.loop.call_soon(_wake, waiter)
            try:
                await waiter
                break
            except asyncio.CancelledError:
                if self._has_ended and instance.raises_on_cancelling_completed():
                    raise
                instance.ledger.cancel_activity(self._activity)
                self.uncancel()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
