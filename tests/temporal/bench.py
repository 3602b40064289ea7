"""What the tests of workers on Temporal share."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import uuid4

import pytest
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import page
from tests.temporal.programs import Everything
from tools import temporal_cli

import protopact
from protopact import activity, workflow
from protopact.engine import Engine
from protopact.history import History
from protopact.interceptor import Interceptor
from protopact.temporal import TemporalWorkerOptions

T = TypeVar("T")

UNSANDBOXED = TemporalWorkerOptions(sandboxed=False)


async def soon(awaitable: Awaitable[T]) -> T:
    """Await what must not take long."""
    return await asyncio.wait_for(awaitable, 20)


class Lab(lab.Activities):
    """Activities that answer at once."""

    async def echo(self, request: Text) -> Text:
        return text(f"{request.value}!")

    def beat(self, request: Text) -> Text:
        activity.heartbeat(request)
        return text(activity.info().activity_id)


@asynccontextmanager
async def serving(
    url: str,
    workflows: Sequence[type[workflow.Workflow]],
    *,
    activities: lab.Activities | None = None,
    interceptors: Sequence[Interceptor] = (),
    temporal: TemporalWorkerOptions | None = UNSANDBOXED,
    failure_types: Sequence[type[Exception]] = (),
    max_cached_workflows: int = 1000,
) -> AsyncGenerator[Bench]:
    """An engine with a worker; tests run one after the other, and so share the contract's queue."""
    async with (
        protopact.connect(url, interceptors=interceptors) as engine,
        engine.worker(
            workflows=workflows,
            activities=[activities or Lab()],
            temporal=temporal,
            workflow_failure_exception_types=failure_types,
            max_cached_workflows=max_cached_workflows,
        ),
    ):
        yield Bench(engine)


async def play(engine: Engine, *, max_cached_workflows: int = 1000) -> list[History]:
    """Play `Everything`: its first run, its last one, and a child."""
    name = f"play-{uuid4()}"
    async with engine.worker(
        workflows=[Everything, Everything.Child], activities=[Lab()], max_cached_workflows=max_cached_workflows
    ):
        handle = await lab.Client(engine).start_free(text("first"), id=name)
        await handle.status(text(""))
        await handle.go(text("one"))
        with pytest.raises(protopact.UpdateFailedError):
            await soon(handle.set(text("")))
        assert (await soon(handle.set(text("two")))).value == "was one"
        await handle.go(text("end"))
        assert (await soon(handle.result())).value == "second"
        child = lab.Client(engine).other_handle(f"{name}-child")
        first = lab.Client(engine).free_handle(name, run_id=handle.run_id)
        latest = lab.Client(engine).free_handle(name)
        return [await each.history() for each in (first, latest, child)]


async def make_current(server: DevServer, deployment: str, build: str) -> None:
    """Run the command of docs/engines.md, once the server has heard of the version."""
    given = {"node-provisioner": deployment, "2.1": build}
    words = [given.get(word, word) for word in page.command("temporal worker deployment set-current-version")]
    binary = await asyncio.to_thread(temporal_cli.provide)
    async with asyncio.timeout(30):
        while True:
            process = await asyncio.create_subprocess_exec(
                binary, *words[1:], "--address", server.address, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            output, _ = await process.communicate()
            if process.returncode == 0:
                return
            # A version is known queue by queue, as each of them is polled.
            assert re.search(rb"not found|missing active task queues", output), output.decode()


class Bench:
    """What a test calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.client = lab.Client(engine)

    async def start(self, value: str = "") -> lab.Free.Handle:
        """Start a Free."""
        return await self.client.start_free(text(value), id=f"free-{uuid4()}")

    async def run(self, value: str = "") -> str:
        """What a Free answers."""
        handle = await self.start(value)
        return (await soon(handle.result())).value
