"""Our side of a workload: the embedded engine in a file, one process with one worker and one client.

Usage: `python protopact_side.py WORKLOAD COUNT PATH LIBRARY ENCODING`; prints one line of JSON: seconds, and the
latencies of each workflow. The generated code of `contract/` for LIBRARY is expected on the path.
"""

# ruff: noqa: ANN401 - which library's classes these are is known at run time only
from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from typing import Any, cast

import protopact
from protopact.payload import Encoding

WARM_UP = 5


def service(library: str) -> tuple[Any, Any]:
    """The generated service class and the module of its messages; which one is known at run time only."""
    if library == "google":
        return importlib.import_module("bench.v1.bench_protopact").BenchService, importlib.import_module(
            "bench.v1.bench_pb2"
        )
    return importlib.import_module("contracts.bench.v1.bench_protopact").BenchService, importlib.import_module(
        "contracts.bench.v1"
    )


async def main() -> None:
    workload, count, path, library, encoding = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
    bench, messages = service(library)

    class Three(bench.Three):  # type: ignore[misc, name-defined] # the class is chosen at run time
        async def run(self, request: Any) -> Any:
            number = request.number
            for _ in range(3):
                number = (await bench.add(messages.AddRequest(id=request.id, number=number))).number
            return messages.ThreeResponse(id=request.id, number=number)

    class One(bench.One):  # type: ignore[misc, name-defined] # as above
        async def run(self, request: Any) -> Any:
            answer = await bench.add(messages.AddRequest(id=request.id, number=request.number))
            return messages.OneResponse(id=answer.id, number=answer.number)

    class Adder(bench.Activities):  # type: ignore[misc, name-defined] # as above
        async def add(self, request: Any) -> Any:
            return messages.AddResponse(id=request.id, number=request.number + 1)

    async with (
        protopact.connect(f"sqlite:///{path}", encoding=cast("Encoding", encoding)) as engine,
        engine.worker(workflows=[Three, One], activities=[Adder()], max_concurrent_activities=count),
    ):
        client = bench.Client(engine)
        for number in range(WARM_UP):
            await client.execute_three(messages.ThreeRequest(id="warm", number=number))
        latencies: list[float] = []
        began = time.perf_counter()
        if workload == "conc":
            await asyncio.gather(
                *(client.execute_three(messages.ThreeRequest(id="id", number=number)) for number in range(count))
            )
        else:
            for number in range(count):
                started = time.perf_counter()
                if workload == "seq":
                    await client.execute_three(messages.ThreeRequest(id="id", number=number))
                else:
                    await client.execute_one(messages.OneRequest(id="id", number=number))
                latencies.append(time.perf_counter() - started)
        print(json.dumps({"seconds": time.perf_counter() - began, "latencies": latencies}))


asyncio.run(main())
