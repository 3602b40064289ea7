"""What each event does to a run: the machines of Temporal Core's `workflow_machines.rs`, and jobs for the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from protopact.contract import CHANGE_VERSION
from protopact.errors import HistoryError
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
from protopact.replay.activity import activity_cancelled, activity_failed
from protopact.replay.child import ChildEnd
from protopact.replay.external import cancel_failure, signal_failure
from protopact.replay.handlers import Handlers
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger
from protopact.replay.marker import LOCAL_ACTIVITY, patch_mark

__all__ = ["Machines"]

_FORESEEN = frozenset({MarkerRecorded, WorkflowExecutionUpdateAccepted})
"""Events of an answer that the code is told of before it gives that answer again."""

_SCHEDULED, _STARTED, _CLOSED = range(3)
"""How far a workflow task is."""

_CHECKS_IDS, _LISTS_PATCHES, _CLOSES_LAST = 1, 2, 3
"""Core's flags."""


class Machines:
    """How far history has brought everything that a run has asked for, and what the code is told of it next.

    Args:
        workflow_id: Id of the workflow.
        ledger: What the code has asked for.
        instance: The run's code.
        handlers: The methods of the workflow class.

    Attributes:
        jobs: What the code is told in the activation to come, behind signals and updates.
        signals: Signals of the activation to come.
        has_patches: Whether patches are announced in the activation to come.
        admitted: Updates that the group of events being applied has admitted, by id.
        core_flags: Flags of Temporal Core that history has recorded.
        has_ended: Whether history has the run's end.
    """

    __slots__ = (
        "_handlers",
        "_instance",
        "_last_event_id",
        "_ledger",
        "_previous_task",
        "_skipped_patch",
        "_task",
        "_workflow_id",
        "admitted",
        "core_flags",
        "has_ended",
        "has_patches",
        "jobs",
        "signals",
    )

    def __init__(self, workflow_id: str, ledger: Ledger, instance: Instance, handlers: Handlers) -> None:
        self.jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.signals: list[WorkflowExecutionSignaled] = []
        self.has_patches = False
        self.admitted: dict[str, UpdateRequest] = {}
        self.core_flags: set[int] = set()
        self.has_ended = False
        self._workflow_id = workflow_id
        self._ledger = ledger
        self._instance = instance
        self._handlers = handlers
        self._last_event_id = 0
        self._task = self._previous_task = (0, _CLOSED)  # the event that scheduled it, and how far it is
        self._skipped_patch = 0  # marker of a deprecated patch that the code does not ask for any more

    @property
    def checks_ids(self) -> bool:
        """Whether ids and types of activities and children are compared."""
        return _CHECKS_IDS in self.core_flags

    @property
    def lists_patches(self) -> bool:
        """Whether a search attribute lists the patches."""
        return _LISTS_PATCHES in self.core_flags

    @property
    def closes_last(self) -> bool:
        """Whether what ends a run goes behind its other commands."""
        return _CLOSES_LAST in self.core_flags

    @property
    def awaits_start(self) -> bool:
        """Whether the code has not been told that the run has begun."""
        return any(job == self._handlers.start for job, _ in self.jobs)

    def forget_jobs(self) -> None:
        """The code has been told."""
        self.signals, self.jobs, self.has_patches = [], [], False

    def drop_task(self) -> None:
        """Forget the last task and its two events; see `Execution.drop_task`."""
        self._last_event_id -= 2
        self._task = self._previous_task

    def check_ids(self, events: Sequence[Event]) -> None:
        """Take note of the events that have come since the last call.

        Raises:
            HistoryError: One is missing.
        """
        last = self._last_event_id + len(events)
        expected, found = range(self._last_event_id + 1, last + 1), [event.event_id for event in events]
        if found != list(expected):
            wanted, instead = next(pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1])
            raise HistoryError(
                f"the history of workflow {self._workflow_id!r} cannot be: expected event {wanted}, found event "
                f"{instead}"
            )
        self._last_event_id = last

    def look_ahead(self, events: Sequence[Event], begin: int, end: int) -> Sequence[UpdateRequest]:
        """Read in the next group what the code was told in the activation before, and return the updates of it."""
        accepted: list[UpdateRequest] = []
        for event in [each for each in events[begin:end] if type(each.attributes) in _FORESEEN]:
            attributes = event.attributes
            if isinstance(attributes, WorkflowExecutionUpdateAccepted):
                # As in Temporal Core, what the group before admitted is told as it was admitted.
                admitted = self.admitted.get(attributes.protocol_instance_id)
                request = attributes.accepted_request if admitted is None else admitted
                if request is None:
                    raise self._ledger.impossible(event, "holds no request, and none was admitted before it")
                accepted.append(request)
            elif isinstance(attributes, MarkerRecorded):
                patch = patch_mark(attributes)
                if patch is not None:
                    self._instance.patches.foresee(patch.id)
                    self.has_patches = True
                elif attributes.marker_name == LOCAL_ACTIVITY:
                    self._instance.local_activities.foresee(event, attributes)
        return accepted

    def check_rest(self, events: Sequence[Event]) -> None:
        """What stands behind the end of the run does not count; Temporal Core is stuck if it would be told of ahead.

        Raises:
            HistoryError: There is such an event.
        """
        for event in events:
            if type(event.attributes) in _FORESEEN:
                raise self._ledger.impossible(event, "stands behind the end of its run")

    def apply(self, events: Sequence[Event], begin: int, end: int) -> None:
        """Apply `events[begin:end]`."""
        applies = self._APPLY
        for event in events[begin:end]:
            attributes = event.attributes
            applies[type(attributes)](self, event, attributes)

    # -- one event each

    def read_flags(self, completed: WorkflowTaskCompleted) -> None:
        """The flags of a task are in force."""
        if completed.core_used_flags:
            self.core_flags.update(completed.core_used_flags)
            self._instance.local_activities.checks_ids = self.checks_ids
        if completed.lang_used_flags:
            self._instance.flags.update(completed.lang_used_flags)

    def _begin(self, event: Event, started: WorkflowExecutionStarted) -> None:
        self._instance.begin(started, event.event_time)
        if self._ledger.comparer is not None:
            self._ledger.comparer.begin(started)
        self._handlers.begin(started)
        self.jobs.append((self._handlers.start, ()))

    def _schedule_task(self, event: Event, _: WorkflowTaskScheduled) -> None:
        self._previous_task, self._task = self._task, (event.event_id, _SCHEDULED)

    def _start_task(self, event: Event, started: WorkflowTaskStarted) -> None:
        if self._task != (started.scheduled_event_id, _SCHEDULED):
            raise self._ledger.impossible(event, "starts a task that does not wait")
        self._task = (started.scheduled_event_id, _STARTED)

    def _close_task(
        self, event: Event, task: WorkflowTaskCompleted | WorkflowTaskFailed | WorkflowTaskTimedOut
    ) -> None:
        scheduled, state = self._task
        if scheduled != task.scheduled_event_id or (state != _STARTED and type(task) is not WorkflowTaskTimedOut):
            raise self._ledger.impossible(event, "is the end of a task that has not started")
        self._task = (scheduled, _CLOSED)

    def _complete_task(self, event: Event, completed: WorkflowTaskCompleted) -> None:
        self._close_task(event, completed)
        self.read_flags(completed)

    def _fail_task(self, event: Event, failed: WorkflowTaskFailed) -> None:
        self._close_task(event, failed)
        if failed.cause == "RESET_WORKFLOW":
            # Behind the start and earlier resets, before everything else.
            place = sum(job in (self._handlers.start, self._instance.reseed) for job, _ in self.jobs)
            self.jobs.insert(place, (self._instance.reseed, (failed.new_run_id,)))

    def _signal(self, _: Event, signal: WorkflowExecutionSignaled) -> None:
        self.signals.append(signal)

    def _request_cancel(self, _event: Event, _: WorkflowExecutionCancelRequested) -> None:
        self.jobs.append((self._instance.request_cancel, ()))

    def _admit(self, _: Event, admitted: WorkflowExecutionUpdateAdmitted) -> None:
        if admitted.request is not None:
            self.admitted[admitted.request.update_id] = admitted.request

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
        self.has_ended = True

    def _ignore(self, _event: Event, _: object) -> None:
        pass

    def _end(self, event: Event, _: object) -> None:
        if event.event_id != self._last_event_id:
            raise self._ledger.impossible(event, "is not the last")
        self.has_ended = True

    def _start_activity(self, event: Event, started: ActivityTaskStarted) -> None:
        self._ledger.start_activity(event, started.scheduled_event_id)

    def _complete_activity(self, event: Event, end: ActivityTaskCompleted) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self.jobs.append((self._instance.activities.complete, (activity, end.result)))

    def _fail_activity(self, event: Event, end: ActivityTaskFailed | ActivityTaskTimedOut) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self.jobs.append((self._instance.activities.fail, (activity, activity_failed(activity, end))))

    def _cancel_activity(self, event: Event, end: ActivityTaskCanceled) -> None:
        activity = self._ledger.end_activity(event, end)
        if activity is not None:
            self.jobs.append((self._instance.activities.fail, (activity, activity_cancelled(activity, end))))

    def _fire_timer(self, event: Event, fired: TimerFired) -> None:
        self.jobs.append((self._instance.fire_timer, (self._ledger.fire_timer(event, fired),)))

    def _start_child(self, event: Event, started: ChildWorkflowExecutionStarted) -> None:
        child = self._instance.children.at(event, started.initiated_event_id)
        if child.has_started(event, started):
            self.jobs.append((child.start.complete, (None,)))

    def _fail_child_start(self, event: Event, failed: StartChildWorkflowExecutionFailed) -> None:
        child = self._instance.children.at(event, failed.initiated_event_id)
        if child.has_failed_to_start(event):
            self.jobs.append((child.refuse, (failed.cause,)))
        self._instance.children.close(failed.initiated_event_id)

    def _end_child(self, event: Event, end: ChildEnd) -> None:
        child = self._instance.children.at(event, end.initiated_event_id)
        if child.has_ended(event):
            if isinstance(end, ChildWorkflowExecutionCompleted):
                self.jobs.append((child.complete, (end.result,)))
            else:
                self.jobs.append((child.fail, (child.end_failure(end),)))
        self._instance.children.close(end.initiated_event_id)

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
            self.jobs.append((job, ()))

    _APPLY: ClassVar[Mapping[type[Attributes], Callable[..., None]]] = {  # each takes its own type of event
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
        Ignorable: _ignore,
    }
    """What each type of event does."""
