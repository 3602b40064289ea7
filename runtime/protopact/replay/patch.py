"""Patches: what `patched` answers, and the markers that remember it.

The answer is given once for each id in a run, as in Temporal's Python SDK; markers and the search attribute that lists
the patches follow Temporal Core's `workflow_machines.rs`.
"""

from __future__ import annotations

from protopact.replay.ledger import Ledger
from protopact.replay.marker import MarkedPatch, change_version
from protopact.replay.upsert import UpsertedSearchAttributes

__all__ = ["Patches"]


class Patches:
    """The patches of one run.

    Args:
        ledger: Where their commands go.

    Attributes:
        lists_patches: Whether the search attribute that lists patches follows each marker (Core's flag 2).
    """

    __slots__ = ("_answers", "_foreseen", "_ledger", "lists_patches")

    def __init__(self, ledger: Ledger) -> None:
        self.lists_patches = True
        self._ledger = ledger
        self._foreseen: dict[str, bool] = {}  # and whether the code has made use of it
        self._answers: dict[str, bool] = {}

    def foresee(self, patch_id: str) -> None:
        """History has a marker of this patch right behind the activation to come."""
        self._foreseen[patch_id] = False

    def answer(self, patch_id: str, *, deprecated: bool, is_replaying: bool) -> bool:
        """Whether the code takes the patched branch; the first answer stands for the rest of the run."""
        known = self._answers.get(patch_id)
        if known is not None:
            return known
        answer = self._answers[patch_id] = not is_replaying or patch_id in self._foreseen
        if answer and not self._foreseen.get(patch_id, False):
            self._ledger.add(MarkedPatch(patch_id, deprecated=deprecated))
            used = {each for each, is_used in self._foreseen.items() if is_used}
            if self.lists_patches and (listed := change_version({*used, patch_id})) is not None:
                self._ledger.add(UpsertedSearchAttributes(listed))
            self._foreseen[patch_id] = True
        return answer
