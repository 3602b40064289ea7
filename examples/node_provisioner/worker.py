"""A worker: serves both workflows and all activities until it is told to stop.

Run it from the repository's root, as often as you like, on one file::

    python -m examples.node_provisioner.worker --engine sqlite:///nodes.db --cloud cloud/

On Temporal it is a version of a worker deployment where TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID name one,
as Temporal's worker controller on Kubernetes has it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from examples.node_provisioner.activities import Provisioner
from examples.node_provisioner.cloud import Cloud
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node

import protopact

_LOGGER = logging.getLogger(__name__)


async def serve(url: str, cloud: Cloud) -> None:
    """Serve until SIGINT or SIGTERM; activities that run then are given the time to end."""
    async with (
        protopact.connect(url) as engine,
        engine.worker(workflows=[AddNode, DeleteNode], activities=[Provisioner(cloud)], services=[node]),
    ):
        _LOGGER.info("serving %s", url)
        await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Serves the node provisioner.")
    parser.add_argument("--engine", default="sqlite:///nodes.db", help="URL of the engine (default: %(default)s)")
    parser.add_argument(
        "--cloud", default=Path("cloud"), type=Path, help="directory of the cloud (default: %(default)s)"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S")
    try:
        asyncio.run(serve(arguments.engine, Cloud(arguments.cloud)))
    except KeyboardInterrupt:
        _LOGGER.info("stopped")
    except protopact.ProtopactError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
