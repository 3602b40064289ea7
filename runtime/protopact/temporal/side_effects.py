"""Side effects: a local activity under a reserved name, which every worker has. Its function is handed over."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import temporalio.activity
import temporalio.workflow
from temporalio.common import RawValue

from protopact import contract
from protopact.payload import Payload
from protopact.temporal.payloads import to_proto

__all__ = ["activity", "offered"]

T = TypeVar("T")

_functions: dict[int, Callable[[], Awaitable[RawValue]]] = {}
_numbers = itertools.count(1)


@contextmanager
def offered(function: Callable[[], Awaitable[RawValue]]) -> Generator[RawValue]:
    """Have a function called by the local activity that is started with the argument which this gives.

    The argument stands in no history; on replay the activity is not called.
    """
    number = next(_numbers)
    _functions[number] = function
    try:
        yield RawValue(to_proto(Payload({"encoding": b"json/plain"}, str(number).encode())))
    finally:
        del _functions[number]


@temporalio.activity.defn(name=contract.SIDE_EFFECT.name)
async def activity(number: RawValue) -> RawValue:
    """Call the function that the workflow offers."""
    return await _Unrestricted(_functions[int(number.payload.data)]())


class _Unrestricted(Generic[T]):
    """Awaits what comes out of a sandbox, whose modules refuse calls while their own run is at work."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._steps = awaitable.__await__()

    # What a coroutine yields to its loop, and gets from it, is between the two.
    def __await__(self) -> Generator[Any, Any, T]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            try:
                # The mark is the thread's, and other tasks run there between two steps.
                with temporalio.workflow.unsafe.sandbox_unrestricted():
                    yielded = self._steps.send(sent) if error is None else self._steps.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            sent = error = None
            try:
                sent = yield yielded
            except BaseException as thrown:  # noqa: BLE001 - it is the coroutine's to take
                error = thrown
