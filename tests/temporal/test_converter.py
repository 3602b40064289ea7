"""Payloads: what protopact writes, the stock converters of the SDK read, and the other way round."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import betterproto2
import pytest
from generated.betterproto2.nodes.provisioning.v1 import PauseRequest
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService
from google.protobuf.source_context_pb2 import SourceContext
from nodes.provisioning.v1 import node_pb2 as pb
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadCodec
from temporalio.exceptions import ApplicationError

import protopact
from protopact import MessageMismatchError, PayloadError
from protopact.payload import Payload
from protopact.temporal import data_converter
from protopact.temporal.converter import BinaryMessageConverter, MessageConverter
from protopact.temporal.payloads import WrappedCodec, codecs_of, from_protos, to_protos

ADD_NODE = NodeProvisionerService.AddNode.__protopact__()
ENCODINGS = [MessageConverter, BinaryMessageConverter]


def test_a_message_is_written_as_the_stock_converter_writes_it() -> None:
    stock, message = DefaultPayloadConverter(), pb.PauseRequest(reason="why")
    (theirs,), (ours,) = stock.to_payloads([message]), MessageConverter().to_payloads([message])
    assert dict(ours.metadata) == dict(theirs.metadata)
    assert json.loads(ours.data) == json.loads(theirs.data)


@pytest.mark.parametrize("converter", ENCODINGS)
@pytest.mark.parametrize(
    "value", [pb.PauseRequest(reason="why"), PauseRequest(reason="why")], ids=["google", "betterproto2"]
)
def test_what_we_write_the_stock_converter_reads(converter: type[MessageConverter], value: object) -> None:
    payloads = converter().to_payloads([value])
    assert payloads[0].metadata["encoding"] == converter.encoding.encode()
    assert DefaultPayloadConverter().from_payloads(payloads, [pb.PauseRequest]) == [pb.PauseRequest(reason="why")]


@pytest.mark.parametrize("encoding", ["json/protobuf", "binary/protobuf"])
def test_what_the_stock_converter_writes_we_read(encoding: str) -> None:
    message = pb.PauseRequest(reason="why")
    if encoding == "json/protobuf":
        (payload,) = DefaultPayloadConverter().to_payloads([message])
    else:
        metadata = {"encoding": b"binary/protobuf", "messageType": b"nodes.provisioning.v1.PauseRequest"}
        payload = PayloadProto(metadata=metadata, data=message.SerializeToString())
    converter = MessageConverter()
    assert converter.from_payloads([payload], [PauseRequest]) == [PauseRequest(reason="why")]
    assert converter.from_payloads([payload], [pb.PauseRequest]) == [message]
    assert converter.from_payloads([payload]) == [PauseRequest(reason="why")]  # of the contract that is imported
    with pytest.raises(MessageMismatchError, match=r"expected nodes\.provisioning\.v1\.ResumeRequest"):
        converter.from_payloads([payload], [pb.ResumeRequest])


@pytest.mark.parametrize(
    "value",
    [None, b"bytes", "text", 3, [1, {"a": None}], timedelta(seconds=1), SourceContext(file_name="a")],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_message_of_a_contract_is_as_it_was(value: object) -> None:
    stock, converter = DefaultPayloadConverter(), MessageConverter()
    if not isinstance(value, timedelta):
        payloads = converter.to_payloads([value])
        assert payloads == stock.to_payloads([value])
        assert converter.from_payloads(payloads) == [value]
        assert converter.from_payloads(payloads, [type(value)]) == [value]
    else:
        with pytest.raises(TypeError, match="not JSON serializable"):
            converter.to_payloads([value])


def test_raw_values_pass() -> None:
    payload = PayloadProto(metadata={"encoding": b"of/mine"}, data=b"x")
    assert MessageConverter().to_payloads([RawValue(payload)]) == [payload]
    assert MessageConverter().from_payloads([payload], [RawValue]) == [RawValue(payload)]


@dataclasses.dataclass(eq=False, repr=False)
class Stranger(betterproto2.Message):
    """A message of no contract."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@pytest.mark.parametrize(
    "value", [Stranger(name="x"), [Stranger(name="x")], [PauseRequest(reason="x")]], ids=["alone", "listed", "known"]
)
def test_a_message_of_betterproto2_never_becomes_plain_json(value: object) -> None:
    with pytest.raises(PayloadError, match="send messages of contracts whose generated module"):
        MessageConverter().to_payloads([value])


class Reversing(PayloadCodec):
    """A codec of the SDK."""

    async def encode(self, payloads: Sequence[PayloadProto]) -> list[PayloadProto]:
        return [
            PayloadProto(metadata={"encoding": b"reversed"}, data=each.SerializeToString()[::-1]) for each in payloads
        ]

    async def decode(self, payloads: Sequence[PayloadProto]) -> list[PayloadProto]:
        return [
            PayloadProto.FromString(each.data[::-1]) if each.metadata["encoding"] == b"reversed" else each
            for each in payloads
        ]


async def test_codecs_of_ours_and_of_the_sdk() -> None:
    message = PauseRequest(reason="why")
    plain = Payload({"encoding": b"json/plain"}, b"1")
    ours = data_converter(codecs=[WrappedCodec(Reversing())])
    theirs = dataclasses.replace(data_converter(), payload_codec=Reversing())
    written = await ours.encode([message])
    assert [dict(each.metadata) for each in written] == [{"encoding": b"reversed"}]
    assert await theirs.decode(written) == [message]
    assert codecs_of(ours)
    assert not codecs_of(data_converter())
    assert await codecs_of(theirs).decode(from_protos(await theirs.encode([1]))) == (plain,)
    assert await codecs_of(theirs).decode((plain,)) == (plain,)


async def test_failures_of_ours_through_the_data_converter_of_the_sdk() -> None:
    written = Failure()
    error = protopact.ApplicationError("no", PauseRequest(reason="why"), type="Quota", non_retryable=True)
    await data_converter(codecs=[WrappedCodec(Reversing())]).encode_failure(error, written)
    assert written.application_failure_info.details.payloads[0].metadata["encoding"] == b"reversed"
    read = await dataclasses.replace(DataConverter.default, payload_codec=Reversing()).decode_failure(written)
    assert isinstance(read, ApplicationError)
    assert (read.message, read.type, read.non_retryable) == ("no", "Quota", True)
    (detail,) = read.details
    assert (type(detail), detail.reason) == (pb.PauseRequest, "why")


def test_binary_messages_are_those_of_the_contract() -> None:
    converter = data_converter(encoding="binary/protobuf").payload_converter
    written: Any = converter.to_payloads([pb.AddNodeRequest(node_id="n")])
    (payload,) = from_protos(written)
    assert payload.metadata == {"encoding": b"binary/protobuf", "messageType": ADD_NODE.request.name.encode()}
    assert to_protos((payload,)) == list(written)
