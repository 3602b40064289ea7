"""Files that older versions have written: opened as they are, and their runs go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.embedded.bench import Lab, Waiting, find, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import activity, workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.schema import APPLICATION_ID, VERSION
from protopact.history.event import ActivityTaskStarted

STORES = Path(__file__).with_name("stores")


class Steps(Waiting):
    async def run(self, request: Text) -> Text:
        first = await lab.echo(request)
        gone = await self.go.receive()
        await workflow.sleep(3600)
        second = await lab.echo(text("late"))
        return text(f"{first.value} {gone.value} {second.value}")


class Heard(Lab):
    """Echoes what the attempt before has heartbeated."""

    async def echo(self, request: Text) -> Text:
        return text(f"{request.value} {activity.heartbeat_details(str)}")


def written_in_format_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.executescript((STORES / "format_1.sql").read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")


async def test_a_file_of_format_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    written_in_format_1(path)
    clock = VirtualClock()  # it starts where the one of then did
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Steps], activities=[Heard()]):
        client = lab.Client(engine)
        await clock.advance(timedelta(minutes=10))
        started = find(await client.free_handle("stuck").history(), ActivityTaskStarted)
        assert (started.attempt, started.last_failure and started.last_failure.message) == (3, "no")
        for workflow_id in ("waits", "stuck"):
            await client.free_handle(workflow_id).go(text("now"))
        await clock.advance(timedelta(hours=1))
        results = [(await soon(client.free_handle(each).result())).value for each in ("waits", "sleeps", "stuck")]
    assert results == ["waits! now late None", "sleeps! gone late None", "stuck here now late None"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
