"""A snapshot: everything of a contract that a running workflow, a stored payload or a client depends on.

Plain facts without places, comments or descriptors: what `capture` takes from a contract and what a lock holds, so
that the two compare. Messages of `google.protobuf` are names only, as in digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from protopact_codegen.contract import Kind

__all__ = [
    "ChangeFacts",
    "ElementFacts",
    "EnumFacts",
    "FieldFacts",
    "HandlerFacts",
    "Label",
    "MessageFacts",
    "Presence",
    "Reserved",
    "ServiceFacts",
    "Snapshot",
    "Type",
    "holder_of",
]


class Label(Enum):
    """How many values a field has."""

    SINGULAR = "singular"
    REPEATED = "repeated"
    MAP = "map"


class Presence(Enum):
    """Whether a singular field knows that it is unset."""

    IMPLICIT = "implicit"
    EXPLICIT = "explicit"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Type:
    """Type of a value: a scalar's name, or `message`, `group` or `enum` with a full name.

    Attributes:
        kind: `int32`, `string`, `message`, `enum`, ...
        name: Full name of the message or enum; empty for a scalar.
        key: Scalar of a map's keys; empty for what is no map.
    """

    kind: str
    name: str = ""
    key: str = ""

    def __str__(self) -> str:
        value = f"{self.kind}:{self.name}" if self.name else self.kind
        return f"{self.key}->{value}" if self.key else value


@dataclass(frozen=True, slots=True)
class Reserved:
    """Numbers and names that must not be used again; the ranges include both ends."""

    ranges: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()

    def number(self, number: int) -> bool:
        """Whether a number is reserved."""
        return any(first <= number <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """A field of a message.

    Attributes:
        name: Proto name; of an extension, its full name in brackets.
        number: Number in `binary/protobuf`.
        label: Singular, repeated, or a map.
        type: Type of its value.
        json_name: Key in `json/protobuf`.
        presence: Whether it knows that it is unset; implicit for what is repeated.
        oneof: Name of its oneof; empty without one, and for proto3's `optional`.
        default: Its declared default as JSON (proto2, editions); empty without one.
    """

    name: str
    number: int
    label: Label
    type: Type
    json_name: str
    presence: Presence
    oneof: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """A message: its fields by number, what is reserved in it, and the names that it had.

    Attributes:
        inner: Full names of the messages and enums of its fields.
    """

    name: str
    fields: tuple[FieldFacts, ...]
    reserved: Reserved = Reserved()
    aliases: tuple[str, ...] = ()
    inner: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Look up once what is asked for often."""
        object.__setattr__(self, "inner", tuple(field.type.name for field in self.fields if field.type.name))


@dataclass(frozen=True, slots=True)
class EnumFacts:
    """An enum.

    Attributes:
        name: Full name.
        closed: Whether a number without a name is refused in binary.
        values: Numbers with their names in the order of their declaration.
        reserved: What must not be used again.
        first: Name of the value that is declared first, where the enum is closed and another one has the lowest number.
    """

    name: str
    closed: bool
    values: Mapping[int, tuple[str, ...]]
    reserved: Reserved = Reserved()
    first: str = ""

    @property
    def unset(self) -> str:
        """Name of the value that an unset field has."""
        lowest = next(iter(self.values.values()))
        return (self.first or lowest[0]) if self.closed else self.values.get(0, lowest)[0]

    def number(self, name: str) -> int | None:
        """Number of a value; None without one of that name."""
        return next((number for number, names in self.values.items() if name in names), None)


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """That a workflow answers a query, signal or update; `start` says that it may start the workflow."""

    kind: Kind
    rpc: str
    start: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """A declared change of a workflow's code.

    Attributes:
        id: Its name in histories.
        since: The release that brings it.
        deprecated: Whether the old branch is gone.
        covers: Full names of the rpcs that the new branch treats differently, sorted.
    """

    id: str
    since: str
    deprecated: bool = False
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ElementFacts:
    """An annotated rpc.

    Attributes:
        rpc: Full name of the rpc.
        kind: What it is.
        name: Registered name.
        aliases: Further registered names.
        request: Full name of its request.
        response: Full name of its response.
        handlers: What a workflow answers, in the order of kind and rpc.
        options: Every other option by name, as JSON; durations are microseconds.
        changes: Declared changes of a workflow, by id.
    """

    rpc: str
    kind: Kind
    name: str
    aliases: tuple[str, ...]
    request: str
    response: str
    handlers: tuple[HandlerFacts, ...]
    options: Mapping[str, str]
    changes: Mapping[str, ChangeFacts] = field(default_factory=dict[str, ChangeFacts])

    @property
    def service(self) -> str:
        """Full name of its service."""
        return self.rpc.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A service with annotated rpcs; `file` is where it stood."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The closure of what annotated services reach, each part by its full name."""

    services: Mapping[str, ServiceFacts]
    elements: Mapping[str, ElementFacts]
    messages: Mapping[str, MessageFacts]
    enums: Mapping[str, EnumFacts]

    def closure(self, message: str) -> Iterator[MessageFacts]:
        """The message called so and every message that it reaches; nothing for one of `google.protobuf`."""
        seen: set[str] = set()
        pending = [message]
        while pending:
            name = pending.pop()
            found = self.messages.get(name)
            if found is not None and name not in seen:
                seen.add(name)
                yield found
                pending += found.inner


def holder_of(member: str) -> tuple[str, str]:
    """Full name of what a field or value is of, and its own name; that of an extension is in brackets."""
    if member.endswith("]"):
        holder, _, name = member.partition(".[")
        return holder, f"[{name}"
    holder, _, name = member.rpartition(".")
    return holder, name
