"""What the code would do from where it left its history, with the rest of the history as far as it fits.

The run goes on as if its own commands had been taken. Calls that the rest of the history holds end as they ended there,
in that order; signals come as they came; a call that the history does not hold returns an empty message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from protopact import contract
from protopact.errors import PayloadError, WorkflowTaskError
from protopact.history import event as ev
from protopact.history.time import Timestamp
from protopact.payload.payload import Payloads
from protopact.replay import command as cmd
from protopact.replay.activation import COMMAND_EVENTS, TERMINAL_EVENTS
from protopact.replay.advance import Advance
from protopact.replay.call import CLOSINGS, Call, called_by_code, called_in_history, event_type
from protopact.replay.child import Child
from protopact.replay.definition import Definition
from protopact.replay.entries import CalledActivity, Entry, StartedTimer
from protopact.replay.execution import Execution
from protopact.replay.reader import Reader
from protopact.replay.trace import Trace

__all__ = ["Conjecture"]

_MAX_CALLS = 200
_MAX_TASKS = 100
_TASK_EVENTS = (
    ev.WorkflowTaskScheduled,
    ev.WorkflowTaskStarted,
    ev.WorkflowTaskCompleted,
    ev.WorkflowTaskFailed,
    ev.WorkflowTaskTimedOut,
)


class Conjecture:
    """A run that goes on without its history.

    Args:
        definition: The workflow class.
        workflow_id: Id of the workflow.
        run_id: The run.
        events: The whole history.
        begin: Index of the `WorkflowTaskStarted` from which on it goes its own way.
        reader: Puts payloads into words.

    Attributes:
        recorded: The calls that the history holds from there on.
        calls: The calls that the code makes from there on.
    """

    def __init__(
        self,
        definition: Definition,
        *,
        workflow_id: str,
        run_id: str,
        events: Sequence[ev.Event],
        begin: int,
        reader: Reader,
    ) -> None:
        rest = events[begin + 1 :]
        self.recorded = [called_in_history(each, reader) for each in rest if type(each.attributes) in COMMAND_EVENTS]
        self.calls: list[Call] = []
        self._definition = definition
        self._reader = reader
        accepted = [each for each in _answer(rest) if isinstance(each.attributes, ev.WorkflowExecutionUpdateAccepted)]
        markers = [each for each in rest if isinstance(each.attributes, ev.MarkerRecorded)]
        self._trace = Trace(foreseen=[*accepted, *markers])
        self._run = Execution(definition, workflow_id=workflow_id, run_id=run_id, trace=self._trace)
        self._told = events[: begin + 1]
        before = (called_in_history(each, reader) for each in self._told if type(each.attributes) is ev.MarkerRecorded)
        self._ended = {each.id for each in before if each.is_local_activity}  # local activities
        self._script = deque(each for each in rest if type(each.attributes) not in COMMAND_EVENTS | TERMINAL_EVENTS)
        self._deferred: list[ev.Event] = []
        self._open = list(self.recorded)
        self._ids: dict[int, int] = {}  # from an event of the history to the same of the conjecture
        self._timer_ids: dict[int, str] = {}
        self._unknown: list[tuple[int, Entry]] = []
        self._last_id = self._told[-1].event_id
        self._now = self._told[-1].event_time
        self._task = self._last_id - 1, self._last_id
        self._new: list[ev.Event] = []

    def go(self, groups: int) -> Generator[None]:
        """Let it go on, until it ends, waits for what does not come, or has called often enough.

        Args:
            groups: Activations of one step; each step is to be called as `Execution.advance` is.
        """
        try:
            advance = yield from self._run.advance_in_steps(self._told, groups=groups)
            for count in range(1, _MAX_TASKS + 1):
                if self._take(advance) or not self._deliver():
                    break
                advance = self._run.advance(self._next_task())
                if count % groups == 0:
                    yield
        except (WorkflowTaskError, PayloadError):
            pass  # what it made of values that are not its own tells nothing more
        finally:
            self._run.unwind()

    def _put(self, attributes: ev.Attributes, at: Timestamp | None = None) -> int:
        self._last_id += 1
        self._now = max(self._now, at or self._now)
        self._new.append(ev.Event(self._last_id, self._now, attributes))
        return self._last_id

    def _next_task(self) -> list[ev.Event]:
        scheduled = self._put(ev.WorkflowTaskScheduled())
        self._task = scheduled, self._put(ev.WorkflowTaskStarted(scheduled_event_id=scheduled))
        new, self._new = self._new, []
        return new

    # -- what the code asks for

    def _take(self, advance: Advance) -> bool:
        """Turn commands into events; whether it is enough."""
        scheduled, started = self._task
        self._put(ev.WorkflowTaskCompleted(scheduled_event_id=scheduled, started_event_id=started))
        for called in self._trace.take_local_activities():
            name, call_id = called.activity.name, called.activity_id
            if call_id in self._ended:
                continue
            self.calls.append(Call(kind=ev.MarkerRecorded, name=name, id=call_id, stack=self._trace.stack(called)))
        for entry, command in self._trace.outgoing:
            call = called_by_code(command, self._trace.stack(entry), self._reader)
            kind = event_type(command)
            assert call is not None
            assert kind is not None
            self.calls.append(call)
            if kind in CLOSINGS or len(self.calls) >= _MAX_CALLS:
                return True
            self._match(call, entry, self._put(_become(kind, command)))
        return advance.is_closed

    def _match(self, call: Call, entry: Entry, event_id: int) -> None:
        """Find the call in what the history holds."""
        if isinstance(entry, StartedTimer):
            self._timer_ids[event_id] = entry.timer_id
        found = next((each for each in self._open if each.signature == call.signature), None)
        if found is None:
            found = next((each for each in self._open if each.key == call.key), None)
        if found is None:
            self._unknown.append((event_id, entry))
        else:
            self._open.remove(found)
            self._ids[found.event_id] = event_id

    # -- what happens

    def _deliver(self) -> bool:
        """Let happen what comes next; whether anything did."""
        unknown, self._unknown = self._unknown, []
        happened = [self._end(event_id, entry) for event_id, entry in unknown]
        deferred, self._deferred = self._deferred, []
        happened += [self._happen(event) for event in deferred]
        while self._script and not any(happened):
            while self._script:
                event = self._script.popleft()
                if isinstance(event.attributes, ev.WorkflowTaskStarted):
                    break
                happened.append(not isinstance(event.attributes, _TASK_EVENTS) and self._happen(event))
        return any(happened)

    def _happen(self, event: ev.Event) -> bool:
        """Let an event of the history happen, if the code has called what it is of; otherwise it waits until then."""
        attributes = event.attributes
        cause = _cause(attributes)
        if cause and cause not in self._ids:
            self._deferred.append(event)
            return False
        changes: dict[str, object] = {}
        for each in msgspec.structs.fields(type(attributes)):
            value = getattr(attributes, each.name)
            if each.name.endswith("_event_id") and value in self._ids:
                changes[each.name] = self._ids[value]
        if isinstance(attributes, ev.TimerFired):
            timer_id = self._timer_ids.get(self._ids[cause])
            if timer_id is None:
                return False  # the history is damaged: what fires is no timer
            changes["timer_id"] = timer_id
        self._ids[event.event_id] = self._put(msgspec.structs.replace(attributes, **changes), event.event_time)
        return True

    def _end(self, event_id: int, entry: Entry) -> bool:
        """Let something end that the history does not hold."""
        if isinstance(entry, StartedTimer):
            self._put(ev.TimerFired(timer_id=entry.timer_id, started_event_id=event_id))
        elif isinstance(entry, CalledActivity):
            started = self._put(ev.ActivityTaskStarted(scheduled_event_id=event_id, attempt=1))
            result = self._nothing(entry.activity.response)
            self._put(ev.ActivityTaskCompleted(scheduled_event_id=event_id, started_event_id=started, result=result))
        elif isinstance(entry, Child):
            begun = ev.ChildWorkflowExecutionStarted(
                initiated_event_id=event_id,
                workflow_id=entry.workflow_id,
                workflow_type=entry.workflow.name,
                run_id="conjectured",
            )
            ended = ev.ChildWorkflowExecutionCompleted(
                initiated_event_id=event_id,
                started_event_id=self._put(begun),
                workflow_id=begun.workflow_id,
                workflow_type=begun.workflow_type,
                run_id=begun.run_id,
                result=self._nothing(entry.workflow.response),
            )
            self._put(ended)
        elif entry.becomes is ev.SignalExternalWorkflowExecutionInitiated:
            self._put(ev.ExternalWorkflowExecutionSignaled(initiated_event_id=event_id))
        elif entry.becomes is ev.RequestCancelExternalWorkflowExecutionInitiated:
            self._put(ev.ExternalWorkflowExecutionCancelRequested(initiated_event_id=event_id))
        else:
            return False
        return True

    def _nothing(self, response: contract.Message[Any]) -> Payloads:
        """An empty message."""
        return self._definition.converter.to_payloads(response, response.type())


def _answer(rest: Sequence[ev.Event]) -> Sequence[ev.Event]:
    """The commands of the first answer."""
    end = 1
    while end < len(rest) and type(rest[end].attributes) in COMMAND_EVENTS:
        end += 1
    return rest[1:end]


def _become(kind: type[ev.Attributes], command: cmd.Command) -> ev.Attributes:
    """The event that a command becomes."""
    if isinstance(command, cmd.AcceptUpdate):
        return ev.WorkflowExecutionUpdateAccepted(
            protocol_instance_id=command.request.update_id,
            accepted_request_message_id=f"{command.request.update_id}/request",
            accepted_request_sequencing_event_id=command.sequencing_event_id,
            accepted_request=command.request,
        )
    names = {each.name for each in msgspec.structs.fields(kind)}
    fields = {each.name for each in msgspec.structs.fields(type(command))} & names
    return kind(**{name: getattr(command, name) for name in fields})


def _cause(attributes: ev.Attributes) -> int:
    """The event of what was called that an event is of; 0 for what comes from outside."""
    for name in ("scheduled_event_id", "initiated_event_id"):
        if hasattr(attributes, name):
            return int(getattr(attributes, name))
    return attributes.started_event_id if isinstance(attributes, ev.TimerFired) else 0
