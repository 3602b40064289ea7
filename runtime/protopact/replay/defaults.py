"""What the Temporal server writes into events by itself: defaults, and upper limits of time-outs."""

from __future__ import annotations

import msgspec

from protopact.history import event as ev
from protopact.history.policy import RetryPolicy
from protopact.history.time import Duration
from protopact.replay import command as cmd

__all__ = ["fill_activity", "fill_child", "fill_next_run", "fill_start", "filled_policy"]

_SECOND = 1_000_000_000
_DEFAULT_TASK_TIMEOUT = Duration(10 * _SECOND)
_MAXIMUM_TASK_TIMEOUT = Duration(120 * _SECOND)


def fill_start(started: ev.WorkflowExecutionStarted) -> ev.WorkflowExecutionStarted:
    """The first event of a run that a client starts, with its time-outs within each other."""
    run = _within(started.workflow_run_timeout, started.workflow_execution_timeout)
    return msgspec.structs.replace(
        started, workflow_run_timeout=run, workflow_task_timeout=_task_timeout(started.workflow_task_timeout, run)
    )


def fill_activity(command: cmd.ScheduleActivityTask, started: ev.WorkflowExecutionStarted) -> cmd.ScheduleActivityTask:
    """An activity, with time-outs within each other and within the run."""
    run = started.workflow_run_timeout
    close, start, work = (
        command.schedule_to_close_timeout,
        command.schedule_to_start_timeout,
        command.start_to_close_timeout,
    )
    if close:
        start = min(start, close) if start else close
        work = min(work, close) if work else close
    else:
        close = run
        start = start or run
    if run:
        close, start, work = min(close, run), min(start, run), min(work, run)
    beat = min(command.heartbeat_timeout, work) if work else command.heartbeat_timeout
    return msgspec.structs.replace(
        command,
        schedule_to_close_timeout=close,
        schedule_to_start_timeout=start,
        start_to_close_timeout=work,
        heartbeat_timeout=beat,
        retry_policy=filled_policy(command.retry_policy),
    )


def fill_child(
    command: cmd.StartChildWorkflowExecution, started: ev.WorkflowExecutionStarted
) -> cmd.StartChildWorkflowExecution:
    """A child, with its time-outs within each other and what it leaves to its parent."""
    run = _within(command.workflow_run_timeout, command.workflow_execution_timeout)
    return msgspec.structs.replace(
        command,
        task_queue=command.task_queue or started.task_queue,
        workflow_run_timeout=run,
        workflow_task_timeout=_task_timeout(command.workflow_task_timeout, run),
        parent_close_policy=command.parent_close_policy or "TERMINATE",
        workflow_id_reuse_policy=command.workflow_id_reuse_policy or "ALLOW_DUPLICATE",
    )


def fill_next_run(
    command: cmd.ContinueAsNewWorkflowExecution, started: ev.WorkflowExecutionStarted
) -> cmd.ContinueAsNewWorkflowExecution:
    """The next run, with what it takes over from this one."""
    run = command.workflow_run_timeout or started.workflow_run_timeout
    if started.workflow_execution_timeout and run:
        run = min(run, started.workflow_execution_timeout)
    return msgspec.structs.replace(
        command,
        workflow_type=command.workflow_type or started.workflow_type,
        task_queue=command.task_queue or started.task_queue,
        workflow_run_timeout=run,
        workflow_task_timeout=_task_timeout(command.workflow_task_timeout or started.workflow_task_timeout, run),
    )


def _within(run: Duration, execution: Duration) -> Duration:
    """The time-out of a run, which 0 leaves to the one of its chain."""
    return min(run or execution, execution or run)


def _task_timeout(value: Duration, run: Duration) -> Duration:
    value = min(value or _DEFAULT_TASK_TIMEOUT, _MAXIMUM_TASK_TIMEOUT)
    return min(value, run) if run else value


def filled_policy(policy: RetryPolicy | None) -> RetryPolicy:
    """A policy with the server's defaults."""
    policy = policy or RetryPolicy()
    initial = policy.initial_interval or Duration(_SECOND)
    return RetryPolicy(
        initial_interval=initial,
        backoff_coefficient=policy.backoff_coefficient or 2.0,
        maximum_interval=policy.maximum_interval or Duration(initial * 100),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=tuple(policy.non_retryable_error_types),
    )
