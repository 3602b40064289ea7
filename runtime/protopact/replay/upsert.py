"""What the code sets of its run while it runs: search attributes and memo."""

from __future__ import annotations

from collections.abc import Mapping

from protopact.history.event import UpsertWorkflowSearchAttributes, WorkflowPropertiesModified
from protopact.payload.payload import Payload
from protopact.replay.command import ModifyWorkflowProperties, UpsertSearchAttributes
from protopact.replay.entries import Entry

__all__ = ["UpsertedMemo", "UpsertedSearchAttributes"]


class UpsertedSearchAttributes(Entry):
    """Search attributes that the code has set; Core does not compare them."""

    __slots__ = ("_search_attributes",)

    becomes = UpsertWorkflowSearchAttributes

    def __init__(self, search_attributes: Mapping[str, Payload]) -> None:
        self._search_attributes = search_attributes

    def command(self) -> UpsertSearchAttributes:
        """The command."""
        return UpsertSearchAttributes(search_attributes=dict(self._search_attributes))


class UpsertedMemo(Entry):
    """Entries of the memo that the code has set; Core does not compare them."""

    __slots__ = ("_memo",)

    becomes = WorkflowPropertiesModified

    def __init__(self, memo: Mapping[str, Payload]) -> None:
        self._memo = memo

    def command(self) -> ModifyWorkflowProperties:
        """The command."""
        return ModifyWorkflowProperties(upserted_memo=dict(self._memo))
