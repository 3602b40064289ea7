"""Messages of google's `protobuf`, whose C implementation checks the type of every value that is assigned."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from protopact import contract
from protopact.errors import GeneratedCodeError, PayloadError
from protopact.payload.fields import MESSAGES, descriptor_of, is_map, is_required, message_type
from protopact.payload.library import MessageCodec, refuse_class
from protopact.payload.protojson import JsonError, JsonFormat

__all__ = ["GoogleBytes", "GoogleCodec", "known_message", "message_of"]

M = TypeVar("M")

_SCHEMA = contract.Schema(library="google")
_DEFAULT_JSON = JsonFormat()


class GoogleBytes:
    """Bytes of google's messages of one class, whatever pool the class is of."""

    def __init__(self, cls: type[Message], json_format: JsonFormat) -> None:
        self._cls = cls
        self._json = json_format
        descriptor = descriptor_of(cls)
        self._name = descriptor.full_name
        held = _closure(descriptor)
        # Both cost time and are needed by few: maps have no order of their own, and only proto2 requires fields.
        self._deterministic = any(is_map(field) for each in held for field in each.fields)
        self._requires = any(is_required(field) for each in held for field in each.fields)

    def to_binary(self, message: Message, where: str) -> bytes:
        """The binary form of `message`."""
        self._check_required(message, where)
        try:
            if self._deterministic:
                return message.SerializeToString(deterministic=True)
            return message.SerializeToString()
        except (EncodeError, ValueError) as error:
            raise PayloadError(f"{where}: {self._name} cannot be written in binary: {error}") from error

    def to_json(self, message: Message, where: str) -> bytes:
        """The JSON form of `message`."""
        self._check_required(message, where)
        try:
            return self._json.dump(message)
        except JsonError as error:
            raise PayloadError(f"{where}: {self._name} cannot be written as JSON: {error}") from error

    def from_binary(self, data: bytes, where: str) -> Message:
        """The message whose binary form `data` is."""
        try:
            message = self._cls.FromString(data)
        except (DecodeError, ValueError) as error:
            raise PayloadError(f"{where}: expected a binary {self._name}, found other bytes: {error}") from error
        self._check_required(message, where)
        return message

    def from_json(self, data: bytes, where: str) -> Message:
        """The message whose JSON form `data` is."""
        try:
            message = self._json.load(data, self._cls)
        except JsonError as error:
            raise PayloadError(f"{where}: expected {self._name} in JSON, found another text: {error}") from error
        self._check_required(message, where)
        return message

    def _check_required(self, message: Message, where: str) -> None:
        if self._requires and not message.IsInitialized():
            # Typed for the pure-Python implementation only.
            missing = cast("list[str]", cast("Any", message).FindInitializationErrors())
            raise PayloadError(f"{where}: {self._name} lacks its required field {', '.join(missing)}")


class GoogleCodec(MessageCodec[M]):
    """Messages of a generated class of google's `protobuf`."""

    def __init__(self, message: contract.Message[M]) -> None:
        cls: type = message.type
        if not issubclass(cls, Message) or descriptor_of(cls).full_name != message.name:
            raise GeneratedCodeError(
                f"{message.name}: {cls.__module__}.{cls.__qualname__} is not the class of this message that google's "
                f"protobuf generates; generate the messages and the contract again, both with google's"
            )
        self._message = message
        self._cls = cls
        # Its plans go by name, which is one message's in one pool only.
        pool = descriptor_of(cls).file.pool
        self._bytes = GoogleBytes(cls, _DEFAULT_JSON if pool is descriptor_pool.Default() else JsonFormat(pool))

    def to_binary(self, value: M, where: str) -> bytes:
        """Implements `MessageCodec`."""
        return self._bytes.to_binary(self._checked(value, where), where)

    def to_json(self, value: M, where: str) -> bytes:
        """Implements `MessageCodec`."""
        return self._bytes.to_json(self._checked(value, where), where)

    def from_binary(self, data: bytes, where: str) -> M:
        """Implements `MessageCodec`."""
        return cast("M", self._bytes.from_binary(data, where))

    def from_json(self, data: bytes, where: str) -> M:
        """Implements `MessageCodec`."""
        return cast("M", self._bytes.from_json(data, where))

    def _checked(self, value: object, where: str) -> Message:
        if type(value) is not self._cls:
            refuse_class(self._message, value, where)
        return value


def message_of(cls: type[M]) -> contract.Message[M] | None:
    """Description of a class of google's messages; None when it is none."""
    if not issubclass(cls, Message) or not isinstance(cls.DESCRIPTOR, Descriptor):
        return None
    return contract.Message(descriptor_of(cls).full_name, cls, _SCHEMA)


def known_message(name: str) -> contract.Message[object] | None:
    """Description of the message `name` when a module with it is imported."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return None
    cls: type[object] = message_factory.GetMessageClass(descriptor)
    return contract.Message(name, cls, _SCHEMA)


def _closure(descriptor: Descriptor) -> list[Descriptor]:
    """`descriptor` and the descriptors of all messages that its messages may hold."""
    found = {descriptor.full_name: descriptor}
    pending = [descriptor]
    while pending:
        for field in pending.pop().fields:
            if field.type in MESSAGES and message_type(field).full_name not in found:
                found[message_type(field).full_name] = message_type(field)
                pending.append(message_type(field))
    return list(found.values())
