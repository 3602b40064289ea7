"""Payloads, headers and codecs between protopact and the `temporalio` SDK: one representation to the other.

The engine hands its payloads through the SDK as `temporalio.common.RawValue`: messages are written and read by
`protopact.payload` under the types that the contract declares, and only codecs are the SDK's data converter's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.converter import PayloadCodec as TemporalPayloadCodec

from protopact.payload import CodecChain, Headers, Payload, PayloadCodec, Payloads
from protopact.payload.attributes import memo_to_payloads

__all__ = [
    "ChainCodec",
    "WrappedCodec",
    "codecs_of",
    "from_proto",
    "from_protos",
    "from_raw_values",
    "headers_from_protos",
    "headers_to_protos",
    "memo_to_raw_values",
    "to_proto",
    "to_protos",
    "to_raw_values",
]


def to_proto(payload: Payload) -> PayloadProto:
    """A payload as the SDK's protobuf message."""
    return PayloadProto(metadata=payload.metadata, data=payload.data)


def from_proto(payload: PayloadProto) -> Payload:
    """A payload out of the SDK's protobuf message."""
    return Payload(dict(payload.metadata), payload.data)


def to_protos(payloads: Payloads) -> list[PayloadProto]:
    """Payloads as the SDK's protobuf messages."""
    return [to_proto(payload) for payload in payloads]


def from_protos(payloads: Sequence[PayloadProto]) -> Payloads:
    """Payloads out of the SDK's protobuf messages."""
    return tuple(from_proto(payload) for payload in payloads)


def to_raw_values(payloads: Payloads) -> list[RawValue]:
    """Payloads as arguments or results that the SDK hands on as they are, but for its codec."""
    return [RawValue(to_proto(payload)) for payload in payloads]


def from_raw_values(values: Sequence[RawValue]) -> Payloads:
    """Payloads out of arguments or results that the SDK handed on as they are."""
    return tuple(from_proto(value.payload) for value in values)


def headers_to_protos(headers: Headers) -> dict[str, PayloadProto]:
    """Headers of a call as the SDK's."""
    return {name: to_proto(payload) for name, payload in headers.items()}


def headers_from_protos(headers: Mapping[str, PayloadProto]) -> Headers:
    """Headers of a call out of the SDK's."""
    return {name: from_proto(payload) for name, payload in headers.items()}


def memo_to_raw_values(memo: Mapping[str, str | None]) -> dict[str, RawValue | None]:
    """A memo, encoded, as the SDK takes it; None removes an entry that is there."""
    return {
        name: None if memo[name] is None else RawValue(to_proto(payload))
        for name, payload in memo_to_payloads(memo).items()
    }


class ChainCodec(TemporalPayloadCodec):
    """Codecs of ours as one of the SDK.

    Args:
        codecs: The codecs, outermost last.
    """

    def __init__(self, codecs: Sequence[PayloadCodec]) -> None:
        self._chain = CodecChain(codecs)

    async def encode(self, payloads: Sequence[PayloadProto]) -> list[PayloadProto]:
        """Encode a batch."""
        return to_protos(await self._chain.encode(from_protos(payloads)))

    async def decode(self, payloads: Sequence[PayloadProto]) -> list[PayloadProto]:
        """Decode a batch."""
        return to_protos(await self._chain.decode(from_protos(payloads)))


class WrappedCodec(PayloadCodec):
    """A codec of the SDK as one of ours.

    Args:
        codec: A codec that gives back as many payloads as it gets, as every codec of ours does.
    """

    def __init__(self, codec: TemporalPayloadCodec) -> None:
        self._codec = codec

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Encode a batch."""
        return from_protos(await self._codec.encode(to_protos(tuple(payloads))))

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Decode a batch."""
        return from_protos(await self._codec.decode(to_protos(tuple(payloads))))


def codecs_of(converter: DataConverter) -> CodecChain:
    """The codec of a data converter of the SDK, as a chain of ours."""
    return CodecChain([] if converter.payload_codec is None else [WrappedCodec(converter.payload_codec)])
