"""Signals as typed channels."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar, overload

from protopact import contract
from protopact.errors import ChannelClosedError

__all__ = ["SignalChannel", "SignalChannelOf"]

M = TypeVar("M")
D = TypeVar("D")


class SignalChannel(Generic[M]):
    """The signals of one kind that a run has received and not yet taken, oldest first.

    Each signal goes to one receiver. Signals wait here until they are taken, from before `run` begins.

    ::

        request = await self.pause.receive()
        async for request in self.pause: ...
    """

    __slots__ = ("_closed_by", "_messages", "_signal", "_waiters")

    def __init__(self, signal: contract.Signal[M], closed_by: str | None) -> None:
        self._signal = signal
        self._closed_by = closed_by
        self._messages: deque[M] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def pending(self) -> int:
        """Number of signals that wait to be taken."""
        return len(self._messages)

    async def receive(self) -> M:
        """Take the oldest signal, waiting for one if there is none.

        Raises:
            ChannelClosedError: The workflow class handles this signal with a method.
        """
        self._check_open()
        messages = self._messages
        while not messages:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif messages:
                    self._wake()  # the signal that this receiver was woken for goes to the next one
                raise
        return messages.popleft()

    @overload
    def try_receive(self) -> M | None: ...
    @overload
    def try_receive(self, default: D) -> M | D: ...
    def try_receive(self, default: D | None = None) -> M | D | None:
        """Take the oldest signal; `default` when there is none.

        Raises:
            ChannelClosedError: The workflow class handles this signal with a method.
        """
        self._check_open()
        return self._messages.popleft() if self._messages else default

    def __aiter__(self) -> Self:
        """Iterate over the signals as they come; the iteration has no end."""
        return self

    async def __anext__(self) -> M:
        return await self.receive()

    def deliver(self, message: M) -> None:
        """Put a signal in. Engines call this; user code has no reason to."""
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _check_open(self) -> None:
        if self._closed_by is not None:
            raise ChannelClosedError(
                f"signal {self._signal.name} has no channel in this workflow: {self._closed_by} handles it. "
                f"Remove that method to receive from the channel, or keep what you need in the method."
            )


class SignalChannelOf(Generic[M]):
    """Descriptor of generated workflow classes: gives each run its own `SignalChannel`.

    A class that overrides the method `on_<name>` handles the signal there, and its channel is closed.
    """

    def __init__(self, signal: contract.Signal[M]) -> None:
        self.signal = signal
        self._name = signal.method

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._owner = owner

    def handler_of(self, cls: type) -> str | None:
        """Name of the method with which `cls` handles the signal; None when it uses the channel."""
        name = f"on_{self._name}"
        own: object = self._owner.__dict__.get(name)
        return None if getattr(cls, name, own) is own else name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> SignalChannel[M]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | SignalChannel[M]:
        """The channel of the run that `instance` is."""
        if instance is None:
            return self
        handler = self.handler_of(owner)
        channel = SignalChannel(self.signal, None if handler is None else f"{owner.__qualname__}.{handler}")
        instance.__dict__[self._name] = channel  # shadows this descriptor from now on
        return channel
