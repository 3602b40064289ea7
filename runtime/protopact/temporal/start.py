"""The options of a start as the SDK's client takes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypedDict

from temporalio import common
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from protopact import contract
from protopact.errors import OptionError
from protopact.limits import LONGEST
from protopact.origin import origin_to_memo
from protopact.payload.attributes import type_of
from protopact.policy import (
    Priority,
    RetryPolicy,
    SearchAttributeType,
    SearchAttributeValue,
    StartOptions,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from protopact.temporal.payloads import memo_to_raw_values

__all__ = ["Start", "conflict_policy", "priority", "retry_policy", "reuse_policy", "search_attributes", "start"]

_REUSE = {
    WorkflowIdReusePolicy.ALLOW_DUPLICATE: WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY: WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    WorkflowIdReusePolicy.REJECT_DUPLICATE: WorkflowIDReusePolicy.REJECT_DUPLICATE,
}
_CONFLICT = {
    WorkflowIdConflictPolicy.FAIL: WorkflowIDConflictPolicy.FAIL,
    WorkflowIdConflictPolicy.USE_EXISTING: WorkflowIDConflictPolicy.USE_EXISTING,
    WorkflowIdConflictPolicy.TERMINATE_EXISTING: WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    # The server does not know it: the engine makes room itself, and then asks for an id that is free.
    WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE: WorkflowIDConflictPolicy.FAIL,
}


class Start(TypedDict):
    """What the SDK's client takes of a start, however it is sent."""

    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: common.RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | None
    start_delay: timedelta | None
    priority: common.Priority


def start(workflow: contract.Workflow[Any, Any], workflow_id: str, options: StartOptions) -> Start:
    """The options of a start: what the call says, or else the contract.

    Raises:
        OptionError: There is no task queue.
    """
    task_queue = options.get("task_queue", workflow.task_queue)
    if not task_queue:
        raise OptionError(f"start of {workflow.name}: the contract names no task queue; give task_queue=")
    policy = options.get("retry_policy", workflow.retry_policy)
    memo = {**options.get("memo", {}), **origin_to_memo(workflow)}
    attributes = options.get("search_attributes", {})
    return Start(
        id=workflow_id,
        task_queue=task_queue,
        execution_timeout=options.get("execution_timeout", workflow.execution_timeout),
        run_timeout=options.get("run_timeout", workflow.run_timeout),
        task_timeout=options.get("task_timeout", workflow.task_timeout),
        id_reuse_policy=reuse_policy(options.get("id_reuse_policy", workflow.id_reuse_policy)),
        id_conflict_policy=conflict_policy(options.get("id_conflict_policy", workflow.id_conflict_policy)),
        retry_policy=None if policy is None else retry_policy(policy),
        memo=memo_to_raw_values(memo) or None,
        search_attributes=search_attributes(attributes, workflow.search_attributes) if attributes else None,
        start_delay=options.get("start_delay"),
        priority=priority(options.get("priority", workflow.priority)),
    )


def reuse_policy(policy: WorkflowIdReusePolicy) -> WorkflowIDReusePolicy:
    """The SDK's policy for the ids of closed runs."""
    return _REUSE[policy]


def conflict_policy(policy: WorkflowIdConflictPolicy) -> WorkflowIDConflictPolicy:
    """The SDK's policy for the ids of open runs."""
    return _CONFLICT[policy]


def retry_policy(policy: RetryPolicy) -> common.RetryPolicy:
    """A retry policy; a longest interval that it does not say is the server's, a hundred times the first."""
    return common.RetryPolicy(
        initial_interval=policy.initial_interval,
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=policy.maximum_interval or min(policy.initial_interval * 100, LONGEST),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=list(policy.non_retryable_error_types) or None,
    )


def priority(value: Priority) -> common.Priority:
    """The SDK's priority."""
    return common.Priority(
        priority_key=value.priority_key, fairness_key=value.fairness_key, fairness_weight=value.fairness_weight
    )


def search_attributes(
    values: Mapping[str, SearchAttributeValue], declared: tuple[contract.SearchAttribute, ...]
) -> TypedSearchAttributes:
    """Search attributes of the types that the contract declares, otherwise of those of the values."""
    types = {attribute.name: attribute.type for attribute in declared}
    return TypedSearchAttributes([_pair(name, value, types.get(name)) for name, value in values.items()])


# The key's type and the value's follow from each other, which no type checker sees.
def _pair(name: str, value: Any, kind: SearchAttributeType | None) -> SearchAttributePair[Any]:  # noqa: ANN401, PLR0911
    match kind or type_of(value):
        case SearchAttributeType.BOOL:
            return SearchAttributePair(SearchAttributeKey.for_bool(name), value)
        case SearchAttributeType.INT:
            return SearchAttributePair(SearchAttributeKey.for_int(name), value)
        case SearchAttributeType.DOUBLE:
            return SearchAttributePair(SearchAttributeKey.for_float(name), float(value))
        case SearchAttributeType.DATETIME:
            return SearchAttributePair(SearchAttributeKey.for_datetime(name), value)
        case SearchAttributeType.TEXT:
            return SearchAttributePair(SearchAttributeKey.for_text(name), value)
        case SearchAttributeType.KEYWORD_LIST:
            return SearchAttributePair(SearchAttributeKey.for_keyword_list(name), list(value))
        case SearchAttributeType.KEYWORD:
            return SearchAttributePair(SearchAttributeKey.for_keyword(name), value)
