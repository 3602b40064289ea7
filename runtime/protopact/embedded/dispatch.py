"""Activities, from being scheduled to being closed: who runs which attempt, its deadlines, what follows its outcome.

The process that holds the run writes the activity's history and decides about retries. The process that runs an attempt
watches its start-to-close and heartbeat time-outs. Often they are the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protopact.activity import CancellationReason
from protopact.embedded.activity import OUTSIDE, Activity
from protopact.embedded.attempt import Attempt, AttemptKey, Cancelled, Completed, Failed, WillCompleteAsync
from protopact.embedded.attempt import Outcome as AttemptOutcome
from protopact.embedded.inbox import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    AttemptHeartbeat,
    AttemptLeft,
    AttemptLost,
    AttemptTimedOut,
    Outcome,
    Unwanted,
)
from protopact.embedded.priority import place_of
from protopact.embedded.records import RunRow, restore_activity
from protopact.embedded.retry import next_attempt, timeout_failure, what_follows
from protopact.embedded.run import Run
from protopact.embedded.sizes import fitting
from protopact.embedded.tick import Tick
from protopact.errors import RetryState, TimeoutType
from protopact.failure import worker_shutdown
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
)
from protopact.history.failure import CanceledFailureInfo, Failure, ServerFailureInfo, TimeoutFailureInfo
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload, Payloads
from protopact.payload.sizes import oversize

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.worker import Worker

__all__ = ["Dispatch"]

_logger = logging.getLogger(__name__)

_NOT_STARTED: Payloads = (Payload(metadata={"encoding": b"json/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"'),)
"""Details of an activity that was cancelled before it started, as the Temporal server words them."""

_NEVER = Timestamp(1 << 62)


class _Running:
    """An attempt that this process runs."""

    __slots__ = ("attempt", "heartbeat", "heartbeat_at", "limit", "over", "worker")

    def __init__(self, worker: Worker, attempt: Attempt) -> None:
        self.worker = worker
        self.attempt = attempt
        self.limit = attempt.limit
        self.heartbeat = attempt.heartbeat_details
        self.heartbeat_at = attempt.started_time
        self.over = False

    def next_timeout(self) -> tuple[Timestamp, TimeoutType] | None:
        timeouts = [] if self.limit is None else [self.limit]
        if self.attempt.heartbeat_timeout:
            silent = Timestamp(self.heartbeat_at + self.attempt.heartbeat_timeout)
            timeouts.append((silent, TimeoutType.HEARTBEAT))
        return min(timeouts, key=lambda timeout: timeout[0]) if timeouts else None


class Dispatch:
    """The shell's desk for activities."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._running: dict[AttemptKey, _Running] = {}
        self._starved = False

    @property
    def running(self) -> int:
        """Number of attempts that run in this process."""
        return len(self._running)

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts that run in this process."""
        return [running.attempt for running in self._running.values()]

    # -- attempts to start

    def offer(self, tick: Tick, run: Run, activity: Activity) -> None:
        """An attempt may start: here, or wherever it is served."""
        event = activity.event
        worker = self._shell.serving.activity_worker(event.activity_type, event.task_queue)
        if worker is not None:
            worker.ready.add((run.key, activity.scheduled_event_id), place_of(activity.priority))
        else:
            tick.wake.update(self._shell.serving.offered(event.activity_type, event.task_queue))

    def claim(self, tick: Tick) -> None:
        """Take attempts that are known to wait, as far as there are slots."""
        for worker in self._shell.serving.workers:
            self._claim(tick, worker)

    def _claim(self, tick: Tick, worker: Worker) -> None:
        ready = worker.ready
        while ready and worker.free > 0:
            run_key, scheduled_event_id = ready.take()
            run = self._shell.held_run(tick, run_key)
            if run is None:
                self._claim_row(tick, worker, run_key, scheduled_event_id)
                continue
            activity = run.activities.get(scheduled_event_id)
            if activity is None or activity.holder is not None or activity.due_at > tick.now:
                continue
            if self._take(tick, run, activity):
                if not run.locked:
                    tick.touch(run)
                self._start(tick, worker, run, activity)

    def _take(self, tick: Tick, run: Run, activity: Activity) -> bool:
        """Claim a waiting attempt; false when another process has been quicker."""
        me = self._shell.process_id
        # What this tick has changed nobody else can have seen, and the row does not show it yet.
        shared = activity.stored and activity.scheduled_event_id not in run.changed_activities
        if shared and (self._shell.serving.has_peers or run.locked):
            if not self._shell.records.claim_activity(
                run.key, activity.scheduled_event_id, activity.attempt, holder=me, now=tick.now
            ):
                self._refresh(run, activity)
                return False
        else:
            run.changed_activities[activity.scheduled_event_id] = None
            run.changed = True
        activity.holder = me
        activity.started_at = tick.now
        run.plan_activity(activity, tick.now)
        return True

    def claim_elsewhere(self, tick: Tick) -> None:
        """Take attempts, also of runs that other processes hold, or nobody, as far as there are slots."""
        records = self._shell.records
        self._starved = False
        soonest = list[Timestamp]()
        for worker in self._shell.serving.workers:
            served = worker.served
            if not served.activity_types:
                continue
            types, queues = served.activity_types, served.activity_queues
            limit = worker.free
            while worker.free > 0:
                rows = records.waiting_activities(types, queues, now=tick.now, limit=limit)
                for row in rows:
                    # A run that is held here may know better than its rows, and has made its offers.
                    if self._shell.held_run(tick, row.run_key) is None:
                        worker.ready.add((row.run_key, row.scheduled_event_id), place_of(row.priority))
                self._claim(tick, worker)
                if len(rows) < limit:
                    break
                limit *= 2
            if worker.free <= 0:
                self._starved = True
            upcoming = records.next_waiting_activity(types, queues, now=tick.now)
            if upcoming is not None:
                soonest.append(upcoming)
        self._shell.agenda.set("activities", min(soonest) if soonest else None)

    def _claim_row(self, tick: Tick, worker: Worker, run_key: int, scheduled_event_id: int) -> None:
        shell = self._shell
        run_row, row = shell.records.run(run_key), shell.records.activity(run_key, scheduled_event_id)
        if (
            run_row is None
            or run_row.status
            or row is None
            or row.due_at > tick.now
            or not shell.records.claim_activity(
                run_key, scheduled_event_id, row.attempt, holder=shell.process_id, now=tick.now
            )
        ):
            return
        event = shell.records.event(row.run_key, row.scheduled_event_id)
        assert isinstance(event.attributes, ActivityTaskScheduled)
        activity = Activity(row.scheduled_event_id, event.event_time, event.attributes, row.priority)
        restore_activity(activity, row)
        activity.holder = shell.process_id
        activity.started_at = tick.now
        self._start(tick, worker, run_row, activity)

    def _start(self, tick: Tick, worker: Worker, run: Run | RunRow, activity: Activity) -> None:
        event = activity.event
        key = (run.key, activity.scheduled_event_id, activity.attempt)
        attempt = Attempt(
            key=key,
            activity_type=event.activity_type,
            activity_id=event.activity_id,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            workflow_type=run.workflow_type,
            task_queue=event.task_queue,
            input=event.input,
            headers=event.header,
            attempt=activity.attempt,
            scheduled_time=activity.scheduled_time,
            attempt_scheduled_time=activity.due_at,
            started_time=tick.now,
            schedule_to_close_timeout=event.schedule_to_close_timeout,
            start_to_close_timeout=event.start_to_close_timeout,
            heartbeat_timeout=event.heartbeat_timeout,
            retry_policy=event.retry_policy,
            heartbeat_details=activity.heartbeat,
            priority=activity.priority,
        )
        worker.busy += 1
        running = self._running[key] = _Running(worker, attempt)
        timeout = running.next_timeout()
        if timeout is not None:
            self._shell.agenda.set(key, timeout[0])
        tick.start.append((worker, attempt))

    # -- attempts that run

    def heartbeat(self, attempt: Attempt, details: Payloads) -> None:
        """Take a heartbeat from the runner."""
        running = self._running.get(attempt.key)
        if running is None or running.over:
            return
        running.heartbeat = details
        running.heartbeat_at = self._shell.clock.now()
        self._shell.tell(lambda tick: self._record_heartbeat(tick, running))

    def _record_heartbeat(self, tick: Tick, running: _Running) -> None:
        if running.over:
            return
        run_key, scheduled_event_id, _ = running.attempt.key
        run = self._shell.runs.get(run_key)
        activity = None if run is None else run.activities.get(scheduled_event_id)
        if activity is not None:
            activity.heartbeat = running.heartbeat
        tick.heartbeats[running.attempt.key] = running.heartbeat

    def done(self, attempt: Attempt, outcome: AttemptOutcome) -> None:
        """Take an outcome from the runner."""
        running = self._running.pop(attempt.key)
        running.worker.busy -= 1
        self._shell.agenda.set(running.attempt.key, None)
        if self._starved:
            self._shell.matching.wanted = True
        if running.over:
            self._shell.look()  # a slot is free
        else:
            running.over = True
            self._shell.tell(lambda tick: self._deliver(tick, running, outcome))

    def expire(self, tick: Tick, key: AttemptKey) -> None:
        """An attempt of this process may have passed a time-out."""
        running = self._running.get(key)
        timeout = None if running is None or running.over else running.next_timeout()
        if running is None or timeout is None:
            return
        when, timeout_type = timeout
        if when > tick.now:
            self._shell.agenda.set(key, when)
            return
        running.over = True
        tick.cancel.append((running.worker, key, CancellationReason.TIMED_OUT))
        self._deliver(tick, running, timeout_type)

    def _deliver(self, tick: Tick, running: _Running, outcome: AttemptOutcome | TimeoutType) -> None:
        run_key, scheduled_event_id, number = running.attempt.key
        item = _item(running, outcome)
        run = self._shell.held_run(tick, run_key)
        if run is not None:
            self._shell.delivery.apply(tick, run, item, None)
            return
        row = self._shell.records.run(run_key)
        activity = self._shell.records.activity(run_key, scheduled_event_id)
        if row is not None and activity is not None and activity.attempt == number:
            self._shell.delivery.post(tick, row, item, None)

    def undo(self, tick: Tick) -> None:
        """A tick has failed: nothing that it started was started."""
        for worker, attempt in tick.start:
            del self._running[attempt.key]
            worker.busy -= 1
            self._shell.agenda.set(attempt.key, None)
            run_key, scheduled_event_id, _ = attempt.key
            run = self._shell.runs.get(run_key)
            if run is not None:  # codecs are at work for it, so it stays in memory, and must not believe the claim
                activity = run.activities[scheduled_event_id]
                activity.holder = activity.started_at = None
                worker.ready.add((run_key, scheduled_event_id), place_of(activity.priority))
        for _, key, _ in tick.cancel:
            running = self._running.get(key)
            if running is not None:
                running.over = False

    def cancel_here(self, tick: Tick, notice: Unwanted) -> None:
        """Another process wants an attempt of this one cancelled."""
        key = (notice.run_key, notice.scheduled_event_id, notice.attempt)
        running = self._running.get(key)
        if running is not None:
            reason = CancellationReason[notice.reason]
            if reason is not CancellationReason.CANCEL_REQUESTED:
                running.over = True
            tick.cancel.append((running.worker, key, reason))

    # -- what follows

    def outcome(self, tick: Tick, run: Run, item: Outcome) -> None:
        """Write what an attempt's outcome means for a run that this process holds."""
        activity = run.activities.get(item.scheduled_event_id)
        if activity is None or activity.attempt != item.attempt:
            return  # over already: a time-out, a cancellation or a lost worker came first
        activity.started_at = Timestamp(item.started_at)
        match item:
            case AttemptCompleted():
                if (size := oversize(item.result)) is not None:
                    self._failed(tick, run, activity, item.identity, _too_large("result", size))
                    return
                started = self._write_start(tick, run, activity, item.identity)
                run.append(
                    ActivityTaskCompleted(
                        result=item.result,
                        scheduled_event_id=activity.scheduled_event_id,
                        started_event_id=started,
                        identity=item.identity,
                    ),
                    tick.now,
                )
            case AttemptFailed():
                activity.heartbeat = item.heartbeat or activity.heartbeat
                self._failed(tick, run, activity, item.identity, fitting(item.failure))
            case AttemptCancelled():
                activity.heartbeat = item.heartbeat or activity.heartbeat
                if activity.cancel_event_id:
                    self._cancelled(tick, run, activity, item.identity, item.details)
                else:
                    failure = Failure(message="Cancelled", info=CanceledFailureInfo(details=item.details))
                    self._failed(tick, run, activity, item.identity, failure)
            case AttemptTimedOut():
                activity.heartbeat = item.heartbeat or activity.heartbeat
                self._timed_out(tick, run, activity, item.identity, TimeoutType[item.timeout_type])
            case AttemptLost():
                if activity.holder == OUTSIDE:
                    return  # the process has died after the code had ended
                activity.heartbeat = item.heartbeat or activity.heartbeat
                # What the Temporal server would find out later; there is nothing to wait for here.
                silent = activity.event.heartbeat_timeout
                timeout_type = TimeoutType.HEARTBEAT if silent else TimeoutType.START_TO_CLOSE
                self._timed_out(tick, run, activity, item.identity, timeout_type, lost=True)

    def note(self, tick: Tick, run: Run, item: AttemptLeft | AttemptHeartbeat) -> None:
        """Keep what was heard of an attempt: that it is completed from outside, or a heartbeat from there."""
        activity = run.activities.get(item.scheduled_event_id)
        if activity is None or activity.attempt != item.attempt:
            return
        heard = Timestamp(item.at if isinstance(item, AttemptHeartbeat) else item.heartbeat_at)
        if activity.heartbeat_at is None or heard >= activity.heartbeat_at:
            activity.heartbeat_at = heard
            activity.heartbeat = item.details if isinstance(item, AttemptHeartbeat) else item.heartbeat
        if isinstance(item, AttemptLeft):
            activity.holder = OUTSIDE
            activity.started_at = Timestamp(item.started_at)
            activity.identity = item.identity
        running = self._running.get((run.key, item.scheduled_event_id, item.attempt))
        if running is not None:  # it was heard of before its code has ended
            running.heartbeat, running.heartbeat_at = activity.heartbeat, activity.heartbeat_at
        run.changed_activities[activity.scheduled_event_id] = None
        run.changed = True
        run.plan_activity(activity, tick.now)

    def deadline(self, tick: Tick, run: Run, activity: Activity) -> None:
        """Something is due for an activity: its attempt may start, or it has waited too long."""
        if self._shell.serving.has_peers and activity.holder is None and activity.stored:
            self._refresh(run, activity)
        expiration, start_limit = activity.expiration, activity.start_limit
        identity = self._identity(run, activity)
        attempt_limit = activity.attempt_limit
        if attempt_limit is not None and attempt_limit[0] <= tick.now and attempt_limit[0] < (expiration or _NEVER):
            self._timed_out(tick, run, activity, identity, attempt_limit[1])
        elif expiration is not None and expiration <= tick.now and (start_limit is None or expiration <= start_limit):
            self._cancel_attempt(tick, run, activity, CancellationReason.TIMED_OUT)
            self._timed_out(tick, run, activity, identity, TimeoutType.SCHEDULE_TO_CLOSE)
        elif start_limit is not None and start_limit <= tick.now:
            self._timed_out(tick, run, activity, identity, TimeoutType.SCHEDULE_TO_START)
        else:
            run.plan_activity(activity, tick.now)
            if activity.holder is None and activity.due_at <= tick.now:
                self.offer(tick, run, activity)

    def request_cancel(self, tick: Tick, run: Run, activity: Activity) -> Activity | None:
        """The workflow asks to cancel. Returns the activity when it waits, and so is cancelled on the spot."""
        self.refresh_if_shared(run, activity)
        if activity.holder is None:
            return activity
        self._cancel_attempt(tick, run, activity, CancellationReason.CANCEL_REQUESTED)
        return None

    def cancel_waiting(self, tick: Tick, run: Run, activity: Activity) -> None:
        """Close an activity that was cancelled before an attempt of it started."""
        run.append(
            ActivityTaskCanceled(
                details=_NOT_STARTED,
                latest_cancel_requested_event_id=activity.cancel_event_id,
                scheduled_event_id=activity.scheduled_event_id,
                identity=self._shell.identity,
            ),
            tick.now,
        )

    def abandon(self, tick: Tick, run: Run) -> None:
        """A run is about to close: cancel what runs of its activities."""
        for activity in run.activities.values():
            self.refresh_if_shared(run, activity)
            if activity.holder is not None:
                self._cancel_attempt(tick, run, activity, CancellationReason.NOT_FOUND)

    def _cancel_attempt(self, tick: Tick, run: Run, activity: Activity, reason: CancellationReason) -> None:
        if activity.holder in (None, OUTSIDE):  # who completes it from outside hears of it by a heartbeat
            return
        key = (run.key, activity.scheduled_event_id, activity.attempt)
        if activity.holder != self._shell.process_id:
            tick.notify(activity.holder, Unwanted(*key, reason.name))
            return
        running = self._running.get(key)
        if running is not None:
            if reason is not CancellationReason.CANCEL_REQUESTED:
                running.over = True
            tick.cancel.append((running.worker, key, reason))

    def _failed(self, tick: Tick, run: Run, activity: Activity, identity: str, failure: Failure) -> None:
        state = self._retry(tick, run, activity, failure)
        if state is None:
            return
        started = self._write_start(tick, run, activity, identity)
        run.append(
            ActivityTaskFailed(
                failure=failure,
                scheduled_event_id=activity.scheduled_event_id,
                started_event_id=started,
                identity=identity,
                retry_state=state.name,
            ),
            tick.now,
        )

    def _timed_out(
        self, tick: Tick, run: Run, activity: Activity, identity: str, kind: TimeoutType, *, lost: bool = False
    ) -> None:
        number = activity.attempt
        state = self._retry(tick, run, activity, timeout_failure(kind), lost=lost)
        _logger.warning(
            "activity %s (id %s, attempt %d, workflow %s) %s %s time-out; %s",
            activity.event.activity_type,
            activity.event.activity_id,
            number,
            run.workflow_id,
            "lost its worker, which is recorded as its" if lost else "passed its",
            kind.name,
            what_follows(Duration(activity.due_at - tick.now) if state is None else state, number),
        )
        if state is None:
            return
        message = ""
        if state is RetryState.TIMEOUT and kind is not TimeoutType.SCHEDULE_TO_CLOSE:
            kind = TimeoutType.SCHEDULE_TO_CLOSE
            message = (
                "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
            )
        failure = timeout_failure(kind, activity.heartbeat)
        assert isinstance(failure.info, TimeoutFailureInfo)
        failure = Failure(
            message=message or failure.message, info=failure.info, source=failure.source, cause=activity.last_failure
        )
        started = 0 if activity.started_at is None else self._write_start(tick, run, activity, identity)
        run.append(
            ActivityTaskTimedOut(
                failure=failure,
                scheduled_event_id=activity.scheduled_event_id,
                started_event_id=started,
                retry_state=state.name,
            ),
            tick.now,
        )

    def _cancelled(self, tick: Tick, run: Run, activity: Activity, identity: str, details: Payloads) -> None:
        started = self._write_start(tick, run, activity, identity)
        run.append(
            ActivityTaskCanceled(
                details=details,
                latest_cancel_requested_event_id=activity.cancel_event_id,
                scheduled_event_id=activity.scheduled_event_id,
                started_event_id=started,
                identity=identity,
            ),
            tick.now,
        )

    def _write_start(self, tick: Tick, run: Run, activity: Activity, identity: str) -> int:
        started = run.append(
            ActivityTaskStarted(
                scheduled_event_id=activity.scheduled_event_id,
                identity=activity.identity or self._identity(run, activity) or identity,
                request_id=self._shell.ids.request_id(),
                attempt=activity.attempt,
                last_failure=activity.last_failure,
            ),
            # The server writes this event when the activity closes, with the time of the start.
            activity.started_at or tick.now,
        )
        return started.event_id

    def _retry(
        self, tick: Tick, run: Run, activity: Activity, failure: Failure, *, lost: bool = False
    ) -> RetryState | None:
        """Plan the next attempt; or say why there is none."""
        decided = next_attempt(
            activity.event.retry_policy,
            failure,
            attempt=activity.attempt,
            now=tick.now,
            expiration=activity.expiration,
            cancel_requested=activity.cancel_event_id != 0,
        )
        if isinstance(decided, RetryState):
            return decided
        delay = Duration(0) if lost else decided
        activity.attempt += 1
        activity.due_at = Timestamp(tick.now + delay)
        activity.holder = None
        activity.started_at = None
        activity.heartbeat_at = None
        activity.identity = ""
        activity.last_failure = failure
        run.changed_activities[activity.scheduled_event_id] = None
        run.changed = True
        run.plan_activity(activity, tick.now)
        if delay == 0:
            self.offer(tick, run, activity)
        else:
            tick.wake.update(
                self._shell.serving.activity_elsewhere(activity.event.activity_type, activity.event.task_queue)
            )
        return None

    def _identity(self, run: Run, activity: Activity) -> str:
        running = self._running.get((run.key, activity.scheduled_event_id, activity.attempt))
        return "" if running is None else running.worker.identity

    def refresh_if_shared(self, run: Run, activity: Activity) -> None:
        """Learn whether another process has taken an attempt that waits."""
        if self._shell.serving.has_peers and activity.stored and activity.holder is None:
            self._refresh(run, activity)

    def _refresh(self, run: Run, activity: Activity) -> None:
        """Learn whether another process has taken the attempt."""
        row = self._shell.records.activity(run.key, activity.scheduled_event_id)
        if row is not None and row.attempt == activity.attempt:
            restore_activity(activity, row)


def _item(running: _Running, outcome: AttemptOutcome | TimeoutType) -> Outcome | AttemptLeft:
    _, scheduled_event_id, number = running.attempt.key
    identity, started_at = running.worker.identity, running.attempt.started_time
    head = (scheduled_event_id, number, identity, started_at)
    match outcome:
        case Completed(result=result):
            return AttemptCompleted(*head, result)
        case Failed(failure=failure):
            return AttemptFailed(*head, failure, running.heartbeat)
        case Cancelled(details=details):
            return AttemptCancelled(*head, details, running.heartbeat)
        case WillCompleteAsync():
            return AttemptLeft(*head, running.heartbeat_at, running.heartbeat)
        case TimeoutType():
            return AttemptTimedOut(*head, outcome.name, running.heartbeat)
        case _:
            failure = running.worker.failures.to_failure(worker_shutdown(running.attempt.name))
            return AttemptFailed(*head, failure, running.heartbeat)


def _too_large(what: str, size: int) -> Failure:
    return Failure(
        message=f"Complete {what} exceeds size limit: {size} bytes.",
        source="Server",
        info=ServerFailureInfo(non_retryable=True),
    )
