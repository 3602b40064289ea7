"""The difference: which changes of the rules lie between two snapshots, type by type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import TypeAlias

from protopact_codegen.versioning.defaults import same_first, same_unset, unset
from protopact_codegen.versioning.keys import Keys
from protopact_codegen.versioning.snapshot import (
    EnumFacts,
    FieldFacts,
    Label,
    MessageFacts,
    Presence,
    Snapshot,
    Type,
)

__all__ = ["Change", "Difference", "paired"]

_Pair: TypeAlias = tuple[FieldFacts, FieldFacts]
_Alike: TypeAlias = Callable[[FieldFacts, FieldFacts], bool]

_INT32 = ("int32", "sint32", "sfixed32")
_UINT32 = ("uint32", "fixed32")
_INT64 = ("int64", "sint64", "sfixed64")
_UINT64 = ("uint64", "fixed64")
_WIDER = (("int32", "int64"), ("uint32", "uint64"), ("uint32", "int64"), ("sint32", "sint64"))
_SIGNS = (
    ("int32", "uint32"),
    ("int32", "uint64"),
    ("int64", "uint64"),
    ("fixed32", "sfixed32"),
    ("fixed64", "sfixed64"),
)

# What becomes of a scalar; what is not here is P0.
_SCALARS: Mapping[tuple[str, str], str] = {
    **dict.fromkeys(_WIDER, "P10"),
    **{(new, old): "P11" for old, new in _WIDER},
    **dict.fromkeys(_SIGNS, "P12"),
    **{(new, old): "P12" for old, new in _SIGNS},
    **{pair: "P13" for group in (_INT32, _UINT32, _INT64, _UINT64) for pair in permutations(group, 2)},
    ("float", "double"): "P13b",
    ("double", "float"): "P13c",
    **dict.fromkeys(product((*_INT32, *_UINT32), ("string",)), "P14"),
    **dict.fromkeys(product((*_INT64, *_UINT64), ("string",)), "P15"),
    ("string", "bytes"): "P16",
    **dict.fromkeys(product(("bool",), ("int32", "int64", "uint32", "uint64")), "P17"),
    ("enum", "int32"): "P18",
}
_WRAPPED = {
    f"google.protobuf.{name}Value": kind
    for name, kind in (
        *(("Double", "double"), ("Float", "float"), ("Int64", "int64"), ("UInt64", "uint64")),
        *(("Int32", "int32"), ("UInt32", "uint32"), ("Bool", "bool"), ("String", "string"), ("Bytes", "bytes")),
    )
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a message or an enum.

    Attributes:
        rule: Its row.
        subject: Full name of what changed: a field, a oneof, a value, or the type itself.
        place: Full name of what stands for it in the new contract: a field, a value, or the type.
        what: What changed, in words.
        key: The old key in JSON, for the way out.
        number: The old number, for the way out.
    """

    rule: str
    subject: str
    place: str
    what: str
    key: str = ""
    number: int = 0


