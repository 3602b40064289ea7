"""Protobuf's JSON format, compiled per message type.

The rules are those of https://protobuf.dev/programming-guides/json/ as google's `json_format` reads and writes them; it
looks every field up again and is several times slower. What is rare (well-known types, extensions, values that are not
in the canonical spelling) is left to it. Two things differ on purpose: text is UTF-8 rather than escaped, and unknown
names of enum values are refused, which `json_format` drops silently when it tolerates unknown fields.
"""

from __future__ import annotations

import binascii
import json
import math
import re
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeGuard

import msgspec
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from protopact.payload.fields import (
    FLOATS,
    INT32,
    INT64,
    MESSAGES,
    descriptor_of,
    enum_type,
    is_map,
    is_repeated,
    map_fields,
    message_type,
)

__all__ = ["AnyMessage", "Json", "JsonError", "JsonFormat"]

# Fields of a message are reached by name, and a JSON value has any type: both are dynamic by nature.
Json: TypeAlias = Any
AnyMessage: TypeAlias = Any
_Write: TypeAlias = Callable[[AnyMessage, dict[str, Json]], None]
_Read: TypeAlias = Callable[[AnyMessage, Json, int], None]
_Convert: TypeAlias = Callable[[Any], Any]

_NULL_VALUE = "google.protobuf.NullValue"  # null in JSON
_SHORT = 40  # characters of a value that an error shows
_MAX_DEPTH = 100  # json_format's own limit, and that of the binary format
_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Json] = msgspec.json.Decoder().decode


class JsonError(Exception):
    """A message has no JSON form, or a text is not the JSON of the message. Says why, and at which field."""


class _UnusualError(Exception):
    """A value in another than the canonical spelling: `json_format` decides."""


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise JsonError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
    return result


_decoder = json.JSONDecoder(object_pairs_hook=_unique)


def _read(data: bytes) -> Json:
    """The value of a JSON text.

    Raises:
        JsonError: It is none, or an object has a key twice.
    """
    try:
        value = _decode(data)
        if _encode(value) == data:  # as we write it, so no key was there twice and no number was changed
            return value
    except (ValueError, RecursionError):  # text that only the more tolerant decoder takes, if any does
        pass
    try:
        text = data.decode().strip(" \t\n\r")
        value, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"not JSON: {error}") from error
    if end != len(text):
        raise JsonError(f"not JSON: more text after the value, at character {end}")
    return value


def _reason(error: Exception) -> str:
    """What json_format says, with the path of the field instead of a sentence for each step."""
    step = re.compile(r"Failed to parse (\S+) field: ")
    path: list[str] = []
    text = str(error)
    while found := step.match(text):
        path.append(found[1])
        text = text[found.end() :].removesuffix(".")
    return f"field {'.'.join(path)}: {text}" if path else text


class JsonFormat:
    """The JSON format of the messages of one descriptor pool; None is google's default pool."""

    def __init__(self, pool: descriptor_pool.DescriptorPool | None = None) -> None:
        self._pool = pool
        self._plans: dict[str, _Plan] = {}
        self._by_class: dict[type[Message], _Plan] = {}
        self._lock = threading.Lock()

    def dump(self, message: Message) -> bytes:
        """JSON of `message`.

        Raises:
            JsonError: It has none: an `Any` of an unknown type, a `Timestamp` out of range, ...
        """
        try:
            return _encode(self._plan_of(type(message)).write(message))
        except (json_format.Error, DecodeError, ValueError, TypeError, RecursionError) as error:
            raise JsonError(str(error)) from error

    def load(self, data: bytes, cls: type[Message]) -> Message:
        """Message of class `cls` that the JSON text `data` holds.

        Raises:
            JsonError: It holds none.
        """
        value = _read(data)
        message = cls()
        try:
            self._plan_of(cls).read(message, value, 1)
        except Exception:  # noqa: BLE001 - whatever it is, json_format accepts it or says what is wrong
            return self._load_by_library(_read(data), cls)  # anew: json_format changes what it is given
        return message

    def _load_by_library(self, value: Json, cls: type[Message]) -> Message:
        try:
            text = json.dumps(self._known(value, descriptor_of(cls)))
            return json_format.Parse(text, cls(), descriptor_pool=self._pool, max_recursion_depth=_MAX_DEPTH)
        except (json_format.Error, RecursionError) as error:
            raise JsonError(_reason(error)) from error

    def _plan_of(self, cls: type[Message]) -> _Plan:
        plan = self._by_class.get(cls)
        if plan is None:
            plan = self._by_class[cls] = self._plan(descriptor_of(cls))
        return plan

    def _plan(self, descriptor: Descriptor) -> _Plan:
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            with self._lock:  # plans are seen by other threads when they and all that they hold are complete
                building = dict(self._plans)
                plan = _Plan.of(descriptor, building, self._pool)
                self._plans = building
        return plan

    def _known(self, value: Json, descriptor: Descriptor) -> Json:
        """`value` without the keys that `descriptor` does not know, all the way down."""
        if descriptor.full_name == "google.protobuf.Any" and _is_object(value):
            return self._known_in_any(value)
        if value is None or _is_well_known(descriptor) or _is_wrapper(descriptor):
            return value
        if not _is_object(value):  # json_format takes an empty list for an empty message
            raise JsonError(f"expected a JSON object for {descriptor.full_name}, found {json.dumps(value)[:_SHORT]}")
        fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
        if descriptor.is_extendable:
            fields |= {f"[{field.full_name}]": field for field in descriptor.file.pool.FindAllExtensions(descriptor)}
        return {key: self._known_in_field(item, fields[key]) for key, item in value.items() if key in fields}

    def _known_in_field(self, value: Json, field: FieldDescriptor) -> Json:
        if field.type not in MESSAGES:
            return value
        if is_map(field):
            _, entry = map_fields(field)
            return {k: self._known_in_field(v, entry) for k, v in value.items()} if _is_object(value) else value
        if is_repeated(field) and _is_array(value):
            return [self._known(each, message_type(field)) for each in value]
        return self._known(value, message_type(field))

    def _known_in_any(self, value: dict[str, Json]) -> dict[str, Json]:
        url = value.get("@type")
        pool = self._pool or descriptor_pool.Default()
        try:
            descriptor = pool.FindMessageTypeByName(str(url).rpartition("/")[2])
        except KeyError:
            return value  # json_format says that it does not know the type
        if _is_well_known(descriptor) or _is_wrapper(descriptor):
            return value
        inner = self._known({key: item for key, item in value.items() if key != "@type"}, descriptor)
        return {"@type": url, **inner}


