"""Where activations run: as callbacks on the caller's loop, or on a thread of the engine's own.

A skeleton of the engine's tick, no workflow logic: a workflow is three trivial `async def` activities on the caller's
loop, each outcome is committed (WAL, FULL) before the next starts, one transaction per tick carries everyone's work.
The two placements are interleaved in one run. `busy` keeps the caller's loop occupied the way a web application would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

STEPS = 3


@dataclass(slots=True)
class Run:
    number: int
    done: asyncio.Future[None]
    step: int = 0


class Skeleton(ABC):
    """The part both placements share: the inbox, the commit, the activities."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inbox: deque[Run] = deque()
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute("CREATE TABLE IF NOT EXISTS history (run INTEGER, step INTEGER, events BLOB)")

    def tick(self) -> list[Run]:
        """Commit what has arrived; the runs whose next activity may start."""
        runs = [self.inbox.popleft() for _ in range(len(self.inbox))]
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(
            "INSERT INTO history VALUES (?, ?, ?)", [(run.number, run.step, b"e" * 400) for run in runs]
        )
        self.database.execute("COMMIT")
        return runs

    def release(self, runs: list[Run]) -> None:
        """On the caller's loop: answer callers, start activities."""
        for run in runs:
            if run.step == STEPS:
                run.done.set_result(None)
            else:
                run.step += 1
                task = self.loop.create_task(activity())
                task.add_done_callback(partial(self.arrived, run))

    def arrived(self, run: Run, _: asyncio.Task[None]) -> None:
        self.arrive(run)

    def start(self, number: int) -> asyncio.Future[None]:
        run = Run(number, self.loop.create_future())
        self.arrive(run)
        return run.done

    def ended(self, run: Run, _task: asyncio.Task[None]) -> None:
        self.arrive(run)

    @abstractmethod
    def arrive(self, run: Run) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


async def activity() -> None:
    """Trivial on purpose: the engine is measured."""


class OnTheLoop(Skeleton):
    scheduled = False

    def arrive(self, run: Run) -> None:
        self.inbox.append(run)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.step)

    def step(self) -> None:
        self.scheduled = False
        self.release(self.tick())

    def close(self) -> None:
        self.database.close()


class OnAThread(Skeleton):
    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(path, loop)
        self.wake = threading.Semaphore(0)
        self.open = True
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def arrive(self, run: Run) -> None:
        self.inbox.append(run)
        self.wake.release()

    def serve(self) -> None:
        while self.open:
            self.wake.acquire()
            if self.inbox:
                self.loop.call_soon_threadsafe(self.release, self.tick())

    def close(self) -> None:
        self.open = False
        self.wake.release()
        self.thread.join()
        self.database.close()


async def measure(placement: type[Skeleton], folder: Path, count: int, *, busy: bool) -> tuple[float, float, float]:
    """Sequential p50 and p99 in milliseconds, concurrent workflows a second."""
    loop = asyncio.get_running_loop()
    skeleton = placement(folder / f"{placement.__name__}-{time.time_ns()}.db", loop)
    stop = asyncio.Event()

    async def web_application() -> None:
        while not stop.is_set():
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0.0005)

    other = loop.create_task(web_application()) if busy else None
    latencies: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await skeleton.start(number)
        latencies.append((time.perf_counter() - began) * 1000)
    began = time.perf_counter()
    await asyncio.gather(*(skeleton.start(number) for number in range(count * 4)))
    rate = count * 4 / (time.perf_counter() - began)
    stop.set()
    if other is not None:
        await other
    skeleton.close()
    latencies.sort()
    return statistics.median(latencies), latencies[int(len(latencies) * 0.99)], rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, WAL and FULL")
    print(f"{arguments.rounds} rounds, interleaved; medians over rounds")
    with tempfile.TemporaryDirectory() as name:
        for busy in (False, True):
            results: dict[type[Skeleton], list[tuple[float, float, float]]] = {OnTheLoop: [], OnAThread: []}
            for _ in range(arguments.rounds):
                for placement, rows in results.items():
                    rows.append(asyncio.run(measure(placement, Path(name), arguments.count, busy=busy)))
            print(f"\ncaller's loop {'busy half of the time' if busy else 'idle'}")
            for placement, rows in results.items():
                p50, p99, rate = (statistics.median(column) for column in zip(*rows, strict=True))
                print(f"  {placement.__name__:<10} seq p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  conc {rate:8.0f} wf/s")


if __name__ == "__main__":
    main()
