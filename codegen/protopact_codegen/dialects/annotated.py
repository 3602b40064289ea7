"""Everything in a file that carries an annotation of `protopact.v1`, with its full name and its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from protopact_codegen import annotations_pb2 as schema
from protopact_codegen.source import Path, Place, Source

__all__ = ["Annotated", "annotated_in"]

# Any: the types of an options message and of its extension go together, which no type of a tuple can say.
_Found: TypeAlias = tuple[str, Path, Message, Any]
_Options: TypeAlias = (
    schema.FileOptions
    | schema.ServiceOptions
    | schema.MethodOptions
    | schema.MessageOptions
    | schema.FieldOptions
    | schema.EnumOptions
    | schema.EnumValueOptions
)


@dataclass(frozen=True, slots=True)
class Annotated:
    """Something that carries an annotation.

    Attributes:
        name: Its full name; a value of an enum has the enum's before its own. Empty for a file.
        path: Its path in the file.
        options: The annotation.
        extension: The extension that the annotation is.
    """

    name: str
    path: Path
    options: _Options
    extension: Any  # a `FieldDescriptor`, which the extensions of the schema's stub are not

    def place(self, source: Source) -> Place:
        """Where it and the annotation stand."""
        option = (*self.path, self.extension.number)
        return Place(source, self.path[:-1], option, f"({self.extension.full_name})", self.extension.message_type)


def annotated_in(file: FileDescriptorProto) -> Iterator[Annotated]:
    """Find what carries an annotation in a file."""
    for name, path, options, extension in _candidates(file):
        if options.HasExtension(extension):
            yield Annotated(name, path, options.Extensions[extension], extension)


def _candidates(file: FileDescriptorProto) -> Iterator[_Found]:
    """What has options: its full name, the path of the options, the options, and the extension that would be ours."""
    if file.HasField("options"):
        yield "", (file.OPTIONS_FIELD_NUMBER,), file.options, schema.file
    scope = f"{file.package}." if file.package else ""
    for index, service in enumerate(file.service):
        here, name = (file.SERVICE_FIELD_NUMBER, index), f"{scope}{service.name}"
        if service.HasField("options"):
            yield name, (*here, service.OPTIONS_FIELD_NUMBER), service.options, schema.service
        for number, rpc in enumerate(service.method):
            if rpc.HasField("options"):
                path = (*here, service.METHOD_FIELD_NUMBER, number, rpc.OPTIONS_FIELD_NUMBER)
                yield f"{name}.{rpc.name}", path, rpc.options, schema.method
    yield from _enums(scope, (file.ENUM_TYPE_FIELD_NUMBER,), file.enum_type)
    yield from _messages(scope, (file.MESSAGE_TYPE_FIELD_NUMBER,), file.message_type)


def _messages(scope: str, path: Path, messages: Iterable[DescriptorProto]) -> Iterator[_Found]:
    for index, message in enumerate(messages):
        here, name = (*path, index), f"{scope}{message.name}"
        if message.HasField("options"):
            yield name, (*here, message.OPTIONS_FIELD_NUMBER), message.options, schema.message
        for number, member in enumerate(message.field):
            if member.HasField("options"):
                inside = (*here, message.FIELD_FIELD_NUMBER, number, member.OPTIONS_FIELD_NUMBER)
                yield f"{name}.{member.name}", inside, member.options, schema.field
        yield from _enums(f"{name}.", (*here, message.ENUM_TYPE_FIELD_NUMBER), message.enum_type)
        yield from _messages(f"{name}.", (*here, message.NESTED_TYPE_FIELD_NUMBER), message.nested_type)


def _enums(scope: str, path: Path, enums: Iterable[EnumDescriptorProto]) -> Iterator[_Found]:
    for index, enum in enumerate(enums):
        here, name = (*path, index), f"{scope}{enum.name}"
        if enum.HasField("options"):
            yield name, (*here, enum.OPTIONS_FIELD_NUMBER), enum.options, schema.enum
        for number, value in enumerate(enum.value):
            if value.HasField("options"):
                inside = (*here, enum.VALUE_FIELD_NUMBER, number, value.OPTIONS_FIELD_NUMBER)
                yield f"{name}.{value.name}", inside, value.options, schema.enum_value
