"""Child workflows as their parent has them: commands, the state machine of Temporal Core, and what the code awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from protopact import contract
from protopact.errors import AlreadyStartedError, NotFoundError
from protopact.history import option
from protopact.history.event import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    Event,
    RequestCancelExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
)
from protopact.history.failure import (
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.interceptor import StartChildWorkflow
from protopact.origin import origin_to_memo
from protopact.payload.attributes import memo_to_payloads, search_attributes_to_payloads
from protopact.payload.payload import Payloads
from protopact.policy import ChildWorkflowCancellationType
from protopact.replay.command import RequestCancelExternalWorkflowExecution, StartChildWorkflowExecution
from protopact.replay.entries import Entry
from protopact.replay.operation import Operation
from protopact.workflow import ChildRun

if TYPE_CHECKING:
    from protopact.replay.instance import Instance
    from protopact.replay.ledger import Ledger

__all__ = ["Child", "ChildEnd", "Children"]

T = TypeVar("T")

ChildEnd: TypeAlias = (
    ChildWorkflowExecutionCompleted
    | ChildWorkflowExecutionFailed
    | ChildWorkflowExecutionCanceled
    | ChildWorkflowExecutionTimedOut
    | ChildWorkflowExecutionTerminated
)
"""Events that end a child."""

_AT_ONCE = (ChildWorkflowCancellationType.ABANDON, ChildWorkflowCancellationType.TRY_CANCEL)
"""Cancelling a child of these types tells the code so in the same task."""


class _State(Enum):
    ASKED = auto()
    INITIATED = auto()
    STARTED = auto()
    CANCELLED = auto()  # the code was told so, whatever becomes of the child
    ENDED = auto()


class Child(Entry):
    """A child that the code has asked for.

    Attributes:
        workflow: The contract's workflow.
        workflow_id: Its id.
        start: Its start, for which the code waits before it has a handle.
        result: Its result.
    """

    __slots__ = (
        "_call",
        "_cancellation_type",
        "_initiated_event_id",
        "_instance",
        "_namespace",
        "_payloads",
        "_reason",
        "_run_id",
        "_started_event_id",
        "_state",
        "_task_queue",
        "is_withdrawn",
        "result",
        "start",
        "workflow",
        "workflow_id",
    )

    becomes = StartChildWorkflowExecutionInitiated

    def __init__(
        self, instance: Instance, call: StartChildWorkflow, payloads: Callable[[], Payloads], *, task_queue: str
    ) -> None:
        self.workflow = workflow = call.workflow
        self.workflow_id = call.workflow_id
        self.start: Operation[None] = Operation(instance.loop)
        self.result: Operation[Any] = Operation(instance.loop)
        self.is_withdrawn = False
        self._instance = instance
        self._call = call
        self._payloads = payloads
        self._task_queue = task_queue
        self._cancellation_type = call.options.get("cancellation_type", _cancellation_type(workflow))
        self._state = _State.ASKED
        self._namespace = ""
        self._run_id = ""
        self._initiated_event_id = 0
        self._started_event_id = 0
        self._reason = ""

    @property
    def run_id(self) -> str:
        """Its first run; empty before it has started."""
        return self._run_id

    def command(self) -> StartChildWorkflowExecution:
        """The command, with the contract's options for what the call does not override."""
        workflow, options = self.workflow, self._call.options
        retry_policy = options.get("retry_policy", workflow.retry_policy)
        return StartChildWorkflowExecution(
            namespace="",  # the parent's
            workflow_id=self.workflow_id,
            workflow_type=workflow.name,
            task_queue=options.get("task_queue", workflow.task_queue or self._task_queue),
            input=self._payloads(),
            workflow_execution_timeout=option.duration(options.get("execution_timeout", workflow.execution_timeout)),
            workflow_run_timeout=option.duration(options.get("run_timeout", workflow.run_timeout)),
            workflow_task_timeout=option.duration(options.get("task_timeout", workflow.task_timeout)),
            parent_close_policy=options.get("parent_close_policy", workflow.parent_close_policy).name,
            workflow_id_reuse_policy=options.get("id_reuse_policy", workflow.id_reuse_policy).name,
            retry_policy=None if retry_policy is None else option.retry_policy(retry_policy),
            header=self._call.headers,
            memo=memo_to_payloads({**options.get("memo", {}), **origin_to_memo(workflow)}),
            search_attributes=search_attributes_to_payloads(
                options.get("search_attributes", {}), workflow.search_attributes
            ),
            priority=option.priority(options.get("priority", workflow.priority)),
        )

    def meet(self, ledger: Ledger, event_id: int, attributes: StartChildWorkflowExecutionInitiated, /) -> bool:
        """The child is known by its event from now on."""
        if ledger.checks_ids and (
            attributes.workflow_id != self.workflow_id or attributes.workflow_type != self.workflow.name
        ):
            return False
        self._initiated_event_id = event_id
        self._namespace = attributes.namespace
        self._state = _State.INITIATED
        self._instance.children.open[event_id] = self
        return True

    # -- what the code does

    def cancel(self, error: asyncio.CancelledError) -> None:
        """Whoever awaits it was cancelled: cancel it as its cancellation type says; one that is over is left alone."""
        reason = error.args[0] if error.args and isinstance(error.args[0], str) else ""
        ledger = self._instance.ledger
        if self._state is _State.ASKED:
            self._reason = reason
            self.is_withdrawn = True
            self._state = _State.CANCELLED
            ledger.cancelled.append(self)
        elif self._state in {_State.INITIATED, _State.STARTED}:
            if self._cancellation_type is not ChildWorkflowCancellationType.ABANDON:
                ledger.add(_ChildCancellation(self._namespace, self.workflow_id, self._run_id, reason))
            if self._cancellation_type in _AT_ONCE:
                self._state = _State.CANCELLED
                ledger.cancelled.append(self)

    def tell_cancelled(self) -> None:
        """Tell the code, before history has said anything."""
        message = "Child Workflow execution cancelled"
        if self.is_withdrawn:
            message = f"Child Workflow Execution cancelled before scheduled: {self._reason}"
        self.fail(self._failure(message, Failure(info=CanceledFailureInfo()), "NON_RETRYABLE_FAILURE"))

    # -- what has happened; jobs for the code

    def has_started(self, event: Event, started: ChildWorkflowExecutionStarted) -> bool:
        """History has its start; whether the code is to be told."""
        if self._state is _State.CANCELLED:
            return False
        if self._state is not _State.INITIATED:
            raise self._instance.ledger.impossible(event, "starts a child workflow that has started before")
        self._state = _State.STARTED
        self._started_event_id = event.event_id
        self._run_id = started.run_id
        return True

    def has_failed_to_start(self, event: Event) -> bool:
        """History says that there will be no such child; whether the code is to be told."""
        if self._state is _State.CANCELLED:
            return False
        if self._state is not _State.INITIATED:
            raise self._instance.ledger.impossible(event, "fails to start a child workflow that has started before")
        self._state = _State.ENDED
        return True

    def has_ended(self, event: Event) -> bool:
        """History has its end; whether the code is to be told."""
        if self._state is _State.CANCELLED:
            return False
        if self._state is not _State.STARTED:
            raise self._instance.ledger.impossible(event, "ends a child workflow that has not started")
        self._state = _State.ENDED
        return True

    def complete(self, result: Payloads) -> None:
        """It has returned.

        Raises:
            PayloadError: Its result cannot be read.
        """
        self.result.complete(self._instance.decode_response(self.workflow.response, result, self.workflow.name))

    def refuse(self, cause: str) -> None:
        """It could not be started."""
        name = self.workflow.name
        if cause == "WORKFLOW_ALREADY_EXISTS":
            self._resolve(
                AlreadyStartedError(
                    f"child workflow {name} could not be started: its id {self.workflow_id!r} is taken",
                    workflow_id=self.workflow_id,
                    run_id="",
                    workflow_type=name,
                )
            )
        else:
            self._resolve(
                NotFoundError(f"child workflow {name} {self.workflow_id!r} could not be started: {cause or 'unknown'}")
            )

    def fail(self, failure: Failure) -> None:
        """It has failed, or was cancelled, terminated or timed out."""
        self._resolve(self._instance.decode_failure(failure))

    def end_failure(self, end: ChildEnd) -> Failure:
        """Why it did not return, as Temporal Core words it."""
        match end:
            case ChildWorkflowExecutionFailed():
                return self._failure("Child Workflow execution failed", end.failure, end.retry_state)
            case ChildWorkflowExecutionTimedOut():
                cause = Failure("Timed out", TimeoutFailureInfo(timeout_type="START_TO_CLOSE"))
                return self._failure("Child Workflow execution timed out", cause, end.retry_state)
            case ChildWorkflowExecutionTerminated():
                cause = Failure("Terminated", TerminatedFailureInfo())
                return self._failure("Child Workflow execution terminated", cause, "NON_RETRYABLE_FAILURE")
            case _:
                cause = Failure(info=CanceledFailureInfo())
                return self._failure("Child Workflow execution cancelled", cause, "NON_RETRYABLE_FAILURE")

    def _resolve(self, error: BaseException) -> None:
        if self.start.has_ended:
            self.result.fail(error)
        else:
            self.start.fail(error)
            self.result.complete(None)

    def _failure(self, message: str, cause: Failure | None, retry_state: str) -> Failure:
        return Failure(
            message=message,
            cause=cause,
            info=ChildWorkflowFailureInfo(
                namespace=self._namespace,
                workflow_id=self.workflow_id,
                run_id=self._run_id,
                workflow_type=self.workflow.name,
                initiated_event_id=self._initiated_event_id,
                started_event_id=self._started_event_id,
                retry_state=retry_state,
            ),
        )


