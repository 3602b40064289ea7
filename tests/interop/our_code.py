"""Our side: workflows and activities of both services; the node provisioner's workflows are those of the example."""

from __future__ import annotations

from datetime import timedelta
from typing import final

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
from tests.interop.relay.v1.relay_pb2 import (
    AmendRequest,
    AmendResponse,
    BreakRequest,
    Damage,
    FindNoteRequest,
    FindNoteResponse,
    GetNotesResponse,
    NoteRequest,
    RelayRequest,
    RelayResponse,
)
from tests.interop.relay.v1.relay_protopact import RelayService as relay

from protopact import ApplicationError, activity, workflow

__all__ = ["Break", "Ping", "Provisioner", "Relay", "Relayer"]


def _failure(request: BreakRequest) -> ApplicationError:
    error = ApplicationError(request.message, request.damage, type=request.type, non_retryable=request.non_retryable)
    error.__cause__ = ApplicationError("a crack", type="CrackError")
    return error


@final
class Relay(relay.Relay):
    def __init__(self) -> None:
        self._notes: list[str] = []
        self._closed = False

    async def run(self, request: RelayRequest) -> RelayResponse:
        await relay.tick(task_queue=request.task_queue)
        await relay.Ping.execute_child(task_queue=request.task_queue)
        self._notes.append("relayed")
        await workflow.wait_condition(lambda: self._closed)
        return RelayResponse(notes=self._notes)

    async def on_hurry(self) -> None:
        self._notes.append("hurry")

    async def on_note(self, request: NoteRequest) -> None:
        self._notes.append(request.text)

    def get_notes(self) -> GetNotesResponse:
        return GetNotesResponse(notes=self._notes)

    def find_note(self, request: FindNoteRequest) -> FindNoteResponse:
        return FindNoteResponse(text=self._at(request.index))

    async def amend(self, request: AmendRequest) -> AmendResponse:
        previous = self._at(request.index)
        self._notes[request.index] = request.text
        return AmendResponse(previous=previous)

    def validate_amend(self, request: AmendRequest) -> None:
        if not request.text:
            raise ApplicationError("a text is needed", Damage(part="text"), type="TextMissing")

    async def close(self) -> None:
        self._closed = True

    def _at(self, index: int) -> str:
        if not 0 <= index < len(self._notes):
            damage = Damage(part="notes", cents=len(self._notes))
            raise ApplicationError("there is no such note", damage, type="NoSuchNote")
        return self._notes[index]


@final
class Ping(relay.Ping):
    async def run(self) -> None:
        pass


@final
class Break(relay.Break):
    async def run(self, request: BreakRequest) -> None:
        if not request.task_queue:
            raise _failure(request)
        await relay.snap(request, task_queue=request.task_queue)


class Relayer(relay.Activities):
    async def tick(self) -> None:
        pass

    def snap(self, request: BreakRequest) -> None:
        raise _failure(request)


class Provisioner(node.Activities):
    """As the Go worker's activities are."""

    def create_vm(self, request: CreateVmRequest) -> CreateVmResponse:
        if request.machine_type == "too-large":
            raise ApplicationError("no room", request, type="QuotaExceededError", non_retryable=True)
        return CreateVmResponse(vm_id=f"vm-{request.node_id}")

    async def wait_for_vm_ready(self, request: WaitForVmReadyRequest) -> WaitForVmReadyResponse:
        activity.heartbeat(BootProgress(lines=1))
        return WaitForVmReadyResponse(boot_time=timedelta(seconds=1.5))

    async def wait_for_node_to_join_cluster(
        self, request: WaitForNodeToJoinClusterRequest
    ) -> WaitForNodeToJoinClusterResponse:
        return WaitForNodeToJoinClusterResponse(address=f"{request.node_id}.cluster")

    async def publish_vm_joined(self, request: PublishVmJoinedRequest) -> PublishVmJoinedResponse:
        return PublishVmJoinedResponse(offset=1 << 53)

    async def delete_vm(self, request: DeleteVmRequest) -> DeleteVmResponse:
        return DeleteVmResponse()
