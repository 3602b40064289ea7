"""Chains of runs: a run goes on in the place of one that continued as new, or that its retry policy tries again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from protopact.embedded.retry import next_attempt
from protopact.embedded.run import Run
from protopact.embedded.tick import Tick
from protopact.errors import RetryState
from protopact.history.event import (
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
)
from protopact.history.failure import Failure
from protopact.history.time import Duration
from protopact.replay.command import ContinueAsNewWorkflowExecution
from protopact.replay.defaults import fill_next_run

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Chains"]


class Chains:
    """The shell's desk for runs that follow runs. The next run begins in the transaction that closes the last one."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def continue_as_new(
        self, tick: Tick, run: Run, command: ContinueAsNewWorkflowExecution, completed_event_id: int
    ) -> None:
        """Close a run as its code asks, and begin the one that it goes on as."""
        run_id, command = self._shell.ids.run_id(tick.now), fill_next_run(command, run.started)
        started = msgspec.structs.replace(
            _successor(run, run_id),
            workflow_type=command.workflow_type,
            task_queue=command.task_queue,
            input=command.input,
            workflow_run_timeout=command.workflow_run_timeout,
            workflow_task_timeout=command.workflow_task_timeout,
            initiator="WORKFLOW",
            retry_policy=command.retry_policy,
            attempt=1,
            first_workflow_task_backoff=command.backoff_start_interval,
            memo=command.memo,
            search_attributes=command.search_attributes,
            header=command.header,
        )
        self._shell.close_run(
            tick,
            run,
            WorkflowExecutionContinuedAsNew(
                new_execution_run_id=run_id,
                workflow_type=command.workflow_type,
                task_queue=command.task_queue,
                input=command.input,
                workflow_run_timeout=command.workflow_run_timeout,
                workflow_task_timeout=command.workflow_task_timeout,
                workflow_task_completed_event_id=completed_event_id,
                backoff_start_interval=command.backoff_start_interval,
                initiator="WORKFLOW",
                header=command.header,
                memo=command.memo,
                search_attributes=command.search_attributes,
            ),
        )
        self._begin(tick, run, started)

    def time_out(self, tick: Tick, run: Run, failure: Failure) -> None:
        """A run has passed its run or execution time-out."""
        self.close_or_retry(tick, run, failure, WorkflowExecutionTimedOut)

    def close_or_retry(
        self,
        tick: Tick,
        run: Run,
        failure: Failure,
        close: Callable[..., WorkflowExecutionFailed | WorkflowExecutionTimedOut],
    ) -> None:
        """Close a run; when its retry policy says so, another run goes on in its place."""
        decided = next_attempt(
            run.started.retry_policy,
            failure,
            attempt=run.started.attempt,
            now=tick.now,
            expiration=run.started.workflow_execution_expiration_time,
        )
        if isinstance(decided, RetryState):
            self._shell.close_run(tick, run, close(retry_state=decided.name))
            return
        run_id = self._shell.ids.run_id(tick.now)
        self._shell.close_run(tick, run, close(retry_state=RetryState.IN_PROGRESS.name, new_execution_run_id=run_id))
        started = msgspec.structs.replace(
            _successor(run, run_id),
            initiator="RETRY",
            continued_failure=failure,
            attempt=run.started.attempt + 1,
            first_workflow_task_backoff=decided,
        )
        self._begin(tick, run, started)

    def _begin(self, tick: Tick, run: Run, started: WorkflowExecutionStarted) -> None:
        self._shell.create_run(tick, started, request_id=run.start_request_id)
        self._shell.delivery.pass_on_updates(tick, run)


def _successor(run: Run, run_id: str) -> WorkflowExecutionStarted:
    """What the next run of a chain has of the one before: its parent, its identity, the limit of the whole chain."""
    return msgspec.structs.replace(
        run.started,
        continued_execution_run_id=run.run_id,
        continued_failure=None,
        original_execution_run_id=run_id,
        first_execution_run_id=run.first_run_id,
        first_workflow_task_backoff=Duration(0),
    )