class _ChildCancellation(Entry):
    """A request to cancel a child that history has. Nobody waits for what becomes of the request."""

    __slots__ = ("_namespace", "_reason", "_run_id", "_workflow_id")

    becomes = RequestCancelExternalWorkflowExecutionInitiated

    def __init__(self, namespace: str, workflow_id: str, run_id: str, reason: str) -> None:
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._reason = reason

    def command(self) -> RequestCancelExternalWorkflowExecution:
        """The command."""
        return RequestCancelExternalWorkflowExecution(
            namespace=self._namespace,
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            child_workflow_only=True,
            reason=self._reason,
        )

    def meet(self, ledger: Ledger, event_id: int, _: RequestCancelExternalWorkflowExecutionInitiated, /) -> bool:
        """Its answer is expected from now on, and says nothing to the code."""
        ledger.external[event_id] = None
        return True


class Children:
    """The children of a run.

    Attributes:
        open: Those that history has and that are not over, by the event that initiated them.
    """

    def __init__(self, instance: Instance) -> None:
        self.open: dict[int, Child] = {}
        self._instance = instance

    async def start(self, call: StartChildWorkflow) -> ChildRun[Any]:
        """Start a child, and wait until it has started."""
        instance = self._instance
        instance.check_running("start a child workflow")
        workflow = call.workflow
        payloads = instance.encode_request(workflow.request, call.request, workflow.name)
        child = Child(instance, call, payloads, task_queue=instance.info().task_queue)

        def cancel(error: asyncio.CancelledError) -> bool:
            child.cancel(error)
            return False

        def cancel_start(error: asyncio.CancelledError) -> bool:
            child.cancel(error)
            return instance.is_cancel_requested

        task = instance.loop.create_task(child.result.wait(cancel), name=f"child workflow {workflow.name}")
        instance.ledger.add(child)
        await child.start.wait(cancel_start)
        return ChildRun(workflow=workflow, id=child.workflow_id, run_id=child.run_id, task=task)

    def at(self, event: Event, initiated_event_id: int) -> Child:
        """The open child that an event is about.

        Raises:
            NondeterminismError: There is none.
            HistoryError: It is over.
        """
        child = self.open.get(initiated_event_id)
        if child is None:
            raise self._instance.ledger.unexpected(event, "child workflow", initiated_event_id)
        return child

    def close(self, initiated_event_id: int) -> None:
        """A child is over."""
        del self.open[initiated_event_id]
        self._instance.ledger.forget("child workflow", initiated_event_id)


def _cancellation_type(workflow: contract.Workflow[Any, Any]) -> ChildWorkflowCancellationType:
    if workflow.wait_for_cancellation:
        return ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    return ChildWorkflowCancellationType.TRY_CANCEL
