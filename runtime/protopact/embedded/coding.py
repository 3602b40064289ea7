"""Workflow tasks that take more than one tick: those of an engine with payload codecs, and those with local activities.

A codec may take its time, so payloads are decoded, the workflow is told, what it asks for is encoded, and only then is
the task written; a task that has called local activities stays open until they have ended. Meanwhile the run is locked:
what arrives for it waits in its inbox, on disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from protopact.embedded.inbox import CancelRequest, Item, Query, Signal, Update, decode_item
from protopact.embedded.local import LocalCalls
from protopact.embedded.queries import PendingQuery
from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Tick
from protopact.errors import NondeterminismError
from protopact.history.failure import Failure
from protopact.payload import CodecChain
from protopact.replay.advance import Advance
from protopact.replay.command import (
    CancelWorkflowExecution,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
)

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.tasks import Task
    from protopact.embedded.worker import Worker

__all__ = ["Coding"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_CLOSING = (
    CompleteWorkflowExecution,
    FailWorkflowExecution,
    CancelWorkflowExecution,
    ContinueAsNewWorkflowExecution,
)


class _Job:
    """A locked run.

    Attributes:
        task: Its workflow task; None when it is locked for a query.
        interrupted: Whether something waits in its inbox that the workflow has not been told.
        query: The query that it is locked for.
        queries: Queries that came meanwhile.
        calls: Its local activities.
    """

    __slots__ = ("calls", "interrupted", "queries", "query", "task", "work")

    def __init__(self, task: Task | None, query: PendingQuery | None = None) -> None:
        self.task = task
        self.query = query
        self.interrupted = False
        self.queries: list[PendingQuery] = []
        self.work: asyncio.Task[None] | None = None
        self.calls: LocalCalls | None = None


class Coding:
    """The shell's desk for codecs, and for what else keeps a task open.

    Args:
        shell: The shell.
        codecs: The codecs.
    """

    def __init__(self, shell: Shell, codecs: CodecChain) -> None:
        self._shell = shell
        self._codecs = codecs
        self._jobs: dict[int, _Job] = {}
        self._strays = set[asyncio.Task[None]]()

    # -- locked runs

    def defer(self, tick: Tick, run: Run, item: Item, caller: Caller) -> None:
        """Let something wait until the run is free."""
        job = self._jobs[run.key]
        if isinstance(item, Query):
            job.queries.append(PendingQuery(run, item.request, caller))
            return
        job.interrupted = True
        if isinstance(item, Signal | CancelRequest):
            self._shell.delivery.put(run.key, item, None)
            tick.answer(caller)
        else:
            self._shell.delivery.put(run.key, item, self._shell.calls.remote(caller))

    def interrupt(self, run: Run) -> None:
        """Another process has put something into the inbox of a locked run."""
        self._jobs[run.key].interrupted = True

    def abort(self, run: Run) -> list[PendingQuery]:
        """Forget what codecs do for a run; the queries are returned, the rest waits in its inbox."""
        job = self._jobs.pop(run.key)
        if job.work is not None:
            job.work.cancel()
        if job.calls is not None:
            job.calls.close()
        if job.task is not None:
            self._shell.tasks.abort(job.task)
        run.locked = False
        return job.queries if job.query is None else [job.query, *job.queries]

    def close(self) -> None:
        """The engine closes: nothing goes on."""
        work = [job.work for job in self._jobs.values() if job.work is not None]
        for task in (*work, *self._strays):
            task.cancel()
        for job in self._jobs.values():
            if job.calls is not None:
                job.calls.close()
        self._jobs.clear()

    def _lock(self, run: Run, job: _Job, work: Callable[[_Job], Coroutine[Any, Any, None]]) -> None:
        self._jobs[run.key] = job
        run.locked = True
        job.work = self._shell.loop.create_task(work(job))

    def _unlock(self, tick: Tick, run: Run, job: _Job) -> None:
        """Let happen what waited."""
        del self._jobs[run.key]
        run.locked = False
        tick.touch(run)
        tick.queries += job.queries
        if job.interrupted:
            for item, caller in self._shell.delivery.take(tick, run.key):
                self._shell.delivery.apply(tick, run, item, caller)
        if run.is_open:
            self._shell.fire(tick, run)

    async def _in_callback(self, step: Callable[[], T]) -> T:
        """Do something in a plain callback: workflow code never runs inside an asyncio task."""
        done: asyncio.Future[T] = self._shell.loop.create_future()

        def call() -> None:
            if done.done():
                return
            try:
                done.set_result(step())
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                done.set_exception(error)

        self._shell.loop.call_soon(call)
        return await done

    # -- workflow tasks

    def hold(self, task: Task) -> None:
        """Lock the run of a task that stays open; what arrives for it waits from now on."""
        self._jobs[task.run.key] = _Job(task)
        task.run.locked = True

    def forget(self, task: Task) -> None:
        """The tick that left a task open has failed."""
        self._jobs.pop(task.run.key, None)  # the same tick may have ended the run

    def go_on(self, tasks: Iterable[tuple[Task, Advance | NondeterminismError]]) -> None:
        """Go on with tasks that wait for local activities, or to be explained; after a commit."""
        for task, so_far in tasks:
            job = self._jobs.get(task.run.key)
            if job is not None and job.task is task:
                task.run.put_back(task.opened)
                job.work = self._shell.loop.create_task(self._go_on(job, task, so_far))

    async def _go_on(self, job: _Job, task: Task, so_far: Advance | NondeterminismError) -> None:
        if isinstance(so_far, NondeterminismError):
            await self._refuse(job, task, so_far)
        else:
            await self._conclude(job, task, self._run_local(job, task, so_far))

    def begin(self, runs: Iterable[tuple[Run, Worker]]) -> None:
        """Begin workflow tasks; after a commit."""
        for run, worker in runs:
            if not run.locked:
                task = self._shell.tasks.open(run, worker, self._shell.clock.now())
                self._lock(run, _Job(task), lambda job, task=task: self._perform(job, task))  # type: ignore[misc]  # mypy infers no lambda with a default

    async def _perform(self, job: _Job, task: Task) -> None:
        await self._conclude(job, task, self._begin_task(job, task))

    async def _begin_task(self, job: _Job, task: Task) -> Advance:
        tasks = self._shell.tasks
        events = await self._codecs.decode_structs(task.run.unfed)
        updates = await self._codecs.decode_structs(task.new_updates)
        return await self._run_local(job, task, await self._in_callback(lambda: tasks.advance(task, events, updates)))

    async def _run_local(self, job: _Job, task: Task, advance: Advance) -> Advance:
        """Run local activities until the workflow has its answer, ready for the disk."""
        execution = task.run.execution
        assert execution is not None
        while advance.is_waiting:
            calls = job.calls = job.calls or LocalCalls(self._shell, task)
            calls.start(await self._codecs.encode_structs(advance.local_activities))
            calls.cancel(advance.cancelled_local_activities)
            (outcome,) = await self._codecs.decode_structs([await calls.next()])
            advance = await self._in_callback(lambda outcome=outcome: execution.resolve(outcome))  # type: ignore[misc]  # mypy infers no lambda with a default
        if job.calls is not None:
            job.calls.cancel(advance.cancelled_local_activities)
        commands = await self._codecs.encode_structs(advance.commands)
        return msgspec.structs.replace(advance, commands=tuple(commands))

    async def _conclude(self, job: _Job, task: Task, answer: Coroutine[Any, Any, Advance]) -> None:
        try:
            advance = await answer
        except Exception as error:  # noqa: BLE001 - whatever it is, it parks this run, and stops no other
            caught = error
        else:
            self._shell.tell(lambda tick: self._complete(tick, job, task, advance))
            return
        await self._refuse(job, task, caught)

    async def _refuse(self, job: _Job, task: Task, error: Exception) -> None:
        if job.calls is not None:
            job.calls.close()
        if isinstance(error, NondeterminismError) and not self._shell.tasks.is_explained(task):
            await self._explain(task, error)
        failure = await self._failure(task.worker, error)
        self._shell.tell(lambda tick: self._fail(tick, job, task, error, failure))

    async def _explain(self, task: Task, error: NondeterminismError) -> None:
        run, tasks = task.run, self._shell.tasks
        try:
            events = await self._codecs.decode_structs([*self._shell.records.history(run.key), *run.new_events])
            updates = await self._codecs.decode_structs(task.new_updates)
            steps = tasks.explanation(task, error, events, updates)
            try:
                while await self._in_callback(lambda: next(steps, self) is not self):
                    pass
            finally:
                self._shell.loop.call_soon(steps.close)  # a plain callback, too: it lets go of the run
        except Exception as failed:
            _logger.warning("the history of workflow %s cannot be looked at again", run.workflow_id, exc_info=failed)

    def _complete(self, tick: Tick, job: _Job, task: Task, advance: Advance) -> None:
        if self._jobs.get(task.run.key) is not job:
            return  # the run was terminated, its worker has stopped, or the tick that wrote it has failed
        tick.updates += [(task.run.key, update) for update in task.updates.values()]
        if job.interrupted and _closes(advance) and self._has_news(task.run):
            self._shell.tasks.supersede(tick, task)
        else:
            self._shell.tasks.complete(tick, task, advance)
        self._unlock(tick, task.run, job)

    def _has_news(self, run: Run) -> bool:
        """Whether something waits for a locked run that its history would hold; as on the server, no update is that."""
        rows = self._shell.store.select("SELECT item FROM inbox WHERE run_key = ?", (run.key,))
        return any(not isinstance(decode_item(item), Query | Update) for (item,) in rows)

    def _fail(self, tick: Tick, job: _Job, task: Task, error: Exception, failure: Failure) -> None:
        if self._jobs.get(task.run.key) is job:
            self._shell.tasks.fail(tick, task, error, failure)
            self._unlock(tick, task.run, job)

    async def _failure(self, worker: Worker, error: Exception) -> Failure:
        return await self._encoded(worker.failures.to_failure(error))

    async def _encoded(self, failure: Failure) -> Failure:
        try:
            return await self._codecs.encode_failure(failure)
        except Exception:  # noqa: BLE001 - the codec itself fails: say so without its help
            return Failure(message=failure.message, source=failure.source, stack_trace=failure.stack_trace)

    # -- queries

    def query(self, query: PendingQuery, worker: Worker, *, alone: bool) -> None:
        """Answer a query, in a while; `alone` when its run is about to leave memory."""
        run = query.run
        if run.locked:
            self._jobs[run.key].queries.append(query)
        elif alone or run.holder is None:
            stray = self._shell.loop.create_task(self._answer_alone(query, worker))
            self._strays.add(stray)
            stray.add_done_callback(self._strays.discard)
        else:
            self._lock(run, _Job(None, query), lambda job: self._answer_locked(job, query, worker))

    async def _answer_locked(self, job: _Job, query: PendingQuery, worker: Worker) -> None:
        await self._answer(query, worker)

        def unlock(tick: Tick) -> None:
            if self._jobs.get(query.run.key) is job:
                self._unlock(tick, query.run, job)
                if query.run.task_failure is not None:
                    tick.forget[query.run.key] = query.run

        self._shell.tell(unlock)

    async def _answer_alone(self, query: PendingQuery, worker: Worker) -> None:
        """Answer from a replay that nobody else sees: the run that was asked leaves memory meanwhile."""
        row = self._shell.records.run(query.run.key)
        if row is not None:
            run = self._shell.runs.load(row, self._shell.clock.now())
            try:
                await self._answer(dataclasses.replace(query, run=run), worker)
            finally:
                self._shell.loop.call_soon(self._shell.runs.drop, run)

    async def _answer(self, query: PendingQuery, worker: Worker) -> None:
        run, queries = query.run, self._shell.queries
        try:
            events = await self._codecs.decode_structs(run.unfed if run.execution is None else [])
            (request,) = await self._codecs.decode_structs([query.request])
            payloads = await self._in_callback(lambda: queries.ask(run, worker, events, request))
            answer = await self._codecs.encode(payloads)
            queries.check(run, query.request, answer)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            refusal = queries.refusal(run, query.request, error)
            if refusal.failure is not None:
                refusal.failure = await self._encoded(refusal.failure)
            self._shell.tell(lambda tick: tick.refuse(query.caller, refusal))
        else:
            self._shell.tell(lambda tick: tick.answer(query.caller, answer))


def _closes(advance: Advance) -> bool:
    return any(isinstance(command, _CLOSING) for command in advance.commands)
