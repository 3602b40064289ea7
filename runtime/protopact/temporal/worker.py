"""A worker on Temporal: one worker of the SDK for each task queue that it serves, which start and stop together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.common import HeaderCodecBehavior
from temporalio.runtime import Runtime
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from protopact.engine import WorkerOptions
from protopact.errors import EngineError, RegistrationError
from protopact.failure import FailureConverter
from protopact.interceptor import Interceptor
from protopact.payload import Encoding, PayloadCodec, PayloadConverter
from protopact.replay.definition import Definition
from protopact.temporal.activities import Activities
from protopact.temporal.client import connect_again
from protopact.temporal.conversion import worker_data_converter
from protopact.temporal.converter import data_converter
from protopact.temporal.definitions import define
from protopact.temporal.failures import TemporalFailures
from protopact.temporal.headers import HeaderInterceptor
from protopact.temporal.instances import Instances, RunnerCheck
from protopact.temporal.run import Serving
from protopact.temporal.sandbox import fitting
from protopact.temporal.tuning import TemporalWorkerOptions, deployment_of_environment
from protopact.termination import Termination
from protopact.worker import RegisteredWorkflow, Registry, build_id_of, registered_workflows
from protopact.workflow import Workflow

__all__ = ["replayer", "serve"]


@asynccontextmanager
async def serve(
    client: temporalio.client.Client,
    options: WorkerOptions,
    *,
    converter: PayloadConverter,
    interceptors: Sequence[Interceptor] = (),
    stops: list[Callable[[], Awaitable[None]]],
) -> AsyncGenerator[None]:
    """Serve workflows and activities while the context is open, or until it is told to stop.

    Args:
        client: Connected client of the SDK.
        options: What is served, and how.
        converter: Messages to payloads and back.
        interceptors: Interceptors of ours, the first one outermost.
        stops: What stops it is in there while the context is open.

    Raises:
        RegistrationError: What was given cannot be served.
        EngineConnectionError: The queue has a worker of this connection already, and another connection cannot be made.
        EngineError: On leaving: a worker of the SDK failed.
    """
    worker = _Worker(client, options, converter, interceptors)
    await worker.register()
    worker.start()
    stops.append(worker.stop)
    try:
        async with Termination(worker.stop, handles_signals=options.handle_signals):
            yield
    except asyncio.CancelledError:
        worker.raise_if_failed()
        raise
    finally:
        stops.remove(worker.stop)
    worker.raise_if_failed()


class _Worker:
    """Workers of the SDK, one for each queue."""

    def __init__(
        self,
        client: temporalio.client.Client,
        options: WorkerOptions,
        converter: PayloadConverter,
        interceptors: Sequence[Interceptor],
    ) -> None:
        self._client = client
        self._options = options
        self._registry = Registry(options)
        self._tuning = tuning = options.temporal or TemporalWorkerOptions()
        self._version = self._named_version()
        self._converter = converter
        self._failures = TemporalFailures(converter)
        self._interceptors = interceptors
        written = client.data_converter
        self._activities = Activities(
            self._registry,
            converter=converter,
            failures=self._failures,
            interceptors=interceptors,
            is_coded=written.payload_codec is not None or written.external_storage is not None,
        )
        self._definitions = _definitions(
            self._registry.workflows.values(),
            converter=converter,
            failures=self._failures,
            failure_types=options.workflow_failure_exception_types,
            interceptors=interceptors,
            sandboxed=tuning.sandboxed,
            checks_origin=True,
        )
        self._instances = Instances(fitting(tuning.sandbox_restrictions or SandboxRestrictions.default))
        self._workers: list[temporalio.worker.Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._body: asyncio.Task[Any] | None = None
        self._cancelled: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None

    def _named_version(self) -> dict[str, Any]:  # of as many types as there are ways to say it
        options, given = self._options, self._tuning.deployment_config
        if given is None and options.build_id is None:
            given = deployment_of_environment(os.environ)
        if given is not None:
            return {"deployment_config": given}
        return {"build_id": options.build_id or build_id_of(options.workflows)}

    async def register(self) -> None:
        """Make the workers, which the connection then knows.

        Raises:
            RegistrationError: The SDK does not make one of them.
            EngineConnectionError: One needs a connection of its own, which cannot be made.
        """
        try:
            for queue in sorted(self._registry.workflow_queues | self._registry.activity_queues):
                self._workers.append(await self._registered(queue))
        except BaseException:
            # A worker is known until it has run.
            self.start()
            await self.stop()
            raise

    async def _registered(self, queue: str) -> temporalio.worker.Worker:
        try:
            return self._make(self._client, queue)
        except RegistrationError as error:
            # A queue that this connection serves already, be it by a worker that is written on the SDK.
            if _TWICE not in str(error.__cause__):
                raise
        return self._make(await connect_again(self._client), queue)

    def _make(self, client: temporalio.client.Client, queue: str) -> temporalio.worker.Worker:
        options, tuning, registry = self._options, self._tuning, self._registry
        arguments = tuning.arguments()
        if tuning.tuner is None:
            arguments["max_concurrent_activities"] = options.max_concurrent_activities
            arguments["max_concurrent_local_activities"] = options.max_concurrent_local_activities
        arguments |= self._version
        if queue not in registry.activity_queues:
            arguments.setdefault("no_remote_activities", True)
        try:
            return temporalio.worker.Worker(
                _with_converter(client, self._converter, self._failures),
                task_queue=queue,
                workflows=self._definitions if queue in registry.workflow_queues else [],
                activities=self._activities.functions,
                workflow_runner=self._instances.sandboxed,
                unsandboxed_workflow_runner=self._instances.unsandboxed,
                identity=options.identity,
                max_cached_workflows=options.max_cached_workflows,
                graceful_shutdown_timeout=options.graceful_shutdown_timeout,
                interceptors=[*tuning.interceptors, *([HeaderInterceptor()] if self._interceptors else [])],
                # The last one sees what the others have made of it.
                plugins=[*_worker_plugins(self._client), *tuning.plugins, RunnerCheck()],
                **arguments,
            )
        except Exception as error:  # of the SDK's, or of an interceptor or plugin
            told = str(error) if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: {error}"
            cause = f"; {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
            if cause and tuning.sandboxed and any(each.__module__ == "__main__" for each in options.workflows):
                cause += (
                    "; Temporal's sandbox imports the script anew: what the script does stands below "
                    '`if __name__ == "__main__":`'
                )
            raise RegistrationError(f"the worker of task queue {queue!r} cannot be made: {told}{cause}") from error

    def start(self) -> None:
        """Begin to serve; a worker that fails cancels the task that calls this."""
        self._body = asyncio.current_task()
        for worker in self._workers:
            task = asyncio.create_task(worker.run(), name=f"worker of {worker.task_queue}")
            task.add_done_callback(self._has_ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stop to serve: activities have the grace period to end. Idempotent."""
        self._body = None
        # A worker that a plugin kept from running never says that it has shut down; its task has ended all the same.
        requests = [asyncio.create_task(worker.shutdown()) for worker in self._workers]
        if self._tasks:
            await asyncio.wait(self._tasks)
        for request in requests:
            request.cancel()
        await self._instances.evict()
        self._activities.close()

    def raise_if_failed(self) -> None:
        """Raise what has ended a worker.

        Raises:
            EngineError: A worker of the SDK failed.
        """
        if self._failure is not None:
            if self._cancelled is not None:
                self._cancelled.uncancel()
            raise EngineError(f"the worker failed and has stopped: {self._failure}") from self._failure

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failure = self._failure or error
            if self._body is not None:
                self._cancelled, self._body = self._body, None
                self._cancelled.cancel()


