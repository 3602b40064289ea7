"""Markers, as Temporal Core writes them: what a patch and the outcome of a local activity look like in history.

The rules are those of `coresdk::common` and of `patch_state_machine.rs` in Temporal Core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from protopact.contract import CHANGE_VERSION
from protopact.history.event import MarkerRecorded
from protopact.limits import LONGEST_SEARCH_ATTRIBUTE
from protopact.payload.payload import Payload, Payloads
from protopact.replay.command import RecordMarker
from protopact.replay.entries import Entry

__all__ = [
    "LOCAL_ACTIVITY",
    "PATCH",
    "Instant",
    "LocalActivityMark",
    "MarkedPatch",
    "PatchMark",
    "change_version",
    "local_activity_details",
    "local_activity_mark",
    "patch_mark",
]

PATCH = "core_patch"
"""Name of the markers of patches."""

LOCAL_ACTIVITY = "core_local_activity"
"""Name of the markers of local activities."""

_JSON = {"encoding": b"json/plain"}
_NULL = (Payload(metadata={"encoding": b"binary/null"}),)
_SECOND = 1_000_000_000


class PatchMark(msgspec.Struct, frozen=True):
    """What the marker of a patch says."""

    id: str
    deprecated: bool


class Instant(msgspec.Struct, frozen=True):
    """A time or a duration, as the markers of local activities write it."""

    seconds: int
    nanos: int

    @classmethod
    def of(cls, nanoseconds: int) -> Instant:
        """A time or a duration in nanoseconds."""
        return cls(*divmod(nanoseconds, _SECOND))

    def in_nanoseconds(self) -> int:
        """The time since the Unix epoch, or the duration."""
        return self.seconds * _SECOND + self.nanos


class LocalActivityMark(msgspec.Struct, frozen=True, kw_only=True):
    """What the marker of a local activity says beside its result or failure.

    Attributes:
        seq: Number of the call within its run; activities count along.
        attempt: Number of the last attempt.
        activity_id: Its id.
        activity_type: Its registered name.
        complete_time: When it ended; None when the workflow did not wait for it.
        backoff: Wait before the next attempt, for which the workflow starts a timer; None when there is none to come.
        original_schedule_time: When its first attempt was scheduled.
        activation_index: Which activation of its task learnt of it, from 0; None in older histories.
    """

    seq: int
    attempt: int
    activity_id: str
    activity_type: str
    complete_time: Instant | None = None
    backoff: Instant | None = None
    original_schedule_time: Instant | None = None
    activation_index: int | None = None


_patch_mark = msgspec.json.Decoder(PatchMark)
_local_activity_mark = msgspec.json.Decoder(LocalActivityMark)


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


def local_activity_mark(marker: MarkerRecorded | RecordMarker) -> LocalActivityMark | None:
    """What the marker of a local activity says; None when it cannot be read."""
    try:
        return _local_activity_mark.decode(marker.details["data"][0].data)
    except (KeyError, IndexError, msgspec.DecodeError):
        return None


def local_activity_details(mark: LocalActivityMark, result: Payloads | None) -> dict[str, Payloads]:
    """Details of a local activity's marker; `result` is None when it failed. Core demands one of everything else."""
    data = (Payload(metadata=_JSON, data=msgspec.json.encode(mark)),)
    return {"data": data} if result is None else {"data": data, "result": result or _NULL}


def change_version(patch_ids: Iterable[str]) -> Mapping[str, Payload] | None:
    """The search attribute that lists patches; None when it would be longer than the server takes."""
    data = msgspec.json.encode(sorted(patch_ids))
    if len(data) >= LONGEST_SEARCH_ATTRIBUTE:
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
