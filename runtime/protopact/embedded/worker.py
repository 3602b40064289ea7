"""A worker in this process: what it serves, what it runs, and how it stops."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from protopact.embedded.attempt import AttemptRunner
from protopact.embedded.backlog import Backlog
from protopact.embedded.local import Slots
from protopact.embedded.processes import Served
from protopact.embedded.tick import Caller, Tick
from protopact.embedded.watchdog import Watchdog
from protopact.engine import WorkerOptions
from protopact.errors import StoreError
from protopact.failure import FailureConverter
from protopact.interceptor import Interceptor
from protopact.payload import CodecChain, PayloadConverter
from protopact.replay.definition import Definition
from protopact.worker import Registry, build_id_of

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Worker", "process_identity"]


class Worker:
    """A worker.

    Attributes:
        registry: What it serves.
        served: The same, as other processes know it.
        ready: Attempts that wait for a slot: run and scheduling event.
        due: Runs that wait to be claimed; empty but while they are.
        busy: Attempts that run.
        runner: Runs them.
        local_runner: Runs local activities.
        local_slots: Slots of local activities.
        failures: Exceptions to failures.
        identity: Its name in histories.
        build_id: Version of its code.

    Raises:
        RegistrationError: It cannot serve what it was given.
    """

    def __init__(
        self,
        shell: Shell,
        options: WorkerOptions,
        *,
        converter: PayloadConverter,
        failures: FailureConverter,
        codecs: CodecChain,
        interceptors: Sequence[Interceptor],
    ) -> None:
        self.options = options
        self.registry = Registry(options)
        self.identity = options.identity or shell.identity
        self.build_id = options.build_id or build_id_of(options.workflows)
        self.failures = failures
        self.served = Served(
            workflow_types=tuple(self.registry.workflows),
            workflow_queues=tuple(sorted(self.registry.workflow_queues)),
            activity_types=tuple(self.registry.activities),
            activity_queues=tuple(sorted(self.registry.activity_queues)),
            build_id=self.build_id,
        )
        self.ready = Backlog[tuple[int, int]]()
        self.due = Backlog[int]()
        self.busy = 0
        self._watchdog = Watchdog(shell.loop)
        runner = partial(
            AttemptRunner,
            self.registry,
            loop=shell.loop,
            clock=shell.clock,
            converter=converter,
            failure_converter=failures,
            codecs=codecs,
            interceptors=interceptors,
            watchdog=self._watchdog,
        )
        self.runner = runner(
            on_heartbeat=shell.dispatch.heartbeat,
            on_done=shell.dispatch.done,
            max_threads=options.max_concurrent_activities,
        )
        self.local_runner = runner(
            on_heartbeat=shell.local.heartbeat,
            on_done=shell.local.done,
            max_threads=options.max_concurrent_local_activities,
        )
        self.local_slots = Slots(options.max_concurrent_local_activities)
        self._shell = shell
        self._converter = converter
        self._interceptors = interceptors
        self._definitions: dict[str, Definition] = {}

    @property
    def free(self) -> int:
        """Attempts that it may start now."""
        return self.options.max_concurrent_activities - self.busy

    def definition(self, workflow_type: str) -> Definition:
        """A workflow that it serves, ready to be run."""
        definition = self._definitions.get(workflow_type)
        if definition is None:
            definition = self._definitions[workflow_type] = Definition(
                workflow=self.registry.workflows[workflow_type].cls,
                converter=self._converter,
                failures=self.failures,
                failure_exception_types=self.options.workflow_failure_exception_types,
                interceptors=self._interceptors,
                checks_origin=True,
            )
        return definition

    async def start(self) -> None:
        """Begin to serve."""
        shell = self._shell

        def begin(tick: Tick, caller: Caller) -> None:
            shell.serving.serve(tick, [*shell.serving.workers, self])
            tick.answer(caller)

        await shell.ask(begin)
        # For as long as it serves: workflow code can block the loop as well as an activity.
        self._watchdog.begin()

    async def stop(self) -> None:
        """Stop to serve: runs go to other workers at once, attempts have the grace period to end."""
        shell = self._shell

        def end(tick: Tick, caller: Caller) -> None:
            shell.serving.serve(tick, [worker for worker in shell.serving.workers if worker is not self])
            tick.answer(caller)

        def rest(tick: Tick, caller: Caller) -> None:
            tick.answer(caller)

        try:
            await shell.ask(end)
        except StoreError:
            shell.tell(lambda tick: end(tick, None))  # as soon as the file can be written again
            raise
        finally:
            grace = self.options.graceful_shutdown_timeout
            self.local_slots.close()
            await asyncio.gather(self.runner.stop(grace), self.local_runner.stop(grace))
        # What the last attempts reported goes with this tick, or went with one before.
        await shell.ask(rest)


def process_identity() -> str:
    """Name of this process in histories."""
    return f"{os.getpid()}@{socket.gethostname()}"
