"""Messages of `betterproto2`, written and read through google's `protobuf`.

betterproto2's classes are plain dataclasses: its own writers check nothing, lose the sign of durations, and produce
JSON that is not protobuf's. So a message is copied, field by field and checked on the way, to the google message of the
same descriptor, which the generated module carries, and that one is written; reading is the way back. Both ways are
compiled once per class. Unknown fields of the binary format are kept. A `Timestamp` or `Duration` within a message is
a `datetime` or `timedelta` in betterproto2: what is finer than a microsecond is cut off on reading.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar, cast

import betterproto2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from protopact import contract
from protopact.errors import GeneratedCodeError, PayloadError
from protopact.payload.fields import MESSAGES, enum_type, is_map, is_repeated, is_required, map_fields, message_type
from protopact.payload.google import GoogleBytes
from protopact.payload.library import MessageCodec, refuse_class
from protopact.payload.protojson import JsonFormat
from protopact.payload.values import (
    AnyMessage,
    AnyValue,
    Convert,
    Copy,
    RefusedError,
    duration,
    enum,
    found,
    scalar,
    timestamp,
    utf8,
    wrapper,
)

__all__ = ["Betterproto2Codec", "is_message", "known_message", "message_of"]

M = TypeVar("M")

_URL = "type.googleapis.com/"
_UNKNOWN = "_unknown_fields"  # where betterproto2 keeps them


class Betterproto2Codec(MessageCodec[M]):
    """Messages of a generated class of betterproto2."""

    def __init__(self, message: contract.Message[M]) -> None:
        cls: type[object] = message.type
        if not issubclass(cls, betterproto2.Message):
            raise GeneratedCodeError(
                f"{message.name}: {cls.__module__}.{cls.__qualname__} is no class that betterproto2 generates; "
                f"generate the messages and the contract again, both for betterproto2"
            )
        self._message = message
        self._cls = cls
        schema = _Schema.of(message.schema)
        self._plan = schema.plan(cls, schema.descriptor(message.name))
        self._google_cls = message_factory.GetMessageClass(self._plan.descriptor)
        self._bytes = GoogleBytes(self._google_cls, schema.json)

    def to_binary(self, value: M, where: str) -> bytes:
        """Implements `MessageCodec`."""
        return self._bytes.to_binary(self._to_google(value, where), where)

    def to_json(self, value: M, where: str) -> bytes:
        """Implements `MessageCodec`."""
        return self._bytes.to_json(self._to_google(value, where), where)

    def from_binary(self, data: bytes, where: str) -> M:
        """Implements `MessageCodec`."""
        return self._from_google(self._bytes.from_binary(data, where), where)

    def from_json(self, data: bytes, where: str) -> M:
        """Implements `MessageCodec`."""
        return self._from_google(self._bytes.from_json(data, where), where)

    def _to_google(self, value: object, where: str) -> Message:
        if type(value) is not self._cls:
            refuse_class(self._message, value, where)
        message = self._google_cls()
        try:
            self._plan.write(value, message)
        except RefusedError as error:
            raise error.kind(f"{where}: {self._message.name}: {error}") from error
        except RecursionError as error:
            raise PayloadError(f"{where}: {self._message.name} is nested too deeply, or holds itself") from error
        return message

    def _from_google(self, message: Message, where: str) -> M:
        try:
            return cast("M", self._plan.read(message))
        except RefusedError as error:
            raise PayloadError(f"{where}: {self._message.name}: {error}") from error


def is_message(cls: type[object]) -> bool:
    """Whether a class is one of betterproto2's messages."""
    return issubclass(cls, betterproto2.Message)


def message_of(cls: type[M]) -> contract.Message[M] | None:
    """Description of a class of betterproto2's messages, from the schemas of the contracts that are imported."""
    if not issubclass(cls, betterproto2.Message):
        return None
    pool = _pool_of(cls)
    url = None if pool is None else pool.type_to_url.get(cls)
    if url is None:
        return None
    name = url.removeprefix(_URL)
    schema = next((each for each in _schemas() if _Schema.of(each).holds(name)), None)
    return contract.Message(name, cls, schema) if schema is not None else None


def known_message(name: str) -> contract.Message[object] | None:
    """Description of the message `name`, if a contract that is imported knows it."""
    for schema in _schemas():
        if _Schema.of(schema).holds(name):
            for sibling in contract.messages_of(schema):
                pool = _pool_of(sibling.type)
                cls = None if pool is None else pool.url_to_type.get(_URL + name)
                if cls is not None:
                    return contract.Message(name, cls, schema)
    return None


def _schemas() -> Iterator[contract.Schema]:
    return (each for each in contract.schemas() if each.library == "betterproto2")


