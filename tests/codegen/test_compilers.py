"""One contract, two compilers: what is generated is the same to the byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = """version: v2
plugins:
  - {local: protoc-gen-protopact, out: google, opt: "messages=google"}
  - {local: protoc-gen-protopact, out: betterproto2, opt: "messages=betterproto2"}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example contracts, in a folder of their own."""
    folder = tmp_path_factory.mktemp("compilers")
    shutil.copytree(ROOT / "proto_examples", folder / "protos")
    schema = folder / "schema/protopact/v1/annotations.proto"
    schema.parent.mkdir(parents=True)
    shutil.copy(ROOT / "runtime/protopact/v1/annotations.proto", schema)
    (folder / "buf.yaml").write_text("version: v2\nmodules: [{path: protos}, {path: schema}]\n")
    (folder / "buf.gen.yaml").write_text(PLUGIN)
    return folder


def run(*command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}


def test_buf_and_protoc_generate_the_same_bytes(workspace: Path) -> None:
    run("buf", "generate", "protos", "--output", "buf", folder=workspace)
    protos = sorted(str(path.relative_to(workspace / "protos")) for path in (workspace / "protos").rglob("*.proto"))
    for library in ("google", "betterproto2"):
        (workspace / "protoc" / library).mkdir(parents=True)
        out = f"--protopact_out=messages={library}:protoc/{library}"
        run(sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "-Ischema", out, *protos, folder=workspace)
    generated = files(workspace / "buf")
    assert len(generated) == 2 * len(protos)
    assert generated == files(workspace / "protoc")
