"""How large may be what workflows and activities send: the limits that a Temporal server has, met here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protopact.history.failure import ApplicationFailureInfo, Failure, ServerFailureInfo
from protopact.payload.attributes import merged
from protopact.payload.payload import Payload
from protopact.payload.sizes import (
    CALL_LIMIT,
    LIMIT,
    size_of_failure,
    size_of_memo,
    size_of_payloads,
)
from protopact.replay.command import (
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    RecordMarker,
    RejectUpdate,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)

__all__ = ["fitting", "oversize_command", "oversize_task"]

_KEPT = 512 * 1024
"""Characters of a message that a failure keeps which is too large: as many bytes as the server warns of."""

_AROUND = 128
"""Bytes around the payloads of a command, as far as they are worth counting."""


def oversize_task(commands: Iterable[Command]) -> str | None:
    """Why a server would not even read what a workflow asks for in one task; None when it would."""
    size = 0
    for command in commands:
        size += _AROUND + sum(part.size(command) for part in _PARTS.get(type(command), ()))
    if size <= CALL_LIMIT:
        return None
    return (
        f"GrpcMessageTooLarge: what the workflow asks for in one task takes {size} bytes; at most {CALL_LIMIT} are one "
        "call. Ask for less at once, or put large data into a store of its own"
    )


def oversize_command(commands: Iterable[Command], memo: Mapping[str, Payload]) -> tuple[str, str] | None:
    """Cause and message for a command with payloads over the limit, in the server's words; None without one.

    Args:
        commands: What the workflow asks for.
        memo: The memo that the run has.
    """
    for command in commands:
        for part in _PARTS.get(type(command), ()):
            if part.cause and (size := part.size(command)) > LIMIT:
                return part.cause, _exceeds(part.what, size)
        if isinstance(command, ModifyWorkflowProperties):
            memo = merged(memo, command.upserted_memo)
            if (size := size_of_memo(memo)) > LIMIT:
                return _BAD_PROPERTIES, _exceeds("ModifyWorkflowPropertiesCommandAttributes. Memo", size)
    return None


def fitting(failure: Failure) -> Failure:
    """What history has of an attempt's failure: one that is too large is the server's, with its beginning as cause."""
    size = size_of_failure(failure)
    if size <= LIMIT:
        return failure
    info = failure.info
    if isinstance(info, ApplicationFailureInfo):
        info = ApplicationFailureInfo(type=info.type[:_KEPT], non_retryable=info.non_retryable)
    else:
        info = None
    return Failure(
        message=f"Failure exceeds size limit: {size} bytes of at most {LIMIT}.",
        source="Server",
        info=ServerFailureInfo(non_retryable=True),
        cause=Failure(message=failure.message[:_KEPT], source=failure.source, info=info),
    )


def _exceeds(what: str, size: int) -> str:
    return f"{what} exceeds size limit: {size} bytes of at most {LIMIT}."


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a command that has to fit: its size, and what the server says; without a cause it has no limit."""

    size: Callable[[Any], int]  # takes its own type of command
    cause: str = ""
    what: str = ""


_BAD_CHILD = "BAD_START_CHILD_EXECUTION_ATTRIBUTES"
_BAD_CONTINUATION = "BAD_CONTINUE_AS_NEW_ATTRIBUTES"
_BAD_PROPERTIES = "BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES"


def _input(command: Any) -> int:  # noqa: ANN401 - several have one
    return size_of_payloads(command.input)


def _memo(command: Any) -> int:  # noqa: ANN401 - several have one
    return size_of_memo(command.memo)


def _failure(command: Any) -> int:  # noqa: ANN401 - several have one
    return size_of_failure(command.failure)


_PARTS: dict[type[Command], tuple[_Part, ...]] = {
    ScheduleActivityTask: (
        _Part(_input, "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES", "ScheduleActivityTaskCommandAttributes.Input"),
    ),
    StartChildWorkflowExecution: (
        _Part(_input, _BAD_CHILD, "StartChildWorkflowExecutionCommandAttributes.Input"),
        _Part(_memo, _BAD_CHILD, "StartChildWorkflowExecutionCommandAttributes.Memo"),
    ),
    SignalExternalWorkflowExecution: (
        _Part(
            _input,
            "BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES",
            "SignalExternalWorkflowExecutionCommandAttributes.Input",
        ),
    ),
    ContinueAsNewWorkflowExecution: (
        _Part(_input, _BAD_CONTINUATION, "ContinueAsNewWorkflowExecutionCommandAttributes.Input"),
        _Part(_memo, _BAD_CONTINUATION, "ContinueAsNewWorkflowExecutionCommandAttributes.Memo"),
    ),
    CompleteWorkflowExecution: (
        _Part(
            lambda command: size_of_payloads(command.result),
            "BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES",
            "CompleteWorkflowExecutionCommandAttributes.Result",
        ),
    ),
    FailWorkflowExecution: (
        _Part(_failure, "BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES", "FailWorkflowExecutionCommandAttributes.Failure"),
    ),
    CancelWorkflowExecution: (_Part(lambda command: size_of_payloads(command.details)),),
    CompleteUpdate: (
        _Part(
            lambda command: size_of_payloads(command.success) + size_of_failure(command.failure),
            "BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE",
            "Update outcome",
        ),
    ),
    RejectUpdate: (_Part(_failure, "BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE", "Update rejection"),),
    RecordMarker: (
        _Part(
            lambda command: sum(size_of_payloads(payloads) for payloads in command.details.values()),
            "BAD_RECORD_MARKER_ATTRIBUTES",
            "RecordMarkerCommandAttributes.Details",
        ),
        _Part(_failure),
    ),
    ModifyWorkflowProperties: (
        _Part(
            lambda command: size_of_memo(command.upserted_memo),
            _BAD_PROPERTIES,
            "ModifyWorkflowPropertiesCommandAttributes.UpsertedMemo",
        ),
    ),
}
"""Commands with payloads that must fit into an event and into a call, and what the server says when they do not."""
