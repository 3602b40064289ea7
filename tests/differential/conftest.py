from __future__ import annotations

import logging
from collections.abc import Generator

import pytest
from tests.differential.oracle import Oracle


@pytest.fixture(scope="session")
def oracle() -> Generator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


@pytest.fixture(autouse=True)
def _silence() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] # pytest calls it
    """Programs fail tasks and leave handlers behind on purpose, thousands of times."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
