"""One run in memory."""

from __future__ import annotations

from collections.abc import Sequence

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
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from protopact.history.failure import ActivityFailureInfo, Failure
from protopact.payload.payload import Headers, Payloads
from protopact.replay.activation import COMMAND_EVENTS, TERMINAL_EVENTS, group
from protopact.replay.command import Command
from protopact.replay.definition import Definition
from protopact.replay.handlers import Handlers
from protopact.replay.instance import Instance
from protopact.replay.ledger import CalledActivity, Ledger

__all__ = ["Advance", "Execution", "QueryRequest"]

_CORE_FLAGS = (1, 2, 3, 4)
"""Flags of Temporal Core whose rules hold here: ids and types are checked, what closes a run goes last, and others."""


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`temporal.api.query.v1.WorkflowQuery`: the registered name of a query or an alias, and its encoded request."""

    name: str
    args: Payloads = ()
    header: Headers = {}


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks for after it was told events.

    Attributes:
        commands: The answer to the open workflow task, in the order in which it goes into history: every command
            becomes one event, save `RejectUpdate`, which becomes none. At most one command closes the run; it is the
            last but for rejections. Empty without an open task.
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
    """One run in memory: the workflow's coroutines, and how far they have come.

    It does no I/O, reads no clock and starts no thread. Call it from a plain callback, never from inside an asyncio
    task, and from one thread at a time. After any `WorkflowTaskError` the run in memory is of no use: `unwind` it, and
    make a new one from the whole history when the task is tried again.
    """

    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str) -> None:
        """A run of which nothing has happened yet.

        Args:
            definition: The workflow class and what goes with it.
            workflow_id: Id of the workflow.
            run_id: Id of the run.
        """
        self._workflow_id = workflow_id
        self._ledger = Ledger(definition.contract.name, workflow_id, run_id)
        self._instance = Instance(definition, workflow_id=workflow_id, run_id=run_id, ledger=self._ledger)
        self._handlers = Handlers(definition, self._instance)
        self._rest: Sequence[Event] = ()
        self._last_event_id = 0
        self._has_answered = False
        self._is_closed = False

    def advance(self, events: Sequence[Event], *, updates: Sequence[UpdateRequest] = ()) -> Advance:
        """Tell the run what has happened, and take what it asks for.

        Args:
            events: The events since the last call, all of them the first time. They end with the `WorkflowTaskStarted`
                of the task to answer; without it nothing is answered, and what came after the last completed task is
                kept until a task starts.
            updates: Updates that arrived with the open task and are in no event yet. They run after the signals among
                `events`, in this order; their validators run. Each is answered by `AcceptUpdate` or `RejectUpdate`.

        Returns:
            Commands for the open task. They are not remembered as done: they count when they come back as events.

        Raises:
            NondeterminismError: The code does not produce the commands that the history holds.
            HistoryError: The events cannot be: a gap, an unknown type, an event that fits no command.
            WorkflowTaskError: The code raised an exception that fails the task; it is the cause.
        """
        self._check_ids(events)
        groups, self._rest = group([*self._rest, *events] if self._rest else events)
        is_open = False
        for index, each in enumerate(groups):
            following = groups[index + 1] if index + 1 < len(groups) else self._rest
            is_open = not following and isinstance(each[-1].attributes, WorkflowTaskStarted)
            self._apply_commands(each)
            if isinstance(each[-1].attributes, WorkflowTaskStarted):
                self._activate(each, following, updates if is_open else _accepted(following), is_open=is_open)
        if not is_open:
            return Advance(is_closed=self._is_closed)
        instance = self._instance
        core_used_flags = () if self._has_answered else _CORE_FLAGS
        used_flags, instance.used_flags = instance.used_flags - instance.flags, set()
        return Advance(
            commands=self._ledger.outgoing(),
            core_used_flags=core_used_flags,
            lang_used_flags=tuple(sorted(used_flags)),
            is_closed=instance.is_closed,
            unfinished_handlers=instance.unfinished_handlers() if instance.is_closed else (),
        )

    def drop_task(self) -> None:
        """Forget that the last task ever was, because nothing of it goes into history.

        For a task whose only events are its own `WorkflowTaskScheduled` and `WorkflowTaskStarted`, and that answered
        nothing but rejections of updates: the next events begin again at the id of that `WorkflowTaskScheduled`.
        """
        self._last_event_id -= 2

    def query(self, request: QueryRequest) -> Payloads | Failure:
        """Ask the run, in the state after its last activation. Open and closed runs answer; an unwound one does not.

        Returns:
            The encoded answer, or why there is none: unknown name, undecodable request, or what the method raised.
        """
        with self._instance.loop:
            return self._handlers.query(request.name, request.args, request.header)

    def unwind(self) -> None:
        """Let go of the run: its coroutines are closed at once, and whatever they do on their way out has no effect.

        `finally` blocks run; an API of `protopact.workflow` that they call ends them. Idempotent.
        """
        self._instance.unwind()

    def _check_ids(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.event_id != self._last_event_id + 1:
                raise HistoryError(
                    f"the history of workflow {self._workflow_id!r} cannot be: expected event "
                    f"{self._last_event_id + 1}, found event {event.event_id}"
                )
            self._last_event_id = event.event_id

    def _apply_commands(self, events: Sequence[Event]) -> None:
        """Match command events with commands; what the code asked for beyond them is a disagreement."""
        is_answered = False
        for event in events:
            attributes = event.attributes
            kind = type(attributes)
            if kind in COMMAND_EVENTS:
                self._ledger.match(event)
            elif isinstance(attributes, WorkflowTaskCompleted):
                is_answered = self._has_answered = True
                self._instance.flags.update(attributes.lang_used_flags)
            elif isinstance(attributes, WorkflowTaskFailed) and attributes.cause == "RESET_WORKFLOW":
                self._instance.reseed(attributes.new_run_id)
            if kind in TERMINAL_EVENTS:
                self._is_closed = True
        if is_answered and not self._is_closed:
            self._ledger.check_matched()

    def _activate(
        self, events: Sequence[Event], following: Sequence[Event], updates: Sequence[UpdateRequest], *, is_open: bool
    ) -> None:
        """Tell the code what has happened: signals and updates first, then everything else."""
        instance, handlers = self._instance, self._handlers
        for event in following:
            # Flags of the answer to this task are in force while it is worked out again.
            if isinstance(event.attributes, WorkflowTaskCompleted):
                instance.flags.update(event.attributes.lang_used_flags)
                break
        started = events[-1]
        instance.loop.time_ns = max(instance.loop.time_ns, started.event_time)
        instance.replaying = not is_open
        handlers.has_accepted = False
        try:
            with instance.loop:
                self._run(events, updates, is_open=is_open)
        except WorkflowTaskError:
            raise
        except Exception as error:  # of the user's constructor, or of a condition
            if not instance.is_failure(error):
                raise WorkflowTaskError(f"{type(error).__name__}: {error}") from error
            instance.end(error)
        self._ledger.settle()

    def _run(self, events: Sequence[Event], updates: Sequence[UpdateRequest], *, is_open: bool) -> None:
        instance, handlers = self._instance, self._handlers
        signals = [event.attributes for event in events if isinstance(event.attributes, WorkflowExecutionSignaled)]
        others = [event for event in events if isinstance(event.attributes, _OTHERS)]
        began = events[0].attributes if isinstance(events[0].attributes, WorkflowExecutionStarted) else None
        if began is not None:
            instance.begin(began, events[0].event_time)

        def tests_conditions() -> bool:
            # A rejected update leaves nothing in history, so what it let through could not be repeated.
            return handlers.has_accepted or bool(signals or others or began)

        handlers.instantiate()
        for signal in signals:
            handlers.signal(signal)
        for update in updates:
            handlers.update(update, sequencing_event_id=events[-1].event_id - 1, validate=is_open)
        instance.run(tests_conditions)
        if began is not None:
            handlers.start(began)
        for event in others:
            self._apply(event)
        instance.run(tests_conditions)
        while cancelled := self._ledger.take_cancelled():
            for activity in cancelled:
                instance.cancelled_activity(activity)
            instance.run(tests_conditions)

    def _apply(self, event: Event) -> None:
        instance, ledger = self._instance, self._ledger
        match event.attributes:
            case ActivityTaskCompleted() as end:
                if (activity := ledger.end_activity(event, end)) is not None:
                    instance.complete_activity(activity.seq, end.result)
            case ActivityTaskFailed() | ActivityTaskTimedOut() as end:
                if (activity := ledger.end_activity(event, end)) is not None:
                    instance.fail_activity(activity.seq, _activity_failure(activity, end))
            case ActivityTaskCanceled() as end:
                if (activity := ledger.end_activity(event, end)) is not None:
                    instance.cancelled_activity(activity)
            case TimerFired() as fired:
                if (seq := ledger.fire_timer(event, fired)) is not None:
                    instance.fire_timer(seq)
            case _:
                instance.request_cancel()


_OTHERS = (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ActivityTaskCanceled,
    TimerFired,
    WorkflowExecutionCancelRequested,
)
"""Events that the code is told of after signals and updates."""


def _accepted(events: Sequence[Event]) -> Sequence[UpdateRequest]:
    """Updates that the next group accepts: the code is told of them in the activation before."""
    return [
        event.attributes.accepted_request
        for event in events
        if isinstance(event.attributes, WorkflowExecutionUpdateAccepted)
        and event.attributes.accepted_request is not None
    ]


def _activity_failure(activity: CalledActivity, end: ActivityTaskFailed | ActivityTaskTimedOut) -> Failure:
    """As Temporal Core words it."""
    return Failure(
        message="Activity task failed" if isinstance(end, ActivityTaskFailed) else "Activity task timed out",
        cause=end.failure,
        info=ActivityFailureInfo(
            activity_type=activity.command.activity_type,
            activity_id=activity.command.activity_id,
            scheduled_event_id=end.scheduled_event_id,
            started_event_id=end.started_event_id,
            identity=end.identity if isinstance(end, ActivityTaskFailed) else "",
            retry_state=end.retry_state,
        ),
    )
