"""Damage to histories: an event is dropped, doubled, exchanged, moved or altered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st

from protopact.history.event import Attributes, Event


class Drop(msgspec.Struct, frozen=True):
    event: int


class Double(msgspec.Struct, frozen=True):
    event: int


class Swap(msgspec.Struct, frozen=True):
    """An event and the next one change places."""

    event: int


class Move(msgspec.Struct, frozen=True):
    """An event comes later, or earlier."""

    event: int
    by: int


class Alter(msgspec.Struct, frozen=True):
    """One of the fields of an event has another value: a number next to it, a text of another event, or none."""

    event: int
    field: int
    to: Literal["next", "other", "none"]


Mutation: TypeAlias = Drop | Double | Swap | Move | Alter

_PLACES = st.integers(0, 40)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(Drop, _PLACES),
    st.builds(Double, _PLACES),
    st.builds(Swap, _PLACES),
    st.builds(Move, _PLACES, st.sampled_from([2, -2, 3, -3, 5])),
    st.builds(Alter, _PLACES, st.integers(0, 12), st.sampled_from(["next", "other", "none"])),
)


def mutated(history: Sequence[Event], mutation: Mutation) -> list[Event]:
    """The history with one damage. Its events are numbered anew, and refer to each other as before."""
    old = list(history)
    at = mutation.event % len(old)
    new = old
    match mutation:
        case Drop():
            new = old[:at] + old[at + 1 :]
        case Double():
            new = old[: at + 1] + old[at:]
        case Swap() if at + 1 < len(old):
            new = [*old[:at], old[at + 1], old[at], *old[at + 2 :]]
        case Swap():
            pass  # there is no next one
        case Move(by=by):
            new = old[:at] + old[at + 1 :]
            new.insert(max(0, min(len(new), at + by)), old[at])
        case Alter() if at == 0:
            pass  # it says what the run is, and which class it needs
        case Alter():
            return [*old[:at], _altered(old, at, mutation), *old[at + 1 :]]
    return _numbered(new)


def _numbered(events: Sequence[Event]) -> list[Event]:
    ids = {event.event_id: index for index, event in reversed(list(enumerate(events, 1)))}
    return [
        msgspec.structs.replace(event, event_id=index, attributes=_referring(event.attributes, ids))
        for index, event in enumerate(events, 1)
    ]


def _referring(attributes: Attributes, ids: dict[int, int]) -> Attributes:
    changed: dict[str, int] = {}
    for name in attributes.__struct_fields__:
        value = getattr(attributes, name)
        if name.endswith("_event_id") and value in ids:
            changed[name] = ids[value]
    return msgspec.structs.replace(attributes, **changed)


def _altered(events: Sequence[Event], at: int, alter: Alter) -> Event:
    attributes = events[at].attributes
    fields = [name for name in attributes.__struct_fields__ if _value(attributes, name) is not None]
    if not fields:
        return events[at]
    name = fields[alter.field % len(fields)]
    value = _value(attributes, name)
    assert value is not None
    if isinstance(value, int):
        value = {"next": value + 1, "other": max(0, value - 1), "none": 0}[alter.to]
    else:
        others = [other for each in events if (other := _value(each.attributes, name)) not in {None, value}]
        value = {"next": f"{value}1", "other": others[0] if others else "other", "none": ""}[alter.to]
    return msgspec.structs.replace(events[at], attributes=msgspec.structs.replace(attributes, **{name: value}))


_ENUMS = {"parent_close_policy", "retry_state", "timeout_type", "cause", "initiator", "workflow_id_reuse_policy"}
"""Texts that have no others than those of Temporal's JSON."""


def _value(attributes: Attributes, name: str) -> str | int | None:
    """What can be altered: ids, names and references."""
    value = getattr(attributes, name, None)
    if type(value) is int and (name.endswith("_event_id") or name == "attempt"):
        return value
    return value if type(value) is str and name not in _ENUMS else None
