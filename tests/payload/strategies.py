"""Random messages of google's, made from descriptors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from protopact.payload.fields import INT32, INT64, MESSAGES, enum_type, is_map, is_repeated, map_fields

_UNSIGNED = {
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
}
_DEPTH = 3


Value: TypeAlias = Any
"""A message of a class that is generated while the tests run, or the value of one of its fields."""


def messages(cls: Value, *, finest: int = 1) -> st.SearchStrategy[Any]:
    """Messages of class `cls`; times within them are multiples of `finest` nanoseconds."""

    @st.composite
    def draw_message(draw: st.DrawFn) -> Value:
        message = cls()
        _fill(draw, message, finest, _DEPTH)
        return message

    return draw_message()


def _fill(draw: st.DrawFn, message: Value, finest: int, depth: int) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    if descriptor.full_name in _WELL_KNOWN:
        message.CopyFrom(draw(_WELL_KNOWN[descriptor.full_name](finest)))
        return
    for field in descriptor.fields:
        if not draw(st.booleans()):
            continue
        if is_map(field):
            _fill_map(draw, field, getattr(message, field.name), finest, depth)
        elif is_repeated(field):
            _fill_list(draw, field, getattr(message, field.name), finest, depth)
        elif field.type not in MESSAGES:
            setattr(message, field.name, draw(scalars(field)))
        elif depth:
            nested = getattr(message, field.name)
            nested.SetInParent()
            _fill(draw, nested, finest, depth - 1)


def _fill_list(draw: st.DrawFn, field: FieldDescriptor, values: Value, finest: int, depth: int) -> None:
    for _ in range(draw(st.integers(0, 3))):
        if field.type not in MESSAGES:
            values.append(draw(scalars(field)))
        elif depth:
            _fill(draw, values.add(), finest, depth - 1)


def _fill_map(draw: st.DrawFn, field: FieldDescriptor, values: Value, finest: int, depth: int) -> None:
    key_field, value_field = map_fields(field)
    for key in draw(st.lists(scalars(key_field), max_size=3)):
        if value_field.type not in MESSAGES:
            values[key] = draw(scalars(value_field))
        elif depth:
            _fill(draw, values[key], finest, depth - 1)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.type in INT32 or field.type in INT64:
        bits = 32 if field.type in INT32 else 64
        return (
            st.integers(0, 2**bits - 1)
            if field.type in _UNSIGNED
            else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
    if field.type == FieldDescriptor.TYPE_ENUM:
        enum = enum_type(field)
        known = st.sampled_from([value.number for value in enum.values])
        return known if enum.is_closed or enum.name == "NullValue" else known | st.integers(-(2**31), 2**31 - 1)
    return _SCALARS[field.type]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    # json_format does not read the largest floats that it writes.
    FieldDescriptor.TYPE_FLOAT: st.floats(-(2.0**127), 2.0**127, width=32) | st.sampled_from([math.inf, -math.inf]),
}


@st.composite
def _timestamps(draw: st.DrawFn, finest: int) -> Timestamp:
    seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
    return Timestamp(seconds=seconds, nanos=draw(st.integers(0, 999_999_999)) // finest * finest)


@st.composite
def _durations(draw: st.DrawFn, finest: int) -> Duration:
    sign = draw(st.sampled_from([1, -1]))
    seconds = draw(st.integers(0, 315_575_999_999))
    return Duration(seconds=sign * seconds, nanos=sign * (draw(st.integers(0, 999_999_999)) // finest * finest))


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)


def _structs() -> st.SearchStrategy[Any]:
    def make(fields: dict[str, Any]) -> struct_pb2.Struct:
        struct = struct_pb2.Struct()
        struct.update(fields)
        return struct

    return st.dictionaries(_TEXT, _JSON, max_size=3).map(make)


def _lists() -> st.SearchStrategy[Any]:
    def make(values: list[Any]) -> struct_pb2.ListValue:
        made = struct_pb2.ListValue()
        made.extend(values)
        return made

    return st.lists(_JSON, max_size=3).map(make)


def _values() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.just(struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)),
        st.booleans().map(lambda value: struct_pb2.Value(bool_value=value)),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda value: struct_pb2.Value(number_value=value)),
        _TEXT.map(lambda value: struct_pb2.Value(string_value=value)),
        _structs().map(lambda value: struct_pb2.Value(struct_value=value)),
        _lists().map(lambda value: struct_pb2.Value(list_value=value)),
    )


def _any(inner: Value) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(inner, deterministic=True)
    return packed


def _masks() -> st.SearchStrategy[Any]:
    paths = st.lists(st.sampled_from(["a", "foo_bar", "a.b_c"]), max_size=3)
    return paths.map(lambda paths: FieldMask(paths=paths))


def _whatever(make: Callable[[], st.SearchStrategy[Any]]) -> Callable[[int], st.SearchStrategy[Any]]:
    return lambda _: make()


def _anys(finest: int) -> st.SearchStrategy[Any]:
    return _timestamps(finest).map(_any)


_WELL_KNOWN: dict[str, Callable[[int], st.SearchStrategy[Any]]] = {
    "google.protobuf.Timestamp": _timestamps,
    "google.protobuf.Duration": _durations,
    "google.protobuf.Any": _anys,
    "google.protobuf.Struct": _whatever(_structs),
    "google.protobuf.Value": _whatever(_values),
    "google.protobuf.ListValue": _whatever(_lists),
    "google.protobuf.FieldMask": _whatever(_masks),
}
