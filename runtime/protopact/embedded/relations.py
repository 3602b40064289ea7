"""What workflows do to other workflows: children, signals, requests to cancel, and what a parent's end does.

All runs of a file are reached within one transaction: a child begins in the one that writes its parent's event, and its
end is handed to the parent in the one that closes it, directly or through the parent's inbox. So nothing is lost, and
nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from protopact.embedded.calls import Start
from protopact.embedded.inbox import CancelRequest, ChildClosed, Signal
from protopact.embedded.priority import inherited
from protopact.embedded.records import RunRow
from protopact.embedded.resets import RESETTER
from protopact.embedded.run import Child, Run
from protopact.embedded.tick import Tick
from protopact.engine import WorkflowRef
from protopact.errors import AlreadyStartedError, NotFoundError, RunLimitError
from protopact.history.event import (
    Attributes,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from protopact.history.time import Timestamp
from protopact.policy import ParentClosePolicy, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from protopact.replay.child import ChildEnd
from protopact.replay.command import (
    RequestCancelExternalWorkflowExecution,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)
from protopact.replay.defaults import fill_child

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.tasks import Task

__all__ = ["NAMESPACE", "Asked", "Relations"]

NAMESPACE = "default"
"""The one namespace of a file, as histories name it."""

Asked: TypeAlias = (
    StartChildWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionInitiated
    | RequestCancelExternalWorkflowExecutionInitiated
)
"""Events that ask something of another run; the answer comes behind all the events of their task."""

_End: TypeAlias = (
    WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionCanceled
    | WorkflowExecutionTimedOut
    | WorkflowExecutionTerminated
)

_NOT_FOUND = "EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"


class Relations:
    """The shell's desk for what workflows do to other workflows."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    # -- what a workflow asks

    def start_child(self, tick: Tick, task: Task, command: StartChildWorkflowExecution) -> None:
        """Note that a workflow wants a child."""
        command = fill_child(command, task.run.started)
        self._ask(
            tick,
            task,
            StartChildWorkflowExecutionInitiated(
                namespace=command.namespace or NAMESPACE,
                workflow_id=command.workflow_id,
                workflow_type=command.workflow_type,
                task_queue=command.task_queue,
                input=command.input,
                workflow_execution_timeout=command.workflow_execution_timeout,
                workflow_run_timeout=command.workflow_run_timeout,
                workflow_task_timeout=command.workflow_task_timeout,
                parent_close_policy=command.parent_close_policy,
                workflow_task_completed_event_id=task.completed_event_id,
                workflow_id_reuse_policy=command.workflow_id_reuse_policy,
                retry_policy=command.retry_policy,
                cron_schedule=command.cron_schedule,
                header=command.header,
                memo=command.memo,
                search_attributes=command.search_attributes,
                priority=command.priority,
            ),
        )

    def signal(self, tick: Tick, task: Task, command: SignalExternalWorkflowExecution) -> None:
        """Note that a workflow signals another one."""
        initiated = partial(
            SignalExternalWorkflowExecutionInitiated,
            signal_name=command.signal_name,
            input=command.input,
            header=command.header,
        )
        self._ask_other(tick, task, command, initiated)

    def request_cancel(self, tick: Tick, task: Task, command: RequestCancelExternalWorkflowExecution) -> None:
        """Note that a workflow asks another one to cancel."""
        initiated = partial(RequestCancelExternalWorkflowExecutionInitiated, reason=command.reason)
        self._ask_other(tick, task, command, initiated)

    def _ask_other(
        self,
        tick: Tick,
        task: Task,
        command: SignalExternalWorkflowExecution | RequestCancelExternalWorkflowExecution,
        initiated: Callable[..., Asked],
    ) -> None:
        asked = initiated(
            workflow_task_completed_event_id=task.completed_event_id,
            namespace=command.namespace or NAMESPACE,
            workflow_id=command.workflow_id,
            run_id=command.run_id,
            child_workflow_only=command.child_workflow_only,
        )
        self._ask(tick, task, asked)

    def _ask(self, tick: Tick, task: Task, asked: Asked) -> None:
        task.asked.append((task.run.append(asked, tick.now).event_id, asked))

    def answer(self, tick: Tick, task: Task) -> None:
        """Do what a task's commands ask of other runs, in order, once all of them stand in history.

        As on the server nothing of it is done when the task has closed its run: no child begins, not even one that its
        parent would abandon, and no signal or request to cancel leaves.
        """
        if not task.run.is_open:
            return
        for event_id, asked in task.asked:
            match asked:
                case StartChildWorkflowExecutionInitiated():
                    self._start(tick, task.run, event_id, asked)
                case SignalExternalWorkflowExecutionInitiated():
                    self._signal(tick, task.run, event_id, asked)
                case RequestCancelExternalWorkflowExecutionInitiated():
                    self._request_cancel(tick, task.run, event_id, asked)

    def _start(self, tick: Tick, run: Run, event_id: int, asked: StartChildWorkflowExecutionInitiated) -> None:
        start = Start(
            started=self._first_event(tick, run, event_id, asked),
            reuse=WorkflowIdReusePolicy[asked.workflow_id_reuse_policy],
            conflict=WorkflowIdConflictPolicy.FAIL,
            request_id=f"{run.run_id}/{event_id}",
        )
        try:
            self._shell.calls.place(tick, start)
        except AlreadyStartedError:
            self._tell(
                tick,
                run,
                StartChildWorkflowExecutionFailed(
                    namespace=asked.namespace,
                    workflow_id=asked.workflow_id,
                    workflow_type=asked.workflow_type,
                    cause="WORKFLOW_ALREADY_EXISTS",
                    initiated_event_id=event_id,
                    workflow_task_completed_event_id=asked.workflow_task_completed_event_id,
                ),
            )
            return
        child = self._shell.create_run(tick, start.started, request_id=start.request_id)
        self._tell(
            tick,
            run,
            ChildWorkflowExecutionStarted(
                namespace=asked.namespace,
                initiated_event_id=event_id,
                workflow_id=asked.workflow_id,
                run_id=child.run_id,
                workflow_type=asked.workflow_type,
                header=asked.header,
            ),
        )

    def _first_event(
        self, tick: Tick, run: Run, event_id: int, asked: StartChildWorkflowExecutionInitiated
    ) -> WorkflowExecutionStarted:
        run_id, limit = self._shell.ids.run_id(tick.now), asked.workflow_execution_timeout
        return WorkflowExecutionStarted(
            workflow_type=asked.workflow_type,
            task_queue=asked.task_queue,
            input=asked.input,
            workflow_execution_timeout=limit,
            workflow_run_timeout=asked.workflow_run_timeout,
            workflow_task_timeout=asked.workflow_task_timeout,
            original_execution_run_id=run_id,
            first_execution_run_id=run_id,
            workflow_id=asked.workflow_id,
            retry_policy=asked.retry_policy,
            attempt=1,
            workflow_execution_expiration_time=Timestamp(tick.now + limit) if limit else None,
            cron_schedule=asked.cron_schedule,
            memo=asked.memo,
            search_attributes=asked.search_attributes,
            header=asked.header,
            priority=inherited(run.started.priority, asked.priority),
            parent_workflow_namespace=NAMESPACE,
            parent_workflow_id=run.workflow_id,
            parent_run_id=run.run_id,
            parent_initiated_event_id=event_id,
            root_workflow_id=run.started.root_workflow_id or run.workflow_id,
            root_run_id=run.started.root_run_id or run.run_id,
        )

    def _signal(self, tick: Tick, run: Run, event_id: int, asked: SignalExternalWorkflowExecutionInitiated) -> None:
        signal = WorkflowExecutionSignaled(
            signal_name=asked.signal_name,
            input=asked.input,
            identity=self._shell.identity,
            header=asked.header,
            request_id=f"{run.run_id}/{event_id}",
        )
        found = self._target(tick, run, asked)
        refused = self._refused(tick, found, signal)
        if found is None or refused:
            failed = SignalExternalWorkflowExecutionFailed(
                cause=refused,
                workflow_task_completed_event_id=asked.workflow_task_completed_event_id,
                namespace=asked.namespace,
                workflow_id=asked.workflow_id,
                run_id=asked.run_id,
                initiated_event_id=event_id,
            )
            self._tell(tick, run, failed)
            return
        self._shell.calls.deliver(tick, found, Signal(signal), None)
        arrived = ExternalWorkflowExecutionSignaled(
            initiated_event_id=event_id,
            namespace=asked.namespace,
            workflow_id=asked.workflow_id,
            run_id=asked.run_id,
        )
        self._tell(tick, run, arrived)

    def _refused(self, tick: Tick, found: Run | RunRow | None, signal: WorkflowExecutionSignaled) -> str:
        """Why a signal is not delivered; empty when it is."""
        if found is None or found.status:
            return _NOT_FOUND
        try:
            self._shell.calls.check_signals(tick, found, signal)
        except RunLimitError:
            return "SIGNAL_COUNT_LIMIT_EXCEEDED"
        return ""

    def _request_cancel(
        self, tick: Tick, run: Run, event_id: int, asked: RequestCancelExternalWorkflowExecutionInitiated
    ) -> None:
        found = self._target(tick, run, asked)
        if found is None:
            failed = RequestCancelExternalWorkflowExecutionFailed(
                cause=_NOT_FOUND,
                workflow_task_completed_event_id=asked.workflow_task_completed_event_id,
                namespace=asked.namespace,
                workflow_id=asked.workflow_id,
                run_id=asked.run_id,
                initiated_event_id=event_id,
            )
            self._tell(tick, run, failed)
            return
        if not found.status:  # a closed run needs no cancelling, which is no failure, as on the server
            request = WorkflowExecutionCancelRequested(
                cause=asked.reason, identity=self._shell.identity, external_initiated_event_id=event_id
            )
            self._shell.calls.deliver(tick, found, CancelRequest(request), None)
        requested = ExternalWorkflowExecutionCancelRequested(
            initiated_event_id=event_id,
            namespace=asked.namespace,
            workflow_id=asked.workflow_id,
            run_id=asked.run_id,
        )
        self._tell(tick, run, requested)

    def _target(
        self,
        tick: Tick,
        run: Run,
        asked: SignalExternalWorkflowExecutionInitiated | RequestCancelExternalWorkflowExecutionInitiated,
    ) -> Run | RunRow | None:
        """The run that is meant; as on the server, none when a workflow means itself."""
        if asked.workflow_id == run.workflow_id:
            return None
        if not asked.child_workflow_only:
            return self._find(tick, WorkflowRef(asked.workflow_id, asked.run_id or None))
        for child in run.children.values():
            if child.workflow_id == asked.workflow_id:
                return self._find(tick, WorkflowRef(asked.workflow_id, None, child.run_id))
        return None

    def _find(self, tick: Tick, ref: WorkflowRef) -> Run | RunRow | None:
        try:
            return self._shell.calls.find(tick, ref)
        except NotFoundError:
            return None

    def _tell(self, tick: Tick, run: Run, answer: Attributes) -> None:
        """Append the answer to what a run asked, unless that run has closed meanwhile."""
        if run.is_open:
            run.append(answer, tick.now)

    # -- ends

    def closed(self, tick: Tick, run: Run, end: Attributes) -> None:
        """A run has closed: do to its children what their policies say, and tell its own parent.

        Children that this closes have children, too: they follow, one after the other, however deep they go.
        """
        tick.ended.append((run, end))
        if len(tick.ended) > 1:
            return  # another end has brought this one about, and goes on with it
        try:
            while tick.ended:
                self._spread(tick, *tick.ended[0])
                tick.ended.popleft()
        finally:
            tick.ended.clear()

    def _spread(self, tick: Tick, run: Run, end: Attributes) -> None:
        for child in run.children.values():
            found = self._find(tick, WorkflowRef(child.workflow_id, None, child.run_id))
            if found is None or found.status:
                continue
            if child.parent_close_policy == ParentClosePolicy.TERMINATE.name:
                terminated = WorkflowExecutionTerminated(reason="by parent close policy", identity=self._shell.identity)
                self._shell.calls.terminate_run(tick, found, terminated)
            elif child.parent_close_policy == ParentClosePolicy.REQUEST_CANCEL.name:
                request = WorkflowExecutionCancelRequested(identity=self._shell.identity)
                self._shell.calls.deliver(tick, found, CancelRequest(request), None)
        started = run.started
        if not started.parent_run_id or not isinstance(end, _End) or _goes_on(end):
            return
        parent = self._parent(tick, started)
        if parent is None:
            return
        item = _closing(run, started, end)
        held = self._shell.hold(tick, parent)
        if held is not None:
            self._shell.delivery.apply(tick, held, item, None)
        else:
            self._shell.delivery.post(tick, parent, item, None)

    def _parent(self, tick: Tick, started: WorkflowExecutionStarted) -> Run | RunRow | None:
        """The open run that waits for a child: its parent, or what became of that by resets; None when there is none.

        Another run of the parent's id knows nothing of the child, and passes over its end.
        """
        parent = self._shell.calls.with_run_id(tick, started.parent_run_id)
        if parent is None or parent.status:
            parent = self._find(tick, WorkflowRef(started.parent_workflow_id))
        return None if parent is None or parent.status else parent

    def catch_up(self, tick: Tick, run: Run) -> None:
        """Tell a run that a reset has made of the children it has kept and that have closed meanwhile."""
        for child in list(run.children.values()):
            found = self._find(tick, WorkflowRef(child.workflow_id, None, child.run_id))
            if found is None or not found.status:
                continue
            history = self._shell.calls.history_of(tick, found)
            started, end = history[0].attributes, history[-1].attributes
            if isinstance(started, WorkflowExecutionStarted) and isinstance(end, _End):
                self.child_closed(tick, run, _closing(found, started, end))

    def child_closed(self, tick: Tick, run: Run, item: ChildClosed) -> None:
        """Record in an open run that a child of its has closed."""
        child = run.children.get(item.initiated_event_id)
        if child is not None and child.run_id == item.first_run_id:
            run.append(_end_of_child(child, item), tick.now)


