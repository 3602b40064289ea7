"""Python values of fields, checked before they are assigned to google's messages: scalars, enums, well-known types."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protopact.errors import MessageMismatchError, PayloadError

__all__ = [
    "AnyMessage",
    "AnyValue",
    "Convert",
    "Copy",
    "RefusedError",
    "duration",
    "enum",
    "found",
    "scalar",
    "timestamp",
    "utf8",
    "wrapper",
]

AnyValue: TypeAlias = Any
"""A value that is yet to be checked."""

AnyMessage: TypeAlias = Any
"""A message of google's, whose fields are reached by name: dynamic by nature."""

Convert: TypeAlias = Callable[[AnyValue], AnyValue]
"""A value to what google's message is assigned, or from what it returns."""

Copy: TypeAlias = Callable[[AnyValue, AnyMessage], None]
"""A value into the google message that stands for it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = 1_000_000
_NANOS = 1_000_000_000
_MAX_DURATION = 315_576_000_000  # seconds; google/protobuf/duration.proto
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z; google/protobuf/timestamp.proto
_SHORT = 40  # characters of a value that an error shows
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z


class RefusedError(Exception):
    """A value that a field cannot hold. The path of the field grows as the error leaves the nested messages."""

    def __init__(self, reason: str, kind: type[PayloadError] = MessageMismatchError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.path = ""

    def within(self, step: str) -> RefusedError:
        """The same, seen from one message or element further out."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{separator}{self.path}"
        return self

    def __str__(self) -> str:
        return f"field {self.path}: {self.reason}" if self.path else self.reason


def found(value: object) -> str:
    """What `value` is, for the messages of errors."""
    if value is None:
        return "None"
    if isinstance(value, str | bytes | int | float):
        text = repr(value)
        return f"{type(value).__name__} {text if len(text) <= _SHORT else text[:_SHORT] + '...'}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


class _Never:
    """The class of no value: every value is checked."""


def scalar(field: FieldDescriptor) -> tuple[type, Convert]:
    """The class whose instances google's message takes as they are, and a check for all others."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return str, _string
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes, _bytes
    if field.type == FieldDescriptor.TYPE_BOOL:
        return bool, _bool
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return float, _float
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _Never, _single_float
    return int, _integer


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"expected str, found {found(value)}")
    return value


def utf8(value: object) -> str:
    """A string that was read; google's reader lets proto2 have bytes that are not UTF-8."""
    if not isinstance(value, str):
        raise RefusedError(f"expected text in UTF-8, found {found(value)}", PayloadError)
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise RefusedError(f"expected bytes, found {found(value)}")
    return value


def _bool(value: object) -> bool:
    raise RefusedError(f"expected bool, found {found(value)}")


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusedError(f"expected int, found {found(value)}")
    return value


def _float(value: object) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise RefusedError(f"expected float, found {found(value)}")
    return float(value)


def _single_float(value: object) -> float:
    number = _float(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        raise RefusedError(f"{number!r} is too large for a float of 32 bits", PayloadError) from None
    return number


def enum(cls: type[IntEnum]) -> tuple[type, Convert, Convert]:
    """The class of an enum's values, a check for all others, and the value of a number."""
    members = {member.value: member for member in cls}

    def refuse(value: object) -> int:
        raise RefusedError(f"expected {cls.__module__}.{cls.__qualname__}, found {found(value)}")

    def read(number: int) -> IntEnum:
        return members.get(number) or cls(number)

    return cls, refuse, read


def timestamp() -> tuple[Copy, Convert]:
    """A `google.protobuf.Timestamp` as an aware datetime."""
    return _write_timestamp, _read_timestamp


def _write_timestamp(value: AnyValue, message: AnyMessage) -> None:
    if not isinstance(value, datetime):
        raise RefusedError(f"expected a datetime, found {found(value)}")
    if value.utcoffset() is None:
        raise RefusedError(f"expected a datetime with a time zone, found {value.isoformat()}: use datetime.now(UTC)")
    seconds, microseconds = divmod((value - _EPOCH) // _MICROSECOND, _MICROSECONDS)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise RefusedError(f"{value.isoformat()} is not within the years 1 to 9999 of UTC", PayloadError)
    message.seconds = seconds
    message.nanos = microseconds * 1000


def _read_timestamp(message: AnyMessage) -> datetime:
    if not _FIRST_SECOND <= message.seconds <= _LAST_SECOND or not 0 <= message.nanos < _NANOS:
        raise RefusedError(f"no valid Timestamp: {message.seconds} s and {message.nanos} ns", PayloadError)
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def duration() -> tuple[Copy, Convert]:
    """A `google.protobuf.Duration` as a timedelta."""
    return _write_duration, _read_duration


def _write_duration(value: AnyValue, message: AnyMessage) -> None:
    if not isinstance(value, timedelta):
        raise RefusedError(f"expected a timedelta, found {found(value)}")
    seconds, microseconds = divmod(abs(value) // _MICROSECOND, _MICROSECONDS)
    if seconds > _MAX_DURATION or (seconds == _MAX_DURATION and microseconds):
        raise RefusedError(f"{value} is longer than a Duration can be, 10,000 years", PayloadError)
    sign = -1 if value < timedelta(0) else 1  # of both parts: -1.5 s is -1 s and -500,000,000 ns
    message.seconds = sign * seconds
    message.nanos = sign * microseconds * 1000


def _read_duration(message: AnyMessage) -> timedelta:
    seconds, nanos = message.seconds, message.nanos
    if abs(seconds) > _MAX_DURATION or abs(nanos) >= _NANOS or (seconds < 0 < nanos) or (nanos < 0 < seconds):
        raise RefusedError(f"no valid Duration: {seconds} s and {nanos} ns", PayloadError)
    return timedelta(seconds=seconds, microseconds=abs(nanos) // 1000 * (-1 if nanos < 0 else 1))


def wrapper(descriptor: Descriptor) -> tuple[Copy, Convert]:
    """A wrapper such as `google.protobuf.Int64Value` as its value."""
    kind, check = scalar(descriptor.fields_by_name["value"])

    def write(value: AnyValue, message: AnyMessage) -> None:
        message.value = value if value.__class__ is kind else check(value)

    def read(message: AnyMessage) -> AnyValue:
        return message.value

    return write, read
