"""What each side of this benchmark does, whatever it is written on: workloads (a) seq, (b) conc and (c) one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

WARM_UP = 10


async def measure(
    workload: str, count: int, three: Callable[[int], Awaitable[object]], one: Callable[[int], Awaitable[object]]
) -> None:
    """Run a workload and print one line of JSON: seconds, and the latency of each workflow."""
    await asyncio.gather(*(three(number) for number in range(WARM_UP)))
    latencies: list[float] = []

    async def timed(number: int) -> None:
        started = time.perf_counter()
        await (one if workload == "one" else three)(number)
        latencies.append(time.perf_counter() - started)

    began = time.perf_counter()
    if workload == "conc":
        await asyncio.gather(*(timed(number) for number in range(count)))
    else:
        for number in range(count):
            await timed(number)
    print(json.dumps({"seconds": time.perf_counter() - began, "latencies": latencies}))
