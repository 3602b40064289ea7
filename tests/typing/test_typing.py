"""What type checkers say of code on generated modules: the expected errors, line by line, and no other.

A case is a module with `MESSAGES` and `SERVICE` in the place of a message library's modules. A line with
`# E: mypy[code] pyright[rule]` must have that error of that checker.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPTS = Path(sys.executable).parent
MODULES = {
    "betterproto2": {
        "MESSAGES": "generated.betterproto2.nodes.provisioning.v1",
        "SERVICE": "generated.betterproto2.nodes.provisioning.v1.node_protopact",
    },
    "google": {
        "MESSAGES": "nodes.provisioning.v1.node_pb2",
        "SERVICE": "nodes.provisioning.v1.node_protopact",
    },
}
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.txt"))

Errors = set[tuple[str, int, str]]


def name(case: str, library: str) -> str:
    return f"{case}_{library}.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each case for each library."""
    folder = tmp_path_factory.mktemp("typing")
    outputs = [f"--{each}_out={folder}" for each in ("python", "mypy")] + [f"--protopact_out=messages=google:{folder}"]
    includes = [f"--proto_path={HERE}", f"--proto_path={ROOT / 'runtime'}"]
    run(folder, "python", "-m", "grpc_tools.protoc", *includes, *outputs, "changes.proto")
    for case in CASES:
        text = (HERE / f"cases/{case}.txt").read_text()
        for library, modules in MODULES.items():
            written = re.sub(r"\b(MESSAGES|SERVICE)\b", lambda found: modules[found[0]], text)  # noqa: B023 - called at once
            (folder / name(case, library)).write_text(written)
    return folder


def run(folder: Path, *command: str) -> str:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [SCRIPTS / command[0], *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Errors]:
    """What each checker says of all cases: file, line and code of each error."""
    paths = f"{ROOT}:{ROOT / 'generated/google'}:{ROOT / 'runtime'}"
    (folder / "mypy.ini").write_text(
        "[mypy]\n"
        "strict = true\n"
        "python_version = 3.11\n"
        "explicit_package_bases = true\n"
        f"mypy_path = {paths}\n"
        f"cache_dir = {ROOT / '.mypy_cache/typing'}\n"
        "[mypy-generated.*,nodes.*,protopact.*]\n"
        "follow_imports = silent\n"
    )
    output = run(folder, "mypy", "--output=json", *(name(case, library) for case in CASES for library in MODULES))
    errors = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    mypy = {(each["file"], each["line"], each["code"]) for each in errors if each["severity"] == "error"}
    configuration = {
        "include": ["*.py"],
        "extraPaths": paths.split(":"),
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(configuration))
    output = run(folder, "pyright", "--outputjson", "--pythonpath", sys.executable)
    pyright = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["rule"])
        for each in json.loads(output)["generalDiagnostics"]
    }
    return {"mypy": mypy, "pyright": pyright}


def expected(text: str, checker: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        comment = line.partition("# E: ")[2]
        yield from ((number, code) for code in re.findall(rf"\b{checker}\[(.+?)\]", comment))


@pytest.mark.parametrize("library", MODULES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_errors_are_where_they_are_expected(said: dict[str, Errors], checker: str, case: str, library: str) -> None:
    found = {(line, code) for file, line, code in said[checker] if file == name(case, library)}
    wanted = set(expected((HERE / f"cases/{case}.txt").read_text(), checker))
    assert found - wanted == set(), "errors that are not expected"
    assert wanted - found == set(), "errors that are missing"
