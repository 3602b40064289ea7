"""What a server refuses, where nobody looks before it is sent."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import temporalio.workflow as workflow_of_the_sdk
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import TerminatedError as TerminatedErrorOfTheSDK
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.devserver import DevServer
from tests.temporal.bench import soon

pytestmark = pytest.mark.slow


@workflow_of_the_sdk.defn
class Large:
    """Written on the SDK by hand: asks an activity for what it is told, and waits."""

    @workflow_of_the_sdk.run
    async def run(self, size: int) -> None:
        if size:
            await workflow_of_the_sdk.execute_activity("Echo", "x" * size, start_to_close_timeout=timedelta(seconds=1))
        await workflow_of_the_sdk.wait_condition(lambda: False)


async def test_payloads_that_nobody_checks_before(temporal_server: DevServer) -> None:
    client, queue, size = await temporal_server.connect(), f"large-{uuid4()}", 2 * 1024 * 1024 + 100
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
