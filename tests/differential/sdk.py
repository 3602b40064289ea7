"""Both SDKs, as programs call them beyond what `tests.replay.stories` has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow as temporal
from temporalio.common import RetryPolicy as TheirRetryPolicy
from temporalio.common import SearchAttributeKey
from tests.replay.histories.v1.histories_pb2 import Job, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import OURS as OUR_STORIES
from tests.replay.stories import THEIRS as THEIR_STORIES
from tests.replay.stories import P, Sdk

from protopact import RetryPolicy, workflow
from protopact.policy import ActivityCancellationType

__all__ = ["OURS", "THEIRS", "WholeSdk", "job"]

_INTERVAL = timedelta(seconds=2)
_THRESHOLD = timedelta(seconds=3)
"""The second retry of a local activity waits on a timer."""


@dataclass(frozen=True, kw_only=True)
class WholeSdk(Sdk):
    """One SDK. `local` starts a local activity; `next_run` continues as new with the text of a program."""

    local: Callable[[str, str], Any]
    side_effect: Callable[[], Awaitable[Reading]]
    patched: Callable[[str], bool]
    deprecate_patch: Callable[[str], None]
    upsert_memo: Callable[[dict[str, str | None]], None]
    upsert_count: Callable[[int | None], None]
    next_run: Callable[[str], NoReturn]


def job(workflow_id: str, text: str) -> Job:
    """The request of a run that interprets `text`."""
    return Job(id=workflow_id, steps=[Step(text=text)])


def _local(name: str, cancellation_type: str) -> Any:  # noqa: ANN401 - the handle of either SDK
    return histories.Local.work(
        Step(name=name),
        cancellation_type=ActivityCancellationType[cancellation_type],
        local_retry_threshold=_THRESHOLD,
        retry_policy=RetryPolicy(initial_interval=_INTERVAL),
    )


def _their_local(name: str, cancellation_type: str) -> Any:  # noqa: ANN401 - the handle of either SDK
    return temporal.start_local_activity(
        P + "Work",
        Step(name=name),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        cancellation_type=temporal.ActivityCancellationType[cancellation_type],
        local_retry_threshold=_THRESHOLD,
        retry_policy=TheirRetryPolicy(initial_interval=_INTERVAL),
    )


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
    local=_local,
    side_effect=lambda: workflow.side_effect(lambda: Reading(value=7), Reading),
    patched=workflow.patched,
    deprecate_patch=workflow.deprecate_patch,
    upsert_memo=workflow.upsert_memo,
    upsert_count=lambda count: workflow.upsert_search_attributes({"Count": count}),
    next_run=lambda text: histories.Program.continue_as_new(job("p", text)),
)
THEIRS = WholeSdk(
    **vars(THEIR_STORIES),
    local=_their_local,
    side_effect=_their_side_effect,
    patched=temporal.patched,
    deprecate_patch=temporal.deprecate_patch,
    upsert_memo=temporal.upsert_memo,
    upsert_count=_their_upsert,
    next_run=lambda text: temporal.continue_as_new(job("p", text)),
)
