"""A client: starts, watches and steers the workflows from a process of its own.

Run it from the repository's root::

    python -m examples.node_provisioner.client add n1 --machine-type e2-standard-4
    python -m examples.node_provisioner.client status n1
    python -m examples.node_provisioner.client result n1
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    DeleteNodeRequest,
    GetStatusRequest,
    PauseRequest,
    ResizeRequest,
    ResumeRequest,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

import protopact


async def run(arguments: argparse.Namespace) -> object:
    """Do what the command line says and return what to print."""
    async with protopact.connect(arguments.engine) as engine:
        client = node.Client(engine)
        handle = client.add_node_handle(f"node/{arguments.node_id}")

        async def add() -> str:
            request = AddNodeRequest(node_id=arguments.node_id, machine_type=arguments.machine_type)
            started = await client.start_add_node(request)
            return f"{started.id} started, run {started.run_id}"

        commands: dict[str, Callable[[], Awaitable[object]]] = {
            "add": add,
            "status": lambda: handle.get_status(GetStatusRequest()),
            "pause": lambda: handle.pause(PauseRequest(reason=arguments.reason)),
            "resume": lambda: handle.resume(ResumeRequest(reason=arguments.reason)),
            "resize": lambda: handle.resize(ResizeRequest(machine_type=arguments.machine_type)),
            "result": handle.result,
            "delete": lambda: client.execute_delete_node(DeleteNodeRequest(node_id=arguments.node_id)),
        }
        return await commands[arguments.command]()


def main() -> None:
    """Read the command line, do it, and say what came out."""
    parser = argparse.ArgumentParser(description="Steers the node provisioner.")
    parser.add_argument("--engine", default="sqlite:///nodes.db", help="URL of the engine (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("add", "start AddNode"),
        ("status", "say how far it is"),
        ("pause", "hold it back before its next step"),
        ("resume", "let it go on"),
        ("resize", "change the machine type"),
        ("result", "wait for its end"),
        ("delete", "run DeleteNode"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("node_id")
        if name in {"add", "resize"}:
            command.add_argument("--machine-type", default="e2-standard-4")
        if name in {"pause", "resume"}:
            command.add_argument("--reason", default="asked on the command line")
    try:
        print(asyncio.run(run(parser.parse_args())))  # noqa: T201 - the program's answer
    except protopact.ProtopactError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
