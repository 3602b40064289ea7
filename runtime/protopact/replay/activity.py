"""An activity as the code sees it: a task that awaits the activity's end, and cancels it when it is cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from protopact.history.event import ActivityTaskCanceled, ActivityTaskFailed, ActivityTaskTimedOut
from protopact.history.failure import ActivityFailureInfo, CanceledFailureInfo, Failure
from protopact.history.time import Duration
from protopact.replay.entries import CalledActivity
from protopact.replay.local import CalledLocalActivity
from protopact.replay.loop import Task
from protopact.workflow import ActivityHandle

if TYPE_CHECKING:
    from protopact.replay.instance import Instance

__all__ = ["ActivityTask", "LocalActivityTask", "activity_cancelled", "activity_failed"]

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

    def __init__(self, instance: Instance, activity: CalledActivity | CalledLocalActivity) -> None:
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
                self._request_cancel()
        return super().cancel(msg)

    def _request_cancel(self) -> None:
        assert isinstance(self._activity, CalledActivity)
        self._instance.ledger.cancel_activity(self._activity)

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
                self._request_cancel()
                self.uncancel()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


class LocalActivityTask(ActivityTask[T]):
    """A called local activity. Between attempts that are far apart it sleeps, on a timer that history knows."""

    __slots__ = ()

    def back_off(self, seq: int, attempt: int, delay: Duration) -> None:
        """An attempt has failed, and the next one is to come after `delay`.

        Args:
            seq: Number of the call that makes it.
            attempt: Number of the next attempt.
            delay: The wait.
        """
        self.fail(_BackOff(seq, attempt, delay))

    def _request_cancel(self) -> None:
        assert isinstance(self._activity, CalledLocalActivity)
        self._instance.local_activities.cancel(self._activity)

    async def _wait(self) -> T:
        instance = self._instance
        while True:
            try:
                return await super()._wait()
            except _BackOff as back_off:
                self._has_ended, self._error, self._waiter = False, None, None
                await instance.sleep(back_off.delay // 1000 / 1e6)
                assert isinstance(self._activity, CalledLocalActivity)
                self._activity = instance.call_again(self._activity, back_off.seq, back_off.attempt)


class _BackOff(Exception):  # noqa: N818 - says what to do next, and never leaves this module
    def __init__(self, seq: int, attempt: int, delay: Duration) -> None:
        super().__init__()
        self.seq = seq
        self.attempt = attempt
        self.delay = delay


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def activity_failed(activity: CalledActivity, end: ActivityTaskFailed | ActivityTaskTimedOut) -> Failure:
    """The failure that an activity has ended with, as Temporal Core words it."""
    return Failure(
        message="Activity task failed" if isinstance(end, ActivityTaskFailed) else "Activity task timed out",
        cause=end.failure,
        info=ActivityFailureInfo(
            activity_type=activity.activity.name,
            activity_id=activity.activity_id,
            scheduled_event_id=end.scheduled_event_id,
            started_event_id=end.started_event_id,
            identity=end.identity if isinstance(end, ActivityTaskFailed) else "",
            retry_state=end.retry_state,
        ),
    )


def activity_cancelled(activity: CalledActivity, end: ActivityTaskCanceled) -> Failure:
    """The failure of a cancelled activity, as Core words it; the code may be told before history has an event."""
    return Failure(
        message="Activity cancelled",
        cause=Failure(info=CanceledFailureInfo(details=end.details)),
        info=ActivityFailureInfo(
            activity_type=activity.activity.name,
            activity_id=activity.activity_id,
            scheduled_event_id=end.scheduled_event_id,
            started_event_id=end.started_event_id,
            identity=end.identity,
            retry_state="CANCEL_REQUESTED",
        ),
    )
