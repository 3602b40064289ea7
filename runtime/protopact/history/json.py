"""A history in Temporal's JSON form: protobuf's JSON of `temporal.api.history.v1.History`.

It is what `temporal workflow show --output json` and the SDKs write, and what their replayers read. The fields of the
event model drive it: a field's type says how its value is spelt, and tables hold the rest, the prefixes of enums and
the fields that the protobuf messages hold further down.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from protopact.errors import HistoryError
from protopact.history import event as ev
from protopact.history import failure as fl
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = ["from_json", "to_json"]


def to_json(events: Sequence[ev.Event]) -> str:
    """A history as Temporal's JSON.

    Args:
        events: The history, from its first event.

    Returns:
        The text, indented: 64-bit integers as strings, RFC 3339 times, durations in seconds, enums by their full names,
        payloads in base64. Fields with their default are left out.
    """
    document = {"events": [_write_event(event) for event in events]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def from_json(text: str) -> list[ev.Event]:
    """A history out of Temporal's JSON.

    Enums and integers may be spelt as older versions did (`WorkflowExecutionStarted`, `5`), fields by their protobuf
    names. Unknown fields are ignored.

    Args:
        text: JSON text with an object that has `events`.

    Raises:
        HistoryError: The text is not such a history, or has an event of a type that this version does not know and that
            does not say `workerMayIgnore`.
    """
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError as error:
        raise HistoryError(
            f"the history is not Temporal's JSON: {error}; expected an object with a list 'events', as "
            f"`temporal workflow show --output json` prints it"
        ) from error
    read: list[ev.Event] = []
    for index, event in enumerate(document.events):
        try:
            read.append(_read_event(event))
        except _MalformedError as error:
            raise HistoryError(f"the history is damaged at events[{index}]{error.place}: {error.reason}") from error
    return read


T = TypeVar("T")

_Json: TypeAlias = Any  # JSON as msgspec decodes it; every codec checks what it takes


class _Document(msgspec.Struct):
    events: list[_Json]


class _MalformedError(Exception):
    """JSON that is not what a field holds; `place` grows from the value to the event."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.reason, self.place = reason, place


def _expected(what: str, found: _Json) -> _MalformedError:
    shown = msgspec.json.encode(found).decode()
    return _MalformedError(f"expected {what}, found {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}")


_SHOWN = 60


# Scalars.


@dataclass(frozen=True, slots=True)
class _Codec:
    """How values of one type are spelt.

    Attributes:
        read: The value of some JSON; raises `_MalformedError`.
        write: The JSON of a value.
        zero: The value of an absent field, which is not written.
    """

    read: Callable[[_Json], Any]  # Any: the type of the field that it reads
    write: Callable[[Any], _Json]
    zero: object


def _read_bool(value: _Json) -> bool:
    if value is True or value is False:
        return value
    raise _expected("true or false", value)


def _read_str(value: _Json) -> str:
    if isinstance(value, str):
        return value
    raise _expected("text", value)


def _read_int(value: _Json) -> int:
    if type(value) is int:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _expected("an integer", value)


def _read_float(value: _Json) -> float:
    if type(value) in {int, float}:
        return float(value)
    try:
        return float(_read_str(value))
    except ValueError:
        raise _expected("a number", value) from None


def _read_bytes(value: _Json) -> bytes:
    try:
        standard = _read_str(value).translate(_URL_SAFE)
        return b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _expected("base64", value) from None


def _write_bytes(value: bytes) -> str:
    return b64encode(value).decode()


def _read_timestamp(value: _Json) -> Timestamp:
    match = _TIME.fullmatch(_read_str(value))
    if match is None:
        raise _expected("an RFC 3339 time", value)
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone) - _EPOCH
    except ValueError:
        raise _expected("an RFC 3339 time", value) from None
    return Timestamp((moment.days * 86_400 + moment.seconds) * _SECOND + _nanoseconds(fraction))


def _write_timestamp(value: int) -> str:
    seconds, fraction = divmod(value, _SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{whole}{_fraction(fraction)}Z"


def _read_duration(value: _Json) -> Duration:
    match = _DURATION.fullmatch(_read_str(value))
    if match is None:
        raise _expected('a duration such as "10s"', value)
    sign, whole, fraction = match.groups()
    size = int(whole) * _SECOND + _nanoseconds(fraction)
    return Duration(-size if sign else size)


def _write_duration(value: int) -> str:
    seconds, fraction = divmod(abs(value), _SECOND)
    return f"{'-' if value < 0 else ''}{seconds}{_fraction(fraction)}s"


def _nanoseconds(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanoseconds: int) -> str:
    """Decimals in groups of three, as protobuf writes them."""
    if nanoseconds == 0:
        return ""
    text = f".{nanoseconds:09}"
    while text.endswith("000"):
        text = text[:-3]
    return text


_SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(-?)(\d+)(?:\.(\d{1,9}))?s", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")


