"""Warnings on messages: what can be generated, and hurts when the contract grows."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from protopact_codegen.contract import Activity, Contract, Element, Kind, Message, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.lint.finding import Rule, elements, subject
from protopact_codegen.source import Place

__all__ = ["RULES"]


def _sides(element: Element) -> Iterator[tuple[str, Message, Place]]:
    yield "request", element.request, element.place.part(MethodDescriptorProto.INPUT_TYPE_FIELD_NUMBER)
    yield "response", element.response, element.place.part(MethodDescriptorProto.OUTPUT_TYPE_FIELD_NUMBER)


def _shared(contract: Contract) -> Iterator[Diagnostic]:
    for file in contract.files:
        uses: dict[str, dict[Kind, tuple[str, Element]]] = {}
        for element in (element for service in file.services for element in service.elements):
            for side, message, place in _sides(element):
                kinds = uses.setdefault(message.name, {})
                own = message.package != "google.protobuf"
                if own and kinds and element.kind not in kinds:
                    first_side, first = next(iter(kinds.values()))
                    yield Diagnostic(
                        Code.SHARED_MESSAGE,
                        place,
                        f"{message.name} is the {side} of {subject(element)} and the {first_side} of {subject(first)}: "
                        "neither can change without the other",
                        f"give the {element.kind.value} a {side} of its own",
                    )
                kinds.setdefault(element.kind, (side, element))


def _empty(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        if isinstance(element, Workflow | Activity):
            for side, message, place in _sides(element):
                if message.empty:
                    yield Diagnostic(
                        Code.EMPTY_MESSAGE,
                        place,
                        f"{subject(element)}: its {side} is google.protobuf.Empty, to which no field can be added",
                        f"give it a {side} of its own, even one without fields",
                    )


RULES: tuple[Rule, ...] = (_shared, _empty)
