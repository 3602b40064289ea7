"""Whether a failed attempt is followed by another, and when: Temporal's rules, without clock or state.

The rules are the Temporal server's (`service/history/workflow/retry.go` and `activity.go`; for the delay that a failure
asks for, its pull request 6063). They serve the attempts of activities and, with a policy, the runs of workflows.
"""

from __future__ import annotations

from protopact.errors import RetryState, TimeoutType
from protopact.history.event import RetryPolicy
from protopact.history.failure import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    Failure,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payloads

__all__ = ["backoff", "is_retryable", "next_attempt", "timeout_failure", "what_follows", "with_defaults"]

_DEFAULT_INITIAL_INTERVAL = Duration(1_000_000_000)
_DEFAULT_COEFFICIENT = 2.0
_DEFAULT_MAXIMUM_FACTOR = 100

_CAMEL_CASE = {
    TimeoutType.START_TO_CLOSE: "StartToClose",
    TimeoutType.SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.HEARTBEAT: "Heartbeat",
}


def next_attempt(
    policy: RetryPolicy | None,
    failure: Failure,
    *,
    attempt: int,
    now: Timestamp,
    expiration: Timestamp | None = None,
    cancel_requested: bool = False,
) -> Duration | RetryState:
    """Decide what follows a failed attempt.

    Args:
        policy: Retry policy, as in history; a field that is 0 has Temporal's default. None allows no retry.
        failure: What the attempt failed with; for a time-out, `timeout_failure` of its type.
        attempt: Number of the attempt that failed, from 1.
        now: When it failed.
        expiration: Instant that the next attempt may not start after: the schedule-to-close deadline.
        cancel_requested: Whether the cancellation of the activity was requested.

    Returns:
        The wait before the next attempt; or why there is none, for the closing event. A time-out that closes with
        `RetryState.TIMEOUT` is recorded as the schedule-to-close time-out.
    """
    if policy is None:
        return RetryState.RETRY_POLICY_NOT_SET
    if cancel_requested:
        return RetryState.CANCEL_REQUESTED
    if not is_retryable(failure, policy.non_retryable_error_types):
        return RetryState.NON_RETRYABLE_FAILURE
    if 0 < policy.maximum_attempts <= attempt:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    delay = _requested_delay(failure) or backoff(policy, attempt)
    if expiration is not None and now + delay > expiration:
        return RetryState.TIMEOUT
    return delay


def what_follows(decided: Duration | RetryState, attempt: int) -> str:
    """What `next_attempt` has decided after the failed attempt `attempt`, in words for a log."""
    if isinstance(decided, RetryState):
        return f"it is not tried again ({decided.name})"
    return f"attempt {attempt + 1} follows {f'in {decided / 1e9:g} s' if decided else 'at once'}"


def backoff(policy: RetryPolicy, attempt: int) -> Duration:
    """Wait after the failed attempt `attempt` (from 1): exponential, at most the policy's maximum interval."""
    policy = with_defaults(policy)
    try:
        interval = int(policy.initial_interval * policy.backoff_coefficient ** (attempt - 1))
    except OverflowError:
        return policy.maximum_interval
    return Duration(min(interval, policy.maximum_interval))


def with_defaults(policy: RetryPolicy) -> RetryPolicy:
    """`policy` with Temporal's default in each field that is 0, save the maximum of attempts: there 0 is no limit."""
    initial = policy.initial_interval or _DEFAULT_INITIAL_INTERVAL
    return RetryPolicy(
        initial_interval=initial,
        backoff_coefficient=policy.backoff_coefficient or _DEFAULT_COEFFICIENT,
        maximum_interval=policy.maximum_interval or Duration(initial * _DEFAULT_MAXIMUM_FACTOR),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )


def is_retryable(failure: Failure, non_retryable_error_types: tuple[str, ...] = ()) -> bool:
    """Whether the failure itself allows another attempt.

    Cancellations, terminations, and the schedule-to-start and schedule-to-close time-outs do not. An application
    failure is named by its type, a time-out by `TemporalTimeout:StartToClose` or `TemporalTimeout:Heartbeat`.

    Args:
        failure: What the attempt failed with.
        non_retryable_error_types: Names that the retry policy excludes.
    """
    match failure.info:
        case ApplicationFailureInfo(type=name, non_retryable=non_retryable):
            return not non_retryable and name not in non_retryable_error_types
        case TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE.name | TimeoutType.HEARTBEAT.name as name):
            return f"TemporalTimeout:{_CAMEL_CASE[TimeoutType[name]]}" not in non_retryable_error_types
        case ServerFailureInfo(non_retryable=non_retryable):
            return not non_retryable
        case TimeoutFailureInfo() | CanceledFailureInfo() | TerminatedFailureInfo():
            return False
        case _:
            return True


def timeout_failure(timeout_type: TimeoutType, last_heartbeat_details: Payloads = ()) -> Failure:
    """The failure of an attempt that passed a time-out, worded as the Temporal server does.

    Args:
        timeout_type: Which limit was passed.
        last_heartbeat_details: Details of the last recorded heartbeat; the server adds them to the closing event only.
    """
    return Failure(
        message=f"activity {_CAMEL_CASE[timeout_type]} timeout",
        source="Server",
        info=TimeoutFailureInfo(timeout_type=timeout_type.name, last_heartbeat_details=last_heartbeat_details),
    )


def _requested_delay(failure: Failure) -> Duration | None:
    return failure.info.next_retry_delay if isinstance(failure.info, ApplicationFailureInfo) else None