_TWICE = "Registration of multiple workers"
"""What the SDK says of a second worker that a connection has for a queue."""


def _definitions(
    registered: Iterable[RegisteredWorkflow],
    *,
    converter: PayloadConverter,
    failures: TemporalFailures,
    failure_types: Sequence[type[BaseException]],
    interceptors: Sequence[Interceptor],
    sandboxed: bool,
    checks_origin: bool,
) -> list[type]:
    found: list[type] = []
    for cls in dict.fromkeys(each.cls for each in registered):
        definition = Definition(
            workflow=cls,
            converter=converter,
            failures=FailureConverter(converter),
            failure_exception_types=failure_types,
            interceptors=interceptors,
        )
        found += define(Serving(definition, failures, checks_origin), sandboxed=sandboxed)
    return found


def _with_converter(
    client: temporalio.client.Client, converter: PayloadConverter, failures: TemporalFailures
) -> temporalio.client.Client:
    config = client.config(active_config=True)
    config["data_converter"] = worker_data_converter(config["data_converter"], converter=converter, failures=failures)
    config["plugins"] = []  # they have had their say about the client, and the workers are given them
    return temporalio.client.Client(**config)


def _worker_plugins(client: temporalio.client.Client) -> list[temporalio.worker.Plugin]:
    return [each for each in client.config(active_config=True)["plugins"] if isinstance(each, temporalio.worker.Plugin)]


