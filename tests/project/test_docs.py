"""Every page is true: it is played, and its links lead somewhere."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import fields
from enum import EnumMeta
from pathlib import Path
from typing import get_type_hints

import pytest
from tests.devserver import DevServer
from tests.project.story import Story

import protopact
from protopact import policy
from protopact.client import WorkflowHandle
from protopact.engine import Engine

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


def public(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]


NAMES = {
    **{name: [*get_type_hints(getattr(policy, name))] for name in policy.__all__ if name.endswith("Options")},
    **{name: [*cls.__members__] for name in policy.__all__ if isinstance(cls := getattr(policy, name), EnumMeta)},
    "connect": [*inspect.signature(protopact.connect).parameters],
    "WorkflowHandle": public(WorkflowHandle),
    "AsyncActivityHandle": public(protopact.AsyncActivityHandle),
    "async_activity_handle": [*inspect.signature(Engine.async_activity_handle).parameters][1:],
    "Priority": [each.name for each in fields(policy.Priority)],
}
"""What calls of a user take, and what they have."""


@pytest.mark.parametrize("name", NAMES)
def test_what_calls_take_is_on_a_page(name: str) -> None:
    told = set(re.findall(r"\w+", " ".join(page.read_text() for page in PAGES)))
    assert not set(NAMES[name]) - told
