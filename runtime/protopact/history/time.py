"""Units of time in a history: whole nanoseconds, as in protobuf's `Timestamp` and `Duration`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NewType

__all__ = ["Duration", "Timestamp", "from_datetime", "from_timedelta", "to_datetime", "to_timedelta"]

Timestamp = NewType("Timestamp", int)
"""Nanoseconds since the Unix epoch, UTC."""

Duration = NewType("Duration", int)
"""Nanoseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(value: Timestamp) -> datetime:
    """Aware UTC datetime of `value`, rounded down to microseconds."""
    return _EPOCH + timedelta(microseconds=value // 1000)


def from_datetime(value: datetime) -> Timestamp:
    """Timestamp of an aware datetime."""
    return Timestamp((value - _EPOCH) // _MICROSECOND * 1000)


def to_timedelta(value: Duration) -> timedelta:
    """Timedelta of `value`, rounded down to microseconds."""
    return timedelta(microseconds=value // 1000)


def from_timedelta(value: timedelta) -> Duration:
    """Duration of a timedelta."""
    return Duration(value // _MICROSECOND * 1000)
