"""Programs that have children and speak to other workflows, and the events of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from temporalio import workflow as temporal
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import OURS, Command, P, Program, Story, payloads

from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.policy import ChildWorkflowCancellationType

WAIT, TRY, ABANDON, REQUESTED = (
    "WAIT_CANCELLATION_COMPLETED",
    "TRY_CANCEL",
    "ABANDON",
    "WAIT_CANCELLATION_REQUESTED",
)
_CHATTY = histories.Chatty.__protopact__()
_NAMES = {"AlreadyStartedError": "WorkflowAlreadyStartedError", "NotFoundError": "RuntimeError"}


class Family(Program):
    """A program that has children and speaks to other workflows."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # whatever its base takes
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, child: str, cancellation: str = WAIT) -> Awaitable[Any]:
        if self.sdk is OURS:
            kind = ChildWorkflowCancellationType[cancellation]
            return histories.Chatty.start_child(Job(id=child), id=child, cancellation_type=kind)
        return temporal.start_child_workflow(
            P + "Chatty",
            Job(id=child),
            id=child,
            result_type=Outcome,
            cancellation_type=temporal.ChildWorkflowCancellationType[cancellation],
        )

    def execute(self, child: str, cancellation: str = WAIT) -> Coroutine[Any, Any, Any]:
        if self.sdk is OURS:
            kind = ChildWorkflowCancellationType[cancellation]
            return histories.Chatty.execute_child(Job(id=child), id=child, cancellation_type=kind)
        return temporal.execute_child_workflow(
            P + "Chatty",
            Job(id=child),
            id=child,
            result_type=Outcome,
            cancellation_type=temporal.ChildWorkflowCancellationType[cancellation],
        )

    async def signal_child(self, handle: Any) -> None:  # noqa: ANN401 - of either SDK
        await (handle.nudge(Nudge()) if self.sdk is OURS else handle.signal(P + "Nudge", Nudge()))

    async def signal(self, other: str) -> None:
        if self.sdk is OURS:
            await histories.Chatty.external(other).nudge(Nudge())
        else:
            await temporal.get_external_workflow_handle(other).signal(P + "Nudge", Nudge())

    async def cancel(self, other: str, run_id: str | None = None) -> None:
        if self.sdk is OURS:
            await histories.Chatty.external(other, run_id=run_id).cancel(reason="why not")
        else:
            await temporal.get_external_workflow_handle(other, run_id=run_id).cancel(reason="why not")

    async def noted(self, name: str, awaitable: Awaitable[Any]) -> None:
        try:
            found = await awaitable
            self.note(name, found.id if hasattr(found, "id") else found)
        except (Exception, asyncio.CancelledError) as error:
            self.note(name, *described(error))
            raise

    async def tried(self, name: str, awaitable: Awaitable[Any]) -> None:
        try:
            await self.noted(name, awaitable)
        except Exception:  # noqa: BLE001 - of either SDK
            await asyncio.sleep(0)
            self.note(name, "goes on")

    def beside(self, awaitable: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(awaitable))

    async def nudge(self, note: str) -> None:
        await super().nudge(note)
        if note == "stop":
            for task in self.tasks:
                task.cancel()


def described(error: BaseException) -> list[object]:
    found: list[object] = []
    each: BaseException | None = error
    while each is not None:
        name = type(each).__name__
        found += [
            _NAMES.get(name, name),
            *(() if name in _NAMES or name in _NAMES.values() else [getattr(each, "message", str(each))]),
        ]
        for attribute in ("type", "retry_state", "workflow_id", "run_id", "initiated_event_id", "started_event_id"):
            value = getattr(each, attribute, None)
            found += [getattr(value, "name", value) or ""]
        each = getattr(each, "cause", None)
    return found


# Events.


def child(child_id: str = "c", workflow: str = "Chatty") -> Command:
    return lambda _: ev.StartChildWorkflowExecutionInitiated(
        namespace="default",
        workflow_id=child_id,
        workflow_type=P + workflow,
        task_queue="histories",
        input=payloads(_CHATTY.request, Job(id=child_id)),
        parent_close_policy="TERMINATE",
        workflow_id_reuse_policy="ALLOW_DUPLICATE",
    )


