"""Runs that a worker has in memory: how they fail, and that they are let go unseen."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest
from tests.conformance.bench import until
from tests.devserver import DevServer
from tests.embedded.bench import kinds, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import UNSANDBOXED, Bench, serving, soon
from tests.temporal.programs import Peeking, Undoing
from tests.temporal.test_runtime import Free

from protopact import workflow
from protopact.engine import WorkflowRef
from protopact.temporal import TemporalWorkerOptions

SANDBOXED = TemporalWorkerOptions()


@pytest.mark.parametrize("options", [UNSANDBOXED, SANDBOXED], ids=["unsandboxed", "sandboxed"])
@pytest.mark.parametrize("cached", [0, 1000], ids=["evicted", "stopped"])
async def test_nothing_gets_through(
    temporal_server: DevServer, options: TemporalWorkerOptions, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(temporal_server.url, [Undoing], temporal=options, max_cached_workflows=cached) as bench:
        handle = await bench.start()
        updating = await handle.start_set(text("x"))
        await handle.status(text(""))
    gc.collect()
    assert "undoing" not in caplog.text
    async with serving(temporal_server.url, [Undoing], temporal=options, max_cached_workflows=cached) as bench:
        await handle_of(bench, handle.id).go(text("x"))
        await soon(handle_of(bench, handle.id).result())
        assert (await soon(bench.client.free_handle(handle.id).set(text("y"), id=updating.id))).value == "x"
        _, events = await bench.engine.workflow_history(WorkflowRef(handle.id))
    assert kinds(events).count("ActivityTaskScheduled") == 2
    assert caplog.text.count("undoing") == 2, "when they are undone"


def handle_of(bench: Bench, workflow_id: str) -> lab.Free.Handle:
    return bench.client.free_handle(workflow_id)


async def test_code_that_does_not_let_go_is_named(temporal_server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    class Clinging(Free):
        async def run(self, request: Text) -> Text:
            try:
                await self.go.receive()
            except asyncio.CancelledError:
                await asyncio.get_running_loop().create_future()
            return request

    async with serving(
        temporal_server.url,
        [
            Clinging,
        ],
    ) as bench:
        handle = await bench.start()
        await handle.status(text(""))
    (record,) = [each for each in caplog.records if each.name == "protopact.temporal.instances"]
    assert f"workflow {handle.id} " in record.getMessage()
    assert "found that it goes on" in record.getMessage()


async def test_code_that_stands_still_is_not_waited_for(
    temporal_server: DevServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protopact.temporal.instances._PATIENCE_SECONDS", 0.05)
    may_end, has_ended = threading.Event(), threading.Event()

    class Blocking(Free):
        async def run(self, request: Text) -> Text:
            try:
                await self.go.receive()
            finally:
                with workflow.unsafe.guard_lifted():
                    may_end.wait(20)
                    has_ended.set()
            return request

    try:
        async with serving(temporal_server.url, [Blocking]) as bench:
            handle = await bench.start()
            await handle.status(text(""))
        assert not has_ended.is_set(), "the worker has stopped all the same"
    finally:
        may_end.set()
    assert await asyncio.to_thread(has_ended.wait, 20)
    (record,) = [each for each in caplog.records if each.name == "protopact.temporal.instances"]
    assert f"workflow {handle.id} " in record.getMessage()
    assert "could not be let go when its worker stopped" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TimeoutError)


@pytest.mark.parametrize("options", [UNSANDBOXED, SANDBOXED], ids=["unsandboxed", "sandboxed"])
async def test_code_cannot_swallow_what_fails_its_task(
    temporal_server: DevServer, options: TemporalWorkerOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(temporal_server.url, [Peeking], temporal=options) as bench:
        handle = await bench.start()

        async def failure() -> str | None:
            return (await handle.describe()).task_failure

        assert "`os.stat()` was called in a workflow" in (await until(failure) or "")
        await handle.terminate()
    (said,) = {each.getMessage() for each in caplog.records if each.name == "protopact.temporal.instances"}
    assert said == f"a workflow task of workflow {handle.id} (run {handle.run_id}) failed"
