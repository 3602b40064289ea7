"""The table of what other checkers say is what `python -m benchmarks.checkers` writes."""

from __future__ import annotations

import pytest
from benchmarks.checkers import table
from tests.versioning.conftest import ROOT


@pytest.mark.slow
def test_the_table_is_what_the_checkers_say() -> None:
    assert "".join(f"{line}\n" for line in table()) in (ROOT / "docs/versioning.md").read_text()
