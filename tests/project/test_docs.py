"""Every page is true: it is played, and its links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.devserver import DevServer
from tests.project.story import Story

ROOT = Path(__file__).parents[2]
TEXTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
# The design speaks of code in fragments, and the diagnostics of contracts that are wrong.
PAGES = [page for page in TEXTS if page.name not in ("design.md", "diagnostics.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path) -> None:
    Story(page, tmp_path, Path(sys.executable)).play()


@pytest.mark.parametrize("page", ["activities.md", "clients.md"])
def test_page_on_temporal(page: str, tmp_path: Path, temporal_server: DevServer) -> None:
    Story(ROOT / "docs" / page, tmp_path, Path(sys.executable), engine=temporal_server.url).play()


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = [
        target
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not lost
