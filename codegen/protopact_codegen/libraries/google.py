"""Google's `protobuf`: classes made by protoc's own Python plugin, one `_pb2` module per proto file.

Type checkers see them through the stubs of mypy-protobuf, which spells a message called like a keyword `_r_<name>`.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator
from typing import ClassVar

from google.protobuf.descriptor import FieldDescriptor

from protopact_codegen.contract import Contract, File, Message
from protopact_codegen.diagnostics import Diagnostic
from protopact_codegen.libraries.library import ClassRef, Library, importable, relative_module
from protopact_codegen.options import MessageLibrary

__all__ = ["Google"]

# What the protobuf and protopact distributions bring: never under the root of generated messages.
_SHIPPED = ("google/protobuf/", "protopact/")


class Google(Library):
    """Google's `protobuf`.

    Attributes:
        import_root: Package under which the generated messages are importable; empty when `out` is on the path.
    """

    name: ClassVar[MessageLibrary] = "google"
    message_base: ClassVar[tuple[str, str]] = ("google.protobuf.message", "Message")

    def __init__(self, import_root: str = "") -> None:
        self.import_root = import_root

    def output_path(self, file: File) -> str:
        """Path of the module generated for `file`, beside `<file>_pb2.py`."""
        return f"{'/'.join(_module(file.path))}_protopact.py"

    def class_ref(self, message: Message, file: File) -> ClassRef:
        """Where the module generated for `file` finds the class of `message`.

        Imports are absolute, as protoc's own are. A folder called like a keyword cannot stand in an import statement:
        then the import is relative if that avoids the folder, and dynamic if not.
        """
        module = [*_module(message.file)]
        module[-1] += "_pb2"
        shipped = message.file.startswith(_SHIPPED)
        absolute = ".".join(([] if shipped or not self.import_root else [self.import_root]) + module)
        stub = tuple(f"_r_{name}" if keyword.iskeyword(name) else name for name in message.nesting)
        if importable(absolute):
            return ClassRef(absolute, message.nesting, stub)
        relative = relative_module(_module(file.path)[:-1], module)
        if importable(relative):
            return ClassRef(relative, message.nesting, stub)
        return ClassRef(absolute, message.nesting, ())

    def attribute(self, field: FieldDescriptor) -> str:
        """Name of a field's attribute: the field's own, keywords included."""
        return field.name

    def has_presence(self, field: FieldDescriptor) -> bool:
        """Whether the field has explicit presence."""
        return field.has_presence

    def descriptors(self, messages: Iterable[Message]) -> bytes:  # noqa: ARG002 - the classes carry them
        """Nothing: the classes carry their descriptors."""
        return b""

    def check(self, contract: Contract) -> Iterator[Diagnostic]:  # noqa: ARG002 - nothing to look at
        """Nothing: every message that protoc takes has its class."""
        return iter(())


def _module(path: str) -> list[str]:
    """Parts of the module name that protoc makes of a proto file's path, without `_pb2`."""
    return path.removesuffix(".proto").replace("-", "_").replace("/", ".").split(".")
