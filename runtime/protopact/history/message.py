"""The structs of the event model as protobuf messages: what each of their fields is called, and where it stands.

The fields drive it: a field's type says how its value is spelt, and tables hold the rest, the prefixes of enums and the
fields that the protobuf messages hold further down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec

from protopact.history import event as ev
from protopact.history import failure as fl
from protopact.history.spelling import (
    INT32,
    SCALARS,
    Codec,
    Json,
    MalformedError,
    at,
    enum,
    fields_of,
    list_of,
    map_of,
    snake,
)
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = ["Field", "Message", "attributes_name", "message"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the event model and where the protobuf message holds it.

    Attributes:
        name: Its name in the event model.
        path: JSON names of the fields that lead to it.
        codec: How it is spelt.
        hint: Its type in the event model.
        only: The field is written under this path when its value is of this type; None for every value but the zero.
        enum: Prefix of its names, of an enum; None otherwise.
    """

    name: str
    path: tuple[str, ...]
    codec: Codec
    hint: Any  # a type expression
    only: type | None = None
    enum: str | None = None


class Message:
    """A struct of the event model as a protobuf message.

    Its fields are compiled when they are first needed, because a failure may hold a failure.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._struct = struct
        self._fields: tuple[Field, ...] | None = None
        self._tree: dict[str, Json] = {}
        self._zeros: dict[str, object] = {}

    def _compile(self) -> tuple[Field, ...]:
        fields = tuple(_fields(self._struct))
        for field in fields:
            for spelling in (field.path, tuple(map(snake, field.path))):
                tree = self._tree
                for key in spelling[:-1]:
                    tree = tree.setdefault(key, {})
                tree[spelling[-1]] = field
        zeros = {field.name: field.codec.zero for field in fields if field.only is None}
        declared = {field.name: field.default for field in msgspec.structs.fields(self._struct)}
        self._zeros = {name: zero for name, zero in zeros.items() if declared[name] not in (zero, msgspec.NODEFAULT)}
        self._fields = fields
        return fields

    @classmethod
    def of(cls, struct: type[msgspec.Struct]) -> Message:
        """The protobuf message of a struct."""
        found = _messages.get(struct)
        if found is None:
            found = _messages[struct] = cls(struct)
        return found

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the struct, in their order."""
        return self._fields or self._compile()

    def read(self, value: Json) -> msgspec.Struct:
        """The struct out of its JSON."""
        if self._fields is None:
            self._compile()
        values = dict(self._zeros)
        self._gather(self._tree, fields_of(value), values)
        return self._struct(**values)

    def _gather(self, tree: Mapping[str, Json], value: Mapping[str, Json], values: dict[str, object]) -> None:
        for key, each in value.items():
            branch = tree.get(key)
            if branch is None or each is None:
                continue
            try:
                if isinstance(branch, Field):
                    values[branch.name] = branch.codec.read(each)
                else:
                    self._gather(branch, fields_of(each), values)
            except MalformedError as error:
                error.place = f".{key}{error.place}"
                raise

    def write(self, value: msgspec.Struct) -> dict[str, Json]:
        """The JSON of a struct."""
        message: dict[str, Json] = {}
        for field in self._fields or self._compile():
            held = getattr(value, field.name)
            if held == field.codec.zero if field.only is None else type(held) is not field.only:
                continue
            node = message
            for key in field.path[:-1]:
                node = node.setdefault(key, {})
            node[field.path[-1]] = field.codec.write(held)
        if isinstance(value, ev.WorkflowExecutionUpdateCompleted):
            message.setdefault("outcome", {"success": {}})  # one of the two, though nothing be in it
        return message

    def rest(self, value: Json) -> dict[str, Json]:
        """What the JSON holds beside the fields of the struct."""
        if self._fields is None:
            self._compile()
        return self._left(self._tree, value)

    def _left(self, tree: Mapping[str, Json], value: Mapping[str, Json]) -> dict[str, Json]:
        left: dict[str, Json] = {}
        for key, each in value.items():
            branch = tree.get(key)
            if branch is None:
                left[key] = each
            elif each is None:
                continue
            elif not isinstance(branch, Field):
                left[_camel(key)] = self._left(
                    branch, each
                )  # though nothing be left: that it is there may say something
            elif branch.codec.rest is not None and (found := branch.codec.rest(each)):
                left[_camel(key)] = found
        return left