def _same(value: object) -> object:
    return value


_INT32 = _Codec(_read_int, _same, 0)
_SCALARS: Mapping[object, _Codec] = {
    bool: _Codec(_read_bool, _same, zero=False),
    str: _Codec(_read_str, _same, ""),
    int: _Codec(_read_int, str, 0),
    float: _Codec(_read_float, _same, 0.0),
    bytes: _Codec(_read_bytes, _write_bytes, b""),
    Timestamp: _Codec(_read_timestamp, _write_timestamp, 0),
    Duration: _Codec(_read_duration, _write_duration, 0),
}


def _enum(prefix: str) -> _Codec:
    """Names without `prefix`; the unspecified value is no name at all."""

    def read(value: _Json) -> str:
        name = _read_str(value)
        short = name[len(prefix) :] if name.startswith(prefix) else _upper_snake(name)
        return "" if short == _UNSPECIFIED else short

    return _Codec(read, lambda name: prefix + name, "")


_UNSPECIFIED = "UNSPECIFIED"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def _upper_snake(name: str) -> str:
    """`StartToClose`, the older spelling of a name, as `START_TO_CLOSE`."""
    return name if "_" in name or name.isupper() else _WORD.sub("_", name).upper()


# Collections.


def _list(item: _Codec) -> _Codec:
    def read(value: _Json) -> tuple[object, ...]:
        return tuple([_at(f"[{index}]", item.read, each) for index, each in enumerate(_elements(value))])

    return _Codec(read, lambda values: [item.write(each) for each in values], ())


def _map(item: _Codec) -> _Codec:
    def read(value: _Json) -> dict[str, object]:
        return {name: _at(f".{name}", item.read, each) for name, each in _object(value).items()}

    return _Codec(read, lambda values: {name: item.write(each) for name, each in values.items()}, {})


def _elements(value: _Json) -> Sequence[_Json]:
    if isinstance(value, list):
        return cast("Sequence[_Json]", value)
    raise _expected("a list", value)


def _object(value: _Json) -> dict[str, _Json]:
    if isinstance(value, dict):
        return cast("dict[str, _Json]", value)
    raise _expected("an object", value)


def _at(place: str, read: Callable[[_Json], T], value: _Json) -> T:
    try:
        return read(value)
    except _MalformedError as error:
        error.place = place + error.place
        raise


# Messages.


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the event model and where the protobuf message holds it.

    Attributes:
        name: Its name in the event model.
        path: JSON names of the fields that lead to it.
        codec: How it is spelt.
        only: The field is written under this path when its value is of this type; None for every value but the zero.
    """

    name: str
    path: tuple[str, ...]
    codec: _Codec
    only: type | None = None


class _Message:
    """A struct of the event model as a protobuf message.

    Its fields are compiled when they are first needed, because a failure may hold a failure.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._struct = struct
        self._fields: tuple[_Field, ...] | None = None
        self._tree: dict[str, _Json] = {}
        self._zeros: dict[str, object] = {}

    def _compile(self) -> tuple[_Field, ...]:
        fields = tuple(_fields(self._struct))
        for field in fields:
            for spelling in (field.path, tuple(map(_snake, field.path))):
                tree = self._tree
                for key in spelling[:-1]:
                    tree = tree.setdefault(key, {})
                tree[spelling[-1]] = field
        zeros = {field.name: field.codec.zero for field in fields if field.only is None}
        declared = {field.name: field.default for field in msgspec.structs.fields(self._struct)}
        self._zeros = {name: zero for name, zero in zeros.items() if declared[name] not in (zero, msgspec.NODEFAULT)}
        self._fields = fields
        return fields

    def read(self, value: _Json) -> msgspec.Struct:
        if self._fields is None:
            self._compile()
        values = dict(self._zeros)
        self._gather(self._tree, _object(value), values)
        return self._struct(**values)

    def _gather(self, tree: Mapping[str, _Json], value: Mapping[str, _Json], values: dict[str, object]) -> None:
        for key, each in value.items():
            branch = tree.get(key)
            if branch is None or each is None:
                continue
            try:
                if isinstance(branch, _Field):
                    values[branch.name] = branch.codec.read(each)
                else:
                    self._gather(branch, _object(each), values)
            except _MalformedError as error:
                error.place = f".{key}{error.place}"
                raise

    def write(self, value: msgspec.Struct) -> dict[str, _Json]:
        message: dict[str, _Json] = {}
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


