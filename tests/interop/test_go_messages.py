"""What protoc-gen-go made of the contracts is what it makes of them now."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest
from tools import interop

FOLDER = Path(__file__).parent / "go"


@pytest.mark.temporal
def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    interop.write_messages(tmp_path)
    written = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.go")]
    assert len(written) == 3
    _same, different, missing = filecmp.cmpfiles(tmp_path, FOLDER, written, shallow=False)
    assert not different + missing, "python -m tools.interop messages"
