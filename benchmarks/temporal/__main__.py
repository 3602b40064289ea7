"""What the Temporal engine costs beside Temporal's SDK alone, and what a server costs beside the embedded engine.

Usage: `python -m benchmarks.temporal [--rounds N] [--count N] [--minutes N]`. The same workflow, written by hand on
`temporalio` and on generated code, on one dev server (tuned, a file with WAL and FULL), both sandboxed, with one
converter, interleaved, each side of each round in a process of its own; medians over as many rounds as there is time
for, one at least, and p99 of the workflows of all rounds together. Then replays of one history of the server by
Temporal's Replayer in its sandbox, and the same generated code on the embedded engine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.devserver import start

from benchmarks.generated import generate

ROOT = Path(__file__).parents[2]
WORKLOADS = {"seq": "three activities, one after the other", "conc": "the same, all at once", "one": "one activity"}
AIM = 1.05


@dataclass
class Side:
    """Figures of one side, a value for each round."""

    name: str
    rates: list[float] = field(default_factory=list[float])
    p50: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])
    """Milliseconds of each workflow of all rounds: a round has too few for a percentile at the end."""
    cpu: list[float] = field(default_factory=list[float])
    """Milliseconds of the process, worker and client, for each workflow: what a busy machine disturbs least."""

    def add(self, figures: dict[str, Any]) -> None:
        latencies = [each * 1000 for each in figures["latencies"]]
        count = len(latencies)
        self.rates.append(count / figures["seconds"])
        self.p50.append(median(latencies))
        self.latencies += latencies
        self.cpu.append(figures["cpu"] / count * 1000)

    @property
    def p99(self) -> float:
        """Of all workflows, in milliseconds."""
        return quantiles(self.latencies, n=100, method="inclusive")[98]

    def __str__(self) -> str:
        return (
            f"  {self.name:<24} {median(self.rates):8.1f} wf/s  p50 {median(self.p50):8.2f} ms  "
            f"p99 {self.p99:8.2f} ms  CPU {median(self.cpu):6.2f} ms/wf"
        )


@dataclass(frozen=True)
class Pace:
    """How long to measure: so many rounds, or as many as there is time for, one at least."""

    rounds: int
    seconds: float

    def share(self, part: float) -> Pace:
        """As many rounds in a part of the time."""
        return Pace(self.rounds, self.seconds * part)

    def turns(self) -> Iterator[int]:
        """The numbers of rounds."""
        until = time.monotonic() + self.seconds
        for turn in range(self.rounds):
            if turn and time.monotonic() > until:
                return
            yield turn


def side(path: Path, *words: object) -> dict[str, Any]:
    """Run a side, and read what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.temporal.side", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}


def cost(ours: list[float], theirs: list[float]) -> float:
    """How many times as much ours is, pair by pair."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def ratios(ours: Side, theirs: Side) -> str:
    """The cost as a factor in each figure: above 1, ours is the worse."""
    return (
        f"  {'cost':<24} {cost(theirs.rates, ours.rates):8.2f} x     p50 {cost(ours.p50, theirs.p50):8.2f} x   "
        f"p99 {ours.p99 / theirs.p99:8.2f} x   CPU {cost(ours.cpu, theirs.cpu):6.2f} x   (aim {AIM})"
    )


def compare_adapter(path: Path, url: str, pace: Pace, count: int) -> dict[str, Side]:
    """Generated code against code by hand; the figures of the former, by workload."""
    found: dict[str, Side] = {}
    for workload, words in WORKLOADS.items():
        hand, contract = Side("by hand on temporalio"), Side("generated, on protopact")
        sides = [("hand", hand), ("contract", contract)]
        for turn in pace.share(1 / len(WORKLOADS)).turns():
            # Whoever is second meets a database that is larger by a round of the other.
            for name, each in sides if turn % 2 == 0 else reversed(sides):
                each.add(side(path, name, url, workload, count))
        print(f"\n({workload}) {words}; rounds: {len(hand.rates)}, p99 of {len(hand.latencies)} workflows")
        print(f"{hand}\n{contract}\n{ratios(contract, hand)}")
        found[workload] = contract
    return found


def compare_replay(path: Path, url: str, pace: Pace, folder: Path, activities: int) -> None:
    """One history of the server, replayed by both."""
    file = folder / "history.json"
    side(path, "contract", url, "record", activities, file)
    events = len(json.loads(file.read_text())["events"])
    seconds: dict[str, list[float]] = {"hand": [], "contract": []}
    for turn in pace.turns():
        for name, each in seconds.items() if turn % 2 == 0 else reversed(seconds.items()):
            each.append(median(side(path, name, "replay", 5, file)["replays"]))
    print(f"\nreplay of {events} events ({activities} activities in a row) by Temporal's Replayer, sandboxed", end="")
    print(f"; rounds: {len(seconds['hand'])}")
    print(f"  {'by hand on temporalio':<24} {events / median(seconds['hand']):8.0f} events/s")
    print(f"  {'generated, on protopact':<24} {events / median(seconds['contract']):8.0f} events/s")
    print(f"  {'cost':<24} {cost(seconds['contract'], seconds['hand']):8.2f} x   (aim {AIM})")


def compare_embedded(path: Path, pace: Pace, count: int, folder: Path, served: dict[str, Side]) -> None:
    """The same generated code in this process and a file."""
    print("\nthe same generated code, embedded in a file (WAL, FULL), beside the server")
    for workload, server in served.items():
        embedded = Side("embedded")
        for turn in pace.share(1 / len(served)).turns():
            url = f"sqlite:///{folder / f'{workload}-{turn}.db'}"
            embedded.add(side(path, "contract", url, workload, count))
        ratio = median(embedded.rates) / median(server.rates)
        print(f"({workload})\n{embedded}\n  {'of the dev server':<24} {ratio:8.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--activities", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=4)
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, temporalio {version('temporalio')}, protobuf {version('protobuf')}, "
        f"{os.cpu_count()} cores; up to {arguments.rounds} rounds of {arguments.count} workflows"
    )
    pace = Pace(arguments.rounds, arguments.minutes * 60)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(ROOT / "benchmarks/replay/contract", folder)
        path = folder / "google"
        with start(folder) as server:
            served = compare_adapter(path, server.url, pace.share(0.6), arguments.count)
            compare_replay(path, server.url, pace.share(0.25), folder, arguments.activities)
        compare_embedded(path, pace.share(0.1), arguments.count, folder, served)


if __name__ == "__main__":
    main()
