"""The contract as generated code states it: frozen descriptions of services and what is in them.

A generated module builds these objects once at import. They carry names, types and defaults; behaviour lives elsewhere.
`Message` pairs a protobuf message type with the Python class of the chosen message library; `Message[None]` is
`google.protobuf.Empty`, which is no argument and no result in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Generic, Literal, TypeVar

from protopact.policy import (
    ActivityCancellationType,
    ParentClosePolicy,
    Priority,
    RetryPolicy,
    SearchAttributeType,
    VersioningBehavior,
    WaitForStage,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)

__all__ = [
    "CHANGE_VERSION",
    "EMPTY",
    "SIDE_EFFECT",
    "Activity",
    "Closure",
    "Field",
    "FieldKind",
    "Message",
    "MessageLibrary",
    "Query",
    "Schema",
    "SearchAttribute",
    "Service",
    "Signal",
    "SignalRef",
    "Template",
    "Transform",
    "Update",
    "UpdateRef",
    "Uuid",
    "Workflow",
    "current_name",
    "former_names",
    "messages_of",
    "schemas",
]

# Covariant, so that elements of different messages stand in one tuple; the typed surface is the generated methods'.
M = TypeVar("M", covariant=True)
Req = TypeVar("Req", covariant=True)
Resp = TypeVar("Resp", covariant=True)
T = TypeVar("T")

MessageLibrary = Literal["betterproto2", "google"]
"""Names of the message libraries, as in the plugin option `messages`."""


@dataclass(frozen=True, eq=False, slots=True)
class Schema:
    """Where a generated module's message classes come from.

    Attributes:
        library: Message library that generated the classes.
        descriptors: Serialized `google.protobuf.FileDescriptorSet` with the closure of the module's messages; empty
            for google, whose classes carry their descriptors.
        aliases: Full names that messages had, by their full names: payloads that say the one are read as the other.
    """

    library: MessageLibrary
    descriptors: bytes = field(default=b"", repr=False)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], repr=False)

    def message(self, name: str, cls: type[T]) -> Message[T]:
        """Describe the message `name` (full protobuf name), whose Python class is `cls`."""
        message = Message(name=name, type=cls, schema=self)
        _described.setdefault(self, []).append(message)
        return message


@dataclass(frozen=True, eq=False, slots=True)
class Message(Generic[M]):
    """A message type of the contract.

    Attributes:
        name: Full protobuf name, for example `nodes.provisioning.v1.AddNodeRequest`.
        type: Python class of its values; `NoneType` for `google.protobuf.Empty`.
        schema: Where the class comes from.
    """

    name: str
    type: type[M]
    schema: Schema


_described: dict[Schema, list[Message[object]]] = {}


def schemas() -> tuple[Schema, ...]:
    """The schemas of all generated modules that are imported, in the order of their import."""
    return tuple(_described)


def messages_of(schema: Schema) -> tuple[Message[object], ...]:
    """The messages that the module of `schema` describes."""
    return tuple(_described.get(schema, ()))


def former_names(name: str) -> frozenset[str]:
    """Full names that the message `name` had, as the imported modules say."""
    return frozenset(alias for schema in schemas() for alias in schema.aliases.get(name, ()))


def current_name(alias: str) -> str:
    """Full name of the message that was called `alias`, as the imported modules say; `alias` when none was."""
    names = (name for schema in schemas() for name, aliases in schema.aliases.items() if alias in aliases)
    return next(names, alias)


EMPTY: Message[None] = Message(name="google.protobuf.Empty", type=type(None), schema=Schema(library="google"))
"""`google.protobuf.Empty`: no argument, no result."""


class FieldKind(Enum):
    """How the value of a template's field becomes text."""

    STRING = "string"
    INTEGER = "integer"
    BOOL = "bool"
    ENUM = "enum"


class Transform(Enum):
    """Named transforms of a template's field."""

    SLUG = "slug"
    LOWER = "lower"
    UPPER = "upper"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the request in a template.

    Attributes:
        path: Python attribute names from the request to the field.
        name: The same path in the contract's own names, dotted, for messages.
        kind: How its value becomes text.
        optional: Whether the field has explicit presence and may be unset.
        transforms: Applied in order.
        enum: Numbers and names of an enum's values.
    """

    path: tuple[str, ...]
    name: str
    kind: FieldKind = FieldKind.STRING
    optional: bool = False
    transforms: tuple[Transform, ...] = ()
    enum: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Uuid:
    """A random UUID in a template."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text computed from a request: literal text, fields and UUIDs, one after the other."""

    source: str
    parts: tuple[str | Field | Uuid, ...]


