"""Words for people: names, durations, payloads and failures of a history."""

from __future__ import annotations

import json
from collections.abc import Callable

from protopact.history.failure import ApplicationFailureInfo, Failure, TimeoutFailureInfo
from protopact.payload.payload import Payload

__all__ = ["DescribePayload", "describe_failure", "describe_payload", "duration_text", "short_name"]

DescribePayload = Callable[[Payload], str]
"""Puts a payload into words, in one line."""

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE


def short_name(name: str) -> str:
    """The rpc of a registered name: `CreateVm` of `nodes.provisioning.v1.NodeProvisionerService.CreateVm`."""
    return name.rpartition(".")[2] or name


def duration_text(value: int) -> str:
    """A duration in nanoseconds as a person says it: `850 us`, `12 ms`, `1.32 s`, `2 min 3 s`, `1 h 5 min`."""
    if value < 1_000_000:  # noqa: PLR2004 - a millisecond
        return f"{value // 1000} us"
    if value < _SECOND:
        return f"{value // 1_000_000} ms"
    if value < _MINUTE:
        return f"{value / _SECOND:.2f} s" if value % _SECOND else f"{value // _SECOND} s"
    if value < _HOUR:
        minutes, rest = divmod(value, _MINUTE)
        return f"{minutes} min {rest // _SECOND} s" if rest >= _SECOND else f"{minutes} min"
    hours, rest = divmod(value, _HOUR)
    return f"{hours} h {rest // _MINUTE} min" if rest >= _MINUTE else f"{hours} h"


def describe_payload(payload: Payload) -> str:
    """A payload in words: JSON as it is, anything else by its type and size."""
    encoding = payload.metadata.get("encoding", b"").decode("utf-8", "replace")
    if encoding.startswith("json/"):
        try:
            return json.dumps(json.loads(payload.data), ensure_ascii=False)
        except ValueError:
            return f"{encoding} that is not JSON, {len(payload.data)} bytes"
    if encoding == "binary/null":
        return "null"
    message_type = payload.metadata.get("messageType", b"").decode("utf-8", "replace")
    return f"{message_type or encoding or 'no encoding'}, {len(payload.data)} bytes"


def describe_failure(failure: Failure) -> str:
    """A failure in words, without its causes."""
    match failure.info:
        case ApplicationFailureInfo(type=name) if name:
            return f"{name}: {failure.message}"
        case TimeoutFailureInfo(timeout_type=kind) if kind:
            return f"{kind} timeout: {failure.message}"
        case _:
            return failure.message or "a failure without a message"
