"""One side: `python -m benchmarks.temporal.side hand|contract URL WORKLOAD COUNT`, or `... replay COUNT FILE`.

It prints one line of JSON: the seconds of a workload, those on a CPU, and the latency of each workflow; or the seconds
of each replay. `contract URL record COUNT FILE` writes the history of a run of COUNT activities for these. Both sides
write messages as protobuf JSON with the same converter. What is generated of benchmarks/replay/contract is expected on
the path.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker

import protopact
from protopact.temporal import data_converter, replayer

WARM_UP = 10
BATCHES = 3
"""As many times so many workflows are run at once."""
Execute = Callable[[int], Awaitable[object]]
"""Runs a workflow of so many activities."""


async def measure(workload: str, count: int, execute: Execute) -> None:
    await asyncio.gather(*(execute(3) for _ in range(WARM_UP)))
    latencies: list[float] = []

    async def timed() -> None:
        started = time.perf_counter()
        await execute(1 if workload == "one" else 3)
        latencies.append(time.perf_counter() - started)

    began, busy = time.perf_counter(), time.process_time()
    if workload == "conc":
        # Who of a batch comes first is the server's, and one batch says little of the middle of them.
        for _ in range(BATCHES):
            await asyncio.gather(*(timed() for _ in range(count)))
    else:
        for _ in range(count):
            await timed()
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "cpu": cpu, "latencies": latencies}))


async def by_hand(url: str, workload: str, count: int) -> None:
    from benchmarks.temporal.by_hand import Sequence, add, messages  # noqa: PLC0415 - a process is one side

    client = await Client.connect(url.removeprefix("temporal://").partition("/")[0], data_converter=data_converter())
    queue = f"hand-{uuid4()}"

    async def execute(number: int) -> object:
        request = messages.ShapeRequest(id="id", count=number)
        return await client.execute_workflow(Sequence.run, request, id=str(uuid4()), task_queue=queue)

    async with Worker(
        client,
        task_queue=queue,
        workflows=[Sequence],
        activities=[add],
        max_cached_workflows=1000,
        max_concurrent_activities=count,
    ):
        await measure(workload, count, execute)


async def by_contract(url: str, workload: str, count: int, file: str | None = None) -> None:
    from benchmarks.temporal.by_contract import Adder, Sequence, messages, replaying  # noqa: PLC0415 - as above

    async with (
        protopact.connect(url) as engine,
        engine.worker(workflows=[Sequence], activities=[Adder()], max_concurrent_activities=count),
    ):
        client = replaying.Client(engine)

        async def execute(number: int) -> object:
            request = messages.ShapeRequest(id="id", count=number)
            return await client.execute_sequence(request, id=str(uuid4()))

        if file is None:
            await measure(workload, count, execute)
        else:
            request = messages.ShapeRequest(id="id", count=count)
            handle = await client.start_sequence(request, id=str(uuid4()))
            await handle.result()
            Path(file).write_text((await handle.history()).to_json())  # noqa: ASYNC240 - nobody waits for the loop


async def replay(side: str, repeat: int, file: str) -> None:
    if side == "hand":
        from benchmarks.temporal.by_hand import Sequence  # noqa: PLC0415 - as above

        replays = Replayer(workflows=[Sequence], data_converter=data_converter())
    else:
        from benchmarks.temporal.by_contract import Sequence as Generated  # noqa: PLC0415 - as above

        replays = replayer([Generated])
    history = WorkflowHistory.from_json("id", Path(file).read_text())  # noqa: ASYNC240 - as above
    seconds: list[float] = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        await replays.replay_workflow(history)
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"replays": seconds[1:]}))


def main() -> None:
    side, *words = sys.argv[1:]
    match words:
        case ["replay", repeat, file]:
            asyncio.run(replay(side, int(repeat), file))
        case [url, "record", count, file]:
            asyncio.run(by_contract(url, "record", int(count), file))
        case [url, workload, count]:
            asyncio.run((by_hand if side == "hand" else by_contract)(url, workload, int(count)))
        case _:
            sys.exit(__doc__)
    # A thread of the SDK that hands over an answer while the interpreter ends aborts the process now and then
    # (temporalio/sdk-python, issue 300), and what was measured has been printed.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
