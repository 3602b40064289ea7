"""The node provisioner: a team with Go and a team with Python, each with the worker and each with the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from uuid import uuid4

import generated.betterproto2.nodes.provisioning.v1 as betterproto2_messages
import pytest
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as betterproto2_node
from nodes.provisioning.v1.node_pb2 import (
    STEP_UNSPECIFIED,
    AddNodeRequest,
    AddNodeResponse,
    CreateVmRequest,
    DeleteNodeRequest,
    DeleteNodeResponse,
    GetStatusRequest,
    GetStatusResponse,
    PauseRequest,
    ResizeRequest,
    ResizeResponse,
    ResumeRequest,
)
from nodes.provisioning.v1.node_protopact import NodeProvisionerService as google_node
from tests.devserver import DevServer
from tests.interop.caller import Caller, Element, FailedError, Link, Run
from tests.interop.golang import go_caller, go_worker
from tests.interop.ours import OurCaller, our_node_worker
from tests.interop.stock import StockCaller

import protopact

SERVICE = "nodes.provisioning.v1.NodeProvisionerService."
TASK_QUEUE = "node-provisioner"
"""The contract's."""
PAUSE = Element(SERVICE + "Pause", NoneType)
RESUME = Element(SERVICE + "Resume", NoneType)
GET_STATUS = Element(SERVICE + "GetStatus", GetStatusResponse)
RESIZE = Element(SERVICE + "Resize", ResizeResponse)


@dataclass(frozen=True)
class Border:
    caller: Caller

    def run(self, rpc: str) -> Run:
        return Run(SERVICE + rpc, f"node/{uuid4()}", TASK_QUEUE)


@pytest.fixture(params=["go calls ours", "stock calls ours", "betterproto2 calls go", "google calls go"])
async def border(request: pytest.FixtureRequest, temporal_server: DevServer) -> AsyncIterator[Border]:
    here, there = request.param.split(" calls ")
    async with AsyncExitStack() as stack:
        binary: Path | None = request.getfixturevalue("go_binary") if "go" in (here, there) else None
        if there == "ours":
            await stack.enter_async_context(our_node_worker(temporal_server))
        else:
            assert binary
            await stack.enter_async_context(go_worker(binary, temporal_server, TASK_QUEUE))
        caller: Caller
        if here == "go":
            assert binary
            caller = await stack.enter_async_context(go_caller(binary, temporal_server, CreateVmRequest))
        elif here == "stock":
            caller = StockCaller(await temporal_server.connect(), CreateVmRequest)
        else:
            engine = await stack.enter_async_context(protopact.connect(temporal_server.url))
            if here == "google":
                caller = OurCaller(google_node.Client(engine), CreateVmRequest)
            else:
                caller = OurCaller(betterproto2_node.Client(engine), CreateVmRequest, betterproto2_messages)
        yield Border(caller)


async def test_a_node_is_held_back_resized_and_brought_in(border: Border) -> None:
    run = border.run("AddNode")
    request = AddNodeRequest(node_id="n1", machine_type="small")
    await border.caller.signal_with_start(run, request, PAUSE, PauseRequest(reason="wait"))
    assert await border.caller.query(run, GET_STATUS, GetStatusRequest()) == GetStatusResponse(
        step=STEP_UNSPECIFIED, paused=True, machine_type="small"
    )
    answer = await border.caller.update(run, RESIZE, ResizeRequest(machine_type="large"))
    assert answer == ResizeResponse(previous_machine_type="small")
    with pytest.raises(FailedError) as rejected:
        await border.caller.update(run, RESIZE, ResizeRequest())
    assert rejected.value.links == (Link("application", "MachineTypeMissing", "a machine type is needed"),)
    await border.caller.signal(run, RESUME, ResumeRequest(reason="go on"))
    result = await border.caller.result(run, AddNodeResponse)
    assert result == AddNodeResponse(vm_id="vm-n1", machine_type="large", address="n1.cluster")


async def test_a_step_that_fails_for_good_says_why_and_the_node_can_go(border: Border) -> None:
    run = border.run("AddNode")
    await border.caller.start(run, AddNodeRequest(node_id="n2", machine_type="too-large"))
    with pytest.raises(FailedError) as failed:
        await border.caller.result(run, AddNodeResponse)
    wanted = CreateVmRequest(node_id="n2", machine_type="too-large")
    assert failed.value.links == (
        Link("activity", SERVICE + "CreateVm"),
        Link("application", "QuotaExceededError", "no room", non_retryable=True, details=(wanted,)),
    )
    deletion = border.run("DeleteNode")
    await border.caller.start(deletion, DeleteNodeRequest(node_id="n2"))
    assert await border.caller.result(deletion, DeleteNodeResponse) == DeleteNodeResponse()
