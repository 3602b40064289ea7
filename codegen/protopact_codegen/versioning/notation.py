"""The notation of snapshots: one line for each element, sorted, each beginning with the element's full name.

nodes.v1.AddNodeRequest message reserved=4..6,region aliases=nodes.v0.AddNodeRequest
nodes.v1.AddNodeRequest.[nodes.v1.rack] field 100 singular string "[nodes.v1.rack]" explicit
nodes.v1.AddNodeRequest.node_id field 1 singular string nodeId implicit
nodes.v1.AddNodeRequest.size field 2 singular enum:nodes.v1.Size size implicit oneof=shape
nodes.v1.NodeService service nodes/v1/node.proto
nodes.v1.NodeService.AddNode change switch-activities since=v1.5 deprecated covers=nodes.v1.NodeService.CreateVm
nodes.v1.NodeService.AddNode handles signal nodes.v1.NodeService.Pause start
nodes.v1.NodeService.AddNode option id ["node/",{"field":"node_id"}]
nodes.v1.NodeService.AddNode workflow nodes.v1.AddNodeRequest nodes.v1.AddNodeResponse name="add" aliases=["plus"]
nodes.v1.Size enum open
nodes.v1.Size value 1 SIZE_SMALL SIZE_S
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from protopact_codegen.contract import Kind
from protopact_codegen.versioning.snapshot import (
    ChangeFacts,
    ElementFacts,
    EnumFacts,
    FieldFacts,
    HandlerFacts,
    Label,
    MessageFacts,
    Presence,
    Reserved,
    ServiceFacts,
    Snapshot,
    Type,
    holder_of,
)

__all__ = ["NotationError", "Reader", "declared", "read", "write"]

T = TypeVar("T")

_KINDS = {kind.value: kind for kind in Kind}
_CHANGE_WORD = "change"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_FIELD = re.compile(
    r"(?P<number>\d+) (?P<label>\w+) (?:(?P<key>\w+)->)?(?P<kind>\w+)(?::(?P<name>\S+))?"
    rf" (?P<json>{_TEXT}|\S+) (?P<presence>\w+)(?: oneof=(?P<oneof>\S+))?(?: default=(?P<default>.+))?"
)
_CHANGE = re.compile(r"(?P<id>\S+) since=(?P<since>\S+)(?P<deprecated> deprecated)?(?: covers=(?P<covers>\S+))?")
_MESSAGE = re.compile(r"(?P<reserved>(?:reserved=\S+)?) ?(?:aliases=(?P<aliases>\S+))?")
_ENUM = re.compile(r"(?P<open>open|closed)(?: (?P<reserved>reserved=\S+))?(?: first=(?P<first>\S+))?")
_ELEMENT = re.compile(rf"(?P<request>\S+) (?P<response>\S+) name=(?P<name>{_TEXT})(?: aliases=(?P<aliases>\[.*\]))?")


class NotationError(Exception):
    """A line says nothing; `index` counts from 0."""

    def __init__(self, index: int, line: str) -> None:
        super().__init__(f"{line!r} is no line of a contract")
        self.index = index


def write(snapshot: Snapshot) -> list[str]:
    """Write a snapshot as sorted lines."""
    return sorted(_lines(snapshot))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    for service in snapshot.services.values():
        yield f"{service.name} service {service.file}"
    for element in snapshot.elements.values():
        aliases = f" aliases={_json(element.aliases)}" if element.aliases else ""
        names = f"name={_json(element.name)}{aliases}"
        yield f"{element.rpc} {element.kind.value} {element.request} {element.response} {names}"
        for handler in element.handlers:
            yield f"{element.rpc} handles {handler.kind.value} {handler.rpc}{' start' if handler.start else ''}"
        for change in element.changes.values():
            yield f"{element.rpc} {_CHANGE_WORD} {_change(change)}"
        for name, value in element.options.items():
            yield f"{element.rpc} option {name} {value}"
    for message in snapshot.messages.values():
        aliases = f" aliases={','.join(message.aliases)}" if message.aliases else ""
        yield f"{message.name} message{_reserved(message.reserved)}{aliases}"
        for field in message.fields:
            yield f"{message.name}.{field.name} field {_field(field)}"
    for enum in snapshot.enums.values():
        first = f" first={enum.first}" if enum.first else ""
        yield f"{enum.name} enum {'closed' if enum.closed else 'open'}{_reserved(enum.reserved)}{first}"
        for number, values in enum.values.items():
            yield f"{enum.name} value {number} {' '.join(values)}"


def _field(field: FieldFacts) -> str:
    key = field.json_name if re.fullmatch(r"\w+", field.json_name, re.ASCII) else _json(field.json_name)
    oneof = f" oneof={field.oneof}" if field.oneof else ""
    default = f" default={field.default}" if field.default else ""
    return f"{field.number} {field.label.value} {field.type} {key} {field.presence.value}{oneof}{default}"


def _change(change: ChangeFacts) -> str:
    deprecated = " deprecated" if change.deprecated else ""
    covers = f" covers={','.join(change.covers)}" if change.covers else ""
    return f"{change.id} since={change.since}{deprecated}{covers}"


def _reserved(reserved: Reserved) -> str:
    ranges = [str(first) if first == last else f"{first}..{last}" for first, last in reserved.ranges]
    return f" reserved={','.join((*ranges, *reserved.names))}" if ranges or reserved.names else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def read(lines: Sequence[str]) -> Snapshot:
    """Read the lines of a snapshot.

    Raises:
        NotationError: A line is none of them.
    """
    return Reader().read(lines)


class Reader:
    """Reads snapshots, one after the other: what has the lines that it had before is not read again, and is the same.

    Releases have nearly all of their lines in common.
    """

    def __init__(self) -> None:
        self._lines: AbstractSet[str] = frozenset()
        self._of: dict[str, frozenset[str]] = {}  # the lines of each element, by its full name
        self._last = Snapshot({}, {}, {}, {})

    def read(self, lines: Sequence[str]) -> Snapshot:
        """Read the lines of a snapshot.

        Raises:
            NotationError: A line is none of them.
        """
        now = frozenset(lines)
        come: dict[str, set[str]] = defaultdict(set)
        gone: dict[str, set[str]] = defaultdict(set)
        for some, changed in ((now - self._lines, come), (self._lines - now, gone)):
            for line in some:
                changed[_name(line)].add(line)
        elements = _Elements()
        of = dict(self._of)
        for name in (*come, *gone):
            of[name] = (self._of.get(name, frozenset()) - gone.get(name, set())) | come.get(name, set())
        for name in {**come, **gone}:
            for line in sorted(of[name]):
                try:
                    elements.line(line)
                except (KeyError, ValueError) as error:
                    raise NotationError(lines.index(line), line) from error
        read, last, again = elements.snapshot(), self._last, {*come, *gone}
        self._lines, self._of = now, of
        self._last = Snapshot(
            _merged(last.services, read.services, again),
            _merged(last.elements, read.elements, again),
            _merged(last.messages, read.messages, again),
            _merged(last.enums, read.enums, again),
        )
        return self._last


def declared(lines: Iterable[str]) -> list[str]:
    """The lines of a snapshot that say which changes its workflows declare, and which workflow is which.

    There are none where no workflow declares any.
    """
    found = [line for line in lines if _split(line)[1] in {Kind.WORKFLOW.value, _CHANGE_WORD}]
    return found if any(_split(line)[1] == _CHANGE_WORD for line in found) else []


def _name(line: str) -> str:
    """Full name of what a line is about; a field's is that of its message."""
    name, word, _ = _split(line)
    return holder_of(name)[0] if word == "field" else name


