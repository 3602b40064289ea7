"""Who gets a workflow id: the rules of id reuse and id conflict, as a pure function."""

from __future__ import annotations

from enum import Enum

from protopact.engine import WorkflowStatus
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy

__all__ = ["Verdict", "decide"]


class Verdict(Enum):
    """What a start does."""

    START = "start"
    USE_EXISTING = "use existing"
    TERMINATE_AND_START = "terminate and start"
    REFUSE = "refuse"


_UNSUCCESSFUL = frozenset(
    {WorkflowStatus.FAILED, WorkflowStatus.CANCELED, WorkflowStatus.TERMINATED, WorkflowStatus.TIMED_OUT}
)


def decide(
    status: WorkflowStatus | None,
    *,
    same_type: bool,
    reuse: WorkflowIdReusePolicy,
    conflict: WorkflowIdConflictPolicy,
    signals: bool = False,
) -> Verdict:
    """Decide a start.

    Args:
        status: State of the latest run that has the id; None when the id was never used.
        same_type: Whether that run is of the workflow that is to be started.
        reuse: What holds when that run is closed.
        conflict: What holds when it is open.
        signals: Whether a signal goes with the start: an open run, which is what it looks for, refuses nothing then.
    """
    if status is None:
        return Verdict.START
    if status is not WorkflowStatus.RUNNING:
        free = reuse is WorkflowIdReusePolicy.ALLOW_DUPLICATE or (
            reuse is WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY and status in _UNSUCCESSFUL
        )
        return Verdict.START if free else Verdict.REFUSE
    refusal = Verdict.USE_EXISTING if signals else Verdict.REFUSE
    match conflict:
        case WorkflowIdConflictPolicy.FAIL:
            return refusal
        case WorkflowIdConflictPolicy.USE_EXISTING:
            return Verdict.USE_EXISTING
        case WorkflowIdConflictPolicy.TERMINATE_EXISTING:
            return Verdict.TERMINATE_AND_START
        case WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE:
            return refusal if same_type else Verdict.TERMINATE_AND_START