def _pool_of(cls: type[object]) -> betterproto2.MessagePool | None:
    """The message pool of the output that `cls` is part of; each generated module of betterproto2 imports it."""
    pool: betterproto2.MessagePool | None = vars(sys.modules[cls.__module__]).get("default_message_pool")
    return pool


class _Schema:
    """The descriptors of a generated module in a pool of their own, so that google's may be imported beside them."""

    _known: typing.ClassVar[dict[contract.Schema, _Schema]] = {}
    _lock: typing.ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, descriptors: bytes) -> None:
        self._pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptors).file:
            self._pool.Add(file)
        self._plans: dict[tuple[type, str], _Plan] = {}
        self.json = JsonFormat(self._pool)

    @classmethod
    def of(cls, schema: contract.Schema) -> _Schema:
        """The pool of a schema, made when it is first needed."""
        with cls._lock:
            found = cls._known.get(schema)
            if found is None:
                found = cls._known[schema] = cls(schema.descriptors)
            return found

    def holds(self, name: str) -> bool:
        """Whether the message `name` is among the descriptors."""
        try:
            self._pool.FindMessageTypeByName(name)
        except KeyError:
            return False
        return True

    def descriptor(self, name: str) -> Descriptor:
        """Descriptor of the message `name`."""
        try:
            return self._pool.FindMessageTypeByName(name)
        except KeyError as error:
            raise GeneratedCodeError(
                f"{name}: the generated contract has no descriptor of it; generate the contract again"
            ) from error

    def plan(self, cls: type[betterproto2.Message], descriptor: Descriptor) -> _Plan:
        """How the messages of `cls` are copied."""
        with self._lock:
            key = (cls, descriptor.full_name)
            plan = self._plans.get(key)
            if plan is None:
                complete = dict(self._plans)
                plan = self._plans[key] = _Plan(cls, descriptor)  # before its fields: a message may hold itself
                try:
                    plan.compile(self)
                except BaseException:
                    self._plans = complete
                    raise
            return plan


class _Plan:
    """How the messages of one class are copied to google's messages of one descriptor, and back."""

    def __init__(self, cls: type[betterproto2.Message], descriptor: Descriptor) -> None:
        self.cls = cls
        self.descriptor = descriptor
        self._writers: tuple[tuple[str, str, Copy], ...] = ()
        self._readers: tuple[tuple[str, str, Convert], ...] = ()

    def compile(self, schema: _Schema) -> None:
        """Prepare the fields."""
        fields = {_metadata(field).number: field for field in dataclasses.fields(cast("Any", self.cls))}
        hints = typing.get_type_hints(self.cls, vars(sys.modules[self.cls.__module__]), {})
        if odd := fields.keys() ^ {field.number for field in self.descriptor.fields}:
            raise GeneratedCodeError(
                f"{self.descriptor.full_name}: the class {self.cls.__module__}.{self.cls.__qualname__} and the "
                f"generated contract differ in the fields {', '.join(map(str, sorted(odd)))}; generate both again"
            )
        writers: list[tuple[str, str, Copy]] = []
        readers: list[tuple[str, str, Convert]] = []
        for each in self.descriptor.fields:
            field = fields[each.number]
            write, read = _Field(each, _metadata(field), hints[field.name], schema).compile()
            writers.append((each.name, field.name, write))
            readers.append((each.name, field.name, read))
        self._writers, self._readers = tuple(writers), tuple(readers)

    def write(self, value: AnyValue, message: AnyMessage) -> None:
        """Copy `value` to the empty google `message`, checking it."""
        if type(value) is not self.cls:
            raise RefusedError(f"expected {self.descriptor.full_name} ({_name(self.cls)}), found {found(value)}")
        name = ""
        try:
            for name, attribute, write in self._writers:  # noqa: B007 - read when it fails
                write(getattr(value, attribute), message)
            if unknown := getattr(value, _UNKNOWN):
                name = _UNKNOWN
                message.MergeFromString(unknown)
        except (RefusedError, ValueError, TypeError, OverflowError, DecodeError) as error:
            raise _refused(error).within(name) from error

    def read(self, message: AnyMessage) -> object:
        """The value of the google `message`."""
        # Not by its constructor, which warns about deprecated fields, whoever sets them, and fills in defaults first.
        value = self.cls.__new__(self.cls)
        attributes = vars(value)
        name = ""
        try:
            for name, attribute, read in self._readers:  # noqa: B007 - read when it fails
                attributes[attribute] = read(message)
        except RefusedError as error:
            raise error.within(name) from error
        unknown = len(UnknownFieldSet(message)) or self.descriptor.is_extendable
        attributes[_UNKNOWN] = _unknown_fields(message) if unknown else b""
        return value