def _closing(child: Run | RunRow, started: WorkflowExecutionStarted, end: _End) -> ChildClosed:
    return ChildClosed(
        initiated_event_id=started.parent_initiated_event_id,
        first_run_id=child.first_run_id,
        run_id=child.run_id,
        workflow_type=child.workflow_type,
        end=end,
    )


def _goes_on(end: Attributes) -> bool:
    """Whether another run goes on in the place of one that has ended."""
    if isinstance(end, WorkflowExecutionCompleted | WorkflowExecutionFailed | WorkflowExecutionTimedOut):
        return bool(end.new_execution_run_id)
    return isinstance(end, WorkflowExecutionTerminated) and end.identity == RESETTER


def _end_of_child(child: Child, item: ChildClosed) -> ChildEnd:
    """What stands in the parent's history."""
    end: ChildEnd
    match item.end:
        case WorkflowExecutionCompleted(result=result):
            end = ChildWorkflowExecutionCompleted(result=result)
        case WorkflowExecutionFailed(failure=failure, retry_state=state):
            end = ChildWorkflowExecutionFailed(failure=failure, retry_state=state)
        case WorkflowExecutionCanceled(details=details):
            end = ChildWorkflowExecutionCanceled(details=details)
        case WorkflowExecutionTimedOut(retry_state=state):
            end = ChildWorkflowExecutionTimedOut(retry_state=state)
        case WorkflowExecutionTerminated():
            end = ChildWorkflowExecutionTerminated()
    return msgspec.structs.replace(
        end,
        namespace=NAMESPACE,
        workflow_id=child.workflow_id,
        run_id=item.run_id,
        workflow_type=item.workflow_type,
        initiated_event_id=item.initiated_event_id,
        started_event_id=child.started_event_id,
    )
