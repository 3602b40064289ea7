"""How large payloads may be: the limit of a Temporal server, `limit.blobSize.error`."""

from __future__ import annotations

from collections.abc import Iterable

from protopact.errors import PayloadSizeError
from protopact.payload.payload import Payload

__all__ = ["LIMIT", "check_size", "oversize"]

LIMIT = 2 * 1024 * 1024
"""Most bytes that the payloads of one event may take."""


def oversize(payloads: Iterable[Payload]) -> int | None:
    """Size of payloads that are over the limit, in bytes; None when they are not."""
    size = 0
    for payload in payloads:
        size += len(payload.data)
    return size if size > LIMIT else None


def check_size(payloads: Iterable[Payload], what: str) -> None:
    """Refuse payloads that are over the limit.

    Raises:
        PayloadSizeError: They are; the message says what they are.
    """
    size = oversize(payloads)
    if size is not None:
        raise PayloadSizeError(
            f"{what} takes {size} bytes; at most {LIMIT} fit into one event of a history. Put large data into a store "
            "of its own and send where it is"
        )
