"""Many open runs in one process of the embedded engine: what they take of memory and disk, and what waking one costs.

Usage: `python -m benchmarks.open_runs [--runs 2000] [--cached 1000] [--folder FOLDER]`. Each run waits for a signal,
and for a timer of a day. They are begun, woken one by one, some in memory and some read from the file, and left open;
then another process opens the file, and wakes some, then all. Times are of the wall and, behind it, of the processor,
which is the same on a machine with much else to do.
"""

# ruff: noqa: ANN401 - the classes are generated when it runs
from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import protopact
from benchmarks.generated import ROOT, generate
from protopact import workflow

_AT_ONCE = 500
"""Calls of the client that are under way together."""
_SAMPLES = 200
"""Runs that are woken one by one, of each kind."""


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def _opened(file: Path, cached: int) -> AsyncGenerator[Any]:
    """A client beside a worker."""
    service: Any = importlib.import_module("replaying.v1.replaying_protopact").ReplayingService
    messages: Any = importlib.import_module("replaying.v1.replaying_pb2")

    class Signals(service.Signals):  # type: ignore[misc] # the class is generated
        async def run(self, request: Any) -> Any:
            self.total = 0
            for _ in range(request.count):
                self.is_poked = False
                await workflow.wait_condition(self.was_poked, timeout=timedelta(days=1))
            return messages.ShapeResponse(id=request.id, number=self.total)

        def was_poked(self) -> bool:
            return self.is_poked

        async def on_poke(self, request: Any) -> None:
            self.total += request.number
            self.is_poked = True

    async with (
        protopact.connect(f"sqlite:///{file}") as engine,
        engine.worker(workflows=[Signals], max_cached_workflows=cached),
    ):
        yield service.Client(engine)


def _messages() -> Any:
    return importlib.import_module("replaying.v1.replaying_pb2")


async def _begin(client: Any, numbers: Iterable[int]) -> None:
    """Start runs, as many at once as a busy client would, until each has begun to wait."""
    batch = [
        client.start_signals(_messages().ShapeRequest(id=str(number), count=100), id=f"run/{number}")
        for number in numbers
    ]
    await asyncio.gather(*batch)


async def _poke(client: Any, number: int) -> None:
    handle = client.signals_handle(f"run/{number}")
    await handle.poke(_messages().PokeRequest(number=1))


Took = tuple[float, float]
"""Milliseconds: of the wall, of the processor."""


async def _woken(client: Any, numbers: Iterable[int]) -> Took:
    """Medians until a signal to a run is durable, its workflow task with it, one run after the other."""
    took: list[Took] = []
    for number in numbers:
        watch = _Watch()
        await _poke(client, number)
        took.append(watch.read())
    return median(wall for wall, _ in took), median(processor for _, processor in took)


class _Watch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def read(self, of: int = 1) -> Took:
        """What each of so many has taken."""
        return (time.perf_counter() - self._wall) * 1000 / of, (time.process_time() - self._processor) * 1000 / of


async def _first(file: Path, runs: int, cached: int) -> dict[str, Any]:
    async with _opened(file, cached) as client:
        await _begin(client, range(-_AT_ONCE, 0))
        before, watch = _resident(), _Watch()
        for number in range(0, runs, _AT_ONCE):
            await _begin(client, range(number, min(runs, number + _AT_ONCE)))
        begun = watch.read(runs)
        samples = min(_SAMPLES, cached, runs // 4)
        return {
            "begun": begun,
            "bytes": _resident() - before,
            "hit": await _woken(client, range(runs - samples, runs)),
            "missed": await _woken(client, range(samples)),
        }


async def _second(file: Path, runs: int, cached: int) -> dict[str, Any]:
    before, watch = _resident(), _Watch()
    async with _opened(file, cached) as client:
        samples = min(_SAMPLES, runs // 4)
        await _poke(client, 2 * samples)
        opened, grown = watch.read(), _resident() - before
        first, watch = await _woken(client, range(runs // 2, runs // 2 + samples)), _Watch()
        for number in range(0, runs, _AT_ONCE):
            await asyncio.gather(*(_poke(client, each) for each in range(number, min(runs, number + _AT_ONCE))))
        return {"opened": opened, "grown": grown, "first": first, "all": watch.read(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--cached", type=int, default=1000, help="max_cached_workflows of the worker")
    parser.add_argument("--folder", type=Path, help="where the file is written, instead of a temporary folder")
    parser.add_argument("--side", choices=["first", "second"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = {"first": _first, "second": _second}[arguments.side]
        print(json.dumps(asyncio.run(side(arguments.folder / "runs.db", arguments.runs, arguments.cached))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        generate(ROOT / "benchmarks/replay/contract", folder)
        figures: dict[str, Any] = {}
        for each in ("first", "second"):
            command = [sys.executable, "-m", "benchmarks.open_runs", "--side", each, "--folder", name]
            command += ["--runs", str(arguments.runs), "--cached", str(arguments.cached)]
            environment = os.environ | {"PYTHONPATH": f"{folder / 'google'}{os.pathsep}{ROOT}"}
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
            figures |= json.loads(done.stdout.splitlines()[-1])
            if each == "first":
                figures["disk"] = (folder / "runs.db").stat().st_size
    _print(figures, arguments.runs, arguments.cached)


def _print(figures: dict[str, Any], runs: int, cached: int) -> None:
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores; {runs:,} open "
        f"runs, max_cached_workflows={cached:,}"
    )
    lines = {
        "memory": f"{figures['bytes'] / 2**20:8.1f} MiB for all, {figures['bytes'] / runs / 1024:.1f} KiB for each",
        "memory when the file is opened again": f"{figures['grown'] / 2**20:8.1f} MiB",
        "file": f"{figures['disk'] / 2**20:8.1f} MiB, {figures['disk'] / runs / 1024:.1f} KiB for each",
        f"begun, {_AT_ONCE} calls at once": _each(figures["begun"]),
        "a signal to a run in memory": _each(figures["hit"]),
        "to one that is read from the file": _each(figures["missed"]),
        "to one of a process that went away": _each(figures["first"]),
        f"to all, {_AT_ONCE} at once": _each(figures["all"]),
        "opened again, until a run is woken": _each(figures["opened"]),
    }
    for name, line in lines.items():
        print(f"  {name:<38}{line}")


def _each(took: Took) -> str:
    wall, processor = took
    return f"{wall:8.2f} ms, processor {processor:.2f} ms"


if __name__ == "__main__":
    main()
