"""What a workflow asks for, in one form: as an event of its history, or as a command of its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protopact import contract
from protopact.history import event as ev
from protopact.history.words import short_name
from protopact.replay import command as cmd
from protopact.replay.comparison import TABLES
from protopact.replay.marker import LOCAL_ACTIVITY, local_activity_mark, patch_mark
from protopact.replay.reader import Reader, seconds
from protopact.replay.report import Stack

__all__ = ["CLOSINGS", "Call", "called_by_code", "called_in_history", "event_type"]

CLOSINGS: frozenset[type[ev.Attributes]] = frozenset(
    {
        ev.WorkflowExecutionCompleted,
        ev.WorkflowExecutionFailed,
        ev.WorkflowExecutionCanceled,
        ev.WorkflowExecutionContinuedAsNew,
    }
)
"""Command events that end a run."""

_EVENTS: dict[type[Any], type[ev.Attributes]] = {table.command: kind for kind, table in TABLES.items()}

_WORDS: dict[type[ev.Attributes], str] = {
    ev.ActivityTaskScheduled: "activity",
    ev.ActivityTaskCancelRequested: "the cancellation of an activity",
    ev.TimerStarted: "a timer of",
    ev.TimerCanceled: "the cancellation of a timer",
    ev.WorkflowExecutionCompleted: "the return of the workflow",
    ev.WorkflowExecutionFailed: "the failure of the workflow",
    ev.WorkflowExecutionCanceled: "the cancellation of the workflow",
    ev.WorkflowExecutionContinuedAsNew: "the continuation as new",
    ev.MarkerRecorded: "marker",
    ev.UpsertWorkflowSearchAttributes: "an upsert of search attributes",
    ev.WorkflowPropertiesModified: "an upsert of the memo",
    ev.StartChildWorkflowExecutionInitiated: "child workflow",
    ev.SignalExternalWorkflowExecutionInitiated: "external signal",
    ev.RequestCancelExternalWorkflowExecutionInitiated: "the cancellation of another workflow",
    ev.WorkflowExecutionUpdateAccepted: "update",
    ev.WorkflowExecutionUpdateCompleted: "the end of an update",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        kind: Type of the event that it is or becomes.
        name: Registered name of what is called; empty when it has none.
        id: Id of the call.
        values: Its input, or how long it lasts, in words.
        event_id: Its event; 0 for the code's.
        stack: Where the code asked for it; None for an event.
    """

    kind: type[ev.Attributes]
    name: str = ""
    id: str = ""
    values: str = ""
    event_id: int = 0
    stack: Stack | None = None

    @property
    def key(self) -> tuple[type[ev.Attributes], str]:
        """What is called."""
        return self.kind, self.name

    @property
    def signature(self) -> tuple[type[ev.Attributes], str, str]:
        """What is called with what."""
        return self.kind, self.name, self.values

    @property
    def is_local_activity(self) -> bool:
        """Whether it is a local activity, which stands in history as a marker."""
        return self.kind is ev.MarkerRecorded and bool(self.id)

    @property
    def is_side_effect(self) -> bool:
        """Whether it is a side effect, which is a local activity with a name of its own."""
        return self.is_local_activity and self.name == contract.SIDE_EFFECT.name

    @property
    def short(self) -> str:
        """The last part of the name."""
        return short_name(self.name)

    @property
    def text(self) -> str:
        """The call in words."""
        words = _WORDS[self.kind]
        if self.kind is ev.TimerStarted:
            return f"{words} {self.values}"
        if self.is_side_effect:
            return "a side effect"
        if self.is_local_activity:
            words = "local activity"
        return f"{words} {self.short}" if self.name else words


def event_type(command: cmd.Command) -> type[ev.Attributes] | None:
    """Type of the event that a command becomes; None for a rejection."""
    return _EVENTS.get(type(command))


def called_in_history(event: ev.Event, reader: Reader) -> Call:
    """A command event as a call."""
    attributes = event.attributes
    if isinstance(attributes, ev.WorkflowExecutionUpdateAccepted):
        request = attributes.accepted_request or ev.UpdateRequest()
        return Call(kind=type(attributes), name=request.name, id=request.update_id, event_id=event.event_id)
    if isinstance(attributes, ev.MarkerRecorded):
        name, call_id = _marked(attributes)
        return Call(kind=type(attributes), name=name, id=call_id, event_id=event.event_id)
    name, call_id, values = _fields(attributes, reader)
    return Call(kind=type(attributes), name=name, id=call_id, values=values, event_id=event.event_id)


def called_by_code(command: cmd.Command, stack: Stack | None, reader: Reader) -> Call | None:
    """A command as a call; None for one that becomes no event."""
    kind = event_type(command)
    if kind is None:
        return None
    if isinstance(command, cmd.AcceptUpdate):
        return Call(kind=kind, name=command.request.name, id=command.request.update_id, stack=stack)
    if isinstance(command, cmd.RecordMarker):
        name, call_id = _marked(command)
        return Call(kind=kind, name=name, id=call_id, stack=stack)
    name, call_id, values = _fields(command, reader)
    return Call(kind=kind, name=name, id=call_id, values=values, stack=stack)


def _marked(marker: ev.MarkerRecorded | cmd.RecordMarker) -> tuple[str, str]:
    """Name and id of what a marker is of."""
    if marker.marker_name == LOCAL_ACTIVITY and (local := local_activity_mark(marker)) is not None:
        return local.activity_type, local.activity_id
    patch = patch_mark(ev.MarkerRecorded(marker_name=marker.marker_name, details=marker.details))
    return marker.marker_name if patch is None else patch.id, ""


def _fields(value: ev.Attributes | cmd.Command, reader: Reader) -> tuple[str, str, str]:
    """Name, id and values."""
    found = ("", "", "")
    match value:
        case ev.ActivityTaskScheduled() | cmd.ScheduleActivityTask():
            found = value.activity_type, value.activity_id, reader.texts(value.input)
        case ev.TimerStarted() | cmd.StartTimer():
            found = "", value.timer_id, seconds(value.start_to_fire_timeout)
        case ev.StartChildWorkflowExecutionInitiated() | cmd.StartChildWorkflowExecution():
            found = value.workflow_type, value.workflow_id, reader.texts(value.input)
        case ev.SignalExternalWorkflowExecutionInitiated() | cmd.SignalExternalWorkflowExecution():
            found = value.signal_name, value.workflow_id, reader.texts(value.input)
        case ev.RequestCancelExternalWorkflowExecutionInitiated() | cmd.RequestCancelExternalWorkflowExecution():
            found = "", value.workflow_id, ""
        case ev.WorkflowExecutionUpdateCompleted() | cmd.CompleteUpdate():
            found = "", value.update_id, ""
        case _:
            pass
    return found
