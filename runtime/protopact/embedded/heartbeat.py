"""The heartbeats of one attempt: taken from any thread, recorded at most so often, the latest details winning."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from protopact.embedded.clock import Clock, Timer
from protopact.errors import PayloadSizeError
from protopact.history.time import Duration, Timestamp
from protopact.payload import CodecChain
from protopact.payload.payload import Payloads
from protopact.payload.sizes import check_size

__all__ = ["Heartbeats", "throttle_interval"]

_logger = logging.getLogger(__name__)

_WITHOUT_TIMEOUT = Duration(30_000_000_000)
_MAXIMUM = Duration(60_000_000_000)


def throttle_interval(heartbeat_timeout: Duration) -> Duration:
    """Shortest time between two records, as in Temporal's SDKs: 0.8 of the time-out, at most 60 s; 30 s without one."""
    return min(Duration(heartbeat_timeout * 4 // 5), _MAXIMUM) if heartbeat_timeout else _WITHOUT_TIMEOUT


class Heartbeats:
    """Takes heartbeats and records some of them.

    The first is recorded at once; of those that follow within the interval only the latest, at the interval's end.

    Args:
        loop: Loop that everything here happens on, save `beat`.
        clock: Clock and timers.
        codecs: Payload codecs, applied to what is recorded.
        interval: Shortest time between two records.
        name: What they are, for errors.
        record: Told what to record, on the loop's thread; never after `close`.
        refuse: Told that codecs have made one too large, on the loop's thread; never after `close`.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_codecs",
        "_encoding",
        "_interval",
        "_latest",
        "_loop",
        "_name",
        "_next",
        "_posted",
        "_record",
        "_refuse",
        "_thread",
        "_timer",
        "_unrecorded",
    )

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        codecs: CodecChain,
        interval: Duration,
        name: str,
        record: Callable[[Payloads], None],
        refuse: Callable[[PayloadSizeError], None],
    ) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._clock = clock
        self._codecs = codecs
        self._interval = interval
        self._name = name
        self._record = record
        self._refuse = refuse
        self._closed = False
        self._latest: Payloads = ()
        self._posted = False
        self._unrecorded: Payloads | None = None
        self._next = Timestamp(0)
        self._timer: Timer | None = None
        self._encoding: asyncio.Task[None] | None = None

    def beat(self, details: Payloads) -> None:
        """Take a heartbeat, from any thread. One that comes after the attempt's end is ignored.

        Raises:
            PayloadSizeError: It is too large. What codecs make of it is known later: `refuse` is told.
        """
        if not self._codecs:
            check_size(details, self._name)
        if threading.get_ident() == self._thread:
            self._take(details)
            return
        self._latest = details
        if not self._posted:
            self._posted = True
            try:
                self._loop.call_soon_threadsafe(self._take_latest)
            except RuntimeError:
                # The loop is closed: the thread has outlived its worker, and nobody records any more.
                self._closed = True

    async def flush(self) -> None:
        """Record what is unrecorded, now."""
        self._disarm()
        if self._encoding is not None:
            await self._encoding
        if self._unrecorded is not None:
            await self._encode(self._take_unrecorded())

    def close(self) -> None:
        """Ignore whatever comes from now on."""
        self._closed = True
        self._unrecorded = None
        self._disarm()

    def _take_latest(self) -> None:
        # In this order: a beat that comes in between posts again.
        self._posted = False
        self._take(self._latest)

    def _take(self, details: Payloads) -> None:
        if self._closed:
            return
        self._unrecorded = details
        if self._timer is not None or self._encoding is not None:
            return
        if self._clock.now() < self._next:
            self._timer = self._clock.call_at(self._next, self._due)
        else:
            self._due()

    def _due(self) -> None:
        self._timer = None
        details = self._take_unrecorded()
        if self._codecs:
            self._encoding = self._loop.create_task(self._encode_later(details))
        else:
            self._record(details)

    def _take_unrecorded(self) -> Payloads:
        details = self._unrecorded or ()
        self._unrecorded = None
        self._next = Timestamp(self._clock.now() + self._interval)
        return details

    async def _encode_later(self, details: Payloads) -> None:
        await self._encode(details)
        self._encoding = None
        if self._unrecorded is not None:
            self._take(self._unrecorded)

    async def _encode(self, details: Payloads) -> None:
        try:
            encoded = await self._codecs.encode(details)
        except Exception:
            # One heartbeat less: if it matters, the heartbeat time-out says so.
            _logger.exception("the details of a heartbeat could not be encoded by the payload codecs and are lost")
            return
        if self._closed:
            return
        try:
            check_size(encoded, self._name)
        except PayloadSizeError as error:
            self._refuse(error)
        else:
            self._record(encoded)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