class _Field:
    """How one field is copied."""

    def __init__(
        self, field: FieldDescriptor, metadata: betterproto2.FieldMetadata, hint: object, schema: _Schema
    ) -> None:
        self._field = field
        self._metadata = metadata
        self._class = _class_in(hint)
        self._schema = schema

    def compile(self) -> tuple[Copy, Convert]:
        """The field's value to the google message that holds it, and from it."""
        if is_map(self._field):
            return self._map()
        if is_repeated(self._field):
            return self._repeated()
        write, read = self._singular()
        oneof = self._field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            write = _alone(write, oneof.name)
        return write, read

    def _singular(self) -> tuple[Copy, Convert]:
        if self._field.type in MESSAGES:
            return self._singular_message()
        if not self._field.has_presence:
            return self._implicit_scalar()
        return self._present_scalar() if self._metadata.optional else self._scalar_of_proto2()

    def _singular_message(self) -> tuple[Copy, Convert]:
        name = self._field.name
        write_nested, read_nested = self._message(self._field, wrapped=self._metadata.unwrap is not None)

        def write(value: AnyValue, message: AnyMessage) -> None:
            if value is not None:
                nested = getattr(message, name)
                nested.SetInParent()
                write_nested(value, nested)

        def read(message: AnyMessage) -> AnyValue:
            return read_nested(getattr(message, name)) if message.HasField(name) else None

        return write, read

    def _present_scalar(self) -> tuple[Copy, Convert]:
        name = self._field.name
        kind, check, convert = self._scalar(self._field)

        def write(value: AnyValue, message: AnyMessage) -> None:
            if value is not None:
                setattr(message, name, value if value.__class__ is kind else check(value))

        def read(message: AnyMessage) -> AnyValue:
            return convert(getattr(message, name)) if message.HasField(name) else None

        return write, read

    def _implicit_scalar(self) -> tuple[Copy, Convert]:
        name = self._field.name
        kind, check, convert = self._scalar(self._field)

        def write(value: AnyValue, message: AnyMessage) -> None:
            setattr(message, name, value if value.__class__ is kind else check(value))

        def read_converted(message: AnyMessage) -> AnyValue:
            return convert(getattr(message, name))

        return write, operator.attrgetter(name) if convert is _as_is else read_converted

    def _scalar_of_proto2(self) -> tuple[Copy, Convert]:
        """A field whose presence betterproto2 does not know: its default stands for being unset."""
        name = self._field.name
        kind, check, convert = self._scalar(self._field)
        unset: tuple[object, ...] = () if is_required(self._field) else (self._field.default_value,)
        if self._field.type == FieldDescriptor.TYPE_ENUM and 0 not in enum_type(self._field).values_by_number:
            unset = (*unset, 0)  # betterproto2's default, which a closed enum does not have

        def write(value: AnyValue, message: AnyMessage) -> None:
            checked = value if value.__class__ is kind else check(value)
            if checked not in unset:
                setattr(message, name, checked)

        def read(message: AnyMessage) -> AnyValue:
            return convert(getattr(message, name))

        return write, read

    def _repeated(self) -> tuple[Copy, Convert]:
        return self._repeated_message() if self._field.type in MESSAGES else self._repeated_scalar()

    def _repeated_message(self) -> tuple[Copy, Convert]:
        name = self._field.name
        write_nested, read_nested = self._message(self._field, wrapped=self._metadata.unwrap is not None)

        def write(value: AnyValue, message: AnyMessage) -> None:
            messages = getattr(message, name)
            for index, each in enumerate(_list(value)):
                try:
                    write_nested(each, messages.add())
                except RefusedError as error:
                    raise error.within(f"[{index}]") from error

        def read(message: AnyMessage) -> AnyValue:
            return [read_nested(each) for each in getattr(message, name)]

        return write, read

    def _repeated_scalar(self) -> tuple[Copy, Convert]:
        name = self._field.name
        kind, check, convert = self._scalar(self._field)

        def write(value: AnyValue, message: AnyMessage) -> None:
            values = getattr(message, name)
            for index, each in enumerate(_list(value)):
                try:
                    values.append(each if each.__class__ is kind else check(each))
                except (RefusedError, ValueError, TypeError) as error:
                    raise _refused(error).within(f"[{index}]") from error

        def read(message: AnyMessage) -> AnyValue:
            return [convert(each) for each in getattr(message, name)]

        return write, read

    def _map(self) -> tuple[Copy, Convert]:
        name = self._field.name
        key_field, value_field = map_fields(self._field)
        key_kind, check_key = scalar(key_field)
        read_key = _reader_of(key_field)
        write_item, convert = self._map_item(value_field)

        def write(value: AnyValue, message: AnyMessage) -> None:
            items = getattr(message, name)
            for key, each in _dict(value).items():
                try:
                    write_item(each, items, key if key.__class__ is key_kind else check_key(key))
                except (RefusedError, ValueError, TypeError) as error:
                    raise _refused(error).within(f"[{key!r}]") from error

        def read(message: AnyMessage) -> AnyValue:
            # Sorted: google's maps iterate in another order in each process, which a workflow must not see.
            items = getattr(message, name)
            return {key: convert(items[key]) for key in sorted(map(read_key, items))}

        return write, read

    def _map_item(self, field: FieldDescriptor) -> tuple[Callable[[AnyValue, Any, AnyValue], None], Convert]:
        if field.type in MESSAGES:
            metadata = self._metadata.map_meta
            write, convert = self._message(field, wrapped=metadata is not None and metadata[1].unwrap is not None)
            return lambda value, items, key: write(value, items[key]), convert
        kind, check, convert = self._scalar(field)

        def set_item(value: AnyValue, items: Any, key: AnyValue) -> None:  # noqa: ANN401 - google's map
            items[key] = value if value.__class__ is kind else check(value)

        return set_item, convert

    def _scalar(self, field: FieldDescriptor) -> tuple[type, Convert, Convert]:
        if field.type != FieldDescriptor.TYPE_ENUM:
            return *scalar(field), _reader_of(field)
        if not issubclass(self._class, IntEnum):
            raise self._misfit("an enum")
        return enum(self._class)

    def _message(self, field: FieldDescriptor, *, wrapped: bool) -> tuple[Copy, Convert]:
        descriptor = message_type(field)
        if not wrapped:
            if not issubclass(self._class, betterproto2.Message):
                raise self._misfit(f"a {descriptor.full_name}")
            plan = self._schema.plan(self._class, descriptor)
            return plan.write, plan.read
        if descriptor.full_name == "google.protobuf.Timestamp":
            return timestamp()
        if descriptor.full_name == "google.protobuf.Duration":
            return duration()
        if descriptor.file.name == "google/protobuf/wrappers.proto":
            return wrapper(descriptor)
        raise self._misfit(f"a {descriptor.full_name}, which is unknown to be unwrapped;")

    def _misfit(self, expected: str) -> GeneratedCodeError:
        return GeneratedCodeError(
            f"{self._field.full_name}: the contract has {expected} where the message's class has a "
            f"{self._class.__name__}; generate both again"
        )


