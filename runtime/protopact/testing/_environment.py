"""An engine in memory whose time is virtual."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from protopact import activity, contract
from protopact.embedded.clock import Ids, Timer, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import UpdateStarted, UpdateWorkflow, WorkerOptions, WorkflowRef
from protopact.errors import NotFoundError, StalledError, WorkflowTaskError
from protopact.history.time import Duration, Timestamp, from_datetime, from_timedelta, to_datetime
from protopact.interceptor import Interceptor
from protopact.payload import Encoding, PayloadCodec

__all__ = ["Environment"]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
R = TypeVar("R")

_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Clock(VirtualClock):
    """A virtual clock that says when somebody has asked it for something."""

    def __init__(self, start: Timestamp) -> None:
        super().__init__(start)
        self.stirred = asyncio.Event()
        self.stirs = 0

    def now(self) -> Timestamp:
        self.stir()
        return super().now()

    def call_at(self, when: Timestamp, callback: Callable[[], None], /) -> Timer:
        self.stir()
        return super().call_at(when, callback)

    def stir(self) -> None:
        """Something has happened."""
        self.stirs += 1
        self.stirred.set()


class Environment(EmbeddedEngine):
    """An engine for tests: in memory, its time virtual, its ids the same in every run. Used within `async with`.

    Time jumps to the next timer as soon as everything waits: when no activity runs and nothing else is left to do on
    the event loop. Activities take no virtual time, and it stands still while they run, unless they wait for `sleep` or
    for a result of this environment. What a test calls one after the other happens at one instant; only when it waits,
    for a result, an event, a sleep, does time go on.

    What can never come raises `StalledError` at whoever awaits it, with what stands in the way, once nothing has
    happened for `stalled_after` of real time.

    A workflow task that fails, which a worker tries again for ever, raises `WorkflowTaskError` at whoever awaits a
    result or an update of the run, as soon as nothing but the next try is left.

    Args:
        start: The first instant, an aware datetime; by default 2026-01-01T00:00:00Z.
        seed: Where the sequence of run ids begins. Random numbers of workflows follow from the run id.
        time_skipping: Whether time jumps while everything waits; otherwise only `sleep` and `advance` move it.
        stalled_after: Longest silence, in real time, while a result, an update or a `sleep` is awaited; None is no
            limit.
        encoding: How messages are written.
        codecs: Applied to every payload, as by `protopact.connect`.
        interceptors: Hooks around clients, workflows and activities.
    """

    def __init__(
        self,
        *,
        start: datetime = _START,
        seed: int = 0,
        time_skipping: bool = True,
        stalled_after: timedelta | None = timedelta(seconds=10),
        encoding: Encoding = "json/protobuf",
        codecs: Sequence[PayloadCodec] = (),
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._virtual = _Clock(from_datetime(start))
        super().__init__(
            Store(None),
            clock=self._virtual,
            ids=Ids(seed),
            encoding=encoding,
            codecs=codecs,
            interceptors=interceptors,
            identity="test",
        )
        self._stalled_after = stalled_after
        self._holds = 0 if time_skipping else 1
        self._sleepers: list[tuple[int, asyncio.Event]] = []
        self._waiting_activities = 0
        self._awaited: deque[tuple[WorkflowRef, asyncio.Future[None]]] = deque()
        self._pilot: asyncio.Task[None] | None = None

    # -- time

    def now(self) -> datetime:
        """The virtual time, an aware UTC datetime."""
        return to_datetime(self._virtual.now())

    async def sleep(self, duration: timedelta) -> None:
        """Let virtual time pass, and what happens in that time happen; activities that run are waited for.

        A fake activity that awaits this takes that time.

        Args:
            duration: How much.
        """
        over = asyncio.Event()
        sleeper = (self._virtual.now() + from_timedelta(duration), over)
        self._sleepers.append(sleeper)
        try:
            await self._or_trouble(asyncio.ensure_future(over.wait()))
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, duration: timedelta) -> None:
        """Let virtual time pass while activities run: for their time-outs and heartbeats.

        Args:
            duration: How much.
        """
        with self.auto_time_skipping_disabled():
            await self._virtual.advance(duration)

    @contextmanager
    def auto_time_skipping_disabled(self) -> Generator[None]:
        """Let time stand still for the time of a `with` block, save for `sleep` and `advance`."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._virtual.stir()

    async def _fly(self) -> None:
        clock = self._virtual
        looked = False
        while True:
            await clock.settle()
            now, due = clock.now(), clock.next_timer
            until, over = min(self._sleepers, key=lambda sleeper: sleeper[0], default=(None, None))
            if self._at_work or (until is None and (due is None or self._holds)):
                if self._awaited and not self._at_work and not looked:
                    looked = True
                    for _ in range(len(self._awaited)):
                        await self._look_at_task()
                    continue
                looked = False
                clock.stirred.clear()
                await clock.stirred.wait()
            elif until is not None and over is not None and until <= now and (due is None or due > now):
                over.set()
            else:
                await self._look_at_task()
                target = min(instant for instant in (due, until) if instant is not None)
                await clock.advance(_no_less_than(Duration(target - now)))

    @property
    def _at_work(self) -> bool:
        return (
            self._shell is not None
            and self._shell.dispatch.running + self._shell.local.running > self._waiting_activities
        )

    # -- life

    async def open(self) -> None:
        """Open it; `async with` calls this."""
        await super().open()
        self._pilot = asyncio.create_task(self._fly(), name="protopact.testing time")

    async def close(self) -> None:
        """Stop the workers and forget everything. Idempotent."""
        pilot, self._pilot = self._pilot, None
        if pilot is not None:
            pilot.cancel()
        await super().close()
        if pilot is not None:
            [ended] = await asyncio.gather(pilot, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended

    def run_worker(self, options: WorkerOptions) -> AbstractAsyncContextManager[None]:
        """See `Engine`. At the end activities that still run are cancelled at once; signals are left to the test."""
        return super().run_worker(
            dataclasses.replace(options, graceful_shutdown_timeout=timedelta(0), handle_signals=False)
        )

    # -- what is awaited

    async def workflow_result(
        self, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool = True
    ) -> Resp:
        """See `Engine`. Raises `WorkflowTaskError` when a workflow task of the run fails."""
        return await self._watched(ref, super().workflow_result(ref, response, follow_runs=follow_runs))

    async def update_workflow(self, call: UpdateWorkflow[Req, Resp]) -> UpdateStarted:
        """See `Engine`. Raises `WorkflowTaskError` when a workflow task of the run fails."""
        return await self._watched(call.ref, super().update_workflow(call))

    async def update_result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """See `Engine`. Raises `WorkflowTaskError` when a workflow task of the run fails."""
        return await self._watched(update.ref, super().update_result(update, response))

    async def _watched(self, ref: WorkflowRef, answer: Coroutine[Any, Any, R]) -> R:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (ref, failed)
        self._awaited.append(entry)
        try:
            return await self._or_trouble(asyncio.ensure_future(answer), failed, ref=ref)
        finally:
            self._awaited.remove(entry)

    async def _or_trouble(
        self, answer: asyncio.Future[R], *trouble: asyncio.Future[None], ref: WorkflowRef | None = None
    ) -> R:
        """The answer; or what keeps it from coming."""
        troubles = trouble if self._pilot is None else (*trouble, self._pilot)
        awaited: list[asyncio.Future[Any]] = [answer, *troubles]
        waits = activity.in_activity()
        self._waiting_activities += waits
        self._virtual.stir()
        try:
            await self._first(awaited, None if waits else self._stalled_after, ref)
            if not answer.done():
                for each in troubles:
                    if each.done():
                        await each
            return await answer
        finally:
            self._waiting_activities -= waits
            answer.cancel()

    async def _first(
        self, awaited: list[asyncio.Future[Any]], patience: timedelta | None, ref: WorkflowRef | None
    ) -> None:
        """Wait until one of them is done.

        Raises:
            StalledError: Nothing has happened for as long as `patience`, in real time.
        """
        seconds = None if patience is None else patience.total_seconds()
        while True:
            stirs = self._virtual.stirs
            done, _ = await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await self._virtual.settle()  # a debugger may have held everything
            if any(each.done() for each in awaited):
                return
            if self._virtual.stirs == stirs:
                raise StalledError(f"nothing has happened for {seconds:g} s of real time: {await self._obstacle(ref)}")

    async def _obstacle(self, ref: WorkflowRef | None) -> str:
        """What keeps the awaited from coming."""
        attempts = [] if self._shell is None else self._shell.dispatch.attempts
        if attempts:
            running = ", ".join(f"{each.activity_type} of workflow {each.workflow_id}" for each in attempts)
            return (
                f"virtual time stands still while activities run, and these do not end: {running}; let them end, or "
                "let time pass with advance(), for their time-outs"
            )
        if self._holds and self._virtual.next_timer is not None:
            return "time skipping is disabled, and only a timer could go on; let time pass with sleep() or advance()"
        if ref is None:
            return "nothing is left that could"
        with suppress(NotFoundError):
            description = await self.describe_workflow(ref)
            unserved = [each.activity_type for each in description.pending_activities if not each.started]
            if unserved:
                return f"workflow {ref.workflow_id} waits for {', '.join(unserved)}, which no worker serves"
            if description.history_length == 1:
                return f"workflow {ref.workflow_id} waits for a worker that serves {description.workflow_type}"
        return (
            f"workflow {ref.workflow_id} waits, with no timer or activity pending: for a signal or an update, perhaps"
        )

    async def _look_at_task(self) -> None:
        """Look whether an awaited run is stuck; each time at another one."""
        if not self._awaited:
            return
        self._awaited.rotate(-1)
        ref, failed = self._awaited[0]
        try:
            description = await self.describe_workflow(ref)
        except NotFoundError:
            return
        if description.task_failure is not None and not failed.done():
            failed.set_exception(
                WorkflowTaskError(
                    f"the workflow task of {description.workflow_type} {description.workflow_id} fails, and would fail "
                    f"again until the code is mended: {description.task_failure}"
                )
            )


def _no_less_than(duration: Duration) -> timedelta:
    return timedelta(microseconds=-(-duration // 1000))
