"""How long a check takes as the contract and the number of live releases grow: `python -m benchmarks.versioning`.

The worst kind of contract: every service's messages hold those of the service before, so that nearly everything reaches
nearly everything. Seconds are the processor's.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.closure import closures
from protopact_codegen.versioning.lock import Lock
from protopact_codegen.versioning.sources import from_input

ROOT = Path(__file__).parents[1]
RELEASES = 10
MESSAGES = 10  # of a service
CHANGED = 50  # one message of so many differs from release to release


def contract(services: int, release: int) -> str:
    """A contract whose messages differ a little from release to release."""
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
                fields.append(f"string x{release} = {10 + release};")
            lines.append(f"message S{service}M{message} {{ {' '.join(fields)} }}")
    return "\n".join(lines)


def build(folder: Path, services: int, release: int) -> str:
    (folder / "big.proto").write_text(contract(services, release))
    image = folder / "big.binpb"
    include = ["-I", str(folder), "-I", str(ROOT / "runtime")]
    outputs = ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *include, *outputs, "big.proto"], check=True)
    return str(image)


def main() -> None:
    for services in (25, 50, 100, 200):
        with TemporaryDirectory() as name:
            folder = Path(name)
            for release in range(RELEASES):
                Lock(folder / "lock").cut(f"v{release}", capture(from_input(build(folder, services, release))))
            new = from_input(build(folder, services, RELEASES))
            start = time.process_time()
            lock = Lock(folder / "lock")
            read = time.process_time()
            findings = check(new, lock.live, lock.settings)
            checked = time.process_time()
            closures(capture(new), lock.live)
            done = time.process_time()
        print(
            f"{services:4} services, {services * MESSAGES:5} messages, {RELEASES} releases: "
            f"{read - start:.2f} s to read the lock, {checked - read:.2f} s to check, {done - checked:.2f} s for the "
            f"digests, {len(findings)} findings"
        )


if __name__ == "__main__":
    main()