class _Plan:
    """How the messages of one type are written and read."""

    def __init__(self, descriptor: Descriptor, pool: descriptor_pool.DescriptorPool | None) -> None:
        self.descriptor = descriptor
        self.pool = pool
        self.is_wrapper = _is_wrapper(descriptor)
        self.by_library = (
            descriptor.is_extendable or _is_well_known(descriptor) or any(map(_has_json_names, _enums(descriptor)))
        )
        self.writers: tuple[_Write, ...] = ()
        self.readers: dict[str, _Read] = {}
        self.write_wrapped: _Convert = _as_is
        self.read_wrapped: _Convert = _as_is

    @classmethod
    def of(cls, descriptor: Descriptor, plans: dict[str, _Plan], pool: descriptor_pool.DescriptorPool | None) -> _Plan:
        """The plan of `descriptor`, from `plans` or made and put there with all that it holds."""
        plan = plans.get(descriptor.full_name)
        if plan is None:
            plan = plans[descriptor.full_name] = cls(descriptor, pool)  # before its fields: a message may hold itself
            if not plan.by_library:
                fields = sorted(descriptor.fields, key=lambda field: field.json_name)
                nested = {field.name: cls.of(message, plans, pool) for field, message in _held(descriptor)}
                plan.writers = tuple(_writer(field, nested.get(field.name)) for field in fields)
                readers = [(field, _reader(field, nested.get(field.name))) for field in fields]
                plan.readers = {field.name: read for field, read in readers}
                plan.readers |= {field.json_name: read for field, read in readers}
            if plan.is_wrapper:
                (value,) = descriptor.fields
                plan.write_wrapped, plan.read_wrapped = _value_writer(value), _value_reader(value)
        return plan

    def write(self, message: AnyMessage) -> Json:
        """The JSON value of `message`."""
        if self.by_library:
            # json_format leaves the keys of maps and of a Struct in the order of a hash table.
            return _sorted(json_format.MessageToDict(message, descriptor_pool=self.pool))
        if self.is_wrapper:
            return self.write_wrapped(message.value)
        result: dict[str, Json] = {}
        for write in self.writers:
            write(message, result)
        return result

    def read(self, message: AnyMessage, value: Json, depth: int) -> None:
        """Fill the empty `message` from a JSON value at `depth` of nesting, from 1."""
        if self.by_library:
            limit = _MAX_DEPTH - depth + 1
            json_format.ParseDict(value, message, descriptor_pool=self.pool, max_recursion_depth=limit)
            return
        if self.is_wrapper:
            message.value = self.read_wrapped(value)
            return
        if value.__class__ is not dict or depth > _MAX_DEPTH:
            raise _UnusualError
        readers = self.readers
        for key, item in value.items():
            read = readers.get(key)
            if read is not None:
                read(message, item, depth)


