"""What Temporal holds replays here, and what the embedded engine holds on Temporal's replayer: one class, both ways."""

from __future__ import annotations

from pathlib import Path

from temporalio.client import WorkflowHistory
from tests.devserver import DevServer
from tests.temporal.bench import play
from tests.temporal.programs import Everything

import protopact
from protopact.history import History
from protopact.replay import Replayer
from protopact.temporal import replayer


async def check(histories: list[History]) -> None:
    classes = [Everything, Everything.Child]
    for history in histories:
        result = Replayer(workflows=classes).replay(history)
        assert not result.warnings, [str(each) for each in result.warnings]
        for sandboxed in (True, False):
            oracle = replayer(classes, sandboxed=sandboxed)
            await oracle.replay_workflow(WorkflowHistory.from_json(history.workflow_id, history.to_json()))


async def test_a_history_of_temporal_replays_on_both(temporal_server: DevServer) -> None:
    async with protopact.connect(temporal_server.url) as engine:
        histories = await play(engine)
    await check(histories)


async def test_a_history_of_the_embedded_engine_replays_on_both(tmp_path: Path) -> None:
    async with protopact.connect(f"sqlite:///{tmp_path}/lab.db") as engine:
        histories = await play(engine)
    await check(histories)