class Difference:
    """The changes between two snapshots.

    Attributes:
        old: The one snapshot.
        new: The other one.
        changes: The changes of each message and enum that is in both and differs, by its old full name.
    """

    def __init__(self, old: Snapshot, new: Snapshot) -> None:
        self.old, self.new = old, new
        self.changes: dict[str, tuple[Change, ...]] = {}
        self._followed = self._follow()
        begun = {
            name for name, enum in old.enums.items() if name in new.enums and not same_first(enum, new.enums[name])
        }
        for name, before in old.messages.items():
            after = new.messages.get(self._followed.get(name, name))
            if after is None or (after is before and not begun):
                continue
            if after != before or not begun.isdisjoint(before.inner):
                self.changes[name] = tuple(self._message(before, after))
        for renamed in new.messages.values():
            for alias in renamed.aliases:
                if alias in old.messages and alias not in new.messages:
                    told = self._message(old.messages[alias], renamed)
                    self.changes[alias] = (*self.changes.get(alias, ()), *told)
        for name, values in old.enums.items():
            known = new.enums.get(self._followed.get(name, name))
            if known is not None and known != values:
                self.changes[name] = tuple(_enum(values, known))

    def _follow(self) -> dict[str, str]:
        """New names of types by their old ones, where nothing of their own says it.

        What is nested in a message follows its alias. An enum, whose name is in no payload, may be in another package.
        """
        old, new = ({*each.messages, *each.enums} for each in (self.old, self.new))
        renamed = {alias: message.name for message in self.new.messages.values() for alias in message.aliases}
        gone, come = old - new - renamed.keys(), new - old
        found: dict[str, str] = {}
        for name in gone:
            outer = next((each for each in _outer(name) if each in renamed), None)
            if outer is not None:
                found[name] = f"{renamed[outer]}{name[len(outer) :]}"
        moved = (gone & self.old.enums.keys()) - found.keys()
        return found | (self._moved(moved, come & self.new.enums.keys(), renamed | found) if moved else {})

    def _moved(self, gone: AbstractSet[str], come: AbstractSet[str], renamed: Mapping[str, str]) -> dict[str, str]:
        """New names of enums that are elsewhere now: those of fields that had the one and have the other."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, before in self.old.messages.items():
            after = self.new.messages.get(renamed.get(name, name))
            if after is None or gone.isdisjoint(before.inner):
                continue
            for field, other in paired(before, after)[0]:
                was, is_ = field.type.name, other.type.name
                if was in gone and is_ in come and _last(was) == _last(is_):
                    found[was].add(is_)
        return {was: is_ for was, (is_, *more) in found.items() if not more}

    def is_same(self, old: str, new: str) -> bool:
        """Whether a message of the new snapshot is one of the old one, by its name or by an alias."""
        after = self.new.messages.get(new)
        return old == new or (after is not None and old in after.aliases)

    def lost_aliases(self, old: str, new: str) -> tuple[str, ...]:
        """Aliases of a message of the old snapshot that one of the new snapshot, which is it, does not have."""
        before, after = self.old.messages.get(old), self.new.messages.get(new)
        if before is None or after is None or not self.is_same(old, new):
            return ()
        return tuple(alias for alias in before.aliases if alias not in (new, *after.aliases))

    def _is_now(self, old: str, new: str) -> bool:
        """Whether a type of a field is another one's new name, by an alias of it or of what it is nested in."""
        return self.is_same(old, new) or self._followed.get(old) == new

    def same_shape(self, old: str, new: str) -> bool:
        """Whether two messages or enums, one of each snapshot, are the same but for their names and defaults."""
        return self._same_shape(old, new, set(), _whatever)

    def _same_shape(self, old: str, new: str, seen: set[tuple[str, str]], alike: _Alike) -> bool:
        if (old, new) in seen:
            return True
        seen.add((old, new))
        enums = self.old.enums.get(old), self.new.enums.get(new)
        if enums[0] is not None and enums[1] is not None:
            return not any(_enum(enums[0], enums[1]))
        before, after = self.old.messages.get(old), self.new.messages.get(new)
        if before is None or after is None or len(before.fields) != len(after.fields):
            return old == new
        pairs = zip(before.fields, after.fields, strict=True)
        return all(alike(*pair) and self._same_field(*pair, seen, alike) for pair in pairs)

    def _same_field(
        self,
        old: FieldFacts,
        new: FieldFacts,
        seen: set[tuple[str, str]],
        alike: _Alike,
    ) -> bool:
        plain = [
            (
                each.name,
                each.number,
                each.label,
                each.type.kind,
                each.type.key,
                each.json_name,
                each.presence,
                each.oneof,
            )
            for each in (old, new)
        ]
        return plain[0] == plain[1] and (
            not old.type.name or self._same_shape(old.type.name, new.type.name, seen, alike)
        )

    def _message(self, old: MessageFacts, new: MessageFacts) -> Iterator[Change]:
        pairs, gone = paired(old, new)
        keys = Keys(old, new, (*pairs, *((field, taken) for field, taken in gone if taken is not None)))
        for field, taken in gone:
            yield from _deleted(field, taken, old, new, keys)
        yield from _keys(new.name, keys)
        for field, other in pairs:
            yield from self._field(new.name, field, other, keys)
        yield from _oneofs(new.name, pairs)
        yield from _added(pairs, old, new, keys)

    def _field(self, message: str, old: FieldFacts, new: FieldFacts, keys: Keys) -> Iterator[Change]:
        yield from _named(message, old, new, keys)
        if old.number != new.number:
            yield _change("P6", message, new, f"has the number {new.number}, and had {old.number}")
        rule = self._value(old, new)
        if rule:
            yield _change(rule, message, new, f"is {_spell(new)}, and was {_spell(old)}")
        required = Presence.REQUIRED
        if required in (old.presence, new.presence) and old.presence is not new.presence:
            became = new.presence is required
            yield _change("P42" if became else "P43", message, new, f"is {'' if became else 'no more '}required")
        elif old.presence is not new.presence and not rule and (old.oneof or not new.oneof):
            yield _change("P28", message, new, f"has {new.presence.value} presence, and had {old.presence.value}")
        if (old.presence, new.presence) != (required, required) and not self._same_unset(old, new):
            told = f"is {unset(new, self.new)} when it is unset, and was {unset(old, self.old)}"
            yield _change("P44", message, new, told)

    def _same_unset(self, old: FieldFacts, new: FieldFacts) -> bool:
        return same_unset(old, self.old, new, self.new)

    def _value(self, old: FieldFacts, new: FieldFacts) -> str:
        """The row of a change of label and type; empty without one."""
        if old.label is new.label:
            if old.type.key != new.type.key:
                return "P0"
            rule = self._type(old.type, new.type)
            return "P37" if old.label is Label.MAP and rule in ("P0", "P14", "P36") else rule
        if (old.label, new.label) == (Label.REPEATED, Label.MAP):
            return "P39" if self._is_entry(old.type, new.type) else "P35"
        if old.type != new.type or Label.MAP in (old.label, new.label):
            return "P0"
        return "P26" if new.label is Label.REPEATED else "P27"

    def _is_entry(self, message: Type, entries: Type) -> bool:
        facts = self.old.messages.get(message.name)
        members = (
            [(each.name, each.number, each.label, each.type) for each in facts.fields] if facts is not None else []
        )
        value = Type(entries.kind, entries.name)
        singular = Label.SINGULAR
        return members == [("key", 1, singular, Type(entries.key)), ("value", 2, singular, value)]

    def _type(self, old: Type, new: Type) -> str:
        if old == new or (old.name and old == replace(new, name=old.name) and self._is_now(old.name, new.name)):
            return ""
        kinds = old.kind, new.kind
        enum = self.new.enums.get(new.name)
        rule = _SCALARS.get(kinds, "P0")
        if old.name and old.kind == new.kind:
            rule = self._other_type(old.name, new.name)
        elif set(kinds) == {"message", "group"}:
            rule = "P35b" if self._other_type(old.name, new.name) == "P34" else "P35"
        elif {old.name: new.kind, new.name: old.kind}.items() & _WRAPPED.items():
            rule = "P36b"
        elif (old.name, new.kind) == ("google.protobuf.Timestamp", "string"):
            rule = "P38"
        elif old.kind == "int32" and enum is not None and not enum.closed:
            rule = "P19"
        elif rule == "P18" and self.old.enums[old.name].closed:
            rule = "P0"  # an older reader drops what is no value of it
        elif "message" in kinds:
            rule = "P36"
        return rule

    def _other_type(self, old: str, new: str) -> str:
        if not self.same_shape(old, new):
            return "P35"
        return "P34" if self._same_shape(old, new, set(), self._same_unset) else "P44"


