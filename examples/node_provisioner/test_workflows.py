"""The workflows, with activities that a test holds in its hand, on an engine in memory whose time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    AddNodeResponse,
    CreateVmRequest,
    CreateVmResponse,
    DeleteNodeRequest,
    DeleteNodeResponse,
    DeleteVmRequest,
    DeleteVmResponse,
    GetStatusRequest,
    GetStatusResponse,
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
from protopact import testing
from protopact.engine import WorkflowStatus


class Script(node.Activities):
    """Activities that note what was asked of them, fail when told to, and wait at a gate when there is one."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.failures: dict[type, Exception] = {}
        self.gates: dict[type, asyncio.Event] = {}
        self.arrived = asyncio.Event()

    async def create_vm(self, request: CreateVmRequest) -> CreateVmResponse:
        await self._note(request)
        return CreateVmResponse(vm_id="vm-7")

    async def wait_for_vm_ready(self, request: WaitForVmReadyRequest) -> WaitForVmReadyResponse:
        await self._note(request)
        return WaitForVmReadyResponse()

    async def wait_for_node_to_join_cluster(
        self, request: WaitForNodeToJoinClusterRequest
    ) -> WaitForNodeToJoinClusterResponse:
        await self._note(request)
        return WaitForNodeToJoinClusterResponse(address="10.0.0.7")

    async def publish_vm_joined(self, request: PublishVmJoinedRequest) -> PublishVmJoinedResponse:
        await self._note(request)
        return PublishVmJoinedResponse(offset=0)

    async def delete_vm(self, request: DeleteVmRequest) -> DeleteVmResponse:
        await self._note(request)
        return DeleteVmResponse()

    def hold(self, request: type) -> asyncio.Event:
        """Make the activity with this request wait until the returned event is set."""
        return self.gates.setdefault(request, asyncio.Event())

    @property
    def steps(self) -> list[type]:
        return [type(request) for request in self.asked]

    async def _note(self, request: object) -> None:
        self.asked.append(request)
        if gate := self.gates.get(type(request)):
            self.arrived.set()
            await gate.wait()
        if failure := self.failures.get(type(request)):
            raise failure


EVERY_STEP: list[type] = [
    CreateVmRequest,
    WaitForVmReadyRequest,
    WaitForNodeToJoinClusterRequest,
    PublishVmJoinedRequest,
]
ADD = AddNodeRequest(node_id="n1", machine_type="small")
ADDED = AddNodeResponse(vm_id="vm-7", machine_type="small", address="10.0.0.7")


@asynccontextmanager
async def provisioner(script: Script) -> AsyncGenerator[node.Client]:
    async with (
        testing.Environment() as env,
        env.worker(workflows=[AddNode, DeleteNode], activities=[script], services=[node]),
    ):
        yield node.Client(env)


async def test_every_step_once_and_in_order() -> None:
    script = Script()
    async with provisioner(script) as client:
        assert await client.execute_add_node(ADD) == ADDED
    assert script.asked == [
        CreateVmRequest(node_id="n1", machine_type="small"),
        WaitForVmReadyRequest(vm_id="vm-7"),
        WaitForNodeToJoinClusterRequest(node_id="n1"),
        PublishVmJoinedRequest(vm_id="vm-7", node_id="n1", address="10.0.0.7"),
    ]


@pytest.mark.parametrize("step", EVERY_STEP)
async def test_a_step_that_fails_for_good_rolls_back(step: type) -> None:
    script = Script()
    script.failures[step] = protopact.ApplicationError("it burnt down", type="Fire", non_retryable=True)
    async with provisioner(script) as client:
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await client.execute_add_node(ADD)
        status = await client.add_node_handle("node/n1").get_status(GetStatusRequest())
    assert script.steps == [*EVERY_STEP[: EVERY_STEP.index(step) + 1], DeleteVmRequest]
    assert status.step is Step.ROLLING_BACK
    activity_error = failed.value.cause
    assert isinstance(activity_error, protopact.ActivityError)
    assert isinstance(activity_error.cause, protopact.ApplicationError)
    assert (activity_error.cause.type, activity_error.cause.message) == ("Fire", "it burnt down")


async def test_a_cancelled_provisioning_rolls_back() -> None:
    script = Script()
    script.hold(WaitForVmReadyRequest)
    async with provisioner(script) as client:
        handle = await client.start_add_node(ADD)
        await script.arrived.wait()
        await handle.cancel()
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await handle.result()
        description = await handle.describe()
    assert isinstance(failed.value.cause, protopact.CancelledError)
    assert description.status is WorkflowStatus.CANCELED
    assert script.steps == [CreateVmRequest, WaitForVmReadyRequest, DeleteVmRequest]


