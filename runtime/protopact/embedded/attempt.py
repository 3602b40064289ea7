"""Runs attempts of activities: `async def` ones on the caller's loop, plain ones in threads.

The shell says which attempt to start and which to cancel, and is told of heartbeats and of the one outcome of each
attempt. Nothing here knows of retries, time-outs or the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeAlias

from protopact.activity import CancellationReason
from protopact.failure import FailureConverter
from protopact.history.event import RetryPolicy
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp
from protopact.interceptor import Interceptor
from protopact.payload.codec import CodecChain
from protopact.payload.converter import PayloadConverter
from protopact.payload.payload import Headers, Payload, Payloads
from protopact.worker import Registry

__all__ = ["Attempt", "AttemptRunner", "Cancelled", "Completed", "Failed", "HandedBack", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of an activity, as the shell hands it out. Payloads are as on disk: the codec chain's.

    Attributes:
        key: Names the attempt; unlike the key of any other attempt that this process has started, of the same activity
            too.
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
    """

    key: Hashable
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
    schedule_to_close_timeout: Duration = Duration(0)
    start_to_close_timeout: Duration = Duration(0)
    heartbeat_timeout: Duration = Duration(0)
    retry_policy: RetryPolicy | None = None
    heartbeat_details: Payloads = ()


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


Outcome: TypeAlias = Completed | Failed | Cancelled | HandedBack


class Timer(Protocol):
    """A timer that was armed."""

    def cancel(self) -> None:
        """Disarm it; nothing happens when it has fired."""


class Clock(Protocol):
    """The clock and timers of the shell, real or virtual."""

    def now(self) -> Timestamp:
        """Now."""

    def call_at(self, when: Timestamp, callback: Callable[[], None], /) -> Timer:
        """Call `callback` on the loop's thread at `when`, or soon when it has passed."""


class AttemptRunner:
    """Runs attempts. Its methods are called on the loop's thread, and so are its callbacks.

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
        on_heartbeat: Called with details to record, ready for the disk: the first heartbeat of an attempt at once, later
            ones at most every 0.8 of its heartbeat time-out (30 s without one, 60 s at most), the latest details winning;
            what is unrecorded when the attempt fails or is handed back comes right before `on_done`.
        on_done: Called once for each attempt started, with its outcome. Of an attempt that was cancelled because it is
            wanted no more (timed out, not found) the outcome comes as well, perhaps much later.
        max_threads: Plain `def` activities that run at once; more wait for a thread.
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
    ) -> None:
        raise NotImplementedError

    @property
    def running(self) -> int:
        """Number of attempts that have started and whose `on_done` is still to come."""
        raise NotImplementedError

    def start(self, attempt: Attempt) -> None:
        """Start an attempt; never calls back before it returns."""
        raise NotImplementedError

    def cancel(self, key: Hashable, reason: CancellationReason) -> None:
        """Deliver a cancellation, at once; the first reason stands. Unknown keys are ignored: the attempt has ended."""
        raise NotImplementedError

    async def stop(self, grace: timedelta) -> None:
        """Stop: let attempts go on for `grace`, cancel the rest, hand back what does not end.

        Every attempt has had its `on_done` when this returns. A thread that does not end goes on as a daemon, which
        ends with the process; a log line names it.
        """
        raise NotImplementedError
