"""Message libraries behind one small interface: a codec per message type, loaded when it is first needed."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Generic, NoReturn, TypeVar

from protopact import contract
from protopact.errors import MessageMismatchError

__all__ = ["MessageCodec", "codec_of", "is_message", "known_message", "message_of", "refuse_class"]

M = TypeVar("M")


class MessageCodec(ABC, Generic[M]):
    """Bytes of the messages of one type.

    `where` names the place in the contract, for the messages of errors. A value is checked as a whole before anything
    is written.
    """

    @abstractmethod
    def to_binary(self, value: M, where: str) -> bytes:
        """Protobuf's binary format; equal messages give equal bytes.

        Raises:
            MessageMismatchError: `value`, or something within it, is of another type.
            PayloadError: It holds what the format cannot.
        """

    @abstractmethod
    def from_binary(self, data: bytes, where: str) -> M:
        """Message of `data`; unknown fields are tolerated.

        Raises:
            PayloadError: It is not such a message.
        """

    @abstractmethod
    def to_json(self, value: M, where: str) -> bytes:
        """Protobuf's JSON format: compact UTF-8, keys sorted; equal messages give equal bytes.

        Raises:
            MessageMismatchError: `value`, or something within it, is of another type.
            PayloadError: It holds what the format cannot.
        """

    @abstractmethod
    def from_json(self, data: bytes, where: str) -> M:
        """Message of JSON `data`; unknown fields are tolerated, unknown names of enum values are not.

        Raises:
            PayloadError: It is not such a message.
        """


def codec_of(message: contract.Message[M]) -> MessageCodec[M]:
    """Codec of a message type.

    Raises:
        GeneratedCodeError: Its class and its descriptor do not fit together.
    """
    if message.schema.library == "betterproto2":
        from protopact.payload.betterproto2 import Betterproto2Codec  # noqa: PLC0415 - 0.1 s that google does not need

        return Betterproto2Codec(message)
    from protopact.payload.google import GoogleCodec  # noqa: PLC0415 - only when there are messages at all

    return GoogleCodec(message)


def message_of(cls: type[M]) -> contract.Message[M] | None:
    """Description of a message class; None when `cls` is none, or when no imported contract knows it."""
    if hasattr(cls, "DESCRIPTOR"):
        from protopact.payload import google  # noqa: PLC0415 - as in codec_of

        return google.message_of(cls)
    if "betterproto2" in sys.modules:
        from protopact.payload import betterproto2  # noqa: PLC0415 - as in codec_of

        return betterproto2.message_of(cls)
    return None


def is_message(cls: type[object]) -> bool:
    """Whether a class is a message of any library, also one that no imported contract knows."""
    if message_of(cls) is not None:
        return True
    if "betterproto2" not in sys.modules:
        return False
    from protopact.payload import betterproto2  # noqa: PLC0415 - as in codec_of

    return betterproto2.is_message(cls)


def known_message(name: str) -> contract.Message[object] | None:
    """Description of the message `name` (full protobuf name); None when no imported contract or module knows it."""
    if "betterproto2" in sys.modules:
        from protopact.payload import betterproto2  # noqa: PLC0415 - as in codec_of

        found = betterproto2.known_message(name)
        if found is not None:
            return found
    from protopact.payload import google  # noqa: PLC0415 - as in codec_of

    return google.known_message(name)


def refuse_class(message: contract.Message[object], value: object, where: str) -> NoReturn:
    """Say that `value` is no `message`.

    Raises:
        MessageMismatchError: Always.
    """
    expected, found = message.type, type(value)
    other = message_of(found)
    hint = ""
    if isinstance(value, type):
        hint = f"; pass a message, {value.__name__}(...), not its class"
    elif other is not None and other.name == message.name:
        hint = (
            f"; it is {other.schema.library}'s class of it, and the contract was generated for {message.schema.library}"
        )
    raise MessageMismatchError(
        f"{where}: expected {message.name} ({expected.__module__}.{expected.__qualname__}), "
        f"found {other.name if other is not None else 'no message'} ({found.__module__}.{found.__qualname__}){hint}"
    )