def _writer(field: FieldDescriptor, plan: _Plan | None) -> _Write:
    if is_map(field):
        return _map_writer(field, plan)
    if is_repeated(field):
        return _repeated_writer(field, plan)
    return _singular_writer(field, plan)


def _repeated_writer(field: FieldDescriptor, plan: _Plan | None) -> _Write:
    name, key = field.name, field.json_name
    convert: _Convert = _value_writer(field) if plan is None else plan.write

    def write(message: AnyMessage, result: dict[str, Json]) -> None:
        if values := getattr(message, name):
            result[key] = [convert(value) for value in values]

    return write


def _singular_writer(field: FieldDescriptor, plan: _Plan | None) -> _Write:
    name, key = field.name, field.json_name
    convert: _Convert = _value_writer(field) if plan is None else plan.write
    if field.type in FLOATS and not field.has_presence:
        return _implicit_float_writer(field)

    def write_present(message: AnyMessage, result: dict[str, Json]) -> None:
        if message.HasField(name):
            result[key] = convert(getattr(message, name))

    def write_implicit(message: AnyMessage, result: dict[str, Json]) -> None:
        if value := getattr(message, name):
            result[key] = convert(value)

    def write_implicit_as_is(message: AnyMessage, result: dict[str, Json]) -> None:
        if value := getattr(message, name):
            result[key] = value

    if field.has_presence:
        return write_present
    return write_implicit_as_is if convert is _as_is else write_implicit


def _implicit_float_writer(field: FieldDescriptor) -> _Write:
    name, key = field.name, field.json_name
    convert = _value_writer(field)

    def write(message: AnyMessage, result: dict[str, Json]) -> None:
        value = getattr(message, name)
        if value or math.copysign(1, value) < 0:  # -0.0 is not the default
            result[key] = convert(value)

    return write


def _map_writer(field: FieldDescriptor, plan: _Plan | None) -> _Write:
    name, key = field.name, field.json_name
    key_field, value_field = map_fields(field)
    convert: _Convert = _value_writer(value_field) if plan is None else plan.write
    text: _Convert = {True: "true", False: "false"}.__getitem__ if key_field.type == FieldDescriptor.TYPE_BOOL else str

    def write(message: AnyMessage, result: dict[str, Json]) -> None:
        if values := getattr(message, name):
            result[key] = dict(sorted((text(each), convert(values[each])) for each in values))

    return write


def _value_writer(field: FieldDescriptor) -> _Convert:
    if field.type == FieldDescriptor.TYPE_ENUM:
        if enum_type(field).full_name == _NULL_VALUE:
            return lambda _: None
        by_number = enum_type(field).values_by_number
        names = {number: by_number[number].name for number in by_number}  # not by items(), which names the last alias
        return lambda number: names.get(number, number)
    if field.type in INT64:
        return str
    return _VALUE_WRITERS.get(field.type, _as_is)


def _as_is(value: Json) -> Json:
    return value


