"""Generates a benchmark's contract for both message libraries, with the plugins of this environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUF_GEN = """\
version: v2
plugins:
  - local: protoc-gen-python_betterproto2
    out: betterproto2/contracts
    strategy: all
    opt: [client_generation=none]
  - local: protoc-gen-protopact
    out: betterproto2/contracts
    strategy: all
  - protoc_builtin: python
    protoc_path: [python, -m, grpc_tools.protoc]
    out: google
  - local: protoc-gen-protopact
    out: google
    strategy: all
    opt: [messages=google]
"""


def generate(contract: Path, folder: Path) -> None:
    """Generate what is below `contract` into `folder/google` and `folder/betterproto2/contracts`."""
    shutil.copytree(contract, folder / "contract")
    annotations = folder / "annotations/protopact/v1/annotations.proto"
    annotations.parent.mkdir(parents=True)
    shutil.copy(ROOT / "runtime/protopact/v1/annotations.proto", annotations)
    (folder / "buf.gen.yaml").write_text(BUF_GEN)
    (folder / "buf.yaml").write_text("version: v2\nmodules:\n  - path: contract\n  - path: annotations\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["buf", "generate", "contract"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