def _merged(last: Mapping[str, T], read: Mapping[str, T], again: AbstractSet[str]) -> dict[str, T]:
    """What was read before and not again, and what was read now; sorted, as the lines are."""
    kept = {name: facts for name, facts in last.items() if name not in again}
    return dict(sorted({**kept, **read}.items())) if read or len(kept) != len(last) else dict(last)


class _Elements:
    """Gathers what belongs to one element from its lines."""

    def __init__(self) -> None:
        self._services: dict[str, ServiceFacts] = {}
        self._elements: dict[str, ElementFacts] = {}
        self._messages: dict[str, tuple[Reserved, tuple[str, ...]]] = {}
        self._enums: dict[str, tuple[bool, Reserved, str]] = {}
        self._fields: dict[str, list[FieldFacts]] = defaultdict(list)
        self._values: dict[str, dict[int, tuple[str, ...]]] = defaultdict(dict)
        self._handlers: dict[str, list[HandlerFacts]] = defaultdict(list)
        self._options: dict[str, dict[str, str]] = defaultdict(dict)
        self._changes: dict[str, dict[str, ChangeFacts]] = defaultdict(dict)
        self._words: dict[str, Callable[[str, str], None]] = {
            "service": self._service,
            "message": self._message,
            "field": self._field,
            "enum": self._enum,
            "value": self._value,
            "handles": self._handles,
            "option": self._option,
            _CHANGE_WORD: self._change,
        }

    def line(self, line: str) -> None:
        """Take one line; raises KeyError or ValueError when it says nothing."""
        name, word, rest = _split(line)
        if word in _KINDS:
            self._element(name, _KINDS[word], rest)
        elif word in self._words:
            self._words[word](name, rest)
        else:
            raise ValueError(word)

    def snapshot(self) -> Snapshot:
        """What the lines said."""
        return Snapshot(
            self._services,
            {
                name: ElementFacts(
                    facts.rpc,
                    facts.kind,
                    facts.name,
                    facts.aliases,
                    facts.request,
                    facts.response,
                    tuple(self._handlers[name]),
                    self._options[name],
                    self._changes[name],
                )
                for name, facts in self._elements.items()
            },
            {
                name: MessageFacts(
                    name, tuple(sorted(self._fields[name], key=lambda field: field.number)), reserved, aliases
                )
                for name, (reserved, aliases) in self._messages.items()
            },
            {
                name: EnumFacts(name, closed, dict(sorted(self._values[name].items())), reserved, first)
                for name, (closed, reserved, first) in self._enums.items()
            },
        )

    def _service(self, name: str, rest: str) -> None:
        self._services[name] = ServiceFacts(name, rest)

    def _element(self, name: str, kind: Kind, rest: str) -> None:
        match = _ELEMENT.fullmatch(rest)
        if match is None:
            raise ValueError(rest)
        aliases = tuple(json.loads(match["aliases"])) if match["aliases"] else ()
        registered = json.loads(match["name"])
        self._elements[name] = ElementFacts(
            name, kind, registered, aliases, match["request"], match["response"], (), {}
        )

    def _handles(self, name: str, rest: str) -> None:
        kind, rpc, start = _split(rest)
        self._handlers[name].append(HandlerFacts(_KINDS[kind], rpc, start == "start"))

    def _option(self, name: str, rest: str) -> None:
        option, _, value = rest.partition(" ")
        json.loads(value)
        self._options[name][option] = value

    def _change(self, name: str, rest: str) -> None:
        match = _CHANGE.fullmatch(rest)
        if match is None:
            raise ValueError(rest)
        covers = tuple(match["covers"].split(",")) if match["covers"] else ()
        facts = ChangeFacts(match["id"], match["since"], match["deprecated"] is not None, covers)
        self._changes[name][facts.id] = facts

    def _message(self, name: str, rest: str) -> None:
        match = _MESSAGE.fullmatch(rest)
        if match is None:
            raise ValueError(rest)
        aliases = tuple(match["aliases"].split(",")) if match["aliases"] else ()
        self._messages[name] = _read_reserved(match["reserved"]), aliases

    def _enum(self, name: str, rest: str) -> None:
        match = _ENUM.fullmatch(rest)
        if match is None:
            raise ValueError(rest)
        self._enums[name] = match["open"] == "closed", _read_reserved(match["reserved"] or ""), match["first"] or ""

    def _value(self, name: str, rest: str) -> None:
        number, *names = rest.split(" ")
        self._values[name][int(number)] = tuple(names)

    def _field(self, name: str, rest: str) -> None:
        message, field = _read_field(name, rest)
        self._fields[message].append(field)


def _read_field(name: str, rest: str) -> tuple[str, FieldFacts]:
    match = _FIELD.fullmatch(rest)
    if match is None:
        raise ValueError(rest)
    message, field = holder_of(name)
    key = match["json"]
    return message, FieldFacts(
        name=field,
        number=int(match["number"]),
        label=Label(match["label"]),
        type=Type(match["kind"], match["name"] or "", match["key"] or ""),
        json_name=json.loads(key) if key.startswith('"') else key,
        presence=Presence(match["presence"]),
        oneof=match["oneof"] or "",
        default=match["default"] or "",
    )


def _split(text: str) -> tuple[str, str, str]:
    first, _, rest = text.partition(" ")
    second, _, rest = rest.partition(" ")
    return first, second, rest


def _read_reserved(text: str) -> Reserved:
    if not text:
        return Reserved()
    items = text.removeprefix("reserved=").split(",")
    ranges = [item for item in items if item.lstrip("-")[:1].isdigit()]
    ends = (item.partition("..")[::2] for item in ranges)
    return Reserved(
        tuple((int(first), int(last or first)) for first, last in ends),
        tuple(item for item in items if item not in ranges),
    )
