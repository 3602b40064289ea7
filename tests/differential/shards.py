"""How many programs the long runs try, cut into tests of a minute or so, each with a seed of its own."""

from __future__ import annotations

import os
import secrets

import pytest

PROGRAMS = int(os.environ.get("PROGRAMS") or 2000)
_seed = os.environ.get("SEED") or "1"
SEED = secrets.randbits(32) if _seed == "random" else int(_seed)


def shards(count: int, most: int = 125) -> list[object]:
    """Parameters of tests: a seed, and how many programs to draw with it; `count` in all, `most` in each."""
    sizes = [min(most, count - begun) for begun in range(0, count, most)]
    return [pytest.param(SEED + index, size, id=str(index)) for index, size in enumerate(sizes)]
