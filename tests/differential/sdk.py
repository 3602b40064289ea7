"""Both SDKs, as programs call them beyond what `tests.replay.stories` has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeAlias

from temporalio import workflow as temporal
from temporalio.common import RetryPolicy as TheirRetryPolicy
from temporalio.common import SearchAttributeKey
from temporalio.common import WorkflowIDReusePolicy as TheirReusePolicy
from tests.differential import program as p
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import OURS as OUR_STORIES
from tests.replay.stories import THEIRS as THEIR_STORIES
from tests.replay.stories import P, Sdk

from protopact import RetryPolicy, workflow
from protopact.policy import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ChildWorkflowOptions,
    ParentClosePolicy,
    WorkflowIdReusePolicy,
)

__all__ = ["OURS", "THEIRS", "WholeSdk", "job"]

_INTERVAL = timedelta(seconds=2)
_THRESHOLD = timedelta(seconds=3)
"""The second retry of a local activity waits on a timer."""
_PATIENCE = timedelta(seconds=1)
"""Each retry does."""
_NO_QUEUE = "nobody"
_LOST = timedelta(seconds=20)

Told: TypeAlias = Callable[[Nudge], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class WholeSdk(Sdk):
    """One SDK.

    `started` starts an activity and `local` a local one; `next_run` continues as new with the text of a program;
    `child` starts a child and gives what signals it and what awaits it.
    """

    started: Callable[[str, str, bool], Any]
    local: Callable[[str, str, bool], Any]
    child: Callable[[str, p.Child], Awaitable[tuple[Told, asyncio.Future[Outcome]]]]
    execute_child: Callable[[str, p.Child], Awaitable[Outcome]]
    tell_other: Callable[[str, Nudge], Awaitable[None]]
    cancel_other: Callable[[str], Awaitable[None]]
    side_effect: Callable[[], Awaitable[Reading]]
    patched: Callable[[str], bool]
    deprecate_patch: Callable[[str], None]
    upsert_memo: Callable[[dict[str, str | None]], None]
    upsert_count: Callable[[int | None], None]
    next_run: Callable[[Job], NoReturn]


def job(workflow_id: str, text: str) -> Job:
    """The request of a run that interprets `text`."""
    return Job(id=workflow_id, steps=[Step(text=text)])


def _started(name: str, cancellation_type: str, is_lost: bool) -> Any:  # noqa: ANN401, FBT001 - the handle of either SDK
    kind = ActivityCancellationType[cancellation_type]
    if is_lost:
        step = Step(name=name)
        return histories.work(step, cancellation_type=kind, task_queue=_NO_QUEUE, schedule_to_close_timeout=_LOST)
    return histories.work(Step(name=name), cancellation_type=kind)


def _they_started(name: str, cancellation_type: str, is_lost: bool) -> Any:  # noqa: ANN401, FBT001 - the handle of either SDK
    return temporal.start_activity(
        P + "Work",
        Step(name=name),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        task_queue=_NO_QUEUE if is_lost else None,
        schedule_to_close_timeout=_LOST if is_lost else None,
        cancellation_type=temporal.ActivityCancellationType[cancellation_type],
    )


def _local(name: str, cancellation_type: str, is_patient: bool) -> Any:  # noqa: ANN401, FBT001 - the handle of either SDK
    return histories.Local.work(
        Step(name=name),
        cancellation_type=ActivityCancellationType[cancellation_type],
        local_retry_threshold=_PATIENCE if is_patient else _THRESHOLD,
        retry_policy=RetryPolicy(initial_interval=_INTERVAL),
    )


def _their_local(name: str, cancellation_type: str, is_patient: bool) -> Any:  # noqa: ANN401, FBT001 - the handle of either SDK
    return temporal.start_local_activity(
        P + "Work",
        Step(name=name),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        cancellation_type=temporal.ActivityCancellationType[cancellation_type],
        local_retry_threshold=_PATIENCE if is_patient else _THRESHOLD,
        retry_policy=TheirRetryPolicy(initial_interval=_INTERVAL),
    )


def _options(child: p.Child) -> ChildWorkflowOptions:
    return {
        "cancellation_type": ChildWorkflowCancellationType[child.kind],
        "parent_close_policy": ParentClosePolicy[child.parent_close],
        "id_reuse_policy": WorkflowIdReusePolicy[child.reuse],
        "run_timeout": None if child.seconds is None else timedelta(seconds=child.seconds),
    }


async def _child(workflow_id: str, child: p.Child) -> tuple[Told, asyncio.Future[Outcome]]:
    handle = await histories.Program.start_child(job(workflow_id, p.to_text(child.body)), **_options(child))
    return handle.nudge, handle.__protopact__.task


def _execute_child(workflow_id: str, child: p.Child) -> Awaitable[Outcome]:
    return histories.Program.execute_child(job(workflow_id, p.to_text(child.body)), **_options(child))


async def _their_child(workflow_id: str, child: p.Child) -> tuple[Told, asyncio.Future[Outcome]]:
    handle = await temporal.start_child_workflow(
        P + "Program",
        job(workflow_id, p.to_text(child.body)),
        id=workflow_id,
        result_type=Outcome,
        cancellation_type=temporal.ChildWorkflowCancellationType[child.kind],
        parent_close_policy=temporal.ParentClosePolicy[child.parent_close],
        id_reuse_policy=TheirReusePolicy[child.reuse],
        run_timeout=None if child.seconds is None else timedelta(seconds=child.seconds),
    )
    return lambda nudge: handle.signal(P + "Nudge", nudge), handle


async def _they_execute_child(workflow_id: str, child: p.Child) -> Outcome:
    _, handle = await _their_child(workflow_id, child)
    return await handle


async def _cancel_other(workflow_id: str) -> None:
    await histories.Program.external(workflow_id).cancel(reason="why not")


async def _they_cancel_other(workflow_id: str) -> None:
    await temporal.get_external_workflow_handle(workflow_id).cancel(reason="why not")


def _their_side_effect() -> Awaitable[Reading]:
    return temporal.start_local_activity(
        "protopact.side_effect", result_type=Reading, start_to_close_timeout=timedelta(seconds=10)
    )


_COUNT = SearchAttributeKey.for_int("Count")


def _their_upsert(count: int | None) -> None:
    update = _COUNT.value_unset() if count is None else _COUNT.value_set(count)
    temporal.upsert_search_attributes([update])  # pyright: ignore[reportUnknownMemberType] # an overload of theirs


OURS = WholeSdk(
    **vars(OUR_STORIES),
    started=_started,
    local=_local,
    child=_child,
    execute_child=_execute_child,
    tell_other=lambda workflow_id, nudge: histories.Program.external(workflow_id).nudge(nudge),
    cancel_other=_cancel_other,
    side_effect=lambda: workflow.side_effect(lambda: Reading(value=7), Reading),
    patched=workflow.patched,
    deprecate_patch=workflow.deprecate_patch,
    upsert_memo=workflow.upsert_memo,
    upsert_count=lambda count: workflow.upsert_search_attributes({"Count": count}),
    next_run=histories.Program.continue_as_new,
)
THEIRS = WholeSdk(
    **vars(THEIR_STORIES),
    started=_they_started,
    local=_their_local,
    child=_their_child,
    execute_child=_they_execute_child,
    tell_other=lambda workflow_id, nudge: temporal.get_external_workflow_handle(workflow_id).signal(P + "Nudge", nudge),
    cancel_other=_they_cancel_other,
    side_effect=_their_side_effect,
    patched=temporal.patched,
    deprecate_patch=temporal.deprecate_patch,
    upsert_memo=temporal.upsert_memo,
    upsert_count=_their_upsert,
    next_run=temporal.continue_as_new,
)
