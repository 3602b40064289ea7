"""The elements of two snapshots: which is which under whatever name, and what changed of them besides messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from protopact_codegen.contract import EMPTY, Kind
from protopact_codegen.versioning.ids import id_changes
from protopact_codegen.versioning.snapshot import ChangeFacts, ElementFacts, Snapshot

__all__ = ["ElementChange", "Matcher", "additions", "element_changes", "ended_changes", "without_branch"]

# Rows of what is gone, and of what has another name that no alias keeps.
_REMOVED: Mapping[Kind, str] = {
    Kind.WORKFLOW: "C2",
    Kind.ACTIVITY: "C6",
    Kind.SIGNAL: "C23",
    Kind.QUERY: "C28",
    Kind.UPDATE: "C31",
}
_RENAMED: Mapping[Kind, str] = {
    Kind.WORKFLOW: "C3",
    Kind.ACTIVITY: "C5",
    Kind.SIGNAL: "C24",
    Kind.QUERY: "C28",
    Kind.UPDATE: "C31",
}
# Rows of what is new: to runs that clients call by it, and for a workflow, to workers that they start it on.
_ADDED: Mapping[Kind, str] = {Kind.SIGNAL: "C22", Kind.QUERY: "C27", Kind.UPDATE: "C30"}
# What an alias keeps, and what code that calls under the new name does to runs that called under the old one.
_ALIASED: Mapping[Kind, tuple[str, ...]] = {
    Kind.WORKFLOW: ("C3b", "C19"),
    Kind.SIGNAL: ("C24b", "C26"),
    Kind.QUERY: ("C28b",),
    Kind.UPDATE: ("C31b",),
}
# A name that answers for another rpc than before: the code of the one is called, or answers, for the other.
_TAKEN: Mapping[Kind, str] = {
    Kind.WORKFLOW: "C3c",
    Kind.SIGNAL: "C24c",
    Kind.QUERY: "C28c",
    Kind.UPDATE: "C31c",
}
_LEFT: Mapping[Kind, tuple[str, ...]] = {
    Kind.WORKFLOW: ("C19",),
    Kind.ACTIVITY: ("C5b",),
    Kind.SIGNAL: ("C24c", "C26"),
    Kind.UPDATE: ("C31c",),
}
# A further name that is given up, by which older clients have called runs that began under it.
_FORGOTTEN: Mapping[Kind, str] = {Kind.SIGNAL: "C24d", Kind.UPDATE: "C31d"}
# Another text of an id: of a workflow that clients start, and that is a child; of an update.
_OTHER_ID: Mapping[Kind, tuple[str, ...]] = {Kind.WORKFLOW: ("C17", "C18"), Kind.UPDATE: ("C49",)}
_VERSION = re.compile(r"(?P<name>.+?)_?[Vv](?P<number>\d+)")
_COMMANDS = frozenset({Kind.WORKFLOW, Kind.ACTIVITY})


@dataclass(frozen=True, slots=True)
class ElementChange:
    """One change of an element.

    Attributes:
        rule: Its row.
        subject: The element, in words.
        what: What changed, in words.
        element: Full name of what changed.
        place: Full name of the rpc that stands for it in the new contract.
        old_name: Its old registered name, or the old id of a change.
        declared: Whether a workflow declares a change that covers it, so that only code shows whether others are hurt.
    """

    rule: str
    subject: str
    what: str
    element: str
    place: str
    old_name: str
    declared: bool = False


class Matcher:
    """Finds the elements of an old snapshot in a new one."""

    def __init__(self, old: Snapshot, new: Snapshot) -> None:
        self.old, self.new = old, new
        # By values of kinds: their members hash in Python.
        self._registered = {
            (each.kind.value, name): each for each in new.elements.values() for name in (*each.aliases, each.name)
        }
        names = {(each.kind.value, each.name) for each in old.elements.values()}
        self._unknown = [
            each
            for each in new.elements.values()
            if each.rpc not in old.elements
            and not names & {(each.kind.value, name) for name in (each.name, *each.aliases)}
        ]

    def find(self, old: ElementFacts) -> ElementFacts | None:
        """What an old element is now: by registered name, else by rpc, else the one new element that looks like it.

        An rpc of its name in another service or package looks like it, and so does one of its messages.
        """
        found = self._registered.get((old.kind.value, old.name)) or self.new.elements.get(old.rpc)
        return found or self._moved(old) or self._alike(old)

    def _moved(self, old: ElementFacts) -> ElementFacts | None:
        found = [each for each in self._unknown if each.kind is old.kind and _local(each) == _local(old)]
        here = [each for each in found if _last(each.service) == _last(old.service)] or found
        return here[0] if len(here) == 1 else None

    def _alike(self, old: ElementFacts) -> ElementFacts | None:
        alike = [
            each
            for each in self._unknown
            if (each.kind, each.request, each.response) == (old.kind, old.request, old.response)
            and not _succeeds(each, old)
        ]
        return alike[0] if len(alike) == 1 and old.request != EMPTY else None

    @cached_property
    def workflows(self) -> list[tuple[ElementFacts, ElementFacts]]:
        """The old workflows that are there still, each with what it is now."""
        found = ((old, self.find(old)) for old in self.old.elements.values() if old.kind is Kind.WORKFLOW)
        return [(old, new) for old, new in found if new is not None and new.kind is Kind.WORKFLOW]

    def successor(self, old: ElementFacts) -> ElementFacts | None:
        """The newest version that stands beside an element: `AddNodeV2` beside `AddNode`."""
        found = [each for each in self.new.elements.values() if _succeeds(each, old)]
        return max(found, key=lambda each: _version(each)[1], default=None)

    def kept(self, old: ElementFacts, new: ElementFacts) -> bool:
        """Whether a new element answers to the registered name of the old one."""
        # A history holds the name under which an activity was called; workers may know both, code calls the new one.
        return old.name == new.name or (old.name in new.aliases and old.kind is not Kind.ACTIVITY)


def element_changes(old: ElementFacts, matcher: Matcher) -> Iterator[ElementChange]:
    """What changed of an element besides its messages."""
    new = matcher.find(old)
    place = old.rpc if new is None or old.rpc in matcher.new.elements else new.rpc
    subject = f"{old.kind.value} {old.rpc}"
    if new is None:
        successor = matcher.successor(old)
        beside = f", and {successor.rpc} does not take over its runs" if successor is not None else ""
        found = [(_REMOVED[old.kind], f"is gone{beside}")]
    elif new.kind is not old.kind:
        found = [(_exchanged(old.kind, new.kind), f"is {_article(new.kind)} now")]
    else:
        found = [*_renamed(old, new, matcher), *_options(old, new, matcher), *_handlers(old, new, matcher)]
        yield from _changes(old, new)
    for rule, what in found:
        yield ElementChange(rule, subject, what, old.rpc, place, old.name)


def additions(matcher: Matcher) -> Iterator[ElementChange]:
    """What clients can call now, and could not: workflows of services that were there, and what workflows answer."""
    answered: dict[str, set[str]] = {}
    for old in matcher.old.elements.values():
        new = matcher.find(old)
        if new is not None:
            found = (matcher.find(matcher.old.elements[handler.rpc]) for handler in old.handlers)
            answered[new.rpc] = {each.rpc for each in found if each is not None}
    services = {rpc.rpartition(".")[0] for rpc in answered}
    for each in matcher.new.elements.values():
        subject = f"{each.kind.value} {each.rpc}"
        if each.kind is Kind.WORKFLOW and each.rpc not in answered and each.service in services:
            yield ElementChange("C1", subject, "is new", each.rpc, each.rpc, "")
        for handler in each.handlers if each.rpc in answered else ():
            if handler.rpc not in answered[each.rpc]:
                what = f"answers the {handler.kind.value} {handler.rpc}, and did not"
                yield ElementChange(_ADDED[handler.kind], subject, what, each.rpc, each.rpc, "")


def _exchanged(old: Kind, new: Kind) -> str:
    pair = {old, new}
    if pair == set(_COMMANDS):
        return "C21"
    if old is Kind.QUERY and not pair & _COMMANDS:
        return "C35b"
    return _REMOVED[old] if pair & _COMMANDS else "C35"


def _renamed(old: ElementFacts, new: ElementFacts, matcher: Matcher) -> Iterator[tuple[str, str]]:
    lost = [alias for alias in old.aliases if alias not in (new.name, *new.aliases)]
    if lost and old.kind in _FORGOTTEN:
        yield _FORGOTTEN[old.kind], f"is registered as {' and '.join(lost)} no more"
    what = f"is registered as {new.name}, and was as {old.name}"
    if not matcher.kept(old, new):
        yield _RENAMED[old.kind], what
        return
    if old.name != new.name:
        for rule in _ALIASED[old.kind]:
            yield rule, what
    if old.rpc == new.rpc:
        return
    # Code knows an rpc, a history knows the name.
    now, was = matcher.new.elements.get(old.rpc), matcher.old.elements.get(new.rpc)
    left = now is not None and now.kind is old.kind
    taken = was is not None and was.kind is old.kind and not (old.kind is Kind.QUERY and old.name in new.aliases)
    rules = [*(_LEFT.get(old.kind, ()) if left else ()), *([_TAKEN[old.kind]] if taken and old.kind in _TAKEN else [])]
    for rule in dict.fromkeys(rules):
        yield rule, f"has left its name, {old.name}, to {new.rpc}{', which was another one' if taken else ''}"


def _options(old: ElementFacts, new: ElementFacts, matcher: Matcher) -> Iterator[tuple[str, str]]:
    queues = [each.options.get("task_queue", "the caller's") for each in (new, old)]
    if old.kind in _COMMANDS and queues[0] != queues[1]:
        rule = "C14" if old.kind is Kind.ACTIVITY else "C15"
        yield rule, f"has the task queue {queues[0]}, and had {queues[1]}"
    for what in id_changes(old, new, (matcher.old, matcher.new)):
        for rule in _OTHER_ID[old.kind]:
            yield rule, what
    waits = [each.options.get("wait_for_cancellation", "false") for each in (old, new)]
    if waits[0] != waits[1]:
        yield "C48", f"is {'' if waits[1] == 'true' else 'no more '}waited for when it is cancelled"
    behaviors = [each.options.get("versioning_behavior", "") for each in (old, new)]
    if behaviors[1] == '"auto-upgrade"' != behaviors[0]:
        yield "C46", "was pinned, and upgrades by itself"


def _changes(old: ElementFacts, new: ElementFacts) -> Iterator[ElementChange]:
    """What became of the declared changes of a workflow's code."""
    for change in new.changes.values():
        if change.deprecated and change.id not in old.changes:
            yield without_branch(change, new)
    renamed = _renamed_changes(old, new)
    for id_, now in renamed.items():
        yield _change("C43", f"is called {now} now", old.changes[id_], new)
    for change in ended_changes(old, new):
        if not change.deprecated:
            yield _change("C42", "is gone, and was not deprecated", change, new)


