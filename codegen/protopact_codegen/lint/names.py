"""Rules on names: those that workers register, and those of the generated Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protopact_codegen.contract import Activity, Contract, Element, Rpc, Service, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic, quote
from protopact_codegen.lint.finding import Rule, elements, finding, subject
from protopact_codegen.names import collisions

__all__ = ["RULES"]

_RESERVED = "__"


def _registered(element: Rpc) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Names of an element with the option field of each; a default name has none."""
    yield element.name, () if element.name == element.full_name else ("name",)
    for index, alias in enumerate(element.aliases):
        yield alias, ("aliases", index)


def _usable(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        for name, steps in _registered(element):
            if not name:
                yield finding(Code.RESERVED_NAME, element, "is empty", "write a name, or remove it", *steps)
            elif name.startswith(_RESERVED):
                what = f"is {quote(name)}; names that start with `{_RESERVED}` belong to the engines"
                yield finding(Code.RESERVED_NAME, element, what, "choose another name", *steps)


def _distinct(contract: Contract) -> Iterator[Diagnostic]:
    """A worker finds its workflows and activities, and a workflow its handlers, by name."""
    for service in contract.services:
        yield from _clashes(service.workflows)
        yield from _clashes(service.activities)
    for workflow in (element for element in elements(contract) if isinstance(element, Workflow)):
        yield from _clashes(ref.query for ref in workflow.queries)
        yield from _clashes(ref.signal for ref in workflow.signals)
        yield from _clashes(ref.update for ref in workflow.updates)
    yield from _clashes_between_services(contract)


def _clashes(group: Iterable[Element]) -> Iterator[Diagnostic]:
    seen: dict[str, Element] = {}
    for element in group:
        for name, steps in _registered(element):
            if name in seen:
                yield _taken(element, name, seen[name], *steps)
            seen.setdefault(name, element)


def _clashes_between_services(contract: Contract) -> Iterator[Diagnostic]:
    """Services that share a task queue share its workers."""
    seen: dict[tuple[type[Element], str | None, str], Element] = {}
    for element in elements(contract):
        if isinstance(element, Workflow | Activity):
            for name, steps in _registered(element):
                first = seen.setdefault((type(element), element.task_queue, name), element)
                if first.service != element.service:
                    yield _taken(element, name, first, *steps)


def _taken(element: Element, name: str, first: Element, *steps: str | int) -> Diagnostic:
    whose = "the same rpc" if first is element else subject(first)
    what = f"{'is' if steps else 'has the default name'} {quote(name)}, a name of {whose} too"
    return finding(Code.DUPLICATE_NAME, element, what, "every name means one rpc: change one of the two", *steps)


def _collisions(contract: Contract) -> Iterator[Diagnostic]:
    """Two rpcs may meet in several places of a module; the first is enough."""
    for file in contract.files:
        seen: set[tuple[str, str]] = set()
        for first, second in collisions(file):
            owners = (first.owner.full_name, second.owner.full_name)
            if owners in seen:
                continue
            seen.add(owners)
            yield Diagnostic(
                Code.COLLIDING_NAMES,
                second.owner.place,
                f"{_words(second.owner)} and {_words(first.owner)} are both `{second}` in Python",
                "rename one of the two",
            )


def _words(owner: Service | Element) -> str:
    return f"service {owner.full_name}" if isinstance(owner, Service) else subject(owner)


RULES: tuple[Rule, ...] = (_usable, _distinct, _collisions)
