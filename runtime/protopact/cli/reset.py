"""`protopact reset`: do a run again from one of its workflow tasks."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

import protopact
from protopact.cli.engine import EngineUrl, RunId, check_engine
from protopact.engine import ResetWorkflow, WorkflowRef
from protopact.errors import OptionError

__all__ = ["reset"]


def reset(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW_ID", help="Id of the workflow.")],
    *,
    event_id: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", help="Event that starts or ends a workflow task, as `history show --workflow-tasks` says."
        ),
    ],
    engine: EngineUrl = None,
    run_id: RunId = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")] = "",
) -> None:
    """Do a run again from one of its workflow tasks.

    A new run goes on with the history up to there; the run that has the id is terminated if it is open.
    """
    if engine is None:
        raise OptionError("say where the workflow runs: --engine URL, or PROTOPACT_ENGINE in the environment")
    check_engine(engine)
    call = ResetWorkflow(ref=WorkflowRef(workflow_id, run_id), event_id=event_id, reason=reason)
    new = asyncio.run(_reset(engine, call))
    typer.echo(f"{workflow_id} goes on as run {new}")


async def _reset(url: str, call: ResetWorkflow) -> str:
    async with protopact.connect(url) as engine:
        return await engine.reset_workflow(call)
