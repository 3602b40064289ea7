"""Workflow tasks: what has happened goes to the core, what the code asks for comes back, and becomes events."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protopact._version import __version__
from protopact.embedded.activity import Activity
from protopact.embedded.commands import Commands, unwritable_command
from protopact.embedded.inbox import Update
from protopact.embedded.limits import Excess, excess, suggests_continue_as_new
from protopact.embedded.run import Run
from protopact.embedded.sizes import oversize_command, oversize_task
from protopact.embedded.tick import Caller, Tick
from protopact.errors import NondeterminismError, WorkflowTaskError
from protopact.failure import SOURCE, summary, writable
from protopact.history.event import (
    Event,
    UpdateRequest,
    WorkflowExecutionTerminated,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp
from protopact.replay.advance import Advance
from protopact.replay.command import Command, RejectUpdate
from protopact.replay.diagnosis import explanation
from protopact.replay.execution import Execution

if TYPE_CHECKING:
    from protopact.embedded.relations import Asked
    from protopact.embedded.shell import Shell
    from protopact.embedded.worker import Worker

__all__ = ["PendingUpdate", "Task", "WorkflowTasks"]

_logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000
_RETRY_MAXIMUM_SECONDS = 60
_NONDETERMINISM = f"{NondeterminismError.__name__}: "
_TASK_TIMEOUT = Duration(10 * _SECOND)


@dataclass(slots=True)
class PendingUpdate:
    """An update that the workflow has not been told of, and everybody who waits for its acceptance."""

    item: Update
    callers: list[Caller] = field(default_factory=list[Caller])

    @property
    def request(self) -> UpdateRequest:
        """The update."""
        return self.item.request


@dataclass(slots=True)
class Task:
    """A workflow task under way.

    `length` is how long the history was before it, `opened` what is not written yet, `asked` what it asks of
    other runs, `admitted` the updates that stand in history already.
    """

    run: Run
    worker: Worker
    length: int
    changed: bool
    scheduled_event_id: int
    started_event_id: int
    updates: dict[str, PendingUpdate]
    admitted: frozenset[str]
    completed_event_id: int = 0
    opened: tuple[Event, ...] = ()
    waiting_cancelled: list[Activity] = field(default_factory=list[Activity])
    asked: list[tuple[int, Asked]] = field(default_factory=list[tuple[int, "Asked"]])

    @property
    def new_updates(self) -> list[UpdateRequest]:
        """Updates that no event tells of."""
        return [each.request for each in self.updates.values() if each.request.update_id not in self.admitted]


class WorkflowTasks:
    """The shell's desk for workflow tasks."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._updates: dict[int, dict[str, PendingUpdate]] = {}
        self._commands = Commands(shell)

    # -- updates that wait for a task

    def add_update(self, key: int, item: Update, caller: Caller) -> None:
        """Let an update go with the run's next task; one that waits already with the same id gets one more caller."""
        pending = self._updates.setdefault(key, {})
        update = pending.setdefault(item.request.update_id, PendingUpdate(item))
        update.callers.append(caller)

    def update_count(self, run: Run, update_id: str) -> int:
        """How many updates a run has or will be told of, beside the one with an id; rejected ones do not count."""
        pending = self._updates.get(run.key, {})
        return len(run.updates) + len(run.outcomes) + len(pending) - (update_id in pending)

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
                    self.add_update(key, update.item, caller)

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
            advance = self.advance(task, run.unfed, task.new_updates)
        except NondeterminismError as error:
            self._hold(tick, task, error)  # to be explained, which takes longer than a tick may
        except Exception as error:  # noqa: BLE001 - even a fault of the engine parks one run, and stops no other
            self.fail(tick, task, error, worker.failures.to_failure(error))
        else:
            if advance.is_waiting:
                self._hold(tick, task, advance)
            else:
                self.complete(tick, task, advance)

    def _hold(self, tick: Tick, task: Task, so_far: Advance | NondeterminismError) -> None:
        """Leave a task open, for its local activities or to explain why it fails: nothing of it is written before."""
        run = task.run
        task.opened = tuple(run.new_events[-2:])
        run.take_back(task.length)
        run.changed = task.changed
        self._shell.coding.hold(task)
        tick.waiting.append((task, so_far))

    def advance(self, task: Task, events: Sequence[Event], updates: Sequence[UpdateRequest]) -> Advance:
        """Tell the workflow what has happened; in a plain callback. What it raises fails the task."""
        return self.execution(task.run, task.worker).advance(events, updates=updates)

    def is_explained(self, task: Task) -> bool:
        """Whether the attempt before, of the same build, has said why code and history disagree."""
        run = task.run
        return run.task_build == task.worker.build_id and (run.task_failure or "").startswith(_NONDETERMINISM)

    def explanation(
        self, task: Task, error: NondeterminismError, events: Sequence[Event], updates: Sequence[UpdateRequest]
    ) -> Generator[None]:
        """Give an error its report, step by step; in plain callbacks, and not in a tick: it replays the run, twice.

        Args:
            task: The task that failed.
            error: Why.
            events: The whole history, the task's own events included, decoded.
            updates: Updates that came with the task, decoded.
        """
        return explanation(
            error,
            task.worker.definition(task.run.workflow_type),
            events,
            updates=updates,
            build_id=task.worker.build_id,
            veiled=self._shell.is_coded,  # the text goes to the disk as it is
        )

    def execution(self, run: Run, worker: Worker) -> Execution:
        """The workflow's coroutines; begun anew when they are not in memory."""
        if run.execution is None:
            definition = worker.definition(run.workflow_type)
            run.execution = Execution(definition, workflow_id=run.workflow_id, run_id=run.run_id)
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
                suggest_continue_as_new=suggests_continue_as_new(length, run.history_size),
            ),
            now,
        )
        updates = self._updates.pop(run.key, {})
        return Task(
            run, worker, length, changed, scheduled.event_id, started.event_id, updates, frozenset(run.admitted)
        )

    def complete(self, tick: Tick, task: Task, advance: Advance) -> None:
        """Turn what the workflow asked for into events."""
        run = task.run
        speculative = not run.needs_task
        run.unfed = []
        if self._is_refused(tick, task, advance.commands):
            return
        rejections = [command for command in advance.commands if isinstance(command, RejectUpdate)]
        if speculative and len(rejections) == len(advance.commands):
            # Only updates asked for the task and all were rejected: it never was.
            run.take_back(task.length)
            run.changed = task.changed
            if run.execution is not None:
                run.execution.drop_task()
            for rejection in rejections:
                self._commands.apply(tick, task, rejection)
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
            self._commands.apply(tick, task, command)
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

    def fail(self, tick: Tick, task: Task, error: Exception, failure: Failure, *, cause: str | None = None) -> None:
        """Park a run whose task raised: it is tried again with back-off, or by another build.

        Args:
            tick: The tick.
            task: The task.
            error: What it raised.
            failure: The same, ready for the disk.
            cause: What the history calls it; by default what fits the error.
        """
        run, worker = task.run, task.worker
        told = summary(error) if cause is None else writable(str(error))
        if error.__cause__ is not None and isinstance(error, WorkflowTaskError):
            told = summary(error.__cause__)
        if isinstance(error, NondeterminismError) and error.report is None and self.is_explained(task):
            told = run.task_failure or told
        delay = min(2 ** (run.task_attempt - 1), _RETRY_MAXIMUM_SECONDS)
        nondeterministic = isinstance(error, NondeterminismError)
        cause = cause or ("NON_DETERMINISTIC_ERROR" if nondeterministic else "WORKFLOW_WORKER_UNHANDLED_FAILURE")
        _logger.warning(
            "workflow task of %s %s (run %s), attempt %d, failed; it is tried again in %d s, or when a worker with "
            "another build starts%s",
            run.workflow_type,
            run.workflow_id,
            run.run_id,
            run.task_attempt,
            delay,
            f"\n{told}" if nondeterministic else "",
            exc_info=None if nondeterministic else error,  # the report says where in the user's code
        )
        if run.task_attempt == 1:
            run.append(
                WorkflowTaskFailed(
                    scheduled_event_id=task.scheduled_event_id,
                    started_event_id=task.started_event_id,
                    cause=cause,
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
        run.task_failure = told
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
                self.add_update(run.key, update.item, caller)

    def _is_refused(self, tick: Tick, task: Task, commands: Sequence[Command]) -> bool:
        """Whether what a workflow asks for cannot be written, or is beyond a limit; its task has failed then."""
        if (why := unwritable_command(commands)) is not None:
            self.fail(tick, task, WorkflowTaskError(why), Failure(message=why, source=SOURCE))
            return True
        beyond = None
        if (unreadable := oversize_task(commands)) is not None:
            beyond = Excess("GRPC_MESSAGE_TOO_LARGE", unreadable)
        elif (problem := oversize_command(commands, task.run.memo)) is not None:
            self._terminate_oversize(tick, task, *problem)
            return True
        if beyond is not None or (beyond := excess(task.run, commands)) is not None:
            failure = Failure(message=beyond.message, source="Server")
            self.fail(tick, task, WorkflowTaskError(beyond.message), failure, cause=beyond.cause)
            return True
        return False

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
