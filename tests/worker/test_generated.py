"""The registry on what the plugin generates, for both message libraries."""

from __future__ import annotations

import pytest
from examples.greeting.greeting import Composer, Greet
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node
from greeting.v1.greeting_pb2 import ComposeGreetingRequest, ComposeGreetingResponse, GreetRequest, GreetResponse
from greeting.v1.greeting_protopact import GreetingService as google_greeting

from protopact import RegistrationError, testing
from protopact.engine import WorkerOptions
from protopact.worker import Registry


class GoogleGreet(google_greeting.Greet):
    async def run(self, request: GreetRequest) -> GreetResponse:
        composed = await google_greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
        return GreetResponse(greeting=composed.greeting)


class GoogleComposer(google_greeting.Activities):
    def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
        return ComposeGreetingResponse(greeting=f"Good day, {request.name}!")


def test_several_services_on_one_worker() -> None:
    registry = Registry(
        WorkerOptions(workflows=[Greet, AddNode, DeleteNode], activities=[Composer()], services=[greeting])
    )
    assert set(registry.workflows) == {
        "greeting.v1.GreetingService.Greet",
        "nodes.provisioning.v1.NodeProvisionerService.AddNode",
        "nodes.provisioning.v1.NodeProvisionerService.DeleteNode",
    }
    assert registry.workflow_queues == {"greeting", "node-provisioner"}
    assert registry.activity_queues == {"greeting"}


def test_what_is_missing_of_a_generated_service() -> None:
    with pytest.raises(RegistrationError) as refused:
        Registry(WorkerOptions(workflows=[AddNode], services=[node]))
    message = str(refused.value)
    assert "workflow nodes.provisioning.v1.NodeProvisionerService.DeleteNode" in message
    assert "activities nodes.provisioning.v1.NodeProvisionerService.CreateVm" in message
    assert "NodeProvisionerService.AddNode (give" not in message


def test_one_service_of_two_libraries_is_claimed_once() -> None:
    with pytest.raises(RegistrationError, match="is claimed twice"):
        Registry(WorkerOptions(workflows=[Greet, GoogleGreet]))


async def test_a_workflow_of_one_library_calls_an_activity_of_the_other() -> None:
    assert Registry(WorkerOptions(workflows=[Greet], activities=[GoogleComposer()], services=[greeting])).activities
    async with testing.Environment() as env, env.worker(workflows=[GoogleGreet], activities=[Composer()]):
        response = await google_greeting.Client(env).execute_greet(GreetRequest(name="World"))
    assert response.greeting == "Hello, World!"
