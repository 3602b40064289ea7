"""What a contract or a call says, as history says it."""

from __future__ import annotations

from datetime import timedelta

from protopact.history.event import Priority as PriorityAttributes
from protopact.history.event import RetryPolicy as RetryPolicyAttributes
from protopact.history.time import Duration, from_timedelta
from protopact.limits import LONGEST
from protopact.policy import Priority, RetryPolicy

__all__ = ["duration", "priority", "retry_policy"]


def duration(value: timedelta | None) -> Duration:
    """A time-out; zero when there is none."""
    return Duration(0) if value is None else from_timedelta(value)


def priority(value: Priority) -> PriorityAttributes | None:
    """A priority; None when it says nothing."""
    if value == Priority():
        return None
    return PriorityAttributes(
        priority_key=value.priority_key or 0,
        fairness_key=value.fairness_key or "",
        fairness_weight=value.fairness_weight or 0.0,
    )


def retry_policy(policy: RetryPolicy) -> RetryPolicyAttributes:
    """A retry policy; a longest interval that it does not say is the server's, a hundred times the first."""
    maximum = policy.maximum_interval or min(policy.initial_interval * 100, LONGEST)
    return RetryPolicyAttributes(
        initial_interval=from_timedelta(policy.initial_interval),
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=from_timedelta(maximum),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )
