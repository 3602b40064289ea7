"""A worker in a process of its own: `python worker_process.py DATABASE ROLE`; says `ready`, stops when its input ends.

Its activity Echo writes a line to `DATABASE.log` for every attempt; what it then does follows from its request.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from tests.embedded.bench import Lab, Waiting, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

import protopact
from protopact import activity


class Relay(Waiting):
    """Calls Echo with its request; waits for Go when told to."""

    async def run(self, request: Text) -> Text:
        if request.value.startswith("wait"):
            return await super().run(request)
        if request.value.startswith("beat"):
            return await lab.beat(request)
        if request.value.startswith("once"):
            return await lab.echo(request, retry_policy=protopact.RetryPolicy(maximum_attempts=1))
        return await lab.echo(request)


class Journaling(Lab):
    def __init__(self, log: Path) -> None:
        self._log = log

    def note(self, words: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {words}\n")

    async def echo(self, request: Text) -> Text:
        attempt = activity.info().attempt
        self.note(f"echo {request.value} {attempt}")
        if "outside" in request.value:
            self.note(f"token {activity.info().task_token.hex()}")
            activity.raise_complete_async()
        if "hang" in request.value and attempt == 1:
            await asyncio.Event().wait()
        if "fail" in request.value and attempt == 1:
            raise protopact.ApplicationError("first", next_retry_delay=timedelta(milliseconds=50))
        return text(f"{request.value} {attempt}")

    async def beat(self, request: Text) -> Text:
        attempt = activity.info().attempt
        found = activity.heartbeat_details(Text)
        self.note(f"beat {request.value} {attempt}")
        if found is not None:
            return text(f"{found.value} {attempt}")
        activity.heartbeat(text("half-way"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note(f"cancelled {activity.cancellation_reason()}")
            raise
        return request


async def main(path: str, role: str) -> None:
    activities = [Journaling(Path(f"{path}.log"))] if "activities" in role else []
    workflows = [Relay] if "workflows" in role else []
    async with (
        protopact.connect(f"sqlite:///{path}") as engine,
        engine.worker(workflows=workflows, activities=activities, graceful_shutdown_timeout=timedelta(seconds=0.1)),
    ):
        print("ready", flush=True)  # noqa: T201 - what the parent waits for
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
