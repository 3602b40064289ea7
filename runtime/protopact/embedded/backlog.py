"""Tasks that wait for a worker, and whose turn it is."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from protopact.embedded.priority import LEVELS, Place

__all__ = ["Backlog"]

T = TypeVar("T", bound=Hashable)


class Backlog(Generic[T]):
    """Tasks in order: level by level; within a level fairly among its keys; within a key as they came."""

    def __init__(self) -> None:
        self._waiting = set[T]()
        self._levels = [_Level[T]() for _ in range(LEVELS)]

    def __len__(self) -> int:
        """Number of tasks that wait."""
        return len(self._waiting)

    def add(self, task: T, place: Place) -> None:
        """Let a task wait; one that waits already keeps its turn."""
        if task not in self._waiting:
            self._levels[place.level - 1].add(task, place)
            self._waiting.add(task)

    def take(self) -> T:
        """Take the task whose turn it is.

        Raises:
            StopIteration: None waits.
        """
        task = next(level for level in self._levels if level.is_waiting).take()
        self._waiting.remove(task)
        return task

    def clear(self) -> None:
        """Let nothing wait. What keys have had of their turns is not forgotten."""
        self._waiting.clear()
        for level in self._levels:
            level.clear()


class _Level(Generic[T]):
    """Tasks of one level: start-time fair queueing.

    A task costs its key the less the more weight it has. The key that has spent the least is next; one that was away
    has saved nothing.
    """

    __slots__ = ("_now", "_order", "_spent", "_tasks", "_turns")

    def __init__(self) -> None:
        self._tasks: dict[str, deque[tuple[T, float]]] = {}  # tasks and weights, of keys that have any
        self._turns: list[tuple[float, int, str]] = []  # a heap: what such a key has spent, order, key
        self._spent: dict[str, float] = {}  # of other keys, as far as it is more than others have
        self._order = itertools.count()
        self._now = 0.0

    @property
    def is_waiting(self) -> bool:
        return bool(self._turns)

    def add(self, task: T, place: Place) -> None:
        tasks = self._tasks.get(place.key)
        if tasks is None:
            tasks = self._tasks[place.key] = deque()
            spent = max(self._spent.pop(place.key, 0.0), self._now)
            heapq.heappush(self._turns, (spent, next(self._order), place.key))
        tasks.append((task, place.weight))

    def take(self) -> T:
        self._now, _, key = heapq.heappop(self._turns)
        tasks = self._tasks[key]
        task, weight = tasks.popleft()
        spent = self._now + 1 / weight
        if tasks:
            heapq.heappush(self._turns, (spent, next(self._order), key))
        else:
            del self._tasks[key]
            self._leave(key, spent)
        return task

    def clear(self) -> None:
        for spent, _, key in self._turns:
            self._leave(key, spent)
        self._tasks.clear()
        self._turns.clear()

    def _leave(self, key: str, spent: float) -> None:
        self._spent[key] = spent
        if len(self._spent) > 2 * len(self._tasks) + 64:
            self._spent = {key: spent for key, spent in self._spent.items() if spent > self._now}
