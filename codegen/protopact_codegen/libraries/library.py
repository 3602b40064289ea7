"""What every message library's adapter answers, and what they share."""

from __future__ import annotations

import keyword
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from google.protobuf.descriptor import FieldDescriptor

from protopact_codegen.contract import Contract, File, Message
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.options import MessageLibrary

__all__ = ["ClassRef", "Library", "importable", "messages_of", "relative_module"]


@dataclass(frozen=True, slots=True, order=True)
class ClassRef:
    """Where the Python class of a message is found.

    Attributes:
        module: What stands between `from` and `import`: `.`, `..other.v1`, `nodes.v1.node_pb2`.
        names: Attribute names from the module to the class: `("Outer", "Inner")`.
        stub_names: The same names as the module's type stub spells them; empty when no import statement reaches the
            module, so that type checkers see no more than the library's base class.
    """

    module: str
    names: tuple[str, ...]
    stub_names: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether an import statement and attributes reach the class, for Python and for type checkers alike."""
        return self.names == self.stub_names and all(map(importable, self.names))


class Library(ABC):
    """A message library: names, imports and attributes of what its own plugin generates.

    Attributes:
        name: Value of the plugin option `messages`.
        message_base: Module and name of the class that every message class derives from.
    """

    name: ClassVar[MessageLibrary]
    message_base: ClassVar[tuple[str, str]]

    @abstractmethod
    def output_path(self, file: File) -> str:
        """Path of the module generated for `file`, relative to `out`: beside its messages."""

    @abstractmethod
    def class_ref(self, message: Message, file: File) -> ClassRef:
        """Where the module generated for `file` finds the class of `message`."""

    @abstractmethod
    def attribute(self, field: FieldDescriptor) -> str:
        """Name of the Python attribute of a field."""

    @abstractmethod
    def has_presence(self, field: FieldDescriptor) -> bool:
        """Whether the library tells a field that is unset from one that holds its default."""

    @abstractmethod
    def descriptors(self, messages: Iterable[Message]) -> bytes:
        """Serialized `FileDescriptorSet` that the runtime needs for `messages`; empty when the classes carry theirs."""

    @abstractmethod
    def check(self, contract: Contract) -> Iterator[Diagnostic]:
        """Find what the library cannot carry."""

    def check_output(self, contract: Contract) -> Iterator[Diagnostic]:
        """Find files for which one and the same module would be generated."""
        seen = dict[str, File]()
        for file in contract.files:
            path = self.output_path(file)
            first = seen.setdefault(path, file)
            if first is not file:
                yield Diagnostic(
                    Code.LIBRARY_COLLISION,
                    file.place,
                    f"{file.path} and {first.path} would both be generated as {path}",
                    "rename one of the files",
                )


def messages_of(holder: Contract | File) -> list[Message]:
    """The messages that the modules generated for `holder` need, each once, sorted by name.

    These are the requests and responses of its workflows, of the handlers that they refer to, and of its activities;
    `google.protobuf.Empty` is nothing in Python.
    """
    found = dict[str, Message]()
    for service in holder.services:
        handlers = (handler for workflow in service.workflows for handler in workflow.handlers)
        for rpc in (*service.workflows, *service.activities, *handlers):
            found |= {message.name: message for message in (rpc.request, rpc.response) if not message.empty}
    return [found[name] for name in sorted(found)]


def importable(dotted: str) -> bool:
    """Whether every part of a dotted name can stand in an import statement; leading dots make it relative."""
    parts = dotted.lstrip(".").split(".")
    return parts == [""] or all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


def relative_module(package: Sequence[str], target: Sequence[str]) -> str:
    """Relative form of `target` for an import statement in a module of `package`; both as parts of dotted names."""
    shared = 0
    while shared < min(len(package), len(target)) and package[shared] == target[shared]:
        shared += 1
    return "." * (len(package) - shared + 1) + ".".join(target[shared:])
