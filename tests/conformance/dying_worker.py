"""A worker process that dies in the middle of the first attempt it is given: `python -m ... URL QUEUE`."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.conformance.bench import Bench, Lab, Place
from tests.conformance.google.suite.v1.suite_pb2 import Text


class Dying(Lab):
    """Dies, and leaves nothing behind that could be said."""

    async def beat(self, request: Text) -> Text:
        os._exit(1)


async def serve(bench: Bench) -> None:
    """Serve until the end."""
    async with bench.worker(activities=[Dying()]):
        await asyncio.Event().wait()


async def main(url: str, queue: str) -> None:
    """Connect, and serve."""
    async with Place(url, queue).connect() as bench:
        await serve(bench)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
