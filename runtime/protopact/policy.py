"""Policies and option sets, under Temporal's names: what a contract declares and a call may override."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from types import NoneType
from typing import TypeAlias, TypedDict

from protopact.errors import OptionError
from protopact.limits import LONGEST, LONGEST_FAIRNESS_KEY, MOST_IN_32_BITS

__all__ = [
    "ActivityCancellationType",
    "ActivityOptions",
    "ChildWorkflowCancellationType",
    "ChildWorkflowOptions",
    "ContinueAsNewOptions",
    "LocalActivityOptions",
    "ParentClosePolicy",
    "Priority",
    "RetryPolicy",
    "SearchAttributeType",
    "SearchAttributeValue",
    "StartOptions",
    "UpdateOptions",
    "UpdateWithStartOptions",
    "VersioningBehavior",
    "WaitForStage",
    "WorkflowIdConflictPolicy",
    "WorkflowIdReusePolicy",
]

SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
"""Value of a search attribute; its Python type follows from its `SearchAttributeType`."""


class WorkflowIdReusePolicy(Enum):
    """May the id of a closed run be used again?"""

    ALLOW_DUPLICATE = "allow-duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow-duplicate-failed-only"
    REJECT_DUPLICATE = "reject-duplicate"


class WorkflowIdConflictPolicy(Enum):
    """What a start does when a run with the same id is open.

    Where it would be refused, a start with a signal signals the open run instead, which is what it looks for.
    `TERMINATE_EXISTING_OF_OTHER_TYPE` terminates the open run of another workflow, and is `FAIL` for one of the same.
    """

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    TERMINATE_EXISTING = "terminate-existing"
    TERMINATE_EXISTING_OF_OTHER_TYPE = "terminate-existing-of-other-type"


class ParentClosePolicy(Enum):
    """What happens to a child workflow when its parent closes."""

    TERMINATE = "terminate"
    ABANDON = "abandon"
    REQUEST_CANCEL = "request-cancel"


class VersioningBehavior(Enum):
    """How runs move between worker versions."""

    PINNED = "pinned"
    AUTO_UPGRADE = "auto-upgrade"


class WaitForStage(Enum):
    """How far the caller of an update waits."""

    ACCEPTED = "accepted"
    COMPLETED = "completed"


class ActivityCancellationType(Enum):
    """What cancelling an activity from its workflow does."""

    TRY_CANCEL = "try-cancel"
    WAIT_CANCELLATION_COMPLETED = "wait-cancellation-completed"
    ABANDON = "abandon"


class ChildWorkflowCancellationType(Enum):
    """What cancelling a child workflow from its parent does.

    Temporal Core, and so every engine here, treats `WAIT_CANCELLATION_REQUESTED` as `WAIT_CANCELLATION_COMPLETED`.
    """

    TRY_CANCEL = "try-cancel"
    WAIT_CANCELLATION_COMPLETED = "wait-cancellation-completed"
    ABANDON = "abandon"
    WAIT_CANCELLATION_REQUESTED = "wait-cancellation-requested"


class SearchAttributeType(Enum):
    """Type of a search attribute, as registered in the namespace."""

    KEYWORD = "Keyword"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    KEYWORD_LIST = "KeywordList"


def _check_type(name: str, value: object, *types: type) -> None:
    # What is a float here is a float in a history, where only an integer can be read. A bool is an int to Python alone.
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join("None" if each is NoneType else each.__name__ for each in types)
        raise OptionError(f"{name} must be of type {expected}, not {type(value).__name__}: {value!a}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed attempt is made again.

    Attributes:
        initial_interval: Wait before the first retry.
        backoff_coefficient: Factor between one wait and the next, at least 1.
        maximum_interval: Longest wait; a hundred times `initial_interval` when None.
        maximum_attempts: Number of attempts, the first included; 0 means no limit.
        non_retryable_error_types: Failure types that are not retried.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be.

        Raises:
            OptionError: A field is out of range, or of another type; the message names it.
        """
        _check_type("RetryPolicy.initial_interval", self.initial_interval, timedelta)
        _check_type("RetryPolicy.backoff_coefficient", self.backoff_coefficient, float, int)
        _check_type("RetryPolicy.maximum_interval", self.maximum_interval, timedelta, NoneType)
        _check_type("RetryPolicy.maximum_attempts", self.maximum_attempts, int)
        _check_type("RetryPolicy.non_retryable_error_types", self.non_retryable_error_types, tuple, list)
        for each in self.non_retryable_error_types:
            _check_type("RetryPolicy.non_retryable_error_types", each, str)
        if self.initial_interval <= timedelta(0):
            raise OptionError(f"RetryPolicy.initial_interval must be positive, not {self.initial_interval}")
        if max(self.initial_interval, self.maximum_interval or self.initial_interval) > LONGEST:
            raise OptionError(
                f"RetryPolicy intervals must be at most {LONGEST.days} days (100 years), not {self.initial_interval} "
                f"and {self.maximum_interval}"
            )
        if not 1 <= self.backoff_coefficient < math.inf:
            raise OptionError(f"RetryPolicy.backoff_coefficient must be at least 1, not {self.backoff_coefficient}")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            raise OptionError(
                f"RetryPolicy.maximum_interval ({self.maximum_interval}) must not be below "
                f"initial_interval ({self.initial_interval})"
            )
        if not 0 <= self.maximum_attempts <= MOST_IN_32_BITS:
            raise OptionError(
                f"RetryPolicy.maximum_attempts must be at most {MOST_IN_32_BITS} and not negative, not "
                f"{self.maximum_attempts}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """Order among the tasks of a task queue, in Temporal's terms.

    What an activity or a child leaves open it has from the workflow that calls it.

    Attributes:
        priority_key: From 1, which is served first, to 5, which is last and stands for more; None is 3.
        fairness_key: Tasks of one key take turns with those of other keys of the same priority; at most 64 bytes.
        fairness_weight: Turns of `fairness_key`, for each one of a key of weight 1, which is None: from 0.001 to 1000.
    """

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None

    def __post_init__(self) -> None:
        """Refuse a priority that cannot be.

        Raises:
            OptionError: A field is out of range, or of another type; the message names it.
        """
        _check_type("Priority.priority_key", self.priority_key, int, NoneType)
        _check_type("Priority.fairness_key", self.fairness_key, str, NoneType)
        _check_type("Priority.fairness_weight", self.fairness_weight, float, int, NoneType)
        if self.priority_key is not None and not 1 <= self.priority_key <= MOST_IN_32_BITS:
            raise OptionError(f"Priority.priority_key must be 1 or more, not {self.priority_key}")
        if self.fairness_weight is not None and not 0 < self.fairness_weight < math.inf:
            raise OptionError(f"Priority.fairness_weight must be positive, not {self.fairness_weight}")
        if self.fairness_key is not None:
            size = len(self.fairness_key.encode(errors="surrogatepass"))
            if size > LONGEST_FAIRNESS_KEY:
                raise OptionError(f"Priority.fairness_key must have at most {LONGEST_FAIRNESS_KEY} bytes, not {size}")


class ActivityOptions(TypedDict, total=False):
    """What a call of an activity may override; each key on its own, the contract's value stands for the rest."""

    activity_id: str
    task_queue: str
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType
    priority: Priority


class LocalActivityOptions(TypedDict, total=False):
    """What a local call of an activity may override; each key on its own, the contract's value stands for the rest.

    `local_retry_threshold`, 60 seconds by default, is the longest wait before a retry during which the workflow task
    stays open; for a longer one the workflow sleeps on a durable timer.
    """

    activity_id: str
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy
    local_retry_threshold: timedelta
    cancellation_type: ActivityCancellationType


class StartOptions(TypedDict, total=False):
    """What a start of a workflow may override; each key on its own, the contract's value stands for the rest."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIdReusePolicy
    id_conflict_policy: WorkflowIdConflictPolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    start_delay: timedelta
    memo: Mapping[str, str]
    search_attributes: Mapping[str, SearchAttributeValue]
    priority: Priority
    request_id: str


class ContinueAsNewOptions(TypedDict, total=False):
    """What the next run has otherwise than the run that continues as new.

    Without a key it keeps what the run has, or takes what the contract says when it is another workflow.
    """

    task_queue: str
    run_timeout: timedelta
    task_timeout: timedelta
    backoff_start_interval: timedelta
    retry_policy: RetryPolicy
    memo: Mapping[str, str]
    search_attributes: Mapping[str, SearchAttributeValue]


class ChildWorkflowOptions(TypedDict, total=False):
    """What a start of a child workflow may override; each key on its own, the contract's value stands for the rest.

    Without an id in the call or a template in the contract, the child's id is a UUID that replay draws again. Without a
    task queue in the call or the contract, the child is on its parent's.
    """

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIdReusePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, str]
    search_attributes: Mapping[str, SearchAttributeValue]
    priority: Priority
    parent_close_policy: ParentClosePolicy
    cancellation_type: ChildWorkflowCancellationType


class UpdateOptions(TypedDict, total=False):
    """What a call of an update may override."""

    id: str
    wait_for_stage: WaitForStage


class UpdateWithStartOptions(StartOptions, total=False):
    """What an update that may start its workflow may override: the start's options, and the update's own."""

    update_id: str
    wait_for_stage: WaitForStage
