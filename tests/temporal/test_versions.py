"""Worker versions on a real server, by the words of docs/engines.md."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import VersioningBehavior as Behavior
from tests.devserver import DevServer
from tests.temporal import page
from tests.temporal.bench import make_current, soon
from tests.temporal.rollout.v1.rollout_pb2 import Builds, MoveRequest, ObeyRequest, StayRequest
from tests.temporal.rollout.v1.rollout_protopact import RolloutService as rollout

from protopact import temporal, workflow
from protopact.client import WorkflowHandle
from protopact.engine import WorkflowStatus
from protopact.temporal import TemporalEngine, TemporalWorkerOptions

PINNED, AUTO_UPGRADE = Behavior.VERSIONING_BEHAVIOR_PINNED, Behavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE


class Building(rollout.Activities):
    """Says of which build it is."""

    def __init__(self, build: str) -> None:
        self._build = build

    async def build(self) -> Builds:
        return Builds(ids=[self._build])


async def build_here() -> str:
    """The build that runs the activities of this run's queue."""
    (found,) = (await rollout.build(task_queue=workflow.info().task_queue)).ids
    return found


class Stay(rollout.Stay):
    """Asks who serves, before and after a signal."""

    async def run(self, request: StayRequest) -> Builds:
        before = await build_here()
        await self.go.receive()
        return Builds(ids=[before, await build_here()])


class Move(rollout.Move):
    """Does the same."""

    async def run(self, request: MoveRequest) -> Builds:
        before = await build_here()
        await self.go.receive()
        return Builds(ids=[before, await build_here()])


class Obey(rollout.Obey):
    """Asks once."""

    async def run(self, request: ObeyRequest) -> Builds:
        before = await build_here()
        return Builds(ids=[before])


@dataclass
class Deployment:
    """A deployment whose versions are processes of their own: each has a connection."""

    server: DevServer
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    name: str = field(default_factory=lambda: f"rollout-{uuid4().hex[:8]}")

    @asynccontextmanager
    async def serving(
        self,
        build: str,
        workflows: list[type[Any]] | None = None,
        options: TemporalWorkerOptions | None = None,
        *,
        max_cached_workflows: int = 1000,
    ) -> AsyncGenerator[TemporalEngine]:
        """Serve a version that the environment names, or the options."""
        if options is None:
            self.monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", self.name)
            self.monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", build)
        async with (
            temporal.connect(self.server.url) as engine,
            engine.worker(
                workflows=workflows or [Stay, Move],
                activities=[Building(build)],
                task_queue=self.name,
                temporal=options,
                max_cached_workflows=max_cached_workflows,
            ),
        ):
            yield engine

    async def make_current(self, build: str) -> None:
        """Run the page's command, once the server has heard of the version."""
        await make_current(self.server, self.name, build)


@pytest.fixture
def deployment(temporal_server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    return Deployment(temporal_server, tmp_path, monkeypatch)


async def version_of(engine: TemporalEngine, handle: WorkflowHandle[Any]) -> tuple[int, str]:
    """What the server holds a run's behavior and build to be, once a task has told it."""
    stock = engine.client.get_workflow_handle(handle.id)
    async with asyncio.timeout(20):
        while True:
            found = (await stock.describe()).raw_info.versioning_info
            if found.behavior:
                return found.behavior, found.deployment_version.build_id
            await asyncio.sleep(0.02)


async def test_a_pinned_run_stays_on_its_build_and_another_moves(deployment: Deployment) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(deployment.serving("1.0"))
        await deployment.make_current("1.0")
        client = rollout.Client(first)
        stay = await client.start_stay(StayRequest(id=f"{deployment.name}-stay"), task_queue=deployment.name)
        move = await client.start_move(MoveRequest(id=f"{deployment.name}-move"), task_queue=deployment.name)
        assert await version_of(first, stay) == (PINNED, "1.0")
        assert await version_of(first, move) == (AUTO_UPGRADE, "1.0")

        await stack.enter_async_context(deployment.serving("2.0"))
        await deployment.make_current("2.0")
        await stay.go()
        await move.go()
        assert list((await soon(stay.result())).ids) == ["1.0", "1.0"]
        assert list((await soon(move.result())).ids) == ["1.0", "2.0"]
        assert await version_of(first, move) == (AUTO_UPGRADE, "2.0")
        later = await client.start_stay(StayRequest(id=f"{deployment.name}-later"), task_queue=deployment.name)
        assert await version_of(first, later) == (PINNED, "2.0")
        await later.go()
        assert list((await soon(later.result())).ids) == ["2.0", "2.0"]


@pytest.mark.slow
async def test_a_pinned_run_waits_for_its_build(deployment: Deployment) -> None:
    # The server holds a task for ten seconds for the worker that has its run cached.
    async with deployment.serving("1.0", max_cached_workflows=0) as engine:
        await deployment.make_current("1.0")
        client = rollout.Client(engine)
        stay = await client.start_stay(StayRequest(id=f"{deployment.name}-stay"), task_queue=deployment.name)
        await version_of(engine, stay)
    async with deployment.serving("2.0") as engine:
        await deployment.make_current("2.0")
        client = rollout.Client(engine)
        waiting = client.stay_handle(stay.id)
        await waiting.go()
        move = await client.start_move(MoveRequest(id=f"{deployment.name}-move"), task_queue=deployment.name)
        await move.go()
        await soon(move.result())
        assert (await waiting.describe()).status is WorkflowStatus.RUNNING
        async with deployment.serving("1.0"):
            assert list((await soon(waiting.result())).ids) == ["1.0", "1.0"]


@pytest.mark.slow
async def test_a_workflow_without_a_behavior_has_its_workers(deployment: Deployment) -> None:
    async def behavior_of(engine: TemporalEngine, number: int) -> tuple[int, str]:
        request = ObeyRequest(id=f"{deployment.name}-{number}")
        return await version_of(engine, await rollout.Client(engine).start_obey(request, task_queue=deployment.name))

    async with deployment.serving("1.0", [Obey, Move]) as engine:
        await deployment.make_current("1.0")
        assert await behavior_of(engine, 1) == (PINNED, "1.0")
        move = await rollout.Client(engine).start_move(
            MoveRequest(id=f"{deployment.name}-move"), task_queue=deployment.name
        )
        assert await version_of(engine, move) == (AUTO_UPGRADE, "1.0"), "the contract's"
    options = page.program("version.py", deployment.folder)["version"](deployment.name, "2.0")
    assert isinstance(options, TemporalWorkerOptions)
    async with deployment.serving("2.0", [Obey, Move], options) as engine:
        await deployment.make_current("2.0")
        assert await behavior_of(engine, 2) == (AUTO_UPGRADE, "2.0")
