"""How large payloads may be: a Temporal server's `limit.blobSize.error` and `limit.memoSize.error`, and gRPC's limit.

Sizes are those of protobuf's wire format, which the server measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protopact.errors import PayloadSizeError
from protopact.history.failure import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    Failure,
    ResetWorkflowFailureInfo,
    TimeoutFailureInfo,
)
from protopact.payload.payload import Payload

__all__ = [
    "CALL_LIMIT",
    "LIMIT",
    "check_call",
    "check_memo",
    "check_size",
    "oversize",
    "size_of_failure",
    "size_of_memo",
    "size_of_payloads",
]

LIMIT = 2 * 1024 * 1024
"""Most bytes that the payloads of one event may take."""

CALL_LIMIT = 4 * 1024 * 1024
"""Most bytes of a call, and of all that a workflow asks for in one task."""

_ADVICE = "Put large data into a store of its own and send where it is"


def size_of_payloads(payloads: Iterable[Payload]) -> int:
    """Size of payloads, in bytes."""
    return sum(_field(_size(payload)) for payload in payloads)


def size_of_memo(memo: Mapping[str, Payload]) -> int:
    """Size of a memo, in bytes; of headers likewise."""
    return sum(_field(_text(name) + _field(_size(payload))) for name, payload in memo.items())


def size_of_failure(failure: Failure | None) -> int:
    """Size of a failure with its causes, in bytes."""
    size = 0
    while failure is not None:
        size += _text(failure.message) + _text(failure.stack_trace) + _text(failure.source)
        if failure.encoded_attributes is not None:
            size += _field(_size(failure.encoded_attributes))
        match failure.info:
            case ApplicationFailureInfo():
                size += _text(failure.info.type) + size_of_payloads(failure.info.details)
            case CanceledFailureInfo():
                size += size_of_payloads(failure.info.details)
            case TimeoutFailureInfo() | ResetWorkflowFailureInfo():
                size += size_of_payloads(failure.info.last_heartbeat_details)
            case _:
                pass
        failure = failure.cause
    return size


def oversize(payloads: Iterable[Payload]) -> int | None:
    """Size of payloads that are over the limit, in bytes; None when they are not."""
    size = size_of_payloads(payloads)
    return size if size > LIMIT else None


def check_size(payloads: Iterable[Payload], what: str) -> None:
    """Refuse payloads that are over the limit.

    Raises:
        PayloadSizeError: They are; the message says what they are.
    """
    _check(size_of_payloads(payloads), what)


def check_memo(memo: Mapping[str, Payload], what: str) -> None:
    """Refuse a memo that is over the limit.

    Raises:
        PayloadSizeError: It is; the message says what it is.
    """
    _check(size_of_memo(memo), what)


def check_call(size: int, what: str) -> None:
    """Refuse a call whose parts are, taken together, more than goes to a server at once.

    Args:
        size: Of its payloads, in bytes.
        what: The call, for the message.

    Raises:
        PayloadSizeError: They are.
    """
    if size > CALL_LIMIT:
        raise PayloadSizeError(f"{what} takes {size} bytes in all; at most {CALL_LIMIT} are one call. {_ADVICE}")


def _check(size: int, what: str) -> None:
    if size > LIMIT:
        raise PayloadSizeError(f"{what} takes {size} bytes; at most {LIMIT} fit into one event of a history. {_ADVICE}")


def _size(payload: Payload) -> int:
    size = _field(len(payload.data)) if payload.data else 0
    for name, value in payload.metadata.items():
        size += _field(_text(name) + _field(len(value)))
    return size


def _text(value: str) -> int:
    return _field(len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))) if value else 0


def _field(size: int) -> int:
    """A field of so many bytes, with its tag and its length."""
    return 1 + (size.bit_length() + 6) // 7 + size if size else 2
