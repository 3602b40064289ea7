"""The frozen IR: what the annotated proto files say, resolved and free of any dialect's spelling.

A reader builds it, lint and the versioning checks judge it, `emit` writes it out; nobody changes it. Names are the
contract's own (proto names); Python names are the business of `names` and of the message libraries. A value that the
contract leaves out is None (or empty), so that the runtime's default stands and is written nowhere twice. Elements are
equal when they are the same object; the reader makes one for each rpc.

Enumerations here have the member names of the same enumerations in `protopact.policy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import ClassVar, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from protopact_codegen.source import Place, Source
from protopact_codegen.template import FieldPath, Template

__all__ = [
    "EMPTY",
    "RELEASE",
    "Activity",
    "Allow",
    "Change",
    "Contract",
    "Element",
    "File",
    "Handler",
    "IdConflictPolicy",
    "IdReusePolicy",
    "Kind",
    "Message",
    "ParentClosePolicy",
    "Priority",
    "Query",
    "QueryRef",
    "RetryPolicy",
    "Rpc",
    "SearchAttribute",
    "SearchAttributeType",
    "Service",
    "Signal",
    "SignalRef",
    "Update",
    "UpdateRef",
    "VersioningBehavior",
    "WaitForStage",
    "Workflow",
]

EMPTY = "google.protobuf.Empty"
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What a release may be called."""


class Kind(Enum):
    """What an rpc is."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"
    QUERY = "query"
    SIGNAL = "signal"
    UPDATE = "update"


class IdReusePolicy(Enum):
    """May the id of a closed run be used again?"""

    ALLOW_DUPLICATE = "allow-duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow-duplicate-failed-only"
    REJECT_DUPLICATE = "reject-duplicate"


class IdConflictPolicy(Enum):
    """What a start does when a run with the same id is open."""

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    TERMINATE_EXISTING = "terminate-existing"
    TERMINATE_EXISTING_OF_OTHER_TYPE = "terminate-existing-of-other-type"


class ParentClosePolicy(Enum):
    """What happens to a child workflow when its parent closes."""

    TERMINATE = "terminate"
    ABANDON = "abandon"
    REQUEST_CANCEL = "request-cancel"


class VersioningBehavior(Enum):
    """How runs move between worker versions."""

    PINNED = "pinned"
    AUTO_UPGRADE = "auto-upgrade"


class WaitForStage(Enum):
    """How far the caller of an update waits."""

    ACCEPTED = "accepted"
    COMPLETED = "completed"


class SearchAttributeType(Enum):
    """Type of a search attribute, as registered in the namespace."""

    KEYWORD = "Keyword"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    KEYWORD_LIST = "KeywordList"


@dataclass(frozen=True, slots=True)
class Message:
    """A message type that an rpc names.

    Attributes:
        descriptor: Its descriptor, in a pool of the request's own files; `descriptor.file` is the file's.
        place: Where it stands in its file.
        aliases: Full names that it had; payloads of them are read as it.
    """

    descriptor: Descriptor
    place: Place = field(compare=False, repr=False)
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Full proto name, for example `a.b.v1.Outer.Inner`."""
        return self.descriptor.full_name

    @property
    def package(self) -> str:
        """Proto package; empty when its file has none."""
        return self.descriptor.file.package

    @property
    def file(self) -> str:
        """Path of its proto file, as imports spell it."""
        return self.descriptor.file.name

    @property
    def nesting(self) -> tuple[str, ...]:
        """Names from the outermost message to this one: `("Outer", "Inner")`."""
        package = self.package
        return tuple((self.name[len(package) + 1 :] if package else self.name).split("."))

    @property
    def empty(self) -> bool:
        """Whether it is `google.protobuf.Empty`: no argument, no result."""
        return self.name == EMPTY


