"""Contracts to generated modules, through jinja2.

`templates/` holds the shape of a module and reads like what it produces; what a template cannot say well stands here:
names, docstrings, imports, and where lines are broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import metadata

import jinja2

from protopact_codegen.contract import Contract, Element, File, Message, Service, Workflow
from protopact_codegen.emit_constants import Constants
from protopact_codegen.emit_expression import Call, docstring, signature, text, write
from protopact_codegen.imports import PARAMETERS, Imports
from protopact_codegen.libraries import Library, find_library
from protopact_codegen.names import client_methods, method_name, public_names, service_class, workflow_class
from protopact_codegen.options import Options
from protopact_codegen.response import GeneratedFile

__all__ = ["MINIMUM_RUNTIME", "emit"]

MINIMUM_RUNTIME = "0.1.0"
"""The oldest runtime that has everything that generated modules use."""


def emit(contract: Contract, options: Options) -> list[GeneratedFile]:
    """Generate a module for each file of a contract that has no errors."""
    library = find_library(options)
    version = metadata.version("protopact")
    return [
        GeneratedFile(library.output_path(file), _Module(file, library, options, version).render())
        for file in contract.files
    ]


class _Module:
    """One generated module: what its templates ask for."""

    def __init__(self, file: File, library: Library, options: Options, version: str) -> None:
        self.file = file
        self.library = library
        self.options = options
        self.version = version
        self.minimum_runtime = MINIMUM_RUNTIME
        self.imports = Imports(file, library)
        self.constants = Constants(file, library, self.imports)
        self.digest = sha256("".join(service.digest for service in file.services).encode()).hexdigest()
        self._public = {(name.scope, name.name) for name in public_names(file)}

    def render(self) -> str:
        """The module's text."""
        services = [self._render_service(service) for service in self.file.services]
        return _template("module.py.jinja").render(module=self, services=services)

    def _render_service(self, service: Service) -> str:
        use = self.imports.use
        for name in ("contract", "generated"):
            use(name)
        if service.workflows:
            for name in ("abstractmethod", "client", "policy", "workflow", "Unpack"):
                use(name)
        if service.activities:
            for name in ("abstractmethod", "activity", "policy", "workflow", "Awaitable", "Unpack"):
                use(name)
        return _template("service.py.jinja").render(module=self, service=service)

    def reference(self, service: Service) -> str:
        """Name of a service's class inside its client: another one, where its own means something else there."""
        name = service_class(service)
        return f"_{name}" if self.is_shadowed(service) else name

    def is_shadowed(self, service: Service) -> bool:
        """Whether a method of a service's client, or a parameter, is called like the service."""
        name = service_class(service)
        return name in PARAMETERS or (f"{name}.Client", name) in self._public

    def type(self, message: Message) -> str:
        """The class of a message, in annotations."""
        return self.imports.message(message)

    def doc(self, element: Element | Service, indent: int, first: str = "") -> str:
        """The docstring of an element, from its comment; `first` stands above."""
        kind = "Service" if isinstance(element, Service) else element.kind.value.capitalize()
        paragraphs = [first, element.doc or ("" if first else f"{kind} `{element.full_name}`.")]
        if element.deprecated:
            paragraphs.append("Deprecated.")
        if isinstance(element, Workflow) and not first:
            paragraphs.append(_facts(element))
        return docstring("\n\n".join(filter(None, paragraphs)), indent)

    def define(self, start: str, parameters: Sequence[str], returns: str, indent: int) -> str:
        """The first lines of a function; see `parameters`."""
        return signature(start, parameters, returns, indent)

    def parameters(self, *messages: tuple[str, Message], own: str = "", options: str = "") -> list[str]:
        """Parameters of a generated function: `own`, a positional-only one for each message, options."""
        requests = [f"{name}: {self.type(message)}" for name, message in messages if not message.empty]
        found = [own, *requests, "/" if requests else "", options and f"**options: _Unpack[_policy.{options}]"]
        return [parameter for parameter in found if parameter]

    def call(self, before: str, function: str, arguments: Sequence[str], indent: int) -> str:
        """A statement that calls a function."""
        return write(Call(function, [("", argument) for argument in arguments]), indent, before)

    def argument(self, name: str, message: Message) -> str:
        """The argument that a generated function hands on for its parameter `name`."""
        return "None" if message.empty else name


def _facts(workflow: Workflow) -> str:
    """What a reader of a workflow class wants to know of its contract."""
    facts = [f"Registered as `{workflow.name}`."] if workflow.doc or workflow.name != workflow.full_name else []
    if workflow.id is not None:
        facts.append(f"Its id is `{workflow.id.source}`.")
    if workflow.task_queue is not None:
        facts.append(f"Its task queue is `{workflow.task_queue}`.")
    return "\n".join(facts)


@cache
def _template(name: str) -> jinja2.Template:
    """A template, compiled once; it sees these functions."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("protopact_codegen"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python is written here, not HTML
    )
    functions = {
        "client_methods": client_methods,
        "method_name": method_name,
        "service_class": service_class,
        "text": text,
        "workflow_class": workflow_class,
    }
    return environment.get_template(name, globals=functions)
