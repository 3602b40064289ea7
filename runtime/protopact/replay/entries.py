"""What the code has asked for, one object per command: how it meets the event that it becomes, and the command itself.

Commands are built when somebody takes them, which on replay nobody does: what they carry is then not even encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from protopact import contract
from protopact.history import option
from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Attributes,
    TimerCanceled,
    TimerStarted,
    UpdateRequest,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
)
from protopact.history.time import Duration
from protopact.payload.payload import Headers, Payloads
from protopact.policy import ActivityOptions
from protopact.replay.command import (
    AcceptUpdate,
    CancelTimer,
    Command,
    CompleteUpdate,
    RequestCancelActivityTask,
    ScheduleActivityTask,
    StartTimer,
)

if TYPE_CHECKING:
    from protopact.replay.activity import ActivityTask
    from protopact.replay.ledger import Ledger
    from protopact.replay.loop import Handle

__all__ = [
    "AcceptedUpdate",
    "ActivityCancellation",
    "CalledActivity",
    "Closing",
    "CompletedUpdate",
    "Entry",
    "StartedTimer",
    "TimerCancellation",
]


class Entry:
    """A command of the code.

    Attributes:
        becomes: Type of the event that it becomes.
        is_withdrawn: It was taken back before history had it, as if it had never been.
        is_optional: It is passed over when history goes on with something else.
    """

    __slots__ = ()

    becomes: type[Attributes]
    is_withdrawn: bool = False
    is_optional: bool = False

    def command(self) -> Command:
        """The command."""
        raise NotImplementedError

    def meet(self, _ledger: Ledger, _event_id: int, _attributes: Any, /) -> bool:  # noqa: ANN401 - of the type `becomes`
        """Take note of the event that the command has become.

        Returns:
            False when it cannot be that event.
        """
        return True


class CalledActivity(Entry):
    """An activity that the code has called.

    Attributes:
        activity: The contract's activity.
        activity_id: Id of the call within its run.
        cancellation_type: What cancelling it does.
        task: What the code awaits.
        scheduled_event_id: 0 until history has it.
        is_started: History has the start of its last attempt.
        is_cancel_requested: The code has cancelled it.
        awaits_cancellation: History lacks the request to cancel it, which stands before whatever else becomes of it.
        is_resolved: The code has been told of its end, or will be told in the activation to come.
    """

    __slots__ = (
        "_headers",
        "_options",
        "_payloads",
        "_task_queue",
        "activity",
        "activity_id",
        "awaits_cancellation",
        "cancellation_type",
        "is_cancel_requested",
        "is_resolved",
        "is_started",
        "is_withdrawn",
        "scheduled_event_id",
        "task",
    )

    becomes = ActivityTaskScheduled
    task: ActivityTask[Any]

    def __init__(
        self,
        activity: contract.Activity[Any, Any],
        activity_id: str,
        payloads: Callable[[], Payloads],
        *,
        options: ActivityOptions,
        headers: Headers,
        task_queue: str,
    ) -> None:
        self.activity = activity
        self.activity_id = activity_id
        self.cancellation_type = (
            options.get("cancellation_type", activity.cancellation_type) if options else activity.cancellation_type
        )
        self.scheduled_event_id = 0
        self.is_started = False
        self.is_cancel_requested = False
        self.awaits_cancellation = False
        self.is_resolved = False
        self.is_withdrawn = False
        self._payloads = payloads
        self._options = options
        self._headers = headers
        self._task_queue = task_queue

    def command(self) -> ScheduleActivityTask:
        """The command, with the contract's options for what the call does not override."""
        options = self._options
        return msgspec.structs.replace(
            _schedule(self.activity, options) if options else _schedule_by_contract(self.activity),
            activity_id=self.activity_id,
            task_queue=options.get("task_queue", self.activity.task_queue or self._task_queue),
            header=self._headers,
            input=self._payloads(),
        )

    def meet(self, ledger: Ledger, event_id: int, attributes: ActivityTaskScheduled, /) -> bool:
        """The activity is known by its event from now on."""
        if ledger.checks_ids and (
            attributes.activity_id != self.activity_id or attributes.activity_type != self.activity.name
        ):
            return False
        self.scheduled_event_id = event_id
        ledger.activities[event_id] = self
        return True


def _schedule(activity: contract.Activity[Any, Any], options: ActivityOptions) -> ScheduleActivityTask:
    """The command, as far as it is the same for all calls with these options."""
    return ScheduleActivityTask(
        activity_id="",
        activity_type=activity.name,
        task_queue="",
        schedule_to_close_timeout=option.duration(
            options.get("schedule_to_close_timeout", activity.schedule_to_close_timeout)
        ),
        schedule_to_start_timeout=option.duration(
            options.get("schedule_to_start_timeout", activity.schedule_to_start_timeout)
        ),
        start_to_close_timeout=option.duration(options.get("start_to_close_timeout", activity.start_to_close_timeout)),
        heartbeat_timeout=option.duration(options.get("heartbeat_timeout", activity.heartbeat_timeout)),
        retry_policy=option.retry_policy(options.get("retry_policy", activity.retry_policy)),
        priority=option.priority(options.get("priority", activity.priority)),
    )


@lru_cache(1024)
def _schedule_by_contract(activity: contract.Activity[Any, Any]) -> ScheduleActivityTask:
    return _schedule(activity, {})


