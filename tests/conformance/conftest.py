"""The suite's engines. A case knows none of them: it gets a bench."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.bench import Bench, Place
from tests.devserver import DevServer


@pytest.fixture(params=["memory", "file", pytest.param("temporal", marks=pytest.mark.temporal)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the engine under test keeps its runs."""
    name = f"suite-{uuid.uuid4().hex[:12]}"
    if request.param == "memory":
        return Place("sqlite://", name)
    if request.param == "file":
        return Place(f"sqlite:///{tmp_path}/suite.db", name)
    server: DevServer = request.getfixturevalue("temporal_server")
    return Place(server.url, name)


@pytest.fixture
async def bench(place: Place) -> AsyncIterator[Bench]:
    async with place.connect() as opened:
        yield opened
