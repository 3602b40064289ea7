"""One activity alone, as its worker would run it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar, cast

from protopact import activity
from protopact.activity import CancellationReason, Info
from protopact.embedded.context import Flag, LocalContext
from protopact.errors import Details
from protopact.payload import PayloadConverter, Payloads
from protopact.payload.sizes import check_size
from protopact.policy import Priority

__all__ = ["ActivityEnvironment"]

P = ParamSpec("P")
R = TypeVar("R")

_START = datetime(2026, 1, 1, tzinfo=UTC)


class ActivityEnvironment:
    """Runs the code of activities without a worker: `protopact.activity` works within it.

    ::

        env = testing.ActivityEnvironment(heartbeat_details=[BootProgress(lines=3)])
        response = await env.run(Provisioner(cloud).wait_for_vm_ready, WaitForVmReadyRequest(vm_id="vm-1"))
        assert env.heartbeats[-1] == [BootProgress(lines=9)]

    Args:
        heartbeat_details: What the last heartbeat of the attempts before recorded.

    Attributes:
        info: What `activity.info()` returns; set it to `dataclasses.replace(env.info, attempt=2)` and the like.
        heartbeats: Details of every heartbeat, in order.
    """

    def __init__(self, *, heartbeat_details: Sequence[object] = ()) -> None:
        self.info = Info(
            activity_id="test",
            activity_type="test",
            attempt=1,
            namespace="default",
            workflow_id="test",
            workflow_run_id="test-run",
            workflow_type="test",
            task_queue="test",
            scheduled_time=_START,
            current_attempt_scheduled_time=_START,
            started_time=_START,
            schedule_to_close_timeout=None,
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=None,
            retry_policy=None,
            priority=Priority(),
        )
        self.heartbeats: list[Details] = []
        self._converter = PayloadConverter()
        self._details = self._converter.to_details(heartbeat_details)
        self._worker_shutdown = Flag()
        self._reason: CancellationReason | None = None
        self._running: set[_Context] = set()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an activity, or any function, as an activity.

        A plain function runs in the calling thread and its result is returned; an `async def` is run when what is
        returned is awaited. Whatever it raises is raised.

        Args:
            function: The activity: a method of an instance.
            *args: Its request.
            **kwargs: Arguments by name, for other functions.
        """
        if inspect.iscoroutinefunction(function):
            return cast("R", self._run_async(function, args, kwargs))
        context = self._context(loop_thread=None)
        token = activity.current.set(context)
        try:
            return function(*args, **kwargs)
        finally:
            activity.current.reset(token)
            self._running.discard(context)

    def cancel(self, reason: CancellationReason = CancellationReason.CANCEL_REQUESTED) -> None:
        """Cancel what runs, and what is run from now on. Only the first call counts."""
        self._reason = self._reason or reason
        for context in tuple(self._running):
            context.cancel(self._reason)

    def worker_shutdown(self) -> None:
        """Say that the worker stops."""
        self._worker_shutdown.set()

    # What the function takes and returns is the caller's, checked by `run`.
    async def _run_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        context = self._context(loop_thread=threading.get_ident())
        variables = contextvars.copy_context()
        variables.run(activity.current.set, context)
        context.task = asyncio.create_task(function(*args, **kwargs), context=variables)
        if self._reason is not None:
            context.cancel(self._reason)
        try:
            return await context.task
        finally:
            self._running.discard(context)

    def _context(self, *, loop_thread: int | None) -> _Context:
        context = _Context(self, self._converter, self._worker_shutdown, loop_thread)
        context.details = self._details
        if self._reason is not None:
            context.cancel(self._reason)
        self._running.add(context)
        return context


class _Context(LocalContext):
    def __init__(
        self, environment: ActivityEnvironment, converter: PayloadConverter, worker_shutdown: Flag, thread: int | None
    ) -> None:
        super().__init__(converter=converter, worker_shutdown=worker_shutdown, loop_thread=thread)
        self.task: asyncio.Task[Any] | None = None
        self._environment = environment

    @property
    def info(self) -> Info:
        return self._environment.info

    def beat(self, details: Payloads) -> None:
        check_size(details, f"the heartbeat of activity {self.info.activity_type}")
        self._environment.heartbeats.append(self._converter.from_details(details))

    def interrupt(self, message: str) -> None:
        if self.task is not None:
            self.task.cancel(message)
