"""What the server tells of a run without running it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus

from protopact.contract import CHANGE_VERSION
from protopact.engine import PendingActivity, WorkflowDescription, WorkflowStatus
from protopact.origin import Origin, without_origin
from protopact.payload import CodecChain
from protopact.payload.attributes import memo_from_payloads, search_attributes_from_payloads
from protopact.temporal.failures import failure_from_proto
from protopact.temporal.payloads import headers_from_protos

__all__ = ["condition", "describe", "status_of"]

# What the server keeps escaped when it reads a text of a query: no run is found by it.
_UNSAYABLE = re.compile(r'["\\\x00-\x1f]')

_STATUSES = {
    WorkflowExecutionStatus.RUNNING: WorkflowStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED: WorkflowStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: WorkflowStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: WorkflowStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED: WorkflowStatus.TERMINATED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: WorkflowStatus.CONTINUED_AS_NEW,
    WorkflowExecutionStatus.TIMED_OUT: WorkflowStatus.TIMED_OUT,
}


def status_of(run: WorkflowExecution) -> WorkflowStatus:
    """The state of a run; one that we have no word for, such as a paused run's, is that of an open run."""
    return WorkflowStatus.RUNNING if run.status is None else _STATUSES.get(run.status, WorkflowStatus.RUNNING)


async def describe(
    run: WorkflowExecution, codecs: CodecChain, *, task_failure: str | None = None
) -> WorkflowDescription:
    """Describe a run.

    Args:
        run: What the server told, of one run or in a list.
        codecs: Codecs of payloads.
        task_failure: Why its last workflow task failed.
    """
    info = run.raw_info
    memo = memo_from_payloads(await codecs.decode_headers(headers_from_protos(info.memo.fields)))
    pending = run.raw_description.pending_activities if isinstance(run, WorkflowExecutionDescription) else ()
    return WorkflowDescription(
        workflow_id=run.id,
        run_id=run.run_id,
        first_run_id=info.first_run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=status_of(run),
        start_time=run.start_time,
        close_time=run.close_time,
        history_length=run.history_length,
        memo=without_origin(memo),
        origin=Origin.of(memo),
        search_attributes=search_attributes_from_payloads(
            {
                name: payload
                for name, payload in headers_from_protos(info.search_attributes.indexed_fields).items()
                if not _is_of_server(name)
            }
        ),
        task_failure=task_failure,
        pending_activities=tuple([await _pending(activity, codecs) for activity in pending]),
    )


def condition(name: str, text: str) -> str:
    """A condition of a list: that a run's attribute is a text.

    Args:
        name: Of the attribute.
        text: Its value.

    Returns:
        A term of the server's query. What it admits are the runs that are meant, or, where a query cannot say the text,
        others too; it is empty where it can say none of it.
    """
    sayable = _UNSAYABLE.split(text, maxsplit=1)[0]
    quoted = "'" + sayable.replace("'", "\\'") + "'"
    if sayable == text:
        return f"{name} = {quoted}"
    return f"{name} STARTS_WITH {quoted}" if sayable else ""


def _is_of_server(name: str) -> bool:
    """Whether the server itself sets a search attribute, of workers' versions and problems."""
    return name == "BuildIds" or (name.startswith("Temporal") and name != CHANGE_VERSION)


async def _pending(info: PendingActivityInfo, codecs: CodecChain) -> PendingActivity:
    failure = None
    if info.HasField("last_failure"):
        failure = await codecs.decode_failure(failure_from_proto(info.last_failure))
    started = info.state in {
        PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
        PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
        PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
    }
    due = info.next_attempt_schedule_time.ToDatetime(UTC) if info.HasField("next_attempt_schedule_time") else None
    if due is None and info.HasField("scheduled_time"):
        due = info.scheduled_time.ToDatetime(UTC)
    waits = not started and due is not None and due > datetime.now(UTC)
    return PendingActivity(
        activity_id=info.activity_id,
        activity_type=info.activity_type.name,
        attempt=info.attempt,
        started=started,
        last_failure=None if failure is None else failure.message,
        next_attempt_at=due if waits else None,
    )
