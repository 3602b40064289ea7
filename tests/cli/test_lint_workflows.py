"""`protopact lint-workflows`: what it prints, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOPACT = Path(sys.executable).with_name("protopact")

CLASS = """\
import asyncio, time
from generated.betterproto2.greeting.v1 import GreetRequest, GreetResponse
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting

class Greet(greeting.Greet):
    async def run(self, request: GreetRequest) -> GreetResponse:
        {0}
        return GreetResponse()
"""
ERROR = "time.time()"
WARNING = "await asyncio.wait([])"


def lint(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [PROTOPACT, "lint-workflows", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_what_is_right_is_silent(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(CLASS.format("pass"))
    assert lint(tmp_path, "flows") == ("", "")
    assert lint(tmp_path, "examples.node_provisioner.workflows") == ("", "")


def test_an_error_is_told_with_its_place_and_fails(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(CLASS.format(ERROR))
    told = (
        "flows.py:7:9: PD101 `time.time` in Greet.run\n    hint: Use `workflow.now()` or `workflow.time_ns()`.\n",
        "protopact: 1 error in 1 workflow class\n",
    )
    assert lint(tmp_path, "flows", code=1) == told
    assert lint(tmp_path, "flows:Greet", "flows", code=1) == told


def test_a_warning_fails_when_asked(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(CLASS.format(WARNING))
    (tmp_path / "others.py").write_text(CLASS.format(f"{WARNING}; {ERROR}"))
    stdout, stderr = lint(tmp_path, "flows")
    assert stdout.startswith("flows.py:7:15: PD901 `asyncio.wait` in Greet.run\n    hint: Use `workflow.wait`, ")
    assert stderr == "protopact: 1 warning in 1 workflow class\n"
    assert lint(tmp_path, "flows", "--strict", code=1) == (stdout, stderr)
    assert lint(tmp_path, "flows", "others", code=1)[1] == "protopact: 1 error and 2 warnings in 2 workflow classes\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import absent", "absent"),
        ("1 / 0", "division by zero"),
        ("x = 1", "the module defines no workflow class"),
        ("def broken(", "was never closed"),
    ],
)
def test_a_module_that_cannot_be_checked_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "flows.py").write_text(text)
    stdout, stderr = lint(tmp_path, "flows", code=1)
    assert stdout == ""
    assert stderr.startswith("protopact: ")
    assert says in stderr
    assert stderr.count("\n") == 1