@dataclass(frozen=True, slots=True)
class SearchAttribute:
    """A search attribute that is set when a workflow starts.

    Attributes:
        name: Name, as registered in the namespace.
        type: Type, as registered in the namespace.
        value: A template for `KEYWORD` and `TEXT`; otherwise the one field whose value it takes, anything else being
            refused by lint.
        index: Its place in the workflow's list.
    """

    name: str
    type: SearchAttributeType
    value: Template | FieldPath
    index: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed attempt is made again; None is left to the runtime's default."""

    initial_interval: timedelta | None = None
    backoff_coefficient: float | None = None
    maximum_interval: timedelta | None = None
    maximum_attempts: int | None = None
    non_retryable_error_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Priority:
    """Order among the tasks of a task queue; None is left to the engine."""

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Rpc:
    """What every annotated rpc has.

    Attributes:
        rpc: Name of the rpc, for example `CreateVm`.
        full_name: Full name of the rpc, for example `nodes.v1.NodeService.CreateVm`.
        service: Full name of its service.
        file: Path of its proto file.
        request: Its request.
        response: Its response.
        client_streaming: Whether the request is a stream, which lint refuses.
        server_streaming: Whether the response is a stream, which lint refuses.
        name: Registered name: the option's, else the rpc's full name.
        aliases: Further names under which workers register it.
        doc: Its comment in the proto file, without comment marks; empty without one.
        deprecated: Whether the proto file marks it `deprecated`.
        place: Where it and its options stand.
    """

    kind: ClassVar[Kind]

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
    place: Place = field(repr=False)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Activity(Rpc):
    """An activity; `task_queue` is its own or its service's, None for the calling workflow's."""

    kind: ClassVar[Kind] = Kind.ACTIVITY

    task_queue: str | None = None
    schedule_to_close_timeout: timedelta | None = None
    schedule_to_start_timeout: timedelta | None = None
    start_to_close_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    wait_for_cancellation: bool = False
    priority: Priority | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Query(Rpc):
    """A query."""

    kind: ClassVar[Kind] = Kind.QUERY


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Signal(Rpc):
    """A signal; its response is `google.protobuf.Empty`."""

    kind: ClassVar[Kind] = Kind.SIGNAL


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Update(Rpc):
    """An update; `id` is the template of its id over its own request.

    `validate` is its own word on validators; what holds for one workflow stands in `UpdateRef.validate`.
    """

    kind: ClassVar[Kind] = Kind.UPDATE

    id: Template | None = None
    validate: bool = False
    wait_for_stage: WaitForStage | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a workflow's code that runs from before it must not notice.

    Attributes:
        id: Its name in histories.
        since: The release that brings it.
        index: Its place in the workflow's list.
        deprecated: Whether the old branch is gone from the code.
        covers: Full names of the rpcs that the new branch calls or answers differently or no more.
    """

    id: str
    since: str
    index: int
    deprecated: bool = False
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class QueryRef:
    """A query that a workflow answers; `index` is its place in the workflow's list."""

    query: Query
    index: int


@dataclass(frozen=True, eq=False, slots=True)
class SignalRef:
    """A signal that a workflow receives; `start` says that it may start the workflow, by signal-with-start."""

    signal: Signal
    index: int
    start: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class UpdateRef:
    """An update that a workflow handles.

    Attributes:
        update: The update.
        index: Its place in the workflow's list.
        start: Whether it may start the workflow, by update-with-start.
        validate: Whether the worker class has a validator: the reference's word, else the update's own.
        id_conflict_policy: Of update-with-start: the workflow's, else the reference's; None is FAIL.
    """

    update: Update
    index: int
    start: bool = False
    validate: bool = False
    id_conflict_policy: IdConflictPolicy | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Workflow(Rpc):
    """A workflow; `task_queue` is its own or its service's.

    `queries`, `signals` and `updates` are the handlers it declares, each in the contract's order. They may belong to
    another service or file: see `Rpc.service` and `Rpc.file`.
    """

    kind: ClassVar[Kind] = Kind.WORKFLOW

    id: Template | None = None
    task_queue: str | None = None
    id_reuse_policy: IdReusePolicy | None = None
    id_conflict_policy: IdConflictPolicy | None = None
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    parent_close_policy: ParentClosePolicy | None = None
    wait_for_cancellation: bool = False
    search_attributes: tuple[SearchAttribute, ...] = ()
    versioning_behavior: VersioningBehavior | None = None
    enable_eager_start: bool = False
    priority: Priority | None = None
    changes: tuple[Change, ...] = ()
    queries: tuple[QueryRef, ...] = ()
    signals: tuple[SignalRef, ...] = ()
    updates: tuple[UpdateRef, ...] = ()

    @property
    def handlers(self) -> Iterator[Handler]:
        """The queries, signals and updates that it declares."""
        yield from (ref.query for ref in self.queries)
        yield from (ref.signal for ref in self.signals)
        yield from (ref.update for ref in self.updates)


