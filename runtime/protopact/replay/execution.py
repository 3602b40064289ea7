"""One run in memory."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from protopact.contract import CHANGE_VERSION
from protopact.errors import HistoryError, WorkflowTaskError
from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    Attributes,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    Event,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Ignorable,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    UpdateRequest,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowExecutionUpdateCompleted,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from protopact.history.failure import Failure
from protopact.payload.payload import Payloads
from protopact.replay.activation import COMMAND_EVENTS, group_ends
from protopact.replay.activity import activity_cancelled, activity_failed
from protopact.replay.advance import Advance, QueryRequest
from protopact.replay.child import ChildEnd
from protopact.replay.command import LocalActivityOutcome
from protopact.replay.comparison import Comparer
from protopact.replay.definition import Definition
from protopact.replay.entries import CalledActivity
from protopact.replay.external import cancel_failure, signal_failure
from protopact.replay.handlers import Handlers
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger
from protopact.replay.marker import LOCAL_ACTIVITY, patch_mark
from protopact.replay.report import Stack
from protopact.replay.trace import Trace, TracedLedger, waiting

__all__ = ["Execution"]

_CORE_FLAGS = (1, 2, 3, 4)
"""Flags of Temporal Core whose rules hold here."""

_ANSWERS = COMMAND_EVENTS | {WorkflowTaskCompleted}
"""Events with which the answer of a task stands in history."""

_FORESEEN = (MarkerRecorded, WorkflowExecutionUpdateAccepted)
"""Events of an answer that the code is told of before it gives that answer again."""

_SCHEDULED, _STARTED, _CLOSED = range(3)
"""How far a workflow task is."""

_CHECKS_IDS, _LISTS_PATCHES, _CLOSES_LAST = 1, 2, 3
"""Core's flags: ids and types of activities are compared; a search attribute lists the patches; what ends a run goes
behind its other commands."""


class Execution:
    """One run in memory: the workflow's coroutines, and how far they have come.

    It does no I/O, reads no clock and starts no thread. Call it from a plain callback, never from inside an asyncio
    task, and from one thread at a time. After any `WorkflowTaskError` the run in memory is of no use: `unwind` it, and
    make a new one from the whole history when the task is tried again.
    """

    __slots__ = (
        "_admitted",
        "_context",
        "_core_flags",
        "_handlers",
        "_has_ended",
        "_has_patches",
        "_instance",
        "_jobs",
        "_last_event_id",
        "_ledger",
        "_previous_task",
        "_rest",
        "_rest_done",
        "_signals",
        "_skipped_patch",
        "_task",
        "_trace",
        "_workflow_id",
    )

    def __init__(
        self,
        definition: Definition,
        *,
        workflow_id: str,
        run_id: str,
        comparer: Comparer | None = None,
        trace: Trace | None = None,
    ) -> None:
        """A run of which nothing has happened yet.

        Args:
            definition: The workflow class and what goes with it.
            workflow_id: Id of the workflow.
            run_id: Id of the run.
            comparer: Compares commands with their events in full: strict mode.
            trace: Notes where commands come from; a traced run is for looking at: all of it counts as replay.
        """
        self._workflow_id = workflow_id
        name = definition.contract.name
        self._ledger = (
            Ledger(name, workflow_id, run_id) if trace is None else TracedLedger(name, workflow_id, run_id, trace)
        )
        self._ledger.comparer = comparer
        self._instance = Instance(definition, workflow_id=workflow_id, run_id=run_id, ledger=self._ledger)
        self._instance.encodes_at_once = comparer is not None or trace is not None
        self._trace = trace
        self._handlers = Handlers(definition, self._instance)
        # The code sees none of the context variables of whoever calls: on replay they would be others.
        self._context = contextvars.Context()
        self._core_flags: set[int] = set()
        self._rest: Sequence[Event] = ()
        self._rest_done = 0
        self._last_event_id = 0
        self._task = self._previous_task = (0, _CLOSED)  # the event that scheduled it, and how far it is
        self._has_ended = False
        self._signals: list[WorkflowExecutionSignaled] = []
        self._admitted: dict[str, UpdateRequest] = {}  # of the group that is being applied
        self._has_patches = False
        self._skipped_patch = 0  # marker of a deprecated patch that the code does not ask for any more
        self._jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = []  # of the events that are being applied

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
            HistoryError: The events cannot be: a gap, an event that fits no command.
            WorkflowTaskError: The code raised an exception that fails the task; it is the cause.
        """
        self._check_ids(events)
        if self._rest:
            events = [*self._rest, *events]
        with self._instance.loop:
            is_open = self._context.run(self._replay, events, updates)
        return self._answer() if is_open else Advance(is_closed=self._has_ended)

    def resolve(self, outcome: LocalActivityOutcome) -> Advance:
        """Tell the run, whose task is open, what became of a local activity, and take what it asks for then.

        Raises:
            WorkflowTaskError: As `advance`.
        """
        self._instance.local_activities.resolve(outcome)
        with self._instance.loop:
            self._context.run(self._attempt, self._go_on, is_open=True)
        return self._answer()

    def _answer(self) -> Advance:
        instance, ledger = self._instance, self._ledger
        local_activities = instance.local_activities
        if local_activities.is_waiting and not ledger.is_closed:
            return Advance(
                local_activities=local_activities.take_requests(),
                cancelled_local_activities=local_activities.take_cancelled(),
                is_waiting=True,
            )
        return Advance(
            commands=ledger.outgoing(),
            cancelled_local_activities=local_activities.open,
            core_used_flags=tuple(flag for flag in _CORE_FLAGS if flag not in self._core_flags),
            lang_used_flags=tuple(sorted(instance.used_flags - instance.flags)),
            is_closed=ledger.is_closed,
            unfinished_handlers=instance.unfinished_handlers() if ledger.is_closed else (),
            unread_signals=self._handlers.unread_signals() if ledger.is_closed else (),
        )

    def drop_task(self) -> None:
        """Forget that the last task ever was, because nothing of it goes into history.

        For a task whose only events are its own `WorkflowTaskScheduled` and `WorkflowTaskStarted`, and that answered
        nothing but rejections of updates: the next events begin again at the id of that `WorkflowTaskScheduled`.
        """
        self._last_event_id -= 2
        self._task = self._previous_task

    def query(self, request: QueryRequest) -> Payloads | Failure:
        """Ask the run, in the state after its last activation. Open and closed runs answer; an unwound one does not.

        Returns:
            The encoded answer, or why there is none: unknown name, undecodable request, or what the method raised.
        """
        with self._instance.loop:
            return self._context.run(self._handlers.query, request.name, request.args, request.header)

    def waiting(self) -> list[Stack]:
        """Where the run's coroutines wait, the first one first."""
        return list(waiting(self._instance.loop))

    def unwind(self) -> None:
        """Let go of the run: its coroutines are closed at once, and whatever they do on their way out has no effect.

        `finally` blocks run; an API of `protopact.workflow` that they call ends them. Idempotent.
        """
        self._instance.unwind()

    # -- groups of events

    def _check_ids(self, events: Sequence[Event]) -> None:
        expected = self._last_event_id
        for event in events:
            expected += 1
            if event.event_id != expected:
                raise HistoryError(
                    f"the history of workflow {self._workflow_id!r} cannot be: expected event {expected}, found event "
                    f"{event.event_id}"
                )
        self._last_event_id = expected

    def _replay(self, events: Sequence[Event], updates: Sequence[UpdateRequest]) -> bool:
        """Apply the groups of events, one activation each, and keep the rest; whether a task is open now."""
        count, begin, is_open = len(events), 0, False
        ends, done = group_ends(events, has_updates=bool(updates)), self._rest_done
        for index, end in enumerate(ends):
            last, following = events[end], end + 1
            if following < count and type(answer := events[following].attributes) is WorkflowTaskCompleted:
                self._read_flags(answer)  # they are in force while the answer is worked out again
            self._ledger.checks_ids = following == count or _CHECKS_IDS in self._core_flags
            self._apply(events, max(begin, done), following)
            if type(last.attributes) is WorkflowTaskStarted:
                is_open = following == count
                self._start_task_of_code(last, is_open=is_open)
                if is_open and self._trace is not None and self._trace.foreseen:
                    foreseen, self._trace.foreseen = self._trace.foreseen, ()
                    self._activate(last, self._look_ahead(foreseen, 0, len(foreseen)), is_open=True)
                elif is_open:
                    self._activate(last, [*self._admitted.values(), *updates], is_open=True)
                else:
                    answer_end = ends[index + 1] + 1 if index + 1 < len(ends) else count
                    self._activate(last, self._look_ahead(events, following, answer_end), is_open=False)
            self._admitted.clear()
            begin = following
        # What the code has already answered is compared now, and stays with what comes for the next task.
        self._ledger.checks_ids = True
        answered = begin
        while answered < count and type(events[answered].attributes) in _ANSWERS:
            answered += 1
        self._apply(events, max(begin, done), answered)
        self._rest, self._rest_done = events[begin:], answered - begin
        return is_open

    def _look_ahead(self, events: Sequence[Event], begin: int, end: int) -> Sequence[UpdateRequest]:
        """Read in the next group what the code was told in the activation before, and return the updates of it."""
        accepted: list[UpdateRequest] = []
        for index in range(begin, end):
            attributes = events[index].attributes
            kind = type(attributes)
            if kind not in _FORESEEN:
                continue
            if isinstance(attributes, WorkflowExecutionUpdateAccepted):
                # As in Temporal Core, what the group before admitted is told as it was admitted.
                admitted = self._admitted.get(attributes.protocol_instance_id)
                request = attributes.accepted_request if admitted is None else admitted
                if request is None:
                    raise self._impossible(events[index], "holds no request, and none was admitted before it")
                accepted.append(request)
            elif isinstance(attributes, MarkerRecorded):
                patch = patch_mark(attributes)
                if patch is not None:
                    self._instance.patches.foresee(patch.id)
                    self._has_patches = True
                elif attributes.marker_name == LOCAL_ACTIVITY:
                    self._instance.local_activities.foresee(events[index], attributes)
        return accepted

    def _apply(self, events: Sequence[Event], begin: int, end: int) -> None:
        applies = self._APPLY
        for position in range(begin, end):
            event = events[position]
            apply = applies[type(event.attributes)]
            if apply is not None:
                apply(self, event, event.attributes)

    def _start_task_of_code(self, started: Event, *, is_open: bool) -> None:
        is_open = is_open and self._trace is None  # nothing of a traced run is new
        instance = self._instance
        if type(started.attributes) is WorkflowTaskStarted:
            instance.begin_task(started.event_id, started.attributes)
        instance.loop.time_ns = max(instance.loop.time_ns, started.event_time)
        instance.loop.is_replaying = not is_open
        instance.local_activities.begin_task(is_open=is_open)

    def _activate(self, started: Event, updates: Sequence[UpdateRequest], *, is_open: bool) -> None:
        """Tell the code what has happened: signals and updates first, then everything else."""
        is_open = is_open and self._trace is None
        instance = self._instance
        # A rejected update leaves nothing in history, so what it let through could not be repeated.
        told_first = bool(self._signals or self._jobs or self._has_patches)
        instance.local_activities.release(is_idle=not (told_first or updates or instance.local_activities.ended))
        self._jobs += [(instance.activities.end_local, ended) for ended in instance.local_activities.take_ended()]
        instance.tests_conditions = told_first or bool(self._jobs)
        if instance.tests_conditions or updates:
            instance.local_activities.count_activation()
        instance.patches.lists_patches = is_open or _LISTS_PATCHES in self._core_flags

        def step(*, is_open: bool) -> None:
            self._run_jobs(updates, started.event_id - 1, is_open=is_open)
            self._settle(is_open=is_open)
            self._go_on(is_open=is_open)

        try:
            self._attempt(step, is_open=is_open)
        finally:
            self._signals, self._jobs, self._has_patches = [], [], False

    def _go_on(self, *, is_open: bool) -> None:
        """Tell the code, in activations of their own, what follows from what it has asked for."""
        instance, ledger = self._instance, self._ledger
        local_activities = instance.local_activities
        while True:
            local_activities.release()
            local_activities.release(is_idle=not (ledger.cancelled or local_activities.ended))
            cancelled, ended = ledger.cancelled, local_activities.take_ended()
            if not (cancelled or ended):
                return
            ledger.cancelled = []
            local_activities.count_activation()
            instance.tests_conditions = True
            for each in cancelled:
                if isinstance(each, CalledActivity):
                    instance.activities.fail(each, activity_cancelled(each, ActivityTaskCanceled()))
                else:
                    each.tell_cancelled()
            for called, end in ended:
                instance.activities.end_local(called, end)
            instance.run()
            self._settle(is_open=is_open)

    def _attempt(self, step: Callable[..., None], *, is_open: bool) -> None:
        """Let the code run; what it raises fails the run or the task."""
        instance = self._instance
        try:
            step(is_open=is_open)
        except WorkflowTaskError:
            raise
        except (Exception, SystemExit) as error:  # of the constructor, of a condition, or of what cannot be decoded
            if not instance.is_failure(error):
                # It is told before its marker comes, so that the code may fail to read what is another one's.
                mistaken = instance.local_activities.mistaken()
                if mistaken is not None:
                    raise mistaken from error
                raise WorkflowTaskError(f"{type(error).__name__}: {error}") from error
            instance.fail(error)
            self._settle(is_open=is_open)

    def _run_jobs(self, updates: Sequence[UpdateRequest], sequencing_event_id: int, *, is_open: bool) -> None:
        handlers, run = self._handlers, self._instance.run
        if self._has_patches:
            handlers.instantiate()
            run(tests_conditions=False)
        if self._signals or updates:
            for signal in self._signals:
                handlers.signal(signal)
            for update in updates:
                handlers.update(update, sequencing_event_id=sequencing_event_id, validate=is_open)
            handlers.instantiate()
            run()
        if self._jobs:
            for job, arguments in self._jobs:
                job(*arguments)
            handlers.instantiate()
            run()

    def _settle(self, *, is_open: bool) -> None:
        self._ledger.settle(is_cut=not is_open and _CLOSES_LAST not in self._core_flags)

    # -- events

    def _read_flags(self, completed: WorkflowTaskCompleted) -> None:
        if completed.core_used_flags:
            self._core_flags.update(completed.core_used_flags)
            self._instance.local_activities.checks_ids = _CHECKS_IDS in self._core_flags
        if completed.lang_used_flags:
            self._instance.flags.update(completed.lang_used_flags)

    def _begin(self, event: Event, started: WorkflowExecutionStarted) -> None:
        self._instance.begin(started, event.event_time)
        if self._ledger.comparer is not None:
            self._ledger.comparer.begin(started)
        self._handlers.begin(started)
        self._jobs.append((self._handlers.start, ()))

    def _schedule_task(self, event: Event, _: WorkflowTaskScheduled) -> None:
        self._previous_task, self._task = self._task, (event.event_id, _SCHEDULED)

    def _start_task(self, event: Event, started: WorkflowTaskStarted) -> None:
        if self._task != (started.scheduled_event_id, _SCHEDULED):
            raise self._impossible(event, "starts a task that does not wait")
        self._task = (started.scheduled_event_id, _STARTED)

    def _close_task(
        self, event: Event, task: WorkflowTaskCompleted | WorkflowTaskFailed | WorkflowTaskTimedOut
    ) -> None:
        scheduled, state = self._task
        if scheduled != task.scheduled_event_id or (state != _STARTED and type(task) is not WorkflowTaskTimedOut):
            raise self._impossible(event, "is the end of a task that has not started")
        self._task = (scheduled, _CLOSED)

    def _complete_task(self, event: Event, completed: WorkflowTaskCompleted) -> None:
        self._close_task(event, completed)
        self._read_flags(completed)

    def _fail_task(self, event: Event, failed: WorkflowTaskFailed) -> None:
        self._close_task(event, failed)
        if failed.cause == "RESET_WORKFLOW":
            # Behind the start, before everything else.
            place = 1 if self._jobs and self._jobs[0][0] == self._handlers.start else 0
            self._jobs.insert(place, (self._instance.reseed, (failed.new_run_id,)))

    def _signal(self, _: Event, signal: WorkflowExecutionSignaled) -> None:
        self._signals.append(signal)

    def _request_cancel(self, _event: Event, _: WorkflowExecutionCancelRequested) -> None:
        self._jobs.append((self._instance.request_cancel, ()))

    def _admit(self, _: Event, admitted: WorkflowExecutionUpdateAdmitted) -> None:
        if admitted.request is not None:
            self._admitted[admitted.request.update_id] = admitted.request

    def _match(self, event: Event, _: object) -> None:
        self._ledger.match(event)

    def _match_marker(self, event: Event, marker: MarkerRecorded) -> None:
        patch = patch_mark(marker)
        if patch is None:
            is_local = marker.marker_name == LOCAL_ACTIVITY
            if not (is_local and self._instance.local_activities.take_marker(event, marker)):
                self._ledger.match(event)
        elif not self._ledger.match_patch(event, patch):
            self._skipped_patch = event.event_id

    def _match_search_attributes(self, event: Event, upserted: UpsertWorkflowSearchAttributes) -> None:
        if self._skipped_patch != event.event_id - 1 or CHANGE_VERSION not in upserted.search_attributes:
            self._ledger.match(event)

    def _match_end(self, event: Event, _: object) -> None:
        self._ledger.match(event)
        self._has_ended = True

    def _end(self, event: Event, _: object) -> None:
        if event.event_id != self._last_event_id:
            raise self._impossible(event, "is not the last")
        self._has_ended = True

    def _start_activity(self, event: Event, started: ActivityTaskStarted) -> None:
        self._ledger.start_activity(event, started.scheduled_event_id)

    def _complete_activity(self, event: Event, end: ActivityTaskCompleted) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self._jobs.append((self._instance.activities.complete, (activity, end.result)))

    def _fail_activity(self, event: Event, end: ActivityTaskFailed | ActivityTaskTimedOut) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self._jobs.append((self._instance.activities.fail, (activity, activity_failed(activity, end))))

    def _cancel_activity(self, event: Event, end: ActivityTaskCanceled) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self._jobs.append((self._instance.activities.fail, (activity, activity_cancelled(activity, end))))

    def _fire_timer(self, event: Event, fired: TimerFired) -> None:
        self._jobs.append((self._instance.fire_timer, (self._ledger.fire_timer(event, fired),)))

    def _start_child(self, event: Event, started: ChildWorkflowExecutionStarted) -> None:
        child = self._instance.children.at(event, started.initiated_event_id)
        if child.has_started(event, started):
            self._jobs.append((child.start.complete, (None,)))

    def _fail_child_start(self, event: Event, failed: StartChildWorkflowExecutionFailed) -> None:
        child = self._instance.children.at(event, failed.initiated_event_id)
        if child.has_failed_to_start(event):
            self._jobs.append((child.refuse, (failed.cause,)))
        del self._instance.children.open[failed.initiated_event_id]

    def _end_child(self, event: Event, end: ChildEnd) -> None:
        child = self._instance.children.at(event, end.initiated_event_id)
        if child.has_ended(event):
            if isinstance(end, ChildWorkflowExecutionCompleted):
                self._jobs.append((child.complete, (end.result,)))
            else:
                self._jobs.append((child.fail, (child.end_failure(end),)))
        del self._instance.children.open[end.initiated_event_id]

    def _answer_external(
        self, event: Event, answer: ExternalWorkflowExecutionSignaled | ExternalWorkflowExecutionCancelRequested
    ) -> None:
        self._resolve_external(event, answer.initiated_event_id, None)

    def _fail_signal(self, event: Event, failed: SignalExternalWorkflowExecutionFailed) -> None:
        self._resolve_external(event, failed.initiated_event_id, signal_failure(failed))

    def _fail_cancel(self, event: Event, failed: RequestCancelExternalWorkflowExecutionFailed) -> None:
        self._resolve_external(event, failed.initiated_event_id, cancel_failure(failed))

    def _resolve_external(self, event: Event, initiated_event_id: int, failure: Failure | None) -> None:
        job = self._instance.externals.answer(event, initiated_event_id, failure)
        if job is not None:
            self._jobs.append((job, ()))

    def _impossible(self, event: Event, why: str) -> HistoryError:
        return HistoryError(
            f"the history of workflow {self._workflow_id!r} cannot be: event {event.event_id}, "
            f"{type(event.attributes).__name__}, {why}"
        )

    _APPLY: ClassVar[Mapping[type[Attributes], Callable[..., None] | None]] = {  # each takes its own type of event
        WorkflowExecutionStarted: _begin,
        WorkflowExecutionCompleted: _match_end,
        WorkflowExecutionFailed: _match_end,
        WorkflowExecutionCanceled: _match_end,
        WorkflowExecutionTimedOut: _end,
        WorkflowExecutionTerminated: _end,
        WorkflowExecutionSignaled: _signal,
        WorkflowExecutionCancelRequested: _request_cancel,
        WorkflowExecutionUpdateAdmitted: _admit,
        WorkflowExecutionUpdateAccepted: _match,
        WorkflowExecutionUpdateCompleted: _match,
        WorkflowTaskScheduled: _schedule_task,
        WorkflowTaskStarted: _start_task,
        WorkflowTaskCompleted: _complete_task,
        WorkflowTaskFailed: _fail_task,
        WorkflowTaskTimedOut: _close_task,
        ActivityTaskScheduled: _match,
        ActivityTaskStarted: _start_activity,
        ActivityTaskCompleted: _complete_activity,
        ActivityTaskFailed: _fail_activity,
        ActivityTaskTimedOut: _fail_activity,
        ActivityTaskCancelRequested: _match,
        ActivityTaskCanceled: _cancel_activity,
        TimerStarted: _match,
        TimerFired: _fire_timer,
        TimerCanceled: _match,
        WorkflowExecutionContinuedAsNew: _match_end,
        MarkerRecorded: _match_marker,
        UpsertWorkflowSearchAttributes: _match_search_attributes,
        WorkflowPropertiesModified: _match,
        StartChildWorkflowExecutionInitiated: _match,
        StartChildWorkflowExecutionFailed: _fail_child_start,
        ChildWorkflowExecutionStarted: _start_child,
        ChildWorkflowExecutionCompleted: _end_child,
        ChildWorkflowExecutionFailed: _end_child,
        ChildWorkflowExecutionCanceled: _end_child,
        ChildWorkflowExecutionTimedOut: _end_child,
        ChildWorkflowExecutionTerminated: _end_child,
        SignalExternalWorkflowExecutionInitiated: _match,
        SignalExternalWorkflowExecutionFailed: _fail_signal,
        ExternalWorkflowExecutionSignaled: _answer_external,
        RequestCancelExternalWorkflowExecutionInitiated: _match,
        RequestCancelExternalWorkflowExecutionFailed: _fail_cancel,
        ExternalWorkflowExecutionCancelRequested: _answer_external,
        Ignorable: None,
    }
    """What each type of event does."""
