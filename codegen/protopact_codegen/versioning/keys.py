"""The keys of messages in JSON: which field is read under what another contract wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protopact_codegen.versioning.snapshot import FieldFacts, MessageFacts

__all__ = ["Keys"]


class Keys:
    """The keys of two messages in JSON that another field reads than wrote them.

    A field is read under its key and, so that its proto name is read too, under that where it is no other field's key.
    """

    def __init__(self, old: MessageFacts, new: MessageFacts, pairs: Iterable[tuple[FieldFacts, FieldFacts]]) -> None:
        self._known, self._knows = known, knows = _readers(old), _readers(new)
        is_now = {before.name: after.name for before, after in pairs}
        self._forward = {
            (field.name, reader.name): None
            for field in old.fields
            if (reader := knows.get(field.json_name)) is not None and is_now.get(field.name) != reader.name
        }
        self._backward = {
            (reader.name, field.name): None
            for field in new.fields
            if (reader := known.get(field.json_name)) is not None and is_now.get(reader.name) != field.name
        }
        self._old = {field.name: field for field in old.fields}
        self._new = {field.name: field for field in new.fields}
        self._misled = {name for name, _ in self._forward}
        self._misleads = {name for _, name in self._backward}

    def misled(self, old: FieldFacts) -> bool:
        """Whether what older writers wrote of a field is read as another one."""
        return old.name in self._misled

    def misleads(self, new: FieldFacts) -> bool:
        """Whether older readers read a field as another one."""
        return new.name in self._misleads

    def unread(self, old: FieldFacts, new: FieldFacts) -> tuple[bool, bool]:
        """Whether nobody reads what older writers wrote of a field, and what newer ones write of it."""
        return old.json_name not in self._knows, new.json_name not in self._known

    def taken(self) -> Iterator[tuple[FieldFacts, FieldFacts, bool, bool]]:
        """Fields that are taken for each other: the old one, the new one, and whether by newer, by older readers."""
        for was, is_ in dict.fromkeys((*self._forward, *self._backward)):
            pair = was, is_
            yield self._old[was], self._new[is_], pair in self._forward, pair in self._backward


def _readers(message: MessageFacts) -> dict[str, FieldFacts]:
    """The field that is read under each key."""
    by_name = {field.name: field for field in message.fields}
    return by_name | {field.json_name: field for field in message.fields}
