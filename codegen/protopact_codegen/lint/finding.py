"""How findings are worded: the element, the option field as the proto file spells it, what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from protopact_codegen.contract import Contract, Element, Rpc
from protopact_codegen.diagnostics import Code, Diagnostic

__all__ = ["Rule", "elements", "finding", "subject"]

Rule: TypeAlias = Callable[[Contract], Iterator[Diagnostic]]


def elements(contract: Contract) -> Iterator[Element]:
    """Every element of a contract, in its order."""
    for service in contract.services:
        yield from service.elements


def subject(element: Rpc) -> str:
    """Words for an element: `activity nodes.v1.NodeService.CreateVm`."""
    return f"{element.kind.value} {element.full_name}"


def finding(code: Code, element: Rpc, what: str, hint: str, *steps: str | int) -> Diagnostic:
    """Make a diagnostic of an element's option field, or of the element when there are no `steps`."""
    spelled = f"{element.place.spell(*steps)} " if steps else ""
    return Diagnostic(code, element.place, f"{subject(element)}: {spelled}{what}", hint, steps)
