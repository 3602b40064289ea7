"""The runs that a worker of the SDK has in memory: how their tasks fail, and how they are let go.

The SDK has no word for a workflow task that is to fail whatever the code makes of it: here its answer is changed.

Core says when a run is to leave the cache, and the SDK then cancels the run's tasks while nothing that they do counts.
When a worker stops, Core says nothing: what still waits would be left to the garbage collector, which ends coroutines
outside of their loop, where a `finally` of the user's finds no workflow and logs as if it were the workflow's end.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import WorkflowHistory
from temporalio.worker import (
    Plugin,
    Replayer,
    ReplayerConfig,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerConfig,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowReplayResult,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from protopact.executor import ThreadExecutor

__all__ = ["Instances", "RunnerCheck", "fail_activation"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 2.0
"""How long the code of a run may take to be let go; the SDK waits as long before it speaks of a deadlock."""

_EVICTED_AT_ONCE = 16
"""Runs that are let go at once, so that one whose code goes on holds up few."""


class Instances:
    """The runs that a worker has in memory, which its runners make.

    Args:
        restrictions: Of the sandbox.

    Attributes:
        sandboxed: The worker's runner for definitions that are sandboxed.
        unsandboxed: The one for the others.
    """

    def __init__(self, restrictions: SandboxRestrictions) -> None:
        self._held = set[_Instance]()
        self.sandboxed = _SandboxedRunner(restrictions=restrictions, held=self._held)
        self.unsandboxed = _UnsandboxedRunner(self._held)

    async def evict(self) -> None:
        """Let go of each, in threads. To be called when the worker runs no code any more."""
        threads, several = ThreadExecutor(None, "protopact-eviction"), asyncio.Semaphore(_EVICTED_AT_ONCE)

        async def evict(instance: _Instance) -> None:
            async with several:
                await _evict(instance, threads)

        await asyncio.gather(*map(evict, list(self._held)))
        threads.shutdown()


def fail_activation(error: BaseException, failure: FailureProto) -> None:
    """Fail the workflow task of the run whose code calls this, as soon as the code lets go; the first one stands.

    Args:
        error: Why, for the log.
        failure: The same, for the history.
    """
    if _activation.failure is None:
        _activation.failure = error, failure


class _Activation(threading.local):
    """The activation that a thread is at."""

    failure: tuple[BaseException, FailureProto] | None = None

    def take(self) -> tuple[BaseException, FailureProto] | None:
        """Why it is to fail, once."""
        failure, self.failure = self.failure, None
        return failure


_activation = _Activation()


class _Instance(WorkflowInstance):
    """A run, as the SDK has made it.

    Args:
        instance: The SDK's.
        held: Those that have begun and were not let go.
    """

    def __init__(self, instance: WorkflowInstance, held: set[_Instance]) -> None:
        self._instance = instance
        self._held = held

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        is_eviction = len(act.jobs) == 1 and act.jobs[0].HasField("remove_from_cache")
        if not is_eviction:
            self._held.add(self)
        _activation.take()  # what one has left that raised
        completion = self._instance.activate(act)
        failed = _activation.take()
        if is_eviction:
            self._held.discard(self)
        elif failed is not None:
            error, failure = failed
            info = self.get_info()
            _logger.warning(
                "a workflow task of workflow %s (run %s) failed", info.workflow_id, info.run_id, exc_info=error
            )
            completion = WorkflowActivationCompletion()
            completion.failed.failure.CopyFrom(failure)
        return completion

    # What these two take is private to the SDK, and goes through.
    def get_serialization_context(self, command_info: Any) -> Any:  # noqa: ANN401
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:  # noqa: ANN401
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()


@dataclass(frozen=True, kw_only=True)
class _SandboxedRunner(SandboxedWorkflowRunner):
    held: set[_Instance] = field(compare=False, repr=False)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _Instance(super().create_instance(det), self.held)


class _UnsandboxedRunner(UnsandboxedWorkflowRunner):
    def __init__(self, held: set[_Instance]) -> None:
        self._held = held

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _Instance(super().create_instance(det), self._held)


class RunnerCheck(Plugin):
    """Refuses what plugins of the SDK before it have put in the place of the runners of `Instances`."""

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Look at the runners of a worker.

        Raises:
            ValueError: One is another one.
        """
        _check_runners(cast("Mapping[str, object]", config))
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Look at the runners of a replayer; raises as `configure_worker`."""
        _check_runners(cast("Mapping[str, object]", config))
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 - the SDK's
        """Change nothing."""
        await next(worker)

    def run_replayer(
        self,
        replayer: Replayer,
        histories: AsyncIterator[WorkflowHistory],
        next: Callable[[Replayer, AsyncIterator[WorkflowHistory]], _Results],  # noqa: A002 - the SDK's
    ) -> _Results:
        """Change nothing."""
        return next(replayer, histories)


_Results: TypeAlias = AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]


def _check_runners(config: Mapping[str, object]) -> None:
    for name, kind in (("workflow_runner", _SandboxedRunner), ("unsandboxed_workflow_runner", _UnsandboxedRunner)):
        if not isinstance(config[name], kind):
            raise ValueError(  # noqa: TRY004 - a value of a setting
                f"a plugin of temporalio has put {type(config[name]).__name__} in the place of the worker's {name}, "
                "without which runs are not let go when the worker stops. A plugin may change the one that is there: "
                "dataclasses.replace(runner, restrictions=...). Or give sandbox_restrictions or sandboxed=False in "
                "protopact.temporal.TemporalWorkerOptions"
            )


async def _evict(instance: _Instance, threads: ThreadExecutor) -> None:
    loop, info = asyncio.get_running_loop(), instance.get_info()
    job = WorkflowActivationJob(remove_from_cache=RemoveFromCache(message="the worker stops"))
    activation = WorkflowActivation(run_id=info.run_id, jobs=[job])
    ended: asyncio.Future[BaseException | None] = loop.create_future()

    def resolve(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            instance.activate(activation)
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it must not end the thread
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(resolve, error)

    threads.submit(work, contextvars.Context())
    error: BaseException | None
    try:
        error = await asyncio.wait_for(ended, _PATIENCE_SECONDS)
    except TimeoutError as timeout:
        error = timeout
    if error is not None:
        _logger.error(
            "workflow %s (run %s) could not be let go when its worker stopped: expected its code to end when it is "
            "cancelled, found that it goes on. Let CancelledError and other BaseExceptions through",
            info.workflow_id,
            info.run_id,
            exc_info=error,
        )
