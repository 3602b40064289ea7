"""Rules on rpcs: streams, and what a signal and a query answer."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from protopact_codegen.contract import Contract, Query, Signal
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.lint.finding import Rule, elements, subject

__all__ = ["RULES"]


def _streaming(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        sides = (
            ("request", element.client_streaming, MethodDescriptorProto.CLIENT_STREAMING_FIELD_NUMBER),
            ("response", element.server_streaming, MethodDescriptorProto.SERVER_STREAMING_FIELD_NUMBER),
        )
        for side, streams, number in sides:
            if streams:
                yield Diagnostic(
                    Code.STREAMING,
                    element.place.part(number),
                    f"{subject(element)}: its {side} is a stream; expected one message",
                    f"remove `stream` before the {side}'s type",
                )


def _responses(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        place = element.place.part(MethodDescriptorProto.OUTPUT_TYPE_FIELD_NUMBER)
        if isinstance(element, Signal) and not element.response.empty:
            yield Diagnostic(
                Code.SIGNAL_RESPONSE,
                place,
                f"{subject(element)}: its response is {element.response.name}; expected google.protobuf.Empty",
                "return google.protobuf.Empty, or make the rpc an `update`, which has a response",
            )
        if isinstance(element, Query) and element.response.empty:
            yield Diagnostic(
                Code.QUERY_RESPONSE,
                place,
                f"{subject(element)}: its response is google.protobuf.Empty; expected a message",
                "return a message, or make the rpc a `signal`, which has no response",
            )


RULES: tuple[Rule, ...] = (_streaming, _responses)
