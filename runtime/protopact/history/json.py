"""A history in Temporal's JSON form: protobuf's JSON of `temporal.api.history.v1.History`.

It is what `temporal workflow show --output json` and the SDKs write, and what their replayers read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import msgspec

from protopact.errors import HistoryError
from protopact.history import event as ev
from protopact.history.canonical import read as read_canonical
from protopact.history.message import attributes_name, message
from protopact.history.spelling import (
    Codec,
    Json,
    MalformedError,
    at,
    enum,
    fields_of,
    read_int,
    read_timestamp,
    snake,
    upper_snake,
    write_timestamp,
)

__all__ = ["from_json", "read", "to_json"]


def to_json(events: Sequence[ev.Event], *, source: str | None = None) -> str:
    """A history as Temporal's JSON.

    Args:
        events: The history, from its first event.
        source: The JSON that the events were read from: what it holds beside them is written too.

    Returns:
        The text, indented: 64-bit integers as strings, RFC 3339 times, durations in seconds, enums by their full names,
        payloads in base64. Fields with their default are left out.
    """
    written: list[Json] = [_write_event(event) for event in events]
    if source is not None:
        for event, read_from in zip(written, _elements(source)[0], strict=False):
            _merge(event, _rest(read_from))
    return msgspec.json.format(msgspec.json.encode({"events": written}), indent=2).decode() + "\n"


def from_json(text: str) -> list[ev.Event]:
    """A history out of Temporal's JSON.

    Enums and integers may be spelt as older versions did (`WorkflowExecutionStarted`, `5`) and enums as numbers, fields
    by their protobuf names. Unknown fields are ignored.

    Args:
        text: JSON text with an object that has `events`.

    Raises:
        HistoryError: The text is not such a history, or has an event that matters and that this version does not know.
    """
    events, damage = read(text)
    if damage is not None:
        raise damage
    return events


def read(text: str) -> tuple[list[ev.Event], HistoryError | None]:
    """The events of a history in Temporal's JSON up to the first that cannot be read, and why it cannot.

    Args:
        text: JSON text, perhaps the beginning of one.
    """
    canonical = read_canonical(text)
    if canonical is not None:
        return canonical, None
    values, damage = _elements(text)
    events: list[ev.Event] = []
    for index, value in enumerate(values):
        try:
            events.append(_read_event(value))
        except MalformedError as error:
            return events, HistoryError(f"the history is damaged at events[{index}]{error.place}: {error.reason}")
        except HistoryError as error:
            return events, error
    return events, damage


class _Document(msgspec.Struct):
    events: list[Json]


def _elements(text: str) -> tuple[list[Json], HistoryError | None]:
    """The list `events`, or as much of it as is there, and what is wrong with the text."""
    try:
        return msgspec.json.decode(text, type=_Document).events, None
    except msgspec.DecodeError as error:
        damage = HistoryError(
            f"the history is not Temporal's JSON: {error}; expected an object with a list 'events', as "
            f"`temporal workflow show --output json` prints it"
        )
        damage.__cause__ = error
        return list(_salvage(text)), damage


def _salvage(text: str) -> Iterator[Json]:
    """The whole elements of a list `events` whose text is damaged further on."""
    decoder, separators = json.JSONDecoder(), " \t\r\n,"
    position = text.find("[", text.find('"events"')) + 1
    while 0 < position < len(text):
        while position < len(text) and text[position] in separators:
            position += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            return
        yield value


@dataclass(frozen=True, slots=True)
class _EventType:
    name: str
    attributes: str
    codec: Codec


_PREFIX = "EVENT_TYPE_"
_NAME = enum(_PREFIX)
_EVENT_TYPES: Mapping[type[msgspec.Struct], _EventType] = {
    kind: _EventType(
        name=upper_snake(kind.__name__),
        attributes=attributes_name(kind),
        codec=message(kind),
    )
    for kind in get_args(ev.Attributes)
    if kind is not ev.Ignorable
}
_BY_NAME = {event_type.name: event_type for event_type in _EVENT_TYPES.values()}
_USER_METADATA = message(ev.UserMetadata)
_REFUSED = (
    "WORKFLOW_EXECUTION_UPDATE_REJECTED",
    "WORKFLOW_PROPERTIES_MODIFIED_EXTERNALLY",
    "ACTIVITY_PROPERTIES_MODIFIED_EXTERNALLY",
    "NEXUS_OPERATION_",
)
"""Event types that matter to workflow code whatever `workerMayIgnore` says, as Temporal Core has it."""


def _write_event(event: ev.Event) -> dict[str, Json]:
    written: dict[str, Json] = {"eventId": str(event.event_id), "eventTime": write_timestamp(event.event_time)}
    if event.user_metadata is not None:
        written["userMetadata"] = _USER_METADATA.write(event.user_metadata)
    attributes = event.attributes
    if isinstance(attributes, ev.Ignorable):
        return {**written, "eventType": _NAME.write(attributes.event_type), "workerMayIgnore": True}
    kind = _EVENT_TYPES[type(attributes)]
    return {**written, "eventType": _PREFIX + kind.name, kind.attributes: kind.codec.write(attributes)}


def _read_event(value: Json) -> ev.Event:
    fields = fields_of(value)
    event_id = at(".eventId", read_int, _either(fields, "eventId"))
    event_time = at(".eventTime", read_timestamp, _either(fields, "eventTime"))
    name: str = at(".eventType", _NAME.read, _either(fields, "eventType"))
    kind = _BY_NAME.get(name)
    if kind is not None:
        attributes: ev.Attributes = at(f".{kind.attributes}", kind.codec.read, _either(fields, kind.attributes) or {})
    elif _either(fields, "workerMayIgnore") is True and not name.startswith(_REFUSED):
        attributes = ev.Ignorable(event_type=name)
    else:
        raise HistoryError(
            f"event {event_id} of the history is of the type {_NAME.write(name)}, which matters to the workflow's code "
            "and which this version of protopact does not know; replay the history with a version that does"
        )
    metadata = _either(fields, "userMetadata")
    if metadata is None:
        return ev.Event(event_id, event_time, attributes)
    return ev.Event(event_id, event_time, attributes, at(".userMetadata", _USER_METADATA.read, metadata))


def _either(fields: Mapping[str, Json], name: str) -> Json:
    """A field under its JSON name or under its protobuf name."""
    value = fields.get(name)
    return fields.get(_SNAKE[name]) if value is None else value


_HEADER = {"eventId", "eventTime", "eventType", "userMetadata"}
_SNAKE = {
    name: snake(name)
    for name in (*_HEADER, "workerMayIgnore", *(event_type.attributes for event_type in _EVENT_TYPES.values()))
}
_MODELLED = {spelling: name for name, snake_name in _SNAKE.items() for spelling in (name, snake_name)}
_CODECS = {event_type.attributes: event_type.codec for event_type in _EVENT_TYPES.values()} | {
    "userMetadata": _USER_METADATA
}


def _rest(value: Json) -> dict[str, Json]:
    """What the JSON of an event holds beside what the event model does."""
    left: dict[str, Json] = {}
    for key, each in fields_of(value).items():
        name = _MODELLED.get(key)
        codec = _CODECS.get(name or "")
        if name is None or name == "workerMayIgnore":
            left[name or key] = each
        elif codec is not None and codec.rest is not None and each is not None:
            left[name] = codec.rest(each)
    return left


def _merge(into: dict[str, Json], more: Mapping[str, Json]) -> None:
    """Add what is not there."""
    for key, value in more.items():
        if key not in into:
            into[key] = value
            continue
        present = into[key]
        if isinstance(value, dict):
            _merge(present, cast("dict[str, Json]", value))
        elif isinstance(value, list):
            for one, other in zip(present, cast("list[dict[str, Json] | None]", value), strict=False):
                _merge(one, other or {})
