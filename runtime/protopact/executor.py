"""Threads for plain `def` activities.

`concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits, so one activity that never ends
keeps the process for ever. These threads are daemons: the process ends without them.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ThreadExecutor"]


@dataclass(frozen=True, slots=True)
class _Job:
    context: contextvars.Context
    function: Callable[[], None]


class ThreadExecutor:
    """Runs functions in daemon threads, which are started as needed and used again.

    Args:
        max_threads: Functions that run at once; more wait, first come first served. None when the caller counts them.
        name: Beginning of the threads' names.
    """

    def __init__(self, max_threads: int | None, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def submit(self, function: Callable[[], None], context: contextvars.Context) -> None:
        """Run `function` in a thread, in `context`. It must not raise. To be called from one thread only."""
        self._jobs.put(_Job(context, function))
        is_full = self._max_threads is not None and self._threads >= self._max_threads
        if not self._idle.acquire(blocking=False) and not is_full:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def shutdown(self) -> None:
        """Let the threads end after what was submitted. Does not wait."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.context.run(job.function)
            del job  # while the thread waits, nothing of the last activity is kept alive

    def _next(self) -> _Job | None:
        try:
            return self._jobs.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._jobs.get()