def ended_changes(old: ElementFacts, new: ElementFacts) -> list[ChangeFacts]:
    """The declared changes that a workflow has no more, under no other id either."""
    renamed = _renamed_changes(old, new)
    return [change for change in old.changes.values() if change.id not in new.changes and change.id not in renamed]


def without_branch(change: ChangeFacts, workflow: ElementFacts) -> ElementChange:
    """What a change does to releases from before it once its old branch is gone: it is deprecated, or gone itself."""
    return _change("C41", "has no branch for runs from before it", change, workflow)


def _renamed_changes(old: ElementFacts, new: ElementFacts) -> dict[str, str]:
    """New ids of changes by their old ones: a change that comes with the release of one that is gone is that one."""
    added = {each.since: each.id for each in new.changes.values() if each.id not in old.changes}
    return {
        each.id: added[each.since]
        for each in old.changes.values()
        if each.id not in new.changes and each.since in added
    }


def _change(rule: str, what: str, change: ChangeFacts, workflow: ElementFacts) -> ElementChange:
    subject = f"change {change.id} of workflow {workflow.rpc}"
    return ElementChange(rule, subject, what, f"{workflow.rpc}.{change.id}", workflow.rpc, change.id)


def _local(element: ElementFacts) -> tuple[str, ...]:
    """What of an element's names does not change with its service and package."""
    return tuple(map(_last, (element.rpc, element.request, element.response)))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _version(element: ElementFacts) -> tuple[str, int]:
    match = _VERSION.fullmatch(element.rpc)
    return (match["name"], int(match["number"])) if match is not None else (element.rpc, 1)


def _succeeds(new: ElementFacts, old: ElementFacts) -> bool:
    """Whether the one is a later version of the other by its name."""
    (name, number), (known, before) = _version(new), _version(old)
    return new.kind is old.kind and name == known and number > before


def _handlers(old: ElementFacts, new: ElementFacts, matcher: Matcher) -> Iterator[tuple[str, str]]:
    answered = {handler.rpc for handler in new.handlers}
    for handler in old.handlers:
        known = matcher.old.elements[handler.rpc]
        now = matcher.find(known)
        if now is not None and now.kind is known.kind and now.rpc not in answered:
            yield _REMOVED[known.kind], f"answers the {known.kind.value} {known.rpc} no more"


def _article(kind: Kind) -> str:
    return f"an {kind.value}" if kind.value[0] in "au" else f"a {kind.value}"
