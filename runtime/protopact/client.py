"""Clients and handles: the roots of the generated classes, and what their methods call.

A generated method is one call of a function of this module with elements of the contract. The classes keep nothing but
the reserved names and `__protopact__`, so that an rpc may have any other name.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast

from protopact import contract, options, template
from protopact.engine import (
    CancelWorkflow,
    Engine,
    QueryWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    Started,
    StartWorkflow,
    TerminateWorkflow,
    UpdateStarted,
    UpdateWorkflow,
    WorkflowDescription,
    WorkflowRef,
)
from protopact.errors import OptionError, UpdateFailedError
from protopact.history import History
from protopact.payload.library import refuse_class
from protopact.policy import StartOptions, UpdateOptions, UpdateWithStartOptions, WaitForStage

__all__ = [
    "Client",
    "UpdateHandle",
    "WorkflowHandle",
    "execute_update",
    "execute_workflow",
    "query_workflow",
    "signal_with_start",
    "signal_workflow",
    "start_update",
    "start_workflow",
    "update_with_start",
]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
Resp_co = TypeVar("Resp_co", covariant=True)
Other = TypeVar("Other")
Answer = TypeVar("Answer")
H = TypeVar("H", bound="WorkflowHandle[Any]")  # a handle of the workflow that the contract element names


class Client:
    """Root of the generated `Client` classes, one per service: starts its workflows.

    Args:
        engine: What runs them; see `protopact.connect`.
    """

    def __init__(self, engine: Engine) -> None:
        self.__protopact__ = engine

    @property
    def engine(self) -> Engine:
        """The engine that this client speaks to."""
        return self.__protopact__


@dataclass(frozen=True, slots=True)
class _Target(Generic[Resp_co]):
    """What a handle stands for: the latest run of `id`, or exactly `run_id`."""

    engine: Engine
    workflow: contract.Workflow[object, Resp_co]
    id: str
    run_id: str | None
    started: Started | None = None

    @property
    def latest(self) -> WorkflowRef:
        return WorkflowRef(self.id, self.run_id)

    @property
    def guarded(self) -> WorkflowRef:
        """As `latest`, and no other chain of runs that has taken the id since the start."""
        return WorkflowRef(self.id, self.run_id, self.started.first_run_id if self.started else None)

    @property
    def awaited(self) -> WorkflowRef:
        """The run whose result counts; the engine follows those that continue or retry it."""
        return WorkflowRef(self.id, self.started.run_id if self.started else self.run_id)


class WorkflowHandle(Generic[Resp_co]):
    """Root of the generated `Handle` classes, one per workflow: signals, queries and updates a run, and awaits it.

    A handle that a start returned follows the run through retries and continue-as-new. One that names a `run_id` stays
    with that run; one that does not means the latest run of the id.

    Args:
        engine: What runs it.
        workflow: The workflow in the contract.
        workflow_id: Id of the workflow.
        run_id: One run of it.
    """

    def __init__(
        self,
        engine: Engine,
        workflow: contract.Workflow[object, Resp_co],
        workflow_id: str,
        *,
        run_id: str | None = None,
    ) -> None:
        options.check_id(workflow_id, f"handle of {workflow.name}: workflow_id")
        options.check_text(run_id, f"handle of {workflow.name}: run_id")
        self.__protopact__ = _Target(engine, workflow, workflow_id, run_id)

    @property
    def id(self) -> str:
        """Id of the workflow."""
        return self.__protopact__.id

    @property
    def run_id(self) -> str | None:
        """The run that was started, or that the handle was made for; None when it means the latest."""
        target = self.__protopact__
        return target.started.run_id if target.started else target.run_id

    def __repr__(self) -> str:
        """Names the workflow, its id and its run."""
        run = f", run_id={self.run_id!r}" if self.run_id else ""
        return f"<{type(self).__qualname__} of {self.__protopact__.workflow.name}: {self.id!r}{run}>"

    async def result(self, *, follow_runs: bool = True) -> Resp_co:
        """Wait until the workflow has closed, and return what it returned.

        Args:
            follow_runs: Go on with the run that continues or retries the awaited one.

        Raises:
            WorkflowFailedError: It failed, timed out, was cancelled or terminated; `cause` says why.
            WorkflowContinuedAsNewError: `follow_runs` is false and it went on as another run.
            NotFoundError: There is no such run.
        """
        target = self.__protopact__
        return await target.engine.workflow_result(target.awaited, target.workflow.response, follow_runs=follow_runs)

    async def cancel(self, *, reason: str = "") -> None:
        """Ask the workflow to cancel.

        Raises:
            NotFoundError: There is no such run.
            AlreadyClosedError: It is closed.
        """
        options.check_text(reason, "reason of a cancellation")
        target = self.__protopact__
        await target.engine.cancel_workflow(CancelWorkflow(ref=target.guarded, reason=reason))

    async def terminate(self, *, reason: str = "") -> None:
        """Close the workflow at once, without asking it.

        Raises:
            NotFoundError: There is no such run.
            AlreadyClosedError: It is closed.
        """
        options.check_text(reason, "reason of a termination")
        target = self.__protopact__
        await target.engine.terminate_workflow(TerminateWorkflow(ref=target.guarded, reason=reason))

    async def reset(self, *, event_id: int, reason: str = "") -> Self:
        """Begin a new run with the run's history up to a workflow task, which the new run does again.

        The run that has the id is terminated if it is open. Signals that came after that task are delivered to the new
        run; its activities, timers and random numbers after it are its own.

        Args:
            event_id: The event that starts, completes or fails the workflow task, as `history()` shows it.
            reason: Why; it stands in both histories.

        Returns:
            A handle on the new run.

        Raises:
            NotFoundError: There is no such run.
            OptionError: It cannot be reset to that event; the message says to which.
        """
        target = self.__protopact__
        call = ResetWorkflow(ref=target.guarded, event_id=event_id, reason=reason)
        run_id = await target.engine.reset_workflow(call)
        return type(self)(target.engine, target.workflow, target.id, run_id=run_id)

    async def describe(self) -> WorkflowDescription:
        """What the engine knows of the run.

        Raises:
            NotFoundError: There is no such run.
        """
        return await self.__protopact__.engine.describe_workflow(self.__protopact__.guarded)

    async def history(self) -> History:
        """The history of the run; payloads are decoded by the engine's codecs.

        Raises:
            NotFoundError: There is no such run.
        """
        ref, events = await self.__protopact__.engine.workflow_history(self.__protopact__.guarded)
        if isinstance(events, History):
            return events
        return History(events, workflow_id=ref.workflow_id, run_id=ref.run_id)


class UpdateHandle(Generic[Resp_co]):
    """An update that was accepted.

    Args:
        engine: What runs the workflow.
        response: What the contract declares for its result.
        started: The engine's answer.
    """

    def __init__(self, engine: Engine, response: contract.Message[Resp_co], started: UpdateStarted) -> None:
        self._engine = engine
        self._response = response
        self._started = started

    @property
    def id(self) -> str:
        """Id of the update."""
        return self._started.update_id

    @property
    def workflow_id(self) -> str:
        """Id of the workflow."""
        return self._started.ref.workflow_id

    async def result(self) -> Resp_co:
        """Wait until the update has completed, and return what it returned.

        Raises:
            UpdateFailedError: It failed; `cause` says why.
            NotFoundError: There is no such update.
        """
        return await self._engine.update_result(self._started, self._response)


async def start_workflow(
    client: Client, handle: type[H], workflow: contract.Workflow[Req, Resp], request: Req, given: StartOptions
) -> H:
    """Start a run, or find the one that has the id, as the policies say.

    Args:
        client: A client.
        handle: Generated handle class of the workflow.
        workflow: The workflow in the contract.
        request: Its request; None for `google.protobuf.Empty`.
        given: What the call overrides.

    Raises:
        AlreadyStartedError: The id is taken and the policies refuse.
        TemplateError: The id cannot be computed from the request.
        OptionError: An option is wrong.
        PayloadError: The request cannot be encoded.
    """
    call = _start(client.engine, workflow, request, given, StartOptions)
    return _handle(client, handle, workflow, await client.engine.start_workflow(call))


async def execute_workflow(
    client: Client, workflow: contract.Workflow[Req, Resp], request: Req, given: StartOptions
) -> Resp:
    """Start a run and wait for its result; raises what `start_workflow` and `WorkflowHandle.result` raise."""
    started = await client.engine.start_workflow(_start(client.engine, workflow, request, given, StartOptions))
    return await client.engine.workflow_result(WorkflowRef(started.workflow_id, started.run_id), workflow.response)


async def signal_with_start(  # noqa: PLR0917 - two calls in one
    client: Client,
    handle: type[H],
    workflow: contract.Workflow[Req, Resp],
    request: Req,
    signal: contract.Signal[Other],
    signal_request: Other,
    given: StartOptions,
) -> H:
    """Signal the open run of the id, or start one and signal it, in one step; raises as `start_workflow`."""
    start = _start(client.engine, workflow, request, given, StartOptions)
    call = _signal(WorkflowRef(start.workflow_id), signal, signal_request)
    return _handle(client, handle, workflow, await client.engine.signal_with_start(start, call))


async def update_with_start(  # noqa: PLR0917 - two calls in one
    client: Client,
    handle: type[H],
    workflow: contract.Workflow[Req, Resp],
    request: Req,
    update: contract.Update[Other, Answer],
    update_request: Other,
    given: UpdateWithStartOptions,
) -> tuple[H, UpdateHandle[Answer]]:
    """Update the open run of the id, or start one and update it, in one step.

    Raises what `start_workflow` and `start_update` raise.
    """
    start = _start(client.engine, workflow, request, given, UpdateWithStartOptions)
    for ref in workflow.updates:
        if ref.update is update:
            start.options.setdefault("id_conflict_policy", ref.id_conflict_policy)
    update_options = UpdateOptions()
    if "update_id" in given:
        update_options["id"] = given["update_id"]
    if "wait_for_stage" in given:
        update_options["wait_for_stage"] = given["wait_for_stage"]
    call = _update(client.engine, WorkflowRef(start.workflow_id), update, update_request, update_options)
    started, accepted = await client.engine.update_with_start(start, call)
    updated = UpdateHandle(client.engine, update.response, accepted)
    await _wait(updated, call)
    return _handle(client, handle, workflow, started), updated


async def signal_workflow(handle: WorkflowHandle[object], signal: contract.Signal[Req], request: Req) -> None:
    """Signal a run; when this returns, the signal is not lost any more.

    Raises:
        NotFoundError: There is no such run.
        AlreadyClosedError: The run is closed.
        PayloadError: The request cannot be encoded.
    """
    target = handle.__protopact__
    await target.engine.signal_workflow(_signal(target.latest, signal, request))


async def query_workflow(handle: WorkflowHandle[object], query: contract.Query[Req, Resp], request: Req) -> Resp:
    """Ask a run, open or closed.

    Raises:
        NotFoundError: There is no such run.
        QueryError: The query was refused, failed, or nobody answered in time.
        PayloadError: The request cannot be encoded.
    """
    _check_class(query.request, request, f"request of {query.name}")
    target = handle.__protopact__
    return await target.engine.query_workflow(QueryWorkflow(ref=target.latest, query=query, request=request))


async def execute_update(
    handle: WorkflowHandle[object], update: contract.Update[Req, Resp], request: Req, given: UpdateOptions
) -> Resp:
    """Update a run and wait for the update's result; raises what `start_update` and `UpdateHandle.result` raise."""
    target = handle.__protopact__
    accepted = await target.engine.update_workflow(_update(target.engine, target.latest, update, request, given))
    return await target.engine.update_result(accepted, update.response)


