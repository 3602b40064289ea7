"""Replay of the same histories by our core and by Temporal's Replayer, interleaved in one run.

Usage: `python -m benchmarks.replay [--rounds N] [--only compare|growth|memory]`. Every round runs every side once, each
in a process of its own, the histories of `shapes.py` read from the same JSON. Medians over rounds; ratios are to the
peer's median of the same run. Growth is ours alone, by the processor's time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.generated import generate

HERE = Path(__file__).parent
OURS = [
    (library, encoding, check)
    for library in ("google", "betterproto2")
    for encoding in ("json/protobuf", "binary/protobuf")
    for check in ("strict", "plain")
]
"""Message library, encoding, and what is compared: every field of every command, or what workers compare."""
SHAPES = {
    "Sequence": ("activities, one after the other", 6, 10),
    "Timers": ("timers, one after the other", 5, 10),
    "Signals": ("signals", 4, 10),
    "Parallel": ("activities, all at once in two tasks", 3, 3),
}
"""Workflow name: what it does, events for each turn, how often the peer repeats."""


@dataclass
class Side:
    name: str
    command: list[str]
    path: Path
    parsing: list[float] = field(default_factory=list[float])
    replaying: list[float] = field(default_factory=list[float])


def run(command: list[str], path: Path) -> str:
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{HERE.parents[1]}"}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


class Bench:
    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder
        self._rounds = rounds
        generate(HERE / "contract", folder)

    def ours(self, library: str, encoding: str, shape: str, count: int, *arguments: str) -> list[str]:
        file = self._folder / f"{shape}-{count}-{encoding.partition('/')[0]}.json"
        side = str(HERE / "protopact_side.py")
        return [sys.executable, side, str(file), shape, *arguments, library, encoding]

    def write(self, shape: str, count: int) -> None:
        for encoding in ("json/protobuf", "binary/protobuf"):
            run(self.ours("google", encoding, shape, count, "write", str(count)), self._folder / "google")

    def compare(self, shape: str, turns: int, *, repeat: int) -> None:
        self.write(shape, turns)
        what, each, peer_repeat = SHAPES[shape]
        events = turns * each + 5
        tasks = 2 if shape == "Parallel" else turns + 1
        peer_file = self._folder / f"{shape}-{turns}-json.json"
        peer_command = [sys.executable, str(HERE / "temporal_side.py"), str(peer_file), shape]
        peer = Side("temporalio json", [*peer_command, str(min(repeat, peer_repeat))], self._folder / "google")
        ours = [
            Side(
                f"protopact {library} {encoding.partition('/')[0]} {check}",
                self.ours(library, encoding, shape, turns, str(repeat), check),
                self._folder / library,
            )
            for library, encoding, check in OURS
        ]
        for _ in range(self._rounds):
            for side in (peer, *ours):
                figures = json.loads(run(side.command, side.path).splitlines()[-1])
                side.parsing.append(median(figures["parsing"]))
                side.replaying.append(median(figures["replaying"]))
        print(f"\n{events} events, {tasks} tasks: {what}")
        for side in (peer, *ours):
            replay, parse = median(side.replaying), median(side.parsing)
            ratio = median(peer.replaying) / replay
            both = (median(peer.replaying) + median(peer.parsing)) / (replay + parse)
            print(
                f"  {side.name:<36} {events / replay:10,.0f} events/s {tasks / replay:9,.0f} tasks/s {ratio:7.1f} x"
                f"   parsing {events / parse:9,.0f} events/s   both {both:5.1f} x"
            )

    def growth(self) -> None:
        """How much longer five times the events take; in proportion is 5."""
        print("\nours, google json strict: processor's time of 10,000 and of 50,000 events")
        for shape, (_, each, _) in SHAPES.items():
            took: list[float] = []
            for events in (10_000, 50_000):
                self.write(shape, events // each)
                command = self.ours("google", "json/protobuf", shape, events // each, "3", "strict")
                figures = json.loads(run(command, self._folder / "google").splitlines()[-1])
                took.append(min(figures["processing"]))
            small, large = took
            print(f"  {shape:<10} {small * 1000:8.0f} ms {large * 1000:8.0f} ms {large / small:6.2f} x")

    def memory(self) -> None:
        print("\nmemory of an open run that waits, after 10 and after 100 turns")
        for shape in ("Sequence", "Timers", "Signals"):
            for turns in (10, 100):
                self.write(shape, turns)
                command = self.ours("google", "json/protobuf", shape, turns, "memory", "1000")
                size = json.loads(run(command, self._folder / "google"))["bytes"]
                print(f"  {shape:<10} {turns:4} turns {size / 1024:7.1f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["compare", "growth", "memory"], help="one of the parts")
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, temporalio {version('temporalio')} (unsandboxed), protobuf "
        f"{version('protobuf')}, betterproto2 {version('betterproto2')}, {os.cpu_count()} cores; {arguments.rounds} "
        "rounds, interleaved; medians"
    )
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.rounds)
        if arguments.only in (None, "compare"):
            bench.compare("Sequence", 1, repeat=200)
            for shape, (_, each, _) in SHAPES.items():
                bench.compare(shape, 10_000 // each, repeat=5)
        if arguments.only in (None, "growth"):
            bench.growth()
        if arguments.only in (None, "memory"):
            bench.memory()


main()
