"""The workflows: plain code that survives being killed anywhere."""

from __future__ import annotations

import asyncio
from typing import final

from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    AddNodeResponse,
    CreateVmRequest,
    DeleteNodeRequest,
    DeleteNodeResponse,
    DeleteVmRequest,
    GetStatusRequest,
    GetStatusResponse,
    PauseRequest,
    PublishVmJoinedRequest,
    ResizeRequest,
    ResizeResponse,
    ResumeRequest,
    Step,
    WaitForNodeToJoinClusterRequest,
    WaitForVmReadyRequest,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

from protopact import ApplicationError, FailureError, workflow

__all__ = ["AddNode", "DeleteNode"]


@final
class AddNode(node.AddNode):
    """Brings a node in, and takes away what it built when a step fails for good or the workflow is cancelled."""

    def __init__(self) -> None:
        self._begun = False
        self._step = Step.UNSPECIFIED
        self._paused = False
        self._machine_type = ""

    async def run(self, request: AddNodeRequest) -> AddNodeResponse:
        """Provision; roll back on failure."""
        self._machine_type = request.machine_type
        self._begun = True
        try:
            return await self._provision(request.node_id)
        except (FailureError, asyncio.CancelledError):
            self._step = Step.ROLLING_BACK
            await node.delete_vm(DeleteVmRequest(node_id=request.node_id))
            raise

    async def _provision(self, node_id: str) -> AddNodeResponse:
        await self._begin(Step.CREATING_VM)
        vm = await node.create_vm(CreateVmRequest(node_id=node_id, machine_type=self._machine_type))
        await self._begin(Step.BOOTING)
        await node.wait_for_vm_ready(WaitForVmReadyRequest(vm_id=vm.vm_id))
        await self._begin(Step.JOINING)
        joined = await node.wait_for_node_to_join_cluster(WaitForNodeToJoinClusterRequest(node_id=node_id))
        await node.publish_vm_joined(
            PublishVmJoinedRequest(vm_id=vm.vm_id, node_id=node_id, address=joined.address),
        )
        self._step = Step.DONE
        return AddNodeResponse(vm_id=vm.vm_id, machine_type=self._machine_type, address=joined.address)

    async def _begin(self, step: Step) -> None:
        """Enter a step, as soon as nobody holds the provisioning back."""
        await workflow.wait_condition(lambda: not self._paused)
        self._step = step

    async def on_pause(self, request: PauseRequest) -> None:
        """Hold back before the next step."""
        workflow.logger.info("paused: %s", request.reason)
        self._paused = True

    async def on_resume(self, request: ResumeRequest) -> None:
        """Go on."""
        workflow.logger.info("resumed: %s", request.reason)
        self._paused = False

    def get_status(self, request: GetStatusRequest) -> GetStatusResponse:  # noqa: ARG002 - the contract's signature
        """Say how far it is."""
        return GetStatusResponse(step=self._step, paused=self._paused, machine_type=self._machine_type)

    def validate_resize(self, request: ResizeRequest) -> None:
        """Refuse what cannot be done any more."""
        if not request.machine_type:
            raise ApplicationError("a machine type is needed", type="MachineTypeMissing")
        if self._step is not Step.UNSPECIFIED:
            raise ApplicationError("the virtual machine is being created already", type="TooLate")

    async def resize(self, request: ResizeRequest) -> ResizeResponse:
        """Change the machine type."""
        await workflow.wait_condition(lambda: self._begun)  # handlers may be called before `run` is
        previous, self._machine_type = self._machine_type, request.machine_type
        return ResizeResponse(previous_machine_type=previous)


@final
class DeleteNode(node.DeleteNode):
    """Takes a node out. Its id is the node's, so that starting it ends an AddNode that still runs."""

    async def run(self, request: DeleteNodeRequest) -> DeleteNodeResponse:
        """Delete the node's virtual machine."""
        await node.delete_vm(DeleteVmRequest(node_id=request.node_id))
        return DeleteNodeResponse()
