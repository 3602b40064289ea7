"""Queries: answered from the run in memory, or from a replay that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Refusal, Tick
from protopact.errors import QueryError, WorkflowTaskError
from protopact.history.event import Event
from protopact.history.failure import Failure
from protopact.payload.payload import Payloads
from protopact.payload.sizes import LIMIT, oversize
from protopact.replay.advance import QueryRequest

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.worker import Worker

__all__ = ["PendingQuery", "Queries"]


@dataclass(frozen=True, slots=True)
class PendingQuery:
    """A query that is answered at the end of the tick, when the run has been told all that happened."""

    run: Run
    request: QueryRequest
    caller: Caller


class Queries:
    """The shell's desk for queries."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def answer(self, tick: Tick) -> None:
        """Answer the tick's queries; those of an engine with codecs after the commit."""
        queries, tick.queries = tick.queries, []
        asked = list[Run]()
        for query in queries:
            run = query.run
            worker = self._shell.serving.workflow_worker(run.workflow_type, run.task_queue)
            if worker is None:
                message = f"query {query.request.name}: the worker that served {run.workflow_type} has stopped"
                tick.refuse(query.caller, QueryError(message))
            elif run.locked or self._shell.is_coded:
                tick.coded_queries.append((query, worker))
            else:
                try:
                    tick.answer(query.caller, self.ask(run, worker, run.unfed, query.request))
                except (WorkflowTaskError, Refusal) as error:
                    tick.refuse(query.caller, self.refusal(run, query.request, error))
                asked.append(run)
        for run in asked:  # not before the last one: several may ask one run
            self.let_go(run)

    def ask(self, run: Run, worker: Worker, events: Sequence[Event], request: QueryRequest) -> Payloads:
        """Ask a run; in a plain callback.

        Args:
            run: The run.
            worker: A worker that serves it.
            events: Its history, decoded; used when its coroutines are not in memory.
            request: The query, decoded.

        Raises:
            Refusal: The query failed.
            WorkflowTaskError: The run cannot be replayed.
        """
        if run.execution is None:
            # The coroutines are told everything at once; what no task has brought to them yet, they keep.
            try:
                self._shell.tasks.execution(run, worker).advance(self._whole(run, events))
            except BaseException:
                run.drop_execution()
                raise
            run.unfed = []
        assert run.execution is not None
        answer = run.execution.query(request)
        if isinstance(answer, Failure):
            message = f"query {request.name} of workflow {run.workflow_id} failed: {answer.message}"
            raise Refusal(QueryError, message, answer)
        if not self._shell.is_coded:
            self.check(run, request, answer)
        return answer

    def check(self, run: Run, request: QueryRequest, answer: Payloads) -> None:
        """Refuse an answer that is too large, once the codecs have written it.

        Raises:
            Refusal: It is.
        """
        if (size := oversize(answer)) is not None:
            where = f"query {request.name} of workflow {run.workflow_id}"
            raise Refusal(QueryError, f"{where} failed: Blob data size exceeds limit: {size} bytes of at most {LIMIT}.")

    def _whole(self, run: Run, events: Sequence[Event]) -> Sequence[Event]:
        """The whole history: of a run that has lost its coroutines amid a task, what they were told is on disk."""
        if events and events[0].event_id == 1:
            return events
        return [*self._shell.records.history(run.key), *run.new_events]

    def refusal(self, run: Run, request: QueryRequest, error: Exception) -> Refusal:
        """What to tell the caller of a query that failed."""
        if isinstance(error, Refusal):
            return error
        where = f"workflow {run.workflow_id} (run {run.run_id})"
        why = f"the worker cannot replay {where}" if isinstance(error, WorkflowTaskError) else f"{where} did not answer"
        return Refusal(QueryError, f"query {request.name}: {why}: {error}")

    def let_go(self, run: Run) -> None:
        """A query is over: the coroutines of a run that stays with nobody here end."""
        if run.holder is None or run.task_failure is not None:
            self._shell.runs.drop(run)

    def undo(self, tick: Tick, error: Exception) -> None:
        """A tick has failed: whoever asked is told."""
        for query in (*tick.queries, *(query for query, _ in tick.coded_queries)):
            if query.caller is not None and not isinstance(query.caller, tuple) and not query.caller.done():
                query.caller.set_exception(error)
