"""The command line: `protopact proto`, `--version`, and how mistakes are told."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

PROTOPACT = Path(sys.executable).with_name("protopact")

CONTRACT = """\
syntax = "proto3";
package shop.v1;
import "protopact/v1/annotations.proto";
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {id: "buy/{item}"};
  }
}
message BuyRequest {
  string item = 1;
}
message BuyResponse {}
"""


def protopact(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROTOPACT, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def test_version_is_that_of_the_distribution() -> None:
    answer = protopact("--version")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"protopact {version('protopact')}\n", "")


def test_path_serves_as_include_directory_of_protoc(tmp_path: Path) -> None:
    include = protopact("proto", "path")
    assert include.returncode == 0
    (tmp_path / "shop.proto").write_text(CONTRACT)
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{include.stdout.strip()}", f"-I{tmp_path}"),
            *(f"--descriptor_set_out={tmp_path / 'set'}", "shop.proto"),
        ],
        check=True,
    )
    assert b"shop.v1" in (tmp_path / "set").read_bytes()


def test_export_vendors_the_schema_for_buf(tmp_path: Path) -> None:
    module = tmp_path / "proto"
    exported = module / "protopact/v1/annotations.proto"
    assert protopact("proto", "export", module).stdout == f"{exported} written\n"
    assert protopact("proto", "export", module).stdout == f"{exported} is up to date\n"
    exported.write_text("// old\n")
    assert protopact("proto", "export", module).stdout == f"{exported} written\n"
    (module / "shop/v1").mkdir(parents=True)
    (module / "shop/v1/shop.proto").write_text(CONTRACT)
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: proto}]\nlint: {use: [STANDARD]}\n")
    subprocess.run([PROTOPACT.with_name("buf"), "lint"], cwd=tmp_path, check=True)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    answer = protopact("proto", "export", tmp_path / "taken")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [f"protopact: Not a directory: {tmp_path / 'taken/protopact/v1'}"]


@pytest.mark.parametrize("arguments", [("prto",), ("proto", "export"), ("--colour",)])
def test_a_command_line_that_does_not_parse_is_told_without_a_traceback(arguments: tuple[str, ...]) -> None:
    answer = protopact(*arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "Error: " in answer.stderr
    assert "Traceback" not in answer.stderr


def test_every_command_and_option_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
    groups: list[tuple[str, ...]] = [()]
    while groups:
        group = groups.pop()
        text = protopact(*group, "--help").stdout
        options = set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE))
        assert not {option for option in options if option not in page}, group
        inner = re.findall(r"^  ([a-z-]+)  ", text.partition("\nCommands:\n")[2], re.MULTILINE)
        groups += [(*group, name) for name in inner]
        assert inner or f"## protopact {' '.join(group)}" in page, group


def test_the_library_does_not_import_the_command_line() -> None:
    program = (
        "import sys, protopact; print([name for name in sys.modules if name.partition('.')[0] in ('typer', 'rich')])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
