from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.embedded.bench import open_engine

from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "lab.db"


@pytest.fixture
async def engine(path: Path | None, clock: VirtualClock) -> AsyncIterator[EmbeddedEngine]:
    async with open_engine(path, clock=clock) as opened:
        yield opened
