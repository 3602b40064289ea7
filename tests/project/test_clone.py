"""A fresh clone needs git, make and Python: it makes its own environment, once, and shows what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".cache/wheels/dev"

pytestmark = pytest.mark.slow


def make(clone: Path, target: str) -> str:
    """What `make` prints, with the packages from a folder in the place of the network."""
    environment = {
        "HOME": os.environ["HOME"],
        "PATH": os.pathsep.join(
            part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT))
        ),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
    }
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_fresh_clone_makes_its_environment_once_and_shows_the_demo(tmp_path: Path) -> None:
    assert (WHEELS / "complete").exists(), "the packages to install are not there: run `make test-slow`"
    clone = tmp_path / "a clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in os.fsdecode(listed.stdout).split("\0"):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    assert "Installing" in make(clone, "venv")
    assert make(clone, "venv") == ""
    assert "AddNode" in make(clone, "demo")
