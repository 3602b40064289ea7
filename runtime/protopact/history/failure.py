"""A failure as history holds it (`temporal.api.failure.v1.Failure`): one tree of plain data."""

from __future__ import annotations

import msgspec

from protopact.history.time import Duration
from protopact.payload.payload import Payload, Payloads

__all__ = [
    "ActivityFailureInfo",
    "ApplicationFailureInfo",
    "CanceledFailureInfo",
    "ChildWorkflowFailureInfo",
    "Failure",
    "FailureInfo",
    "ResetWorkflowFailureInfo",
    "ServerFailureInfo",
    "TerminatedFailureInfo",
    "TimeoutFailureInfo",
]


class ApplicationFailureInfo(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="application"
):
    """User code failed."""

    type: str = ""
    non_retryable: bool = False
    details: Payloads = ()
    next_retry_delay: Duration | None = None
    category: str = ""


class TimeoutFailureInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="timeout"):
    """A limit was passed. `timeout_type` is spelt as in the protobuf enum, without its prefix: `START_TO_CLOSE`."""

    timeout_type: str = ""
    last_heartbeat_details: Payloads = ()


class CanceledFailureInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="canceled"):
    """It was cancelled."""

    details: Payloads = ()
    identity: str = ""


class TerminatedFailureInfo(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="terminated"
):
    """It was terminated."""

    identity: str = ""


class ServerFailureInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="server"):
    """The engine failed it."""

    non_retryable: bool = False


class ResetWorkflowFailureInfo(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="reset"
):
    """The run was reset."""

    last_heartbeat_details: Payloads = ()


class ActivityFailureInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="activity"):
    """An activity failed; the cause says why. `retry_state` is spelt without its prefix: `MAXIMUM_ATTEMPTS_REACHED`."""

    activity_type: str = ""
    activity_id: str = ""
    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    retry_state: str = ""


class ChildWorkflowFailureInfo(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag="child"
):
    """A child workflow failed; the cause says why."""

    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
    retry_state: str = ""


FailureInfo = (
    ApplicationFailureInfo
    | TimeoutFailureInfo
    | CanceledFailureInfo
    | TerminatedFailureInfo
    | ServerFailureInfo
    | ResetWorkflowFailureInfo
    | ActivityFailureInfo
    | ChildWorkflowFailureInfo
)


class Failure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A failure.

    Attributes:
        message: What happened.
        info: Which kind it is, and what is particular to the kind.
        source: SDK that raised it.
        stack_trace: Where it was raised, as text.
        cause: The failure that led to it.
        encoded_attributes: Message and stack trace when a codec hides them.
    """

    message: str = ""
    info: FailureInfo | None = None
    source: str = ""
    stack_trace: str = ""
    cause: Failure | None = None
    encoded_attributes: Payload | None = None
