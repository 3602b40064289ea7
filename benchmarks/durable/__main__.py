"""Workloads (a) seq, (b) conc and (c) one against DBOS on SQLite, both WAL and FULL, interleaved in one run.

Usage: `python -m benchmarks.durable [--rounds N] [--count N] [--peer-python PATH]`. Every round runs every side once,
each in a process and a file of its own, with the cost of a raw append and fsync measured beside it. Medians over
rounds, and p99 of the workflows of all rounds together; the ratio is to the peer's median of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

from benchmarks.generated import generate

HERE = Path(__file__).parent
WORKLOADS = {"seq": "three activities, one after the other", "conc": "the same, all at once", "one": "one activity"}


@dataclass
class Side:
    name: str
    command: list[str]
    path: str = ""
    rates: list[float] = field(default_factory=list[float])
    p50: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])
    """Milliseconds of each workflow of all rounds."""

    @property
    def p99(self) -> float:
        """Of all workflows, in milliseconds."""
        return quantiles(self.latencies, n=100, method="inclusive")[98]


def fsync_ms(folder: Path, count: int = 200) -> float:
    """Median cost of appending a page and syncing it, in milliseconds."""
    samples: list[float] = []
    with (folder / "raw").open("ab", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            samples.append((time.perf_counter() - began) * 1000)
    return median(samples)


def run(side: Side, workload: str, count: int, folder: Path) -> None:
    database = folder / f"{time.time_ns()}.db"
    command = [*side.command[:2], workload, str(count), str(database), *side.command[2:]]
    environment = os.environ | {"PYTHONPATH": side.path}
    output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    figures = json.loads(output.splitlines()[-1])
    side.rates.append(count / figures["seconds"])
    latencies = [each * 1000 for each in figures["latencies"]]
    if latencies:
        side.p50.append(median(latencies))
        side.latencies += latencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--workload", choices=WORKLOADS, action="append")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter of an environment that has dbos")
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, protobuf {version('protobuf')}, "
        f"betterproto2 {version('betterproto2')}, {os.cpu_count()} cores; WAL and FULL everywhere; "
        f"{arguments.rounds} rounds of {arguments.count} workflows, interleaved; medians over rounds"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(HERE / "contract", folder)
        for workload in arguments.workload or WORKLOADS:
            peer = Side("DBOS", [arguments.peer_python, str(HERE / "dbos_side.py")])
            ours = [
                Side(
                    f"protopact {library} {encoding.partition('/')[0]}",
                    [sys.executable, str(HERE / "protopact_side.py"), library, encoding],
                    str(folder / library),
                )
                for library in ("google", "betterproto2")
                for encoding in ("binary/protobuf", "json/protobuf")
            ]
            syncs: list[float] = []
            for turn in range(arguments.rounds):
                for side in (peer, *ours) if turn % 2 == 0 else (*reversed(ours), peer):
                    syncs.append(fsync_ms(folder))
                    run(side, workload, arguments.count, folder)
            print(f"\n({workload}) {WORKLOADS[workload]}; raw append and fsync beside it: p50 {median(syncs):.2f} ms")
            for side in (peer, *ours):
                ratio = median(side.rates) / median(peer.rates)
                latency = f"p50 {median(side.p50):6.2f} ms  p99 {side.p99:6.2f} ms" if side.p50 else ""
                print(f"  {side.name:<30} {median(side.rates):8.0f} wf/s  {ratio:6.1f} x DBOS  {latency}")


main()