def _reader_of(field: FieldDescriptor) -> Convert:
    """A scalar that was read; what google's reader returns, but for the text of proto2, which it does not check."""
    return utf8 if field.type == FieldDescriptor.TYPE_STRING and not _is_proto3(field) else _as_is


def _is_proto3(field: FieldDescriptor) -> bool:
    """Whether google's reader refuses strings of the field that are not UTF-8."""
    file = FileDescriptorProto()
    message = field.containing_type
    assert message is not None
    message.file.CopyToProto(file)
    return file.syntax == "proto3"


def _metadata(field: dataclasses.Field[Any]) -> betterproto2.FieldMetadata:
    metadata: betterproto2.FieldMetadata = field.metadata["betterproto"]
    return metadata


def _alone(write: Copy, oneof: str) -> Copy:
    """`write` for a field of a oneof, of whose fields one at most may be set."""

    def write_alone(value: AnyValue, message: AnyMessage) -> None:
        if value is not None:
            other = message.WhichOneof(oneof)
            if other is not None:
                raise RefusedError(f"the field {other} of the same oneof {oneof} is set too; set one of them")
            write(value, message)

    return write_alone


def _list(value: AnyValue) -> list[AnyValue]:
    if not isinstance(value, list):
        raise RefusedError(f"expected list, found {found(value)}")
    return value  # pyright: ignore[reportUnknownVariableType] - its elements are yet to be checked


def _dict(value: AnyValue) -> dict[AnyValue, AnyValue]:
    if not isinstance(value, dict):
        raise RefusedError(f"expected dict, found {found(value)}")
    return value  # pyright: ignore[reportUnknownVariableType] - its elements are yet to be checked


def _refused(error: Exception) -> RefusedError:
    """`error` as ours: google's own checks of ranges, UTF-8 and closed enums raise builtin exceptions."""
    return error if isinstance(error, RefusedError) else RefusedError(str(error), PayloadError)


def _as_is(value: AnyValue) -> AnyValue:
    return value


def _class_in(hint: object) -> type:
    """The class of the values that a field with the type `hint` holds: `X`, `X | None`, `list[X]` or `dict[K, X]`."""
    arguments = [each for each in typing.get_args(hint) if each is not types.NoneType]
    if arguments:
        return _class_in(arguments[-1])
    return hint if isinstance(hint, type) else object


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _unknown_fields(message: AnyMessage) -> bytes:
    """What the class of `message` has no fields for, extensions included, in the binary format."""
    rest = type(message)()
    rest.CopyFrom(message)
    for field, _ in message.ListFields():
        if not field.is_extension:
            rest.ClearField(field.name)
    return cast("bytes", rest.SerializePartialToString(deterministic=True))
