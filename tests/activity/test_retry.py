"""Temporal's retry rules: `embedded/retry.py`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protopact.embedded.retry import backoff, is_retryable, next_attempt, timeout_failure
from protopact.errors import RetryState, TimeoutType
from protopact.history.event import RetryPolicy
from protopact.history.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    FailureInfo,
    ResetWorkflowFailureInfo,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload

SECOND = 1_000_000_000
NOW = Timestamp(1_700_000_000 * SECOND)


def seconds(value: float) -> Duration:
    return Duration(int(value * SECOND))


def policy(
    *,
    initial: float = 1,
    coefficient: float = 2.0,
    maximum: float = 100,
    attempts: int = 0,
    non_retryable: tuple[str, ...] = (),
) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=seconds(initial),
        backoff_coefficient=coefficient,
        maximum_interval=seconds(maximum),
        maximum_attempts=attempts,
        non_retryable_error_types=non_retryable,
    )


def application(type_: str = "", *, non_retryable: bool = False, delay: float | None = None) -> Failure:
    next_delay = None if delay is None else seconds(delay)
    return Failure(info=ApplicationFailureInfo(type=type_, non_retryable=non_retryable, next_retry_delay=next_delay))


@pytest.mark.parametrize(
    ("given_policy", "waits"),
    [
        (policy(), [1, 2, 4, 8, 16, 32, 64, 100, 100]),
        (policy(initial=0.1, coefficient=1.0), [0.1, 0.1, 0.1]),
        (policy(initial=3, coefficient=1.5, maximum=5), [3, 4.5, 5, 5]),
        (RetryPolicy(), [1, 2, 4, 8, 16, 32, 64, 100, 100]),
        (RetryPolicy(initial_interval=seconds(5)), [5, 10, 20, 40, 80, 160, 320, 500, 500]),
        (policy(coefficient=1e300, maximum=7), [1, 7, 7, 7]),
    ],
)
def test_back_off(given_policy: RetryPolicy, waits: list[float]) -> None:
    assert [backoff(given_policy, attempt) for attempt in range(1, len(waits) + 1)] == [seconds(wait) for wait in waits]


@given(
    initial=st.integers(1, 10**15),
    coefficient=st.floats(1, 1e9),
    maximum=st.integers(0, 10**18),
    attempt=st.integers(1, 10**6),
)
def test_back_off_grows_within_its_limits(initial: int, coefficient: float, maximum: int, attempt: int) -> None:
    given_policy = RetryPolicy(
        initial_interval=Duration(initial),
        backoff_coefficient=coefficient,
        maximum_interval=Duration(max(initial, maximum) if maximum else 0),
    )
    wait = backoff(given_policy, attempt)
    assert initial <= wait <= (given_policy.maximum_interval or initial * 100)
    assert backoff(given_policy, attempt + 1) >= wait


@pytest.mark.parametrize(
    ("info", "retryable"),
    [
        (None, True),
        (ApplicationFailureInfo(), True),
        (ApplicationFailureInfo(type="Transient"), True),
        (ApplicationFailureInfo(type="Transient", non_retryable=True), False),
        (ApplicationFailureInfo(type="Fatal"), False),
        (TimeoutFailureInfo(timeout_type="START_TO_CLOSE"), True),
        (TimeoutFailureInfo(timeout_type="HEARTBEAT"), True),
        (TimeoutFailureInfo(timeout_type="SCHEDULE_TO_START"), False),
        (TimeoutFailureInfo(timeout_type="SCHEDULE_TO_CLOSE"), False),
        (TimeoutFailureInfo(), False),
        (CanceledFailureInfo(), False),
        (TerminatedFailureInfo(), False),
        (ServerFailureInfo(), True),
        (ServerFailureInfo(non_retryable=True), False),
        (ResetWorkflowFailureInfo(), True),
        (ActivityFailureInfo(), True),
        (ChildWorkflowFailureInfo(), True),
    ],
)
def test_which_failures_are_retried(info: FailureInfo | None, retryable: bool) -> None:  # noqa: FBT001 - a parametrized expectation
    assert is_retryable(Failure(info=info), ("Fatal",)) is retryable


@pytest.mark.parametrize("timeout_type", [TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT])
def test_a_policy_can_name_a_time_out(timeout_type: TimeoutType) -> None:
    name = {TimeoutType.START_TO_CLOSE: "StartToClose", TimeoutType.HEARTBEAT: "Heartbeat"}[timeout_type]
    failure = timeout_failure(timeout_type)
    assert is_retryable(failure)
    assert is_retryable(failure, (name,))
    assert not is_retryable(failure, (f"TemporalTimeout:{name}",))


@pytest.mark.parametrize(
    ("timeout_type", "message"),
    [
        (TimeoutType.START_TO_CLOSE, "activity StartToClose timeout"),
        (TimeoutType.SCHEDULE_TO_START, "activity ScheduleToStart timeout"),
        (TimeoutType.SCHEDULE_TO_CLOSE, "activity ScheduleToClose timeout"),
        (TimeoutType.HEARTBEAT, "activity Heartbeat timeout"),
    ],
)
def test_a_time_out_reads_as_the_servers(timeout_type: TimeoutType, message: str) -> None:
    details = (Payload(data=b"5"),)
    failure = timeout_failure(timeout_type, details)
    assert (failure.message, failure.source) == (message, "Server")
    assert failure.info == TimeoutFailureInfo(timeout_type=timeout_type.name, last_heartbeat_details=details)


def test_attempts_end_at_the_maximum() -> None:
    limited = policy(attempts=3)
    assert next_attempt(limited, application(), attempt=1, now=NOW) == seconds(1)
    assert next_attempt(limited, application(), attempt=2, now=NOW) == seconds(2)
    assert next_attempt(limited, application(), attempt=3, now=NOW) is RetryState.MAXIMUM_ATTEMPTS_REACHED
    once = next_attempt(policy(attempts=1), timeout_failure(TimeoutType.START_TO_CLOSE), attempt=1, now=NOW)
    assert once is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_the_next_attempt_starts_no_later_than_the_expiration() -> None:
    at_the_limit = Timestamp(NOW + seconds(4))
    assert next_attempt(policy(), application(), attempt=3, now=NOW, expiration=at_the_limit) == seconds(4)
    just_before = Timestamp(at_the_limit - 1)
    assert next_attempt(policy(), application(), attempt=3, now=NOW, expiration=just_before) is RetryState.TIMEOUT
    asked = application(delay=5)
    assert next_attempt(policy(), asked, attempt=1, now=NOW, expiration=at_the_limit) is RetryState.TIMEOUT


def test_the_delay_that_a_failure_asks_for_overrides_the_policy() -> None:
    assert next_attempt(policy(maximum=10), application(delay=3600), attempt=1, now=NOW) == seconds(3600)
    assert next_attempt(policy(), application(delay=0.001), attempt=9, now=NOW) == seconds(0.001)
    assert next_attempt(policy(), application(delay=0), attempt=2, now=NOW) == seconds(2)
    exhausted = next_attempt(policy(attempts=2), application(delay=1), attempt=2, now=NOW)
    assert exhausted is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_one_reason_goes_before_another() -> None:
    hopeless = application("Fatal", non_retryable=True)
    last = policy(attempts=1, non_retryable=("Fatal",))
    past = Timestamp(NOW - 1)
    assert (
        next_attempt(None, hopeless, attempt=1, now=NOW, expiration=past, cancel_requested=True)
        is RetryState.RETRY_POLICY_NOT_SET
    )
    assert (
        next_attempt(last, hopeless, attempt=1, now=NOW, expiration=past, cancel_requested=True)
        is RetryState.CANCEL_REQUESTED
    )
    assert next_attempt(last, hopeless, attempt=1, now=NOW, expiration=past) is RetryState.NON_RETRYABLE_FAILURE
    assert next_attempt(last, application(), attempt=1, now=NOW, expiration=past) is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert next_attempt(policy(), application(), attempt=1, now=NOW, expiration=past) is RetryState.TIMEOUT


@given(
    attempts=st.integers(0, 5),
    attempt=st.integers(1, 8),
    remaining=st.none() | st.integers(-SECOND, 200 * SECOND),
    delay=st.none() | st.integers(0, 300),
    non_retryable=st.booleans(),
    cancel_requested=st.booleans(),
)
def test_a_retry_breaks_no_limit(
    *,
    attempts: int,
    attempt: int,
    remaining: int | None,
    delay: int | None,
    non_retryable: bool,
    cancel_requested: bool,
) -> None:
    failure = application("T", non_retryable=non_retryable, delay=delay)
    expiration = None if remaining is None else Timestamp(NOW + remaining)
    outcome = next_attempt(
        policy(attempts=attempts),
        failure,
        attempt=attempt,
        now=NOW,
        expiration=expiration,
        cancel_requested=cancel_requested,
    )
    if isinstance(outcome, RetryState):
        assert outcome is not RetryState.IN_PROGRESS
        return
    assert not non_retryable
    assert not cancel_requested
    assert attempts == 0 or attempt < attempts
    assert outcome > 0
    assert expiration is None or NOW + outcome <= expiration
