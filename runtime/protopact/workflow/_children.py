"""Children of a workflow and other workflows: the roots of generated handles, and what generated methods call.

The handles keep nothing but the reserved names and `__protopact__`, so that a signal may have any other name.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from protopact import contract, options, template
from protopact.policy import ChildWorkflowOptions
from protopact.workflow._runtime import ChildRun, get_runtime, uuid4

__all__ = [
    "ChildWorkflowHandle",
    "ExternalWorkflowHandle",
    "execute_child_workflow",
    "external_workflow",
    "signal_child_workflow",
    "signal_external_workflow",
    "start_child_workflow",
]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
Resp_co = TypeVar("Resp_co", covariant=True)
C = TypeVar("C", bound="ChildWorkflowHandle[Any]")  # a handle of the workflow that the contract element names
E = TypeVar("E", bound="ExternalWorkflowHandle")


class ChildWorkflowHandle(Generic[Resp_co]):
    """Root of the generated `ChildHandle` classes, one per workflow: signals a child, awaits it, cancels it.

    Await it for the child's result, or hand it to `asyncio.gather` and the like. Cancelling whoever awaits it does what
    the child's cancellation type says.

    Args:
        child: The child, as the engine has it.
    """

    def __init__(self, child: ChildRun[Resp_co]) -> None:
        self.__protopact__ = child

    @property
    def id(self) -> str:
        """Id of the child."""
        return self.__protopact__.id

    @property
    def run_id(self) -> str:
        """First run of the child."""
        return self.__protopact__.run_id

    def __await__(self) -> Generator[Any, None, Resp_co]:
        """Wait until the child has closed; see `result`."""
        return self.__protopact__.task.__await__()

    def __repr__(self) -> str:
        """Names the workflow, its id and its run."""
        child = self.__protopact__
        return f"<{type(self).__qualname__} of {child.workflow.name}: {child.id!r}, run_id={child.run_id!r}>"

    async def result(self) -> Resp_co:
        """Wait until the child has closed, and return what it returned.

        Raises:
            ChildWorkflowError: It failed, timed out, was cancelled or terminated; its cause says why.
        """
        return await self.__protopact__.task

    def cancel(self, *, reason: str = "") -> None:
        """Cancel the child, as its cancellation type says; whoever awaits it is told how that ends."""
        self.__protopact__.task.cancel(reason)


@dataclass(frozen=True, slots=True)
class _External:
    workflow: contract.Workflow[Any, Any]  # of whatever it takes and returns
    id: str
    run_id: str | None


class ExternalWorkflowHandle:
    """Root of the generated `ExternalHandle` classes, one per workflow: signals and cancels a workflow from another.

    Args:
        workflow: The workflow in the contract.
        workflow_id: Id of the workflow.
        run_id: One run of it; None is its latest.
    """

    def __init__(self, workflow: contract.Workflow[Any, Any], workflow_id: str, *, run_id: str | None = None) -> None:
        options.check_id(workflow_id, f"external handle of {workflow.name}: workflow_id")
        options.check_run_id(run_id, f"external handle of {workflow.name}: run_id")
        self.__protopact__ = _External(workflow, workflow_id, run_id)

    @property
    def id(self) -> str:
        """Id of the workflow."""
        return self.__protopact__.id

    @property
    def run_id(self) -> str | None:
        """The run that is meant; None when it is the latest."""
        return self.__protopact__.run_id

    def __repr__(self) -> str:
        """Names the workflow, its id and its run."""
        run = f", run_id={self.run_id!r}" if self.run_id else ""
        return f"<{type(self).__qualname__} of {self.__protopact__.workflow.name}: {self.id!r}{run}>"

    async def cancel(self, *, reason: str = "") -> None:
        """Ask the workflow to cancel, and wait until it has the request.

        Raises:
            ApplicationError: There is no such workflow, or it is closed, or it is the one that asks.
        """
        target = self.__protopact__
        options.check_text(reason, f"reason of the cancellation of {target.id!r}")
        await get_runtime().cancel_external_workflow(target.id, target.run_id, reason)


async def start_child_workflow(
    handle: type[C], workflow: contract.Workflow[Req, Resp], request: Req, given: ChildWorkflowOptions
) -> C:
    """Start a child of the workflow whose code calls, and wait until it has started.

    Args:
        handle: Generated handle class of the child's workflow.
        workflow: The child's workflow in the contract.
        request: Its request; None for `google.protobuf.Empty`.
        given: What the call overrides.

    Raises:
        AlreadyStartedError: The id is taken and the policy refuses.
        ChildWorkflowError: It was cancelled before it started; its cause says so.
        TemplateError: The id cannot be computed from the request.
        OptionError: An option is wrong.
        PayloadError: The request cannot be encoded.
        ReadOnlyContextError: Called from a query or a validator.
    """
    return handle(await _start(workflow, request, given))


async def execute_child_workflow(
    workflow: contract.Workflow[Req, Resp], request: Req, given: ChildWorkflowOptions
) -> Resp:
    """Start a child and wait for its result; raises what `start_child_workflow` and the handle's `result` raise."""
    return await (await _start(workflow, request, given)).task


async def signal_child_workflow(
    handle: ChildWorkflowHandle[object], signal: contract.Signal[Req], request: Req
) -> None:
    """Signal a child, and wait until it has the signal.

    Raises:
        ApplicationError: The child is closed.
        PayloadError: The request cannot be encoded.
    """
    child = handle.__protopact__
    await get_runtime().signal_external_workflow(child.id, None, signal, request, is_child=True)


def external_workflow(
    handle: type[E], workflow: contract.Workflow[Req, Resp], workflow_id: str, run_id: str | None
) -> E:
    """A handle on any workflow, for the code of another one."""
    return handle(workflow, workflow_id, run_id=run_id)


async def signal_external_workflow(handle: ExternalWorkflowHandle, signal: contract.Signal[Req], request: Req) -> None:
    """Signal another workflow, and wait until it has the signal.

    Raises:
        ApplicationError: There is no such workflow, or it is closed, or it is the one that signals.
        PayloadError: The request cannot be encoded.
    """
    target = handle.__protopact__
    await get_runtime().signal_external_workflow(target.id, target.run_id, signal, request, is_child=False)


async def _start(workflow: contract.Workflow[Req, Resp], request: Req, given: ChildWorkflowOptions) -> ChildRun[Resp]:
    where = f"start of child workflow {workflow.name}"
    options.check(ChildWorkflowOptions, given, where)
    if "id" in given:
        workflow_id = given["id"]
    elif workflow.id is not None:
        workflow_id = template.render(workflow.id, request, where=f"workflow id of {workflow.name}", uuid4=uuid4)
        options.check_id(workflow_id, f"workflow id of {workflow.name}")
    else:
        workflow_id = str(uuid4())
    attributes = template.search_attributes(workflow, request, uuid4=uuid4)
    if attributes:
        options.check_search_attributes(attributes, where)
        given = {**given, "search_attributes": {**attributes, **given.get("search_attributes", {})}}
    return await get_runtime().start_child_workflow(workflow, workflow_id, request, given)