class ActivityCancellation(Entry):
    """The cancellation of an activity that history has.

    Attributes:
        cancelled: The activity.
    """

    __slots__ = ("cancelled",)

    becomes = ActivityTaskCancelRequested

    def __init__(self, activity: CalledActivity) -> None:
        self.cancelled = activity
        activity.awaits_cancellation = True

    def command(self) -> RequestCancelActivityTask:
        """The command."""
        return RequestCancelActivityTask(scheduled_event_id=self.cancelled.scheduled_event_id)

    def meet(self, _ledger: Ledger, _event_id: int, _: ActivityTaskCancelRequested, /) -> bool:
        """The activity may start and end from now on."""
        self.cancelled.awaits_cancellation = False
        return True


class StartedTimer(asyncio.TimerHandle, Entry):
    """A durable timer; what `call_later` and `call_at` return.

    Attributes:
        timer_id: Its id within its run.
        callback: What it calls.
        started_event_id: 0 until history has it.
        is_fired: History has its end, of which the code is told in the activation to come.
    """

    __slots__ = (
        "_at",
        "_duration",
        "_has_been_cancelled",
        "_ledger",
        "callback",
        "is_fired",
        "is_withdrawn",
        "started_event_id",
        "timer_id",
    )

    becomes = TimerStarted

    def __init__(self, ledger: Ledger, seq: int, at: float, duration: Duration, callback: Handle) -> None:
        # The base's own would want a callback and arguments apart, and keep them.
        self.timer_id = str(seq)
        self.callback = callback
        self.started_event_id = 0
        self.is_fired = False
        self.is_withdrawn = False
        self._ledger = ledger
        self._at = at
        self._duration = duration
        self._has_been_cancelled = False

    def cancel(self) -> None:
        """Cancel the timer; one that has fired does not call back any more, if it has not yet."""
        if not self._has_been_cancelled:
            self._has_been_cancelled = True
            self.callback.cancel()
            self._ledger.cancel_timer(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._has_been_cancelled

    def when(self) -> float:
        """Loop time at which it fires."""
        return self._at

    def command(self) -> StartTimer:
        """The command."""
        return StartTimer(timer_id=self.timer_id, start_to_fire_timeout=self._duration)

    def meet(self, ledger: Ledger, event_id: int, _: TimerStarted, /) -> bool:
        """The timer is known by its event from now on; Core compares its id when it fires."""
        self.started_event_id = event_id
        ledger.timers[event_id] = self
        return True

    def __hash__(self) -> int:
        return hash(self.timer_id)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<timer {self.timer_id} at {self._at}>"


class TimerCancellation(Entry):
    """The cancellation of a timer that history has.

    Attributes:
        cancelled: The timer.
    """

    __slots__ = ("cancelled",)

    becomes = TimerCanceled

    def __init__(self, timer: StartedTimer) -> None:
        self.cancelled = timer

    def command(self) -> CancelTimer:
        """The command."""
        return CancelTimer(timer_id=self.cancelled.timer_id, started_event_id=self.cancelled.started_event_id)

    def meet(self, ledger: Ledger, _event_id: int, _: TimerCanceled, /) -> bool:
        """The timer is gone."""
        ledger.timers.pop(self.cancelled.started_event_id, None)
        ledger.forget("timer", self.cancelled.started_event_id)
        return True


class AcceptedUpdate(Entry):
    """An update that the code has accepted."""

    __slots__ = ("_request", "_sequencing_event_id")

    becomes = WorkflowExecutionUpdateAccepted

    def __init__(self, request: UpdateRequest, sequencing_event_id: int) -> None:
        self._request = request
        self._sequencing_event_id = sequencing_event_id

    def command(self) -> AcceptUpdate:
        """The command."""
        return AcceptUpdate(request=self._request, sequencing_event_id=self._sequencing_event_id)

    def meet(self, ledger: Ledger, event_id: int, attributes: WorkflowExecutionUpdateAccepted, /) -> bool:
        """The update is known by its event from now on; one that is open is not accepted again."""
        update_id = self._request.update_id
        is_open = update_id in ledger.accepted
        ledger.accepted[update_id] = event_id
        return not is_open and attributes.protocol_instance_id in {"", update_id}


class CompletedUpdate(Entry):
    """An update that the code has completed. `outcome` gives the command when it is known which event accepted it."""

    __slots__ = ("_ledger", "_outcome", "_update_id")

    becomes = WorkflowExecutionUpdateCompleted

    def __init__(self, ledger: Ledger, update_id: str, outcome: Callable[[int], CompleteUpdate]) -> None:
        self._ledger = ledger
        self._update_id = update_id
        self._outcome = outcome

    def command(self) -> CompleteUpdate:
        """The command."""
        return self._outcome(self._ledger.accepted.get(self._update_id, 0))

    def meet(self, ledger: Ledger, _event_id: int, attributes: WorkflowExecutionUpdateCompleted, /) -> bool:
        """The update is over."""
        ledger.accepted.pop(self._update_id, None)
        return attributes.update_id == self._update_id


class Closing(Entry):
    """The end of the run, as the code has it.

    Attributes:
        error: What the code raised to end it; None when it did not.
    """

    __slots__ = ("_build", "becomes", "error")

    def __init__(
        self, becomes: type[Attributes], build: Callable[[], Command], error: BaseException | None = None
    ) -> None:
        self.becomes = becomes
        self.error = error
        self._build = build

    def command(self) -> Command:
        """The command."""
        return self._build()
