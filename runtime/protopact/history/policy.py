"""Policies of calls as history holds them."""

from __future__ import annotations

import msgspec

from protopact.history.time import Duration

__all__ = ["Priority", "RetryPolicy"]


class Priority(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """`temporal.api.common.v1.Priority`."""

    priority_key: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0.0


class RetryPolicy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`temporal.api.common.v1.RetryPolicy`."""

    initial_interval: Duration = Duration(0)
    backoff_coefficient: float = 0.0
    maximum_interval: Duration = Duration(0)
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()
