"""How long closed runs are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from protopact.embedded.tick import Tick
from protopact.history.time import Timestamp, from_timedelta

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["RETENTION", "Retention"]

RETENTION = "retention"
"""What the agenda calls the next sweep."""


class Retention:
    """Deletes closed runs whose time is over.

    Args:
        shell: The shell.
        period: How long a run is kept after it has closed; None keeps all for ever.
    """

    _BATCH = 100
    _INTERVAL = from_timedelta(timedelta(minutes=1))

    def __init__(self, shell: Shell, period: timedelta | None) -> None:
        self._shell = shell
        self._period = period

    def begin(self) -> None:
        """Sweep from now on."""
        if self._period is not None:
            self._shell.agenda.set(RETENTION, self._shell.clock.now())

    def sweep(self, tick: Tick) -> None:
        """Delete some runs, and plan the next sweep."""
        assert self._period is not None
        rows = self._shell.records.runs_where(
            "close_time IS NOT NULL AND close_time <= ? ORDER BY close_time LIMIT ?",
            (tick.now - from_timedelta(self._period), self._BATCH),
        )
        for row in rows:
            self._shell.records.delete_run(row.key)
        full = len(rows) == self._BATCH
        self._shell.agenda.set(RETENTION, Timestamp(tick.now + (1 if full else self._INTERVAL)))
