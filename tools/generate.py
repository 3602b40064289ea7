"""Writes everything that is generated and committed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANNOTATIONS = "protopact/v1/annotations.proto"
# The generated module demands a protobuf as new as the protoc that wrote it, though it runs on every one since 4.21.
RUNTIME_CHECK = re.compile(
    r"^from google\.protobuf import runtime_version as _runtime_version\n"
    r"|^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?:    .*\n)*\)\n",
    re.MULTILINE,
)


def annotations(out: Path) -> None:
    """Write the module of the annotations and its stub below `out`."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'runtime'}"]
    subprocess.run([*command, f"--python_out={out}", f"--mypy_out={out}", ANNOTATIONS], check=True)
    module = out / ANNOTATIONS.replace(".proto", "_pb2.py")
    text, removed = RUNTIME_CHECK.subn("", module.read_text())
    if removed != 2:
        sys.exit(f"{module}: expected the import and the call of the runtime check, found {removed} of the two")
    module.write_text(text)


if __name__ == "__main__":
    annotations(ROOT / "runtime")