def replayer(
    workflows: Sequence[type[Workflow]],
    *,
    encoding: Encoding = "json/protobuf",
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    workflow_failure_exception_types: Sequence[type[Exception]] = (),
    sandboxed: bool = True,
    sandbox_restrictions: SandboxRestrictions | None = None,
    temporal_interceptors: Sequence[temporalio.worker.Interceptor] = (),
    plugins: Sequence[temporalio.worker.Plugin] = (),
    namespace: str = "default",
    build_id: str | None = None,
    identity: str | None = None,
    workflow_task_executor: ThreadPoolExecutor | None = None,
    debug_mode: bool = False,
    runtime: Runtime | None = None,
) -> temporalio.worker.Replayer:
    """Temporal's own replayer, for workflow classes of contracts.

    `protopact.replay.Replayer` reads the same histories, is stricter, faster, and says more of what is wrong.

    Args:
        workflows: Workflow classes.
        encoding: How messages are written.
        codecs: Payload codecs with which the histories were written.
        interceptors: Interceptors that the workflows ran with.
        workflow_failure_exception_types: Exceptions that fail a run instead of its task.
        sandboxed: Whether workflows run in Temporal's sandbox.
        sandbox_restrictions: See `TemporalWorkerOptions`.
        temporal_interceptors: Interceptors of the SDK.
        plugins: Plugins of the SDK.
        namespace: What `workflow.info()` says of it.
        build_id: Version of the code.
        identity: Name of the replayer.
        workflow_task_executor: Threads that run workflow code.
        debug_mode: Whether code may stand still, for debuggers.
        runtime: Runtime of the SDK, with its metrics and logs.

    Raises:
        RegistrationError: The classes cannot be run.
    """
    converter = PayloadConverter(encoding)
    failures = TemporalFailures(converter)
    base = data_converter(encoding=encoding, codecs=codecs)
    instances = Instances(fitting(sandbox_restrictions or SandboxRestrictions.default))
    return temporalio.worker.Replayer(
        workflows=_definitions(
            registered_workflows(workflows).values(),
            converter=converter,
            failures=failures,
            failure_types=workflow_failure_exception_types,
            interceptors=interceptors,
            sandboxed=sandboxed,
            checks_origin=False,
        ),
        workflow_runner=instances.sandboxed,
        unsandboxed_workflow_runner=instances.unsandboxed,
        data_converter=worker_data_converter(base, converter=converter, failures=failures),
        interceptors=[*temporal_interceptors, *([HeaderInterceptor()] if interceptors else [])],
        plugins=[*plugins, RunnerCheck()],
        header_codec_behavior=HeaderCodecBehavior.CODEC,
        namespace=namespace,
        build_id=build_id,
        identity=identity,
        workflow_task_executor=workflow_task_executor,
        debug_mode=debug_mode,
        runtime=runtime,
    )
