"""What asyncio does with sets of tasks, done in order: the same on every engine.

`asyncio.wait`, `asyncio.as_completed` and `asyncio.TaskGroup` keep tasks in sets, which iterate by memory address on a
loop that is not protopact's own. These keep the order in which tasks are given or made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Iterator, MutableSet, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

__all__ = ["TaskGroup", "as_completed", "wait"]

T = TypeVar("T")
F = TypeVar("F", bound="asyncio.Future[Any]")  # whatever the tasks return


async def wait(
    fs: Iterable[F],
    *,
    timeout: timedelta | float | None = None,  # noqa: ASYNC109 - asyncio's name
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[F], list[F]]:
    """Wait for tasks and futures, as `asyncio.wait` does.

    Args:
        fs: Tasks and futures; not coroutines.
        timeout: How long to wait at most, as a timedelta or in seconds; a durable timer. No error when it is over.
        return_when: `asyncio.ALL_COMPLETED`, `asyncio.FIRST_COMPLETED` or `asyncio.FIRST_EXCEPTION`.

    Returns:
        Those that are done and those that are not, both in the order of `fs`.
    """
    given = list(dict.fromkeys(fs))
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    await asyncio.wait(given, timeout=seconds, return_when=return_when)
    return [each for each in given if each.done()], [each for each in given if not each.done()]


def as_completed(
    fs: Iterable[Awaitable[T]], *, timeout: timedelta | float | None = None
) -> Iterator[Coroutine[Any, Any, T]]:
    """Iterate over results in the order in which they come, as `asyncio.as_completed` does.

    Coroutines start in the order of `fs`, and what is done already comes in that order too::

        for result in workflow.as_completed([node.create_vm(one), node.create_vm(other)]):
            print(await result)

    Args:
        fs: Tasks, futures and coroutines.
        timeout: How long to wait for all of them, as a timedelta or in seconds; a durable timer.

    Returns:
        As many coroutines as `fs` has members. Each awaits the next result, raises what its member raised, or raises
        the builtin TimeoutError.
    """
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"as_completed takes an iterable of awaitables, not one: {fs!r}")
    loop = asyncio.get_running_loop()
    results: _Results[T] = _Results([asyncio.ensure_future(each, loop=loop) for each in dict.fromkeys(fs)])
    if timeout is not None:
        results.limit(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)
    return (results.next() for _ in range(results.count))


class _Results(Generic[T]):
    """Results of futures, in the order in which they come."""

    def __init__(self, futures: Sequence[asyncio.Future[T]]) -> None:
        self.count = len(futures)
        self._open = dict.fromkeys(futures)
        self._done = asyncio.Queue["asyncio.Future[T] | None"]()
        self._timer: asyncio.TimerHandle | None = None
        for future in futures:
            future.add_done_callback(self._take)

    def limit(self, seconds: float) -> None:
        """Wait for the results at most so long."""
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    async def next(self) -> T:
        """The next result."""
        future = await self._done.get()
        if future is None:
            raise TimeoutError
        return future.result()

    def _take(self, future: asyncio.Future[T]) -> None:
        if future in self._open:
            del self._open[future]
            self._done.put_nowait(future)
            if self._timer is not None and not self._open:
                self._timer.cancel()

    def _give_up(self) -> None:
        for _ in self._open:
            self._done.put_nowait(None)
        self._open.clear()


class _InOrder(MutableSet["asyncio.Task[Any]"]):
    """A set that iterates in the order in which its members were added."""

    def __init__(self) -> None:
        self._members: dict[asyncio.Task[Any], None] = {}

    def __contains__(self, task: object) -> bool:
        return task in self._members

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, value: asyncio.Task[Any]) -> None:
        self._members[value] = None

    def discard(self, value: asyncio.Task[Any]) -> None:
        self._members.pop(value, None)


class TaskGroup(asyncio.TaskGroup):
    """`asyncio.TaskGroup`, which cancels its tasks in the order in which they were made."""

    def __init__(self) -> None:
        super().__init__()
        # asyncio has a set there, in every version, to which it adds and from which it discards, counts and iterates.
        setattr(self, "_tasks", _InOrder())  # noqa: B010 - typeshed knows it as a set
