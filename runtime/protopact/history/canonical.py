"""Histories in the canonical spelling of protobuf's JSON, read by structs that msgspec fills.

It is what servers and SDKs write: camel case, full names of enums, 64-bit integers as strings, standard base64. Several
times as fast as `history.json`, which reads everything else, and says what is wrong with what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, TypeAlias, cast, get_args, get_origin

import msgspec

from protopact.history import event as ev
from protopact.history.enums import NAMES
from protopact.history.failure import Failure
from protopact.history.message import Field, Message, attributes_name
from protopact.history.spelling import SCALARS, MalformedError, read_timestamp, upper_snake
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payloads

__all__ = ["read"]

_Value: TypeAlias = Any  # of a field, as the field's type in the event model says
_Convert: TypeAlias = Callable[[_Value], _Value]
_Leaf: TypeAlias = tuple[Any, Any, _Convert | None]  # type in the JSON, default, and what makes the field's value of it


def read(text: str) -> list[ev.Event] | None:
    """The events of a history.

    Args:
        text: Temporal's JSON.

    Returns:
        The events; None when something is spelt in another way, or cannot be read.
    """
    if '"event_id"' in text:
        return None
    try:
        return _history_reader().read(text)
    except (msgspec.DecodeError, MalformedError, LookupError, ValueError, TypeError):
        return None


class _Payloads(msgspec.Struct, frozen=True, gc=False):
    """`temporal.api.common.v1.Payloads`, where it is the value of a map."""

    payloads: Payloads = ()


class _Reader:
    """Reads one struct of the event model.

    Attributes:
        wire: A struct of the same nested shape as the JSON.
        build: Makes the struct of its wire form.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        fields = Message.of(struct).fields
        shape: dict[str, Any] = {}  # from JSON name to a leaf's type and default, or to another such dict
        converts: list[tuple[str, _Convert]] = []
        for field in fields:
            kind, default, convert = _leaf(field)
            node = shape
            for key in field.path[:-1]:
                node = node.setdefault(key, {})
            node[field.path[-1]] = (kind, default)
            if convert is not None:
                converts.append((field.name, convert))
        self.wire = _struct_of(struct.__name__, shape)
        self.build = _builder(struct, fields, dict(converts))


def _builder(struct: type[msgspec.Struct], fields: Sequence[Field], converts: Mapping[str, _Convert]) -> _Convert:
    """What makes a struct of its wire form: one call, compiled, because a loop over the fields takes twice the time."""
    names = {"struct": struct} | {f"convert_{name}": convert for name, convert in converts.items()}
    values = [
        f"{each.name}=convert_{each.name}({value})" if each.name in converts else f"{each.name}={value}"
        for each in fields
        for value in (".".join(("wire", *each.path)),)
    ]
    build: _Convert = eval(f"lambda wire: struct({', '.join(values)})", names)  # noqa: S307 - of names of the event model alone
    return build


def _struct_of(name: str, shape: Mapping[str, Any]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    for key, leaf in shape.items():
        if isinstance(leaf, dict):
            inner = _struct_of(f"{name}_{key}", cast("Mapping[str, Any]", leaf))
            fields.append((key, inner, inner()))
        else:
            fields.append((key, *leaf))
    return msgspec.defstruct(name, fields, frozen=True, gc=False)


def _leaf(field: Field) -> _Leaf:
    hint = field.hint
    options = get_args(hint)
    if type(None) in options:
        (hint,) = (each for each in options if each is not type(None))
    if field.enum is not None:
        names = {field.enum + name: name for name in NAMES[field.enum]} | {"": ""}
        return str, "", names.__getitem__
    if hint in _TIMES:
        read, zero = _TIMES[hint], field.codec.zero
        return str, "", lambda text: read(text) if text else zero
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is not None:
        return _collection(hint)
    if issubclass(hint, Failure):
        # A failure holds a failure: rare, and read by what reads everything.
        return Any, None, lambda found: None if found is None else field.codec.read(found)
    reader = _Reader(hint)
    return reader.wire | None, None, lambda found: None if found is None else reader.build(found)


def _collection(hint: Any) -> _Leaf:  # noqa: ANN401 - a type expression
    empty = msgspec.field(default_factory=dict[str, object])
    if hint == dict[str, Payloads]:
        return dict[str, _Payloads], empty, lambda found: {key: each.payloads for key, each in found.items()}
    return hint, empty if get_origin(hint) is dict else (), None


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError


_SECOND = len("2026-01-01T00:00:00")
_NANOSECONDS = [10**count for count in range(9, -1, -1)]
"""For each count of decimals how many nanoseconds the last one is."""


@lru_cache(1024)
def _second(text: str) -> int:
    return read_timestamp(f"{text}Z")


def _timestamp(text: str) -> Timestamp:
    """A time in UTC; events of one second are many."""
    second, point, decimals = text[:_SECOND], text[_SECOND : _SECOND + 1], text[_SECOND + 1 : -1]
    if text == f"{second}Z":
        return Timestamp(_second(second))
    if point != "." or text[-1] != "Z" or not (decimals.isdecimal() and decimals.isascii()):
        raise ValueError(text)
    return Timestamp(_second(second) + int(decimals) * _NANOSECONDS[len(decimals)])


_TIMES: Mapping[object, _Convert] = {
    Timestamp: _timestamp,
    Duration: lru_cache(1024)(SCALARS[Duration].read),
}
_SCALARS: Mapping[object, _Leaf] = {
    str: (str, "", None),
    int: (int, 0, None),
    float: (float, 0.0, None),
    bytes: (bytes, b"", None),
    bool: (Any, False, _boolean),  # the decoder would take text for it
}


# Events.


class _HistoryReader:
    """Reads whole histories. To make one costs what a few thousand events cost: it is made when first needed."""

    def __init__(self) -> None:
        kinds = [kind for kind in get_args(ev.Attributes) if kind is not ev.Ignorable]
        readers = {attributes_name(kind): _Reader(kind) for kind in kinds}
        self._metadata = _Reader(ev.UserMetadata)
        self._event_types = {
            f"EVENT_TYPE_{upper_snake(kind.__name__)}": (attrgetter(name), readers[name].build)
            for kind, name in zip(kinds, readers, strict=True)
        }
        fields = [("eventId", int), ("eventTime", str), ("eventType", str)]
        messages = {"userMetadata": self._metadata} | readers
        optional = [(name, reader.wire | None, None) for name, reader in messages.items()]
        event: Any = msgspec.defstruct("Event", [*fields, *optional], frozen=True, gc=False)
        history: Any = msgspec.defstruct("History", [("events", list[event])], gc=False)
        # Not strict: integers of 64 bits are text.
        self._decoder = msgspec.json.Decoder(history, strict=False)

    def read(self, text: str) -> list[ev.Event]:
        """The events; raises all sorts of things when something is spelt in another way."""
        return [self._event(event) for event in self._decoder.decode(text).events]

    def _event(self, wire: Any) -> ev.Event:  # noqa: ANN401 - a struct made above, of no name
        attributes_of, build = self._event_types[wire.eventType]
        attributes = attributes_of(wire)
        if attributes is None:
            raise LookupError(wire.eventType)
        metadata = wire.userMetadata
        if metadata is not None:
            metadata = self._metadata.build(metadata)
        return ev.Event(wire.eventId, _timestamp(wire.eventTime), build(attributes), metadata)


_history_reader = cache(_HistoryReader)
