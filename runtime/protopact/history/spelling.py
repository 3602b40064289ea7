"""How values are spelt in protobuf's JSON: scalars, enums, lists and maps."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from protopact.history.enums import NAMES
from protopact.history.time import Duration, Timestamp

__all__ = [
    "INT32",
    "SCALARS",
    "Codec",
    "Json",
    "MalformedError",
    "at",
    "elements",
    "enum",
    "expected",
    "fields_of",
    "list_of",
    "map_of",
    "read_int",
    "read_timestamp",
    "snake",
    "upper_snake",
    "write_timestamp",
]

T = TypeVar("T")

Json: TypeAlias = Any  # JSON as msgspec decodes it; every codec checks what it takes


class MalformedError(Exception):
    """JSON that is not what a field holds; `place` grows from the value to the event."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.reason, self.place = reason, place


def expected(what: str, found: Json) -> MalformedError:
    """The error for JSON that is something else."""
    shown = msgspec.json.encode(found).decode()
    return MalformedError(f"expected {what}, found {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}")


_SHOWN = 60


# Scalars.


@dataclass(frozen=True, slots=True)
class Codec:
    """How values of one type are spelt.

    Attributes:
        read: The value of some JSON; raises `MalformedError`.
        write: The JSON of a value.
        zero: The value of an absent field, which is not written.
        rest: What the JSON holds beside what is read, under its JSON names, empty when there is nothing; None when
            values of the type have no parts.
    """

    read: Callable[[Json], Any]  # Any: the type of the field that it reads
    write: Callable[[Any], Json]
    zero: object
    rest: Callable[[Json], Json] | None = None


def _read_bool(value: Json) -> bool:
    if value is True or value is False:
        return value
    raise expected("true or false", value)


def _read_str(value: Json) -> str:
    if isinstance(value, str):
        return value
    raise expected("text", value)


def read_int(value: Json) -> int:
    """An integer, as a number or as text."""
    if type(value) is int:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise expected("an integer", value)


def _read_float(value: Json) -> float:
    if type(value) in {int, float}:
        return float(value)
    try:
        return float(_read_str(value))
    except ValueError:
        raise expected("a number", value) from None


def _read_bytes(value: Json) -> bytes:
    try:
        standard = _read_str(value).translate(_URL_SAFE)
        return b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise expected("base64", value) from None


def _write_bytes(value: bytes) -> str:
    return b64encode(value).decode()


def read_timestamp(value: Json) -> Timestamp:
    """An RFC 3339 time."""
    match = _TIME.fullmatch(_read_str(value))
    if match is None:
        raise expected("an RFC 3339 time", value)
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone) - _EPOCH
    except ValueError:
        raise expected("an RFC 3339 time", value) from None
    return Timestamp((moment.days * 86_400 + moment.seconds) * _SECOND + _nanoseconds(fraction))


def write_timestamp(value: int) -> str:
    """A time in UTC."""
    seconds, fraction = divmod(value, _SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{whole}{_fraction(fraction)}Z"


def _read_duration(value: Json) -> Duration:
    match = _DURATION.fullmatch(_read_str(value))
    if match is None:
        raise expected('a duration such as "10s"', value)
    sign, whole, fraction = match.groups()
    size = int(whole) * _SECOND + _nanoseconds(fraction)
    return Duration(-size if sign else size)


def _write_duration(value: int) -> str:
    seconds, fraction = divmod(abs(value), _SECOND)
    return f"{'-' if value < 0 else ''}{seconds}{_fraction(fraction)}s"


def _nanoseconds(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanoseconds: int) -> str:
    """Decimals in groups of three, as protobuf writes them."""
    if nanoseconds == 0:
        return ""
    text = f".{nanoseconds:09}"
    while text.endswith("000"):
        text = text[:-3]
    return text


_SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(-?)(\d+)(?:\.(\d{1,9}))?s", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")


def _same(value: object) -> object:
    return value


INT32 = Codec(read_int, _same, 0)
SCALARS: Mapping[object, Codec] = {
    bool: Codec(_read_bool, _same, zero=False),
    str: Codec(_read_str, _same, ""),
    int: Codec(read_int, str, 0),
    float: Codec(_read_float, _same, 0.0),
    bytes: Codec(_read_bytes, _write_bytes, b""),
    Timestamp: Codec(read_timestamp, write_timestamp, 0),
    # A time-out of no length may stand in a file, though the event model does not tell it from none.
    Duration: Codec(_read_duration, _write_duration, 0, lambda value: None if _read_duration(value) else "0s"),
}


def enum(prefix: str) -> Codec:
    """Names without `prefix`, in either spelling, or numbers; the unspecified value is no name at all."""
    by_number = NAMES[prefix]
    known = {prefix + name: name for name in by_number} | {prefix + "UNSPECIFIED": ""}

    def read(value: Json) -> str:
        if type(value) is int:
            return by_number[value] if 0 <= value < len(by_number) else str(value)
        name = _read_str(value)
        short = known.get(name)
        if short is not None:
            return short
        short = name[len(prefix) :] if name.startswith(prefix) else upper_snake(name)
        return "" if short == "UNSPECIFIED" else short

    def write(name: str) -> Json:
        return int(name) if name.isdecimal() else prefix + name

    return Codec(read, write, "")


_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def upper_snake(name: str) -> str:
    """`StartToClose`, the older spelling of a name, as `START_TO_CLOSE`."""
    return name if "_" in name or name.isupper() else _WORD.sub("_", name).upper()


# Collections.


def list_of(item: Codec) -> Codec:
    """A repeated field."""

    def read(value: Json) -> tuple[object, ...]:
        return tuple([at(f"[{index}]", item.read, each) for index, each in enumerate(elements(value))])

    def rest(value: Json) -> Json:
        assert item.rest is not None
        rests = [item.rest(each) for each in elements(value)]
        return rests if any(rests) else None

    return Codec(read, lambda values: [item.write(each) for each in values], (), rest if item.rest else None)


def map_of(item: Codec) -> Codec:
    """A map by names."""

    def read(value: Json) -> dict[str, object]:
        return {name: at(f".{name}", item.read, each) for name, each in fields_of(value).items()}

    def rest(value: Json) -> Json:
        assert item.rest is not None
        return {name: left for name, each in fields_of(value).items() if (left := item.rest(each))}

    return Codec(
        read, lambda values: {name: item.write(each) for name, each in values.items()}, {}, rest if item.rest else None
    )


def elements(value: Json) -> Sequence[Json]:
    """The elements of a JSON list."""
    if isinstance(value, list):
        return cast("Sequence[Json]", value)
    raise expected("a list", value)


def fields_of(value: Json) -> dict[str, Json]:
    """The fields of a JSON object."""
    if isinstance(value, dict):
        return cast("dict[str, Json]", value)
    raise expected("an object", value)


def at(place: str, read: Callable[[Json], T], value: Json) -> T:
    """Read the value that stands at `place`."""
    try:
        return read(value)
    except MalformedError as error:
        error.place = place + error.place
        raise


def snake(name: str) -> str:
    """The protobuf name of a field, of its JSON name."""
    return _WORD.sub("_", name).lower()