def last(story: Story, kind: type[ev.Attributes], **fields: str) -> int:
    """The last event of a kind, by fields."""
    return next(
        event.event_id
        for event in reversed(story.events)
        if type(event.attributes) is kind and all(getattr(event.attributes, k) == v for k, v in fields.items())
    )


def of_child(kind: Callable[..., ev.Attributes], child_id: str = "c", **fields: object) -> Command:
    """An event of a child that has been initiated."""

    def event(story: Story) -> ev.Attributes:
        initiated = last(story, ev.StartChildWorkflowExecutionInitiated, workflow_id=child_id)
        return kind(
            namespace="default",
            workflow_id=child_id,
            workflow_type=P + "Chatty",
            initiated_event_id=initiated,
            **fields,
        )

    return event


def run_of(workflow_id: str) -> str:
    """The run that a workflow has in stories."""
    return str(uuid5(NAMESPACE_OID, workflow_id))


def begins(child_id: str = "c") -> Command:
    return of_child(ev.ChildWorkflowExecutionStarted, child_id, run_id=run_of(child_id))


def returns(child_id: str = "c") -> Command:
    result = payloads(_CHATTY.response, Outcome(id=child_id))
    return of_child(ev.ChildWorkflowExecutionCompleted, child_id, run_id=run_of(child_id), result=result)


def fails(child_id: str = "c") -> Command:
    failure = Failure("broken", ApplicationFailureInfo(type="Broken"))
    return of_child(ev.ChildWorkflowExecutionFailed, child_id, failure=failure, retry_state="MAXIMUM_ATTEMPTS_REACHED")


def is_cancelled(child_id: str = "c") -> Command:
    return of_child(ev.ChildWorkflowExecutionCanceled, child_id)


def times_out(child_id: str = "c") -> Command:
    return of_child(ev.ChildWorkflowExecutionTimedOut, child_id, retry_state="RETRY_POLICY_NOT_SET")


def is_terminated(child_id: str = "c") -> Command:
    return of_child(ev.ChildWorkflowExecutionTerminated, child_id)


def does_not_begin(child_id: str = "c", cause: str = "WORKFLOW_ALREADY_EXISTS") -> Command:
    return of_child(ev.StartChildWorkflowExecutionFailed, child_id, cause=cause)


def asks(other: str = "c", *, run: bool = True, of_child: bool = True, reason: str = "") -> Command:
    """A request that another workflow cancel."""
    return lambda _: ev.RequestCancelExternalWorkflowExecutionInitiated(
        namespace="default",
        workflow_id=other,
        run_id=run_of(other) if run else "",
        child_workflow_only=of_child,
        reason=reason,
    )


def sends(other: str = "c", *, to_child: bool = True) -> Command:
    return lambda _: ev.SignalExternalWorkflowExecutionInitiated(
        namespace="default",
        workflow_id=other,
        signal_name=P + "Nudge",
        input=payloads(_CHATTY.signals[0].signal.request, Nudge()),
        child_workflow_only=to_child,
    )


def arrives(other: str = "c") -> Command:
    return lambda story: ev.ExternalWorkflowExecutionSignaled(
        initiated_event_id=last(story, ev.SignalExternalWorkflowExecutionInitiated, workflow_id=other),
        namespace="default",
        workflow_id=other,
    )


def does_not_arrive(other: str = "c", cause: str = "EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND") -> Command:
    return lambda story: ev.SignalExternalWorkflowExecutionFailed(
        cause=cause,
        initiated_event_id=last(story, ev.SignalExternalWorkflowExecutionInitiated, workflow_id=other),
        namespace="default",
        workflow_id=other,
    )


def is_asked(other: str = "c") -> Command:
    return lambda story: ev.ExternalWorkflowExecutionCancelRequested(
        initiated_event_id=last(story, ev.RequestCancelExternalWorkflowExecutionInitiated, workflow_id=other),
        namespace="default",
        workflow_id=other,
    )


def is_not_asked(other: str = "c", cause: str = "EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND") -> Command:
    return lambda story: ev.RequestCancelExternalWorkflowExecutionFailed(
        cause=cause,
        initiated_event_id=last(story, ev.RequestCancelExternalWorkflowExecutionInitiated, workflow_id=other),
        namespace="default",
        workflow_id=other,
    )


def asked(*commands: Command) -> Story:
    return Story().task().answer(*(commands or (child(),)))


def begun(*commands: Command) -> Story:
    return asked(*commands).then(begins()).task().answer()
