"""One tick of the shell: what it touches, writes, and lets out once it has committed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from protopact.activity import CancellationReason
from protopact.embedded.inbox import Answered, Notice, Refused, encode
from protopact.embedded.run import Run
from protopact.errors import NondeterminismError, ProtopactError
from protopact.failure import writable
from protopact.history.failure import Failure
from protopact.history.time import Timestamp
from protopact.payload.payload import Payloads

if TYPE_CHECKING:
    from protopact.embedded.attempt import Attempt, AttemptKey
    from protopact.embedded.queries import PendingQuery
    from protopact.embedded.tasks import PendingUpdate, Task
    from protopact.embedded.worker import Worker
    from protopact.history.event import Attributes
    from protopact.replay.advance import Advance

__all__ = ["Caller", "Refusal", "Tick"]

Caller: TypeAlias = "asyncio.Future[Any] | tuple[int, int] | None"  # the future's type is known where it is made
"""Whom to answer: a future of this process, the call of another one (process, call), or nobody."""


class Refusal(Exception):  # noqa: N818 - it becomes an error of our tree once its failure can be decoded
    """A call was refused; travels to the caller's process as it is.

    Attributes:
        error: What to raise there.
        message: Its message.
        failure: Its cause, as on disk.
    """

    def __init__(self, error: type[ProtopactError], message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.failure = failure


class Tick:
    """What one tick gathers; nothing of it is visible to anybody before the commit.

    Attributes:
        now: Time of everything that happens in it.
        runs: Runs that were touched, by key.
        stirred: Runs to which something has happened since workflow tasks were last looked for.
        latest: The newest run of a workflow id, of those that were touched.
        closed: Runs that closed.
        ended: Runs that closed, and how, whose children and parents have not heard of it.
        forget: Keys of runs to drop from memory.
        taken: Rows to remove from `inbox`.
        notices: Rows to add to `notice`.
        watches: Rows to add to `watch`: run, and update or nothing.
        outcomes: Updates whose outcome was recorded: run and update id.
        happened: Runs and updates of other processes that closed or ended, which this one watches.
        heartbeats: Details to record, by run, scheduling event and attempt.
        start: Attempts to start.
        cancel: Attempts to cancel.
        queries: Queries to answer, when everything else has been done.
        coded_queries: Queries that codecs are needed for, and the workers that answer.
        coded_tasks: Workflow tasks that codecs are needed for.
        waiting: Workflow tasks that stay open: for local activities, with what they asked for, or to be explained.
        updates: Updates that were taken from where they wait, by run.
        buried: Dead processes whose claims were voided.
        wake: Processes to wake.
    """

    def __init__(self, now: Timestamp) -> None:
        self.now = now
        self.runs: dict[int, Run] = {}
        self.stirred: list[Run] = []
        self.latest: dict[str, Run] = {}
        self.closed: list[Run] = []
        self.ended: deque[tuple[Run, Attributes]] = deque()
        self.forget: dict[int, Run] = {}
        self.answers: list[tuple[asyncio.Future[Any], object]] = []
        self.refusals: list[tuple[asyncio.Future[Any], Exception]] = []
        self.taken: set[int] = set()
        self.notices: list[tuple[int, bytes]] = []
        self.watches: list[tuple[int, str]] = []
        self.outcomes: list[tuple[Run, str]] = []
        self.happened: list[tuple[int, str]] = []
        self.heartbeats: dict[tuple[int, int, int], Payloads] = {}
        self.start: list[tuple[Worker, Attempt]] = []
        self.cancel: list[tuple[Worker, AttemptKey, CancellationReason]] = []
        self.queries: list[PendingQuery] = []
        self.coded_queries: list[tuple[PendingQuery, Worker]] = []
        self.coded_tasks: list[tuple[Run, Worker]] = []
        self.waiting: list[tuple[Task, Advance | NondeterminismError]] = []
        self.updates: list[tuple[int, PendingUpdate]] = []
        self.buried: list[int] = []
        self.wake: set[int] = set()

    def touch(self, run: Run) -> None:
        """Note that a run takes part."""
        self.runs[run.key] = run
        if run.is_open:
            self.latest[run.workflow_id] = run

    def answer(self, caller: Caller, value: object = None) -> None:
        """Answer a call: with any value in this process, with payloads or a run id in another."""
        if isinstance(caller, tuple):
            process, call = caller
            if isinstance(value, str):
                self.notify(process, Answered(call, run_id=value))
            else:
                self.notify(process, Answered(call, cast("Payloads", value or ())))
        elif caller is not None:
            self.answers.append((caller, value))

    def refuse(self, caller: Caller, error: Exception) -> None:
        """Refuse a call."""
        if isinstance(caller, tuple):
            process, call = caller
            if isinstance(error, Refusal):
                self.notify(process, Refused(call, error.error.__name__, writable(error.message), error.failure))
            else:
                self.notify(process, Refused(call, type(error).__name__, writable(str(error))))
        elif caller is not None:
            self.refusals.append((caller, error))

    def tell_callers(self) -> None:
        """Answer and refuse the callers of this process; after the commit."""
        for future, value in self.answers:
            if not future.done():
                future.set_result(value)
        for future, error in self.refusals:
            if not future.done():
                future.set_exception(error)

    def notify(self, process: int, notice: Notice) -> None:
        """Tell another process."""
        self.notices.append((process, encode(notice)))
        self.wake.add(process)
