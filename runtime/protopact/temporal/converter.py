"""A data converter for programs that use the `temporalio` SDK themselves: what the engine writes it reads, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from temporalio import workflow
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.common import RawValue
from temporalio.converter import (
    AdvancedJSONEncoder,
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    JSONPlainPayloadConverter,
    JSONProtoPayloadConverter,
)
from temporalio.converter import PayloadConverter as TemporalPayloadConverter

from protopact.errors import PayloadError
from protopact.payload import Encoding, PayloadCodec, PayloadConverter
from protopact.payload.library import is_message, known_message, message_of
from protopact.temporal.failures import MessageFailureConverter
from protopact.temporal.payloads import ChainCodec, from_proto, to_proto

__all__ = ["BinaryMessageConverter", "MessageConverter", "data_converter"]

_MESSAGES = frozenset({b"json/protobuf", b"binary/protobuf"})


class _Encoder(AdvancedJSONEncoder):
    """The SDK's encoder, which by itself takes a betterproto2 message for a dataclass, and writes no protobuf JSON."""

    def default(self, o: Any) -> Any:  # noqa: ANN401 - the base's signature
        _refuse_message(o)
        return super().default(o)


def _refuse_message(value: object) -> None:
    if is_message(type(value)):
        raise PayloadError(
            f"expected a value that json/plain can hold, found the message {type(value).__module__}."
            f"{type(value).__qualname__}; send messages of contracts whose generated module (*_protopact.py) is "
            "imported, each as an argument or a result of its own"
        )


class _Values(CompositePayloadConverter):
    """The SDK's own converters, for what is no message of a contract."""

    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(),
            BinaryPlainPayloadConverter(),
            JSONProtoPayloadConverter(),
            BinaryProtoPayloadConverter(),
            JSONPlainPayloadConverter(encoder=_Encoder),
        )


class MessageConverter(TemporalPayloadConverter):
    """Messages of contracts, of any message library, in `json/protobuf`; everything else as the SDK does by itself.

    A message is read as the class that a type hint names, or else as the class of an imported contract or module.

    In Temporal's sandbox, where the SDK calls it too, what it imports is not imported anew.

    Attributes:
        encoding: How messages are written.
    """

    encoding: ClassVar[Encoding] = "json/protobuf"

    def __init__(self) -> None:
        self._messages = PayloadConverter(self.encoding)
        self._values = _Values()

    def to_payloads(self, values: Sequence[Any]) -> list[PayloadProto]:
        """Write values.

        Raises:
            PayloadError: A message is of no imported contract, or holds what the encoding cannot.
        """
        with workflow.unsafe.imports_passed_through():
            return [self._to_payload(value) for value in values]

    def _to_payload(self, value: object) -> PayloadProto:
        if isinstance(value, RawValue):
            return value.payload
        message = message_of(type(value))
        if message is not None:
            return to_proto(self._messages.to_details([value])[0])
        _refuse_message(value)
        return self._values.to_payloads([value])[0]

    # A hint is whatever the signature of a function says.
    def from_payloads(self, payloads: Sequence[PayloadProto], type_hints: list[Any] | None = None) -> list[Any]:
        """Read values.

        Raises:
            MessageMismatchError: A message is of another type than the hint.
            PayloadError: It cannot be decoded.
        """
        hints = [None] * len(payloads) if type_hints is None else type_hints
        with workflow.unsafe.imports_passed_through():
            return [self._from_payload(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]

    def _from_payload(self, payload: PayloadProto, hint: Any) -> Any:  # noqa: ANN401 - as from_payloads
        if hint is RawValue:
            return RawValue(payload)
        encoding = payload.metadata.get("encoding", b"")
        if encoding in _MESSAGES:
            if isinstance(hint, type) and message_of(hint) is not None:
                return self._messages.detail_as(from_proto(payload), cast("type[object]", hint), where="payload")
            name = payload.metadata.get("messageType", b"").decode(errors="replace")
            message = known_message(name)
            if message is not None:
                return self._messages.detail_as(from_proto(payload), message.type, where="payload")
        return self._values.from_payloads([payload], None if hint is None else [hint])[0]


class BinaryMessageConverter(MessageConverter):
    """As `MessageConverter`, in `binary/protobuf`."""

    encoding = "binary/protobuf"


def data_converter(*, encoding: Encoding = "json/protobuf", codecs: Sequence[PayloadCodec] = ()) -> DataConverter:
    """A data converter for a client or a worker that is written on the `temporalio` SDK.

    ::

        client = await temporalio.client.Client.connect("localhost:7233", data_converter=data_converter())
        await client.execute_workflow("nodes.provisioning.v1.NodeProvisionerService.AddNode", AddNodeRequest(...), ...)

    Args:
        encoding: How messages are written; `json/protobuf` and `binary/protobuf` are always read.
        codecs: Applied to every payload on its way to the server, in this order: compression, encryption.
    """
    return DataConverter(
        payload_converter_class=BinaryMessageConverter if encoding == "binary/protobuf" else MessageConverter,
        payload_codec=ChainCodec(codecs) if codecs else None,
        failure_converter_class=MessageFailureConverter,
    )