def _fields(struct: type[msgspec.Struct]) -> Iterator[_Field]:
    paths = _PATHS.get(struct, {})
    for name, hint in get_type_hints(struct).items():
        if hint == fl.FailureInfo | None:
            for kind in get_args(fl.FailureInfo):
                yield _Field(name, (_FAILURE_INFO[kind],), _message(kind), only=kind)
            continue
        if (struct, name) in _ENUMS:
            codec = _enum(_ENUMS[struct, name])
        elif name in _INT32_FIELDS:
            codec = _list(_INT32) if name.endswith("_flags") else _INT32
        else:
            codec = _codec(hint)
        path = paths.get(name) or _EVERYWHERE.get(name) or _camel(name)
        if hint == Payloads:
            path += ".payloads"
        elif hint == Headers and name == "header":
            path += ".fields"
        yield _Field(name, tuple(path.split(".")), codec)


def _codec(hint: Any) -> _Codec:  # noqa: ANN401 - a type expression
    arguments = get_args(hint)
    if type(None) in arguments:
        (inner,) = (each for each in arguments if each is not type(None))
        codec = _codec(inner)
        return _Codec(codec.read, codec.write, None)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _message(hint)
    if get_origin(hint) is dict:
        return _map(_PAYLOADS if arguments[1] == Payloads else _codec(arguments[1]))
    return _list(_codec(arguments[0]))


def _message(struct: type[msgspec.Struct]) -> _Codec:
    message = _messages.get(struct)
    if message is None:
        message = _messages[struct] = _Message(struct)
    return _Codec(message.read, message.write, None)


_messages: dict[type[msgspec.Struct], _Message] = {}


def _wrapped(item: _Codec) -> _Codec:
    """The protobuf message `Payloads`, where it is the value of a map."""
    payloads = _list(item)

    def read(value: _Json) -> tuple[object, ...]:
        each = _object(value).get("payloads")
        return () if each is None else cast("tuple[object, ...]", _at(".payloads", payloads.read, each))

    return _Codec(read, lambda values: {"payloads": payloads.write(values)} if values else {}, None)


_PAYLOADS = _wrapped(_message(Payload))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _snake(name: str) -> str:
    return _WORD.sub("_", name).lower()


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
    (fl.TimeoutFailureInfo, "timeout_type"): "TIMEOUT_TYPE_",
    (fl.ActivityFailureInfo, "retry_state"): "RETRY_STATE_",
    (fl.ChildWorkflowFailureInfo, "retry_state"): "RETRY_STATE_",
}
"""Prefixes of the names of enums."""

_INT32_FIELDS = frozenset({"attempt", "maximum_attempts", "core_used_flags", "lang_used_flags"})
"""Integers of 32 bits, which JSON holds as numbers."""

_EVERYWHERE: Mapping[str, str] = {
    "activity_type": "activityType.name",
    "build_id": "workerVersion.buildId",
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


# Events.


@dataclass(frozen=True, slots=True)
class _EventType:
    name: str
    attributes: str
    codec: _Codec


_PREFIX = "EVENT_TYPE_"
_EVENT_TYPES: Mapping[type[msgspec.Struct], _EventType] = {
    kind: _EventType(
        name=_upper_snake(kind.__name__),
        attributes=f"{kind.__name__[0].lower()}{kind.__name__[1:]}EventAttributes",
        codec=_message(kind),
    )
    for kind in get_args(ev.Attributes)
    if kind is not ev.Ignorable
}
_BY_NAME = {event_type.name: event_type for event_type in _EVENT_TYPES.values()}


def _write_event(event: ev.Event) -> dict[str, _Json]:
    written = {"eventId": str(event.event_id), "eventTime": _write_timestamp(event.event_time)}
    if isinstance(event.attributes, ev.Ignorable):
        return {**written, "eventType": _PREFIX + event.attributes.event_type, "workerMayIgnore": True}
    kind = _EVENT_TYPES[type(event.attributes)]
    attributes = kind.codec.write(event.attributes)
    return {**written, "eventType": _PREFIX + kind.name, kind.attributes: attributes}


def _read_event(value: _Json) -> ev.Event:
    fields = _object(value)
    event_id = _at(".eventId", _read_int, _either(fields, "eventId"))
    event_time = _at(".eventTime", _read_timestamp, _either(fields, "eventTime"))
    name: str = _at(".eventType", _EVENT_TYPE.read, _either(fields, "eventType"))
    kind = _BY_NAME.get(name)
    if kind is not None:
        attributes: ev.Attributes = _at(f".{kind.attributes}", kind.codec.read, _either(fields, kind.attributes) or {})
    elif _either(fields, "workerMayIgnore") is True:
        attributes = ev.Ignorable(event_type=name)
    else:
        raise HistoryError(
            f"event {event_id} of the history is of the type {_PREFIX}{name}, which this version of protopact does not "
            f"know; replay the history with a version that does"
        )
    return ev.Event(event_id, event_time, attributes)


_EVENT_TYPE = _enum(_PREFIX)


def _either(fields: Mapping[str, _Json], name: str) -> _Json:
    """A field under its JSON name or under its protobuf name."""
    value = fields.get(name)
    return fields.get(_snake(name)) if value is None else value
