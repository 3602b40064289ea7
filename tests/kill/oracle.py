"""Temporal's own Replayer over our histories, with the node provisioner's workflows written on temporalio by hand.

Only what decides commands is written: Temporal compares which activities are called and in which order, not with what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.exceptions import FailureError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.history.json import to_json

SERVICE = "nodes.provisioning.v1.NodeProvisionerService"


async def _call(activity: str) -> None:
    await workflow.execute_activity(
        f"{SERVICE}.{activity}",
        RawValue(Payload()),
        result_type=RawValue,
        start_to_close_timeout=timedelta(seconds=60),
    )


@workflow.defn(name=f"{SERVICE}.AddNode")
class OracleAddNode:
    def __init__(self) -> None:
        self._paused = False

    @workflow.run
    async def run(self, _: RawValue) -> RawValue:
        try:
            for activity in ("CreateVm", "WaitForVmReady", "WaitForNodeToJoinCluster"):
                await workflow.wait_condition(lambda: not self._paused)
                await _call(activity)
            await _call("PublishVmJoined")
        except (FailureError, asyncio.CancelledError):
            await _call("DeleteVm")
            raise
        return RawValue(Payload())

    @workflow.signal(name=f"{SERVICE}.Pause")
    async def pause(self, _: RawValue) -> None:
        self._paused = True

    @workflow.signal(name=f"{SERVICE}.Resume")
    async def resume(self, _: RawValue) -> None:
        self._paused = False

    @workflow.update(name=f"{SERVICE}.Resize")
    async def resize(self, _: RawValue) -> RawValue:
        return RawValue(Payload())


@workflow.defn(name=f"{SERVICE}.DeleteNode")
class OracleDeleteNode:
    @workflow.run
    async def run(self, _: RawValue) -> RawValue:
        await _call("DeleteVm")
        return RawValue(Payload())


WORKFLOWS = (OracleAddNode, OracleDeleteNode)


def replay(histories: Iterable[Sequence[Event]], workflows: Sequence[type] = WORKFLOWS) -> list[str]:
    """Replay histories; what Temporal says against each that it refuses."""
    return asyncio.run(_replay([_to_temporal(history) for history in histories], workflows))


async def _replay(histories: Iterable[WorkflowHistory], workflows: Sequence[type]) -> list[str]:
    async def each() -> AsyncGenerator[WorkflowHistory]:
        for history in histories:
            yield history

    replayer = Replayer(workflows=workflows, workflow_runner=UnsandboxedWorkflowRunner())
    results = await replayer.replay_workflows(each(), raise_on_replay_failure=False)
    return [f"{run_id}: {failure}" for run_id, failure in results.replay_failures.items()]


def _to_temporal(history: Sequence[Event]) -> WorkflowHistory:
    started = history[0].attributes
    assert isinstance(started, WorkflowExecutionStarted)
    return WorkflowHistory.from_json(started.workflow_id, to_json(history))
