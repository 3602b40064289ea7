"""The one interface between the public face and the engines.

Clients, handles and workers speak to an `Engine`; the embedded engine and the Temporal engine implement it. Calls carry
messages, not payloads: encoding is the engine's, so that each engine applies its converter and codecs once.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from protopact import contract
from protopact.completion import (
    ActivityRef,
    AsyncActivityHandle,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    ReportActivityCancellation,
    contract_of,
)
from protopact.history.event import Event
from protopact.origin import Origin
from protopact.payload.payload import Headers, Payload
from protopact.policy import SearchAttributeValue, StartOptions, UpdateOptions

if TYPE_CHECKING:
    from protopact.activity import Activities
    from protopact.temporal.tuning import TemporalWorkerOptions
    from protopact.workflow import Workflow

__all__ = [
    "CancelWorkflow",
    "Engine",
    "PendingActivity",
    "QueryWorkflow",
    "ResetWorkflow",
    "SignalWorkflow",
    "StartWorkflow",
    "Started",
    "TerminateWorkflow",
    "UpdateStarted",
    "UpdateWorkflow",
    "WorkerOptions",
    "WorkflowDescription",
    "WorkflowRef",
    "WorkflowStatus",
]

Req = TypeVar("Req")
Resp = TypeVar("Resp")


@dataclass(frozen=True, slots=True)
class WorkflowRef:
    """Names a run: the latest of `workflow_id`, or exactly `run_id`.

    `first_run_id`, when given, names the chain of runs that began with it: nothing is done to another chain that has
    taken the id since, and what is looked at is the latest run of that chain.
    """

    workflow_id: str
    run_id: str | None = None
    first_run_id: str | None = None


@dataclass(slots=True, kw_only=True)
class StartWorkflow(Generic[Req, Resp]):
    """A start. `workflow_id` has been computed from the contract's template or the call's `id`."""

    workflow: contract.Workflow[Req, Resp]
    workflow_id: str
    request: Req
    options: StartOptions = field(default_factory=StartOptions)
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class SignalWorkflow(Generic[Req]):
    """A signal."""

    ref: WorkflowRef
    signal: contract.Signal[Req]
    request: Req
    headers: Headers = field(default_factory=dict[str, Payload])
    request_id: str | None = None


@dataclass(slots=True, kw_only=True)
class QueryWorkflow(Generic[Req, Resp]):
    """A query. `timeout` limits the wait for a worker."""

    ref: WorkflowRef
    query: contract.Query[Req, Resp]
    request: Req
    headers: Headers = field(default_factory=dict[str, Payload])
    timeout: timedelta = timedelta(seconds=10)


@dataclass(slots=True, kw_only=True)
class UpdateWorkflow(Generic[Req, Resp]):
    """An update. `update_id` de-duplicates: the second update with an id answers as the first."""

    ref: WorkflowRef
    update: contract.Update[Req, Resp]
    update_id: str
    request: Req
    options: UpdateOptions = field(default_factory=UpdateOptions)
    headers: Headers = field(default_factory=dict[str, Payload])


@dataclass(slots=True, kw_only=True)
class CancelWorkflow:
    """A request to cancel."""

    ref: WorkflowRef
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class TerminateWorkflow:
    """A termination."""

    ref: WorkflowRef
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class ResetWorkflow:
    """A reset: `event_id` starts or ends the workflow task that is done again."""

    ref: WorkflowRef
    event_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Answer to a start: the run that has the id, and whether this start began it."""

    workflow_id: str
    run_id: str
    first_run_id: str
    started: bool


@dataclass(frozen=True, slots=True)
class UpdateStarted:
    """Answer to an update that was accepted: what to ask for its outcome."""

    ref: WorkflowRef
    update_id: str


