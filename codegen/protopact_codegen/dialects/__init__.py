"""Annotation dialects: each turns the options of services and rpcs into elements of the IR.

A dialect says what an rpc is and what its options mean; it resolves no references and knows no other rpc. The reader
does the rest for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto

from protopact_codegen.contract import Allow, Element, IdConflictPolicy, Kind, Message
from protopact_codegen.diagnostics import Diagnostic
from protopact_codegen.source import Path, Place, Source

__all__ = ["Declaration", "Dialect", "Method", "Reference"]


@dataclass(frozen=True, slots=True)
class Method:
    """An rpc before its annotation is read.

    Attributes:
        proto: Its descriptor, with options as the plugin's schema knows them.
        full_name: Its full name.
        service: Full name of its service.
        file: Path of its file.
        request: Its request.
        response: Its response.
        task_queue: The service's task queue.
        doc: Its comment.
        place: Where it stands; the dialect adds where its options stand.
    """

    proto: MethodDescriptorProto
    full_name: str
    service: str
    file: str
    request: Message
    response: Message
    task_queue: str | None
    doc: str
    place: Place


@dataclass(frozen=True, slots=True)
class Reference:
    """A workflow's reference to a query, signal or update, as written.

    Attributes:
        kind: What it must be.
        ref: The name as written.
        index: Its place in the list of its kind.
        start: Whether it may start the workflow.
        validate: Its own word on validators; None leaves it to the update.
        id_conflict_policy: Of update-with-start.
    """

    kind: Kind
    ref: str
    index: int
    start: bool = False
    validate: bool | None = None
    id_conflict_policy: IdConflictPolicy | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """An annotated rpc as one dialect reads it.

    Attributes:
        element: The element; a workflow still lacks its handlers. None when the annotation says nothing usable.
        references: A workflow's handlers as written.
    """

    element: Element | None
    references: tuple[Reference, ...] = ()


class Dialect(Protocol):
    """One annotation dialect."""

    def annotates(self, rpc: MethodDescriptorProto) -> bool:
        """Whether an rpc carries the dialect's annotation."""
        ...

    def task_queue(self, service: ServiceDescriptorProto) -> str | None:
        """Default task queue of a service."""
        ...

    def service_place(self, source: Source, path: Path) -> Place:
        """Place of a service whose path is `path`, with its options."""
        ...

    def check(self, file: FileDescriptorProto, source: Source) -> Iterable[Diagnostic]:
        """Find what is wrong with a file's annotations that stand elsewhere than on rpcs."""
        ...

    def allows(self, file: FileDescriptorProto, source: Source) -> Iterable[Allow]:
        """Read what a file passes of the check against releases."""
        ...

    def aliases(self, file: FileDescriptorProto) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Read the former names of a file's messages, by the names of the messages."""
        ...

    def declare(self, method: Method, diagnostics: list[Diagnostic]) -> Declaration:
        """Read the annotation of an rpc that carries it, and add to `diagnostics` what is wrong with it."""
        ...
