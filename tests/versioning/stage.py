"""A stage: an engine on which versions of the shop are deployed one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.versioning.deployment import Service, buying, paying, workflows

from protopact.engine import Engine, WorkflowDescription, WorkflowRef
from protopact.errors import NotFoundError
from protopact.origin import Origin
from protopact.temporal import TemporalWorkerOptions

__all__ = ["QUICKLY", "UNSANDBOXED", "Stage"]

# A task that fails again is not answered: the server tries once more when it has timed out.
QUICKLY = timedelta(seconds=1)
UNSANDBOXED = TemporalWorkerOptions(sandboxed=False)  # for classes that stand in functions


class Stage:
    """An engine on which versions of the shop are deployed one after the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def serving(
        self, shop: Service, failure_types: Sequence[type[Exception]] = ()
    ) -> AbstractAsyncContextManager[None]:
        """A worker of a version."""
        return self.engine.worker(
            workflows=workflows(shop), temporal=UNSANDBOXED, workflow_failure_exception_types=failure_types
        )

    async def deploy(self, starter: Service, worker: Service) -> str | None:
        """Start a run with one version, and pay it; have a worker of another one take it. Why it could not."""
        handle = await starter.Client(self.engine).start_buy(buying(starter, "tea"), id=f"w-{uuid4()}")
        await handle.pay(paying(starter, "a penny"))
        async with self.serving(worker):
            result = asyncio.ensure_future(handle.result())
            failure = asyncio.ensure_future(self.parked(handle))
            await asyncio.wait((result, failure), timeout=20, return_when=asyncio.FIRST_COMPLETED)
            if failure.done():
                result.cancel()
                return await failure
            failure.cancel()
            assert (await asyncio.wait_for(result, 1)).receipt == "tea for a penny"
        return None

    async def parked(self, handle: Any) -> str:  # noqa: ANN401 - of a class that is generated while the tests run
        """Wait until a run is parked, and say why."""
        while True:
            description: WorkflowDescription = await handle.describe()
            if description.task_failure is not None:
                return description.task_failure
            await asyncio.sleep(0.02)

    async def origin(self, workflow_id: str, release: str) -> Origin:
        """Where the latest run of an id comes from, once that is a release."""
        while True:
            try:
                found = await self.engine.describe_workflow(WorkflowRef(workflow_id))
            except NotFoundError:
                pass
            else:
                if found.origin is not None and found.origin.release == release:
                    return found.origin
            await asyncio.sleep(0.02)
