"""Benches are stopped at the end of the test that made them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.activity.bench import Bench


@pytest.fixture
async def stopped_benches() -> AsyncIterator[None]:
    """Stop the benches that the test has made."""
    yield
    while Bench.made:
        await Bench.made.pop().stop()
