"""Without Go the tests fail, and say how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import interop


def test_without_go_there_is_a_sentence_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(interop.MissingError) as caught:
        interop.build()
    assert "`go` is not on PATH" in str(caught.value)
    assert "install Go, 1.21 or newer (https://go.dev/dl/)" in str(caught.value)
    assert str(caught.value).endswith("`make test-embedded` runs the tests that need no server and no Go.")
