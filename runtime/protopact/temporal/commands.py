"""What a contract and a call say, as the arguments of `temporalio.workflow`'s functions.

What no call overrides is computed once for each element of a contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import temporalio.common
from temporalio import workflow
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.common import RawValue

from protopact import contract
from protopact.origin import origin_to_memo, without_origin
from protopact.policy import (
    ActivityOptions,
    ChildWorkflowCancellationType,
    ChildWorkflowOptions,
    ContinueAsNewOptions,
    LocalActivityOptions,
)
from protopact.temporal.conversion import Expected
from protopact.temporal.payloads import memo_to_raw_values
from protopact.temporal.start import priority, retry_policy, search_attributes

__all__ = [
    "Arguments",
    "activity_arguments",
    "child_arguments",
    "continue_as_new_arguments",
    "local_activity_arguments",
]

Arguments = Mapping[str, Any]
"""Keyword arguments of as many types as the functions have options."""


def activity_arguments(activity: contract.Activity[Any, Any], options: ActivityOptions) -> Arguments:
    """Arguments of `start_activity`."""
    declared = _declared_activity(activity)
    return {**declared, **_overridden(options, workflow.ActivityCancellationType)} if options else declared


def local_activity_arguments(activity: contract.Activity[Any, Any], options: LocalActivityOptions) -> Arguments:
    """Arguments of `start_local_activity`."""
    declared = _declared_local_activity(activity)
    return {**declared, **_overridden(options, workflow.ActivityCancellationType)} if options else declared


def child_arguments(element: contract.Workflow[Any, Any], options: ChildWorkflowOptions) -> Arguments:
    """Arguments of `start_child_workflow`, save for the id."""
    declared = _declared_child(element)
    if not options:
        return declared
    arguments = {**declared, **_overridden(options, workflow.ChildWorkflowCancellationType)}
    if "search_attributes" in options:
        arguments["search_attributes"] = search_attributes(options["search_attributes"], element.search_attributes)
    if "memo" in options:
        arguments["memo"] = memo_to_raw_values({**options["memo"], **origin_to_memo(element)}) or None
    if "parent_close_policy" in options:
        arguments["parent_close_policy"] = workflow.ParentClosePolicy[options["parent_close_policy"].name]
    if "id_reuse_policy" in options:
        arguments["id_reuse_policy"] = temporalio.common.WorkflowIDReusePolicy[options["id_reuse_policy"].name]
    return arguments


def continue_as_new_arguments(
    element: contract.Workflow[Any, Any],
    options: ContinueAsNewOptions,
    memo: Mapping[str, PayloadProto],
    *,
    is_other: bool,
) -> Arguments:
    """Arguments of `continue_as_new`.

    Args:
        element: The workflow that the run goes on as.
        options: What the call says.
        memo: The memo that the run was started with, which goes along unless the call says another.
        is_other: Whether that is another workflow than the run's, so that its contract says what the call does not.
    """
    declared: dict[str, Any] = {}
    if is_other:
        declared = {
            "task_queue": element.task_queue,
            "run_timeout": element.run_timeout,
            "task_timeout": element.task_timeout,
            "retry_policy": None if element.retry_policy is None else retry_policy(element.retry_policy),
        }
    arguments = {**declared, **_overridden(options, None), "workflow": element.name}
    kept = {} if options.get("memo") else {name: RawValue(value) for name, value in without_origin(memo).items()}
    arguments["memo"] = {
        **kept,
        **memo_to_raw_values({**options.get("memo", {}), **origin_to_memo(element)}),
    } or None
    if "search_attributes" in options:
        arguments["search_attributes"] = search_attributes(options["search_attributes"], element.search_attributes)
    return arguments


@cache
def _declared_activity(activity: contract.Activity[Any, Any]) -> Arguments:
    return {
        **_declared_local_activity(activity),
        "task_queue": activity.task_queue,
        "heartbeat_timeout": activity.heartbeat_timeout,
        "priority": priority(activity.priority),
    }


@cache
def _declared_local_activity(activity: contract.Activity[Any, Any]) -> Arguments:
    return {
        "result_type": Expected(activity.response, activity.name),
        "schedule_to_close_timeout": activity.schedule_to_close_timeout,
        "schedule_to_start_timeout": activity.schedule_to_start_timeout,
        "start_to_close_timeout": activity.start_to_close_timeout,
        "retry_policy": retry_policy(activity.retry_policy),
        "cancellation_type": workflow.ActivityCancellationType[activity.cancellation_type.name],
    }


@cache
def _declared_child(element: contract.Workflow[Any, Any]) -> Arguments:
    cancellation_type = ChildWorkflowCancellationType.TRY_CANCEL
    if element.wait_for_cancellation:
        cancellation_type = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    return {
        "result_type": Expected(element.response, element.name),
        "task_queue": element.task_queue,
        "cancellation_type": workflow.ChildWorkflowCancellationType[cancellation_type.name],
        "parent_close_policy": workflow.ParentClosePolicy[element.parent_close_policy.name],
        "id_reuse_policy": temporalio.common.WorkflowIDReusePolicy[element.id_reuse_policy.name],
        "execution_timeout": element.execution_timeout,
        "run_timeout": element.run_timeout,
        "task_timeout": element.task_timeout,
        "retry_policy": None if element.retry_policy is None else retry_policy(element.retry_policy),
        "priority": priority(element.priority),
        "memo": memo_to_raw_values(origin_to_memo(element)) or None,
    }


def _overridden(options: Mapping[str, Any], cancellation_types: Any) -> dict[str, Any]:  # noqa: ANN401 - an enum, or none
    arguments = {name: value for name, value in options.items() if name != "id"}
    if arguments.get("retry_policy") is not None:
        arguments["retry_policy"] = retry_policy(arguments["retry_policy"])
    if "cancellation_type" in arguments:
        arguments["cancellation_type"] = cancellation_types[arguments["cancellation_type"].name]
    if "priority" in arguments:
        arguments["priority"] = priority(arguments["priority"])
    return arguments
