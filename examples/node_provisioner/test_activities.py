"""The activities on a real, small cloud: what is asked for twice happens once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.node_provisioner.activities import Provisioner
from examples.node_provisioner.cloud import BOOT_LOG, Cloud
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    AddNodeResponse,
    CreateVmRequest,
    CreateVmResponse,
    DeleteNodeRequest,
    DeleteVmRequest,
    PublishVmJoinedRequest,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

import protopact


class RestlessCloud(Cloud):
    """Loses its connection once, after the third line of a boot log; notes the lines that it gave away."""

    lines: tuple[str, ...] = ()

    async def boot_log(self, vm_id: str, *, skip: int = 0) -> AsyncIterator[str]:
        async for line in super().boot_log(vm_id, skip=skip):
            if len(self.lines) == 3 and skip == 0:
                raise ConnectionResetError("the cloud has hung up")
            self.lines += (line,)
            yield line


@pytest.fixture
def cloud(tmp_path: Path) -> RestlessCloud:
    return RestlessCloud(tmp_path / "cloud", quota=1, line_seconds=0, join_seconds=0)


@asynccontextmanager
async def provisioner(cloud: Cloud) -> AsyncIterator[node.Client]:
    async with (
        protopact.connect("sqlite://") as engine,
        engine.worker(workflows=[AddNode, DeleteNode], activities=[Provisioner(cloud)]),
    ):
        yield node.Client(engine)


def done(cloud: Cloud) -> list[str]:
    return [str(effect["do"]) for effect in cloud.effects()]


def test_a_machine_is_created_once(cloud: Cloud) -> None:
    request = CreateVmRequest(node_id="n1", machine_type="small")
    assert Provisioner(cloud).create_vm(request) == CreateVmResponse(vm_id="vm-1")
    assert Provisioner(cloud).create_vm(request) == CreateVmResponse(vm_id="vm-1", existed=True)
    assert done(cloud) == ["create"]


def test_a_machine_is_announced_once(cloud: Cloud) -> None:
    provisioner = Provisioner(cloud)
    first = PublishVmJoinedRequest(vm_id="vm-1", node_id="n1", address="10.0.0.1")
    second = PublishVmJoinedRequest(vm_id="vm-2", node_id="n1", address="10.0.0.2")
    offsets = [provisioner.publish_vm_joined(request).offset for request in (first, second, first)]
    assert offsets == [0, 1, 0]


def test_a_machine_is_deleted_once(cloud: Cloud) -> None:
    provisioner = Provisioner(cloud)
    provisioner.create_vm(CreateVmRequest(node_id="n1", machine_type="small"))
    assert provisioner.delete_vm(DeleteVmRequest(node_id="n1")).deleted
    assert not provisioner.delete_vm(DeleteVmRequest(node_id="n1")).deleted
    assert done(cloud) == ["create", "delete"]


async def test_a_boot_is_followed_from_where_the_last_attempt_stopped(cloud: RestlessCloud) -> None:
    async with provisioner(cloud) as client:
        response = await client.execute_add_node(AddNodeRequest(node_id="n1", machine_type="small"))
    assert response == AddNodeResponse(vm_id="vm-1", machine_type="small", address="10.0.0.1")
    assert cloud.lines == BOOT_LOG
    assert done(cloud) == ["create", "announce"]


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
            assert (await client.execute_delete_node(DeleteNodeRequest(node_id="n1"))).deleted
        assert not (await client.execute_delete_node(DeleteNodeRequest(node_id="n1"))).deleted
    assert done(cloud) == ["create", "announce", "delete"] * 2
