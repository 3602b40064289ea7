"""Local activities: run by the worker while a workflow task is open, remembered by markers.

The rules are those of `local_activity_state_machine.rs` and `local_acts.rs` in Temporal Core: on replay an outcome is
told in the activation in which it was told at first, in the order of the markers, and never together with another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from protopact import contract
from protopact.history import option
from protopact.history.event import Event, MarkerRecorded
from protopact.history.failure import ActivityFailureInfo, CanceledFailureInfo, Failure, TimeoutFailureInfo
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Headers, Payloads
from protopact.policy import ActivityCancellationType, LocalActivityOptions
from protopact.replay.command import LocalActivityOutcome, RecordMarker, ScheduleLocalActivity
from protopact.replay.entries import Entry
from protopact.replay.ledger import Ledger
from protopact.replay.loop import Loop
from protopact.replay.marker import (
    LOCAL_ACTIVITY,
    Instant,
    LocalActivityMark,
    local_activity_details,
    local_activity_mark,
)
from protopact.replay.past import Past

if TYPE_CHECKING:
    from protopact.errors import NondeterminismError
    from protopact.replay.activity import LocalActivityTask

__all__ = ["CalledLocalActivity", "End", "LocalActivities", "MarkedLocalActivity"]

_RETRY_THRESHOLD = Duration(60_000_000_000)
_CANCELLED = Failure(message="Activity cancelled", info=CanceledFailureInfo())


class End(NamedTuple):
    """How a local activity ended.

    Attributes:
        result: What it returned; None when it did not.
        failure: Why it failed or was cancelled, as the code is told.
        backoff: Wait before the next attempt; None when there is none to come.
        attempt: Number of the last attempt.
        at: When; None when it does not matter to the time of the workflow.
    """

    result: Payloads | None
    failure: Failure | None
    backoff: Duration | None
    attempt: int
    at: Timestamp | None


class CalledLocalActivity:
    """A local activity that the code has called.

    Attributes:
        activity: The contract's activity.
        seq: Number of the call within its run.
        activity_id: Its id within the run.
        attempt: Number of the first attempt of this call.
        original_schedule_time: When the first attempt of all was scheduled.
        called_at: Workflow time of this call.
        task: What the code awaits.
        awaits_marker: It was called on replay, and history is expected to say how it ended.
        was_replayed: It was called on replay, and has not been run here since.
        is_cancel_requested: The code has cancelled it.
        is_resolved: The code has been told of its end, or will be told in the activation to come.
        function: What runs in place of a registered activity; None for an activity of a contract.
        decode: Reads the result; None for the contract's response.
    """

    __slots__ = (
        "_headers",
        "_options",
        "_payloads",
        "activity",
        "activity_id",
        "attempt",
        "awaits_marker",
        "called_at",
        "decode",
        "function",
        "is_cancel_requested",
        "is_resolved",
        "original_schedule_time",
        "seq",
        "task",
        "was_replayed",
    )

    task: LocalActivityTask[Any]

    def __init__(
        self,
        activity: contract.Activity[Any, Any],
        seq: int,
        payloads: Callable[[], Payloads],
        *,
        options: LocalActivityOptions,
        headers: Headers,
        now: Timestamp,
        is_replaying: bool,
        attempt: int = 1,
        original_schedule_time: Timestamp | None = None,
    ) -> None:
        self.activity = activity
        self.seq = seq
        self.activity_id = options.get("activity_id") or str(seq)
        self.attempt = attempt
        self.called_at = now
        self.original_schedule_time = now if original_schedule_time is None else original_schedule_time
        self.awaits_marker = self.was_replayed = is_replaying
        self.is_cancel_requested = False
        self.is_resolved = False
        self.function: Callable[[], Awaitable[Sequence[object]]] | None = None
        self.decode: Callable[[Payloads], Any] | None = None  # of whatever type the code asks for
        self._payloads = payloads
        self._options = options
        self._headers = headers

    @property
    def cancellation_type(self) -> ActivityCancellationType:
        """What cancelling it does."""
        return self._options.get("cancellation_type", self.activity.cancellation_type)

    def again(self, seq: int, attempt: int, *, now: Timestamp, is_replaying: bool) -> CalledLocalActivity:
        """The call that follows when a wait between attempts is over."""
        called = CalledLocalActivity(
            self.activity,
            seq,
            self._payloads,
            options=self._options,
            headers=self._headers,
            now=now,
            is_replaying=is_replaying,
            attempt=attempt,
            original_schedule_time=self.original_schedule_time,
        )
        called.task = self.task
        return called

    def request(self) -> ScheduleLocalActivity:
        """What the shell needs to run it, with the contract's options for what the call does not override."""
        activity, options = self.activity, self._options
        threshold = options.get("local_retry_threshold")
        return ScheduleLocalActivity(
            seq=self.seq,
            activity_id=self.activity_id,
            activity_type=activity.name,
            attempt=self.attempt,
            original_schedule_time=self.original_schedule_time,
            header=self._headers,
            input=self._payloads(),
            schedule_to_close_timeout=option.duration(
                options.get("schedule_to_close_timeout", activity.schedule_to_close_timeout)
            ),
            schedule_to_start_timeout=option.duration(
                options.get("schedule_to_start_timeout", activity.schedule_to_start_timeout)
            ),
            start_to_close_timeout=option.duration(
                options.get("start_to_close_timeout", activity.start_to_close_timeout)
            ),
            retry_policy=option.retry_policy(options.get("retry_policy", activity.retry_policy)),
            local_retry_threshold=_RETRY_THRESHOLD if threshold is None else option.duration(threshold),
            function=self.function,
        )

    def failure_of(self, failure: Failure, message: str) -> Failure:
        """`failure` as an activity's."""
        info = ActivityFailureInfo(
            activity_type=self.activity.name, activity_id=self.activity_id, retry_state="CANCEL_REQUESTED"
        )
        return Failure(message=message, cause=failure, info=info)

    def is_of(self, mark: LocalActivityMark) -> bool:
        """Whether a marker can be this call's."""
        return mark.activity_id == self.activity_id and mark.activity_type == self.activity.name


