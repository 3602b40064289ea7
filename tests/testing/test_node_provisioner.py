"""The environment on the larger contract: signals, queries, updates, heartbeats, and a mistake in an update."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    AddNodeResponse,
    BootProgress,
    CreateVmRequest,
    CreateVmResponse,
    DeleteVmRequest,
    DeleteVmResponse,
    GetStatusRequest,
    PauseRequest,
    PublishVmJoinedRequest,
    PublishVmJoinedResponse,
    ResizeRequest,
    ResizeResponse,
    ResumeRequest,
    Step,
    WaitForNodeToJoinClusterRequest,
    WaitForNodeToJoinClusterResponse,
    WaitForVmReadyRequest,
    WaitForVmReadyResponse,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

import protopact
from protopact import activity, testing

START = datetime(2026, 1, 1, tzinfo=UTC)
ADD = AddNodeRequest(node_id="n1", machine_type="small")


class Provisioner(node.Activities):
    """A cloud in the head; `boot` is what waiting for the machine does."""

    def __init__(self) -> None:
        self.join_failures = 0
        self.boots: list[int] = []

    async def create_vm(self, request: CreateVmRequest) -> CreateVmResponse:
        return CreateVmResponse(vm_id=f"vm-{request.node_id}")

    async def wait_for_vm_ready(self, request: WaitForVmReadyRequest) -> WaitForVmReadyResponse:
        progress = activity.heartbeat_details(BootProgress) or BootProgress()
        self.boots.append(progress.lines)
        activity.heartbeat(BootProgress(lines=progress.lines + 5))
        if len(self.boots) == 1:
            await asyncio.Event().wait()  # the connection is lost, and nobody says so
        return WaitForVmReadyResponse(boot_time=timedelta(seconds=len(request.vm_id)))

    async def wait_for_node_to_join_cluster(
        self, request: WaitForNodeToJoinClusterRequest
    ) -> WaitForNodeToJoinClusterResponse:
        if activity.info().attempt <= self.join_failures:
            raise ConnectionError(f"{request.node_id} is not there yet")
        return WaitForNodeToJoinClusterResponse(address="10.0.0.1")

    async def publish_vm_joined(self, request: PublishVmJoinedRequest) -> PublishVmJoinedResponse:
        return PublishVmJoinedResponse(offset=len(request.vm_id))

    async def delete_vm(self, request: DeleteVmRequest) -> DeleteVmResponse:
        assert request.node_id
        return DeleteVmResponse()


@pytest.mark.parametrize("cached", [1000, 0])
async def test_a_silent_activity_is_tried_again_with_what_it_last_said(cached: int) -> None:
    provisioner = Provisioner()
    async with (
        testing.Environment() as env,
        env.worker(
            workflows=[AddNode, DeleteNode], activities=[provisioner], services=[node], max_cached_workflows=cached
        ),
    ):
        handle = await node.Client(env).start_add_node(ADD)
        await env.advance(timedelta(seconds=10))
        response = await handle.result()
    assert response == AddNodeResponse(vm_id="vm-n1", machine_type="small", address="10.0.0.1")
    assert provisioner.boots == [0, 5]


async def test_signals_queries_and_updates_while_time_stands_still() -> None:
    provisioner = Provisioner()
    provisioner.boots.append(0)
    provisioner.join_failures = 3
    async with testing.Environment() as env, env.worker(workflows=[AddNode], activities=[provisioner]):
        handle = await node.Client(env).start_add_node_with_pause(ADD, PauseRequest(reason="wait"))
        assert (await handle.get_status(GetStatusRequest())).paused
        assert await handle.resize(ResizeRequest(machine_type="big")) == ResizeResponse(previous_machine_type="small")
        assert env.now() == START
        await handle.resume(ResumeRequest())
        assert (await handle.result()).machine_type == "big"
        assert env.now() > START
        assert (await handle.get_status(GetStatusRequest())).step is Step.DONE


async def test_a_mistake_in_an_update_fails_the_test() -> None:
    class Mistaken(AddNode):  # type: ignore[misc]  # final for users; here it is broken on purpose
        async def resize(self, request: ResizeRequest) -> ResizeResponse:
            raise KeyError(request.machine_type)

    async with testing.Environment() as env, env.worker(workflows=[Mistaken], activities=[Provisioner()]):
        handle = await node.Client(env).start_add_node_with_pause(ADD, PauseRequest())
        with pytest.raises(protopact.WorkflowTaskError, match="KeyError"):
            await handle.resize(ResizeRequest(machine_type="big"))