Element: TypeAlias = Workflow | Activity | Query | Signal | Update
"""An annotated rpc."""

Handler: TypeAlias = Query | Signal | Update
"""An rpc that a workflow answers while it runs."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Service:
    """A service with at least one annotated rpc.

    Attributes:
        name: Name, for example `NodeService`.
        full_name: Full name, for example `nodes.v1.NodeService`.
        file: Path of its proto file.
        task_queue: Default task queue of its workflows and activities.
        elements: Its annotated rpcs in the contract's order.
        digest: Hex SHA-256 of its contract in canonical form: names, kinds, options, messages, not comments or places.
        doc: Its comment in the proto file, without comment marks; empty without one.
        deprecated: Whether the proto file marks it `deprecated`.
        place: Where it and its options stand.
    """

    name: str
    full_name: str
    file: str
    task_queue: str | None
    elements: tuple[Element, ...]
    digest: str
    doc: str
    deprecated: bool
    place: Place = field(repr=False)

    @property
    def workflows(self) -> tuple[Workflow, ...]:
        """Its workflows in the contract's order."""
        return tuple(element for element in self.elements if isinstance(element, Workflow))

    @property
    def activities(self) -> tuple[Activity, ...]:
        """Its activities in the contract's order."""
        return tuple(element for element in self.elements if isinstance(element, Activity))

    @property
    def queries(self) -> tuple[Query, ...]:
        """Its queries in the contract's order."""
        return tuple(element for element in self.elements if isinstance(element, Query))

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Its signals in the contract's order."""
        return tuple(element for element in self.elements if isinstance(element, Signal))

    @property
    def updates(self) -> tuple[Update, ...]:
        """Its updates in the contract's order."""
        return tuple(element for element in self.elements if isinstance(element, Update))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class File:
    """A proto file with at least one service that has an annotated rpc.

    Attributes:
        path: Its path, as imports spell it.
        package: Its package; empty when it has none.
        syntax: `proto2`, `proto3` or `editions`.
        edition: The edition's year, for example `2023`; empty without editions.
        services: Its services with annotated rpcs, in the file's order.
        ignored: Full names of its rpcs that carry no annotation, in services without any as well.
        descriptor: Its descriptor, in a pool of the request's own files.
        place: Its `syntax` or `edition` line.
        aliases: Messages of it and of what it imports that had other names, with those names; sorted.
    """

    path: str
    package: str
    syntax: str
    edition: str
    services: tuple[Service, ...]
    ignored: tuple[str, ...]
    descriptor: FileDescriptor
    place: Place = field(repr=False)
    aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Allow:
    """A finding of the check against releases that is passed.

    Attributes:
        element: Full name of what the finding is about.
        rule: The rule of the finding.
        releases: Names of the releases that it is for.
        reason: Why.
        index: Its place in the list where it stands.
        place: What it stands on.
    """

    element: str
    rule: str
    releases: tuple[str, ...]
    reason: str
    index: int
    place: Place = field(repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class Contract:
    """Everything that one invocation generates.

    Attributes:
        files: The files to generate that have annotated rpcs, sorted by path.
        sources: Every file of the request by its path, imports included.
        aliases: Former full names of messages, by their names; of every file of the request.
        allows: What the files to generate pass of the check against releases.
    """

    files: tuple[File, ...]
    sources: Mapping[str, Source] = field(repr=False)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    allows: tuple[Allow, ...] = ()

    @property
    def services(self) -> Iterator[Service]:
        """The services of all files."""
        for file in self.files:
            yield from file.services

    def place(self, descriptor: Descriptor | EnumDescriptor | FieldDescriptor) -> Place:
        """Where a message, enum or field of the request stands.

        Raises:
            ValueError: `descriptor` is an extension.
        """
        owner = descriptor.containing_type if isinstance(descriptor, FieldDescriptor) else descriptor
        if owner is None:
            raise ValueError(f"{descriptor.full_name} is an extension, not a field of a message")
        return self.sources[owner.file.name].place(descriptor.full_name)
