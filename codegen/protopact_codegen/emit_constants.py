"""The constants of a generated module: the contract's elements as objects of `protopact.contract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from typing import TypeAlias, cast

from protopact_codegen.contract import (
    Activity,
    Element,
    File,
    Message,
    Priority,
    Query,
    RetryPolicy,
    SearchAttribute,
    Service,
    Signal,
    Update,
    Workflow,
)
from protopact_codegen.emit_expression import Bytes, Call, Dict, Expression, Tuple, text, write
from protopact_codegen.imports import Imports
from protopact_codegen.libraries import Library
from protopact_codegen.libraries.library import messages_of
from protopact_codegen.names import method_name, snake_case
from protopact_codegen.template import FieldKind, FieldPath, Literal, Template, TemplatePart, Transform, Uuid
from protopact_codegen.versioning.closure import Closure

__all__ = ["Constants"]

# Where the enumerations of the contract live in the runtime, when not under their own names in `policy`.
_POLICY_NAMES = {"IdReusePolicy": "WorkflowIdReusePolicy", "IdConflictPolicy": "WorkflowIdConflictPolicy"}

_ACTIVITY_OPTIONS = (
    "task_queue",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_policy",
)
_WORKFLOW_OPTIONS = (
    "id",
    "task_queue",
    "id_reuse_policy",
    "id_conflict_policy",
    "execution_timeout",
    "run_timeout",
    "task_timeout",
    "retry_policy",
    "parent_close_policy",
    "wait_for_cancellation",
    "search_attributes",
    "versioning_behavior",
    "enable_eager_start",
    "priority",
)

_UNITS = (("seconds", 1_000_000), ("milliseconds", 1_000), ("microseconds", 1))

_Arguments: TypeAlias = list[tuple[str, Expression]]


class Constants:
    """The constants of the module for one file, each under a private name."""

    def __init__(self, file: File, library: Library, imports: Imports, closures: Mapping[str, Closure]) -> None:
        self._closures = closures
        self._library = library
        self._imports = imports
        self._taken = set(imports.private)
        self._names = dict[str, str]()
        self._schema = self._name("SCHEMA", "SCHEMA")
        self.statements = list[str]()
        if imports.any_messages:
            self._define(self._schema, self._schema_expression(file))
        for service in file.services:
            for element in service.elements:
                if isinstance(element, Workflow):
                    for handler in element.handlers:
                        self._add(handler)
                elif isinstance(element, Activity):
                    self._add(element)
        for service in file.services:
            for workflow in service.workflows:
                self._add(workflow)
            constant = self._names[service.full_name] = self._name(snake_case(service.name).upper(), "SERVICE")
            self._define(constant, self._service(service))

    def name(self, element: Element | Service) -> str:
        """Name of the constant that describes an element."""
        return self._names[element.full_name]

    def _add(self, rpc: Element) -> None:
        if rpc.full_name not in self._names:
            stem = snake_case(rpc.rpc)
            service = snake_case(rpc.service.rpartition(".")[2])
            self._names[rpc.full_name] = self._name(stem.upper(), f"{service}_{stem}".upper())
            self._define(self._names[rpc.full_name], self._rpc(rpc))

    def _name(self, short: str, long: str) -> str:
        name = f"_{short}" if f"_{short}" not in self._taken else f"_{long}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _define(self, name: str, expression: Expression) -> None:
        self.statements.append(write(expression, 0, f"{name} = "))

    def _schema_expression(self, file: File) -> Expression:
        descriptors = self._library.descriptors(messages_of(file))
        arguments: _Arguments = [("", text(self._library.name))]
        if descriptors:
            arguments.append(("descriptors", Bytes(descriptors)))
        if file.aliases:
            arguments.append(("aliases", Dict([(text(name), self._value(was)) for name, was in file.aliases])))
        return self._contract("Schema", arguments)

    def _service(self, service: Service) -> Expression:
        arguments: _Arguments = [
            ("name", text(service.full_name)),
            ("source", text(service.file)),
            ("digest", text(service.digest)),
            *self._given(service, "task_queue"),
        ]
        for name, elements in (("workflows", service.workflows), ("activities", service.activities)):
            if elements:
                arguments.append((name, self._constants(elements)))
        return self._contract("Service", arguments)

    def _rpc(self, rpc: Element) -> Expression:
        arguments: _Arguments = [
            ("name", text(rpc.name)),
            ("method", text(method_name(rpc))),
            ("request", self._message(rpc.request)),
        ]
        if not isinstance(rpc, Signal):
            arguments.append(("response", self._message(rpc.response)))
        if isinstance(rpc, Workflow):
            arguments.append(("service", text(rpc.service)))
        arguments += self._given(rpc, "aliases")
        match rpc:
            case Workflow():
                arguments += self._workflow(rpc)
            case Activity():
                arguments += self._given(rpc, *_ACTIVITY_OPTIONS)
                if rpc.wait_for_cancellation:
                    waiting = f"{self._imports.use('policy')}.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED"
                    arguments.append(("cancellation_type", waiting))
                arguments += self._given(rpc, "priority")
            case Update():
                arguments += self._given(rpc, "id", "wait_for_stage")
            case Query() | Signal():
                pass
        return self._contract(type(rpc).__name__, arguments)

    def _workflow(self, workflow: Workflow) -> _Arguments:
        arguments = self._given(workflow, *_WORKFLOW_OPTIONS)
        if workflow.queries:
            arguments.append(("queries", self._constants([ref.query for ref in workflow.queries])))
        if workflow.signals:
            refs = [self._reference("SignalRef", ref.signal, ref, "start") for ref in workflow.signals]
            arguments.append(("signals", Tuple(refs)))
        if workflow.updates:
            names = ("start", "validate", "id_conflict_policy")
            refs = [self._reference("UpdateRef", ref.update, ref, *names) for ref in workflow.updates]
            arguments.append(("updates", Tuple(refs)))
        arguments.append(("closure", self._closure(self._closures[workflow.full_name])))
        return arguments

    def _closure(self, closure: Closure) -> Expression:
        arguments: _Arguments = [("", text(closure.digest)), *self._given(closure, "release")]
        if closure.checked is not None:
            releases = [Tuple([text(name), text(digest)]) for name, digest in closure.checked]
            arguments.append(("checked", Tuple(releases)))
        return self._contract("Closure", arguments)

    def _reference(self, name: str, handler: Element, ref: object, *options: str) -> Call:
        return self._contract(name, [("", self.name(handler)), *self._given(ref, *options)])

    def _constants(self, elements: Sequence[Element]) -> Tuple:
        return Tuple([self.name(element) for element in elements])

    def _message(self, message: Message) -> Expression:
        if message.empty:
            return f"{self._imports.use('contract')}.EMPTY"
        return Call(f"{self._schema}.message", [("", text(message.name)), ("", self._imports.message(message))])

    def _given(self, holder: object, *names: str) -> _Arguments:
        """The attributes of `holder` that the contract gives, as arguments of the same names."""
        values = [(name, getattr(holder, name)) for name in names]
        return [
            (name, self._value(value))
            for name, value in values
            if not (value is None or value is False or value in {(), ""})
        ]

    def _value(self, value: object) -> Expression:
        expression: Expression = repr(value)  # a number or a truth, unless it is found to be something else
        match value:
            case str():
                expression = text(value)
            case timedelta():
                expression = self._duration(value)
            case Enum():
                expression = self._member(value)
            case RetryPolicy() | Priority():
                given = self._given(value, *(field.name for field in fields(value)))
                expression = Call(f"{self._imports.use('policy')}.{type(value).__name__}", given)
            case Template(source, parts):
                written = Tuple([self._part(part) for part in parts])
                expression = self._contract("Template", [("", text(source)), ("", written)])
            case SearchAttribute(name, kind, computed):
                found = self._attributes(computed) if isinstance(computed, FieldPath) else self._value(computed)
                arguments: _Arguments = [("", text(name)), ("", self._member(kind)), ("", found)]
                expression = self._contract("SearchAttribute", arguments)
            case _ if isinstance(value, tuple):
                expression = Tuple([self._value(each) for each in cast("tuple[object, ...]", value)])
            case _:
                pass
        return expression

    def _member(self, member: Enum) -> str:
        name = type(member).__name__
        if isinstance(member, FieldKind | Transform):
            return f"{self._imports.use('contract')}.{name}.{member.name}"
        return f"{self._imports.use('policy')}.{_POLICY_NAMES.get(name, name)}.{member.name}"

    def _duration(self, value: timedelta) -> Expression:
        microseconds = value // timedelta(microseconds=1)
        unit, size = next(unit for unit in _UNITS if microseconds % unit[1] == 0)
        return Call(self._imports.use("timedelta"), [(unit, str(microseconds // size))])

    def _part(self, part: TemplatePart) -> Expression:
        match part:
            case Literal(literal):
                return text(literal)
            case Uuid():
                return self._contract("Uuid", [])
            case FieldPath():
                arguments: _Arguments = [("", self._attributes(part)), ("", text(part.name))]
                if part.kind is not FieldKind.STRING:
                    arguments += self._given(part, "kind")
                if self._library.has_presence(part.fields[-1]):
                    arguments.append(("optional", "True"))
                return self._contract("Field", arguments + self._given(part, "transforms", "enum"))

    def _attributes(self, path: FieldPath) -> Tuple:
        return Tuple([text(self._library.attribute(field)) for field in path.fields])

    def _contract(self, name: str, arguments: _Arguments) -> Call:
        return Call(f"{self._imports.use('contract')}.{name}", arguments)