def _outer(name: str) -> Iterator[str]:
    """Full names of what a type may be nested in, the innermost first."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _whatever(_old: FieldFacts, _new: FieldFacts) -> bool:
    return True


def paired(old: MessageFacts, new: MessageFacts) -> tuple[list[_Pair], list[tuple[FieldFacts, FieldFacts | None]]]:
    """The fields that are in both, and those that are gone, each with the one that has its number now."""
    pairs: list[_Pair] = []
    gone: list[tuple[FieldFacts, FieldFacts | None]] = []
    names = {field.name: field for field in new.fields}
    numbers = {field.number: field for field in new.fields}
    known = {field.name for field in old.fields}
    for field in old.fields:
        other = names.get(field.name)
        taken = numbers.get(field.number)
        if other is None and taken is not None and taken.name not in known and _renamed(field, taken, new):
            other = taken
        if other is not None:
            pairs.append((field, other))
        else:
            gone.append((field, taken))
    return pairs, gone


def _renamed(old: FieldFacts, taken: FieldFacts, new: MessageFacts) -> bool:
    """Whether a field with the old one's number is it: it has its key, or its type, and its name is not given up."""
    if old.json_name == taken.json_name:
        return True
    return (old.label, old.type) == (taken.label, taken.type) and old.name not in new.reserved.names


