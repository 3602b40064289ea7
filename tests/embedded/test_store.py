"""The database file: its life, and errors that say what to do."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.embedded.bench import Chain, Lab, Waiting, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

import protopact
from protopact import activity
from protopact.embedded.clock import SystemClock
from protopact.embedded.schema import APPLICATION_ID, VERSION
from protopact.embedded.store import Store
from protopact.engine import Engine, WorkflowRef
from protopact.errors import (
    EngineUrlError,
    NotAStoreError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreVersionError,
)


def pragma(path: Path, name: str) -> int:
    connection = sqlite3.connect(path)
    ((value,),) = connection.execute(f"PRAGMA {name}").fetchall()
    connection.close()
    return int(value)


async def test_a_new_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(path):
        pass
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == VERSION
    assert pragma(path, "auto_vacuum") == 2
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["new.db"], "nothing is left beside it"
    assert not list((tmp_path / "new.db-processes").iterdir())


async def test_the_journal_is_wal_and_commits_are_full(tmp_path: Path) -> None:
    store = Store(tmp_path / "new.db")
    store.open()
    assert store.select("PRAGMA journal_mode") == [("wal",)]
    assert store.select("PRAGMA synchronous") == [(2,)]
    store.close()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"just some text, long enough to be no header" * 9, NotAStoreError, "is not an SQLite database"),
        (None, NotAStoreError, "is an SQLite database of another program"),
    ],
    ids=["text", "another program's"],
)
async def test_what_is_no_store(tmp_path: Path, content: bytes | None, error: type[StoreError], message: str) -> None:
    path = tmp_path / "other.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (a)")
        connection.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        async with protopact.connect(f"sqlite:///{path}"):
            pass
    assert path.read_bytes() == content, "it was not touched"


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreVersionError, match=f"version {VERSION + 1}, this one knows {VERSION}; upgrade"):
        Store(path).open()


UNDONE = (
    "ALTER TABLE activity DROP COLUMN heartbeat_at;",
    "ALTER TABLE activity DROP COLUMN identity;",
    """
    DROP INDEX run_in_order;
    DROP INDEX activity_in_order;
    ALTER TABLE run DROP COLUMN level;
    ALTER TABLE run DROP COLUMN fairness_key;
    ALTER TABLE run DROP COLUMN fairness_weight;
    ALTER TABLE activity DROP COLUMN level;
    ALTER TABLE activity DROP COLUMN fairness_key;
    ALTER TABLE activity DROP COLUMN fairness_weight;
    ALTER TABLE activity DROP COLUMN priority_key;
    """,
)
"""What makes a file of version n of one of version n + 1."""


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_an_older_file_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    class Leaving(Lab):
        async def echo(self, request: Text) -> Text:
            left.put_nowait(activity.info().task_token)
            activity.raise_complete_async()

    class Calling(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request)

    path, left = tmp_path / "old.db", asyncio.Queue[bytes]()
    async with open_engine(path) as engine, engine.worker(workflows=[Calling], handle_signals=False):
        await lab.Client(engine).start_free(text("a"), id="old")
        await until_scheduled(engine)
    connection = sqlite3.connect(path)
    connection.executescript("".join(reversed(UNDONE[version - 1 :])))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    async with (
        open_engine(path) as engine,
        engine.worker(workflows=[Calling], activities=[Leaving()], handle_signals=False),
    ):
        outside = engine.async_activity_handle(lab.Activities.echo, task_token=await soon(left.get()))
        await outside.complete(text("b"))
        assert (await soon(lab.Client(engine).free_handle("old").result())).value == "b"
    assert pragma(path, "user_version") == VERSION


async def until_scheduled(engine: Engine) -> None:
    while "ActivityTaskScheduled" not in kinds((await engine.workflow_history(WorkflowRef("old")))[1]):
        await asyncio.sleep(0.01)


async def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(path) as engine:
        await asyncio.gather(*(lab.Client(engine).start_free(text(str(number))) for number in range(200)))
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(data)
    with pytest.raises(StoreCorruptError, match="is damaged"):
        async with open_engine(path) as engine:
            await soon(lab.Client(engine).start_free(text("5")))


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the folder .*nowhere does not exist"):
        Store(tmp_path / "nowhere" / "new.db").open()


async def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path).open()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nodes.db", "it has no scheme"),
        ("postgres:///nodes.db", "unknown scheme 'postgres'"),
        ("sqlite://nodes.db", "'nodes.db' stands where a host would"),
        ("sqlite:///", "the path is missing"),
        ("sqlite:///a.db?mode=ro", "takes no parameters"),
        ("temporal://me:secret@localhost:7233/default", "it takes no user and password"),
        ("sqlite://[", "is no URL"),
    ],
)
def test_urls_that_are_wrong(url: str, problem: str) -> None:
    with pytest.raises(EngineUrlError, match=problem.replace("[", r"\[")):
        protopact.connect(url)


async def test_urls_that_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with protopact.connect("sqlite:///relative.db"), protopact.connect(f"sqlite:////{tmp_path}/absolute%20.db"):
        assert (tmp_path / "relative.db").exists()
        assert (tmp_path / "absolute .db").exists()


class Failing(Store):
    """Fails commits when told."""

    failing = False

    def commit(self) -> None:
        if self.failing:
            raise StoreFullError("the disk is full")
        super().commit()


async def test_a_full_disk_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    store = Failing(tmp_path / "new.db")
    async with (
        open_engine(store=store, clock=SystemClock()) as engine,
        engine.worker(workflows=[Chain], activities=[Lab()]),
    ):
        client = lab.Client(engine)
        store.failing = True
        with pytest.raises(StoreFullError):
            await soon(client.start_free(text("a")))
        store.failing = False
        assert (await soon(client.execute_free(text("a")))).value == "a!!!"


async def test_outcomes_that_could_not_be_written_are_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    store = Failing(tmp_path / "new.db")
    calls = list[str]()

    class Filling(Lab):
        async def echo(self, request: Text) -> Text:
            calls.append(request.value)
            store.failing = len(calls) == 2
            if store.failing:
                asyncio.get_running_loop().call_later(0.1, setattr, store, "failing", False)  # noqa: FBT003 - what setattr takes
            return text(request.value + "!")

    async with (
        open_engine(store=store, clock=SystemClock()) as engine,
        engine.worker(workflows=[Chain], activities=[Filling()]),
    ):
        handle = await lab.Client(engine).start_free(text("a"))
        assert (await soon(handle.result())).value == "a!!!"
    assert calls == ["a", "a!", "a!!"], "no activity ran twice"


async def test_a_file_that_another_program_holds_for_too_long(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(store=Store(path, busy_timeout=0.2)) as engine:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreBusyError,
            match=r"another process holds the file \(SQLITE_BUSY\) and did not let go of it within 0.2 s",
        ):
            await soon(lab.Client(engine).start_free(text("a")))
        waiting = asyncio.create_task(lab.Client(engine).start_free(text("a")))
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
        other.close()
        await soon(waiting)


async def test_a_file_that_another_program_keeps_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(path):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="did not let go of it within 0.0 s"):
        Store(path, busy_timeout=0).open()
    other.close()


def test_a_file_that_another_process_is_creating(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.05, other.rollback)
    end.start()
    store = Store(path)
    store.open()
    store.close()
    end.join()
    other.close()


async def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_engine(store=Store(path, checkpoint_rows=160)) as engine:
        for number in range(400):
            await lab.Client(engine).start_free(text(str(number)))
        assert (tmp_path / "new.db-wal").stat().st_size < 4_000_000
        assert path.stat().st_size > 120_000


def test_an_engine_used_after_a_fork(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys
import protopact
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

async def main():
    async with protopact.connect(sys.argv[1]) as engine:
        client = lab.Client(engine)
        child = os.fork()
        if child == 0:
            try:
                await client.start_free(text("child"))
            except protopact.EngineClosedError as error:
                print(error, flush=True)
                os._exit(0)
            os._exit(1)
        os.waitpid(child, 0)
        await client.start_free(text("parent"))
        print([each.workflow_id async for each in engine.list_workflows()])

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{tmp_path}/new.db"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "runtime:.", "PATH": ""},
        timeout=30,
    )
    assert "connect in the child" in done.stdout
    assert done.stdout.endswith("['parent']\n")
