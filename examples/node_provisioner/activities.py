"""The activities: each reads what is there, decides, and only then writes, so that running it twice does no harm."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from examples.node_provisioner.cloud import Cloud
from generated.betterproto2.nodes.provisioning.v1 import (
    BootProgress,
    CreateVmRequest,
    CreateVmResponse,
    DeleteVmRequest,
    DeleteVmResponse,
    PublishVmJoinedRequest,
    PublishVmJoinedResponse,
    WaitForNodeToJoinClusterRequest,
    WaitForNodeToJoinClusterResponse,
    WaitForVmReadyRequest,
    WaitForVmReadyResponse,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

from protopact import CancelledError, activity
from protopact.activity import CancellationReason

__all__ = ["NotJoinedError", "Provisioner"]

_UNWANTED = (CancellationReason.CANCEL_REQUESTED, CancellationReason.NOT_FOUND)
"""The workflow has gone on without it, or has ended. After a time-out the next attempt counts on what is there."""

_LOGGER = logging.getLogger(__name__)


class NotJoinedError(Exception):
    """The node has not joined the cluster yet; retried as the contract says."""


class Provisioner(node.Activities):
    """Works on a cloud. Methods with `async def` run on the worker's event loop, the others in threads.

    Args:
        cloud: The cloud to work on.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create_vm(self, request: CreateVmRequest) -> CreateVmResponse:
        """Return the node's machine; create it when it is not there, and undo that when nobody wants it any more."""
        vm = self._cloud.find_vm(request.node_id)
        if vm is None:
            vm = self._cloud.create_vm(request.node_id, request.machine_type)
            if activity.cancellation_reason() in _UNWANTED:
                # A thread is not interrupted: whoever deletes the node may have looked before the machine was there.
                self._cloud.delete_vm(vm.vm_id)
                raise CancelledError(f"{vm.vm_id} was created too late")
        return CreateVmResponse(vm_id=vm.vm_id)

    async def wait_for_vm_ready(self, request: WaitForVmReadyRequest) -> WaitForVmReadyResponse:
        """Follow the boot from where the last attempt stopped."""
        vm = self._cloud.vm(request.vm_id)
        lines = (activity.heartbeat_details(BootProgress) or BootProgress()).lines
        async for line in self._cloud.boot_log(vm.vm_id, skip=lines):
            lines += 1
            activity.heartbeat(BootProgress(lines=lines))
            _LOGGER.info("%s boots: %s (attempt %d)", vm.vm_id, line, activity.info().attempt)
        return WaitForVmReadyResponse(boot_time=timedelta(seconds=time.time() - vm.created_at))

    async def wait_for_node_to_join_cluster(
        self, request: WaitForNodeToJoinClusterRequest
    ) -> WaitForNodeToJoinClusterResponse:
        """Look once; the contract's retry policy does the waiting."""
        address = self._cloud.address(request.node_id)
        if address is None:
            raise NotJoinedError(f"{request.node_id} has not joined yet")
        return WaitForNodeToJoinClusterResponse(address=address)

    def publish_vm_joined(self, request: PublishVmJoinedRequest) -> PublishVmJoinedResponse:
        """Announce the machine, unless it has been announced."""
        for announcement in self._cloud.announcements():
            if announcement.vm_id == request.vm_id:
                return PublishVmJoinedResponse(offset=announcement.offset)
        return PublishVmJoinedResponse(offset=self._cloud.announce(request.vm_id, request.address).offset)

    def delete_vm(self, request: DeleteVmRequest) -> DeleteVmResponse:
        """Delete the node's machine, if there is one."""
        vm = self._cloud.find_vm(request.node_id)
        if vm is not None:
            self._cloud.delete_vm(vm.vm_id)
        return DeleteVmResponse()
