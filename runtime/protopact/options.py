"""Checks of what a call overrides, for code that no type checker sees."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from protopact.errors import OptionError
from protopact.limits import LONGEST, LONGEST_ID, LONGEST_SEARCH_ATTRIBUTE, MOST_IN_64_BITS
from protopact.policy import (
    Priority,
    RetryPolicy,
    SearchAttributeValue,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)

__all__ = [
    "RESERVED",
    "check",
    "check_id",
    "check_policies",
    "check_run_id",
    "check_search_attributes",
    "check_text",
]

RESERVED = "protopact."
"""Keys of a memo that begin so are protopact's own."""

_IDS = frozenset({"activity_id", "id", "request_id", "task_queue", "update_id"})


def check(kind: type, options: Mapping[str, Any], where: str) -> None:
    """Check the options of a call.

    Args:
        kind: The TypedDict that declares them, for example `policy.StartOptions`.
        options: What the call was given.
        where: The call, for messages: `start of acme.v1.S.Do`.

    Raises:
        OptionError: An option is unknown, or has a value of a wrong type, or one that it cannot have.
    """
    if not options:
        return
    hints = _hints(kind)
    for name, value in options.items():
        if name not in hints:
            raise OptionError(f"{where}: unknown option {name}; it takes {', '.join(sorted(hints))}")
        if not _is(value, hints[name]):
            raise OptionError(
                f"{where}: option {name}: expected {_describe(hints[name])}, found {type(value).__name__} {value!r}"
            )
        _check_value(name, value, where)


def check_text(value: object, where: str) -> None:
    """Check that what is text in a value can be written: file names bring lone surrogates.

    Args:
        value: A text, a mapping or a sequence; anything else passes.
        where: What it is, for messages.

    Raises:
        OptionError: It has characters that UTF-8 cannot write.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise OptionError(f"{where}: expected a text that UTF-8 can write, found {value!a}") from error
    elif isinstance(value, Mapping):
        for item in typing.cast("Mapping[object, object]", value).items():
            check_text(item, where)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for each in typing.cast("Sequence[object]", value):
            check_text(each, where)


def check_id(value: str | None, where: str) -> None:
    """Check that an id, or the name of a task queue, can be one on every engine.

    Args:
        value: The id; None passes.
        where: What it is, for messages.

    Raises:
        OptionError: It is longer than 1,000 bytes, or cannot be written.
    """
    check_text(value, where)
    if value is not None and (size := len(value.encode())) > LONGEST_ID:
        raise OptionError(f"{where}: expected at most {LONGEST_ID} bytes, found {size}: {value[:40]!r}...")


def check_run_id(value: str | None, where: str) -> None:
    """Check that something can be the id of a run, which is a UUID.

    Args:
        value: The id; None passes.
        where: What it is, for messages.

    Raises:
        OptionError: It is none that an engine could have given.
    """
    if value:
        try:
            UUID(value)
        except ValueError:
            raise OptionError(f"{where}: expected the UUID of a run, or None for the latest, found {value!a}") from None


def check_search_attributes(values: Mapping[str, SearchAttributeValue | None], where: str) -> None:
    """Check that values can be those of search attributes: a server ends or parks a run that sets others.

    Args:
        values: The values; None removes an attribute.
        where: The call, for messages.

    Raises:
        OptionError: An integer has more than 64 bits, a float is no number, a time has no zone, or a value is longer
            than 2,048 bytes as JSON.
    """
    for name, value in values.items():
        found = _flaw(value)
        if found is not None:
            raise OptionError(f"{where}: search attribute {name}: expected {found}")


def check_policies(reuse: WorkflowIdReusePolicy, conflict: WorkflowIdConflictPolicy) -> None:
    """Refuse policies of a workflow id that contradict each other, as Temporal does.

    Raises:
        OptionError: The id may never be used again, and yet the run that has it is to make room.
    """
    terminates = (
        WorkflowIdConflictPolicy.TERMINATE_EXISTING,
        WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE,
    )
    if reuse is WorkflowIdReusePolicy.REJECT_DUPLICATE and conflict in terminates:
        raise OptionError(
            f"id_reuse_policy {reuse.name} cannot stand beside id_conflict_policy {conflict.name}: the one refuses an "
            "id that was used, the other frees it to be used again"
        )


def _check_value(name: str, value: Any, where: str) -> None:  # noqa: ANN401 - an option's, of the type that it has
    if value == "":
        raise OptionError(f"{where}: option {name}: expected a text that is not empty")
    if name in _IDS:
        check_id(value, f"{where}: option {name}")
    else:
        check_text(value, f"{where}: option {name}")
    if isinstance(value, timedelta):
        _check_time(name, value, where)
    elif isinstance(value, Priority):
        check_text(value.fairness_key, f"{where}: option {name}: fairness_key")
    elif isinstance(value, RetryPolicy):
        check_text(value.non_retryable_error_types, f"{where}: option {name}: non_retryable_error_types")
    elif name == "memo":
        _check_memo(value, where)
    elif name == "search_attributes":
        check_search_attributes(value, where)


def _flaw(value: SearchAttributeValue | None) -> str | None:
    """What is wrong with a search attribute, as what is expected and what was found; None when nothing is."""
    match value:
        case None | bool():
            return None
        case int():
            fits = -MOST_IN_64_BITS - 1 <= value <= MOST_IN_64_BITS
            return None if fits else f"an integer of 64 bits, found one of {value.bit_length()}"
        case float():
            return None if math.isfinite(value) else f"a finite number, found {value}"
        case datetime():
            return None if value.utcoffset() is not None else f"a time with a zone, found {value}"
        case _:
            plain = value if isinstance(value, str) else list(value)
            size = len(json.dumps(plain, separators=(",", ":")).encode())
            limit = LONGEST_SEARCH_ATTRIBUTE
            return None if size <= limit else f"at most {limit} bytes as JSON, found {size}"


def _check_memo(memo: Mapping[str, object], where: str) -> None:
    for name in memo:
        if name.startswith(RESERVED):
            raise OptionError(f"{where}: option memo: {name!r} is protopact's own, as is every key in {RESERVED}*")


def _check_time(name: str, value: timedelta, where: str) -> None:
    if name.endswith("_timeout") and value <= timedelta(0):
        raise OptionError(f"{where}: option {name}: expected a positive time, or None for no limit, found {value}")
    if value < timedelta(0):
        raise OptionError(f"{where}: option {name}: expected a time that is not negative, found {value}")
    if value > LONGEST:
        raise OptionError(f"{where}: option {name}: expected at most {LONGEST.days} days (100 years), found {value}")


@cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _is(value: object, hint: object) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return any(_is(value, each) for each in arguments)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _is(key, arguments[0]) and _is(item, arguments[1]) for key, item in typing.cast("Any", value).items()
        )
    if origin is Sequence:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        return all(_is(each, arguments[0]) for each in typing.cast("Sequence[object]", value))
    return isinstance(hint, type) and isinstance(value, hint)


def _describe(hint: object) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        return " or ".join("None" if each is types.NoneType else _describe(each) for each in arguments)
    if typing.get_origin(hint) is Mapping:
        return f"a mapping of {_describe(arguments[0])} to {_describe(arguments[1])}"
    if typing.get_origin(hint) is Sequence:
        return f"a sequence of {_describe(arguments[0])}"
    return hint.__name__ if isinstance(hint, type) else str(hint)
