"""Workflow tasks: what has happened goes to the core, what the code asks for comes back, and becomes events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from protopact._version import __version__
from protopact.embedded.run import Activity, Run
from protopact.embedded.tick import Caller, Refusal, Tick
from protopact.errors import NondeterminismError, UpdateFailedError, WorkflowTaskError
from protopact.history.event import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Event,
    MarkerRecorded,
    TimerCanceled,
    TimerStarted,
    UpdateRequest,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload
from protopact.payload.sizes import LIMIT, oversize
from protopact.replay.advance import Advance
from protopact.replay.command import (
    AcceptUpdate,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    RecordMarker,
    RejectUpdate,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
    StartTimer,
    UpsertSearchAttributes,
)
from protopact.replay.diagnosis import explain
from protopact.replay.execution import Execution

if TYPE_CHECKING:
    from protopact.embedded.relations import Asked
    from protopact.embedded.shell import Shell
    from protopact.embedded.worker import Worker

__all__ = ["PendingUpdate", "Task", "WorkflowTasks"]

_logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000
_RETRY_MAXIMUM_SECONDS = 60
_SUGGEST_EVENTS = 4 * 1024
_SUGGEST_BYTES = 4 * 1024 * 1024
_TASK_TIMEOUT = Duration(10 * _SECOND)


@dataclass(slots=True)
class PendingUpdate:
    """An update that the workflow has not been told of, and everybody who waits for its acceptance."""

    request: UpdateRequest
    callers: list[Caller] = field(default_factory=list[Caller])


@dataclass(slots=True)
class Task:
    """A workflow task under way.

    `length` is how long the history was before it, `opened` what is not written yet, `asked` what it asks of
    other runs.
    """

    run: Run
    worker: Worker
    length: int
    changed: bool
    scheduled_event_id: int
    started_event_id: int
    updates: dict[str, PendingUpdate]
    completed_event_id: int = 0
    opened: tuple[Event, ...] = ()
    waiting_cancelled: list[Activity] = field(default_factory=list[Activity])
    asked: list[tuple[int, Asked]] = field(default_factory=list[tuple[int, "Asked"]])


class WorkflowTasks:
    """The shell's desk for workflow tasks."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._updates: dict[int, dict[str, PendingUpdate]] = {}
        self._handlers: dict[type[Command], Callable[[Tick, Task, Any], None]] = {  # each takes its own command type
            ScheduleActivityTask: self._schedule_activity,
            RequestCancelActivityTask: self._request_cancel_activity,
            StartTimer: self._start_timer,
            StartChildWorkflowExecution: shell.relations.start_child,
            SignalExternalWorkflowExecution: shell.relations.signal,
            RequestCancelExternalWorkflowExecution: shell.relations.request_cancel,
            CancelTimer: self._cancel_timer,
            CompleteWorkflowExecution: self._complete_workflow,
            FailWorkflowExecution: self._fail_workflow,
            CancelWorkflowExecution: self._cancel_workflow,
            RecordMarker: self._record_marker,
            UpsertSearchAttributes: self._upsert_search_attributes,
            ModifyWorkflowProperties: self._modify_properties,
            ContinueAsNewWorkflowExecution: self._continue_as_new,
            AcceptUpdate: self._accept_update,
            CompleteUpdate: self._complete_update,
            RejectUpdate: self._reject_update,
        }

    # -- updates that wait for a task

    def add_update(self, key: int, request: UpdateRequest, caller: Caller) -> None:
        """Let an update go with the run's next task; one that waits already with the same id gets one more caller."""
        pending = self._updates.setdefault(key, {})
        update = pending.setdefault(request.update_id, PendingUpdate(request))
        update.callers.append(caller)

    def has_updates(self, run: Run) -> bool:
        """Whether updates wait for the run's next task."""
        return run.key in self._updates

    def take_updates(self, tick: Tick, key: int) -> list[PendingUpdate]:
        """Take the updates that wait for a run; they wait again when the tick fails."""
        updates = list(self._updates.pop(key, {}).values())
        tick.updates += [(key, update) for update in updates]
        return updates

    def updated_runs(self) -> list[int]:
        """Keys of the runs that updates wait for."""
        return list(self._updates)

    def undo(self, tick: Tick) -> None:
        """A tick has failed: updates that it handed over wait again, unless nobody waits for them any more."""
        for key, update in tick.updates:
            for caller in update.callers:
                if isinstance(caller, tuple) or (caller is not None and not caller.done()):
                    self.add_update(key, update.request, caller)

    # -- tasks

    def is_due(self, run: Run, now: Timestamp) -> bool:
        """Whether a workflow task of the run should start now."""
        if not run.is_open:
            return False
        if run.needs_task:
            due = run.task_due_at()
            return due is not None and due <= now
        return run.key in self._updates and run.task_retry_at is None

    def perform(self, tick: Tick, run: Run, worker: Worker) -> None:
        """Schedule, start and complete (or fail) one workflow task."""
        task = self.open(run, worker, tick.now)
        tick.updates += [(run.key, update) for update in task.updates.values()]
        try:
            advance = self.advance(task, run.unfed, [update.request for update in task.updates.values()])
        except Exception as error:  # noqa: BLE001 - even a fault of the engine parks one run, and stops no other
            self.fail(tick, task, error, worker.failures.to_failure(error))
        else:
            if advance.is_waiting:
                self._hold(tick, task, advance)
            else:
                self.complete(tick, task, advance)

    def _hold(self, tick: Tick, task: Task, advance: Advance) -> None:
        """Leave a task open for its local activities: nothing of it is written before it is answered."""
        run = task.run
        task.opened = tuple(run.new_events[-2:])
        run.take_back(task.length)
        run.changed = task.changed
        self._shell.coding.hold(task)
        tick.waiting.append((task, advance))

    def advance(self, task: Task, events: Sequence[Event], updates: Sequence[UpdateRequest]) -> Advance:
        """Tell the workflow what has happened; in a plain callback. What it raises fails the task."""
        execution = self.execution(task.run, task.worker)
        try:
            return execution.advance(events, updates=updates)
        except NondeterminismError as error:
            disagreement = error
        if events[0].event_id == 1:  # what was told in parts is told as a whole at the next attempt
            explain(
                disagreement,
                task.worker.definition(task.run.workflow_type),
                events,
                updates=updates,
                build_id=task.worker.build_id,
                veiled=self._shell.is_coded,  # the text goes to the disk as it is
            )
        raise disagreement

    def execution(self, run: Run, worker: Worker) -> Execution:
        """The workflow's coroutines; begun anew when they are not in memory."""
        if run.execution is None:
            definition = worker.definition(run.workflow_type)
            run.execution = Execution(definition, workflow_id=run.workflow_id, run_id=run.run_id, checks_origin=True)
        return run.execution

    def open(self, run: Run, worker: Worker, now: Timestamp) -> Task:
        """Schedule and start a workflow task, in memory only."""
        length, changed = run.last_event_id, run.changed
        scheduled = run.append(
            WorkflowTaskScheduled(
                task_queue=run.task_queue,
                start_to_close_timeout=run.started.workflow_task_timeout or _TASK_TIMEOUT,
                attempt=run.task_attempt,
            ),
            now,
        )
        started = run.append(
            WorkflowTaskStarted(
                scheduled_event_id=scheduled.event_id,
                identity=worker.identity,
                request_id=self._shell.ids.request_id(),
                history_size_bytes=run.history_size,
                suggest_continue_as_new=length > _SUGGEST_EVENTS or run.history_size > _SUGGEST_BYTES,
            ),
            now,
        )
        updates = self._updates.pop(run.key, {})
        return Task(run, worker, length, changed, scheduled.event_id, started.event_id, updates)

    def complete(self, tick: Tick, task: Task, advance: Advance) -> None:
        """Turn what the workflow asked for into events."""
        run = task.run
        speculative = not run.needs_task
        run.unfed = []
        rejections = [command for command in advance.commands if isinstance(command, RejectUpdate)]
        if speculative and len(rejections) == len(advance.commands):
            # Only updates asked for the task and all were rejected: it never was.
            run.take_back(task.length)
            run.changed = task.changed
            if run.execution is not None:
                run.execution.drop_task()
            for rejection in rejections:
                self._reject_update(tick, task, rejection)
            return
        if (problem := _oversize_command(advance.commands)) is not None:
            self._terminate_oversize(tick, task, *problem)
            return
        completed = run.append(
            WorkflowTaskCompleted(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                identity=task.worker.identity,
                build_id=task.worker.build_id,
                core_used_flags=advance.core_used_flags,
                lang_used_flags=advance.lang_used_flags,
                sdk_name="protopact" if advance.core_used_flags else "",
                sdk_version=__version__ if advance.core_used_flags else "",
            ),
            tick.now,
        )
        task.completed_event_id = completed.event_id
        for command in advance.commands:
            self._handlers[type(command)](tick, task, command)
        self._shell.relations.answer(tick, task)
        if run.is_open:
            for activity in task.waiting_cancelled:
                self._shell.dispatch.cancel_waiting(tick, run, activity)
        if advance.unread_signals:
            _logger.warning(
                "workflow %s (run %s) ended before it took signals that it had received, and they are lost: %s; take "
                "what is pending in their channels before returning or continuing as new",
                run.workflow_id,
                run.run_id,
                ", ".join(advance.unread_signals),
            )
        if advance.unfinished_handlers:
            _logger.warning(
                "workflow %s (run %s) ended while handlers were still running: %s; await "
                "workflow.wait_condition(workflow.all_handlers_finished) before returning",
                run.workflow_id,
                run.run_id,
                ", ".join(advance.unfinished_handlers),
            )

    def fail(self, tick: Tick, task: Task, error: Exception, failure: Failure) -> None:
        """Park a run whose task raised: it is tried again with back-off, or by another build.

        Args:
            tick: The tick.
            task: The task.
            error: What it raised.
            failure: The same, ready for the disk.
        """
        run, worker = task.run, task.worker
        summary = f"{type(error).__name__}: {error}"
        if error.__cause__ is not None and isinstance(error, WorkflowTaskError):
            summary = f"{type(error.__cause__).__name__}: {error.__cause__}"
        delay = min(2 ** (run.task_attempt - 1), _RETRY_MAXIMUM_SECONDS)
        nondeterministic = isinstance(error, NondeterminismError)
        _logger.warning(
            "workflow task of %s %s (run %s), attempt %d, failed; it is tried again in %d s, or when a worker with "
            "another build starts%s",
            run.workflow_type,
            run.workflow_id,
            run.run_id,
            run.task_attempt,
            delay,
            f"\n{summary}" if nondeterministic else "",
            exc_info=None if nondeterministic else error,  # the report says where in the user's code
        )
        if run.task_attempt == 1:
            run.append(
                WorkflowTaskFailed(
                    scheduled_event_id=task.scheduled_event_id,
                    started_event_id=task.started_event_id,
                    cause="NON_DETERMINISTIC_ERROR" if nondeterministic else "WORKFLOW_WORKER_UNHANDLED_FAILURE",
                    failure=failure,
                    identity=worker.identity,
                ),
                tick.now,
            )
        else:
            # As on the Temporal server, only the first of several failed attempts stands in history.
            run.take_back(task.length)
        run.changed = True
        run.task_attempt += 1
        run.task_failure = summary
        run.task_build = worker.build_id
        run.task_retry_at = Timestamp(tick.now + delay * _SECOND)
        self._give_back(run, task.updates.values())
        tick.forget[run.key] = run

    def supersede(self, tick: Tick, task: Task) -> None:
        """Fail a task that would close the run although something has happened that the workflow was not told."""
        run = task.run
        run.append(
            WorkflowTaskFailed(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                cause="UNHANDLED_COMMAND",
                failure=Failure(message="UnhandledCommand", source="Server"),
                identity=task.worker.identity,
            ),
            tick.now,
        )
        self._give_back(run, task.updates.values())
        tick.forget[run.key] = run

    def abort(self, task: Task) -> None:
        """Undo an open task, as if it had never been; the coroutines know of it, so they end."""
        task.run.drop_execution()
        task.run.take_back(task.length)
        task.run.changed = task.changed
        self._give_back(task.run, task.updates.values())

    def _give_back(self, run: Run, updates: Iterable[PendingUpdate]) -> None:
        for update in updates:
            for caller in update.callers:
                self.add_update(run.key, update.request, caller)

    def _terminate_oversize(self, tick: Tick, task: Task, cause: str, message: str) -> None:
        """Close a run whose code asked for what fits into no history: trying again would not help."""
        run = task.run
        run.append(
            WorkflowTaskFailed(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                cause=cause,
                failure=Failure(message=message, source="Server"),
                identity=task.worker.identity,
            ),
            tick.now,
        )
        self._give_back(run, task.updates.values())
        self._shell.close_run(
            tick, run, WorkflowExecutionTerminated(reason=f"{cause}: {message}", identity=self._shell.identity)
        )

    # -- commands

    def _schedule_activity(self, tick: Tick, task: Task, command: ScheduleActivityTask) -> None:
        run = task.run
        event = run.append(
            ActivityTaskScheduled(
                activity_id=command.activity_id,
                activity_type=command.activity_type,
                task_queue=command.task_queue,
                header=command.header,
                input=command.input,
                schedule_to_close_timeout=command.schedule_to_close_timeout,
                schedule_to_start_timeout=command.schedule_to_start_timeout,
                start_to_close_timeout=command.start_to_close_timeout,
                heartbeat_timeout=command.heartbeat_timeout,
                workflow_task_completed_event_id=task.completed_event_id,
                retry_policy=command.retry_policy,
                priority=command.priority,
            ),
            tick.now,
        )
        activity = run.activities[event.event_id]
        run.plan_activity(activity, tick.now)
        self._shell.dispatch.offer(tick, run, activity)

    def _request_cancel_activity(self, tick: Tick, task: Task, command: RequestCancelActivityTask) -> None:
        run = task.run
        run.append(
            ActivityTaskCancelRequested(
                scheduled_event_id=command.scheduled_event_id,
                workflow_task_completed_event_id=task.completed_event_id,
            ),
            tick.now,
        )
        activity = run.activities.get(command.scheduled_event_id)
        if activity is not None:
            run.changed_activities[activity.scheduled_event_id] = None
            waiting = self._shell.dispatch.request_cancel(tick, run, activity)
            if waiting is not None:
                task.waiting_cancelled.append(waiting)

    def _start_timer(self, tick: Tick, task: Task, command: StartTimer) -> None:
        task.run.append(
            TimerStarted(
                timer_id=command.timer_id,
                start_to_fire_timeout=command.start_to_fire_timeout,
                workflow_task_completed_event_id=task.completed_event_id,
            ),
            tick.now,
        )

    def _cancel_timer(self, tick: Tick, task: Task, command: CancelTimer) -> None:
        task.run.append(
            TimerCanceled(
                timer_id=command.timer_id,
                started_event_id=command.started_event_id,
                workflow_task_completed_event_id=task.completed_event_id,
                identity=task.worker.identity,
            ),
            tick.now,
        )

    def _record_marker(self, tick: Tick, task: Task, command: RecordMarker) -> None:
        task.run.append(
            MarkerRecorded(
                marker_name=command.marker_name,
                details=command.details,
                workflow_task_completed_event_id=task.completed_event_id,
                header=command.header,
                failure=command.failure,
            ),
            tick.now,
        )

    def _upsert_search_attributes(self, tick: Tick, task: Task, command: UpsertSearchAttributes) -> None:
        task.run.append(
            UpsertWorkflowSearchAttributes(
                workflow_task_completed_event_id=task.completed_event_id, search_attributes=command.search_attributes
            ),
            tick.now,
        )

    def _modify_properties(self, tick: Tick, task: Task, command: ModifyWorkflowProperties) -> None:
        task.run.append(
            WorkflowPropertiesModified(
                workflow_task_completed_event_id=task.completed_event_id, upserted_memo=command.upserted_memo
            ),
            tick.now,
        )

    def _complete_workflow(self, tick: Tick, task: Task, command: CompleteWorkflowExecution) -> None:
        self._shell.close_run(
            tick,
            task.run,
            WorkflowExecutionCompleted(result=command.result, workflow_task_completed_event_id=task.completed_event_id),
        )

    def _cancel_workflow(self, tick: Tick, task: Task, command: CancelWorkflowExecution) -> None:
        self._shell.close_run(
            tick,
            task.run,
            WorkflowExecutionCanceled(
                details=command.details, workflow_task_completed_event_id=task.completed_event_id
            ),
        )

    def _fail_workflow(self, tick: Tick, task: Task, command: FailWorkflowExecution) -> None:
        close = partial(
            WorkflowExecutionFailed,
            failure=command.failure,
            workflow_task_completed_event_id=task.completed_event_id,
        )
        self._shell.chains.close_or_retry(tick, task.run, command.failure, close)

    def _continue_as_new(self, tick: Tick, task: Task, command: ContinueAsNewWorkflowExecution) -> None:
        self._shell.chains.continue_as_new(tick, task.run, command, task.completed_event_id)

    def _accept_update(self, tick: Tick, task: Task, command: AcceptUpdate) -> None:
        request = command.request
        task.run.append(
            WorkflowExecutionUpdateAccepted(
                protocol_instance_id=request.update_id,
                accepted_request_message_id=f"{request.update_id}/request",
                accepted_request_sequencing_event_id=command.sequencing_event_id,
                accepted_request=request,
            ),
            tick.now,
        )
        for caller in task.updates.pop(request.update_id).callers:
            tick.answer(caller, task.run.run_id)

    def _complete_update(self, tick: Tick, task: Task, command: CompleteUpdate) -> None:
        run = task.run
        run.append(
            WorkflowExecutionUpdateCompleted(
                update_id=command.update_id,
                accepted_event_id=command.accepted_event_id or run.updates[command.update_id],
                success=command.success,
                failure=command.failure,
            ),
            tick.now,
        )
        tick.outcomes.append((run, command.update_id))

    def _reject_update(self, tick: Tick, task: Task, command: RejectUpdate) -> None:
        update = task.updates.pop(command.update_id)
        refusal = Refusal(
            UpdateFailedError,
            f"update {update.request.name} of workflow {task.run.workflow_id} was rejected: {command.failure.message}",
            command.failure,
        )
        for caller in update.callers:
            tick.refuse(caller, refusal)