async def test_a_paused_provisioning_waits_until_it_is_resumed() -> None:
    script = Script()
    async with provisioner(script) as client:
        handle = await client.start_add_node_with_pause(ADD, PauseRequest(reason="not yet"))
        assert await handle.get_status(GetStatusRequest()) == GetStatusResponse(
            step=Step.UNSPECIFIED, paused=True, machine_type="small"
        )
        assert script.asked == []
        await handle.resume(ResumeRequest(reason="now"))
        assert await handle.result() == ADDED
        assert (await handle.get_status(GetStatusRequest())).step is Step.DONE


async def test_a_pause_holds_the_next_step_not_the_running_one() -> None:
    script = Script()
    gate = script.hold(CreateVmRequest)
    async with provisioner(script) as client:
        handle = await client.start_add_node(ADD)
        await script.arrived.wait()
        await handle.pause(PauseRequest(reason="look at it"))
        gate.set()
        assert (await handle.get_status(GetStatusRequest())).paused
        assert script.steps == [CreateVmRequest]
        await handle.resume(ResumeRequest(reason="fine"))
        assert await handle.result() == ADDED


async def test_a_resize_before_the_machine_is_created_is_accepted() -> None:
    script = Script()
    async with provisioner(script) as client:
        handle = await client.start_add_node_with_pause(ADD, PauseRequest(reason="wrong size"))
        assert await handle.resize(ResizeRequest(machine_type="big")) == ResizeResponse(previous_machine_type="small")
        await handle.resume(ResumeRequest(reason="right size"))
        assert (await handle.result()).machine_type == "big"
    assert script.asked[0] == CreateVmRequest(node_id="n1", machine_type="big")


async def test_a_resize_without_a_machine_type_is_rejected() -> None:
    async with provisioner(Script()) as client:
        handle = await client.start_add_node_with_pause(ADD, PauseRequest())
        with pytest.raises(protopact.UpdateFailedError) as rejected:
            await handle.resize(ResizeRequest())
    assert isinstance(rejected.value.cause, protopact.ApplicationError)
    assert rejected.value.cause.type == "MachineTypeMissing"


async def test_a_resize_comes_too_late_once_the_machine_is_being_created() -> None:
    script = Script()
    gate = script.hold(CreateVmRequest)
    async with provisioner(script) as client:
        handle = await client.start_add_node(ADD)
        await script.arrived.wait()
        with pytest.raises(protopact.UpdateFailedError) as rejected:
            await handle.resize(ResizeRequest(machine_type="big"))
        gate.set()
        assert await handle.result() == ADDED
    assert isinstance(rejected.value.cause, protopact.ApplicationError)
    assert rejected.value.cause.type == "TooLate"


async def test_deleting_a_node_terminates_its_provisioning() -> None:
    script = Script()
    script.hold(WaitForVmReadyRequest)
    async with provisioner(script) as client:
        adding = await client.start_add_node(ADD)
        await script.arrived.wait()
        assert await client.execute_delete_node(DeleteNodeRequest(node_id="n1")) == DeleteNodeResponse()
        with pytest.raises(protopact.WorkflowFailedError) as failed:
            await adding.result()
        terminated = client.add_node_handle("node/n1", run_id=adding.run_id)
        assert (await terminated.describe()).status is WorkflowStatus.TERMINATED
    assert isinstance(failed.value.cause, protopact.TerminatedError)
    assert script.steps == [CreateVmRequest, WaitForVmReadyRequest, DeleteVmRequest]


async def test_a_second_deletion_is_refused_while_the_first_runs() -> None:
    script = Script()
    gate = script.hold(DeleteVmRequest)
    async with provisioner(script) as client:
        first = await client.start_delete_node(DeleteNodeRequest(node_id="n1"))
        await script.arrived.wait()
        with pytest.raises(protopact.AlreadyStartedError) as refused:
            await client.start_delete_node(DeleteNodeRequest(node_id="n1"))
        gate.set()
        await first.result()
    assert (refused.value.workflow_id, refused.value.run_id) == ("node/n1", first.run_id)


async def test_a_second_provisioning_is_refused_while_the_first_runs() -> None:
    async with provisioner(Script()) as client:
        await client.start_add_node_with_pause(ADD, PauseRequest())
        with pytest.raises(protopact.AlreadyStartedError):
            await client.start_add_node(ADD)
