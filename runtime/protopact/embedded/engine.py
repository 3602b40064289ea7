"""The embedded engine: the interface of every engine, over a shell and a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import msgspec

from protopact import contract
from protopact.completion import CompleteActivity, FailActivity, HeartbeatActivity, ReportActivityCancellation
from protopact.embedded.clock import Clock, Ids, SystemClock
from protopact.embedded.inbox import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    AttemptHeartbeat,
    CancelRequest,
    Signal,
    Update,
)
from protopact.embedded.records import RunRow
from protopact.embedded.requests import Requests
from protopact.embedded.run import STATUSES
from protopact.embedded.shell import Shell
from protopact.embedded.store import Store
from protopact.embedded.tick import Refusal, Tick
from protopact.embedded.views import describe
from protopact.embedded.worker import Worker, process_identity
from protopact.engine import (
    CancelWorkflow,
    Engine,
    QueryWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    Started,
    StartWorkflow,
    TerminateWorkflow,
    UpdateStarted,
    UpdateWorkflow,
    WorkerOptions,
    WorkflowDescription,
    WorkflowRef,
    WorkflowStatus,
)
from protopact.errors import (
    ApplicationError,
    EngineClosedError,
    FailureError,
    NotFoundError,
    ProtopactError,
    QueryError,
    TerminatedError,
    UpdateFailedError,
    WorkflowContinuedAsNewError,
    WorkflowFailedError,
)
from protopact.failure import FailureConverter, attempt_error
from protopact.history.event import (
    Attributes,
    Event,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from protopact.history.failure import CanceledFailureInfo, Failure, TimeoutFailureInfo
from protopact.history.time import Timestamp, from_timedelta
from protopact.interceptor import Interceptor, chain
from protopact.options import check_text
from protopact.payload import CodecChain, Encoding, PayloadCodec, PayloadConverter
from protopact.payload.payload import Payloads
from protopact.termination import Termination

__all__ = ["EmbeddedEngine"]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
S = TypeVar("S", bound=msgspec.Struct)

_PAGE = 100
_BUSY_SECONDS = 0.005


class EmbeddedEngine(Engine):
    """An engine in this process, on a store. Used within `async with`, on one event loop.

    Args:
        store: The database; the engine opens and closes it.
        clock: Clock and timers; by default the machine's.
        ids: Source of run ids and request ids.
        encoding: How messages are written; both encodings are always read.
        codecs: Applied to every payload on its way to the disk, in this order.
        interceptors: Hooks around clients, workflows and activities, the first one outermost.
        retention: How long closed runs are kept; None is for ever.
        identity: Name of this process in histories; process id and host by default.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        encoding: Encoding = "json/protobuf",
        codecs: Sequence[PayloadCodec] = (),
        interceptors: Sequence[Interceptor] = (),
        retention: timedelta | None = None,
        identity: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._ids = ids or Ids()
        self._converter = PayloadConverter(encoding)
        self._failures = FailureConverter(self._converter)
        self._codecs = CodecChain(codecs)
        self._interceptors = tuple(interceptors)
        self._retention = retention
        self._identity = identity or process_identity()
        self._requests = Requests(self._converter, self._codecs, identity=self._identity)
        self._shell: Shell | None = None
        self._workers: list[Worker] = []
        self._start = chain(self._interceptors, "start_workflow", self._do_start)
        self._signal = chain(self._interceptors, "signal_workflow", self._do_signal)
        self._signal_with_start = chain(self._interceptors, "signal_with_start", self._do_signal_with_start)
        self._query = chain(self._interceptors, "query_workflow", self._do_query)
        self._update = chain(self._interceptors, "update_workflow", self._do_update)
        self._update_with_start = chain(self._interceptors, "update_with_start", self._do_update_with_start)
        self._cancel = chain(self._interceptors, "cancel_workflow", self._do_cancel)
        self._terminate = chain(self._interceptors, "terminate_workflow", self._do_terminate)
        self._reset = chain(self._interceptors, "reset_workflow", self._do_reset)
        self._complete = chain(self._interceptors, "complete_activity", self._do_complete)
        self._fail = chain(self._interceptors, "fail_activity", self._do_fail)
        self._report_cancellation = chain(
            self._interceptors, "report_activity_cancellation", self._do_report_cancellation
        )
        self._heartbeat = chain(self._interceptors, "heartbeat_activity", self._do_heartbeat)

    def __repr__(self) -> str:
        """Names the file."""
        return f"<{type(self).__name__} on {self._store.name}>"

    # -- life

    async def open(self) -> None:
        """Open the store and meet the other processes. `async with` calls it.

        Raises:
            StoreError: The file cannot be used.
        """
        self._store.open()
        shell = Shell(
            self._store,
            clock=self._clock,
            ids=self._ids,
            codecs=self._codecs,
            identity=self._identity,
            retention=self._retention,
        )
        try:
            if shell.processes is not None:
                await self._begin()
                shell.processes.join()
                shell.process_id = shell.processes.id
                self._store.commit()
                shell.processes.listen()
        except BaseException:
            if shell.processes is not None:
                shell.processes.close()
            self._store.close()
            raise
        self._shell = shell
        shell.retention.begin()
        shell.look()

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Stop the workers that still serve, let go of every claim, close the file. Idempotent."""
        shell = self._shell
        if shell is None:
            return
        try:
            for worker in list(self._workers):
                await self._stop(worker)
        finally:
            self._shell = None
            await shell.close()
            try:
                await self._leave(shell)
            finally:
                self._store.close()

    async def _leave(self, shell: Shell) -> None:
        """Tell the other processes that this one has gone."""
        if shell.processes is None:
            return
        try:
            await self._begin()
            shell.processes.leave()
            self._store.commit()
            shell.processes.wake(shell.processes.peers)
        finally:
            shell.processes.close()

    async def _begin(self) -> None:
        while not self._store.begin():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(_BUSY_SECONDS)

    @property
    def _open(self) -> Shell:
        shell = self._shell
        if shell is None:
            raise EngineClosedError(f"the engine on {self._store.name} is not open; use it within `async with`")
        _ = self._store.connection
        if asyncio.get_running_loop() is not shell.loop:
            raise EngineClosedError(
                f"the engine on {self._store.name} was opened on another event loop; connect on this one"
            )
        return shell

    # -- starts

    def uuid4(self) -> UUID:
        """See `Engine`; from where the ids of runs and requests come."""
        return self._ids.uuid4()

    async def start_workflow(self, call: StartWorkflow[Req, Resp]) -> Started:
        """See `Engine`."""
        started: Started = await self._start(call)
        return started

    async def _do_start(self, call: StartWorkflow[Any, Any]) -> Started:
        shell = self._open
        start = await self._requests.start(shell, call)
        started: Started = await shell.ask(lambda tick, caller: shell.calls.start(tick, caller, start))
        return started

    async def signal_with_start(self, start: StartWorkflow[Req, Resp], signal: SignalWorkflow[object]) -> Started:
        """See `Engine`."""
        started: Started = await self._signal_with_start(start, signal)
        return started

    async def _do_signal_with_start(self, start: StartWorkflow[Any, Any], signal: SignalWorkflow[Any]) -> Started:
        shell = self._open
        # As on the server, one request: with one header, which both events get, and one id.
        headers = {**start.headers, **signal.headers}
        begin = await self._requests.start(shell, replace(start, headers=headers))
        signal = replace(signal, headers=headers, request_id=start.options.get("request_id"))
        event = await self._requests.signal(signal)
        self._requests.check_together(begin, event.input, event.signal_name)
        started: Started = await shell.ask(
            lambda tick, caller: shell.calls.signal_with_start(tick, caller, begin, event)
        )
        return started

    async def update_with_start(
        self, start: StartWorkflow[Req, Resp], update: UpdateWorkflow[object, object]
    ) -> tuple[Started, UpdateStarted]:
        """See `Engine`."""
        started: tuple[Started, UpdateStarted] = await self._update_with_start(start, update)
        return started

    async def _do_update_with_start(
        self, start: StartWorkflow[Any, Any], update: UpdateWorkflow[Any, Any]
    ) -> tuple[Started, UpdateStarted]:
        shell = self._open
        begin, request = await self._requests.start(shell, start), await self._requests.update(update)
        self._requests.check_together(begin, request.args, request.name)
        accepted: asyncio.Future[str] = shell.promise()
        try:
            started: Started = await shell.ask(
                lambda tick, caller: shell.calls.update_with_start(tick, caller, begin, request, accepted)
            )
        except BaseException:
            accepted.cancel()  # nobody will ask
            raise
        run_id = await self._answered(accepted)
        return started, UpdateStarted(WorkflowRef(started.workflow_id, run_id), request.update_id)

    # -- signals, queries, updates

    async def signal_workflow(self, call: SignalWorkflow[Req]) -> None:
        """See `Engine`."""
        await self._signal(call)

    async def _do_signal(self, call: SignalWorkflow[Any]) -> None:
        shell = self._open
        signal = Signal(await self._requests.signal(call))
        await shell.ask(lambda tick, caller: shell.calls.send(tick, caller, call.ref, signal))

    async def query_workflow(self, call: QueryWorkflow[Req, Resp]) -> Resp:
        """See `Engine`."""
        answer: Resp = await self._query(call)
        return answer

    async def _do_query(self, call: QueryWorkflow[Any, Any]) -> object:
        shell, query = self._open, call.query
        request = await self._requests.query(call)

        def expire() -> None:
            try:
                error: ProtopactError = self._unanswered(shell, call)
            except ProtopactError as why:  # it was deleted meanwhile, or the disk does not answer either
                error = why
            shell.calls.give_up(future, error)

        future = shell.ask(lambda tick, caller: shell.calls.query(tick, caller, call.ref, request))
        timer = shell.clock.call_at(Timestamp(shell.clock.now() + from_timedelta(call.timeout)), expire)
        try:
            payloads: Payloads = await self._answered(future)
        finally:
            timer.cancel()
        payloads = await self._codecs.decode(payloads)
        return self._converter.from_payloads(query.response, payloads, where=f"response of {query.name}")

    def _unanswered(self, shell: Shell, call: QueryWorkflow[Any, Any]) -> QueryError:
        row = self._row(shell, call.ref)
        holder = row.holder is not None
        why = (
            "the worker that has the run did not answer"
            if holder
            else f"no worker serves {row.workflow_type} on task queue {row.task_queue!r}; start one"
        )
        return QueryError(
            f"query {call.query.name} of workflow {call.ref.workflow_id} was not answered within "
            f"{call.timeout.total_seconds():g} s: {why}"
        )

    async def update_workflow(self, call: UpdateWorkflow[Req, Resp]) -> UpdateStarted:
        """See `Engine`."""
        started: UpdateStarted = await self._update(call)
        return started

    async def _do_update(self, call: UpdateWorkflow[Any, Any]) -> UpdateStarted:
        shell = self._open
        update = Update(await self._requests.update(call), is_pinned=call.ref.run_id is not None)
        run_id = await self._answered(shell.ask(lambda tick, caller: shell.calls.send(tick, caller, call.ref, update)))
        return UpdateStarted(WorkflowRef(call.ref.workflow_id, run_id), call.update_id)

    async def update_result(self, update: UpdateStarted, response: contract.Message[Resp]) -> Resp:
        """See `Engine`."""
        shell = self._open
        outcome = await shell.waits.update_ended(update.ref, update.update_id)
        where = f"update {update.update_id!r} of workflow {update.ref.workflow_id}"
        if outcome is None:
            message = f"{where}: the workflow closed before the update completed"
            raise UpdateFailedError(message) from ApplicationError(
                "Workflow Update failed because the Workflow completed before the Update completed.",
                type="AcceptedUpdateCompletedWorkflow",
                non_retryable=True,
            )
        outcome = await self._decode(outcome)
        if outcome.failure is not None:
            raise UpdateFailedError(f"{where} failed: {outcome.failure.message}") from self._failures.from_failure(
                outcome.failure
            )
        return self._converter.from_payloads(response, outcome.success, where=f"response of {where}")

    # -- results

    async def workflow_result(
        self, ref: WorkflowRef, response: contract.Message[Resp], *, follow_runs: bool = True
    ) -> Resp:
        """See `Engine`."""
        shell = self._open
        while True:
            closed = await shell.waits.closed(ref)
            successor = getattr(closed.event, "new_execution_run_id", "")
            if not (successor and follow_runs):
                break
            ref = WorkflowRef(closed.workflow_id, successor)
        if isinstance(closed.event, WorkflowExecutionContinuedAsNew):
            raise WorkflowContinuedAsNewError(
                f"workflow {closed.workflow_id} (run {closed.run_id}) went on as run {successor}", new_run_id=successor
            )
        event = await self._decode(closed.event)
        if isinstance(event, WorkflowExecutionCompleted):
            where = f"response of workflow {closed.workflow_id}"
            return self._converter.from_payloads(response, event.result, where=where)
        cause, verb = self._failure_of(event)
        raise WorkflowFailedError(
            f"workflow {closed.workflow_id} (run {closed.run_id}) {verb}: {cause.message}",
            workflow_id=closed.workflow_id,
            run_id=closed.run_id,
        ) from cause

    def _failure_of(self, event: Attributes) -> tuple[FailureError, str]:
        match event:
            case WorkflowExecutionFailed(failure=Failure() as failure):
                return self._failures.from_failure(failure), "failed"
            case WorkflowExecutionCanceled(details=details):
                failure = Failure(message="Workflow cancelled", info=CanceledFailureInfo(details=details))
                return self._failures.from_failure(failure), "was cancelled"
            case WorkflowExecutionTerminated(reason=reason):
                return TerminatedError(reason or "Workflow terminated"), "was terminated"
            case WorkflowExecutionTimedOut():
                failure = Failure(message="Workflow timed out", info=TimeoutFailureInfo(timeout_type="START_TO_CLOSE"))
                return self._failures.from_failure(failure), "timed out"
            case _:
                return FailureError(f"it ended with {type(event).__name__}"), "failed"

    # -- ends

    async def cancel_workflow(self, call: CancelWorkflow) -> None:
        """See `Engine`."""
        await self._cancel(call)

    async def _do_cancel(self, call: CancelWorkflow) -> None:
        shell = self._open
        request = CancelRequest(WorkflowExecutionCancelRequested(cause=call.reason, identity=self._identity))
        await shell.ask(lambda tick, caller: shell.calls.send(tick, caller, call.ref, request))

    async def terminate_workflow(self, call: TerminateWorkflow) -> None:
        """See `Engine`."""
        await self._terminate(call)

    async def _do_terminate(self, call: TerminateWorkflow) -> None:
        shell = self._open
        event = WorkflowExecutionTerminated(reason=call.reason, identity=self._identity)
        await shell.ask(lambda tick, caller: shell.calls.terminate(tick, caller, call.ref, event))

    async def reset_workflow(self, call: ResetWorkflow) -> str:
        """See `Engine`."""
        run_id: str = await self._reset(call)
        return run_id

    async def _do_reset(self, call: ResetWorkflow) -> str:
        shell = self._open
        run_id: str = await shell.ask(lambda tick, caller: shell.resets.reset(tick, caller, call))
        return run_id

    async def delete_workflow(self, ref: WorkflowRef) -> None:
        """See `Engine`."""
        shell = self._open
        row = self._row(shell, ref)
        if row.status == 0:
            await self.terminate_workflow(TerminateWorkflow(ref=ref, reason="deleted"))
        exact = WorkflowRef(row.workflow_id, row.run_id)
        while not await shell.ask(  # noqa: ASYNC110 - another process lets go of it
            lambda tick, caller: shell.calls.delete(tick, caller, exact)
        ):
            await asyncio.sleep(_BUSY_SECONDS)

    # -- activities that are completed from outside

    async def complete_activity(self, call: CompleteActivity[Resp]) -> None:
        """See `Engine`."""
        await self._complete(call)

    async def _do_complete(self, call: CompleteActivity[Any]) -> None:
        shell = self._open
        result = await self._requests.response(call.activity, call.response)
        await shell.ask(
            lambda tick, caller: shell.tokens.tell(tick, caller, call.ref, lambda head: AttemptCompleted(*head, result))
        )

    async def fail_activity(self, call: FailActivity) -> None:
        """See `Engine`."""
        await self._fail(call)

    async def _do_fail(self, call: FailActivity) -> None:
        shell = self._open
        details = await self._requests.details(call.last_heartbeat_details)
        failure = await self._codecs.encode_failure(self._failures.to_failure(attempt_error(call.error)))
        await shell.ask(
            lambda tick, caller: shell.tokens.tell(
                tick, caller, call.ref, lambda head: AttemptFailed(*head, failure, details)
            )
        )

    async def report_activity_cancellation(self, call: ReportActivityCancellation) -> None:
        """See `Engine`."""
        await self._report_cancellation(call)

    async def _do_report_cancellation(self, call: ReportActivityCancellation) -> None:
        shell = self._open
        payloads = await self._requests.details(call.details)
        await shell.ask(
            lambda tick, caller: shell.tokens.tell(
                tick, caller, call.ref, lambda head: AttemptCancelled(*head, payloads), is_cancellation=True
            )
        )

    async def heartbeat_activity(self, call: HeartbeatActivity) -> None:
        """See `Engine`."""
        await self._heartbeat(call)

    async def _do_heartbeat(self, call: HeartbeatActivity) -> None:
        shell = self._open
        payloads = await self._requests.details(call.details)
        await shell.ask(
            lambda tick, caller: shell.tokens.tell(
                tick, caller, call.ref, lambda head: AttemptHeartbeat(*head[:2], tick.now, payloads)
            )
        )

    # -- views

    async def describe_workflow(self, ref: WorkflowRef) -> WorkflowDescription:
        """See `Engine`."""
        shell = self._open
        row = self._row(shell, ref)
        activities = shell.records.activities(row.key) if row.status == 0 else []
        return await describe(row, activities, now=shell.clock.now(), codecs=self._codecs)

    async def list_workflows(
        self, *, workflow_type: str | None = None, workflow_id: str | None = None, status: WorkflowStatus | None = None
    ) -> AsyncIterator[WorkflowDescription]:
        """See `Engine`."""
        check_text((workflow_type, workflow_id), "list of workflows")
        below = (1 << 63) - 1
        while True:
            shell = self._open
            rows = shell.records.list_runs(
                below=below,
                limit=_PAGE,
                workflow_type=workflow_type,
                workflow_id=workflow_id,
                status=None if status is None else STATUSES.index(status),
            )
            for row in rows:
                yield await describe(row, (), now=shell.clock.now(), codecs=self._codecs)
            if len(rows) < _PAGE:
                return
            below = rows[-1].key

    async def workflow_history(self, ref: WorkflowRef) -> tuple[WorkflowRef, list[Event]]:
        """See `Engine`."""
        shell = self._open
        row = self._row(shell, ref)
        history = shell.records.history(row.key)
        history = await self._codecs.decode_structs(history)
        return WorkflowRef(row.workflow_id, row.run_id, row.first_run_id), history

    def _row(self, shell: Shell, ref: WorkflowRef) -> RunRow:
        if ref.run_id is None and ref.first_run_id is not None:
            row = shell.records.latest_run(ref.workflow_id, first_run_id=ref.first_run_id)
        else:
            row = shell.records.run(shell.calls.find(Tick(shell.clock.now()), ref).key)
        if row is None:  # another process has deleted it just now
            raise NotFoundError(f"there is no workflow {ref.workflow_id!r} in {self._store.name} any more")
        return row

    # -- workers

    def run_worker(self, options: WorkerOptions) -> AbstractAsyncContextManager[None]:
        """See `Engine`."""
        return self._serve(options)

    @asynccontextmanager
    async def _serve(self, options: WorkerOptions) -> AsyncGenerator[None]:
        worker = Worker(
            self._open,
            options,
            converter=self._converter,
            failures=self._failures,
            codecs=self._codecs,
            interceptors=self._interceptors,
        )
        self._workers.append(worker)
        try:
            await worker.start()
        except BaseException:
            await self._stop(worker)
            raise
        async with Termination(partial(self._stop, worker), handles_signals=options.handle_signals):
            yield

    async def _stop(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            await worker.stop()

    # -- payloads

    async def _decode(self, struct: S) -> S:
        return (await self._codecs.decode_structs([struct]))[0] if self._codecs else struct

    async def _answered(self, future: asyncio.Future[Any]) -> Any:  # noqa: ANN401 - the caller knows what it asked for
        """Wait for an answer; a refusal becomes the exception that it stands for."""
        try:
            return await future
        except Refusal as refusal:
            error = refusal.error(refusal.message)
            if refusal.failure is None:
                raise error from None
            raise error from self._failures.from_failure(await self._decode(refusal.failure))
