"""The settings of a worker that Temporal's users tune, under Temporal's names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    Interceptor,
    PatchActivationInput,
    Plugin,
    PollerBehavior,
    WorkerDeploymentConfig,
    WorkerTuner,
)
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from protopact.errors import RegistrationError

__all__ = ["TemporalWorkerOptions", "deployment_of_environment"]

_NAME, _BUILD = "TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID"


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalWorkerOptions:
    """What only a worker of Temporal can be told: `engine.worker(..., temporal=TemporalWorkerOptions(...))`.

    What is None is as `temporalio.worker.Worker` has it by default; its documentation says more of each. There is one
    such worker for each task queue that is served, and numbers are for each of them. Other engines ignore all of it.

    Attributes:
        sandboxed: Whether workflows run in Temporal's sandbox, which finds a class by its module and its name.
        sandbox_restrictions: What the sandbox restricts and passes through; generated modules and message libraries
            pass through in any case.
        deployment_config: Deployment and version of the worker, for Worker Versioning; in place of `build_id`, and of
            what the environment says (see `deployment_of_environment`).
        tuner: Gives slots; in place of the numbers of concurrent tasks, those of activities included.
        max_concurrent_workflow_tasks: Workflow tasks at once.
        workflow_task_poller_behavior: How many polls for workflow tasks; `PollerBehaviorAutoscaling()` adapts.
        activity_task_poller_behavior: How many polls for activities.
        nonsticky_to_sticky_poll_ratio: Share of the polls for workflow tasks that is for runs that nobody has cached.
        sticky_queue_schedule_to_start_timeout: How long a task waits for the worker that has its run cached.
        max_activities_per_second: Activities that the worker starts in a second.
        max_task_queue_activities_per_second: Activities that the server hands out of the queue in a second.
        max_heartbeat_throttle_interval: Longest time between two heartbeats that are sent.
        default_heartbeat_throttle_interval: The same for activities without a heartbeat time-out.
        disable_eager_activity_execution: Whether activities go through the queue even when they could start here.
        max_eager_activity_reservations_per_workflow_task: Activities that a workflow task may start here.
        workflow_task_executor: Threads that run workflow code.
        no_remote_activities: Whether the worker runs local activities only.
        debug_mode: Whether code may stand still, for debuggers: no deadlock detection.
        interceptors: Interceptors of the SDK, such as those of OpenTelemetry; beside those of the client.
        plugins: Plugins of the SDK, which may change whatever else a worker is made with, and the worker.
        on_fatal_error: Called when a worker fails as a whole, before it stops.
        patch_activation_callback: Says whether a new patch is taken by a run that meets it for the first time.
        disable_payload_error_limit: Whether payloads that are too large are left to the server to refuse.
        max_workflow_task_external_storage_concurrency: Payloads of a workflow task that are stored or fetched at once,
            where the client has an external storage.
    """

    sandboxed: bool = True
    sandbox_restrictions: SandboxRestrictions | None = None
    deployment_config: WorkerDeploymentConfig | None = None
    tuner: WorkerTuner | None = None
    max_concurrent_workflow_tasks: int | None = None
    workflow_task_poller_behavior: PollerBehavior | None = None
    activity_task_poller_behavior: PollerBehavior | None = None
    nonsticky_to_sticky_poll_ratio: float | None = None
    sticky_queue_schedule_to_start_timeout: timedelta | None = None
    max_activities_per_second: float | None = None
    max_task_queue_activities_per_second: float | None = None
    max_heartbeat_throttle_interval: timedelta | None = None
    default_heartbeat_throttle_interval: timedelta | None = None
    disable_eager_activity_execution: bool | None = None
    max_eager_activity_reservations_per_workflow_task: int | None = None
    workflow_task_executor: ThreadPoolExecutor | None = None
    no_remote_activities: bool | None = None
    debug_mode: bool | None = None
    interceptors: Sequence[Interceptor] = ()
    plugins: Sequence[Plugin] = ()
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None
    patch_activation_callback: Callable[[PatchActivationInput], bool] | None = None
    disable_payload_error_limit: bool | None = None
    max_workflow_task_external_storage_concurrency: int | None = None

    def arguments(self) -> dict[str, Any]:  # of as many types as there are settings
        """What is set, as the SDK's worker takes it."""
        own = {"sandboxed", "sandbox_restrictions", "interceptors", "plugins"}
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        return {name: value for name, value in values.items() if value is not None}


def deployment_of_environment(environ: Mapping[str, str]) -> WorkerDeploymentConfig | None:
    """The worker version that the environment says this process is, as Temporal's worker controller sets it.

    A workflow for which the contract says nothing stays on the version that began it: only its code is known to fit.

    Args:
        environ: Variables of the environment: `TEMPORAL_DEPLOYMENT_NAME` and `TEMPORAL_WORKER_BUILD_ID`.

    Returns:
        The deployment and its version; None when neither variable is set.

    Raises:
        RegistrationError: Only one of the two is set.
    """
    name, build = environ.get(_NAME), environ.get(_BUILD)
    if name and build:
        return WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=name, build_id=build),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    if name or build:
        given, missing = (_NAME, _BUILD) if name else (_BUILD, _NAME)
        raise RegistrationError(
            f"the environment names half of a worker version: {given} is {name or build!r}, and {missing} is not set. "
            "Set both, or neither; or give deployment_config in protopact.temporal.TemporalWorkerOptions"
        )
    return None
