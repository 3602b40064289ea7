"""The closure of a workflow: what its replay and its payloads depend on, as a digest.

It holds the workflow, what it answers, and the activities and workflows of its service, which it may call: their names,
kinds and messages, how the ids of workflows are made, and whether a cancellation is waited for. It holds no option that
a running workflow does not notice, no comment, no place, and nothing of other services but what the workflow answers.

A digest is recorded with runs, and outlives plugins: its form must not change. Whatever is new to it is left out
where a contract does not make use of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from protopact_codegen.contract import Kind
from protopact_codegen.versioning.elements import Matcher
from protopact_codegen.versioning.snapshot import ElementFacts, EnumFacts, MessageFacts, Snapshot

if TYPE_CHECKING:
    from protopact_codegen.versioning.lock import Release

__all__ = ["Closure", "closures", "digests"]

_LENGTH = 32
_CALLED = frozenset({Kind.ACTIVITY, Kind.WORKFLOW})


@dataclass(frozen=True, slots=True)
class Closure:
    """What generated code says of a workflow's closure.

    Attributes:
        digest: Its digest.
        release: The youngest of the live releases that have the same; empty without one.
        checked: Names and digests of the live releases that have the workflow; None when there is no lock.
    """

    digest: str
    release: str = ""
    checked: tuple[tuple[str, str], ...] | None = None


def digests(snapshot: Snapshot) -> dict[str, str]:
    """Digests of the closures of a contract's own workflows, by the rpc's full name."""
    types = _type_digests(snapshot)
    called: dict[str, list[ElementFacts]] = {}
    for element in snapshot.elements.values():
        if element.kind in _CALLED:
            called.setdefault(element.service, []).append(element)
    found: dict[str, str] = {}
    for service in snapshot.services:
        forms = sorted(_form(element, types) for element in called.get(service, ()))
        for element in called.get(service, ()):
            if element.kind is Kind.WORKFLOW:
                answered = sorted(_form(snapshot.elements[handler.rpc], types) for handler in element.handlers)
                found[element.rpc] = _digest([element.name, _changes(element), answered, forms])
    return found


def closures(snapshot: Snapshot, releases: Sequence[Release] | None) -> Mapping[str, Closure]:
    """What generated code says of its workflows, by the rpc's full name.

    Args:
        snapshot: The contract that code is generated from.
        releases: The live releases, each after those that it came after; None without a lock.
    """
    own = digests(snapshot)
    if releases is None:
        return {rpc: Closure(digest) for rpc, digest in own.items()}
    checked: dict[str, list[tuple[str, str]]] = {rpc: [] for rpc in own}
    for release in releases:
        matcher = Matcher(release.snapshot, snapshot)
        for rpc, digest in release.digests.items():
            now = matcher.find(release.snapshot.elements[rpc])
            if now is not None and now.rpc in checked:
                checked[now.rpc].append((release.name, digest))
    return {rpc: Closure(digest, _youngest(digest, checked[rpc]), tuple(checked[rpc])) for rpc, digest in own.items()}


def _youngest(digest: str, checked: Iterable[tuple[str, str]]) -> str:
    release = ""
    for name, known in checked:
        if known == digest:
            release = name
    return release


def _digest(form: object) -> str:
    text = json.dumps(form, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:_LENGTH]


def _form(element: ElementFacts, types: Mapping[str, str]) -> list[str]:
    form = [
        element.kind.value,
        element.name,
        element.request,
        types.get(element.request, ""),
        element.response,
        types.get(element.response, ""),
        element.options.get("id", "") if element.kind is Kind.WORKFLOW else "",
    ]
    return [*form, "waits"] if "wait_for_cancellation" in element.options else form


def _changes(workflow: ElementFacts) -> list[list[object]]:
    """The declared changes of a workflow's code, as far as replay depends on them."""
    return [[change.id, change.deprecated] for _, change in sorted(workflow.changes.items())]


def _type_digests(snapshot: Snapshot) -> dict[str, str]:
    """A digest for each type, of it and of all that it reaches.

    Types that reach one another have the digest of the group in common.
    """
    found: dict[str, str] = {}
    for group in _inner_first(snapshot):
        members = set(group)
        inner = {found[name] for each in group for name in _reached(snapshot, each) if name not in members}
        together = _digest([sorted(_type_form(snapshot, each) for each in group), sorted(inner)])
        for each in group:
            found[each] = together
    return found


def _type_form(snapshot: Snapshot, name: str) -> str:
    message = snapshot.messages.get(name)
    return _message_form(message) if message is not None else _enum_form(snapshot.enums[name])


def _message_form(message: MessageFacts) -> str:
    fields = (
        f"{field.number} {field.name} {field.json_name!r} {field.label.value} {field.type} {field.presence.value} "
        f"{field.oneof} {field.default}"
        for field in message.fields
    )
    return "\n".join((message.name, *fields))


def _enum_form(enum: EnumFacts) -> str:
    values = (f"{number} {' '.join(names)}" for number, names in enum.values.items())
    first = (enum.first,) if enum.first else ()
    return "\n".join((f"{enum.name} {'closed' if enum.closed else 'open'}", *first, *values))


def _reached(snapshot: Snapshot, name: str) -> Iterator[str]:
    """The types of a type's fields, but for those that are names only."""
    message = snapshot.messages.get(name)
    for inner in message.inner if message is not None else ():
        if inner in snapshot.messages or inner in snapshot.enums:
            yield inner


def _inner_first(snapshot: Snapshot) -> list[list[str]]:
    """Groups of types that reach one another, each after the groups that it reaches (Kosaraju)."""
    edges = {name: list(_reached(snapshot, name)) for name in (*snapshot.messages, *snapshot.enums)}
    back: dict[str, list[str]] = {name: [] for name in edges}
    for name, inner in edges.items():
        for each in inner:
            back[each].append(name)
    seen: set[str] = set()
    groups = [list(_finished([root], back, seen)) for root in reversed(list(_finished(edges, edges, set())))]
    return [group for group in reversed(groups) if group]


def _finished(roots: Iterable[str], edges: Mapping[str, Sequence[str]], seen: set[str]) -> Iterator[str]:
    """What is reached from roots and not seen yet, depth first, each after what it reaches."""
    for root in roots:
        stack = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                yield name
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                stack += [(each, False) for each in edges[name]]