def _oversize_command(commands: Iterable[Command]) -> tuple[str, str] | None:
    """Cause and message for a command with payloads over the limit, in the server's words; None without one."""
    for command in commands:
        if type(command) in _SIZED:
            payloads, cause, what = _SIZED[type(command)]
            size = oversize(payloads(command))
            if size is not None:
                return cause, f"{what} exceeds size limit: {size} bytes of at most {LIMIT}."
    return None


_input = attrgetter("input")
_SIZED: dict[type[Command], tuple[Callable[[Any], Iterable[Payload]], str, str]] = {  # each takes its own type
    ScheduleActivityTask: (
        _input,
        "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES",
        "ScheduleActivityTaskCommandAttributes.Input",
    ),
    StartChildWorkflowExecution: (
        _input,
        "BAD_START_CHILD_EXECUTION_ATTRIBUTES",
        "StartChildWorkflowExecutionCommandAttributes.Input",
    ),
    SignalExternalWorkflowExecution: (
        _input,
        "BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES",
        "SignalExternalWorkflowExecutionCommandAttributes.Input",
    ),
    ContinueAsNewWorkflowExecution: (
        _input,
        "BAD_CONTINUE_AS_NEW_ATTRIBUTES",
        "ContinueAsNewWorkflowExecutionCommandAttributes.Input",
    ),
    CompleteWorkflowExecution: (
        attrgetter("result"),
        "BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES",
        "CompleteWorkflowExecutionCommandAttributes.Result",
    ),
    CompleteUpdate: (attrgetter("success"), "BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE", "Update outcome"),
    RecordMarker: (
        lambda command: [each for payloads in command.details.values() for each in payloads],
        "BAD_RECORD_MARKER_ATTRIBUTES",
        "RecordMarkerCommandAttributes.Details",
    ),
    ModifyWorkflowProperties: (
        lambda command: command.upserted_memo.values(),
        "BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES",
        "ModifyWorkflowPropertiesCommandAttributes.UpsertedMemo",
    ),
}
"""Commands with payloads that must fit into an event: which, and what the server says when they do not."""
