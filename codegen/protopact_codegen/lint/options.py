"""Rules on the other options of workflows and activities: task queues, ids and their policies, priorities."""

from __future__ import annotations

import math
from collections.abc import Iterator

from protopact_codegen.contract import Activity, Contract, Priority, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic, quote
from protopact_codegen.lint.finding import Rule, elements, finding
from protopact_codegen.template import Uuid

__all__ = ["RULES"]

_FAIRNESS_KEY_BYTES = 64
_HINT = 'make `id` of fields of the request, for example "order/{order_id}"'


def _task_queues(contract: Contract) -> Iterator[Diagnostic]:
    """An activity without a queue runs on its workflow's; a workflow must have one."""
    for workflow in elements(contract):
        if isinstance(workflow, Workflow) and workflow.task_queue is None:
            what = f"has no task queue: neither {workflow.place.spell('task_queue')} nor its service's is set"
            hint = 'write `option (protopact.v1.service) = {task_queue: "..."};` in the service'
            yield finding(Code.NO_TASK_QUEUE, workflow, what, hint)


def _ids(contract: Contract) -> Iterator[Diagnostic]:
    for workflow in elements(contract):
        if not isinstance(workflow, Workflow):
            continue
        lack = _no_lasting_id(workflow)
        if not lack:
            continue
        policies = (
            ("id_reuse_policy", workflow.id_reuse_policy),
            ("workflow_id_conflict_policy", workflow.id_conflict_policy),
        )
        for field, policy in policies:
            if policy is not None:
                what = f"is set, but {lack}"
                hint = f"{_HINT}, or remove the policy"
                yield finding(Code.POLICY_WITHOUT_ID, workflow, what, hint, field)
        starts = [("signal", ref.index) for ref in workflow.signals if ref.start]
        starts += [("update", ref.index) for ref in workflow.updates if ref.start]
        for kind, index in starts:
            what = f"is true, but {lack}: it would never reach a running workflow"
            hint = f"{_HINT}, or remove `start`"
            yield finding(Code.START_WITHOUT_ID, workflow, what, hint, kind, index, "start")


def _no_lasting_id(workflow: Workflow) -> str:
    """Say why two starts never meet under one id; empty when they may."""
    if workflow.id is None:
        return "the workflow has no `id` template, so that every start has an id of its own"
    if any(isinstance(part, Uuid) for part in workflow.id.parts):
        return f"`id` is {quote(workflow.id.source)}, so that every start has an id of its own"
    return ""


def _priorities(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        if isinstance(element, Workflow | Activity) and element.priority is not None:
            for field, what, hint in _impossible(element.priority):
                yield finding(Code.PRIORITY, element, what, hint, "priority", field)


def _impossible(priority: Priority) -> Iterator[tuple[str, str, str]]:
    if priority.priority_key is not None and priority.priority_key < 0:
        yield "priority_key", f"is {priority.priority_key}; expected 1 or more", "write 1 for what is served first"
    weight = priority.fairness_weight
    if weight is not None and not (weight > 0 and math.isfinite(weight)):
        yield "fairness_weight", f"is {weight:g}; expected more than zero", "write a weight; 1 is the default"
    if priority.fairness_key is not None and len(priority.fairness_key.encode()) > _FAIRNESS_KEY_BYTES:
        size = len(priority.fairness_key.encode())
        yield "fairness_key", f"has {size} bytes; expected at most {_FAIRNESS_KEY_BYTES}", "write a shorter key"


RULES: tuple[Rule, ...] = (_task_queues, _ids, _priorities)
