"""Defaults: what code reads of a field that is unset."""

from __future__ import annotations

import json

from protopact_codegen.versioning.snapshot import EnumFacts, FieldFacts, Label, Snapshot

__all__ = ["same_first", "same_unset", "unset"]

_ZEROS = {"string": '""', "bytes": '""', "bool": "false", "float": "0.0", "double": "0.0"}


def unset(field: FieldFacts, snapshot: Snapshot) -> str:
    """What is read of a field that is unset, as JSON; empty for one that has no value then."""
    if field.label is not Label.SINGULAR or field.type.kind in {"message", "group"}:
        return ""
    if field.default or field.type.kind != "enum":
        return field.default or _ZEROS.get(field.type.kind, "0")
    enum = snapshot.enums.get(field.type.name)
    return json.dumps(enum.unset) if enum is not None else ""


def same_unset(old: FieldFacts, before: Snapshot, new: FieldFacts, after: Snapshot) -> bool:
    """Whether a field reads the same under both contracts when it is unset; one of another kind has no default."""
    enums = before.enums.get(old.type.name), after.enums.get(new.type.name)
    values = unset(old, before), unset(new, after)
    if values[0] == values[1] or not all(values):
        return True
    if enums[0] is not None and enums[1] is not None:
        return _same_value(enums[0], json.loads(values[0]), enums[1], json.loads(values[1]))
    return not old.default and not new.default


def same_first(old: EnumFacts, new: EnumFacts) -> bool:
    """Whether fields of an enum that have no default of their own read the same when they are unset."""
    return _same_value(old, old.unset, new, new.unset)


def _same_value(old: EnumFacts, before: str, new: EnumFacts, after: str) -> bool:
    """Whether a value is the other one: of its name, or, renamed, of its number."""
    return before == after or (new.number(before) is None and old.number(before) == new.number(after))
