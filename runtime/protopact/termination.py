"""SIGTERM and SIGINT end a process that serves: first in good order, and at once when a second signal comes.

Only signals that nobody else handles are taken: a web server or an application that has handlers of its own keeps
them, and leaves the worker's block when it is time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Termination"]

_logger = logging.getLogger(__name__)


class Termination:
    """A block that a signal ends: `async with Termination(stop): ...`.

    `stop` runs when the block is left, or when the signal arrives, whatever comes first; the body is then cancelled
    and left. A block that a signal has ended raises `KeyboardInterrupt` for SIGINT, and `SystemExit` with 128 plus the
    signal's number for SIGTERM, unless its body raised something else.

    Args:
        stop: Stops in good order what runs within the block.
        handles_signals: Whether signals are taken at all.
    """

    def __init__(self, stop: Callable[[], Coroutine[Any, Any, None]], *, handles_signals: bool = True) -> None:
        self._stop = stop
        self._handles_signals = handles_signals
        self._loop: asyncio.AbstractEventLoop | None = None
        self._body: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._signal: signal.Signals | None = None

    async def __aenter__(self) -> Self:
        """Take the signals."""
        self._loop, self._body = asyncio.get_running_loop(), asyncio.current_task()
        if self._handles_signals:
            _take(self)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop what runs within the block, and give the signals back."""
        body, self._body = self._body, None
        try:
            await (self._stopping or self._stop())
        finally:
            _give_back(self)
        if self._signal is None or not (exc is None or isinstance(exc, asyncio.CancelledError)):
            return
        if exc is not None and body is not None:
            body.uncancel()
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._signal)

    def receive(self, number: signal.Signals) -> None:
        """A signal has arrived; called by its handler, between any two instructions of the main thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: signal.Signals) -> None:
        if self._signal is not None or self not in _blocks:
            return
        self._signal = number
        if self._body is None:
            return  # it is being left: what runs is stopping already
        if self._body.done() or self._loop is None:
            # Nobody is in the block who could leave it, as in a fixture of a test: the signal does what it did before.
            _give_back(self)
            signal.raise_signal(number)
            return
        _logger.info("%s: stopping; a second signal ends the process at once", number.name)
        self._stopping = self._loop.create_task(self._stop(), name=f"stop for {number.name}")
        self._body.cancel(number.name)


_blocks: list[Termination] = []
_previous: dict[signal.Signals, Any] = {}  # handlers as `signal.signal` knows them
_has_received = False


def _take(block: Termination) -> None:
    _blocks.append(block)
    if threading.current_thread() is not threading.main_thread():
        return  # Python lets the main thread alone set handlers
    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if number not in _previous and _is_unhandled(handler):
            _previous[number] = handler
            signal.signal(number, _handle)


def _give_back(block: Termination) -> None:
    global _has_received  # noqa: PLW0603 - signals belong to the process, and so does this
    if block in _blocks:
        _blocks.remove(block)
    if _blocks:
        return
    _has_received = False
    for number, handler in _previous.items():
        if signal.getsignal(number) == _handle:
            signal.signal(number, handler)
    _previous.clear()


def _is_unhandled(handler: object) -> bool:
    """Whether a signal does what it does when nobody cares; asyncio.run turns SIGINT into a cancellation."""
    if handler in {signal.SIG_DFL, signal.default_int_handler}:
        return True
    return isinstance(getattr(getattr(handler, "func", None), "__self__", None), asyncio.Runner)


def _handle(number: int, _frame: FrameType | None) -> None:
    global _has_received  # noqa: PLW0603 - see above
    if _has_received:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        return
    _has_received = True
    for block in _blocks:
        block.receive(signal.Signals(number))