def _fields(struct: type[msgspec.Struct]) -> Iterator[Field]:
    paths = _PATHS.get(struct, {})
    for name, hint in get_type_hints(struct).items():
        if hint == fl.FailureInfo | None:
            for kind in get_args(fl.FailureInfo):
                yield Field(name, (_FAILURE_INFO[kind],), message(kind), hint, only=kind)
            continue
        if (struct, name) in _ENUMS:
            codec = enum(_ENUMS[struct, name])
        elif name in _INT32_FIELDS:
            codec = list_of(INT32) if name.endswith("_flags") else INT32
        else:
            codec = _codec(hint)
        path = paths.get(name) or _EVERYWHERE.get(name) or _camel(name)
        if hint == Payloads:
            path += ".payloads"
        elif hint == Headers and name == "header":
            path += ".fields"
        yield Field(
            name,
            tuple(path.split(".")),
            codec,
            hint,
            enum=_ENUMS.get((struct, name)),
        )


def _codec(hint: Any) -> Codec:  # noqa: ANN401 - a type expression
    arguments = get_args(hint)
    if type(None) in arguments:
        (inner,) = (each for each in arguments if each is not type(None))
        codec = _codec(inner)
        return Codec(codec.read, codec.write, None, codec.rest)
    if hint in SCALARS:
        return SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return message(hint)
    if get_origin(hint) is dict:
        return map_of(_PAYLOADS if arguments[1] == Payloads else _codec(arguments[1]))
    return list_of(_codec(arguments[0]))


def message(struct: type[msgspec.Struct]) -> Codec:
    """How a struct of the event model is spelt."""
    found = Message.of(struct)
    return Codec(found.read, found.write, None, found.rest)


_messages: dict[type[msgspec.Struct], Message] = {}


def _wrapped(item: Codec) -> Codec:
    """The protobuf message `Payloads`, where it is the value of a map."""
    payloads = list_of(item)

    def read(value: Json) -> tuple[object, ...]:
        each = fields_of(value).get("payloads")
        return () if each is None else cast("tuple[object, ...]", at(".payloads", payloads.read, each))

    def rest(value: Json) -> Json:
        assert payloads.rest is not None
        left = {name: each for name, each in fields_of(value).items() if name != "payloads"}
        found = payloads.rest(value.get("payloads") or [])
        return {**left, "payloads": found} if found else left

    return Codec(read, lambda values: {"payloads": payloads.write(values)} if values else {}, None, rest)


_PAYLOADS = _wrapped(message(Payload))


def attributes_name(kind: type[msgspec.Struct]) -> str:
    """The JSON name of an event's field for attributes of this class."""
    return f"{kind.__name__[0].lower()}{kind.__name__[1:]}EventAttributes"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_ENUMS: Mapping[tuple[type[msgspec.Struct], str], str] = {
    (ev.WorkflowExecutionStarted, "initiator"): "CONTINUE_AS_NEW_INITIATOR_",
    (ev.WorkflowExecutionContinuedAsNew, "initiator"): "CONTINUE_AS_NEW_INITIATOR_",
    (ev.WorkflowExecutionFailed, "retry_state"): "RETRY_STATE_",
    (ev.WorkflowExecutionTimedOut, "retry_state"): "RETRY_STATE_",
    (ev.WorkflowTaskFailed, "cause"): "WORKFLOW_TASK_FAILED_CAUSE_",
    (ev.WorkflowTaskTimedOut, "timeout_type"): "TIMEOUT_TYPE_",
    (ev.ActivityTaskFailed, "retry_state"): "RETRY_STATE_",
    (ev.ActivityTaskTimedOut, "retry_state"): "RETRY_STATE_",
    (ev.StartChildWorkflowExecutionInitiated, "parent_close_policy"): "PARENT_CLOSE_POLICY_",
    (ev.StartChildWorkflowExecutionInitiated, "workflow_id_reuse_policy"): "WORKFLOW_ID_REUSE_POLICY_",
    (ev.StartChildWorkflowExecutionFailed, "cause"): "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_",
    (ev.ChildWorkflowExecutionFailed, "retry_state"): "RETRY_STATE_",
    (ev.ChildWorkflowExecutionTimedOut, "retry_state"): "RETRY_STATE_",
    (ev.SignalExternalWorkflowExecutionFailed, "cause"): "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_",
    (ev.RequestCancelExternalWorkflowExecutionFailed, "cause"): "CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_",
    (ev.WorkflowExecutionUpdateAdmitted, "origin"): "UPDATE_ADMITTED_EVENT_ORIGIN_",
    (ev.WorkflowTaskCompleted, "versioning_behavior"): "VERSIONING_BEHAVIOR_",
    (fl.ApplicationFailureInfo, "category"): "APPLICATION_ERROR_CATEGORY_",
    (fl.TimeoutFailureInfo, "timeout_type"): "TIMEOUT_TYPE_",
    (fl.ActivityFailureInfo, "retry_state"): "RETRY_STATE_",
    (fl.ChildWorkflowFailureInfo, "retry_state"): "RETRY_STATE_",
}
"""Prefixes of the names of enums."""

