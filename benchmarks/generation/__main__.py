"""Generation: 200 services with 1,400 rpcs in 200 files, and a single service, beside protoc-gen-go-temporal.

Usage: `python -m benchmarks.generation [--rounds N]`. Both plugins run under `python -m grpc_tools.protoc` on the same
shape of contract, each in its own annotation dialect, interleaved. The peer is built with Go from the module proxy into
`.cache/`; without Go the ratio is left out and said to be. "protoc alone" compiles without a plugin.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import temporalio

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEMPORAL_API = Path(temporalio.__path__[0]) / "bridge/sdk-core/crates/protos/protos/api_upstream"
"""The peer's annotations import Temporal's own API, which ships in the Python SDK's wheel."""
PEER = "github.com/cludden/protoc-gen-go-temporal"
ACTIVITIES = 3

OURS = {
    "import": "protopact/v1/annotations.proto",
    "service": 'option (protopact.v1.service) = {{task_queue: "queue"}};',
    "workflow": 'option (protopact.v1.method).workflow = {{id: "w{number}/{{id}}" query: {{ref: "Status{number}"}} '
    'signal: {{ref: "Pause{number}"}} update: {{ref: "Resize{number}"}}}};',
    "activity": "option (protopact.v1.method).activity = {{start_to_close_timeout: {{seconds: 60}}}};",
    "query": "option (protopact.v1.method).query = {{}};",
    "signal": "option (protopact.v1.method).signal = {{}};",
    "update": "option (protopact.v1.method).update = {{}};",
}
THEIRS = {
    "import": "temporal/v1/temporal.proto",
    "service": 'option (temporal.v1.service) = {{task_queue: "queue"}};',
    "workflow": 'option (temporal.v1.workflow) = {{id: "w{number}/${{! id }}" query: {{ref: "Status{number}"}} '
    'signal: {{ref: "Pause{number}"}} update: {{ref: "Resize{number}"}}}};',
    "activity": "option (temporal.v1.activity) = {{start_to_close_timeout: {{seconds: 60}}}};",
    "query": "option (temporal.v1.query) = {{}};",
    "signal": "option (temporal.v1.signal) = {{}};",
    "update": "option (temporal.v1.update) = {{}};",
}


def contract(number: int, dialect: dict[str, str]) -> str:
    """One file with one service of seven rpcs: a workflow, its query, signal and update, and three activities."""
    names = {"workflow": f"Run{number}", "query": f"Status{number}", "signal": f"Pause{number}"}
    names |= {"update": f"Resize{number}"}
    rpcs = [(kind, name) for kind, name in names.items()]
    rpcs += [("activity", f"Step{number}x{step}") for step in range(ACTIVITIES)]
    lines = [
        'syntax = "proto3";',
        f"package load.s{number}.v1;",
        f'option go_package = "load/s{number}/v1;loadv1";',
        'import "google/protobuf/empty.proto";',
        f'import "{dialect["import"]}";',
        f"// Service {number} of the load.",
        f"service Load{number}Service {{",
        dialect["service"].format(number=number),
    ]
    messages: list[str] = []
    for kind, name in rpcs:
        response = "google.protobuf.Empty" if kind == "signal" else f"{name}Response"
        option = dialect[kind].format(number=number)
        lines += [f"// {name} is an rpc.", f"rpc {name}({name}Request) returns ({response}) {{ {option} }}"]
        messages += [f"message {name}Request {{ string id = 1; int64 number = 2; }}"]
        if kind != "signal":
            messages += [f"message {name}Response {{ string id = 1; int64 number = 2; }}"]
    return "\n".join([*lines, "}", *messages, ""])


@dataclass
class Side:
    name: str
    arguments: list[str]
    includes: list[Path]
    folder: Path
    seconds: dict[int, list[float]] = field(default_factory=dict[int, list[float]])


def sides(folder: Path, peer: tuple[Path, Path] | None) -> Iterator[Side]:
    plugin = shutil.which("protoc-gen-protopact", path=str(Path(sys.executable).parent))
    for library in ("betterproto2", "google"):
        yield Side(
            f"protopact {library}",
            [f"--plugin=protoc-gen-protopact={plugin}", f"--protopact_opt=messages={library}", "--protopact_out=OUT"],
            [ROOT / "runtime"],
            folder / "ours",
        )
    yield Side("protoc alone", ["--descriptor_set_out=OUT/image"], [ROOT / "runtime"], folder / "ours")
    if peer is not None:
        binary, include = peer
        yield Side(
            "protoc-gen-go-temporal",
            [f"--plugin=protoc-gen-go_temporal={binary}", "--go_temporal_out=OUT"],
            [include, TEMPORAL_API],
            folder / "theirs",
        )


def build_peer() -> tuple[Path, Path] | None:
    """The peer's binary and the folder of its annotations; None without Go."""
    go = shutil.which("go")
    if go is None:
        return None
    binary = ROOT / ".cache" / "protoc-gen-go_temporal"
    environment = os.environ | {"GOFLAGS": "-mod=mod"}
    build = [go, "build", "-o", str(binary), f"{PEER}/cmd/protoc-gen-go_temporal"]
    subprocess.run(build, cwd=HERE / "peer", env=environment, check=True)
    find = [go, "list", "-m", "-f", "{{.Dir}}", PEER]
    module = subprocess.run(find, cwd=HERE / "peer", env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return binary, Path(module.stdout.strip()) / "proto"


def compile_once(side: Side, files: list[str], out: Path) -> float:
    out.mkdir()
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{side.folder}", *(f"-I{path}" for path in side.includes)]
    command += [argument.replace("OUT", str(out)) for argument in side.arguments]
    began = time.perf_counter()
    subprocess.run([*command, *files], check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--services", type=int, default=200)
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, grpcio-tools {version('grpcio-tools')}, {os.cpu_count()} cores; "
        f"{arguments.rounds} rounds, interleaved; medians"
    )
    peer = build_peer()
    if peer is None:
        print("no Go here: protoc-gen-go-temporal is left out")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dialect, target in ((OURS, folder / "ours"), (THEIRS, folder / "theirs")):
            for number in range(arguments.services):
                path = target / f"load/s{number}/v1/load.proto"
                path.parent.mkdir(parents=True)
                path.write_text(contract(number, dialect))
        everyone = list(sides(folder, peer))
        for services in (1, arguments.services):
            files = [f"load/s{number}/v1/load.proto" for number in range(services)]
            for turn in range(arguments.rounds):
                for index, side in enumerate(everyone):
                    seconds = compile_once(side, files, folder / f"out-{services}-{turn}-{index}")
                    side.seconds.setdefault(services, []).append(seconds)
            print(f"\n{services} service{'s' if services > 1 else ''}, {services * (4 + ACTIVITIES)} rpcs")
            baseline = next((side for side in everyone if side.name == "protoc-gen-go-temporal"), None)
            for side in everyone:
                median = statistics.median(side.seconds[services])
                ratio = f"{median / statistics.median(baseline.seconds[services]):5.2f} x the peer" if baseline else ""
                print(f"  {side.name:<24} {median:6.2f} s  {ratio}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"\nlargest process: {peak / (1024 if sys.platform == 'darwin' else 1):.0f} MB")


if __name__ == "__main__":
    main()
