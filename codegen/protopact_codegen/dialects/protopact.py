"""Our own dialect: `protopact/v1/annotations.proto`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import TypeAlias, TypedDict, TypeVar

from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.unknown_fields import UnknownFieldSet

from protopact_codegen import annotations_pb2 as schema
from protopact_codegen import template
from protopact_codegen.contract import (
    Activity,
    Allow,
    Change,
    IdConflictPolicy,
    IdReusePolicy,
    Kind,
    Message,
    ParentClosePolicy,
    Priority,
    Query,
    RetryPolicy,
    SearchAttribute,
    SearchAttributeType,
    Signal,
    Update,
    VersioningBehavior,
    WaitForStage,
    Workflow,
)
from protopact_codegen.diagnostics import Code, Diagnostic, Severity, quote
from protopact_codegen.dialects import Declaration, Method, Reference
from protopact_codegen.dialects.annotated import annotated_in
from protopact_codegen.source import Path, Place, Source
from protopact_codegen.template import FieldPath, Template

__all__ = ["Protopact", "Step"]

E = TypeVar("E", bound=Enum)
Step: TypeAlias = str | int

# A hundred years: histories hold points in time as nanoseconds in 64 bits, which end in the year 2262.
_MAX_SECONDS = 3_155_760_000
_NANOS = 1_000_000_000
_TEXT = frozenset({SearchAttributeType.KEYWORD, SearchAttributeType.TEXT})


def _table(name: str, members: type[E]) -> Mapping[int, E]:
    """Pair the numbers of one of the schema's enums with the members of the IR's."""
    unspecified, *values = schema.DESCRIPTOR.enum_types_by_name[name].values
    prefix = unspecified.name.removesuffix("UNSPECIFIED")
    return {value.number: members[value.name.removeprefix(prefix)] for value in values}


_ID_REUSE_POLICIES = _table("WorkflowIdReusePolicy", IdReusePolicy)
_ID_CONFLICT_POLICIES = _table("WorkflowIdConflictPolicy", IdConflictPolicy)
_PARENT_CLOSE_POLICIES = _table("ParentClosePolicy", ParentClosePolicy)
_VERSIONING_BEHAVIORS = _table("VersioningBehavior", VersioningBehavior)
_WAIT_FOR_STAGES = _table("WaitForStage", WaitForStage)
_SEARCH_ATTRIBUTE_TYPES = _table("SearchAttributeType", SearchAttributeType)


class Protopact:
    """Reads the annotations of `protopact.v1`."""

    def annotates(self, rpc: MethodDescriptorProto) -> bool:
        """Whether an rpc carries `(protopact.v1.method)`."""
        return rpc.options.HasExtension(schema.method)

    def task_queue(self, service: ServiceDescriptorProto) -> str | None:
        """Default task queue of a service."""
        return service.options.Extensions[schema.service].task_queue or None

    def service_place(self, source: Source, path: Path) -> Place:
        """Place of a service whose path is `path`, with its options."""
        options = (*path, ServiceDescriptorProto.OPTIONS_FIELD_NUMBER, schema.service.number)
        return Place(source, path, options, f"({schema.service.full_name})", schema.ServiceOptions.DESCRIPTOR)

    def check(self, file: FileDescriptorProto, source: Source) -> Iterator[Diagnostic]:
        """Find annotations of another version of the schema on everything but rpcs."""
        for annotated in annotated_in(file):
            if not isinstance(annotated.options, schema.MethodOptions):
                yield from _unknown_fields(file.name, annotated.place(source), annotated.options)

    def allows(self, file: FileDescriptorProto, source: Source) -> Iterator[Allow]:
        """Read what a file passes of the check against releases."""
        for annotated in annotated_in(file):
            place = annotated.place(source)
            for index, allow in enumerate(annotated.options.allow):
                # A file has no name: what it held is called by its full one.
                element = ".".join(filter(None, (annotated.name, allow.element)))
                yield Allow(element, allow.rule, tuple(allow.releases), allow.reason, index, place)

    def aliases(self, file: FileDescriptorProto) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Read the former names of a file's messages."""
        for annotated in annotated_in(file):
            if isinstance(annotated.options, schema.MessageOptions) and annotated.options.aliases:
                yield annotated.name, tuple(annotated.options.aliases)

    def declare(self, method: Method, diagnostics: list[Diagnostic]) -> Declaration:
        """Read the annotation of an rpc that carries it, and add to `diagnostics` what is wrong with it."""
        options = method.proto.options.Extensions[schema.method]
        number = schema.method.number
        path = (*method.place.path, MethodDescriptorProto.OPTIONS_FIELD_NUMBER, number)
        place = replace(
            method.place,
            option_path=path,
            option_name=f"({schema.method.full_name})",
            option_type=schema.MethodOptions.DESCRIPTOR,
        )
        unknown = list(_unknown_fields(f"rpc {method.full_name}", place, options))
        diagnostics += unknown
        kinds = [kind for kind in Kind if options.HasField(kind.value)]
        if len(kinds) == 1:
            member = schema.MethodOptions.DESCRIPTOR.fields_by_name[kinds[0].value]
            place = replace(
                place,
                option_path=(*path, member.number),
                option_name=f"({schema.method.full_name}).{member.name}",
                option_type=member.message_type,
            )
            return _Reading(method, place, kinds[0], diagnostics).declaration(options)
        if kinds:
            names = " and ".join(place.spell(kind.value) for kind in kinds)
            message, hint = f"rpc {method.full_name} has {names}; an rpc is one of them", "split it into several rpcs"
            diagnostics.append(Diagnostic(Code.SEVERAL_KINDS, place, message, hint, (kinds[1].value,)))
        elif not unknown:
            fields = ", ".join(f"`{kind.value}`" for kind in Kind)
            message = f"rpc {method.full_name}: {place.spell()} does not say what the rpc is"
            diagnostics.append(Diagnostic(Code.NO_KIND, place, message, f"set one of {fields}, or remove the option"))
        return Declaration(None)


