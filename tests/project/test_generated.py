"""What is generated and committed is what its sources give."""

from __future__ import annotations

import filecmp
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("regenerated")
    subprocess.run([sys.executable, ROOT / "tools/generate.py", out], check=True)
    return out


@pytest.mark.parametrize("folder", ["runtime", "codegen", "generated", "tests"])
def test_generating_again_changes_nothing(regenerated: Path, folder: str) -> None:
    written = files(regenerated / folder)
    assert written
    _same, different, missing = filecmp.cmpfiles(regenerated / folder, ROOT / folder, map(str, written), shallow=False)
    assert not different + missing, "make generate"
    if folder == "generated":
        assert not files(ROOT / folder) - written, "generated from nothing; make generate"
