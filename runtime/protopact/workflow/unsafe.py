"""What takes a safeguard away for a block of workflow code; who uses it answers for replay."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["guard_lifted", "is_guard_lifted"]

_lifted: ContextVar[bool] = ContextVar("protopact_guard_lifted", default=False)


@contextmanager
def guard_lifted() -> Generator[None]:
    """Let a block of workflow code call what the determinism guard refuses; Temporal's is `sandbox_unrestricted`.

    For what leaves no trace in the workflow, such as a library's metrics::

        with workflow.unsafe.guard_lifted():
            metrics.increment("nodes")

    It holds for the block, also while it awaits, and for the tasks that are started in it; other tasks of the run are
    guarded meanwhile. The check of the code before it runs passes over the block as well.
    """
    token = _lifted.set(True)
    try:
        yield
    finally:
        _lifted.reset(token)


def is_guard_lifted() -> bool:
    """Whether the caller is inside of `guard_lifted`."""
    return _lifted.get()
