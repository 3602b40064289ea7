"""Rules on times: durations, the time-outs that an activity needs, retry policies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from protopact_codegen.contract import Activity, Contract, Element, RetryPolicy, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.lint.finding import Rule, elements, finding

__all__ = ["RULES"]

_ZERO = timedelta(0)
_DEFAULT_INITIAL_INTERVAL = timedelta(seconds=1)


def _durations(element: Element) -> Iterator[tuple[timedelta | None, tuple[str, ...]]]:
    """Durations of an element with the option field of each."""
    if isinstance(element, Workflow):
        yield element.execution_timeout, ("execution_timeout",)
        yield element.run_timeout, ("run_timeout",)
        yield element.task_timeout, ("task_timeout",)
    if isinstance(element, Activity):
        yield element.schedule_to_close_timeout, ("schedule_to_close_timeout",)
        yield element.schedule_to_start_timeout, ("schedule_to_start_timeout",)
        yield element.start_to_close_timeout, ("start_to_close_timeout",)
        yield element.heartbeat_timeout, ("heartbeat_timeout",)
    if isinstance(element, Workflow | Activity) and element.retry_policy is not None:
        yield element.retry_policy.initial_interval, ("retry_policy", "initial_interval")
        yield element.retry_policy.maximum_interval, ("retry_policy", "max_interval")


def _positive(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        for duration, steps in _durations(element):
            if duration is not None and duration <= _ZERO:
                what = f"is {_seconds(duration)}; expected more than zero"
                yield finding(Code.DURATION, element, what, "write how long, or remove the field", *steps)


def _timeouts(contract: Contract) -> Iterator[Diagnostic]:
    for activity in elements(contract):
        if not isinstance(activity, Activity):
            continue
        if activity.start_to_close_timeout is None and activity.schedule_to_close_timeout is None:
            option = activity.place.spell()
            what = f"{option} has neither `start_to_close_timeout` nor `schedule_to_close_timeout`; one is required"
            hint = "set `start_to_close_timeout: {seconds: 60}`, the longest that one attempt may take"
            yield finding(Code.NO_TIMEOUT, activity, what, hint)
        limit, name = activity.start_to_close_timeout, "start_to_close_timeout"
        if limit is None:
            limit, name = activity.schedule_to_close_timeout, "schedule_to_close_timeout"
        heartbeat = activity.heartbeat_timeout
        if limit is not None and heartbeat is not None and heartbeat > limit > _ZERO:
            what = f"is {_seconds(heartbeat)}, longer than `{name}`, {_seconds(limit)}: it can never pass"
            hint = "heartbeat several times within an attempt: make `heartbeat_timeout` a fraction of the limit"
            yield finding(Code.HEARTBEAT, activity, what, hint, "heartbeat_timeout")


def _retries(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        if isinstance(element, Workflow | Activity) and element.retry_policy is not None:
            for field, what, hint in _impossible(element.retry_policy):
                yield finding(Code.RETRY_POLICY, element, what, hint, "retry_policy", *field)


def _impossible(policy: RetryPolicy) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    coefficient = policy.backoff_coefficient
    if coefficient is not None and not (coefficient >= 1 and math.isfinite(coefficient)):
        yield ("backoff_coefficient",), f"is {coefficient:g}; expected 1 or more", "write 1 for equal waits"
    initial, longest = policy.initial_interval or _DEFAULT_INITIAL_INTERVAL, policy.maximum_interval
    if longest is not None and _ZERO < longest < initial:
        default = ", the default" if policy.initial_interval is None else ""
        what = f"is {_seconds(longest)}, shorter than `initial_interval`, {_seconds(initial)}{default}"
        yield ("max_interval",), what, "set `initial_interval` to at most `max_interval`"
    if policy.maximum_attempts is not None and policy.maximum_attempts < 0:
        what = f"is {policy.maximum_attempts}; expected 1 or more"
        yield ("max_attempts",), what, "write the number of attempts, the first included; remove it to have no limit"
    for index, name in enumerate(policy.non_retryable_error_types):
        if not name:
            yield ("non_retryable_error_types", index), "is empty", "write the name of a failure type"


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g} s"


RULES: tuple[Rule, ...] = (_positive, _timeouts, _retries)
