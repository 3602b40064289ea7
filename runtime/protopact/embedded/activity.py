"""An activity of a run that is open: how far its attempts are, and when it next needs somebody."""

from __future__ import annotations

from protopact.errors import TimeoutType
from protopact.history import event as events
from protopact.history.failure import Failure
from protopact.history.policy import Priority
from protopact.history.time import Timestamp
from protopact.payload.payload import Payloads

__all__ = ["OUTSIDE", "Activity"]

OUTSIDE = -1
"""In place of the process that runs an attempt: nobody does, and whoever has its token completes it."""


class Activity:
    """An activity that is scheduled and not closed.

    Attributes:
        scheduled_event_id: Event that scheduled it.
        scheduled_time: When.
        event: What was scheduled.
        priority: Its priority, with what it inherits from its run.
        attempt: Number of the attempt that waits or runs.
        due_at: When that attempt may start.
        holder: Process that runs it, or `OUTSIDE`; None while it waits, as far as this process knows.
        started_at: When it started; None while it waits.
        heartbeat: Details of the last heartbeat that was recorded.
        heartbeat_at: When an attempt that is completed from outside has last heartbeated.
        identity: Worker whose code has left the attempt to be completed from outside; empty before.
        last_failure: What the attempt before failed with.
        cancel_event_id: Event that asked to cancel it; 0 without one.
        stored: Whether the table `activity` has it.
    """

    __slots__ = (
        "attempt",
        "cancel_event_id",
        "due_at",
        "event",
        "heartbeat",
        "heartbeat_at",
        "holder",
        "identity",
        "last_failure",
        "priority",
        "scheduled_event_id",
        "scheduled_time",
        "started_at",
        "stored",
    )

    def __init__(
        self,
        scheduled_event_id: int,
        scheduled_time: Timestamp,
        event: events.ActivityTaskScheduled,
        priority: Priority | None,
    ) -> None:
        self.scheduled_event_id = scheduled_event_id
        self.scheduled_time = scheduled_time
        self.event = event
        self.priority = priority
        self.attempt = 1
        self.due_at = scheduled_time
        self.holder: int | None = None
        self.started_at: Timestamp | None = None
        self.heartbeat: Payloads = ()
        self.heartbeat_at: Timestamp | None = None
        self.identity = ""
        self.last_failure: Failure | None = None
        self.cancel_event_id = 0
        self.stored = False

    @property
    def expiration(self) -> Timestamp | None:
        """When the schedule-to-close time-out passes."""
        limit = self.event.schedule_to_close_timeout
        return Timestamp(self.scheduled_time + limit) if limit else None

    @property
    def start_limit(self) -> Timestamp | None:
        """When the schedule-to-start time-out passes; None also once it has started."""
        limit = self.event.schedule_to_start_timeout
        return Timestamp(self.due_at + limit) if limit and self.holder is None else None

    @property
    def attempt_limit(self) -> tuple[Timestamp, TimeoutType] | None:
        """What the run's holder watches of an attempt that is completed from outside: the next of its time-outs."""
        if self.holder != OUTSIDE or self.started_at is None:
            return None
        limits = list[tuple[Timestamp, TimeoutType]]()
        if self.event.start_to_close_timeout:
            limits.append((Timestamp(self.started_at + self.event.start_to_close_timeout), TimeoutType.START_TO_CLOSE))
        if self.event.heartbeat_timeout:
            heard = self.heartbeat_at or self.started_at
            limits.append((Timestamp(heard + self.event.heartbeat_timeout), TimeoutType.HEARTBEAT))
        return min(limits, key=lambda limit: limit[0]) if limits else None

    def next_deadline(self, now: Timestamp) -> Timestamp | None:
        """When the run has something to do for it, without anything arriving."""
        if self.holder == OUTSIDE:
            attempt = self.attempt_limit
            passing = [when for when in (self.expiration, None if attempt is None else attempt[0]) if when is not None]
            return min(passing) if passing else None
        if not (self.event.schedule_to_close_timeout or self.event.schedule_to_start_timeout):
            return self.due_at if self.holder is None and self.due_at > now else None
        if self.holder is None and self.due_at > now:
            expiration = self.expiration
            return Timestamp(self.due_at) if expiration is None else min(self.due_at, expiration)
        limits = [limit for limit in (self.expiration, self.start_limit) if limit is not None]
        return min(limits) if limits else None
