"""Local activities: attempts that run while the workflow task that called them is open.

History hears only of what became of them, from the commands of the task. A process that dies, or a worker that stops,
before the task is answered leaves nothing: the task begins anew elsewhere, and its local activities run again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from protopact.activity import CancellationReason
from protopact.embedded.attempt import Attempt, AttemptKey, Cancelled, Completed, Failed, Outcome
from protopact.embedded.clock import Timer
from protopact.embedded.retry import next_attempt, timeout_failure
from protopact.errors import RetryState, TimeoutType, WorkflowTaskError
from protopact.history.failure import CanceledFailureInfo, Failure
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payloads
from protopact.replay.command import LocalActivityOutcome, ScheduleLocalActivity

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.tasks import Task

__all__ = ["LocalActivities", "LocalCalls", "Slots"]


class Slots:
    """How many local activities a worker runs at once, and those that wait, in order.

    Args:
        size: Number of slots.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: dict[_Call, None] = {}
        self._is_closed = False

    def ask(self, call: _Call) -> None:
        """Have an attempt started, now or in its turn."""
        if self._is_closed:
            call.refuse()
        elif self._free:
            self._free -= 1
            call.start()
        else:
            self._waiting[call] = None

    def leave(self, call: _Call) -> None:
        """Wait no more."""
        self._waiting.pop(call, None)

    def give_back(self) -> None:
        """Give back a slot, to whoever waits."""
        if self._waiting:
            call = next(iter(self._waiting))
            del self._waiting[call]
            call.start()
        else:
            self._free += 1

    def close(self) -> None:
        """The worker stops: no attempt is started any more."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call.refuse()


class LocalActivities:
    """The shell's desk for local activities."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._running: dict[AttemptKey, _Call] = {}
        self._numbers = itertools.count(1)

    @property
    def running(self) -> int:
        """Number of attempts that run."""
        return len(self._running)

    def begin(self, call: _Call) -> AttemptKey:
        """Start an attempt; returns the key that names it."""
        task, request, now = call.task, call.request, self._shell.clock.now()
        run = task.run
        # The last part tells attempts apart: one that is wanted no more may end when the same is made again.
        key = (run.key, request.seq, next(self._numbers))
        self._running[key] = call
        task.worker.local_runner.start(
            Attempt(
                key=key,
                activity_type=request.activity_type,
                activity_id=request.activity_id,
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                workflow_type=run.workflow_type,
                task_queue=run.task_queue,
                input=request.input,
                headers=request.header,
                attempt=call.attempt,
                scheduled_time=request.original_schedule_time,
                attempt_scheduled_time=now,
                started_time=now,
                schedule_to_close_timeout=request.schedule_to_close_timeout,
                start_to_close_timeout=request.start_to_close_timeout,
                retry_policy=request.retry_policy,
                is_local=True,
                function=request.function,
            )
        )
        return key

    def done(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take an outcome from the runner."""
        call = self._running.pop(attempt.key)
        call.task.worker.local_slots.give_back()
        if call.key == attempt.key:
            call.end(outcome)

    def heartbeat(self, attempt: Attempt, details: Payloads) -> None:
        """Take a heartbeat from the runner: of a local activity nobody asks for one."""


class LocalCalls:
    """The local activities of one open task.

    Args:
        shell: The shell.
        task: The task.
    """

    def __init__(self, shell: Shell, task: Task) -> None:
        self._shell = shell
        self._task = task
        self._calls: dict[int, _Call] = {}
        self._outcomes = asyncio.Queue[LocalActivityOutcome | None]()

    def start(self, requests: Iterable[ScheduleLocalActivity]) -> None:
        """Run local activities.

        Raises:
            WorkflowTaskError: The worker has no such activity.
        """
        for request in requests:
            if request.function is None and request.activity_type not in self._task.worker.registry.activities:
                raise WorkflowTaskError(
                    f"{request.activity_type} is called locally, and the worker that runs the workflow does not serve "
                    "it: give that worker its activities, too, in activities=[...], or call it without `Local`"
                )
            self._calls[request.seq] = _Call(self._shell, self._task, request, self._outcomes)

    def cancel(self, numbers: Iterable[int]) -> None:
        """Cancel local activities that the workflow has cancelled."""
        for seq in numbers:
            self._calls[seq].cancel()

    async def next(self) -> LocalActivityOutcome:
        """Wait for the next one to end.

        Raises:
            WorkflowTaskError: The worker has stopped.
        """
        outcome = await self._outcomes.get()
        if outcome is None:
            raise WorkflowTaskError("the worker stopped while a local activity ran")
        return outcome

    def close(self) -> None:
        """The task is over: what still runs is wanted no more."""
        for call in self._calls.values():
            call.abandon()


class _Call:
    """One local activity, through all its attempts.

    Attributes:
        task: The task that called it.
        request: What to run.
        attempt: Number of the attempt that runs or is to come.
        key: Names the attempt that runs; None between attempts, and when it is over.
    """

    def __init__(
        self,
        shell: Shell,
        task: Task,
        request: ScheduleLocalActivity,
        outcomes: asyncio.Queue[LocalActivityOutcome | None],
    ) -> None:
        self.task = task
        self.request = request
        self.attempt = request.attempt
        self.key: AttemptKey | None = None
        self._shell = shell
        self._outcomes = outcomes
        self._is_over = False
        self._is_cancel_requested = False
        self._next: Timer | None = None
        self._limit: Timer | None = None
        self._expiration: Timer | None = None
        self._start_limit: Timer | None = None
        limit, now = request.schedule_to_close_timeout, shell.clock.now()
        if limit:
            at = max(Timestamp(request.original_schedule_time + limit), now)
            self._expiration = shell.clock.call_at(at, partial(self._expire, TimeoutType.SCHEDULE_TO_CLOSE))
        self._started = now
        limit = request.schedule_to_start_timeout
        if limit:
            expire = partial(self._expire, TimeoutType.SCHEDULE_TO_START)
            self._start_limit = shell.clock.call_at(Timestamp(now + limit), expire)
        self._begin()

    def _begin(self) -> None:
        self._next = None
        self.task.worker.local_slots.ask(self)

    def start(self) -> None:
        """Start the attempt, in a slot."""
        if self._start_limit is not None:
            self._start_limit.cancel()
            self._start_limit = None
        self._started = self._shell.clock.now()
        self.key = self._shell.local.begin(self)
        limit = self.request.start_to_close_timeout
        if limit:
            self._limit = self._shell.clock.call_at(Timestamp(self._started + limit), self._time_out)

    def end(self, outcome: Outcome) -> None:
        """The attempt has ended."""
        self._end_attempt()
        match outcome:
            case Completed(result=result):
                self._finish(result=result)
            case Failed(failure=failure):
                self._fail(failure)
            case Cancelled(details=details):
                info = CanceledFailureInfo(details=details)
                self._finish(failure=Failure(message="Activity cancelled", info=info))
            case _:
                self.refuse()

    def cancel(self) -> None:
        """The workflow has cancelled it: the attempt is told so, and no other one follows."""
        self._is_cancel_requested = True
        if self._is_over:
            return
        if self.key is None:
            self._finish(failure=Failure(message="Activity cancelled", info=CanceledFailureInfo()))
        else:
            self.task.worker.local_runner.cancel(self.key, CancellationReason.CANCEL_REQUESTED)

    def abandon(self) -> None:
        """Nobody wants it any more."""
        if not self._is_over:
            self._drop_attempt(CancellationReason.NOT_FOUND)
            self._close()

    def refuse(self) -> None:
        """The worker stops, and nothing is known of the outcome."""
        self._close()
        self._outcomes.put_nowait(None)

    def _time_out(self) -> None:
        self._drop_attempt(CancellationReason.TIMED_OUT)
        self._fail(timeout_failure(TimeoutType.START_TO_CLOSE))

    def _expire(self, timeout_type: TimeoutType) -> None:
        self._drop_attempt(CancellationReason.TIMED_OUT)
        self._finish(failure=timeout_failure(timeout_type))

    def _drop_attempt(self, reason: CancellationReason) -> None:
        key = self.key
        self._end_attempt()
        if key is not None:
            self.task.worker.local_runner.cancel(key, reason)

    def _end_attempt(self) -> None:
        self.key = None
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _fail(self, failure: Failure) -> None:
        """Plan the next attempt, or tell the workflow: that it failed, or that it is to wait with a timer."""
        request, now = self.request, self._shell.clock.now()
        decided = next_attempt(
            request.retry_policy,
            failure,
            attempt=self.attempt,
            now=now,
            cancel_requested=self._is_cancel_requested,
        )
        if isinstance(decided, RetryState):
            self._finish(failure=failure)
        elif decided > request.local_retry_threshold:
            self._finish(failure=failure, backoff=decided)
        else:
            self.attempt += 1
            self._next = self._shell.clock.call_at(Timestamp(now + decided), self._begin)

    def _finish(
        self, *, result: Payloads = (), failure: Failure | None = None, backoff: Duration | None = None
    ) -> None:
        self._close()
        self._outcomes.put_nowait(
            LocalActivityOutcome(
                seq=self.request.seq,
                attempt=self.attempt,
                runtime=Duration(max(self._shell.clock.now() - self._started, 0)),
                result=result,
                failure=failure,
                backoff=backoff,
            )
        )

    def _close(self) -> None:
        self._is_over = True
        self.key = None
        self.task.worker.local_slots.leave(self)
        for timer in (self._next, self._limit, self._expiration, self._start_limit):
            if timer is not None:
                timer.cancel()