_INT32_FIELDS = frozenset({"attempt", "maximum_attempts", "priority_key", "core_used_flags", "lang_used_flags"})
"""Integers of 32 bits, which JSON holds as numbers."""

_EVERYWHERE: Mapping[str, str] = {
    "activity_type": "activityType.name",
    "build_id": "workerVersion.buildId",
    "deployment_build_id": "deploymentVersion.buildId",
    "deployment_name": "deploymentVersion.deploymentName",
    "core_used_flags": "sdkMetadata.coreUsedFlags",
    "lang_used_flags": "sdkMetadata.langUsedFlags",
    "memo": "memo.fields",
    "sdk_name": "sdkMetadata.sdkName",
    "sdk_version": "sdkMetadata.sdkVersion",
    "search_attributes": "searchAttributes.indexedFields",
    "task_queue": "taskQueue.name",
    "workflow_type": "workflowType.name",
}
"""Fields that every protobuf message holds further down."""

_EXECUTION: Mapping[str, str] = {"workflow_id": "workflowExecution.workflowId", "run_id": "workflowExecution.runId"}

_PATHS: Mapping[type[msgspec.Struct], Mapping[str, str]] = {
    ev.WorkflowExecutionStarted: {
        "parent_workflow_id": "parentWorkflowExecution.workflowId",
        "parent_run_id": "parentWorkflowExecution.runId",
        "root_workflow_id": "rootWorkflowExecution.workflowId",
        "root_run_id": "rootWorkflowExecution.runId",
    },
    ev.WorkflowExecutionUpdateCompleted: {
        "update_id": "meta.updateId",
        "success": "outcome.success",
        "failure": "outcome.failure",
    },
    ev.UpdateRequest: {
        "update_id": "meta.updateId",
        "identity": "meta.identity",
        "name": "input.name",
        "args": "input.args",
        "header": "input.header",
    },
    ev.WorkflowPropertiesModified: {"upserted_memo": "upsertedMemo.fields"},
    ev.ChildWorkflowExecutionStarted: _EXECUTION,
    ev.ChildWorkflowExecutionCompleted: _EXECUTION,
    ev.ChildWorkflowExecutionFailed: _EXECUTION,
    ev.ChildWorkflowExecutionCanceled: _EXECUTION,
    ev.ChildWorkflowExecutionTimedOut: _EXECUTION,
    ev.ChildWorkflowExecutionTerminated: _EXECUTION,
    ev.SignalExternalWorkflowExecutionInitiated: _EXECUTION,
    ev.SignalExternalWorkflowExecutionFailed: _EXECUTION,
    ev.ExternalWorkflowExecutionSignaled: _EXECUTION,
    ev.RequestCancelExternalWorkflowExecutionInitiated: _EXECUTION,
    ev.RequestCancelExternalWorkflowExecutionFailed: _EXECUTION,
    ev.ExternalWorkflowExecutionCancelRequested: _EXECUTION,
    fl.ChildWorkflowFailureInfo: _EXECUTION,
}
"""Fields that one protobuf message holds further down."""

_FAILURE_INFO: Mapping[type[msgspec.Struct], str] = {
    fl.ApplicationFailureInfo: "applicationFailureInfo",
    fl.TimeoutFailureInfo: "timeoutFailureInfo",
    fl.CanceledFailureInfo: "canceledFailureInfo",
    fl.TerminatedFailureInfo: "terminatedFailureInfo",
    fl.ServerFailureInfo: "serverFailureInfo",
    fl.ResetWorkflowFailureInfo: "resetWorkflowFailureInfo",
    fl.ActivityFailureInfo: "activityFailureInfo",
    fl.ChildWorkflowFailureInfo: "childWorkflowExecutionFailureInfo",
}
