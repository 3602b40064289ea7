"""betterproto2 under buf's default strategy loses messages without a word; the generated module says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.corpus.conftest import ENVIRONMENT, ROOT

CONTRACT = """
syntax = "proto3";

package shop.v1;

import "protopact/v1/annotations.proto";

service {name}Service {{
  rpc {name}({name}Request) returns ({name}Response) {{
    option (protopact.v1.method).workflow = {{task_queue: "shop"}};
  }}
}}

message {name}Request {{}}
message {name}Response {{}}
"""


def test_a_lost_message_points_to_the_strategy(tmp_path: Path) -> None:
    for folder, name in (("buying", "Buy"), ("selling", "Sell")):
        (tmp_path / "protos" / folder).mkdir(parents=True)
        (tmp_path / f"protos/{folder}/{folder}.proto").write_text(CONTRACT.format(name=name))
    shutil.copytree(ROOT / "runtime/protopact/v1", tmp_path / "include/protopact/v1")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: protos}, {path: include}]\n")
    plugins = [
        {"local": "protoc-gen-python_betterproto2", "out": "messages", "opt": ["client_generation=none"]},
        {"local": "protoc-gen-protopact", "out": "messages"},
    ]
    (tmp_path / "buf.gen.yaml").write_text(json.dumps({"version": "v2", "plugins": plugins}))
    subprocess.run(["buf", "generate", "protos"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    said = list[str]()
    for name in ("buying", "selling"):
        command = [sys.executable, "-c", f"import messages.shop.v1.{name}_protopact"]
        environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT / "runtime")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        said += [line for line in done.stderr.splitlines() if line.startswith("protopact.errors.GeneratedCodeError: ")]
    assert len(said) == 1, "the folder that was generated last has won"
    assert "its messages cannot be imported" in said[0]
    assert "`strategy: all`" in said[0]
