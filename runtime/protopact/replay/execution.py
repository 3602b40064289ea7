"""One run in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from protopact.errors import HistoryError, WorkflowTaskError
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    Event,
    TimerFired,
    UpdateRequest,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from protopact.history.failure import ActivityFailureInfo, Failure
from protopact.payload.payload import Headers, Payloads
from protopact.replay.command import Command
from protopact.replay.activation import COMMAND_EVENTS, TERMINAL_EVENTS, Activation, group
from protopact.replay.definition import Definition
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger

__all__ = ["Advance", "Execution", "QueryRequest"]


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`temporal.api.query.v1.WorkflowQuery`: the registered name of a query or an alias, and its encoded request."""

    name: str
    args: Payloads = ()
    header: Headers = {}


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks for after it was told events.

    Attributes:
        commands: The answer to the open workflow task, in the order in which it goes into history: every command becomes
            one event, save `RejectUpdate`, which becomes none. At most one command closes the run; it is the last but
            for rejections. Empty without an open task.
        core_used_flags: Flags of Temporal Core to record in this task's `WorkflowTaskCompleted`.
        lang_used_flags: Flags of the Python SDK to record there.
        is_closed: The run has ended: by one of `commands`, or by the last event it was told.
        unfinished_handlers: Names of signal and update handlers that were still running when the run ended; the engine
            warns of them.
    """

    commands: tuple[Command, ...] = ()
    core_used_flags: tuple[int, ...] = ()
    lang_used_flags: tuple[int, ...] = ()
    is_closed: bool = False
    unfinished_handlers: tuple[str, ...] = ()


class Execution:
    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str) -> None:
        self._definition = definition
        self._ledger = Ledger(self._describe)
        self._workflow_id, self._run_id = workflow_id, run_id
        self._instance = Instance(definition, workflow_id=workflow_id, run_id=run_id, ledger=self._ledger)
        self._last_event_id = 0
        self._tail: list[Event] = []
        self._first_completed = False
        self._closed = False
        self._dropped: tuple[int, bool] | None = None

    def _describe(self) -> tuple[str, str, str]:
        return self._definition.contract.name, self._workflow_id, self._run_id

    def advance(self, events: Sequence[Event], *, updates: Sequence[UpdateRequest] = ()) -> Advance:
        all_events = [*self._tail, *events]
        self._tail = []
        self._check_ids(events)
        activations = group(all_events)
        task = False
        for index, activation in enumerate(activations):
            if not activation.is_complete:
                self._tail = list(activation.events)
                break
            last = index == len(activations) - 1
            following = None if last else activations[index + 1]
            opening = activation.events[-1]
            is_task = isinstance(opening.attributes, WorkflowTaskStarted)
            task = last and is_task
            new = list(updates) if task else self._accepted(following)
            self._activate(activation, new, is_task=is_task, live=task)
        if not task:
            return Advance(is_closed=self._closed)
        commands = self._ledger.outgoing()
        first = not self._first_completed
        return Advance(
            commands=commands,
            core_used_flags=(1, 2, 3, 4) if first else (),
            lang_used_flags=(1,) if first else (),
            is_closed=self._instance.is_closed,
            unfinished_handlers=self._instance.unfinished_handlers() if self._instance.is_closed else (),
        )

    def _check_ids(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.event_id != self._last_event_id + 1:
                raise HistoryError(
                    f"the history of workflow {self._workflow_id} has a gap: expected event {self._last_event_id + 1}, found "
                    f"{event.event_id}"
                )
            self._last_event_id = event.event_id

    def _accepted(self, following: Activation | None) -> list[UpdateRequest]:
        if following is None:
            return []
        return [
            event.attributes.accepted_request
            for event in following.events
            if isinstance(event.attributes, WorkflowExecutionUpdateAccepted)
            and event.attributes.accepted_request is not None
        ]

    def _activate(
        self, activation: Activation, updates: Sequence[UpdateRequest], *, is_task: bool, live: bool
    ) -> None:
        instance, ledger = self._instance, self._ledger
        signals: list[WorkflowExecutionSignaled] = []
        others: list[Event] = []
        started: Event | None = None
        for event in activation.events:
            attributes = event.attributes
            kind = type(attributes)
            if kind in COMMAND_EVENTS:
                ledger.match(event)
            elif kind is WorkflowTaskCompleted:
                self._first_completed = True
            elif isinstance(attributes, WorkflowExecutionSignaled):
                signals.append(attributes)
            elif isinstance(attributes, WorkflowExecutionStarted):
                started = event
                instance.initialize(attributes, event.event_time)
            else:
                others.append(event)
            if kind in TERMINAL_EVENTS:
                self._closed = True
        if not is_task:
            return
        while ledger.entries and ledger.entries[0].command is None:
            ledger.entries.popleft()
        if ledger.entries and self._last_is_matched(activation):
            raise ledger.disagree(None, ledger.entries[0].command)
        opening = activation.events[-1]
        instance.loop.time_ns = max(instance.loop.time_ns, opening.event_time)
        instance.replaying = not live
        instance.accepted_any = False
        with instance.loop:
            instance.ensure_object()
            if signals or updates:
                for signal in signals:
                    instance.signal(signal)
                for update in updates:
                    instance.update(update, sequencing_event_id=opening.event_id - 1, validate=live)
                check = bool(signals or others or started) or not live
                instance.run(check_conditions=check or instance.accepted_any)
            if started is not None or others:
                if started is not None:
                    instance.start()
                for event in others:
                    self._apply(event)
                instance.run(check_conditions=True)
            while ledger.cancelled_now:
                activity = ledger.cancelled_now.popleft()
                instance.resolve_activity(
                    activity.seq, failure=instance.cancelled_failure(activity.seq, activity.scheduled_event_id)
                )
                instance.run(check_conditions=True)

    def _last_is_matched(self, activation: Activation) -> bool:
        return any(type(event.attributes) is WorkflowTaskCompleted for event in activation.events)

    def _apply(self, event: Event) -> None:
        instance, ledger = self._instance, self._ledger
        attributes = event.attributes
        if isinstance(attributes, ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled):
            activity = ledger.resolve_activity(event, attributes)
            if activity is None:
                return
            if isinstance(attributes, ActivityTaskCompleted):
                instance.resolve_activity(activity.seq, result=attributes.result)
            elif isinstance(attributes, ActivityTaskCanceled):
                instance.resolve_activity(
                    activity.seq, failure=instance.cancelled_failure(activity.seq, activity.scheduled_event_id)
                )
            else:
                instance.resolve_activity(activity.seq, failure=self._activity_failure(activity, attributes))
        elif isinstance(attributes, TimerFired):
            timer = ledger.fire_timer(event, attributes)
            if timer is not None:
                instance.fire_timer(timer.seq)
        elif isinstance(attributes, WorkflowExecutionCancelRequested):
            instance.cancel()

    def _activity_failure(self, activity: Any, attributes: ActivityTaskFailed | ActivityTaskTimedOut) -> Failure:
        return Failure(
            message="activity error",
            cause=attributes.failure,
            info=ActivityFailureInfo(
                activity_type=activity.schedule.activity_type,
                activity_id=activity.schedule.activity_id,
                scheduled_event_id=attributes.scheduled_event_id,
                started_event_id=attributes.started_event_id,
                retry_state=attributes.retry_state,
            ),
        )

    def drop_task(self) -> None:
        self._last_event_id -= 2

    def query(self, request: QueryRequest) -> Payloads | Failure:
        return self._instance.query(request.name, request.args, request.header)

    def unwind(self) -> None:
        self._instance.unwind()
