"""An activity as the code sees it: a task that awaits the activity's end, and cancels it when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from protopact.history.event import ActivityTaskCanceled, ActivityTaskFailed, ActivityTaskTimedOut
from protopact.history.failure import ActivityFailureInfo, CanceledFailureInfo, Failure
from protopact.history.time import Duration
from protopact.replay.entries import CalledActivity
from protopact.replay.local import CalledLocalActivity
from protopact.replay.loop import Task
from protopact.replay.operation import Operation
from protopact.workflow import ActivityHandle

if TYPE_CHECKING:
    from protopact.replay.instance import Instance

__all__ = ["ActivityTask", "BackOff", "LocalActivityTask", "activity_cancelled", "activity_failed"]

T = TypeVar("T")


class ActivityTask(Task[T], ActivityHandle[T]):
    """A called activity.

    It takes as many turns of the loop as the handle of Temporal's Python SDK: those of an `Operation`, and one in which
    this task wakes whoever awaits it.

    Args:
        instance: The run's code.
        activity: The activity.
    """

    __slots__ = ("_activity", "_instance", "_operation")

    def __init__(self, instance: Instance, activity: CalledActivity | CalledLocalActivity) -> None:
        self._instance = instance
        self._activity = activity
        self._operation: Operation[T] = Operation(instance.loop)
        super().__init__(self._wait(), instance.loop, activity.activity.name)

    def complete(self, value: T) -> None:
        """The activity has returned."""
        self._operation.complete(value)

    def fail(self, error: BaseException) -> None:
        """The activity has failed, or was cancelled."""
        self._operation.fail(error)

    def cancel(self, msg: object = None) -> bool:
        """Cancel the activity as its cancellation type says."""
        instance = self._instance
        if not instance.loop.is_unwound:
            instance.check_writable("cancel an activity")
            if not self._operation.is_awaited and not self.done():
                self._request_cancel()
        return super().cancel(msg)

    def _request_cancel(self) -> None:
        assert isinstance(self._activity, CalledActivity)
        self._instance.ledger.cancel_activity(self._activity)

    def _wait(self) -> Coroutine[Any, Any, T]:
        return self._operation.wait(self._cancelled)

    def _cancelled(self, _: asyncio.CancelledError) -> bool:
        if self._operation.has_ended and self._instance.raises_on_cancelling_completed():
            return True
        self._request_cancel()
        return False


class LocalActivityTask(ActivityTask[T]):
    """A called local activity. Between attempts that are far apart it sleeps, on a timer that history knows."""

    __slots__ = ()

    def back_off(self, back_off: BackOff) -> None:
        """An attempt has failed, and the next one is to come after a while."""
        self.fail(back_off)

    def _request_cancel(self) -> None:
        assert isinstance(self._activity, CalledLocalActivity)
        self._instance.local_activities.cancel(self._activity)

    async def _wait(self) -> T:
        instance = self._instance
        while True:
            try:
                return await super()._wait()
            except BackOff as back_off:
                self._operation = Operation(instance.loop)
                await instance.sleep(back_off.delay // 1000 / 1e6)
                assert isinstance(self._activity, CalledLocalActivity)
                self._activity = instance.activities.call_again(self._activity, back_off)


class BackOff(Exception):  # noqa: N818 - says what to do next, and never reaches the code
    """The next attempt of a local activity is to come after a while.

    Args:
        seq: Number of the call that makes it.
        attempt: Number of the attempt.
        delay: The wait.
    """

    def __init__(self, seq: int, attempt: int, delay: Duration) -> None:
        super().__init__()
        self.seq = seq
        self.attempt = attempt
        self.delay = delay


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
