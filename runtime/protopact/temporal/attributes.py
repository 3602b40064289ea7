"""Search attributes, to the SDK's typed ones and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from temporalio.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

from protopact import contract
from protopact.policy import SearchAttributeType, SearchAttributeValue

__all__ = ["from_typed", "to_typed", "to_updates"]

_SERVERS_OWN = frozenset({contract.CHANGE_VERSION, "BuildIds"})
"""Set by the engine, and no business of the run."""

# The SDK has one class of keys for each type of values.
_KEYS: Mapping[SearchAttributeType, Any] = {
    SearchAttributeType.KEYWORD: SearchAttributeKey.for_keyword,
    SearchAttributeType.TEXT: SearchAttributeKey.for_text,
    SearchAttributeType.INT: SearchAttributeKey.for_int,
    SearchAttributeType.DOUBLE: SearchAttributeKey.for_float,
    SearchAttributeType.BOOL: SearchAttributeKey.for_bool,
    SearchAttributeType.DATETIME: SearchAttributeKey.for_datetime,
    SearchAttributeType.KEYWORD_LIST: SearchAttributeKey.for_keyword_list,
}


def to_typed(
    values: Mapping[str, SearchAttributeValue], declared: tuple[contract.SearchAttribute, ...]
) -> TypedSearchAttributes:
    """Search attributes as the SDK's: of the type that the contract declares, otherwise of that of the value."""
    types = {attribute.name: attribute.type for attribute in declared}
    return TypedSearchAttributes(
        [SearchAttributePair(_key(name, types.get(name), value), _plain(value)) for name, value in values.items()]
    )


def to_updates(
    values: Mapping[str, SearchAttributeValue | None],
    declared: tuple[contract.SearchAttribute, ...],
    current: TypedSearchAttributes,
) -> list[SearchAttributeUpdate[Any]]:
    """What sets search attributes of a run; None removes one.

    Args:
        values: The attributes.
        declared: Those of the contract, with their types.
        current: Those that the run has.
    """
    types = {attribute.name: attribute.type for attribute in declared}
    keys = {pair.key.name: pair.key for pair in current.search_attributes}
    updates: list[SearchAttributeUpdate[Any]] = []
    for name, value in values.items():
        if value is None:
            key = keys.get(name) or _key(name, types.get(name), "")
            updates.append(key.value_unset())
        else:
            updates.append(_key(name, types.get(name), value).value_set(_plain(value)))
    return updates


def from_typed(attributes: TypedSearchAttributes) -> dict[str, SearchAttributeValue]:
    """Search attributes out of the SDK's, without those that are the engine's."""
    return {
        pair.key.name: (
            list(pair.value)
            if pair.key.indexed_value_type is SearchAttributeIndexedValueType.KEYWORD_LIST
            else pair.value
        )
        for pair in attributes.search_attributes
        if pair.key.name not in _SERVERS_OWN
    }


def _key(name: str, kind: SearchAttributeType | None, value: SearchAttributeValue) -> Any:  # noqa: ANN401 - as _KEYS
    return _KEYS[kind or _type_of(value)](name)


def _plain(value: SearchAttributeValue) -> Any:  # noqa: ANN401 - as _KEYS
    return value if isinstance(value, str | int | float | datetime) else list(value)


def _type_of(value: SearchAttributeValue) -> SearchAttributeType:
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
