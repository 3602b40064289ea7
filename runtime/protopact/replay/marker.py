"""Markers, as Temporal Core writes them: what a patch and the outcome of a local activity look like in history.

The rules are those of `coresdk::common` and of `patch_state_machine.rs` in Temporal Core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from protopact.history.event import MarkerRecorded
from protopact.payload.payload import Payload
from protopact.policy import CHANGE_VERSION
from protopact.replay.command import RecordMarker
from protopact.replay.entries import Entry

__all__ = ["PATCH", "MarkedPatch", "PatchMark", "change_version", "patch_mark"]

PATCH = "core_patch"
"""Name of the markers of patches."""

_JSON = {"encoding": b"json/plain"}
_LONGEST_SEARCH_ATTRIBUTE = 2048


class PatchMark(msgspec.Struct, frozen=True):
    """What the marker of a patch says."""

    id: str
    deprecated: bool


_patch_mark = msgspec.json.Decoder(PatchMark)


def patch_mark(marker: MarkerRecorded) -> PatchMark | None:
    """What a marker says of a patch, also in the spelling of older histories; None when it is of something else."""
    if marker.marker_name != PATCH:
        return None
    details = marker.details
    try:
        if "patch-data" in details:
            return _patch_mark.decode(details["patch-data"][0].data)
        return PatchMark(details["patch_id"][0].data.decode(), details["deprecated"][0].data[0] != 0)
    except (KeyError, IndexError, UnicodeDecodeError, msgspec.DecodeError):
        return None  # Core, too, takes it for a marker of something else


def change_version(patch_ids: Iterable[str]) -> Mapping[str, Payload] | None:
    """The search attribute that lists patches; None when it would be longer than the server takes."""
    data = msgspec.json.encode(sorted(patch_ids))
    if len(data) >= _LONGEST_SEARCH_ATTRIBUTE:
        return None
    return {CHANGE_VERSION: Payload(metadata={**_JSON, "type": b"KeywordList"}, data=data)}


class MarkedPatch(Entry):
    """A patch that the code has made use of.

    Attributes:
        patch_id: Its id.
    """

    __slots__ = ("_deprecated", "patch_id")

    becomes = MarkerRecorded
    is_optional = True

    def __init__(self, patch_id: str, *, deprecated: bool) -> None:
        self.patch_id = patch_id
        self._deprecated = deprecated

    def command(self) -> RecordMarker:
        """The command."""
        data = msgspec.json.encode(PatchMark(self.patch_id, self._deprecated))
        return RecordMarker(marker_name=PATCH, details={"patch-data": (Payload(metadata=_JSON, data=data),)})
