"""The whole repository under its checkers; what is generated counts as ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
# pyright's wrapper would otherwise ask the network whether there is a newer one; buf finds its plugins on the path.
ENVIRONMENT = os.environ | {
    "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
}


@pytest.mark.parametrize(
    "command",
    ["ruff format --check --quiet", "ruff check --quiet --output-format=concise", "mypy", "pyright", "buf lint"],
)
def test_checker_is_content(command: str) -> None:
    name, *arguments = command.split()
    done = subprocess.run(
        [SCRIPTS / name, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
