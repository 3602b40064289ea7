"""How long a check takes as the contract and the number of live releases grow: `python -m benchmarks.versioning`.

The worst kind of contract: every service's messages hold those of the service before, so that nearly everything reaches
nearly everything. Seconds are the processor's. What a check adds is the reading of the lock, the comparison and the
digests for generated code; reading the contract itself is beside it, because plugin and command do that anyway.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.closure import closures
from protopact_codegen.versioning.lock import Lock
from protopact_codegen.versioning.snapshot import FieldFacts, MessageFacts, Snapshot
from protopact_codegen.versioning.sources import from_input

ROOT = Path(__file__).parents[1]
SIZES = ((25, 10), (50, 10), (100, 10), (200, 1), (200, 5), (200, 10))
"""Services, and live releases."""
MESSAGES = 10  # of a service
CHANGED = 50  # one message of so many differs from release to release


@dataclass(frozen=True)
class Measured:
    """Seconds of the processor that each part took, and how much was found."""

    contract: float
    lock: float
    comparison: float
    digests: float
    findings: int

    @property
    def check(self) -> float:
        return self.lock + self.comparison + self.digests


def contract(services: int) -> str:
    """A contract; one message of `CHANGED` has a field, `x`, that `older` gives another name and number."""
    chosen = random.Random(1)  # noqa: S311 - the same contract each time
    lines = ['syntax = "proto3"; package big.v1; import "protopact/v1/annotations.proto";']
    for service in range(services):
        lines.append(f'service S{service}Service {{ option (protopact.v1.service) = {{task_queue: "q"}};')
        for rpc in range(MESSAGES // 2):
            kind = "activity = {start_to_close_timeout: {seconds: 60}}" if rpc else "workflow = {}"
            types = f"(S{service}M{2 * rpc}) returns (S{service}M{2 * rpc + 1})"
            lines.append(f"rpc R{rpc}{types} {{ option (protopact.v1.method).{kind}; }}")
        lines.append("}")
        for message in range(MESSAGES):
            fields = [f"string f{number} = {number};" for number in range(1, 8)]
            fields.append(f"S{max(0, service - 1)}M{chosen.randrange(MESSAGES)} before = 8;")
            fields.append(f"S{service}M{(message + 1) % MESSAGES} beside = 9;")
            if (service * MESSAGES + message) % CHANGED == 0:
                fields.append("string x = 10;")
            lines.append(f"message S{service}M{message} {{ {' '.join(fields)} }}")
    return "\n".join(lines)


def older(snapshot: Snapshot, release: int) -> Snapshot:
    """What the contract was in a release: the field is another one in each."""

    def field(each: FieldFacts) -> FieldFacts:
        name = f"x{release}"
        return replace(each, name=name, json_name=name, number=11 + release) if each.name == "x" else each

    messages = {
        name: MessageFacts(name, tuple(map(field, each.fields)), each.reserved, each.aliases)
        for name, each in snapshot.messages.items()
    }
    return replace(snapshot, messages=messages)


def build(folder: Path, services: int) -> str:
    (folder / "big.proto").write_text(contract(services))
    image = folder / "big.binpb"
    include = ["-I", str(folder), "-I", str(ROOT / "runtime")]
    outputs = ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *include, *outputs, "big.proto"], check=True)
    return str(image)


def measure(services: int, releases: int) -> Measured:
    with TemporaryDirectory() as name:
        folder = Path(name)
        image = build(folder, services)
        begun = time.process_time()
        new = from_input(image)
        contract_read = time.process_time()
        snapshot = capture(new)
        for release in range(releases):
            Lock(folder / "lock").cut(f"v{release}", older(snapshot, release))
        start = time.process_time()
        lock = Lock(folder / "lock")
        read = time.process_time()
        findings = check(new, lock.live, lock.settings)
        checked = time.process_time()
        closures(capture(new), lock.live)
        done = time.process_time()
    return Measured(contract_read - begun, read - start, checked - read, done - checked, len(findings))


def main() -> None:
    print("services  messages  releases  contract      lock  comparison   digests     check  findings")
    for services, releases in SIZES:
        found = measure(services, releases)
        print(
            f"{services:8}  {services * MESSAGES:8}  {releases:8}  {found.contract:6.2f} s  {found.lock:6.2f} s  "
            f"{found.comparison:8.2f} s  {found.digests:6.2f} s  {found.check:6.2f} s  {found.findings:8}",
            flush=True,
        )


if __name__ == "__main__":
    main()
