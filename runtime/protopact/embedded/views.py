"""What is told of a run without running it."""

from __future__ import annotations

from collections.abc import Sequence

from protopact.embedded.records import ActivityRow, RunRow, decode_failure, decode_payload_map
from protopact.embedded.run import STATUSES
from protopact.engine import PendingActivity, WorkflowDescription
from protopact.history.time import Timestamp, to_datetime
from protopact.origin import Origin, without_origin
from protopact.payload import CodecChain
from protopact.payload.attributes import memo_from_payloads, search_attributes_from_payloads

__all__ = ["describe"]


async def describe(
    row: RunRow, activities: Sequence[ActivityRow], *, now: Timestamp, codecs: CodecChain
) -> WorkflowDescription:
    """Describe a run.

    Args:
        row: The run.
        activities: Its open activities.
        now: The time by which an attempt is still to come.
        codecs: Codecs of payloads.
    """
    memo = memo_from_payloads(await codecs.decode_headers(decode_payload_map(row.memo)))
    return WorkflowDescription(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        first_run_id=row.first_run_id,
        workflow_type=row.workflow_type,
        task_queue=row.task_queue,
        status=STATUSES[row.status],
        start_time=to_datetime(Timestamp(row.start_time)),
        close_time=None if row.close_time is None else to_datetime(Timestamp(row.close_time)),
        history_length=row.last_event_id,
        memo=without_origin(memo),
        origin=Origin.of(memo),
        search_attributes=search_attributes_from_payloads(decode_payload_map(row.search_attributes)),
        task_failure=row.task_failure,
        pending_activities=tuple([await _pending(activity, now, codecs) for activity in activities]),
    )


async def _pending(row: ActivityRow, now: Timestamp, codecs: CodecChain) -> PendingActivity:
    failure = decode_failure(row.last_failure)
    if failure is not None:
        failure = await codecs.decode_failure(failure)
    waits = row.holder is None and row.due_at > now
    return PendingActivity(
        activity_id=row.activity_id,
        activity_type=row.activity_type,
        attempt=row.attempt,
        started=row.holder is not None,
        last_failure=None if failure is None else failure.message,
        next_attempt_at=to_datetime(Timestamp(row.due_at)) if waits else None,
    )
