"""The peer: Temporal's Replayer, unsandboxed, over the same file.

Usage: `python temporal_side.py FILE SHAPE REPEAT`; prints one line of JSON: seconds of parsing and of each replay. The
messages that google's protoc makes of `contract/` are expected on the path.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

pb: Any = importlib.import_module("replaying.v1.replaying_pb2")
if TYPE_CHECKING:
    Request: TypeAlias = Any
    Response: TypeAlias = Any
    Poke: TypeAlias = Any
else:
    Request, Response, Poke = pb.ShapeRequest, pb.ShapeResponse, pb.PokeRequest
ONE_MINUTE = timedelta(minutes=1)


def add(number: int) -> Any:  # noqa: ANN401 - the messages are found at run time
    return workflow.start_activity(
        "Add", pb.AddRequest(id="x", number=number), result_type=pb.AddResponse, start_to_close_timeout=ONE_MINUTE
    )


@workflow.defn(name="Sequence")
class Sequence:
    @workflow.run
    async def run(self, request: Request) -> Response:
        number = 0
        for _ in range(request.count):
            number = (await add(number)).number
        return pb.ShapeResponse(id="x", number=number)


@workflow.defn(name="Parallel")
class Parallel:
    @workflow.run
    async def run(self, request: Request) -> Response:
        answers = await asyncio.gather(*[add(number) for number in range(request.count)])
        return pb.ShapeResponse(id="x", number=sum(answer.number for answer in answers))


@workflow.defn(name="Timers")
class Timers:
    @workflow.run
    async def run(self, request: Request) -> Response:
        for _ in range(request.count):
            await asyncio.sleep(1)
        return pb.ShapeResponse(id="x", number=request.count)


@workflow.defn(name="Signals")
class Signals:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self, request: Request) -> Response:
        await workflow.wait_condition(lambda: self.count == request.count)
        return pb.ShapeResponse(id="x", number=self.count)

    @workflow.signal(name="Poke")
    async def poke(self, request: Poke) -> None:
        self.count += request.number


async def main(text: str, shape: str, repeat: int) -> None:
    replayer = Replayer(workflows=[Sequence, Parallel, Timers, Signals], workflow_runner=UnsandboxedWorkflowRunner())
    parsing: list[float] = []
    replaying: list[float] = []
    for _ in range(repeat):
        began = time.perf_counter()
        history = WorkflowHistory.from_json(shape, text)
        parsed = time.perf_counter()
        await replayer.replay_workflow(history)
        parsing.append(parsed - began)
        replaying.append(time.perf_counter() - parsed)
    print(json.dumps({"parsing": parsing, "replaying": replaying}), flush=True)
    # The SDK's threads may crash a process that ends in order: https://github.com/temporalio/sdk-python/issues/300.
    os._exit(0)


asyncio.run(main(Path(sys.argv[1]).read_text(), sys.argv[2], int(sys.argv[3])))
