"""What an engine knows of runs, in plain values: for the plugin's commands, which find it by its entry point."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

import protopact
from protopact.cli.engine import check_engine
from protopact.engine import WorkflowDescription, WorkflowStatus

__all__ = ["runs"]


def runs(url: str, workflow_types: Collection[str]) -> list[dict[str, str]]:
    """The runs of workflows that an engine has, open and closed.

    Args:
        url: URL of the engine.
        workflow_types: Registered names of the workflows.

    Returns:
        For each run `workflow_type`, `workflow_id`, `run_id`, `status` (`open` or `closed`), `start_time` in ISO 8601,
        the `digest` of the contract under which it was started, and the `release` that was of as far as its starter
        knew; both empty when it carries none.

    Raises:
        EngineUrlError: The URL is wrong.
        EngineError: The engine cannot be reached, or there is none: see `protopact.connect`.
    """
    check_engine(url)
    return asyncio.run(_runs(url, workflow_types))


async def _runs(url: str, workflow_types: Collection[str]) -> list[dict[str, str]]:
    async with protopact.connect(url) as engine:
        return [
            dict(_plain(found))
            for workflow_type in sorted(workflow_types)
            async for found in engine.list_workflows(workflow_type=workflow_type)
        ]


def _plain(found: WorkflowDescription) -> Iterator[tuple[str, str]]:
    yield "workflow_type", found.workflow_type
    yield "workflow_id", found.workflow_id
    yield "run_id", found.run_id
    yield "status", "open" if found.status is WorkflowStatus.RUNNING else "closed"
    yield "start_time", found.start_time.isoformat(timespec="seconds")
    yield "digest", found.origin.digest if found.origin is not None else ""
    yield "release", found.origin.release if found.origin is not None else ""