async def start_update(
    handle: WorkflowHandle[object], update: contract.Update[Req, Resp], request: Req, given: UpdateOptions
) -> UpdateHandle[Resp]:
    """Update a run and wait as far as `wait_for_stage` says; whether the update failed is for `UpdateHandle.result`.

    Raises:
        NotFoundError: There is no such run.
        AlreadyClosedError: The run is closed.
        UpdateFailedError: The workflow rejected the update.
        TemplateError: The update's id cannot be computed from the request.
        OptionError: An option is wrong.
        PayloadError: The request cannot be encoded.
    """
    target = handle.__protopact__
    call = _update(target.engine, target.latest, update, request, given)
    updated = UpdateHandle(target.engine, update.response, await target.engine.update_workflow(call))
    await _wait(updated, call)
    return updated


def _start(
    engine: Engine,
    workflow: contract.Workflow[Req, Resp],
    request: Req,
    given: StartOptions,
    kind: type[StartOptions],
) -> StartWorkflow[Req, Resp]:
    where = f"start of {workflow.name}"
    options.check(kind, given, where)
    if kind is UpdateWithStartOptions and (delay := given.get("start_delay")):
        raise OptionError(
            f"{where} with an update: expected no start_delay, found {delay}: an update waits for no "
            "start. Start the workflow with the delay, and update it then"
        )
    _check_class(workflow.request, request, f"request of {workflow.name}")
    if "id" in given:
        workflow_id = given["id"]
    elif workflow.id is not None:
        workflow_id = template.render(workflow.id, request, where=f"workflow id of {workflow.name}", uuid4=engine.uuid4)
        options.check_id(workflow_id, f"workflow id of {workflow.name}")
    else:
        workflow_id = str(engine.uuid4())
    names = StartOptions.__annotations__
    overrides = cast("StartOptions", {name: value for name, value in given.items() if name in names})
    attributes = template.search_attributes(workflow, request, uuid4=engine.uuid4)
    if attributes:
        options.check_search_attributes(attributes, where)
        overrides["search_attributes"] = {**attributes, **given.get("search_attributes", {})}
    return StartWorkflow(workflow=workflow, workflow_id=workflow_id, request=request, options=overrides)