def _named(message: str, old: FieldFacts, new: FieldFacts, keys: Keys) -> Iterator[Change]:
    """Another name or another key in JSON; who reads it as another field is told already."""
    what = f"was called {old.name}"
    if old.name == new.name:
        what = f"has the key {new.json_name} in JSON, and had {old.json_name}"
    match keys.unread(old, new):
        case True, True:
            rule = "P7" if old.name != new.name else "P9"
        case True, False:
            rule = "P9b"
        case False, True:
            rule = "P9c"
        case _:
            rule = "P8" if old.name != new.name else ""
    if rule:
        yield replace(_change(rule, message, new, what), key=old.json_name)


def _keys(message: str, keys: Keys) -> Iterator[Change]:
    for old, new, forward, backward in keys.taken():
        subject, place = f"{message}.{old.name}", f"{message}.{new.name}"
        if not backward:
            what = f"has had the key {old.json_name} in JSON, by which {new.name} is read"
            yield Change("P4c", subject, place, what, old.json_name)
        elif forward:
            what = f"has had the key {old.json_name} in JSON, and {new.name} has it now"
            yield Change("P4b", subject, place, what, old.json_name)
        else:
            what = f"has the key {new.json_name} in JSON, by which older readers know {old.name}"
            yield Change("P4d", place, place, what, new.json_name)


def _deleted(
    field: FieldFacts, taken: FieldFacts | None, old: MessageFacts, new: MessageFacts, keys: Keys
) -> Iterator[Change]:
    subject = f"{new.name}.{field.name}"
    if taken is not None:
        yield Change(
            "P4",
            subject,
            f"{new.name}.{taken.name}",
            f"is gone, and its number, {field.number}, is that of {taken.name}",
        )
        return
    oneof = field.oneof and sum(each.oneof == field.oneof for each in old.fields) > 1
    case = f" from the oneof {field.oneof}" if oneof else ""
    if oneof or not keys.misled(field):
        yield Change("P32" if oneof else "P2", subject, new.name, f"is gone{case}")
    if field.presence is Presence.REQUIRED:
        yield Change("P43", subject, new.name, "is gone, and was required")
    if field.name.startswith("["):
        return  # the number of an extension cannot be reserved
    missing = [] if new.reserved.number(field.number) else [f"its number, {field.number},"]
    missing += [] if field.name in new.reserved.names else ["its name"]
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        yield Change(
            "P3", subject, new.name, f"is gone, and {' and '.join(missing)} {verb} not reserved", "", field.number
        )