def _double_to_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float_to_json(value: float) -> float | str:
    """The shortest decimal that is `value` in single precision."""
    if not math.isfinite(value):
        return _double_to_json(value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", short))[0] == value:
            return short
    return float(f"{value:.9g}")


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_VALUE_WRITERS: dict[int, _Convert] = {
    FieldDescriptor.TYPE_BYTES: _base64,
    FieldDescriptor.TYPE_FLOAT: _float_to_json,
    FieldDescriptor.TYPE_DOUBLE: _double_to_json,
}


def _reader(field: FieldDescriptor, plan: _Plan | None) -> _Read:
    if is_map(field):
        return _map_reader(field, plan)
    read = _repeated_reader(field, plan) if is_repeated(field) else _singular_reader(field, plan)
    oneof = field.containing_oneof
    if oneof is None or len(oneof.fields) == 1:
        return read
    oneof_name = oneof.name

    def read_alone(message: AnyMessage, value: Json, depth: int) -> None:
        if message.WhichOneof(oneof_name) is not None:
            raise _UnusualError
        read(message, value, depth)

    return read_alone


def _singular_reader(field: FieldDescriptor, plan: _Plan | None) -> _Read:
    name = field.name
    if plan is not None:
        read_message = plan.read

        def read_nested(message: AnyMessage, value: Json, depth: int) -> None:
            nested = getattr(message, name)
            nested.SetInParent()
            read_message(nested, value, depth + 1)

        return read_nested
    convert = _value_reader(field)

    def read(message: AnyMessage, value: Json, _: int) -> None:
        setattr(message, name, convert(value))

    return read


def _repeated_reader(field: FieldDescriptor, plan: _Plan | None) -> _Read:
    name = field.name
    if plan is not None:
        read_message = plan.read

        def read_messages(message: AnyMessage, value: Json, depth: int) -> None:
            messages = getattr(message, name)
            if value.__class__ is not list or len(messages):
                raise _UnusualError
            for each in value:
                read_message(messages.add(), each, depth + 1)

        return read_messages
    convert = _value_reader(field)

    def read(message: AnyMessage, value: Json, _: int) -> None:
        values = getattr(message, name)
        if value.__class__ is not list or len(values):
            raise _UnusualError
        values.extend([convert(each) for each in value])

    return read


def _map_reader(field: FieldDescriptor, plan: _Plan | None) -> _Read:
    name = field.name
    key_field, value_field = map_fields(field)
    key: _Convert = _as_is
    if key_field.type == FieldDescriptor.TYPE_BOOL:
        key = {"true": True, "false": False}.__getitem__
    elif key_field.type != FieldDescriptor.TYPE_STRING:
        key = _integer
    convert = None if plan is not None else _value_reader(value_field)

    def read(message: AnyMessage, value: Json, depth: int) -> None:
        values = getattr(message, name)
        if value.__class__ is not dict or len(values):
            raise _UnusualError
        for each, item in value.items():
            if convert is not None:
                values[key(each)] = convert(item)
            elif plan is not None:
                plan.read(values[key(each)], item, depth + 1)

    return read


def _value_reader(field: FieldDescriptor) -> _Convert:
    if field.type == FieldDescriptor.TYPE_ENUM:
        numbers: dict[str | None, int] = {name: each.number for name, each in enum_type(field).values_by_name.items()}
        if enum_type(field).full_name == _NULL_VALUE:
            numbers[None] = 0
        return numbers.__getitem__
    return {
        FieldDescriptor.TYPE_STRING: _string,
        FieldDescriptor.TYPE_BYTES: _bytes,
        FieldDescriptor.TYPE_BOOL: _bool,
        FieldDescriptor.TYPE_FLOAT: _float,
        FieldDescriptor.TYPE_DOUBLE: _double,
        **dict.fromkeys(INT32, _int32),
        **dict.fromkeys(INT64, _int64),
    }[field.type]


def _string(value: Json) -> str:
    if type(value) is not str:
        raise _UnusualError
    return value


def _bytes(value: Json) -> bytes:
    return binascii.a2b_base64(_string(value).encode("ascii"), strict_mode=True)


def _bool(value: Json) -> bool:
    if type(value) is not bool:
        raise _UnusualError
    return value


def _int32(value: Json) -> int:
    if type(value) is not int:
        raise _UnusualError
    return value


def _int64(value: Json) -> int:
    return value if type(value) is int else _integer(_string(value))


def _integer(text: str) -> int:
    value = int(text)
    if str(value) != text:
        raise _UnusualError
    return value


def _double(value: Json) -> float:
    if type(value) is float or type(value) is int:
        result = float(value)
        if not math.isfinite(result):
            raise _UnusualError
        return result
    return _NOT_FINITE[_string(value)]


def _float(value: Json) -> float:
    result = _double(value)
    struct.pack("<f", result)  # raises for what is finite and too large
    return result


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _held(descriptor: Descriptor) -> Iterator[tuple[FieldDescriptor, Descriptor]]:
    """Fields that hold messages, and which; for a map, the values."""
    for field in descriptor.fields:
        if field.type in MESSAGES:
            held = map_fields(field)[1] if is_map(field) else field
            if held.type in MESSAGES:
                yield field, message_type(held)


def _enums(descriptor: Descriptor) -> Iterator[EnumDescriptor]:
    for field in descriptor.fields:
        held = map_fields(field)[1] if is_map(field) else field
        if held.type == FieldDescriptor.TYPE_ENUM:
            yield enum_type(held)


def _has_json_names(enum: EnumDescriptor) -> bool:
    """Whether values of `enum` are spelt otherwise in JSON, by protobuf's option `pb.enumvalue.json`."""
    options = (value.GetOptions() for value in enum.values if value.has_options)
    return any(option.full_name.startswith("pb.") for each in options for option, _ in each.ListFields())


def _is_well_known(descriptor: Descriptor) -> bool:
    """Whether the type has a JSON form of its own, wrappers excepted."""
    return descriptor.full_name in _WELL_KNOWN


def _is_wrapper(descriptor: Descriptor) -> bool:
    return descriptor.file.name == "google/protobuf/wrappers.proto"


_WELL_KNOWN = {
    f"google.protobuf.{name}" for name in ("Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value")
}


def _is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict)


def _is_array(value: Json) -> TypeGuard[list[Json]]:
    return isinstance(value, list)


def _sorted(value: Json) -> Json:
    if _is_object(value):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if _is_array(value):
        return [_sorted(each) for each in value]
    return value
