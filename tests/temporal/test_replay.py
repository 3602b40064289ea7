"""What Temporal holds replays here, and what the embedded engine holds on Temporal's replayer: one class, both ways."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHistory
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import Lab, soon
from tests.temporal.programs import Everything

import protopact
from protopact.history import History
from protopact.replay import Replayer
from protopact.temporal import replayer


async def play(url: str) -> list[History]:
    """Play the program, in its two runs, and what it starts."""
    name = f"play-{uuid4()}"
    async with (
        protopact.connect(url) as engine,
        engine.worker(workflows=[Everything, Everything.Child], activities=[Lab()]),
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


async def check(histories: list[History]) -> None:
    classes = [Everything, Everything.Child]
    for history in histories:
        result = Replayer(workflows=classes).replay(history)
        assert not result.warnings, [str(each) for each in result.warnings]
        for sandboxed in (True, False):
            oracle = replayer(classes, sandboxed=sandboxed)
            await oracle.replay_workflow(WorkflowHistory.from_json(history.workflow_id, history.to_json()))


async def test_a_history_of_temporal_replays_on_both(temporal_server: DevServer) -> None:
    await check(await play(temporal_server.url))


async def test_a_history_of_the_embedded_engine_replays_on_both(tmp_path: Path) -> None:
    await check(await play(f"sqlite:///{tmp_path}/lab.db"))
