"""Python names of the generated surface, from the contract's own names.

A name depends on its own service and rpc only, never on its neighbours. Two names that meet are therefore an error
of the contract (`collisions`), not a reason to rename one of them.

Public names never start with an underscore; every private name of a generated module does, so the two cannot meet.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from protopact_codegen.contract import Activity, Change, Element, File, Query, Service, Signal, Update, Workflow

__all__ = [
    "ClientMethods",
    "PublicName",
    "change_name",
    "client_methods",
    "collisions",
    "method_name",
    "public_names",
    "service_class",
    "snake_case",
    "stem",
    "workflow_class",
]

_WORDS = re.compile(
    r"""
      [A-Z]{2,}s(?![a-z])[0-9]*   # an acronym's plural: the IDs of ListIDs
    | [A-Z]+(?![a-z])[0-9]*       # an acronym: the HTTP of HTTPGet, the VM2 of CreateVM2
    | [A-Z]?[a-z]+[0-9]*          # a word
    | [0-9]+
    """,
    re.VERBOSE,
)

# What a generated module reads as builtins: in the bodies of its classes, and anywhere.
_BUILTINS = frozenset({"classmethod", "staticmethod"})
_RESERVED_SERVICES = frozenset({"ImportError", "annotations", "getattr", "str", "tuple"})

# What the runtime's own classes have, or may get.
_RESERVED_CLASSES = frozenset({"Activities", "Client", "Local"})
_RESERVED_HANDLERS = frozenset(
    {
        "cancel",
        "changed",
        "continue_as_new",
        "describe",
        "execute_child",
        "external",
        "history",
        "id",
        "reset",
        "result",
        "run",
        "run_id",
        "start_child",
        "str",
        "terminate",
    }
)

_Owner: TypeAlias = Service | Element


def snake_case(name: str) -> str:
    """Convert a proto name: `CreateVM2` to `create_vm2`, `HTTPGet` to `http_get`, `ListIDs` to `list_ids`."""
    return _identifier("_".join(_WORDS.findall(name)).lower(), name)


def stem(element: Element) -> str:
    """Name of `element` inside longer names: the `add_node` of `start_add_node`."""
    return snake_case(element.rpc)


def method_name(element: Element) -> str:
    """Name of an element's method: the same on the worker class, the handle, the activities class and as a stub.

    Names derived from it (`on_pause`, `validate_resize`, `start_resize`) put a prefix before it.
    """
    name = stem(element)
    reserved = _RESERVED_HANDLERS if isinstance(element, Query | Signal | Update) else frozenset[str]()
    return _escape(name, reserved)


def change_name(change: Change) -> str:
    """Name of a change's method: `switch-activities` is `switch_activities`."""
    return _escape(change.id.replace("-", "_"), frozenset())


def workflow_class(workflow: Workflow) -> str:
    """Name of a workflow's worker base class within its service's class: the rpc's name."""
    return _escape(_public(workflow.rpc), _RESERVED_CLASSES)


def service_class(service: Service) -> str:
    """Name of a service's class: the service's name."""
    return _escape(_public(service.name), _RESERVED_SERVICES)


@dataclass(frozen=True, slots=True)
class ClientMethods:
    """Names that a workflow has on its service's client."""

    start: str
    execute: str
    handle: str

    def start_with(self, handler: Element) -> str:
        """Name of the method that starts the workflow together with a signal or an update."""
        return f"{self.start}_with_{stem(handler)}"


def client_methods(workflow: Workflow) -> ClientMethods:
    """Names that `workflow` has on its service's client."""
    name = stem(workflow)
    return ClientMethods(start=f"start_{name}", execute=f"execute_{name}", handle=f"{name}_handle")


@dataclass(frozen=True, slots=True)
class PublicName:
    """A public name of a generated module.

    Attributes:
        scope: Dotted name of the class that has it; empty for the module.
        name: The name.
        owner: The service or element that it comes from.
    """

    scope: str
    name: str
    owner: _Owner

    def __str__(self) -> str:
        return f"{self.scope}.{self.name}" if self.scope else self.name


def public_names(file: File) -> Iterator[PublicName]:
    """Every public name of the module that is generated for `file`, in the order of the contract."""
    for service in file.services:
        scope = service_class(service)
        yield PublicName("", scope, service)
        for element in service.elements:
            if isinstance(element, Activity):
                yield PublicName(scope, method_name(element), element)
                yield PublicName(f"{scope}.Activities", method_name(element), element)
                yield PublicName(f"{scope}.Local", method_name(element), element)
            elif isinstance(element, Workflow):
                yield from _workflow_names(scope, element)


def collisions(file: File) -> Iterator[tuple[PublicName, PublicName]]:
    """Pairs of names of `file` that meet, the earlier one first."""
    seen: dict[tuple[str, str], PublicName] = {}
    for name in public_names(file):
        first = seen.setdefault((name.scope, name.name), name)
        if first is not name:
            yield first, name


def _workflow_names(service: str, workflow: Workflow) -> Iterator[PublicName]:
    scope = f"{service}.{workflow_class(workflow)}"
    yield PublicName(service, workflow_class(workflow), workflow)
    methods = client_methods(workflow)
    client = f"{service}.Client"
    yield from (PublicName(client, name, workflow) for name in (methods.start, methods.execute, methods.handle))
    for query in (ref.query for ref in workflow.queries):
        yield PublicName(scope, method_name(query), query)
        yield PublicName(f"{scope}.Handle", method_name(query), query)
    for signal_ref in workflow.signals:
        signal = signal_ref.signal
        yield PublicName(scope, method_name(signal), signal)
        yield PublicName(scope, f"on_{method_name(signal)}", signal)
        for handle in ("Handle", "ChildHandle", "ExternalHandle"):
            yield PublicName(f"{scope}.{handle}", method_name(signal), signal)
        if signal_ref.start:
            yield PublicName(client, methods.start_with(signal), signal)
    for update_ref in workflow.updates:
        update = update_ref.update
        yield PublicName(scope, method_name(update), update)
        if update_ref.validate:
            yield PublicName(scope, f"validate_{method_name(update)}", update)
        yield PublicName(f"{scope}.Handle", method_name(update), update)
        yield PublicName(f"{scope}.Handle", f"start_{method_name(update)}", update)
        if update_ref.start:
            yield PublicName(client, methods.start_with(update), update)


def _public(name: str) -> str:
    return _identifier(name.lstrip("_"), name)


def _identifier(name: str, original: str) -> str:
    """Make a public identifier of `name`, which is what is left of `original` without leading underscores."""
    return name if name[:1].isalpha() else f"x{name or original}"


def _escape(name: str, reserved: frozenset[str]) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in _BUILTINS or name in reserved else name
