"""Memo and search attributes: to payloads as Temporal writes them, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from protopact import contract
from protopact.options import RESERVED
from protopact.payload.payload import PLAIN, Payload
from protopact.policy import SearchAttributeType, SearchAttributeValue

__all__ = [
    "memo_from_payloads",
    "memo_to_payloads",
    "merged",
    "search_attributes_from_payloads",
    "search_attributes_to_payloads",
    "type_of",
]

_JSON = b"json/plain"
_NULL = b"binary/null"


def memo_to_payloads(memo: Mapping[str, str | None]) -> dict[str, Payload]:
    """Encode a memo; None removes an entry that is there. No codec sees what is protopact's own."""
    return {name: _entry(name, value) for name, value in memo.items()}


def _entry(name: str, value: str | None) -> Payload:
    if value is None:
        return Payload({"encoding": _NULL})
    metadata = {"encoding": _JSON}
    if name.startswith(RESERVED):
        metadata[PLAIN] = b"true"
    return Payload(metadata, json.dumps(value).encode())


def memo_from_payloads(payloads: Mapping[str, Payload]) -> dict[str, str]:
    """Decode a memo; a value that is no text appears as its JSON."""
    memo = dict[str, str]()
    for name, payload in payloads.items():
        encoding = payload.metadata.get("encoding")
        if encoding == _NULL:
            continue  # it was removed, which a codec has hidden from whoever keeps the memo
        value: object = json.loads(payload.data) if encoding == _JSON else None
        memo[name] = value if isinstance(value, str) else payload.data.decode(errors="replace")
    return memo


def search_attributes_to_payloads(
    values: Mapping[str, SearchAttributeValue | None], declared: tuple[contract.SearchAttribute, ...]
) -> dict[str, Payload]:
    """Encode search attributes: by the type that the contract declares, otherwise by that of the value.

    None removes an attribute that is there.
    """
    types = {attribute.name: attribute.type for attribute in declared}
    return {
        name: Payload({"encoding": _NULL}) if value is None else _attribute(value, types.get(name) or type_of(value))
        for name, value in values.items()
    }


def search_attributes_from_payloads(payloads: Mapping[str, Payload]) -> dict[str, SearchAttributeValue]:
    """Decode search attributes."""
    return {name: _value(payload) for name, payload in payloads.items()}


def merged(before: Mapping[str, Payload], upserted: Mapping[str, Payload]) -> dict[str, Payload]:
    """A memo or search attributes after an upsert."""
    return {
        name: payload for name, payload in {**before, **upserted}.items() if payload.metadata.get("encoding") != _NULL
    }


def _attribute(value: SearchAttributeValue, kind: SearchAttributeType) -> Payload:
    plain = value.isoformat() if isinstance(value, datetime) else value
    if not isinstance(plain, str | int | float):
        plain = list(plain)
    return Payload({"encoding": _JSON, "type": kind.value.encode()}, json.dumps(plain).encode())


def type_of(value: SearchAttributeValue) -> SearchAttributeType:
    """The type of a search attribute whose type no contract declares."""
    match value:
        case bool():
            return SearchAttributeType.BOOL
        case int():
            return SearchAttributeType.INT
        case float():
            return SearchAttributeType.DOUBLE
        case datetime():
            return SearchAttributeType.DATETIME
        case str():
            return SearchAttributeType.KEYWORD
        case _:
            return SearchAttributeType.KEYWORD_LIST


def _value(payload: Payload) -> SearchAttributeValue:
    value: SearchAttributeValue = json.loads(payload.data)
    if payload.metadata.get("type") == SearchAttributeType.DATETIME.value.encode() and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value