class MarkedLocalActivity(Entry):
    """The marker of a local activity that was run here.

    Attributes:
        called: The local activity.
    """

    __slots__ = ("_failure", "_mark", "_owner", "_result", "called")

    becomes = MarkerRecorded

    def __init__(
        self,
        owner: LocalActivities,
        called: CalledLocalActivity,
        mark: LocalActivityMark,
        result: Payloads | None = None,
        failure: Failure | None = None,
    ) -> None:
        self.called = called
        self._owner = owner
        self._mark = mark
        self._result = result
        self._failure = failure

    def command(self) -> RecordMarker:
        """The command."""
        return RecordMarker(
            marker_name=LOCAL_ACTIVITY,
            details=local_activity_details(self._mark, self._result),
            failure=self._failure,
        )

    def meet(self, _ledger: Ledger, _event_id: int, attributes: MarkerRecorded, /) -> bool:
        """The end of the call is on record."""
        mark = local_activity_mark(attributes) if attributes.marker_name == LOCAL_ACTIVITY else None
        self._owner.forget(self.called)
        return mark is not None and mark.seq == self.called.seq and self.called.is_of(mark)


class LocalActivities:
    """The local activities of one run.

    Args:
        ledger: Where their markers go.
        loop: The loop of the run, for its time.

    Attributes:
        checks_ids: Whether ids and types are compared on replay (Core's flag 1).
        ended: Those whose end the code is told in the activation to come, in order.
        foreseen: Ends that history holds and that the code has not been told, in order.
    """

    __slots__ = (
        "_awaiting",
        "_calls",
        "_cancelled",
        "_index",
        "_ledger",
        "_loop",
        "_mistaken",
        "_open",
        "_past",
        "_requested",
        "_resumed",
        "checks_ids",
        "ended",
        "foreseen",
    )

    def __init__(self, ledger: Ledger, loop: Loop) -> None:
        self.checks_ids = False
        self.ended: list[tuple[CalledLocalActivity, End]] = []
        self._ledger = ledger
        self._loop = loop
        self._calls: dict[int, CalledLocalActivity] = {}
        self._past = Past()  # calls that history has the end of, by number
        self._awaiting: dict[int, CalledLocalActivity] = {}
        self.foreseen: deque[tuple[Event, LocalActivityMark, MarkerRecorded]] = deque()
        self._resumed: list[CalledLocalActivity] = []  # of earlier tasks, to be run in the one that is open
        self._requested: list[CalledLocalActivity] = []
        self._mistaken: tuple[Event, CalledLocalActivity] | None = None
        self._open: set[int] = set()
        self._cancelled: list[int] = []
        self._index = 0

    # What the code asks for.

    def call(self, called: CalledLocalActivity) -> None:
        """Run a local activity, or wait for history to say how it ended."""
        self._calls[called.seq] = called
        self._ledger.notice(called)
        if called.awaits_marker:
            self._awaiting[called.seq] = called
        else:
            self._requested.append(called)

    def cancel(self, called: CalledLocalActivity) -> None:
        """Cancel a local activity as its cancellation type says; one that is over is left alone."""
        if called.is_resolved or called.is_cancel_requested:
            return
        called.is_cancel_requested = True
        kind = called.cancellation_type
        is_waited_for = kind is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        if called.awaits_marker:
            self._end_as_foreseen(called)
        elif called in self._requested:
            self._requested.remove(called)
            self._record(called, _cancelled(called), is_over=is_waited_for)
        elif called in self._resumed and not is_waited_for:
            self._resumed.remove(called)
            self._record(called, _cancelled(called), is_over=False)
        else:
            if kind is not ActivityCancellationType.ABANDON:
                self._cancelled.append(called.seq)
            if not is_waited_for:
                self._record(called, _cancelled(called), is_over=False)
            if kind is ActivityCancellationType.ABANDON:
                self._open.discard(called.seq)

    def _end_as_foreseen(self, called: CalledLocalActivity) -> None:
        """The code cancels what history has the end of: it is told at once, unless that is for a later activation."""
        for position, (_, mark, marker) in enumerate(self.foreseen):
            if mark.seq == called.seq:
                if not self._is_held(mark):
                    del self.foreseen[position]
                    self._end(called, mark, marker.details.get("result", ()), marker.failure)
                return

    # What the shell does.

    @property
    def open(self) -> tuple[int, ...]:
        """Numbers of those that run."""
        return tuple(self._open)

    @property
    def is_waiting(self) -> bool:
        """Whether the open task must wait for one of them."""
        return bool(self._resumed or self._requested or self._open)

    def take_requests(self) -> tuple[ScheduleLocalActivity, ...]:
        """Those to run now."""
        requested, self._resumed, self._requested = self._resumed + self._requested, [], []
        self._open.update(called.seq for called in requested)
        return tuple(called.request() for called in requested)

    def take_cancelled(self) -> tuple[int, ...]:
        """Numbers of those to cancel now."""
        cancelled, self._cancelled = self._cancelled, []
        return tuple(cancelled)

    def resolve(self, outcome: LocalActivityOutcome) -> None:
        """One has ended."""
        self._open.discard(outcome.seq)
        called = self._calls.get(outcome.seq)
        if called is not None and not called.is_resolved:
            self._record(called, outcome)

    def forget(self, called: CalledLocalActivity) -> None:
        """History has the end of a call."""
        self._calls.pop(called.seq, None)
        self._past.add(called.seq)

    def _record(self, called: CalledLocalActivity, outcome: LocalActivityOutcome, *, is_over: bool = True) -> None:
        """Tell the code of an end, and put its marker in line."""
        complete_time = Timestamp(called.called_at + outcome.runtime)
        failure = outcome.failure
        if failure is not None and isinstance(failure.info, TimeoutFailureInfo):
            # Core wraps a time-out only where it happens, and not on replay: here it is wrapped in history.
            failure = called.failure_of(failure, "Local Activity timed out")
        mark = LocalActivityMark(
            seq=called.seq,
            attempt=outcome.attempt,
            activity_id=called.activity_id,
            activity_type=called.activity.name,
            complete_time=Instant.of(complete_time) if is_over else None,
            backoff=None if outcome.backoff is None else Instant.of(outcome.backoff),
            original_schedule_time=Instant.of(called.original_schedule_time),
            activation_index=self._index,
        )
        result = outcome.result if failure is None else None
        self._ledger.add(MarkedLocalActivity(self, called, mark, result, failure))
        self._end(called, mark, outcome.result, failure)

    def _end(
        self, called: CalledLocalActivity, mark: LocalActivityMark, result: Payloads, failure: Failure | None
    ) -> None:
        called.is_resolved = True
        called.awaits_marker = False
        self._awaiting.pop(called.seq, None)
        at = None if mark.complete_time is None else Timestamp(mark.complete_time.in_nanoseconds())
        if failure is not None and isinstance(failure.info, CanceledFailureInfo):
            failure = called.failure_of(failure, "Local Activity cancelled")
        backoff = None if mark.backoff is None else Duration(mark.backoff.in_nanoseconds())
        if mark.original_schedule_time is not None:
            called.original_schedule_time = Timestamp(mark.original_schedule_time.in_nanoseconds())
        self.ended.append((called, End(result if failure is None else None, failure, backoff, mark.attempt, at)))

    # What history says.

    def begin_task(self, *, is_open: bool) -> None:
        """A task has started. In an open one, what was called on replay and has no marker is run after all.

        As in Core, it runs before the code is told anything: the code that cancels it now waits for it, if it waits.
        """
        self._index = 0
        if is_open:
            for called in self._awaiting.values():
                called.awaits_marker = called.was_replayed = False
                self._resumed.append(called)
            self._awaiting.clear()

    def foresee(self, event: Event, marker: MarkerRecorded) -> None:
        """The answer of the task holds a marker.

        Raises:
            HistoryError: It cannot be read.
        """
        mark = self._read(event, marker)
        called = self._calls.get(mark.seq)
        if mark.seq not in self._past and (called is None or called.awaits_marker):
            self.foreseen.append((event, mark, marker))
            self.release()

    def release(self, *, is_idle: bool = False) -> None:
        """Tell the code of what history holds, as far as it has been called.

        Args:
            is_idle: Nothing else happens: what was told later at first would never be told now.

        Raises:
            HistoryError: History has two ends of one.
        """
        while self.foreseen:
            event, mark, marker = self.foreseen[0]
            called = self._calls.get(mark.seq)
            if called is None or (self._is_held(mark) and not is_idle):
                return
            if not called.awaits_marker:
                raise self._ledger.impossible(event, "marks a local activity that has ended before")
            if self._mistaken is None and not called.is_of(mark):
                self._mistaken = event, called
            self.foreseen.popleft()
            self._end(called, mark, marker.details.get("result", ()), marker.failure)

    def take_ended(self) -> list[tuple[CalledLocalActivity, End]]:
        """Those whose end the code is told now; its time goes on to that."""
        if not self.ended:
            return []
        ended, self.ended = self.ended, []
        self._loop.time_ns = max(self._loop.time_ns, *(end.at or 0 for _, end in ended), 0)
        return ended

    def count_activation(self) -> None:
        """The code is told something."""
        self._index += 1

    def take_marker(self, event: Event, marker: MarkerRecorded) -> bool:
        """Take the marker of an end that the code was told of ahead.

        Returns:
            False when the end was found out here, so that the marker is the next command in line.

        Raises:
            NondeterminismError: The code has not called it.
            HistoryError: The marker cannot be read.
        """
        mark = self._read(event, marker)
        if mark.seq in self._past:
            raise self._ledger.impossible(event, "marks a local activity that history has the end of")
        called = self._calls.get(mark.seq)
        if called is None:
            raise self._ledger.disagree(event, None)
        if not called.was_replayed:
            return False
        if not called.is_resolved:
            raise self._ledger.impossible(event, "marks a local activity that waits for nothing")
        if self.checks_ids and not called.is_of(mark):
            raise self._ledger.disagree(event, MarkedLocalActivity(self, called, _mark_of(called)))
        self.forget(called)
        self._ledger.last_event_id = event.event_id
        return True

    def mistaken(self) -> NondeterminismError | None:
        """The disagreement in which the code was told the outcome of another local activity; None when it never was."""
        if self._mistaken is None:
            return None
        event, called = self._mistaken
        return self._ledger.disagree(event, MarkedLocalActivity(self, called, _mark_of(called)))

    def _read(self, event: Event, marker: MarkerRecorded) -> LocalActivityMark:
        mark = local_activity_mark(marker)
        if mark is None:
            raise self._ledger.impossible(event, "marks a local activity and cannot be read")
        return mark

    def _is_held(self, mark: LocalActivityMark) -> bool:
        return mark.activation_index is not None and mark.activation_index > self._index


def _cancelled(called: CalledLocalActivity) -> LocalActivityOutcome:
    return LocalActivityOutcome(seq=called.seq, attempt=called.attempt, failure=_CANCELLED)


def _mark_of(called: CalledLocalActivity) -> LocalActivityMark:
    return LocalActivityMark(
        seq=called.seq,
        attempt=called.attempt,
        activity_id=called.activity_id,
        activity_type=called.activity.name,
    )
