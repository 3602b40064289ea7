"""What is beyond a server's limits, on one whose limits are small; docs/engines.md has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
import temporalio.workflow as workflow_of_the_sdk
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import TerminatedError as TerminatedErrorOfTheSDK
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests import devserver
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import page
from tests.temporal.bench import Bench, serving, soon
from tests.temporal.test_runtime import Free, Other

from protopact import EngineError, OptionError, WorkflowFailedError, workflow
from protopact.errors import TerminatedError

pytestmark = [pytest.mark.slow, pytest.mark.temporal]

LIMITS = {
    "history.maximumSignalsPerExecution": "3",
    "history.maxTotalUpdates": "2",
    "limit.historyCount.error": "60",
    "limit.historyCount.suggestContinueAsNew": "12",
    "limit.numPendingActivities.error": "2",
    "limit.numPendingChildExecutions.error": "2",
}


class Greedy(Free):
    """Asks for more and more."""

    async def run(self, request: Text) -> Text:
        if request.value == "activities":
            await asyncio.gather(*(lab.echo(text("x"), task_queue="nobody's") for _ in range(3)))
        if request.value == "children":
            for number in range(3):
                await lab.Other.start_child(text("wait"), id=f"{workflow.info().workflow_id}-{number}")
        if request.value == "events":
            for _ in range(100):
                await workflow.sleep(0.001)
        if request.value == "as many as suggested":
            while not workflow.info().is_continue_as_new_suggested():
                await workflow.sleep(0.001)
            return text(str(workflow.info().get_current_history_length()))
        await self.go.receive()
        return request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devserver.DevServer]:
    """A server whose limits are small."""
    with devserver.start(tmp_path_factory.mktemp("limits"), dynamic_config=LIMITS) as running:
        yield running


@pytest.fixture
async def bench(server: devserver.DevServer) -> AsyncIterator[Bench]:
    async with serving(server.url, [Greedy, Other]) as opened:
        yield opened


def test_they_are_on_the_page() -> None:
    missing = [name for name in LIMITS if f"`{name}`" not in page.PAGE.read_text()]
    # Said in other words: what is suggested, and the second of those that are pending.
    assert missing == ["limit.historyCount.suggestContinueAsNew", "limit.numPendingChildExecutions.error"]


async def test_signals(bench: Bench) -> None:
    handle = await bench.client.start_free(text(""), id=f"signals-{uuid4()}", task_queue="nobody's")
    for _ in range(3):
        await handle.go(text("x"))
    with pytest.raises(OptionError, match="exceeded workflow execution limit for signal events"):
        await handle.go(text("x"))


async def test_updates(bench: Bench) -> None:
    handle = await bench.start()
    for _ in range(2):
        await soon(handle.set(text("x")))
    with pytest.raises(EngineError, match=r"limit on the total number of distinct updates.*\(2\)"):
        await soon(handle.set(text("x")))


@pytest.mark.parametrize("kind", ["activities", "children"])
async def test_what_is_pending(bench: Bench, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    handle = await bench.start(kind)

    async def fails() -> str:
        while (failure := (await handle.describe()).task_failure) is None:
            await asyncio.sleep(0.02)
        return failure

    assert "LimitExceeded: the number of pending" in await soon(fails())


async def test_events(bench: Bench) -> None:
    handle = await bench.start("events")
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(handle.result())
    assert isinstance(raised.value.cause, TerminatedError)
    assert "history count exceeds limit" in str(raised.value)


async def test_the_time_to_continue_as_new(bench: Bench) -> None:
    assert 12 <= int(await bench.run("as many as suggested")) < 20


async def test_ids(bench: Bench) -> None:
    with pytest.raises(OptionError, match="WorkflowId length exceeds limit"):
        await bench.client.start_free(text(""), id="x" * 1001)
    handle = await bench.client.start_free(text(""), id="x" * 1000)
    await handle.terminate()


@workflow_of_the_sdk.defn
class Large:
    """Written on the SDK by hand: asks an activity for what it is told, and waits."""

    @workflow_of_the_sdk.run
    async def run(self, size: int) -> None:
        if size:
            await workflow_of_the_sdk.execute_activity("Echo", "x" * size, start_to_close_timeout=timedelta(seconds=1))
        await workflow_of_the_sdk.wait_condition(lambda: False)


async def test_payloads_that_nobody_checks_before(server: devserver.DevServer) -> None:
    client, queue, size = await server.connect(), f"large-{uuid4()}", 2 * 1024 * 1024 + 100
    with pytest.raises(RPCError, match="Blob data size exceeds limit"):
        await client.start_workflow("Large", "x" * size, id=queue, task_queue=queue)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Large],
        workflow_runner=UnsandboxedWorkflowRunner(),
        disable_payload_error_limit=True,
    ):
        handle = await client.start_workflow(Large.run, 0, id=queue, task_queue=queue)
        with pytest.raises(RPCError, match="Blob data size exceeds limit"):
            await handle.signal("Go", "x" * size)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()
        asking = await client.start_workflow(Large.run, size, id=queue, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as raised:
            await soon(asking.result())
        assert isinstance(raised.value.cause, TerminatedErrorOfTheSDK)
