"""The manifest of docs/engines.md for Temporal's worker controller: its fields, and its container, run for real."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from generated.betterproto2.nodes.provisioning.v1 import AddNodeRequest
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node
from tests.devserver import DevServer
from tests.temporal import page
from tests.temporal.bench import make_current

import protopact
from protopact.history.event import WorkflowTaskCompleted

ROOT = Path(__file__).parents[2]
# Any: fastjsonschema comes without types.
VALIDATE: Any = import_module("fastjsonschema").validate
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$"}


def fields(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": [*required],
        "additionalProperties": False,
    }


SPECS = {
    "Connection": fields(
        {"hostPort": {"type": "string", "pattern": "^[a-zA-Z0-9.-]+:[0-9]+$"}},
        {"mutualTLSSecretRef": fields({"name": NAME}), "tls": fields({}, {"serverName": {"type": "string"}})},
    ),
    "WorkerDeployment": fields(
        {
            "workerOptions": fields({"connectionRef": fields({"name": NAME}), "temporalNamespace": {"minLength": 1}}),
            "rollout": fields(
                {"strategy": {"enum": ["Manual", "AllAtOnce", "Progressive"]}},
                {
                    "steps": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 20,
                        "items": fields(
                            {
                                "rampPercentage": {"type": "integer", "minimum": 1, "maximum": 99},
                                "pauseDuration": DURATION,
                            }
                        ),
                    }
                },
            ),
            "sunset": fields({}, {"scaledownDelay": DURATION, "deleteDelay": DURATION}),
            "template": {"type": "object", "required": ["spec"]},
        },
        {"replicas": {"type": "integer"}, "minReadySeconds": {"type": "integer"}},
    ),
}
"""What a spec may have in the controller's definitions of 1.8.1, as far as manifests here go."""


def documents() -> dict[str, dict[str, Any]]:
    """Those of the manifest, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(page.block("node-provisioner.yaml"))}


@pytest.mark.parametrize("kind", SPECS)
def test_fields(kind: str) -> None:
    document = documents()[kind]
    assert document["apiVersion"] == "temporal.io/v1alpha1"
    schema = fields({"apiVersion": {}, "kind": {}, "metadata": fields({"name": NAME}), "spec": SPECS[kind]})
    VALIDATE(schema, document)


def test_the_deployment_refers_to_the_connection() -> None:
    found = documents()
    assert len(found) == len(SPECS)
    referred = found["WorkerDeployment"]["spec"]["workerOptions"]["connectionRef"]["name"]
    assert referred == found["Connection"]["metadata"]["name"]


@pytest.mark.slow
async def test_its_container(temporal_server: DevServer, tmp_path: Path) -> None:
    (container,) = documents()["WorkerDeployment"]["spec"]["template"]["spec"]["containers"]
    python, *arguments = [word.replace("/mnt/cloud", str(tmp_path)) for word in container["args"]]
    assert python == "python"
    deployment, build = f"nodes/{uuid4()}", "2.1-abcd"
    # What the controller adds to a container.
    given = {
        "TEMPORAL_ADDRESS": temporal_server.address,
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_DEPLOYMENT_NAME": deployment,
        "TEMPORAL_WORKER_BUILD_ID": build,
    }
    worker = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, env=os.environ | given)
    try:
        await make_current(temporal_server, deployment, build)
        async with protopact.connect(temporal_server.url) as engine:
            client = node.Client(engine)
            request = AddNodeRequest(node_id=f"n-{uuid4()}", machine_type="e2-standard-4")
            handle = await client.start_add_node(request)
            assert (await asyncio.wait_for(handle.result(), 60)).vm_id
            tasks = [each.attributes for each in await handle.history()]
        versions = [
            (each.deployment_name, each.deployment_build_id, each.versioning_behavior)
            for each in tasks
            if isinstance(each, WorkflowTaskCompleted)
        ]
        assert set(versions) == {(deployment, build, "PINNED")}
    finally:
        worker.terminate()
        await worker.wait()
