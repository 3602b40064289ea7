"""Search attributes of a run: out of the SDK's typed ones, and what changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from temporalio.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

from protopact import contract
from protopact.policy import SearchAttributeValue
from protopact.temporal.start import search_attributes

__all__ = ["from_typed", "to_updates"]

_SERVERS_OWN = frozenset({contract.CHANGE_VERSION, "BuildIds"})
"""Set by the engine, and no business of the run."""


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
    there = {pair.key.name: pair.key for pair in _pairs(current)}
    updates: list[SearchAttributeUpdate[Any]] = []
    for name, value in values.items():
        if value is None:
            # The type of what is not there is of no consequence.
            updates.append((there.get(name) or SearchAttributeKey.for_keyword(name)).value_unset())
        else:
            (pair,) = _pairs(search_attributes({name: value}, declared))
            updates.append(pair.key.value_set(pair.value))
    return updates


def from_typed(attributes: TypedSearchAttributes) -> dict[str, SearchAttributeValue]:
    """Search attributes out of the SDK's, without those that are the engine's."""
    return {
        pair.key.name: (
            list(pair.value)
            if pair.key.indexed_value_type is SearchAttributeIndexedValueType.KEYWORD_LIST
            else pair.value
        )
        for pair in _pairs(attributes)
        if pair.key.name not in _SERVERS_OWN
    }


# Keys and values are of as many types as attributes are.
def _pairs(attributes: TypedSearchAttributes) -> list[Any]:
    return list(cast("Any", attributes).search_attributes)
