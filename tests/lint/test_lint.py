"""Golden tests of lint: each folder here is a contract and what is said of it, under buf and under protoc.

`expected.txt` holds when both say the same; else `expected.buf.txt` and `expected.protoc.txt`, which may differ in
positions only. Written anew with `UPDATE_GOLDENS=1 pytest tests/lint`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from protopact_codegen.diagnostics import Code

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(folder.name for folder in HERE.iterdir() if folder.is_dir() and list(folder.glob("*.proto")))
COMPILERS = ("buf", "protoc")
DEFAULT_OPTIONS = "messages=google"
POSITION = re.compile(r":\d+:\d+:")
FINDING = re.compile(r"^(?P<case>\w+)/\w+\.proto:\d+:\d+: PP\d{3} .+\n    hint: .+$", re.MULTILINE)
# No contract of these compilers shows the first two: one needs a newer schema, the other a newer edition. The others
# are of two contracts (tests/versioning).
NOT_HERE = {
    Code.UNKNOWN_OPTION,
    Code.UNREADABLE_FILE,
    Code.BREAKING_CHANGE,
    Code.UNDRAINED_CHANGE,
    Code.UNPATCHED_CHANGE,
    Code.UNRESERVED_FIELD,
    Code.MISSING_FILE,
    Code.ROLLOUT_ORDER,
    Code.CHANGED_MEANING,
    Code.UNSEEN_USE,
    Code.IDLE_ALLOW,
    Code.CHANGE_RELEASE,
}

Findings = Mapping[str, str]


def options_of(case: str) -> str:
    file = HERE / case / "options.txt"
    return file.read_text().strip() if file.exists() else DEFAULT_OPTIONS


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_buf(workspace: Path, options: str) -> str:
    (workspace / "buf.yaml").write_text("version: v2\nmodules: [{path: cases}, {path: include}]\n")
    (workspace / "buf.gen.yaml").write_text(
        f'version: v2\nplugins: [{{local: protoc-gen-protopact, out: out, strategy: all, opt: "{options}"}}]\n'
    )
    command = ["buf", "generate", "cases"]
    return subprocess.run(command, cwd=workspace, env=environment(), capture_output=True, text=True, check=False).stderr


def run_protoc(workspace: Path, options: str) -> str:
    cases = workspace / "cases"
    protos = sorted(str(path.relative_to(cases)) for path in cases.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={cases}", f"--proto_path={ROOT / 'runtime'}"]
    command += [f"--protopact_out={options}:{workspace}", *protos]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False).stderr


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], str]:
    """What each compiler's run says of each case; cases with the same options share a run."""
    groups: dict[str, list[str]] = defaultdict(list)
    for case in CASES:
        groups[options_of(case)].append(case)
    found: dict[tuple[str, str], str] = {(compiler, case): "" for compiler in COMPILERS for case in CASES}
    for options, cases in groups.items():
        workspace = tmp_path_factory.mktemp("lint")
        for case in cases:
            shutil.copytree(HERE / case, workspace / "cases" / case)
        schema = workspace / "include/protopact/v1/annotations.proto"
        schema.parent.mkdir(parents=True)
        shutil.copy(ROOT / "runtime/protopact/v1/annotations.proto", schema)
        for compiler, run in (("buf", run_buf), ("protoc", run_protoc)):
            output = run(workspace, options)
            matches = list(FINDING.finditer(output))
            assert matches, output
            for match in matches:
                found[compiler, match["case"]] += match[0] + "\n"
    return found


@pytest.mark.parametrize("case", CASES)
def test_findings(case: str, findings: Mapping[tuple[str, str], str]) -> None:
    said = {compiler: findings[compiler, case] for compiler in COMPILERS}
    same = said["buf"] == said["protoc"]
    golden = {
        compiler: HERE / case / ("expected.txt" if same else f"expected.{compiler}.txt") for compiler in COMPILERS
    }
    if "UPDATE_GOLDENS" in os.environ:
        for old in (HERE / case).glob("expected*.txt"):
            old.unlink()
        for compiler, path in golden.items():
            path.write_text(said[compiler])
    assert said == {compiler: path.read_text() for compiler, path in golden.items()}
    assert POSITION.sub(":", said["buf"]) == POSITION.sub(":", said["protoc"])


def test_every_code_is_shown() -> None:
    shown = {code for path in HERE.rglob("expected*.txt") for code in re.findall(r"PP\d{3}", path.read_text())}
    assert shown == {code.value for code in Code if code not in NOT_HERE}
