"""Messages to payloads and back, in the formats of Temporal's own converters.

A message is one payload with the metadata `encoding` (`json/protobuf` or `binary/protobuf`) and `messageType`;
`google.protobuf.Empty` is no payload. Both encodings are always read. Values that a contract does not declare, the
details of failures and heartbeats, may be JSON values too: `json/plain`, `binary/plain` for bytes, `binary/null` for
None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, cast, get_origin

import msgspec

from protopact import contract
from protopact.errors import Details, MessageMismatchError, PayloadError
from protopact.payload.details import EncodedDetails
from protopact.payload.library import MessageCodec, codec_of, known_message, message_of, refuse_class
from protopact.payload.payload import Payload, Payloads

__all__ = ["Encoding", "PayloadConverter"]

M = TypeVar("M")
T = TypeVar("T")

Encoding = Literal["json/protobuf", "binary/protobuf"]
"""Encodings that messages are written in."""

_JSON, _BINARY = b"json/protobuf", b"binary/protobuf"
_PLAIN, _BYTES, _NULL = b"json/plain", b"binary/plain", b"binary/null"
_EMPTY = contract.EMPTY.name

_encode_plain = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class _Entry:
    """What the converter keeps of one message type."""

    def __init__(self, message: contract.Message[Any], encoding: Encoding) -> None:
        codec: MessageCodec[Any] = codec_of(message)
        self.write: Callable[[Any, str], bytes] = codec.to_json if encoding == "json/protobuf" else codec.to_binary
        self.from_json = codec.from_json
        self.from_binary = codec.from_binary
        self.name = message.name.encode()
        self.former_names = frozenset(name.encode() for name in contract.former_names(message.name))
        self.metadata = {"encoding": encoding.encode(), "messageType": self.name}  # copied: a codec may change its own


class PayloadConverter:
    """Converts messages by the types that the contract declares.

    Args:
        encoding: How messages are written.
    """

    def __init__(self, encoding: Encoding = "json/protobuf") -> None:
        if encoding not in {"json/protobuf", "binary/protobuf"}:
            raise ValueError(f"encoding must be 'json/protobuf' or 'binary/protobuf', not {encoding!r}")
        self.encoding: Encoding = encoding
        self._entries: dict[contract.Message[Any], _Entry] = {}
        self._described: dict[type, contract.Message[Any]] = {}

    def to_payloads(self, message: contract.Message[M], value: M, where: str = "") -> Payloads:
        """Encode `value`, a `message`: one payload, none for `google.protobuf.Empty`.

        Args:
            message: The type that the contract declares.
            value: The message; None for `google.protobuf.Empty`.
            where: Its place in the contract, for messages of errors: `request of acme.v1.S.Do`.

        Raises:
            MessageMismatchError: `value` is of another type, or something within it is.
            PayloadError: It holds what the encoding cannot.
        """
        if message.name == _EMPTY:
            if value is not None:
                refuse_class(message, value, where or "payload")
            return ()
        entry = self._entries.get(message) or self._entry(message)
        return (Payload(entry.metadata.copy(), entry.write(value, where or "payload")),)

    def from_payloads(self, message: contract.Message[M], payloads: Payloads, where: str = "") -> M:
        """Decode a `message`.

        Args:
            message: The type that the contract declares.
            payloads: One payload; for `google.protobuf.Empty` none, a null or an empty message.
            where: Its place in the contract, for messages of errors: `request of acme.v1.S.Do`.

        Raises:
            MessageMismatchError: The payload is of another type.
            PayloadError: It cannot be decoded.
        """
        if message.name == _EMPTY:
            _check_empty(payloads, where or "payload")
            return cast("M", None)
        if len(payloads) != 1:
            _refuse(message.name, f"{len(payloads) or 'no'} payloads", where)
        entry = self._entries.get(message) or self._entry(message)
        return cast("M", _decode(entry, payloads[0], where or "payload"))

    def to_details(self, values: Sequence[object]) -> Payloads:
        """Encode details: messages of a contract, JSON values, bytes or None.

        Raises:
            PayloadError: A value is something else.
        """
        if isinstance(values, EncodedDetails):
            return values.payloads
        return tuple(self._to_detail(index, value) for index, value in enumerate(values))

    def from_details(self, payloads: Payloads) -> Details:
        """Details that are decoded when they are asked for."""
        return EncodedDetails(payloads, self)

    def from_detail(self, payload: Payload) -> object:
        """Decode what says itself what it is; anything else stays a `Payload`."""
        encoding = payload.metadata.get("encoding", b"")
        try:
            if encoding == _PLAIN:
                return json.loads(payload.data)
            if encoding == _NULL:
                return None
            if encoding == _BYTES:
                return payload.data
            name = payload.metadata["messageType"].decode()
            message = known_message(name) or known_message(contract.current_name(name))
            if message is not None and encoding in {_JSON, _BINARY}:
                return self._decode_as(message, payload, message.name)
        except (PayloadError, ValueError, KeyError):
            return payload  # Others wrote it, and the failure that it came with matters more.
        return payload

    def detail_as(self, payload: Payload, cls: type[T], where: str = "detail") -> T:
        """Decode a detail as a `cls`: a message class, or the type of a JSON value.

        Raises:
            MessageMismatchError: It is of another type.
            PayloadError: It cannot be decoded.
        """
        message = None if get_origin(cls) else self._describe(cls)  # list[int] has no place among classes
        if message is not None:
            return self._decode_as(message, payload, where)
        encoding = payload.metadata.get("encoding", b"")
        name = getattr(cls, "__name__", str(cls))
        if encoding in {_JSON, _BINARY}:
            _refuse(name, f"a {payload.metadata.get('messageType', b'message').decode(errors='replace')}", where)
        value = self.from_detail(payload)
        if value is payload:
            _refuse(name, f"a payload of the encoding {encoding.decode(errors='replace')!r}", where)
        if cls is object:
            return cast("T", value)
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise MessageMismatchError(f"{where}: the value is no {name}: {error}") from error
        except TypeError as error:
            raise PayloadError(f"{where}: {name} is neither a message nor the type of a JSON value: {error}") from error

    def _to_detail(self, index: int, value: object) -> Payload:
        if value is None:
            return Payload({"encoding": _NULL})
        if isinstance(value, bytes):
            return Payload({"encoding": _BYTES}, value)
        if isinstance(value, Payload):
            return value
        message = self._describe(type(value))
        if message is not None:
            entry = self._entries.get(message) or self._entry(message)
            return Payload(entry.metadata.copy(), entry.write(value, f"detail {index}"))
        try:
            return Payload({"encoding": _PLAIN}, _encode_plain(value).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"detail {index}: expected a message of an imported contract or a JSON value, found a "
                f"{type(value).__module__}.{type(value).__qualname__}: {error}"
            ) from error

    def _decode_as(self, message: contract.Message[M], payload: Payload, where: str) -> M:
        return cast("M", _decode(self._entries.get(message) or self._entry(message), payload, where))

    def _describe(self, cls: type[T]) -> contract.Message[T] | None:
        found = self._described.get(cls)
        if found is None:
            found = message_of(cls)
            if found is not None:
                self._described[cls] = found
        return found

    def _entry(self, message: contract.Message[Any]) -> _Entry:
        entry = self._entries[message] = _Entry(message, self.encoding)
        return entry


def _decode(entry: _Entry, payload: Payload, where: str) -> object:
    metadata = payload.metadata
    encoding = metadata.get("encoding", b"")
    if encoding != _JSON and encoding != _BINARY:  # noqa: PLR1714 - a set would hash the bytes
        _refuse_encoding(entry.name.decode(), encoding, where)
    message_type = metadata.get("messageType")
    # Old writers leave it out.
    if message_type != entry.name and message_type and message_type not in entry.former_names:
        _refuse(entry.name.decode(), message_type.decode(errors="replace"), where)
    return entry.from_json(payload.data, where) if encoding == _JSON else entry.from_binary(payload.data, where)


def _check_empty(payloads: Payloads, where: str) -> None:
    if not payloads:
        return
    if len(payloads) > 1:
        _refuse(_EMPTY, f"{len(payloads)} payloads", where)
    payload = next(iter(payloads))
    encoding = payload.metadata.get("encoding", b"")
    if encoding == _NULL:
        return
    if encoding == _PLAIN:
        if payload.data.strip() != b"null":
            _refuse(_EMPTY, "a value in json/plain", where)
        return
    _decode(_empty_entry(), payload, where)


@cache
def _empty_entry() -> _Entry:
    from google.protobuf.empty_pb2 import Empty  # noqa: PLC0415 - few need it

    return _Entry(contract.Message(_EMPTY, Empty, contract.EMPTY.schema), "json/protobuf")


def _refuse_encoding(expected: str, encoding: bytes, where: str) -> NoReturn:
    name = encoding.decode(errors="replace")
    if encoding == _NULL:
        _refuse(expected, "a null (binary/null)", where)
    if encoding in {_PLAIN, _BYTES}:
        _refuse(
            expected, f"{name}, which is no protobuf message; the writer must send the message of the contract", where
        )
    if not encoding:
        _refuse(expected, "a payload without an encoding", where)
    raise PayloadError(
        f"{where}: expected {expected}, found a payload in the encoding {name!r}, which no converter here reads; "
        f"connect with the codecs that the writer uses"
    )


def _refuse(expected: str, found: str, where: str) -> NoReturn:
    raise MessageMismatchError(f"{where or 'payload'}: expected {expected}, found {found}")