class _Common(TypedDict):
    rpc: str
    full_name: str
    service: str
    file: str
    request: Message
    response: Message
    client_streaming: bool
    server_streaming: bool
    name: str
    aliases: tuple[str, ...]
    doc: str
    deprecated: bool
    place: Place


class _Reading:
    """The reading of one annotation: what it says, and what is wrong with it."""

    def __init__(self, method: Method, place: Place, kind: Kind, diagnostics: list[Diagnostic]) -> None:
        self._method = method
        self._place = place
        self._subject = f"{kind.value} {method.full_name}"
        self._kind = kind
        self._diagnostics = diagnostics

    def declaration(self, options: schema.MethodOptions) -> Declaration:
        match self._kind:
            case Kind.WORKFLOW:
                return self._workflow(options.workflow)
            case Kind.ACTIVITY:
                return Declaration(self._activity(options.activity))
            case Kind.QUERY:
                return Declaration(Query(**self._common(options.query.name, options.query.aliases)))
            case Kind.SIGNAL:
                return Declaration(Signal(**self._common(options.signal.name, options.signal.aliases)))
            case Kind.UPDATE:
                return Declaration(self._update(options.update))

    def _common(self, name: str, aliases: Iterable[str]) -> _Common:
        method = self._method
        return {
            "rpc": method.proto.name,
            "full_name": method.full_name,
            "service": method.service,
            "file": method.file,
            "request": method.request,
            "response": method.response,
            "client_streaming": method.proto.client_streaming,
            "server_streaming": method.proto.server_streaming,
            "name": name or method.full_name,
            "aliases": tuple(aliases),
            "doc": method.doc,
            "deprecated": method.proto.options.deprecated,
            "place": self._place,
        }

    def _workflow(self, options: schema.WorkflowOptions) -> Declaration:
        workflow = Workflow(
            **self._common(options.name, options.aliases),
            id=self._template("id", options.id),
            task_queue=options.task_queue or self._method.task_queue,
            id_reuse_policy=self._member(_ID_REUSE_POLICIES, options.id_reuse_policy, "id_reuse_policy"),
            id_conflict_policy=self._member(
                _ID_CONFLICT_POLICIES, options.workflow_id_conflict_policy, "workflow_id_conflict_policy"
            ),
            execution_timeout=self._duration(options, "execution_timeout"),
            run_timeout=self._duration(options, "run_timeout"),
            task_timeout=self._duration(options, "task_timeout"),
            retry_policy=self._retry_policy(options),
            parent_close_policy=self._member(
                _PARENT_CLOSE_POLICIES, options.parent_close_policy, "parent_close_policy"
            ),
            wait_for_cancellation=options.wait_for_cancellation,
            search_attributes=tuple(self._search_attributes(options)),
            versioning_behavior=self._member(_VERSIONING_BEHAVIORS, options.versioning_behavior, "versioning_behavior"),
            enable_eager_start=options.enable_eager_start,
            priority=self._priority(options),
            changes=tuple(self._changes(options)),
        )
        return Declaration(workflow, tuple(self._references(options)))

    def _changes(self, options: schema.WorkflowOptions) -> Iterator[Change]:
        for index, change in enumerate(options.change):
            covers = (rpc if "." in rpc else f"{self._method.service}.{rpc}" for rpc in change.covers)
            yield Change(change.id, change.since, index, change.deprecated, tuple(covers))

    def _references(self, options: schema.WorkflowOptions) -> Iterator[Reference]:
        for index, query in enumerate(options.query):
            yield Reference(Kind.QUERY, query.ref, index)
        for index, signal in enumerate(options.signal):
            yield Reference(Kind.SIGNAL, signal.ref, index, signal.start)
        for index, update in enumerate(options.update):
            policy = self._member(
                _ID_CONFLICT_POLICIES,
                update.workflow_id_conflict_policy,
                "update",
                index,
                "workflow_id_conflict_policy",
            )
            validate = update.validate if update.HasField("validate") else None
            yield Reference(Kind.UPDATE, update.ref, index, update.start, validate, policy)

    def _activity(self, options: schema.ActivityOptions) -> Activity:
        return Activity(
            **self._common(options.name, options.aliases),
            task_queue=options.task_queue or self._method.task_queue,
            schedule_to_close_timeout=self._duration(options, "schedule_to_close_timeout"),
            schedule_to_start_timeout=self._duration(options, "schedule_to_start_timeout"),
            start_to_close_timeout=self._duration(options, "start_to_close_timeout"),
            heartbeat_timeout=self._duration(options, "heartbeat_timeout"),
            retry_policy=self._retry_policy(options),
            wait_for_cancellation=options.wait_for_cancellation,
            priority=self._priority(options),
        )

    def _update(self, options: schema.UpdateOptions) -> Update:
        return Update(
            **self._common(options.name, options.aliases),
            id=self._template("id", options.id),
            validate=options.validate,
            wait_for_stage=self._member(_WAIT_FOR_STAGES, options.wait_for_stage, "wait_for_stage"),
        )

    def _template(self, field: str, text: str) -> Template | None:
        return self._parse(text, field)[0] if text else None

    def _parse(self, text: str, *steps: Step) -> tuple[Template, bool]:
        """Parse a template; returns also whether it is whole."""
        parsed, problems = template.parse(text, self._method.request.descriptor)
        for problem in problems:
            self._add(problem.code, f"{quote(text)}: {problem.message}", problem.hint, *steps)
        return parsed, all(problem.code.severity is Severity.WARNING for problem in problems)

    def _search_attributes(self, options: schema.WorkflowOptions) -> Iterator[SearchAttribute]:
        for index, attribute in enumerate(options.search_attributes):
            steps = ("search_attributes", index)
            type_ = self._member(_SEARCH_ATTRIBUTE_TYPES, attribute.type, *steps, "type")
            value, whole = self._parse(attribute.value, *steps, "value")
            if type_ is None:
                self._untyped(attribute.type, *steps)
            elif whole:
                match value.parts:
                    case (FieldPath(transforms=()) as path,) if type_ not in _TEXT:
                        yield SearchAttribute(attribute.name, type_, path, index)
                    case _:
                        yield SearchAttribute(attribute.name, type_, value, index)

    def _untyped(self, number: int, *steps: Step) -> None:
        if not number:
            names = ", ".join(f"SEARCH_ATTRIBUTE_TYPE_{member.name}" for member in SearchAttributeType)
            self._add(Code.SEARCH_ATTRIBUTE, "has no type", f"set `type` to one of {names}", *steps)

    def _retry_policy(self, options: schema.WorkflowOptions | schema.ActivityOptions) -> RetryPolicy | None:
        if not options.HasField("retry_policy"):
            return None
        policy = options.retry_policy
        return RetryPolicy(
            initial_interval=self._duration(policy, "initial_interval", "retry_policy"),
            backoff_coefficient=policy.backoff_coefficient or None,
            maximum_interval=self._duration(policy, "max_interval", "retry_policy"),
            maximum_attempts=policy.max_attempts or None,
            non_retryable_error_types=tuple(policy.non_retryable_error_types),
        )

    def _priority(self, options: schema.WorkflowOptions | schema.ActivityOptions) -> Priority | None:
        if not options.HasField("priority"):
            return None
        priority = options.priority
        return Priority(
            priority_key=priority.priority_key or None,
            fairness_key=priority.fairness_key or None,
            fairness_weight=priority.fairness_weight or None,
        )

    def _duration(self, options: ProtoMessage, field: str, *outer: Step) -> timedelta | None:
        if not options.HasField(field):
            return None
        value: Duration = getattr(options, field)
        steps = (*outer, field)
        mixed = value.seconds * value.nanos < 0
        if mixed or abs(value.nanos) >= _NANOS:
            what = f"is malformed: seconds {value.seconds}, nanos {value.nanos}"
            hint = f"nanos are below {_NANOS}, with the sign of seconds; write {{seconds: 90}} or {{nanos: 500000000}}"
            self._add(Code.DURATION, what, hint, *steps)
        elif value.seconds > _MAX_SECONDS:
            what = f"is {value.seconds} s; expected at most {_MAX_SECONDS} s, a hundred years"
            self._add(Code.DURATION, what, "write how long, or remove the field", *steps)
        elif value.nanos > 0 and value.nanos % 1000:
            what = f"is finer than a microsecond: seconds {value.seconds}, nanos {value.nanos}"
            self._add(Code.DURATION, what, "round `nanos` to thousands", *steps)
        seconds = max(-_MAX_SECONDS, min(value.seconds, _MAX_SECONDS))
        return timedelta(seconds=seconds, microseconds=value.nanos // 1000)

    def _member(self, table: Mapping[int, E], number: int, *steps: Step) -> E | None:
        if number and number not in table:
            what = f"is {number}, which this version of the plugin does not know"
            self._add(Code.UNKNOWN_OPTION, what, _UPGRADE, *steps)
        return table.get(number)

    def _add(self, code: Code, what: str, hint: str, *steps: Step) -> None:
        message = f"{self._subject}: {self._place.spell(*steps)} {what}"
        self._diagnostics.append(Diagnostic(code, self._place, message, hint, steps))


_UPGRADE = "upgrade the plugin: install a newer protopact; or use the schema of the installed one"


def _unknown_fields(subject: str, place: Place, options: ProtoMessage) -> Iterator[Diagnostic]:
    """Find fields that this version of the schema does not have, at any depth."""
    known = type(options)()
    known.CopyFrom(options)
    known.DiscardUnknownFields()
    if known.ByteSize() != options.ByteSize():
        for steps in _unknown(options, ()):
            what = f"{place.spell(*steps[:-1])} has the field {steps[-1]}"
            message = f"{subject}: {what}, which this version of the plugin does not know"
            yield Diagnostic(Code.UNKNOWN_OPTION, place, message, _UPGRADE, steps)


def _unknown(message: ProtoMessage, steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    unknown = UnknownFieldSet(message)
    yield from ((*steps, unknown[index].field_number) for index in range(len(unknown)))
    for member, value in message.ListFields():
        if member.message_type is None:
            continue
        if member.is_repeated:
            for index, item in enumerate(value):
                yield from _unknown(item, (*steps, member.name, index))
        else:
            yield from _unknown(value, (*steps, member.name))
