"""Several processes on one file: clients without a worker, workers that die, workers of one kind only."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact.embedded.activity import OUTSIDE
from protopact.embedded.clock import SystemClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import QueryWorkflow, WorkflowStatus
from protopact.errors import (
    ActivityError,
    AlreadyClosedError,
    NotFoundError,
    QueryError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.history.event import ActivityTaskStarted, ActivityTaskTimedOut
from protopact.policy import WaitForStage, WorkflowIdConflictPolicy

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, path: Path, role: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "tests/embedded/worker_process.py", str(path), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"runtime{os.pathsep}."},
        )

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let it leave its worker's block."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        self.kill()
        self._process.wait(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"


@pytest.fixture
def spawn(path: Path) -> Iterator[Callable[..., list[WorkerProcess]]]:
    spawned = list[WorkerProcess]()

    def start(*roles: str) -> list[WorkerProcess]:
        started = [WorkerProcess(path, role) for role in roles]
        spawned.extend(started)
        for each in started:
            each.wait_ready()
        return started

    yield start
    for each in spawned:
        each.end()


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with open_engine(path, clock=SystemClock()) as opened:
        yield opened


def journal(path: Path) -> list[str]:
    log = Path(f"{path}.log")
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()] if log.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


Spawn = Callable[..., list[WorkerProcess]]


async def test_a_client_in_another_process_does_everything(engine: EmbeddedEngine, spawn: Spawn) -> None:
    spawn("workflows+activities")
    client = lab.Client(engine)
    began = time.monotonic()
    assert (await soon(client.execute_free(text("a")))).value == "a 1"
    assert time.monotonic() - began < 0.9, "nobody waits for the slow net"
    handle = await client.start_free(text("wait"), id="w")
    result = asyncio.create_task(handle.result())
    assert (await soon(handle.status(text("?")))).value == "new?"
    assert (await soon(handle.set(text("x")))).value == "new"
    with pytest.raises(UpdateFailedError, match="nothing to set"):
        await soon(handle.set(text("")))
    update = await soon(handle.start_set(text("y"), wait_for_stage=WaitForStage.ACCEPTED))
    assert (await soon(update.result())).value == "x"
    assert (await soon(handle.status(text("")))).value == "y"
    await handle.go(text("go"))
    assert (await soon(result)).value == "go y"
    assert (await soon(handle.status(text("!")))).value == "y!", "a closed run is asked in the worker's process"
    with pytest.raises(AlreadyClosedError):
        await soon(handle.go(text("")))


async def test_starts_wait_for_a_worker_that_comes_later(engine: EmbeddedEngine, spawn: Spawn) -> None:
    handle = await lab.Client(engine).start_free(text("wait"))
    await handle.go(text("go"))
    update = asyncio.create_task(handle.set(text("x")))
    target = handle.__protopact__
    query = QueryWorkflow(
        ref=target.latest, query=target.workflow.queries[0], request=text(""), timeout=timedelta(seconds=0.05)
    )
    with pytest.raises(QueryError, match="no worker serves"):
        await soon(engine.query_workflow(query))
    spawn("workflows")
    assert (await soon(update)).value == "new"
    assert (await soon(handle.result())).value == "go x"


async def test_a_worker_that_dies_is_replaced_at_once(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    first, _ = spawn("workflows+activities", "activities")
    handle = await lab.Client(engine).start_free(text("wait"), id="w")
    assert (await soon(handle.status(text("")))).value == "new"
    (second,) = spawn("workflows+activities")
    began = time.monotonic()
    first.kill()
    assert (await soon(handle.status(text("")))).value == "new"
    await handle.go(text("go"))
    assert (await soon(handle.result())).value == "go new"
    assert time.monotonic() - began < 0.9
    second.stop()


async def test_an_attempt_whose_worker_died_times_out_at_once(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    (first,) = spawn("workflows+activities")
    client = lab.Client(engine)
    handle = await client.start_free(text("hang"))
    once = await client.start_free(text("once hang"))
    beating = await client.start_free(text("beat"))
    await until(lambda: len(journal(path)) == 3)
    await asyncio.sleep(0.05)
    (_second,) = spawn("workflows+activities")
    began = time.monotonic()
    first.kill()
    assert (await soon(handle.result())).value == "hang 2"
    assert (await soon(beating.result())).value == "half-way 2"
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(once.result())
    assert time.monotonic() - began < 0.9, "no back-off, no time-out to wait for"
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, TimeoutError)
    assert raised.value.cause.cause.type is TimeoutType.START_TO_CLOSE
    assert journal(path).count("echo once hang 1") == 1
    started = find(await handle.history(), ActivityTaskStarted)
    assert started.attempt == 2
    assert started.last_failure is not None
    assert started.last_failure.message == "activity StartToClose timeout"
    assert find(await beating.history(), ActivityTaskStarted).last_failure.message == "activity Heartbeat timeout"  # type: ignore[union-attr]
    assert find(await once.history(), ActivityTaskTimedOut).retry_state == "MAXIMUM_ATTEMPTS_REACHED"


async def test_everybody_died(path: Path, spawn: Spawn) -> None:
    async with open_engine(path, clock=SystemClock()) as engine:
        (first,) = spawn("workflows+activities")
        handle = await lab.Client(engine).start_free(text("hang"))
        await until(lambda: len(journal(path)) == 1)
        first.kill()
        first.end()
    spawn("workflows+activities")
    async with open_engine(path, clock=SystemClock()) as engine:
        handle = lab.Client(engine).free_handle("hang")
        assert (await soon(handle.result())).value == "hang 2"
        assert not list(path.with_name("lab.db-processes").glob("1.*")), "what the dead left is removed"


async def test_workers_of_one_kind_only(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    spawn("workflows", "activities")
    client = lab.Client(engine)
    assert (await soon(client.execute_free(text("a")))).value == "a 1"
    handle = await client.start_free(text("fail"))
    assert (await soon(handle.result())).value == "fail 2"
    beating = await client.start_free(text("beat"))
    await until(lambda: "beat beat 1" in journal(path))
    await beating.cancel()
    with pytest.raises(WorkflowFailedError, match="was cancelled"):
        await soon(beating.result())
    await until(lambda: "cancelled CancellationReason.CANCEL_REQUESTED" in journal(path))
    hanging = await client.start_free(text("hang"))
    await until(lambda: "echo hang 1" in journal(path))
    assert (await hanging.describe()).pending_activities[0].started
    await hanging.terminate()
    with pytest.raises(WorkflowFailedError):
        await soon(hanging.result())


async def test_an_activity_worker_that_dies_in_another_process(
    engine: EmbeddedEngine, path: Path, spawn: Spawn
) -> None:
    _, first = spawn("workflows", "activities")
    handle = await lab.Client(engine).start_free(text("hang"))
    await until(lambda: "echo hang 1" in journal(path))
    first.kill()
    spawn("activities")
    assert (await soon(handle.result())).value == "hang 2"


async def left_to_others(path: Path) -> bytes:
    """The token of an activity that has left its process, once the file says so."""

    def is_left() -> bool:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT holder FROM activity").fetchall() == [(OUTSIDE,)]

    await until(is_left)
    (token,) = [line.removeprefix("token ") for line in journal(path) if line.startswith("token ")]
    return bytes.fromhex(token)


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_an_activity_is_completed_whose_worker_was_killed(
    engine: EmbeddedEngine, path: Path, spawn: Spawn, dies: str
) -> None:
    (worker,) = spawn("workflows+activities")
    handle = await lab.Client(engine).start_free(text("outside"))
    outside = engine.async_activity_handle(lab.Activities.echo, task_token=await left_to_others(path))
    if dies == "before":
        worker.end()
    await soon(outside.heartbeat("far"))
    await soon(outside.complete(text("done")))
    if dies == "after":
        worker.kill()
    with pytest.raises(NotFoundError, match="is not open"):
        await soon(outside.complete(text("twice")))
    spawn("workflows+activities")
    assert (await soon(handle.result())).value == "done"
    assert journal(path)[0] == "echo outside 1"
    assert len(journal(path)) == 2, "the attempt was not made again"


async def test_an_activity_is_completed_in_a_third_process(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    spawn("workflows", "activities")
    handle = await lab.Client(engine).start_free(text("outside"))
    outside = engine.async_activity_handle(lab.Activities.echo, task_token=await left_to_others(path))
    await soon(outside.complete(text("done")))
    assert (await soon(handle.result())).value == "done"


async def test_termination_by_another_process_is_noticed(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    spawn("workflows+activities")
    client = lab.Client(engine)
    handle = await client.start_free(text("hang"), id="a")
    await until(lambda: "echo hang 1" in journal(path))
    second = await client.start_free(text("a"), id="a", id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING)
    assert (await soon(second.result())).value == "a 1"
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(handle.result(follow_runs=False))
    assert isinstance(raised.value.cause, TerminatedError)
    third = await client.start_free(text("wait"), id="b")
    assert (await soon(third.status(text("")))).value == "new"
    await engine.delete_workflow(third.__protopact__.latest)
    assert [each async for each in engine.list_workflows(workflow_id="b")] == []


async def test_a_worker_that_stops_hands_over(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    (first,) = spawn("workflows+activities")
    client = lab.Client(engine)
    waiting = await client.start_free(text("wait"))
    hanging = await client.start_free(text("hang"))
    await until(lambda: "echo hang 1" in journal(path))
    assert (await soon(waiting.status(text("")))).value == "new"
    spawn("workflows+activities")
    first.stop()
    assert (await soon(hanging.result())).value == "hang 2"
    await waiting.go(text("go"))
    assert (await soon(waiting.result())).value == "go new"
    assert (await waiting.describe()).status is WorkflowStatus.COMPLETED


async def test_two_workers_share_what_many_clients_start(engine: EmbeddedEngine, path: Path, spawn: Spawn) -> None:
    spawn("workflows+activities", "workflows+activities")
    client = lab.Client(engine)
    replies = await asyncio.wait_for(
        asyncio.gather(*(client.execute_free(text(f"n{number}")) for number in range(60))), 20
    )
    assert [reply.value for reply in replies] == [f"n{number} 1" for number in range(60)]
    lines = Path(f"{path}.log").read_text().splitlines()
    assert len(lines) == 60, "each attempt ran once"
    handle = client.free_handle("n0")
    assert kinds(await handle.history()) == [
        "WorkflowExecutionStarted",
        "ActivityTaskScheduled",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowExecutionCompleted",
    ]


async def test_a_process_of_another_user(path: Path) -> None:
    """Its lock can be read and not written, by anybody but root."""
    async with open_engine(path, clock=SystemClock()) as theirs:
        for lock in path.with_name(f"{path.name}-processes").glob("*.lock"):
            lock.chmod(0o444)
        async with open_engine(path, clock=SystemClock()) as ours:
            await soon(lab.Client(ours).start_free(text("a")))
            assert (await lab.Client(theirs).free_handle("a").describe()).status is WorkflowStatus.RUNNING


async def test_a_worker_here_and_a_client_there(path: Path, spawn: Spawn) -> None:
    """The process that starts a run holds it when it serves it; another may wait for it all the same."""

    class Slow(lab.Other):
        async def run(self, request: Text) -> Text:
            return request

    async with (
        open_engine(path, clock=SystemClock()) as one,
        open_engine(path, clock=SystemClock()) as two,
        one.worker(workflows=[Slow]),
    ):
        assert (await soon(lab.Client(two).execute_other(text("a")))).value == "a"