def _added(pairs: Sequence[_Pair], old: MessageFacts, new: MessageFacts, keys: Keys) -> Iterator[Change]:
    paired = {after.name for _, after in pairs}
    held = {after.oneof for _, after in pairs}
    reused = {field.number for field in old.fields} - {before.number for before, _ in pairs}
    for field in new.fields:
        if field.name not in paired and field.number not in reused:
            if field.oneof and field.oneof in held:
                yield _change("P31", new.name, field, f"is new in the oneof {field.oneof}")
            elif not keys.misleads(field):
                yield _change("P1", new.name, field, "is new")
            if field.presence is Presence.REQUIRED:
                yield _change("P42", new.name, field, "is new, and required")


def _oneofs(message: str, pairs: Sequence[_Pair]) -> Iterator[Change]:
    joined: dict[str, list[_Pair]] = defaultdict(list)
    left: dict[str, list[_Pair]] = defaultdict(list)
    for old, new in pairs:
        if new.oneof:
            joined[new.oneof].append((old, new))
        if old.oneof:
            left[old.oneof].append((old, new))
    for oneof, members in joined.items():
        homes = {old.oneof or f".{old.name}" for old, _ in members}
        first = members[0][1]
        if len(homes) > 1:
            what = f"holds {_names(new for _, new in members)}, which could be set together"
            yield Change("P30", f"{message}.{oneof}", f"{message}.{first.name}", what)
        elif not members[0][0].oneof:
            yield _change("P29", message, first, f"has moved into the oneof {oneof}")
    for oneof, members in left.items():
        if len({new.oneof or f".{new.name}" for _, new in members}) > 1:
            what = f"holds {_names(old for old, _ in members)} together no more"
            yield Change("P33", f"{message}.{oneof}", f"{message}.{members[0][1].name}", what)


def _enum(old: EnumFacts, new: EnumFacts) -> Iterator[Change]:
    numbers = {name: number for number, names in new.values.items() for name in names}
    known = {name for names in old.values.values() for name in names}
    added = {name for name in numbers if name not in known}
    if new.closed and not old.closed:
        yield Change("P0", new.name, new.name, "is closed, and was open")
    for number, names in old.values.items():
        after = new.values.get(number, ())
        moved = [name for name in names if name in numbers and name not in after]
        written = names[0]
        if moved:
            what = f"has the number {numbers[moved[0]]}, and had {number}"
            yield _value_change("P25", new, moved[0], what)
        elif not after:
            yield Change("P22b" if new.closed else "P22", f"{new.name}.{written}", new.name, "is gone")
        elif written not in after or after[0] not in names:
            added -= set(after)
            if written in after:
                yield _value_change("P24b", new, after[0], f"stands before {written}, whose number it has")
            elif written in new.reserved.names:
                what = f"is gone, and {after[0]} has its number"
                yield Change("P5", f"{new.name}.{written}", f"{new.name}.{after[0]}", what)
            else:
                yield _value_change("P23", new, after[0], f"was called {written}")
        elif set(after) - set(names):
            added -= set(after)
            yield _value_change("P24", new, after[-1], f"is another name of {written}")
    for name in sorted(added):
        yield _value_change("P21" if old.closed else "P20", new, name, "is new")


def _value_change(rule: str, enum: EnumFacts, value: str, what: str) -> Change:
    name = f"{enum.name}.{value}"
    return Change(rule, name, name, what)


def _change(rule: str, message: str, field: FieldFacts, what: str) -> Change:
    name = f"{message}.{field.name}"
    return Change(rule, name, name, what)


def _names(fields: Iterable[FieldFacts]) -> str:
    return ", ".join(field.name for field in fields)


def _spell(field: FieldFacts) -> str:
    type_ = field.type.name or field.type.kind
    if field.type.kind == "group":
        type_ = f"delimited {type_}"
    if field.label is Label.MAP:
        return f"map<{field.type.key}, {type_}>"
    return f"repeated {type_}" if field.label is Label.REPEATED else type_
