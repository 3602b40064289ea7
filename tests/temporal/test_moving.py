"""Moving from one engine to the other by docs/engines.md: one process serves both, and starts go to the new one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import page
from tests.temporal.bench import Lab, soon
from tests.temporal.programs import Patient

import protopact
from protopact.engine import Engine
from protopact.replay import Replayer


async def test_one_process_serves_both_until_the_old_one_is_empty(temporal_server: DevServer, tmp_path: Path) -> None:
    drained = page.program("drained.py", tmp_path)
    has_open_run: Callable[[Engine, str], Awaitable[bool]] = drained["has_open_run"]
    open_runs: Callable[[Engine], Awaitable[int]] = drained["open_runs"]
    one, other = (f"moving-{uuid4()}" for _ in range(2))
    activities = Lab()
    async with protopact.connect(f"sqlite:///{tmp_path}/lab.db") as old, protopact.connect(temporal_server.url) as new:
        async with old.worker(workflows=[Patient], activities=[activities]):
            begun = await lab.Client(old).start_free(text("old"), id=one)
            assert (await soon(begun.status(text("")))).value == "waits"
        async with (
            old.worker(workflows=[Patient], activities=[activities]),
            new.worker(workflows=[Patient], activities=[activities]),
        ):

            async def home(workflow_id: str) -> Engine:
                return old if await has_open_run(old, workflow_id) else new

            assert (await home(one), await home(other)) == (old, new)
            started = await lab.Client(await home(other)).start_free(text("new"), id=other)
            assert await open_runs(old) == 1
            for workflow_id, said in ((one, "a"), (other, "b")):
                found = lab.Client(await home(workflow_id)).free_handle(workflow_id)
                await soon(found.set(text(said)))
                assert (await soon(found.status(text("")))).value == said
                await found.go(text(""))
            assert (await soon(begun.result())).value == "old! a !"
            assert (await soon(started.result())).value == "new! b !"
            assert await open_runs(old) == 0
            assert await home(one) is new
            # Ids are unique on each engine only: the one that is free here is free there.
            again = await lab.Client(new).start_free_with_go(text("again"), text(""), id=one)
            assert (await soon(again.result())).value == "again! waits !"
            for each in (begun, started, again):
                assert not Replayer(workflows=[Patient]).replay(await each.history()).warnings