class WorkflowStatus(Enum):
    """State of a run."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    TERMINATED = "Terminated"
    CONTINUED_AS_NEW = "ContinuedAsNew"
    TIMED_OUT = "TimedOut"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingActivity:
    """An activity that a run waits for."""

    activity_id: str
    activity_type: str
    attempt: int
    started: bool
    last_failure: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDescription:
    """What an engine knows of a run without running it.

    Attributes:
        first_run_id: The run that began the chain of runs; empty in the lists of a server.
        history_length: Number of events; 0 for open runs in the lists of a server.
        task_failure: Why the run's last workflow task failed; None when nothing is wrong. A run with a task failure is
            parked: it is tried again with back-off and at once by a worker with another build.
        memo: Its memo, without what protopact keeps there.
        origin: The contract under which it was started; None when it carries none.
        pending_activities: Activities it waits for; empty in lists.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    start_time: datetime
    close_time: datetime | None
    history_length: int
    memo: Mapping[str, str]
    search_attributes: Mapping[str, SearchAttributeValue]
    origin: Origin | None = None
    task_failure: str | None = None
    pending_activities: tuple[PendingActivity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker serves, and how much at once.

    Attributes:
        workflows: Workflow classes; each claims itself.
        activities: Instances of generated activities classes; each claims its service's activities.
        services: Generated service classes whose every element must be served; what is missing is an error at start.
        task_queue: Poll this queue only, for everything served; by default every queue that the contract names.
        max_concurrent_activities: Attempts that run at once.
        max_concurrent_local_activities: Attempts of local activities that run at once.
        max_cached_workflows: Runs kept in memory between their tasks, at 10 to 25 KiB each; another one is
            replayed when something happens to it.
        graceful_shutdown_timeout: How long activities may go on after the worker was asked to stop.
        workflow_failure_exception_types: Exceptions that fail a run instead of its task.
        identity: Name of the worker in histories; by default that of the connection.
        build_id: Version of the worker's code.
        handle_signals: Whether SIGTERM and SIGINT stop the worker and end the process; see `Engine.worker`.
        temporal: What only a worker of Temporal can be told; other engines ignore it.
    """

    workflows: Sequence[type[Workflow]] = ()
    activities: Sequence[Activities] = ()
    services: Sequence[type] = ()
    task_queue: str | None = None
    max_concurrent_activities: int = 100
    max_concurrent_local_activities: int = 100
    max_cached_workflows: int = 1000
    graceful_shutdown_timeout: timedelta = timedelta(seconds=10)
    workflow_failure_exception_types: Sequence[type[Exception]] = ()
    identity: str | None = None
    build_id: str | None = None
    handle_signals: bool = True
    temporal: TemporalWorkerOptions | None = None


class Engine(ABC):
    """An engine: the embedded one, or Temporal. Obtained from `protopact.connect`."""

    def uuid4(self) -> UUID:
        """A random UUID, for an id that neither the call nor the contract gives; an engine of tests repeats its own."""
        return uuid.uuid4()

    @abstractmethod
    async def start_workflow(self, call: StartWorkflow[Req, Resp]) -> Started:
        """Start a run, or find the one that has the id, as the policies say.

        Raises:
            AlreadyStartedError: The id is taken and the policies refuse.
            PayloadError: The request cannot be encoded.
        """

    @abstractmethod
    async def signal_workflow(self, call: SignalWorkflow[Req]) -> None:
        """Deliver a signal; when this returns, it is not lost any more.

        Raises:
            NotFoundError: There is no such run.
            AlreadyClosedError: The run is closed.
            RunLimitError: The run has had too many signals.
            PayloadError: The request cannot be encoded.
        """

    @abstractmethod
    async def signal_with_start(self, start: StartWorkflow[Req, Resp], signal: SignalWorkflow[object]) -> Started:
        """Signal the open run with the id, or start one and signal it, in one step."""

    @abstractmethod
    async def query_workflow(self, call: QueryWorkflow[Req, Resp]) -> Resp:
        """Ask a run, open or closed.

        Raises:
            NotFoundError: There is no such run.
            QueryError: The query is unknown to the worker, was refused, failed, or nobody answered in time.
        """

    @abstractmethod
    async def update_workflow(self, call: UpdateWorkflow[Req, Resp]) -> UpdateStarted:
        """Send an update and wait until it is accepted.

        Raises:
            NotFoundError: There is no such run.
            AlreadyClosedError: The run is closed.
            RunLimitError: The run has had too many updates.
            UpdateFailedError: The workflow rejected it.
        """

    @abstractmethod
    async def update_with_start(
        self, start: StartWorkflow[Req, Resp], update: UpdateWorkflow[object, object]
    ) -> tuple[Started, UpdateStarted]:
        """Update the open run with the id, or start one and update it, in one step."""

    @abstractmethod
    async def update_result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """Wait for the outcome of an accepted update.

        Raises:
            NotFoundError: There is no such update.
            UpdateFailedError: The update failed.
        """

    @abstractmethod
    async def workflow_result(
        self, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool = True
    ) -> Resp:
        """Wait until a run has closed, following runs that continue or retry it.

        Raises:
            NotFoundError: There is no such run.
            WorkflowFailedError: The run did not complete.
            WorkflowContinuedAsNewError: `follow_runs` is false and the run went on as another.
        """

    @abstractmethod
    async def cancel_workflow(self, call: CancelWorkflow) -> None:
        """Ask a run to cancel. Raises `NotFoundError` or `AlreadyClosedError`."""

    @abstractmethod
    async def terminate_workflow(self, call: TerminateWorkflow) -> None:
        """Close a run at once, without asking it. Raises `NotFoundError` or `AlreadyClosedError`."""

    @abstractmethod
    async def reset_workflow(self, call: ResetWorkflow) -> str:
        """Begin a run with the history of another one up to a workflow task; answers its run id.

        Raises:
            NotFoundError: There is no such run.
            OptionError: It cannot be reset to that event.
        """

    @abstractmethod
    async def describe_workflow(self, ref: WorkflowRef) -> WorkflowDescription:
        """Describe a run. Raises `NotFoundError`."""

    @abstractmethod
    def list_workflows(
        self, *, workflow_type: str | None = None, workflow_id: str | None = None, status: WorkflowStatus | None = None
    ) -> AsyncIterator[WorkflowDescription]:
        """Runs that match every given condition, newest first; a server lists open runs before closed ones.

        A server has no index of some texts, such as those with quotes, and looks through all that begins alike.

        Raises:
            OptionError: A condition is no text that can be written.
        """

    @abstractmethod
    async def workflow_history(self, ref: WorkflowRef) -> tuple[WorkflowRef, Sequence[Event]]:
        """The history of a run, payloads decoded by the codecs (not by the converter). Raises `NotFoundError`.

        The events are a `History` when the engine has more of them than the model holds, for `History.to_json`.
        """

    @abstractmethod
    async def delete_workflow(self, ref: WorkflowRef) -> None:
        """Delete a run and its history; an open run is terminated first. Raises `NotFoundError`."""

    @abstractmethod
    async def complete_activity(self, call: CompleteActivity[Resp]) -> None:
        """Complete an activity from outside; see `AsyncActivityHandle`, for the three below too."""

    @abstractmethod
    async def fail_activity(self, call: FailActivity) -> None:
        """Fail an attempt of an activity from outside."""

    @abstractmethod
    async def report_activity_cancellation(self, call: ReportActivityCancellation) -> None:
        """End an activity whose cancellation was requested."""

    @abstractmethod
    async def heartbeat_activity(self, call: HeartbeatActivity) -> None:
        """Record a heartbeat from outside."""

    def async_activity_handle(
        self,
        activity: Callable[..., Awaitable[Resp] | Resp],
        /,
        *,
        task_token: bytes | None = None,
        workflow_id: str = "",
        run_id: str | None = None,
        activity_id: str = "",
    ) -> AsyncActivityHandle[Resp]:
        """A handle of an activity whose code has called `activity.raise_complete_async`.

        ::

            handle = engine.async_activity_handle(NodeProvisionerService.Activities.create_vm, task_token=token)
            await handle.complete(CreateVmResponse(vm_id="vm-1"))

        Nothing is asked of the engine until the handle is used.

        Args:
            activity: The method of the generated activities class: it says what the response is.
            task_token: `activity.info().task_token` of the attempt; or else the ids.
            workflow_id: Workflow that called it.
            run_id: Run that called it; by default the latest of the workflow.
            activity_id: Id of the activity, `activity.info().activity_id`.

        Raises:
            OptionError: `activity` is no such method, or what names it is missing or given twice.
        """
        ref = ActivityRef(task_token=task_token, workflow_id=workflow_id, run_id=run_id, activity_id=activity_id)
        return AsyncActivityHandle(self, contract_of(activity), ref)

    @abstractmethod
    def run_worker(self, options: WorkerOptions) -> AbstractAsyncContextManager[None]:
        """Serve workflows and activities while the context is open.

        Raises:
            RegistrationError: What was given cannot be served.
        """

    def worker(
        self,
        *,
        workflows: Sequence[type[Workflow]] = (),
        activities: Sequence[Activities] = (),
        services: Sequence[type] = (),
        task_queue: str | None = None,
        max_concurrent_activities: int = 100,
        max_concurrent_local_activities: int = 100,
        max_cached_workflows: int = 1000,
        graceful_shutdown_timeout: timedelta = timedelta(seconds=10),
        workflow_failure_exception_types: Sequence[type[Exception]] = (),
        identity: str | None = None,
        build_id: str | None = None,
        handle_signals: bool = True,
        temporal: TemporalWorkerOptions | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """Serve workflows and activities while the context is open.

        ::

            async with engine.worker(workflows=[AddNode], activities=[Provisioner()]):
                ...

        Leaving the context stops claiming, gives activities the grace period, cancels them, hands back what is left.
        So do SIGTERM and SIGINT, unless the application handles them itself: what the context holds is cancelled, and
        once the worker has stopped the process ends, as `SystemExit` or `KeyboardInterrupt` on its way out. A second
        signal ends it at once, and loses nothing that was recorded.

        Args:
            workflows: Workflow classes; each claims itself.
            activities: Instances of generated activities classes; each claims its service's activities.
            services: Generated service classes whose every element must be served.
            task_queue: Poll this queue only, for everything served; by default every queue that the contract names.
            max_concurrent_activities: Attempts that run at once.
            max_concurrent_local_activities: Attempts of local activities that run at once.
            max_cached_workflows: Runs kept in memory between their tasks, at 10 to 25 KiB each; another one is
                replayed when something happens to it.
            graceful_shutdown_timeout: How long activities may go on after the worker was asked to stop.
            workflow_failure_exception_types: Exceptions that fail a run instead of its task.
            identity: Name of the worker in histories; by default that of the connection.
            build_id: Version of the worker's code; by default a digest of the workflow classes' modules.
            handle_signals: Whether SIGTERM and SIGINT do what is said above. Signals for which the application has
                handlers are left to it.
            temporal: What only a worker of Temporal can be told, such as slots, pollers and Worker Versioning; other
                engines ignore it.

        Raises:
            RegistrationError: On entering: what was given cannot be served.
        """
        return self.run_worker(
            WorkerOptions(
                workflows=workflows,
                activities=activities,
                services=services,
                task_queue=task_queue,
                max_concurrent_activities=max_concurrent_activities,
                max_concurrent_local_activities=max_concurrent_local_activities,
                max_cached_workflows=max_cached_workflows,
                graceful_shutdown_timeout=graceful_shutdown_timeout,
                workflow_failure_exception_types=workflow_failure_exception_types,
                identity=identity,
                build_id=build_id,
                handle_signals=handle_signals,
                temporal=temporal,
            )
        )

    @abstractmethod
    async def close(self) -> None:
        """Stop everything and let go of the engine's resources. Idempotent."""
