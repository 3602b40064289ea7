"""The ids that templates make: whether those of two contracts make the same text of the same request.

An id is made in the memory of a client or a parent, of a message that its code has just filled in. So numbers and keys
of payloads do not count: a field is the one that code means by it, and an enum's value is printed by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias

from protopact_codegen.versioning.difference import paired
from protopact_codegen.versioning.snapshot import ElementFacts, EnumFacts, FieldFacts, Snapshot

__all__ = ["id_changes"]

_Part: TypeAlias = "str | dict[str, object]"


def id_changes(old: ElementFacts, new: ElementFacts, snapshots: tuple[Snapshot, Snapshot]) -> Iterator[str]:
    """What is said of an element whose template of ids makes another text than before.

    Args:
        old: The element before.
        new: The element after.
        snapshots: Those that hold them.
    """
    before, after = _parts(old), _parts(new)
    if [_shape(part) for part in before] != [_shape(part) for part in after]:
        yield "has another template of its id"
        return
    for was, is_ in zip(before, after, strict=True):
        if isinstance(was, str) or isinstance(is_, str) or "field" not in was:
            continue
        paths = str(was["field"]), str(is_["field"])
        ends = _ends(paths, (old.request, new.request), snapshots)
        text = _printed(*ends, snapshots) if ends is not None else f"{paths[1]} is not what {paths[0]} was"
        if text:
            yield f"has another text in its id: {text}"


def _parts(element: ElementFacts) -> list[_Part]:
    parts: list[_Part] = json.loads(element.options.get("id", "[]"))
    return parts


def _shape(part: _Part) -> object:
    """A part of a template, but for which field it takes."""
    return part if isinstance(part, str) else {**part, "field": "field" in part}


def _ends(
    paths: tuple[str, str], messages: tuple[str, str], snapshots: tuple[Snapshot, Snapshot]
) -> tuple[FieldFacts, FieldFacts] | None:
    """The fields that two paths lead to; None where the one is not what the other was."""
    names = [path.split(".") for path in paths]
    if len(names[0]) != len(names[1]):
        return None
    pair: tuple[FieldFacts, FieldFacts] | None = None
    for was, is_ in zip(*names, strict=True):
        old, new = (snapshot.messages.get(name) for snapshot, name in zip(snapshots, messages, strict=True))
        pairs = paired(old, new)[0] if old is not None and new is not None else []
        pair = next((each for each in pairs if (each[0].name, each[1].name) == (was, is_)), None)
        if pair is None:
            return None
        messages = pair[0].type.name, pair[1].type.name
    return pair


def _printed(old: FieldFacts, new: FieldFacts, snapshots: tuple[Snapshot, Snapshot]) -> str:
    """What of a field's values prints another way; empty when nothing does."""
    before, after = snapshots[0].enums.get(old.type.name), snapshots[1].enums.get(new.type.name)
    if before is not None and after is not None:
        return _renamed(before, after)
    kinds = _print(old.type.kind), _print(new.type.kind)
    # What was a number may be written as it was by hand.
    if kinds[0] == kinds[1] or kinds == ("integer", "string"):
        return ""
    return f"{new.name} is {new.type.kind}, and was {old.type.kind}"


def _print(kind: str) -> str:
    return "integer" if kind.endswith(("32", "64")) else kind


def _renamed(old: EnumFacts, new: EnumFacts) -> str:
    """A value that prints by another name; empty when each prints as it did."""
    numbers = {name: number for number, names in new.values.items() for name in names}
    for number, names in old.values.items():
        for name in names:
            # Code that has no such value any more has the one of its number.
            after = new.values.get(numbers.get(name, number))
            if after is not None and after[0] != names[0]:
                return f"{new.name}.{name} prints as {after[0]}, and did as {names[0]}"
    return ""
