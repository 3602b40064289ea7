"""Notices that the event loop is blocked: by an `async def` activity, or by workflow code, that does not give way."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

__all__ = ["Watchdog"]

_logger = logging.getLogger(__name__)


class Watchdog:
    """Asks the loop for a sign of life while there is work, and logs where it is stuck when there is none in time.

    It judges nothing and stops nothing: a blocked loop keeps its claims.

    Args:
        loop: Loop to watch; the watchdog is made on its thread.
        patience: How long the loop may be blocked, in seconds of real time; up to a quarter more goes unnoticed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, patience: float = 1.0) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._patience = patience
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._sign = threading.Event()
        self._thread: threading.Thread | None = None
        self._work = 0

    def begin(self) -> None:
        """Some work on the loop begins. On the loop's thread."""
        self._work += 1
        if not self._wanted.is_set():
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="protopact-watchdog", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Some work on the loop has ended. On the loop's thread."""
        self._work -= 1

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._wanted.set()

    def _watch(self) -> None:
        while True:
            self._wanted.wait()
            self._sign.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive)
            except RuntimeError:
                return  # the loop is closed
            asked = time.monotonic()
            if not self._sign.wait(self._patience) and not self._closed.is_set():
                self._report()
                while not self._sign.wait(self._patience):
                    if self._closed.is_set():
                        return
                _logger.warning("the event loop runs again, after %.1f s", time.monotonic() - asked)
            if self._closed.wait(self._patience / 4):
                return

    def _alive(self) -> None:
        # Here, on the loop's thread, so that no work can begin between the question and the answer.
        if not self._work:
            self._wanted.clear()
        self._sign.set()

    def _report(self) -> None:
        # The documented way to another thread's stack has no public name.
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)\n"
        _logger.warning(
            "the event loop has been blocked for %.1f s: nothing else in this worker can go on. Move blocking calls "
            "into a plain `def` activity, which runs in a thread, or into asyncio.to_thread. It is in:\n%s",
            self._patience,
            stack.rstrip(),
        )
