"""Places in proto files: from elements of a contract to lines and columns, through `SourceCodeInfo`.

buf tells positions inside an option's value, protoc only those of option statements. A place finds the finest that
is there; nothing but a diagnostic's position may depend on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

__all__ = ["Path", "Place", "Position", "Source"]

Path: TypeAlias = tuple[int, ...]
"""Field numbers and list indexes from a `FileDescriptorProto` to something in it."""

_MESSAGES = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
_ENUMS = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
_EXTENSIONS = FileDescriptorProto.EXTENSION_FIELD_NUMBER


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a proto file; line and column count from 1, and are 1 when the request does not tell.

    Attributes:
        path: The file.
        line: The line.
        column: The column.
        release: The release whose file it is, of which no lines are known; empty for the contract's own.
    """

    path: str
    line: int
    column: int
    release: str = ""

    def __str__(self) -> str:
        return f"{self.path} (in {self.release})" if self.release else f"{self.path}:{self.line}:{self.column}"


class Source:
    """The text of one proto file, as far as the compiler tells: positions and comments.

    Attributes:
        path: The path under which it is imported.
        release: The release that has it, when the contract has not.
    """

    def __init__(self, proto: FileDescriptorProto, release: str = "") -> None:
        self.path = proto.name
        self.release = release
        self._proto = proto

    @property
    def package(self) -> str:
        """Its proto package; empty when it has none."""
        return self._proto.package

    @property
    def type_names(self) -> Iterator[str]:
        """Full names of its messages and enums, nested ones after what holds them, without the entries of maps."""
        pending = [(self.package, self._proto.message_type, self._proto.enum_type)]
        for outer, messages, enums in pending:
            yield from (f"{outer}.{enum.name}".lstrip(".") for enum in enums)
            for message in messages:
                if not message.options.map_entry:
                    name = f"{outer}.{message.name}".lstrip(".")
                    yield name
                    pending.append((name, message.nested_type, message.enum_type))

    @property
    def extensions(self) -> Iterator[str]:
        """The fields that it adds to messages, each as the message's full name and its own in brackets."""
        return (name for name in self._types if name.endswith("]"))

    def comment(self, path: Path) -> str:
        """Comment of what stands at `path`, which is a service or an rpc; without comment marks and outer blank."""
        return self._comments.get(path, "")

    def locate(self, path: Path) -> Path | None:
        """`path` if something stands there, else the path of the first thing inside of it; None without either."""
        return path if path in self._starts else min(self._inside(path), key=self._starts.__getitem__, default=None)

    def position(self, path: Path) -> Position:
        """Position of what `locate` has found; the begin of the file for the file itself, which has the empty path."""
        line, column = self._starts[path] if path else (0, 0)
        return Position(self.path, line + 1, column + 1, self.release)

    def is_enum(self, full_name: str) -> bool:
        """Whether the type that is called `full_name` is an enum; it must be of this file."""
        path = self._types[full_name]
        return path[-2] == (_ENUMS if len(path) == 2 else DescriptorProto.ENUM_TYPE_FIELD_NUMBER)  # noqa: PLR2004 - one step

    def has_member(self, full_name: str, name: str) -> bool:
        """Whether a message or enum of this file has a field or a value that is called `name`."""
        return f"{full_name}.{name}" in self._members

    def place(self, full_name: str) -> Place:
        """Place of the message, enum, field, value or extension that is called `full_name`; it must be of this file."""
        return Place(self, self._types[full_name])

    @cached_property
    def _starts(self) -> dict[Path, tuple[int, int]]:
        starts: dict[Path, tuple[int, int]] = {}
        for location in self._proto.source_code_info.location:
            span = location.span
            starts.setdefault(tuple(location.path), (span[0], span[1]))
        return starts

    @cached_property
    def _paths(self) -> Sequence[Path]:
        return sorted(self._starts)

    def _inside(self, path: Path) -> Iterator[Path]:
        paths, length = self._paths, len(path)
        for at in range(bisect_left(paths, path), len(paths)):
            if paths[at][:length] != path:
                return
            yield paths[at]

    @cached_property
    def _comments(self) -> dict[Path, str]:
        comments: dict[Path, str] = {}
        for location in self._proto.source_code_info.location:
            text = location.leading_comments or location.trailing_comments
            if text:
                path = location.path
                if path and path[0] == FileDescriptorProto.SERVICE_FIELD_NUMBER:
                    comments[tuple(path)] = _clean(text)
        return comments

    @cached_property
    def _members(self) -> frozenset[str]:
        found: set[str] = set()
        prefix = f"{self._proto.package}." if self._proto.package else ""
        pending = [(prefix, self._proto.message_type, self._proto.enum_type)]
        for outer, messages, enums in pending:
            found.update(f"{outer}{enum.name}.{value.name}" for enum in enums for value in enum.value)
            for message in messages:
                found.update(f"{outer}{message.name}.{each.name}" for each in message.field)
                pending.append((f"{outer}{message.name}.", message.nested_type, message.enum_type))
        return frozenset(found)

    @cached_property
    def _types(self) -> dict[str, Path]:
        types: dict[str, Path] = {}
        prefix = f"{self._proto.package}." if self._proto.package else ""
        _add_messages(types, prefix, (_MESSAGES,), self._proto.message_type)
        _add_enums(types, prefix, (_ENUMS,), self._proto.enum_type)
        _add_extensions(types, prefix, (_EXTENSIONS,), self._proto.extension)
        return types


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element of the contract and its options stand.

    Attributes:
        source: Its file.
        path: Path of the element.
        option_path: Path of its options; empty for an element without any.
        option_name: How the proto file spells its options, for example `(protopact.v1.method).workflow`.
        option_type: Type of its options.
    """

    source: Source
    path: Path
    option_path: Path = ()
    option_name: str = ""
    option_type: Descriptor | None = field(default=None, repr=False)

    @property
    def position(self) -> Position:
        """Position of the element itself."""
        return self.source.position(self._element)

    def part(self, number: int) -> Place:
        """Place of a field of the element's own descriptor, for example its request type."""
        return Place(self.source, (*self.path, number))

    def option(self, *steps: str | int) -> Position:
        """Position of an option field, given by names and list indexes, as `anchor` finds it."""
        return self.source.position(self.anchor(*steps))

    def anchor(self, *steps: str | int) -> Path:
        """Path of an option field, given by names and list indexes, or of what is told in its stead.

        The finest that the compiler tells: the field, else what is around it up to the option, else the element; empty
        for the file.
        """
        path = (*self.option_path, *self.numbers(*steps))
        # The first two numbers after the element are its `options` and the extension; only what is inside is ours.
        for end in range(len(path), len(self.path) + 1, -1):
            found = self.source.locate(path[:end])
            if found is not None:
                return found
        return self._element

    @property
    def _element(self) -> Path:
        for end in range(len(self.path), 0, -1):
            found = self.source.locate(self.path[:end])
            if found is not None:
                return found
        return ()

    def numbers(self, *steps: str | int) -> Path:
        """Path of an option field within the options: its fields' numbers for their names."""
        path: list[int] = []
        descriptor = self.option_type
        for step in steps:
            if isinstance(step, int):
                path.append(step)
            elif descriptor is not None:
                member = descriptor.fields_by_name[step]
                path.append(member.number)
                descriptor = member.message_type
        return tuple(path)

    def spell(self, *steps: str | int) -> str:
        """Spell an option field, for messages: `(protopact.v1.method).workflow.signal[0].ref`."""
        return self.option_name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _add_messages(types: dict[str, Path], prefix: str, path: Path, messages: Sequence[DescriptorProto]) -> None:
    for index, message in enumerate(messages):
        here = (*path, index)
        name = prefix + message.name
        types[name] = here
        for number, member in enumerate(message.field):
            types[f"{name}.{member.name}"] = (*here, DescriptorProto.FIELD_FIELD_NUMBER, number)
        _add_messages(types, f"{name}.", (*here, DescriptorProto.NESTED_TYPE_FIELD_NUMBER), message.nested_type)
        _add_enums(types, f"{name}.", (*here, DescriptorProto.ENUM_TYPE_FIELD_NUMBER), message.enum_type)
        _add_extensions(types, f"{name}.", (*here, DescriptorProto.EXTENSION_FIELD_NUMBER), message.extension)


def _add_enums(types: dict[str, Path], prefix: str, path: Path, enums: Sequence[EnumDescriptorProto]) -> None:
    for index, enum in enumerate(enums):
        name = prefix + enum.name
        types[name] = (*path, index)
        for number, value in enumerate(enum.value):
            types[f"{name}.{value.name}"] = (*path, index, EnumDescriptorProto.VALUE_FIELD_NUMBER, number)


def _add_extensions(types: dict[str, Path], prefix: str, path: Path, fields: Sequence[FieldDescriptorProto]) -> None:
    for index, each in enumerate(fields):
        types[f"{each.extendee.removeprefix('.')}.[{prefix}{each.name}]"] = (*path, index)


def _clean(text: str) -> str:
    """Take one leading blank off each line, which belongs to the comment mark, and blank lines off both ends."""
    lines = (line.removeprefix(" ").rstrip() for line in text.splitlines())
    return "\n".join(lines).strip("\n")
