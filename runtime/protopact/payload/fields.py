"""Facts of a field that adapters and the JSON format share."""

from __future__ import annotations

from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = [
    "FLOATS",
    "INT32",
    "INT64",
    "MESSAGES",
    "descriptor_of",
    "enum_type",
    "is_map",
    "is_repeated",
    "is_required",
    "map_fields",
    "message_type",
]

FLOATS = frozenset({FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE})
"""Types of floating-point numbers."""

INT32 = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SFIXED32,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_FIXED32,
    }
)
"""Types of 32-bit integers."""

INT64 = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    }
)
"""Types of 64-bit integers."""

MESSAGES = frozenset({FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP})
"""Types whose values are messages."""


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether the field holds several values; maps do."""
    repeated = getattr(field, "is_repeated", None)
    if repeated is None:  # before protobuf 6.30, which deprecates what it asks here
        return bool(getattr(field, "label", None) == FieldDescriptor.LABEL_REPEATED)
    return bool(repeated)


def is_required(field: FieldDescriptor) -> bool:
    """Whether the field must be set, as proto2 can say."""
    required = getattr(field, "is_required", None)
    if required is None:  # before protobuf 6.30, as above
        return bool(getattr(field, "label", None) == FieldDescriptor.LABEL_REQUIRED)
    return bool(required)


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return False
    held = message_type(field)
    return held.has_options and bool(held.GetOptions().map_entry)


def map_fields(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Key and value of a map."""
    fields = message_type(field).fields_by_name
    return fields["key"], fields["value"]


def message_type(field: FieldDescriptor) -> Descriptor:
    """Type of the messages that the field holds."""
    held = field.message_type
    assert held is not None, f"{field.full_name} holds no messages"
    return held


def enum_type(field: FieldDescriptor) -> EnumDescriptor:
    """Type of the enum values that the field holds."""
    held = field.enum_type
    assert held is not None, f"{field.full_name} holds no enum"
    return held


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """Descriptor of a message or of its class."""
    return cast("Descriptor", message.DESCRIPTOR)  # typed as a union of two classes for one thing
