"""The schema of messages as a serialized `FileDescriptorSet`, down to what their values need."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

__all__ = ["Descriptors"]


class Descriptors:
    """Proto files reduced to messages and enums: what the values of the messages in them need, and no more.

    The bytes depend on the messages alone: neither on the compiler nor on comments, services or options.
    """

    def __init__(self) -> None:
        self._dependencies = dict[str, list[FileDescriptor]]()
        self._reduced = dict[str, FileDescriptorProto]()

    def closure(self, files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
        """The given files and all that their fields take types from: dependencies first, otherwise by name."""
        ordered = dict[str, FileDescriptor]()

        def visit(file: FileDescriptor) -> None:
            if file.name not in ordered:
                for dependency in self._types_from(file):
                    visit(dependency)
                ordered[file.name] = file

        for file in sorted(files, key=lambda file: file.name):
            visit(file)
        return list(ordered.values())

    def serialize(self, files: Iterable[FileDescriptor]) -> bytes:
        """Serialize the closure of `files` as a `FileDescriptorSet`, with JSON names."""
        found = FileDescriptorSet()
        for file in self.closure(files):
            found.file.append(self.reduce(file))
        return found.SerializeToString(deterministic=True)

    def reduce(self, file: FileDescriptor) -> FileDescriptorProto:
        """Reduce a file to its messages and enums, with their syntax."""
        if file.name not in self._reduced:
            whole = FileDescriptorProto()
            file.CopyToProto(whole)
            reduced = FileDescriptorProto()
            for name in ("name", "package", "syntax", "edition"):
                if whole.HasField(name):
                    setattr(reduced, name, getattr(whole, name))
            reduced.dependency.extend(dependency.name for dependency in self._types_from(file))
            for message in whole.message_type:
                _reduce_message(message)
            for enum in whole.enum_type:
                _reduce_enum(enum)
            reduced.message_type.extend(whole.message_type)
            reduced.enum_type.extend(whole.enum_type)
            self._reduced[file.name] = reduced
        return self._reduced[file.name]

    def _types_from(self, file: FileDescriptor) -> list[FileDescriptor]:
        """The other files that the fields of the messages in `file` take their types from, by name."""
        if file.name not in self._dependencies:
            found = dict[str, FileDescriptor]()
            pending = list[Descriptor](file.message_types_by_name.values())
            while pending:
                message = pending.pop()
                pending += message.nested_types
                for field in message.fields:
                    for used in (field.message_type, field.enum_type):
                        if used is not None:
                            found[used.file.name] = used.file
            found.pop(file.name, None)
            self._dependencies[file.name] = [found[name] for name in sorted(found)]
        return self._dependencies[file.name]


def _reduce_message(message: DescriptorProto) -> None:
    map_entry = message.options.map_entry
    for name in ("options", "extension", "extension_range", "reserved_range", "reserved_name"):
        message.ClearField(name)
    if map_entry:
        message.options.map_entry = True
    for field in message.field:
        _reduce_field(field)
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        _reduce_message(nested)
    for enum in message.enum_type:
        _reduce_enum(enum)


def _reduce_field(field: FieldDescriptorProto) -> None:
    packed = field.options.packed if field.options.HasField("packed") else None
    field.ClearField("options")
    if packed is not None:
        field.options.packed = packed


def _reduce_enum(enum: EnumDescriptorProto) -> None:
    allow_alias = enum.options.allow_alias
    for name in ("options", "reserved_range", "reserved_name"):
        enum.ClearField(name)
    if allow_alias:
        enum.options.allow_alias = True
    for value in enum.value:
        value.ClearField("options")