@dataclass(frozen=True, slots=True)
class SearchAttribute:
    """A search attribute that is set when a workflow starts.

    Attributes:
        name: Name, as registered in the namespace.
        type: Type, as registered in the namespace.
        value: A template for `KEYWORD` and `TEXT`; otherwise the Python attribute path of the field.
    """

    name: str
    type: SearchAttributeType
    value: Template | tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Activity(Generic[Req, Resp]):
    """An activity; `method` is its Python name. A timeout of None is not set."""

    name: str
    method: str
    request: Message[Req]
    response: Message[Resp]
    aliases: tuple[str, ...] = ()
    task_queue: str | None = None
    schedule_to_close_timeout: timedelta | None = None
    schedule_to_start_timeout: timedelta | None = None
    start_to_close_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL
    priority: Priority = Priority()


CHANGE_VERSION = "TemporalChangeVersion"
"""Search attribute, a keyword list, in which the engine lists the patches that a run has made use of."""

SIDE_EFFECT: Activity[None, None] = Activity(
    name="protopact.side_effect",
    method="side_effect",
    request=EMPTY,
    response=EMPTY,
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(maximum_attempts=1),
)
"""The local activity that `workflow.side_effect` is: every worker has it, and its result is of any type."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Query(Generic[Req, Resp]):
    """A query; `method` is its Python name."""

    name: str
    method: str
    request: Message[Req]
    response: Message[Resp]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Signal(Generic[Req]):
    """A signal; `method` is its Python name."""

    name: str
    method: str
    request: Message[Req]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Update(Generic[Req, Resp]):
    """An update; `method` is its Python name, `id` the template of its id."""

    name: str
    method: str
    request: Message[Req]
    response: Message[Resp]
    aliases: tuple[str, ...] = ()
    id: Template | None = None
    wait_for_stage: WaitForStage = WaitForStage.ACCEPTED


@dataclass(frozen=True, eq=False, slots=True)
class SignalRef(Generic[Req]):
    """A signal that a workflow receives; `start` says that it may start the workflow."""

    signal: Signal[Req]
    start: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class UpdateRef(Generic[Req, Resp]):
    """An update that a workflow handles; `validate` says that the worker class has a validator."""

    update: Update[Req, Resp]
    start: bool = False
    validate: bool = False
    id_conflict_policy: WorkflowIdConflictPolicy = WorkflowIdConflictPolicy.FAIL


@dataclass(frozen=True, slots=True)
class Closure:
    """Digests of what a workflow's replay and payloads depend on: of this contract, of those it was checked against.

    Attributes:
        digest: Hex digest of it in this contract; empty when the plugin knew none.
        release: The live release that has the same, the youngest of them; empty without one.
        checked: Names and digests of the live releases that this contract was checked against; None without a lock.
    """

    digest: str = ""
    release: str = ""
    checked: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Workflow(Generic[Req, Resp]):
    """A workflow; `method` is its Python name in snake case. A timeout of None is not set.

    `queries`, `signals` and `updates` are the handlers it declares, in the contract's order; `closure` tells contracts
    apart.
    """

    name: str
    method: str
    request: Message[Req]
    response: Message[Resp]
    service: str
    aliases: tuple[str, ...] = ()
    id: Template | None = None
    task_queue: str | None = None
    id_reuse_policy: WorkflowIdReusePolicy = WorkflowIdReusePolicy.ALLOW_DUPLICATE
    id_conflict_policy: WorkflowIdConflictPolicy = WorkflowIdConflictPolicy.FAIL
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE
    wait_for_cancellation: bool = False
    search_attributes: tuple[SearchAttribute, ...] = ()
    versioning_behavior: VersioningBehavior | None = None
    enable_eager_start: bool = False
    priority: Priority = Priority()
    queries: tuple[Query[object, object], ...] = ()
    signals: tuple[SignalRef[object], ...] = ()
    updates: tuple[UpdateRef[object, object], ...] = ()
    closure: Closure = Closure()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Service:
    """A service of the contract.

    Attributes:
        name: Full protobuf name.
        source: Path of the proto file.
        digest: Hex SHA-256 of the service's contract in canonical form.
        task_queue: Default task queue of its workflows and activities.
        workflows: Its workflows, in the contract's order.
        activities: Its activities, in the contract's order.
    """

    name: str
    source: str
    digest: str
    task_queue: str | None = None
    workflows: tuple[Workflow[object, object], ...] = ()
    activities: tuple[Activity[object, object], ...] = ()
