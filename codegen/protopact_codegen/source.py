"""Places in proto files: from elements of a contract to lines and columns, through `SourceCodeInfo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor

__all__ = ["Place", "Position", "SourceIndex"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a proto file; line and column count from 1, and are 0 when the request does not tell."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """The positions of one file.

    Attributes:
        path: Path of the file.
        starts: Line and column, from 0, by path of `SourceCodeInfo.Location`.
    """

    path: str
    starts: Mapping[tuple[int, ...], tuple[int, int]]

    def find(self, path: tuple[int, ...]) -> Position:
        """Find the position of `path`, or of the nearest thing around it that has one."""
        while path not in self.starts:
            if not path:
                return Position(self.path, 0, 0)
            path = path[:-1]
        line, column = self.starts[path]
        return Position(self.path, line + 1, column + 1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element of the contract and its options stand.

    Attributes:
        index: The positions of its file.
        path: Path of the element in `FileDescriptorProto`.
        option_path: Path of its options in `FileDescriptorProto`; empty for an element without any.
        option_name: How the proto file spells its options, for example `(protopact.v1.method).workflow`.
        option_type: Type of its options.
    """

    index: SourceIndex
    path: tuple[int, ...]
    option_path: tuple[int, ...] = ()
    option_name: str = ""
    option_type: Descriptor | None = field(default=None, repr=False)

    @property
    def position(self) -> Position:
        """Position of the element itself."""
        return self.index.find(self.path)

    def option(self, *steps: str | int) -> Position:
        """Position of an option field, given by names and list indexes.

        The finest that the compiler tells: the field, else what is around it up to the option, else the element.
        """
        path = list(self.option_path)
        descriptor = self.option_type
        for step in steps:
            if isinstance(step, int):
                path.append(step)
            elif descriptor is not None:
                member = descriptor.fields_by_name[step]
                path.append(member.number)
                descriptor = member.message_type
        return self.index.find(tuple(path))

    def spell(self, *steps: str | int) -> str:
        """Spell an option field, for messages: `(protopact.v1.method).workflow.signal[0].ref`."""
        return self.option_name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
