"""What is to happen when: one timer of the clock for everything that the shell waits for."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import TypeAlias

from protopact.embedded.clock import Clock, Timer
from protopact.history.time import Timestamp

__all__ = ["Agenda", "Errand"]

Errand: TypeAlias = int | tuple[int, int, int] | str
"""What is to be done: something for a run, by its key; for an attempt, by its key; or what a name says."""


class Agenda:
    """Instants by what they are for.

    Args:
        clock: Clock and timers.
        wake: Called when something is due.
    """

    _SLACK = 1024
    """Entries that were moved or cancelled stay until they are due, or until they are this many more than the rest."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._when: dict[Errand, Timestamp] = {}
        self._heap: list[tuple[Timestamp, int, Errand]] = []
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._armed_for = Timestamp(0)

    def set(self, what: Errand, when: Timestamp | None) -> None:
        """Let `what` be due at `when` instead of any other time; None takes it off."""
        if when is None:
            self._when.pop(what, None)
        elif self._when.get(what) != when:
            self._when[what] = when
            heapq.heappush(self._heap, (when, next(self._order), what))
            if len(self._heap) > 2 * len(self._when) + self._SLACK:
                self._heap = [entry for entry in self._heap if self._when.get(entry[2]) == entry[0]]
                heapq.heapify(self._heap)

    def take_due(self, now: Timestamp, most: int) -> list[Errand]:
        """Take off what is due, in order of time; what is beyond `most` stays, and `arm` wakes for it at once."""
        due = list[Errand]()
        while self._heap and self._heap[0][0] <= now and len(due) < most:
            when, _, what = heapq.heappop(self._heap)
            if self._when.get(what) == when:
                del self._when[what]
                due.append(what)
        return due

    def arm(self) -> None:
        """See to it that the clock wakes the shell in time."""
        while self._heap and self._when.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is None or when < self._armed_for:
            self.disarm()
            self._armed_for = when
            self._timer = self._clock.call_at(when, self._fire)

    def disarm(self) -> None:
        """Disarm the clock's timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._wake()
