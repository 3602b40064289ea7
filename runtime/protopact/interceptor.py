"""Interceptors: one class of hooks around what clients, workflows and activities do.

A hook gets the call and the next hook, and returns what the next one returned, or something else. Hooks around
workflow code run inside it, on replay too, and obey its rules: no I/O, no clock. Headers are the calls' `headers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, TypeAlias

from protopact import contract
from protopact.completion import CompleteActivity, FailActivity, HeartbeatActivity, ReportActivityCancellation
from protopact.engine import (
    CancelWorkflow,
    QueryWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    Started,
    StartWorkflow,
    TerminateWorkflow,
    UpdateStarted,
    UpdateWorkflow,
)
from protopact.payload.payload import Headers, Payload
from protopact.policy import ActivityOptions, ChildWorkflowOptions, ContinueAsNewOptions, LocalActivityOptions

__all__ = [
    "AnyWorkflow",
    "CancelExternalWorkflow",
    "ContinueAsNew",
    "ExecuteActivity",
    "ExecuteWorkflow",
    "HandleQuery",
    "HandleSignal",
    "HandleUpdate",
    "Interceptor",
    "SignalExternalWorkflow",
    "StartActivity",
    "StartChildWorkflow",
    "StartLocalActivity",
    "chain",
]

AnyWorkflow: TypeAlias = contract.Workflow[Any, Any]  # an interceptor sees every contract's types


@dataclass(slots=True, kw_only=True)
class ExecuteWorkflow:
    """A run begins: its workflow, its request and the headers it was started with."""

    workflow: AnyWorkflow
    request: object
    headers: Headers


@dataclass(slots=True, kw_only=True)
class HandleSignal:
    """A signal reaches a workflow."""

    workflow: AnyWorkflow
    signal: contract.Signal[Any]
    request: object
    headers: Headers


@dataclass(slots=True, kw_only=True)
class HandleQuery:
    """A query reaches a workflow."""

    workflow: AnyWorkflow
    query: contract.Query[Any, Any]
    request: object
    headers: Headers


@dataclass(slots=True, kw_only=True)
class HandleUpdate:
    """An update reaches a workflow: its validator, or its handler."""

    workflow: AnyWorkflow
    update: contract.Update[Any, Any]
    update_id: str
    request: object
    headers: Headers


@dataclass(slots=True, kw_only=True)
class StartActivity:
    """A workflow calls an activity."""

    activity: contract.Activity[Any, Any]
    request: object
    options: ActivityOptions
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class ContinueAsNew:
    """A run ends, and goes on as a new one: the workflow, request and headers that the new one starts with."""

    workflow: AnyWorkflow
    request: object
    options: ContinueAsNewOptions
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class StartChildWorkflow:
    """A workflow starts a child."""

    workflow: AnyWorkflow
    workflow_id: str
    request: object
    options: ChildWorkflowOptions
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class SignalExternalWorkflow:
    """A workflow signals another one: the latest run of its id, or exactly `run_id`.

    `is_child` says that it is a child of the one that signals, and of no other.
    """

    workflow_id: str
    run_id: str | None
    signal: contract.Signal[Any]
    request: object
    is_child: bool
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class CancelExternalWorkflow:
    """A workflow asks another one to cancel: the latest run of its id, or exactly `run_id`."""

    workflow_id: str
    run_id: str | None
    reason: str


@dataclass(slots=True, kw_only=True)
class StartLocalActivity:
    """A workflow calls an activity locally."""

    activity: contract.Activity[Any, Any]
    request: object
    options: LocalActivityOptions
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class ExecuteActivity:
    """An attempt of an activity begins."""

    activity: contract.Activity[Any, Any]
    request: object
    headers: Headers


class Interceptor:
    """Hooks; override those you need. Given to `protopact.connect(..., interceptors=[...])`, the first outermost."""

    async def start_workflow(
        self,
        call: StartWorkflow[Any, Any],
        next_hook: Callable[[StartWorkflow[Any, Any]], Awaitable[Started]],
    ) -> Started:
        """Around a client's start."""
        return await next_hook(call)

    async def signal_workflow(
        self, call: SignalWorkflow[Any], next_hook: Callable[[SignalWorkflow[Any]], Awaitable[None]]
    ) -> None:
        """Around a client's signal."""
        await next_hook(call)

    async def signal_with_start(
        self,
        start: StartWorkflow[Any, Any],
        signal: SignalWorkflow[Any],
        next_hook: Callable[[StartWorkflow[Any, Any], SignalWorkflow[Any]], Awaitable[Started]],
    ) -> Started:
        """Around a client's signal-with-start, which is one request: both get the headers of both, and `start`'s id."""
        return await next_hook(start, signal)

    async def query_workflow(
        self,
        call: QueryWorkflow[Any, Any],
        next_hook: Callable[[QueryWorkflow[Any, Any]], Awaitable[object]],
    ) -> object:
        """Around a client's query."""
        return await next_hook(call)

    async def update_workflow(
        self,
        call: UpdateWorkflow[Any, Any],
        next_hook: Callable[[UpdateWorkflow[Any, Any]], Awaitable[UpdateStarted]],
    ) -> UpdateStarted:
        """Around a client's update."""
        return await next_hook(call)

    async def update_with_start(
        self,
        start: StartWorkflow[Any, Any],
        update: UpdateWorkflow[Any, Any],
        next_hook: Callable[
            [StartWorkflow[Any, Any], UpdateWorkflow[Any, Any]], Awaitable[tuple[Started, UpdateStarted]]
        ],
    ) -> tuple[Started, UpdateStarted]:
        """Around a client's update-with-start."""
        return await next_hook(start, update)

    async def cancel_workflow(
        self, call: CancelWorkflow, next_hook: Callable[[CancelWorkflow], Awaitable[None]]
    ) -> None:
        """Around a client's request to cancel."""
        await next_hook(call)

    async def terminate_workflow(
        self, call: TerminateWorkflow, next_hook: Callable[[TerminateWorkflow], Awaitable[None]]
    ) -> None:
        """Around a client's termination."""
        await next_hook(call)

    async def reset_workflow(self, call: ResetWorkflow, next_hook: Callable[[ResetWorkflow], Awaitable[str]]) -> str:
        """Around a client's reset; returns the id of the run that goes on."""
        return await next_hook(call)

    async def complete_activity(
        self, call: CompleteActivity[Any], next_hook: Callable[[CompleteActivity[Any]], Awaitable[None]]
    ) -> None:
        """Around a client's completion of an activity."""
        await next_hook(call)

    async def fail_activity(self, call: FailActivity, next_hook: Callable[[FailActivity], Awaitable[None]]) -> None:
        """Around a client's failure of an activity."""
        await next_hook(call)

    async def report_activity_cancellation(
        self, call: ReportActivityCancellation, next_hook: Callable[[ReportActivityCancellation], Awaitable[None]]
    ) -> None:
        """Around a client's word that an activity has ended as its cancellation asked."""
        await next_hook(call)

    async def heartbeat_activity(
        self, call: HeartbeatActivity, next_hook: Callable[[HeartbeatActivity], Awaitable[None]]
    ) -> None:
        """Around a client's heartbeat of an activity."""
        await next_hook(call)

    async def execute_workflow(
        self, call: ExecuteWorkflow, next_hook: Callable[[ExecuteWorkflow], Awaitable[object]]
    ) -> object:
        """Around a workflow's `run`, inside the workflow."""
        return await next_hook(call)

    async def handle_signal(self, call: HandleSignal, next_hook: Callable[[HandleSignal], Awaitable[None]]) -> None:
        """Around the delivery of a signal, inside the workflow."""
        await next_hook(call)

    def handle_query(self, call: HandleQuery, next_hook: Callable[[HandleQuery], object]) -> object:
        """Around a query's method, inside the workflow."""
        return next_hook(call)

    def validate_update(self, call: HandleUpdate, next_hook: Callable[[HandleUpdate], None]) -> None:
        """Around an update's validator, inside the workflow; never on replay."""
        next_hook(call)

    async def handle_update(self, call: HandleUpdate, next_hook: Callable[[HandleUpdate], Awaitable[object]]) -> object:
        """Around an update's method, inside the workflow."""
        return await next_hook(call)

    def start_activity(
        self, call: StartActivity, next_hook: Callable[[StartActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        """Around a workflow's call of an activity, inside the workflow."""
        return next_hook(call)

    def continue_as_new(self, call: ContinueAsNew, next_hook: Callable[[ContinueAsNew], NoReturn]) -> NoReturn:
        """Around a workflow's `continue_as_new`, inside the workflow."""
        next_hook(call)

    async def start_child_workflow(
        self, call: StartChildWorkflow, next_hook: Callable[[StartChildWorkflow], Awaitable[object]]
    ) -> object:
        """Around a workflow's start of a child, inside the parent; ends when the child has started."""
        return await next_hook(call)

    async def signal_external_workflow(
        self, call: SignalExternalWorkflow, next_hook: Callable[[SignalExternalWorkflow], Awaitable[None]]
    ) -> None:
        """Around a workflow's signal to another one, inside the one that sends it."""
        await next_hook(call)

    async def cancel_external_workflow(
        self, call: CancelExternalWorkflow, next_hook: Callable[[CancelExternalWorkflow], Awaitable[None]]
    ) -> None:
        """Around a workflow's request that another one cancel, inside the one that asks."""
        await next_hook(call)

    def start_local_activity(
        self, call: StartLocalActivity, next_hook: Callable[[StartLocalActivity], Awaitable[object]]
    ) -> Awaitable[object]:
        """Around a workflow's local call of an activity, inside the workflow."""
        return next_hook(call)

    async def execute_activity(
        self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
    ) -> object:
        """Around an attempt of an activity, in its worker."""
        return await next_hook(call)


# A hook takes and returns what its method declares; the chain is as dynamic as the list of interceptors.
def chain(
    interceptors: Sequence[Interceptor], hook: str, last: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    """The async hooks of a name, one around the other, and `last` within all of them.

    Args:
        interceptors: The interceptors, the first one outermost.
        hook: Name of a method of `Interceptor`.
        last: What the innermost hook calls.
    """
    for interceptor in reversed(interceptors):
        last = partial(_call, getattr(interceptor, hook), last)
    return last


async def _call(hook: Callable[..., Awaitable[Any]], next_hook: Callable[..., Awaitable[Any]], *call: Any) -> Any:  # noqa: ANN401
    return await hook(*call, next_hook)
