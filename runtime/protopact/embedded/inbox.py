"""What waits for a run, and what waits for a process: the plain data in the tables `inbox` and `notice`.

An item for a run is written by a process that does not hold it; one that does hands it over in memory. Payloads are as
on disk: the codec chain has been applied.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from protopact.history.event import (
    UpdateRequest,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from protopact.history.failure import Failure
from protopact.payload.payload import Payloads
from protopact.replay.advance import QueryRequest

__all__ = [
    "Answered",
    "AttemptCancelled",
    "AttemptCompleted",
    "AttemptFailed",
    "AttemptHeartbeat",
    "AttemptLeft",
    "AttemptLost",
    "AttemptTimedOut",
    "CancelRequest",
    "ChildClosed",
    "Happened",
    "Item",
    "Notice",
    "Outcome",
    "Query",
    "Refused",
    "Signal",
    "Unwanted",
    "Update",
    "decode_item",
    "decode_notice",
    "encode",
]


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """A signal, as it will stand in history."""

    signal: WorkflowExecutionSignaled


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel"):
    """A request to cancel, as it will stand in history."""

    request: WorkflowExecutionCancelRequested


class Update(msgspec.Struct, frozen=True, tag="update"):
    """An update; the caller is answered when it is accepted or rejected.

    Attributes:
        request: The update.
        is_pinned: Whether the caller named the run: it does not go to the run that goes on in its place.
    """

    request: UpdateRequest
    is_pinned: bool = False


class Query(msgspec.Struct, frozen=True, tag="query"):
    """A query; the caller is answered."""

    request: QueryRequest


class AttemptCompleted(msgspec.Struct, frozen=True, tag="completed"):
    """An attempt of an activity returned."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    result: Payloads = ()


class AttemptFailed(msgspec.Struct, frozen=True, tag="failed"):
    """An attempt failed."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    failure: Failure
    heartbeat: Payloads = ()


class AttemptCancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """An attempt ended as its cancellation asked."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    details: Payloads = ()
    heartbeat: Payloads = ()


class AttemptTimedOut(msgspec.Struct, frozen=True, tag="timed_out"):
    """An attempt passed its start-to-close or its heartbeat time-out. `timeout_type` is spelt as in a failure."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    timeout_type: str
    heartbeat: Payloads = ()


class AttemptLost(msgspec.Struct, frozen=True, tag="lost"):
    """The process that ran the attempt is gone: nothing is known of its outcome."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    heartbeat: Payloads = ()


class AttemptLeft(msgspec.Struct, frozen=True, tag="left"):
    """The code of an attempt has ended, and the attempt is completed from outside."""

    scheduled_event_id: int
    attempt: int
    identity: str
    started_at: int
    heartbeat_at: int
    heartbeat: Payloads = ()


class AttemptHeartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """A heartbeat from outside."""

    scheduled_event_id: int
    attempt: int
    at: int
    details: Payloads = ()


class ChildClosed(msgspec.Struct, frozen=True, tag="child_closed"):
    """A child of the run has closed, and no other run goes on in its place.

    Attributes:
        initiated_event_id: The parent's event that asked for it.
        first_run_id: First run of the child.
        run_id: The run that has closed.
        workflow_type: Registered name of the child.
        end: What it closed with.
    """

    initiated_event_id: int
    first_run_id: str
    run_id: str
    workflow_type: str
    end: (
        WorkflowExecutionCompleted
        | WorkflowExecutionFailed
        | WorkflowExecutionCanceled
        | WorkflowExecutionTimedOut
        | WorkflowExecutionTerminated
    )


Outcome: TypeAlias = AttemptCompleted | AttemptFailed | AttemptCancelled | AttemptTimedOut | AttemptLost
"""How an attempt of an activity ended."""

Item: TypeAlias = Signal | CancelRequest | Update | Query | Outcome | AttemptLeft | AttemptHeartbeat | ChildClosed
"""Something for a run."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The answer to a query; to an update, that it was accepted, and by which run."""

    call: int
    result: Payloads = ()
    run_id: str = ""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A call was refused. `error` names a class of `protopact.errors`; `failure` is its cause, when it has one."""

    call: int
    error: str
    message: str
    failure: Failure | None = None


class Happened(msgspec.Struct, frozen=True, tag="happened"):
    """A run that the process holds or watches has closed; or, with `update_id`, an update has its outcome."""

    run_key: int
    update_id: str = ""


class Unwanted(msgspec.Struct, frozen=True, tag="unwanted"):
    """An attempt that the process runs is to be cancelled. `reason` names an `activity.CancellationReason`."""

    run_key: int
    scheduled_event_id: int
    attempt: int
    reason: str


Notice: TypeAlias = Answered | Refused | Happened | Unwanted
"""Something for a process."""

_encoder = msgspec.msgpack.Encoder()
_item_decoder = msgspec.msgpack.Decoder[Item](Item)
_notice_decoder = msgspec.msgpack.Decoder[Notice](Notice)


def encode(value: Item | Notice) -> bytes:
    """MessagePack of an item or a notice."""
    return _encoder.encode(value)


def decode_item(data: bytes) -> Item:
    """The item that `encode` wrote."""
    item: Item = _item_decoder.decode(data)
    return item


def decode_notice(data: bytes) -> Notice:
    """The notice that `encode` wrote."""
    notice: Notice = _notice_decoder.decode(data)
    return notice
