"""Payloads in words: what their values are, whatever they were encoded as."""

from __future__ import annotations

import json

from protopact.contract import current_name
from protopact.errors import PayloadError
from protopact.history.time import Duration
from protopact.history.words import describe_payload
from protopact.payload.converter import PayloadConverter
from protopact.payload.payload import Payload, Payloads

__all__ = ["Reader", "seconds"]


def seconds(value: Duration) -> str:
    """A duration in words, exactly."""
    return f"{value / 1e9:.9f}".rstrip("0").rstrip(".") + " s"


class Reader:
    """Payloads as texts that are equal when the values are.

    Messages of imported contracts are written as JSON with sorted keys, whatever they were encoded as.

    Args:
        converter: Reads them.
        veiled: Say types and sizes instead of values, for texts that are kept where values are encrypted.
    """

    __slots__ = ("_json", "_read", "_veiled")

    def __init__(self, converter: PayloadConverter, *, veiled: bool = False) -> None:
        self._read = converter
        self._veiled = veiled
        self._json = PayloadConverter("json/protobuf")

    def text(self, payload: Payload) -> str:
        """A payload in words, in one line."""
        encoding = payload.metadata.get("encoding", b"")
        if encoding in {b"json/protobuf", b"binary/protobuf"}:
            value = self._read.from_detail(payload)
            if not isinstance(value, Payload):
                try:
                    (written,) = self._json.to_details((value,))
                except PayloadError:  # a message that JSON cannot hold, such as an Any of an unknown type
                    return describe_payload(payload)
                return _plain(json.loads(written.data))
        if encoding == b"json/plain":
            try:
                return _plain(json.loads(payload.data))
            except ValueError:
                return describe_payload(payload)
        return describe_payload(payload)

    def texts(self, payloads: Payloads) -> str:
        """Payloads in words; `nothing` stands for none, for a null and for an empty `google.protobuf.Empty`."""
        word = _veil if self._veiled else self.text
        return ", ".join(word(each) for each in payloads if not _is_empty(each)) or "nothing"

    def same(self, expected: Payloads, found: Payloads) -> bool:
        """Whether they are the same values."""
        if expected == found:
            return True
        expected = tuple(each for each in expected if not _is_empty(each))
        found = tuple(each for each in found if not _is_empty(each))
        return len(expected) == len(found) and all(map(self._same, expected, found))

    def _same(self, expected: Payload, found: Payload) -> bool:
        if expected.data == found.data and expected.metadata == found.metadata:
            return True
        if "messageType" in found.metadata:
            kind = expected.metadata.get("messageType")
            if kind and not _same_message(kind, found.metadata["messageType"]):
                return False
            if kind != found.metadata["messageType"]:  # old writers leave it out, or say a former name
                expected = Payload({**expected.metadata, "messageType": found.metadata["messageType"]}, expected.data)
        if expected.data == found.data and expected.metadata.get("encoding") == found.metadata.get("encoding"):
            return True
        if _is_opaque(expected) or _is_opaque(found):
            return False
        return self.text(expected) == self.text(found)

    def is_opaque(self, payloads: Payloads) -> bool:
        """Whether a payload is in an encoding that no converter reads, because a codec wrote it."""
        return any(map(_is_opaque, payloads))


def _same_message(kind: bytes, other: bytes) -> bool:
    """Whether two full names are of one message, which may have been renamed."""
    return kind == other or len({current_name(each.decode(errors="replace")) for each in (kind, other)}) == 1


_ENCODINGS = {b"json/protobuf", b"binary/protobuf", b"json/plain", b"binary/plain", b"binary/null"}


def _is_opaque(payload: Payload) -> bool:
    return payload.metadata.get("encoding", b"") not in _ENCODINGS


def _is_empty(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == b"binary/null" or (
        payload.metadata.get("messageType") == b"google.protobuf.Empty"
    )


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _veil(payload: Payload) -> str:
    kind = payload.metadata.get("messageType") or payload.metadata.get("encoding", b"")
    return f"{kind.decode(errors='replace')}, {len(payload.data)} bytes"