def _signal(ref: WorkflowRef, signal: contract.Signal[object], request: object) -> SignalWorkflow[object]:
    _check_class(signal.request, request, f"request of {signal.name}")
    return SignalWorkflow(ref=ref, signal=signal, request=request)


def _update(
    engine: Engine,
    ref: WorkflowRef,
    update: contract.Update[object, object],
    request: object,
    given: UpdateOptions,
) -> UpdateWorkflow[object, object]:
    options.check(UpdateOptions, given, f"update {update.name}")
    _check_class(update.request, request, f"request of {update.name}")
    if "id" in given:
        update_id = given["id"]
    elif update.id is not None:
        update_id = template.render(update.id, request, where=f"update id of {update.name}", uuid4=engine.uuid4)
        options.check_id(update_id, f"update id of {update.name}")
    else:
        update_id = str(engine.uuid4())
    stage = given.get("wait_for_stage", update.wait_for_stage)
    resolved = UpdateOptions(id=update_id, wait_for_stage=stage)
    return UpdateWorkflow(ref=ref, update=update, update_id=update_id, request=request, options=resolved)


async def _wait(handle: UpdateHandle[object], call: UpdateWorkflow[object, object]) -> None:
    if call.options.get("wait_for_stage") is WaitForStage.COMPLETED:
        with suppress(UpdateFailedError):  # the handle says so again
            await handle.result()


def _handle(client: Client, handle: type[H], workflow: contract.Workflow[object, object], started: Started) -> H:
    made = handle(client.engine, workflow, started.workflow_id)
    made.__protopact__ = _Target(client.engine, workflow, started.workflow_id, None, started)
    return made


def _check_class(message: contract.Message[object], request: object, where: str) -> None:
    """Templates read the request before the converter sees it."""
    if type(request) is not message.type:
        refuse_class(message, request, where)
