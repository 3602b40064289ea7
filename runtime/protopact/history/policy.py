"""The retry policy as history holds it."""

from __future__ import annotations

import msgspec

from protopact.history.time import Duration

__all__ = ["RetryPolicy"]


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """`temporal.api.common.v1.RetryPolicy`."""

    initial_interval: Duration = Duration(0)
    backoff_coefficient: float = 0.0
    maximum_interval: Duration = Duration(0)
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()
