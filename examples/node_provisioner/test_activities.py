"""The activities on a real, small cloud: what is asked for twice happens once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.node_provisioner.activities import Provisioner
from examples.node_provisioner.cloud import BOOT_LOG, Cloud, Vm
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    AddNodeResponse,
    BootProgress,
    CreateVmRequest,
    CreateVmResponse,
    DeleteNodeRequest,
    DeleteVmRequest,
    DeleteVmResponse,
    PublishVmJoinedRequest,
    WaitForVmReadyRequest,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

import protopact
from protopact import testing


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path / "cloud", quota=1, line_seconds=0, join_seconds=0)


@asynccontextmanager
async def provisioner(cloud: Cloud) -> AsyncGenerator[node.Client]:
    async with (
        testing.Environment() as env,
        env.worker(workflows=[AddNode, DeleteNode], activities=[Provisioner(cloud)]),
    ):
        yield node.Client(env)


def done(cloud: Cloud) -> list[str]:
    return [str(effect["do"]) for effect in cloud.effects()]


def test_a_machine_is_created_once(cloud: Cloud) -> None:
    request = CreateVmRequest(node_id="n1", machine_type="small")
    created = [testing.ActivityEnvironment().run(Provisioner(cloud).create_vm, request) for _ in range(2)]
    assert created == [CreateVmResponse(vm_id="vm-1")] * 2
    assert done(cloud) == ["create"]


def test_a_machine_is_announced_once(cloud: Cloud) -> None:
    provisioner = Provisioner(cloud)
    first = PublishVmJoinedRequest(vm_id="vm-1", node_id="n1", address="10.0.0.1")
    second = PublishVmJoinedRequest(vm_id="vm-2", node_id="n1", address="10.0.0.2")
    offsets = [provisioner.publish_vm_joined(request).offset for request in (first, second, first)]
    assert offsets == [0, 1, 0]


def test_a_machine_is_deleted_once(cloud: Cloud) -> None:
    provisioner = Provisioner(cloud)
    cloud.create_vm("n1", "small")
    assert [provisioner.delete_vm(DeleteVmRequest(node_id="n1")) for _ in range(2)] == [DeleteVmResponse()] * 2
    assert done(cloud) == ["create", "delete"]


async def test_a_boot_is_followed_from_where_the_last_attempt_stopped(cloud: Cloud) -> None:
    vm = cloud.create_vm("n1", "small")
    env = testing.ActivityEnvironment(heartbeat_details=[BootProgress(lines=len(BOOT_LOG) - 2)])
    await env.run(Provisioner(cloud).wait_for_vm_ready, WaitForVmReadyRequest(vm_id=vm.vm_id))
    assert env.heartbeats == [[BootProgress(lines=len(BOOT_LOG) - 1)], [BootProgress(lines=len(BOOT_LOG))]]


async def test_a_node_that_has_not_joined_is_looked_for_again(tmp_path: Path) -> None:
    late = Cloud(tmp_path / "cloud", line_seconds=0, join_seconds=0.01)
    async with provisioner(late) as client:
        response = await client.execute_add_node(AddNodeRequest(node_id="n1", machine_type="small"))
    assert response == AddNodeResponse(vm_id="vm-1", machine_type="small", address="10.0.0.1")
    assert done(late) == ["create", "announce"]


async def test_a_node_that_finds_no_room_fails_at_once(cloud: Cloud) -> None:
    async with provisioner(cloud) as client:
        await client.execute_add_node(AddNodeRequest(node_id="n1"))
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await client.execute_add_node(AddNodeRequest(node_id="n2"))
    activity_error = failed.value.cause
    assert isinstance(activity_error, protopact.ActivityError)
    assert isinstance(activity_error.cause, protopact.ApplicationError)
    assert activity_error.cause.type == "QuotaExceededError"
    assert activity_error.retry_state is protopact.RetryState.NON_RETRYABLE_FAILURE


async def test_a_node_may_come_back_after_it_was_deleted(cloud: Cloud) -> None:
    async with provisioner(cloud) as client:
        for number in (1, 2):
            added = await client.execute_add_node(AddNodeRequest(node_id="n1", machine_type="small"))
            assert added.vm_id == f"vm-{number}"
            await client.execute_delete_node(DeleteNodeRequest(node_id="n1"))
        await client.execute_delete_node(DeleteNodeRequest(node_id="n1"))
    assert done(cloud) == ["create", "announce", "delete"] * 2


@pytest.mark.parametrize("end", ["delete", "cancel"])
async def test_a_machine_that_is_created_too_late_does_not_stay(tmp_path: Path, end: str) -> None:
    asked, granted = threading.Event(), threading.Event()

    class Slow(Cloud):
        def create_vm(self, node_id: str, machine_type: str) -> Vm:
            asked.set()
            assert granted.wait(10)
            return super().create_vm(node_id, machine_type)

    cloud = Slow(tmp_path / "cloud")
    async with provisioner(cloud) as client:
        adding = await client.start_add_node(AddNodeRequest(node_id="n1", machine_type="small"))
        assert await asyncio.to_thread(asked.wait, 10)
        if end == "delete":
            await client.execute_delete_node(DeleteNodeRequest(node_id="n1"))
        else:
            await adding.cancel()
            with pytest.raises(protopact.WorkflowFailedError):
                await adding.result()
        granted.set()
    assert cloud.find_vm("n1") is None
    assert done(cloud) == ["create", "delete"]
