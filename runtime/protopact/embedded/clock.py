"""Time, timers and ids of the embedded engine: real, or virtual. The shell reads no other."""

from __future__ import annotations

import asyncio
import heapq
import random
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from protopact.history.time import Timestamp, from_timedelta

__all__ = ["Clock", "Ids", "SystemClock", "Timer", "VirtualClock"]


class Timer(Protocol):
    """A timer that was armed."""

    def cancel(self) -> None:
        """Disarm it; nothing happens when it has fired."""


class Clock(ABC):
    """What time it is, and timers by that time."""

    @abstractmethod
    def now(self) -> Timestamp:
        """Nanoseconds since the Unix epoch, UTC."""

    @abstractmethod
    def call_at(self, when: Timestamp, callback: Callable[[], None], /) -> Timer:
        """Call `callback` on the loop's thread at `when`, or soon when it has passed; never from within this call."""


class SystemClock(Clock):
    """The machine's clock, with timers on the running event loop."""

    def now(self) -> Timestamp:
        """The machine's time."""
        return Timestamp(time.time_ns())

    def call_at(self, when: Timestamp, callback: Callable[[], None], /) -> Timer:
        """Arm a timer on the running event loop."""
        return _SystemTimer(self, when, callback)


class _SystemTimer:
    """A timer by the wall clock, made of timers by the loop's monotonic one.

    It looks at the clock at least once a minute: a machine that slept, or whose clock was set, is late by no more.
    """

    __slots__ = ("_callback", "_clock", "_handle", "_loop", "_when")

    _SLICE_SECONDS = 60.0

    def __init__(self, clock: SystemClock, when: Timestamp, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when = when
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._arm()

    def _arm(self) -> None:
        seconds = max(0.0, (self._when - self._clock.now()) / 1e9)
        self._handle = self._loop.call_later(min(seconds, self._SLICE_SECONDS), self._fire)

    def _fire(self) -> None:
        if self._clock.now() < self._when:
            self._arm()
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()


class VirtualClock(Clock):
    """A clock that moves only when told. Deterministic: timers fire one by one, in order of their time.

    Args:
        start: First reading, nanoseconds since the epoch; by default 2026-01-01T00:00:00Z.
    """

    _QUIET_TURNS = 24
    """Turns of the event loop without a look at the clock after which whatever a timer caused is taken to be over."""

    def __init__(self, start: int = 1_767_225_600_000_000_000) -> None:
        self._now = Timestamp(start)
        self._timers: list[_VirtualTimer] = []
        self._armed = 0
        self._readings = 0

    def now(self) -> Timestamp:
        """The virtual time."""
        self._readings += 1
        return self._now

    def call_at(self, when: Timestamp, callback: Callable[[], None], /) -> Timer:
        """Arm a timer; it fires when `advance` reaches it, or soon when its time has passed."""
        if when <= self._now:
            return asyncio.get_running_loop().call_soon(callback)
        self._armed += 1
        timer = _VirtualTimer(when, self._armed, callback)
        heapq.heappush(self._timers, timer)
        return timer

    @property
    def next_timer(self) -> Timestamp | None:
        """When the next timer fires; None when none is armed."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

    async def advance(self, by: timedelta) -> None:
        """Let time pass; each timer on the way fires at its instant, and what it causes happens before the next one.

        Returns when everything that happened on the event loop has come to rest. Work in threads is not waited for.
        """
        until = Timestamp(self._now + from_timedelta(by))
        await self.settle()
        while (due := self.next_timer) is not None and due <= until:
            self._now = max(self._now, due)
            callback = heapq.heappop(self._timers).callback
            assert callback is not None
            callback()
            await self.settle()
        self._now = max(self._now, until)

    async def settle(self) -> None:
        """Let the event loop turn until nothing that concerns this clock happens any more. Time stands still."""
        quiet = 0
        while quiet < self._QUIET_TURNS:
            readings = self._readings
            await asyncio.sleep(0)
            quiet = quiet + 1 if readings == self._readings else 0


class _VirtualTimer:
    __slots__ = ("callback", "order", "when")

    def __init__(self, when: Timestamp, order: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: _VirtualTimer) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        self.callback = None


class Ids:
    """Where ids come from.

    Args:
        seed: Makes the sequence of ids repeatable; None takes the operating system's randomness.
    """

    def __init__(self, seed: int | None = None) -> None:
        # A seed is for tests: ids are then as predictable as they are meant to be.
        self._bits = secrets.randbits if seed is None else random.Random(seed).getrandbits  # noqa: S311
        self._requests = str(self.uuid4())[:24]
        self._count = 0

    def run_id(self, now: Timestamp) -> str:
        """Id of a new run: a UUID of version 7 (RFC 9562), so that runs that start together are stored together."""
        time, noise = f"{now // 1_000_000:012x}", f"{self._bits(72):018x}"
        return f"{time[:8]}-{time[8:12]}-7{noise[:3]}-{'89ab'[self._bits(2)]}{noise[3:6]}-{noise[6:]}"

    def request_id(self) -> str:
        """Id of a request or of a task: a UUID, random but for its end, which counts: there are many."""
        self._count += 1
        return f"{self._requests}{self._count:012x}"

    def uuid4(self) -> UUID:
        """A random UUID."""
        return UUID(int=self._bits(128), version=4)
