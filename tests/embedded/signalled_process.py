"""A worker in a process of its own: `python signalled_process.py DATABASE [GRACE]`; says what happens to it.

Its activity Echo waits for ever, but for what its request says; Beat never ends, whatever happens.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

from tests.embedded.bench import Waiting, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

import protopact
from protopact import activity


def say(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - what the parent reads


class Caller(Waiting):
    async def run(self, request: Text) -> Text:
        return await (lab.beat(request) if request.value == "stubborn" else lab.echo(request))


class Slow(lab.Activities):
    async def echo(self, request: Text) -> Text:
        say(f"attempt {activity.info().attempt}")
        try:
            if request.value == "quick":
                await activity.wait_for_worker_shutdown()
                say("shutdown")
                return text("ended in time")
            await asyncio.Event().wait()
        finally:
            say(f"over {activity.cancellation_reason()}")
        return request

    def beat(self, request: Text) -> Text:
        say(f"attempt {activity.info().attempt}")
        while True:
            try:
                time.sleep(60)
            except BaseException as error:  # noqa: BLE001 - it is as stubborn as they come
                say(f"refused {type(error).__name__}")


async def main(path: str, grace: float) -> None:
    async with (
        protopact.connect(f"sqlite:///{path}") as engine,
        engine.worker(workflows=[Caller], activities=[Slow()], graceful_shutdown_timeout=timedelta(seconds=grace)),
        engine.worker(activities=[Slow()], task_queue="other"),
    ):
        say("ready")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("left")
            raise


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], float(sys.argv[2])))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(1)
