"""The suite's engines. A case knows none of them: it gets a bench."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests import devserver
from tests.conformance.bench import Bench, Place
from tests.devserver import DevServer


@pytest.fixture(params=["memory", "file", pytest.param("temporal", marks=pytest.mark.temporal)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the engine under test keeps its runs."""
    return _place(request, tmp_path, "temporal_server")


@pytest.fixture
async def bench(place: Place) -> AsyncIterator[Bench]:
    async with place.connect() as opened:
        yield opened


@pytest.fixture(scope="session")
def ordering_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that obeys priorities: 1.29 does not as it comes, and then each partition of a queue for itself."""
    settings = {
        "matching.enableFairness": "true",
        "matching.numTaskqueueReadPartitions": "1",
        "matching.numTaskqueueWritePartitions": "1",
    }
    with devserver.start(tmp_path_factory.mktemp("ordering"), dynamic_config=settings) as server:
        yield server


@pytest.fixture(params=["memory", "file", pytest.param("temporal", marks=[pytest.mark.temporal, pytest.mark.slow])])
async def ordering(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """An engine that obeys priorities."""
    async with _place(request, tmp_path, "ordering_server").connect() as opened:
        yield opened


def _place(request: pytest.FixtureRequest, folder: Path, server_of: str) -> Place:
    name = f"suite-{uuid.uuid4().hex[:12]}"
    if request.param == "memory":
        return Place("sqlite://", name)
    if request.param == "file":
        return Place(f"sqlite:///{folder}/suite.db", name)
    server: DevServer = request.getfixturevalue(server_of)
    return Place(server.url, name)
