"""How many programs the long runs try, cut into tests of a minute or so, each with a seed of its own, in its name.

`make prove SEED=N` with the seed in the name of a test begins with it.
"""

from __future__ import annotations

import os

import pytest

PROGRAMS = int(os.environ.get("PROGRAMS") or 2000)
SEED = int(os.environ.get("SEED") or 1)


def shards(count: int, most: int = 125) -> list[object]:
    """Parameters of tests: a seed, and how many programs to draw with it; `count` in all, `most` in each."""
    sizes = [min(most, count - begun) for begun in range(0, count, most)]
    return [
        pytest.param(SEED + index, size, id=f"seed {SEED + index}, {size} programs") for index, size in enumerate(sizes)
    ]
