"""Finds out why code and history disagree, by replaying the history once more and looking."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from typing import Any, cast

import msgspec

from protopact.errors import NondeterminismError, PayloadError, WorkflowTaskError
from protopact.history import event as ev
from protopact.history.failure import Failure
from protopact.history.policy import RetryPolicy
from protopact.payload.payload import Payloads
from protopact.replay.cause import likely_cause, missing_patch
from protopact.replay.command import Command, RecordMarker
from protopact.replay.comparison import TABLES, Comparer, Comparison
from protopact.replay.conjecture import Conjecture
from protopact.replay.definition import Definition
from protopact.replay.entries import Closing
from protopact.replay.execution import Execution
from protopact.replay.marker import LOCAL_ACTIVITY, local_activity_mark, patch_mark
from protopact.replay.reader import Reader
from protopact.replay.report import Cause, CauseKind, Frame, Report, Side, Stack
from protopact.replay.trace import Trace, with_code

__all__ = ["explain", "explanation"]

_MAX_STACKS = 5
_GROUPS = 16
"""Activations of one step: a few milliseconds."""

_BY_COMMAND = {table.command: table for table in TABLES.values()}


def explain(
    error: NondeterminismError,
    definition: Definition,
    events: Sequence[ev.Event],
    *,
    relax: frozenset[str] | None = None,
) -> None:
    """Give an error its report at once; see `explanation`."""
    for _ in explanation(error, definition, events, relax=relax):
        pass


def explanation(
    error: NondeterminismError,
    definition: Definition,
    events: Sequence[ev.Event],
    *,
    updates: Sequence[ev.UpdateRequest] = (),
    build_id: str = "",
    relax: frozenset[str] | None = None,
    veiled: bool = False,
) -> Generator[None]:
    """Give an error its report, in steps of a few milliseconds each.

    Every step, and `close` when it is given up, is to be called as `Execution.advance` is, and not from where the error
    is handled: what the code raises meanwhile would have it for its context.

    Args:
        error: What a replay of `events` has raised.
        definition: The workflow class that was replayed.
        events: The whole history up to where it was replayed, decoded.
        updates: Updates that came with the open task.
        build_id: Build of the worker.
        relax: Comparisons that were not made; None when none was made at all.
        veiled: Say types and sizes of payloads instead of their values.
    """
    trace = Trace()
    comparer = None if relax is None else Comparer(definition.converter, relax)
    run = Execution(definition, workflow_id=error.workflow_id, run_id=error.run_id, comparer=comparer, trace=trace)
    try:
        again = yield from _replayed_again(run, events, updates)
        stacks = tuple(map(with_code, _stacks(trace, run, definition)))
    finally:
        run.unwind()
    yield
    reader = Reader(definition.converter, veiled=veiled)
    expected = None if error.event is None else _event_side(error.event, reader)
    produced = None if error.command is None else _command_side(error.command, reader)
    same = (
        isinstance(again, NondeterminismError)
        and again.event == error.event
        and produced == (None if again.command is None else _command_side(again.command, reader))
    )
    agreed = next((each for each in events if each.event_id == error.last_event_id and error.last_event_id), None)
    recorded = _recorded(error, events)
    cause = (yield from _cause(error, definition, events, reader)) if same else _not_repeatable(again)
    error.report = Report(
        workflow_type=error.workflow_type,
        workflow_id=error.workflow_id,
        run_id=error.run_id,
        build_id=build_id,
        recorded_build_id="" if recorded is None else recorded.deployment_build_id or recorded.build_id,
        recorded_deployment="" if recorded is None else recorded.deployment_name,
        agreed=None if agreed is None else _event_side(agreed, reader),
        expected=expected,
        produced=produced,
        differences=error.differences,
        stacks=stacks if same else (),
        cause=cause,
    )


def _recorded(error: NondeterminismError, events: Sequence[ev.Event]) -> ev.WorkflowTaskCompleted | None:
    """The answer of the worker that recorded what the code disagrees with; the last one where that is nothing."""
    end = error.event.event_id if error.event is not None else float("inf")
    answers = (each for each in reversed(events) if isinstance(each.attributes, ev.WorkflowTaskCompleted))
    answer = next((each.attributes for each in answers if each.event_id < end), None)
    return answer if isinstance(answer, ev.WorkflowTaskCompleted) else None


def _replayed_again(
    run: Execution, events: Sequence[ev.Event], updates: Sequence[ev.UpdateRequest]
) -> Generator[None, None, WorkflowTaskError | None]:
    """How the replay ends this time; None when code and history agree."""
    try:
        yield from run.advance_in_steps(events, updates=updates, groups=_GROUPS)
    except WorkflowTaskError as raised:
        return raised
    except PayloadError as raised:  # of a command that cannot be written
        return WorkflowTaskError(str(raised))
    return None


def _cause(
    error: NondeterminismError, definition: Definition, events: Sequence[ev.Event], reader: Reader
) -> Generator[None, None, Cause | None]:
    """What most likely happened to the code."""
    event = error.event
    if event is None:
        return None
    if isinstance(event.attributes, ev.MarkerRecorded) and (mark := patch_mark(event.attributes)) is not None:
        return missing_patch(event, mark.id)
    if error.command is None and (unknown := _unknown_message(definition, events[: event.event_id])) is not None:
        return unknown
    called = event.event_id
    if isinstance(event.attributes, ev.TimerFired):
        called = event.attributes.started_event_id
    begin = _answered(events, called)
    if begin is None:
        return None
    there = Conjecture(
        definition, workflow_id=error.workflow_id, run_id=error.run_id, events=events, begin=begin, reader=reader
    )
    yield from there.go(_GROUPS)
    is_marker = isinstance(event.attributes, ev.MarkerRecorded)  # it is not told of in line with commands
    return likely_cause(there.recorded, there.calls, is_stuck=error.command is None and not is_marker)


def _answered(events: Sequence[ev.Event], event_id: int) -> int | None:
    """Index of the `WorkflowTaskStarted` that the answer with an event answers."""
    for event in reversed(events[: event_id - 1]):
        if isinstance(event.attributes, ev.WorkflowTaskCompleted):
            begin = event.attributes.started_event_id - 1
            return begin if 0 < begin < event_id else None  # a history that others wrote may leave it out
    return None


def _unknown_message(definition: Definition, events: Sequence[ev.Event]) -> Cause | None:
    """A signal or an update of the history that the class does not know any more."""
    for event in reversed(events):
        attributes = event.attributes
        if isinstance(attributes, ev.WorkflowExecutionSignaled) and attributes.signal_name not in definition.signals:
            return Cause(
                kind=CauseKind.UNKNOWN_SIGNAL,
                text=f"event {event.event_id} is the signal {attributes.signal_name}, which the workflow does not know "
                "any more: it was removed or renamed. Keep it, or declare its old name as an alias",
            )
        if isinstance(attributes, ev.WorkflowExecutionUpdateAccepted):
            name = "" if attributes.accepted_request is None else attributes.accepted_request.name
            if name not in definition.updates:
                return Cause(
                    kind=CauseKind.UNKNOWN_UPDATE,
                    text=f"event {event.event_id} accepted the update {name}, which the workflow does not know any "
                    "more: it was removed or renamed. Keep it, or declare its old name as an alias",
                )
    return None


def _stacks(trace: Trace, run: Execution, definition: Definition) -> list[Stack]:
    """Where the command was asked for; where the code waits when it asks for nothing."""
    if trace.entry is None:
        return run.waiting()[:_MAX_STACKS]
    stack = trace.stack(trace.entry)
    if stack is None:
        return []
    if isinstance(trace.entry, Closing) and not stack.frames:
        return [Stack(doing=stack.doing, frames=(_definition_of(definition),))]
    return [stack] if stack.frames else []


def _definition_of(definition: Definition) -> Frame:
    """The method that the run is."""
    method: Any = inspect.unwrap(definition.workflow.run)  # type: ignore[attr-defined] # every generated class has one
    code = method.__code__
    return Frame(file=code.co_filename, line=code.co_firstlineno, function=code.co_qualname)


def _not_repeatable(again: WorkflowTaskError | None) -> Cause:
    what = "agreed with the history" if again is None else f"went another way ({type(again).__name__})"
    return Cause(
        kind=CauseKind.NOT_REPEATABLE,
        text=f"replayed once more, the code {what}: it depends on something that differs from one replay to the next, "
        "such as a clock, a random number, the environment, a global variable, or the order of a set",
    )


# The two sides, in words.


def _event_side(event: ev.Event, reader: Reader) -> Side:
    attributes = event.attributes
    table = TABLES.get(type(attributes))
    fields = _compared(attributes, table.comparisons, reader) if table is not None else _plain(attributes, reader)
    if isinstance(attributes, ev.MarkerRecorded):
        fields |= _marked(attributes)
    return Side(kind=type(attributes).__name__, event_id=event.event_id, fields=fields)


def _command_side(command: Command, reader: Reader) -> Side:
    table = _BY_COMMAND.get(type(command))
    fields = _compared(command, table.comparisons, reader) if table is not None else _plain(command, reader)
    if isinstance(command, RecordMarker):
        fields |= _marked(command)
    return Side(kind=type(command).__name__, fields=fields)


def _marked(marker: ev.MarkerRecorded | RecordMarker) -> dict[str, str]:
    """What a marker is of."""
    if marker.marker_name == LOCAL_ACTIVITY and (local := local_activity_mark(marker)) is not None:
        return {
            "activity_type": local.activity_type,
            "activity_id": local.activity_id,
            "input": "not compared: markers of local activities hold none",
        }
    patch = patch_mark(ev.MarkerRecorded(marker_name=marker.marker_name, details=marker.details))
    return {} if patch is None else {"patch": patch.id}


def _compared(value: object, comparisons: Sequence[Comparison], reader: Reader) -> dict[str, str]:
    """The fields that strict mode compares, without those that say nothing."""
    texts = ((each, getattr(value, each.field)) for each in comparisons)
    return {each.field: each.text(reader, found) for each, found in texts if found or each.field == "input"}


def _plain(value: msgspec.Struct, reader: Reader) -> dict[str, str]:
    """Every field of an event that no command becomes."""
    fields: dict[str, str] = {}
    for each in msgspec.structs.fields(type(value)):
        found = getattr(value, each.name)
        if found and not isinstance(found, Failure | RetryPolicy | dict):
            fields[each.name] = reader.texts(cast("Payloads", found)) if isinstance(found, tuple) else str(found)
    return fields
