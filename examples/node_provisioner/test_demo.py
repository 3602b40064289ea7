"""The demo is a test itself: it ends with another code than 0 when a promise does not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).with_name("demo.py")


@pytest.mark.slow
def test_every_promise_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, DEMO, tmp_path / "demo"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "\nEvery promise held, in " in done.stdout
    assert "\033" not in done.stdout, "plain text when nobody looks"
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"], "nothing is left elsewhere"
