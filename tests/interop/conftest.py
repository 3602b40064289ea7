from __future__ import annotations

from pathlib import Path

import pytest
from tools import interop


@pytest.fixture(scope="session")
def go_binary() -> Path:
    try:
        return interop.build()
    except interop.MissingError as error:
        pytest.fail(str(error), pytrace=False)
