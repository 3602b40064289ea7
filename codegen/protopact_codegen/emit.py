"""Contracts to generated modules, through jinja2.

`templates/module.py.jinja` holds the shape of a module. Its constants are made by `emit_constants`, its methods by
`emit_methods`, and the names of what it imports by `imports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256

import jinja2

from protopact_codegen._version import __version__
from protopact_codegen.contract import Contract, File, Service, Workflow
from protopact_codegen.emit_constants import Constants
from protopact_codegen.emit_expression import docstring, text
from protopact_codegen.emit_methods import Methods, describe
from protopact_codegen.imports import Imports
from protopact_codegen.libraries import Library, find_library
from protopact_codegen.names import method_name, service_class, workflow_class
from protopact_codegen.options import Options
from protopact_codegen.response import GeneratedFile
from protopact_codegen.versioning.closure import Closure

__all__ = ["MINIMUM_RUNTIME", "emit"]

MINIMUM_RUNTIME = "0.1.0"
"""The oldest runtime that has everything that generated modules use."""


def emit(contract: Contract, options: Options, closures: Mapping[str, Closure]) -> list[GeneratedFile]:
    """Generate a module for each file of a contract that has no errors.

    Args:
        contract: The contract.
        options: What the invocation asks for.
        closures: What the code says of its workflows' closures, by the rpc's full name.
    """
    library = find_library(options)
    return [
        GeneratedFile(library.output_path(file), _render(file, library, options, closures)) for file in contract.files
    ]


def _render(file: File, library: Library, options: Options, closures: Mapping[str, Closure]) -> str:
    imports = Imports(file, library)
    imports.use("contract")
    imports.use("generated")
    constants = Constants(file, library, imports, closures)
    services = [_ServiceView(service, imports, constants) for service in file.services]
    return _template().render(
        constants=constants.statements,
        digest=sha256("".join(service.digest for service in file.services).encode()).hexdigest(),
        imports=imports,
        library=library.name,
        messages=[*imports.messages()],
        minimum_runtime=MINIMUM_RUNTIME,
        parameter=options.parameter or "none",
        services=services,
        source=file.path,
        version=__version__,
    )


class _ServiceView:
    """A service, as the template sees it."""

    def __init__(self, service: Service, imports: Imports, constants: Constants) -> None:
        methods = Methods(service, imports, constants.name)
        self.name = service_class(service)
        self.reference = methods.reference
        self.contract_name = service.name
        self.doc = describe(service)
        self.constant = constants.name(service)
        self.workflows = [_WorkflowView(workflow, methods, imports, constants) for workflow in service.workflows]
        self.activities = [*methods.activities()]
        self.client = [*methods.client()]
        self.stubs = [*methods.stubs()]
        self.local_stubs = [*methods.local_stubs()]
        if self.activities:
            imports.use("activity")


class _WorkflowView:
    """A workflow, as the template sees it."""

    def __init__(self, workflow: Workflow, methods: Methods, imports: Imports, constants: Constants) -> None:
        imports.use("workflow")
        self.name = workflow_class(workflow)
        self.rpc = workflow.rpc
        self.doc = "\n\n".join(filter(None, (describe(workflow), _facts(workflow))))
        self.constant = constants.name(workflow)
        self.request = imports.message(workflow.request)
        self.response = imports.message(workflow.response)
        self.channels = [
            (method_name(ref.signal), constants.name(ref.signal), describe(ref.signal)) for ref in workflow.signals
        ]
        self.changes = [*methods.changes(workflow)]
        self.worker = [*methods.worker(workflow)]
        self.handle = [*methods.handle(workflow)]
        self.child = [*methods.child(workflow)]
        self.external = [*methods.external(workflow)]


def _facts(workflow: Workflow) -> str:
    """What a reader of a workflow class wants to know of its contract."""
    facts = [f"Registered as `{workflow.name}`."] if workflow.doc or workflow.name != workflow.full_name else []
    if workflow.id is not None:
        facts.append(f"Its id is `{workflow.id.source}`.")
    if workflow.task_queue is not None:
        facts.append(f"Its task queue is `{workflow.task_queue}`.")
    return "\n".join(facts)


@cache
def _template() -> jinja2.Template:
    """The template, compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("protopact_codegen"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python is written here, not HTML
    )
    environment.filters["docstring"] = docstring
    environment.filters["text"] = text
    return environment.get_template("module.py.jinja")
