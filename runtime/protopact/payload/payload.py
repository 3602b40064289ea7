"""What crosses every boundary: bytes with metadata (`temporal.api.common.v1.Payload`)."""

from __future__ import annotations

import msgspec

__all__ = ["PLAIN", "Headers", "Payload", "Payloads"]

PLAIN = "protopact-plain"
"""Metadata of a payload that no codec sees: what engines and tools read of a run without knowing its codecs."""


class Payload(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An encoded value.

    Attributes:
        metadata: At least `encoding`; `messageType` for a protobuf message.
        data: The encoded bytes.
    """

    metadata: dict[str, bytes] = {}
    data: bytes = b""


Payloads = tuple[Payload, ...]
"""Arguments, a result, or details: most often one payload, none for `google.protobuf.Empty`."""

Headers = dict[str, Payload]
"""Headers travel with start, signal, query, update, activity, child and continue-as-new."""
