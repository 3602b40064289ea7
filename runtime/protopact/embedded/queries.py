"""Queries: answered from the run in memory, or from a replay that changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protopact.embedded.run import Run
from protopact.embedded.tick import Caller, Refusal, Tick
from protopact.errors import QueryError, WorkflowTaskError
from protopact.history.failure import Failure
from protopact.replay.execution import QueryRequest

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

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
        """Answer the tick's queries."""
        for query in tick.queries:
            try:
                tick.answer(query.caller, self._ask(query))
            except (QueryError, Refusal) as error:
                tick.refuse(query.caller, error)

    def _ask(self, query: PendingQuery) -> object:
        run, request = query.run, query.request
        worker = self._shell.workflow_worker(run.workflow_type, run.task_queue)
        if worker is None:
            raise QueryError(f"query {request.name}: no worker here serves {run.workflow_type} any more")
        try:
            if run.execution is None:
                # The coroutines are told everything at once; what no task has brought to them yet, they keep.
                self._shell.tasks.execution(run, worker).advance(run.unfed)
                run.unfed = []
            assert run.execution is not None
            answer = run.execution.query(request)
        except WorkflowTaskError as error:
            raise QueryError(
                f"query {request.name}: the worker cannot replay workflow {run.workflow_id} (run {run.run_id}): {error}"
            ) from error
        finally:
            if run.holder is None or run.task_failure is not None:
                self._shell.runs.drop(run)
        if isinstance(answer, Failure):
            raise Refusal(
                QueryError, f"query {request.name} of workflow {run.workflow_id} failed: {answer.message}", answer
            )
        return answer

    def undo(self, tick: Tick, error: Exception) -> None:
        """A tick has failed: whoever asked is told."""
        for query in tick.queries:
            if query.caller is not None and not isinstance(query.caller, tuple) and not query.caller.done():
                query.caller.set_exception(error)
