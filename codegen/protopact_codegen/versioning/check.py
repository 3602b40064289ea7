"""The check: a contract against every release that is live, to diagnostics.

A change is told once, however many releases, rpcs and flows it hits: with the worst that it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import dirname

from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto

from protopact_codegen.contract import Contract, Element, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic, Severity, quote
from protopact_codegen.source import Place, Source
from protopact_codegen.versioning.allowance import Allowances
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.coverage import uncovered
from protopact_codegen.versioning.difference import Change, Difference
from protopact_codegen.versioning.elements import (
    ElementChange,
    Matcher,
    additions,
    element_changes,
    ended_changes,
    without_branch,
)
from protopact_codegen.versioning.flows import Role, consequence, failures, flows, judge, judge_element, roles
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.reach import Reach
from protopact_codegen.versioning.rules import CONTRACT, PAYLOAD, Direction, Outcome, PayloadRule, Verdict
from protopact_codegen.versioning.settings import ServiceSettings, Settings
from protopact_codegen.versioning.snapshot import ChangeFacts, ElementFacts, Snapshot, holder_of

__all__ = ["check"]

_CODES: Mapping[Verdict, Code] = {
    Verdict.ORDER: Code.ROLLOUT_ORDER,
    Verdict.DRAIN: Code.UNDRAINED_CHANGE,
    Verdict.PATCH: Code.UNPATCHED_CHANGE,
    Verdict.BREAK: Code.BREAKING_CHANGE,
}
_LOOK = "look whether a run of theirs has; if so, "
_REQUEST, _RESPONSE = MethodDescriptorProto.INPUT_TYPE_FIELD_NUMBER, MethodDescriptorProto.OUTPUT_TYPE_FIELD_NUMBER


def check(
    contract: Contract,
    releases: Sequence[Release],
    settings: Settings,
    generated: Sequence[str] = (),
    *,
    retired: Sequence[Release] = (),
    complete: bool = False,
    passable: bool = True,
) -> list[Diagnostic]:
    """Find what a contract does to the releases that are live.

    Args:
        contract: The contract, without errors.
        releases: The releases, each after those that it came after.
        settings: How payloads are written, and what is deployed how.
        generated: Paths of the files that the plugin was asked to generate; empty when nothing is generated.
        retired: The releases that are retired: what became of the changes that they declare concerns older ones.
        complete: Whether the releases are all that are live, so that what is about none of them is about nothing.
        passable: Whether they are of a lock, so that the contract can name them in what it passes.
    """
    checker = _Checker(contract, releases, settings, generated, retired)
    for release in retired:
        checker.compare_changes(release)
    for release in releases:
        checker.compare(release)
    return [*checker.diagnostics(passable=passable), *(checker.idle() if complete else ())]


@dataclass(slots=True)
class _Found:
    """One change, with the worst that it does and all that it hits."""

    element: str
    what: str
    place: Place
    rule: str
    verdict: Verdict
    consequence: str
    hint: str
    use: str = ""
    others: int = 0
    seen: bool = True
    releases: dict[str, None] = field(default_factory=dict[str, None])


@dataclass(frozen=True, slots=True)
class _Root:
    """A message that an rpc has under the same name in both contracts."""

    role: Role
    settings: ServiceSettings
    message: str
    rpc: str


@dataclass(frozen=True, slots=True)
class _Use:
    """How often a type is reached in one role under the same settings; `rpc` is the first."""

    role: Role
    settings: ServiceSettings
    rpc: str
    count: int


class _Checker:
    """Gathers what is found, release after release."""

    def __init__(
        self,
        contract: Contract,
        releases: Sequence[Release],
        settings: Settings,
        generated: Sequence[str],
        retired: Sequence[Release],
    ) -> None:
        self._contract = contract
        self._settings = settings
        self._generated = generated
        self._new = _shared(capture(contract), releases[-1].snapshot) if releases else capture(contract)
        self._found: dict[tuple[str, str], _Found] = {}
        self._missing: dict[str, dict[str, None]] = {}
        self._covered: set[str] = set()
        self._others: dict[str, Diagnostic] = {}
        self._allowances = Allowances(contract, self._elements.values())
        both = (*retired, *releases)
        self._matchers = {release.name: Matcher(release.snapshot, self._new) for release in both}
        self._ended = self._changes_that_ended(both)
        self._additions = _in_all([[*additions(self._matchers[release.name])] for release in releases])

    def compare_changes(self, release: Release) -> None:
        """Compare the changes that the contract declares with those of a release, live or retired."""
        matcher = self._matchers[release.name]
        for before in release.snapshot.elements.values():
            self._since(before, matcher.find(before), release.name)

    def compare(self, release: Release) -> None:
        """Compare the contract with a release that is live."""
        old = release.snapshot
        difference = Difference(old, self._new)
        matcher = self._matchers[release.name]
        self._covered.update(old.elements)
        self.compare_changes(release)
        reach = Reach(matcher, self._settings)
        self._compare_elements(release, matcher, reach)
        roots: list[_Root] = []
        for before in old.elements.values():
            home = old.services.get(before.service)
            if home is not None and release.name in self._missing.get(home.file, ()):
                continue
            roots += self._roots(before, matcher.find(before), difference, reach, release.name)
        if difference.changes:
            for name, uses in _uses(old, roots, difference.changes):
                for each in difference.changes[name]:
                    self._payload(each, uses, release.name)

    def _compare_elements(self, release: Release, matcher: Matcher, reach: Reach) -> None:
        old = release.snapshot
        absent = self._absent(old)
        gone: dict[str, list[_Found]] = defaultdict(list)
        for before in old.elements.values():
            home = old.services.get(before.service)
            file = home.file if home is not None else before.service
            after = matcher.find(before)
            settings = reach.of(before, after)
            for change in self._changes_of(before, release, reach):
                found = self._element(change, settings, release.name, file)
                if found is None or self._passes(found, change, release):
                    continue
                # What only looks like it may be another one that is there, where it is not seen itself.
                if before.service in absent and (after is None or not matcher.kept(before, after)):
                    gone[file].append(found)
                else:
                    self._add(found.what, found, release.name)
        for change in additions(matcher):
            new = self._new.elements[change.place]
            found = self._element(change, reach.of(new, new), release.name, change.place)
            # What passes it stays in use when a later release has it too.
            if found is not None and not self._passes(found, change, release) and change in self._additions:
                self._add(found.what, found, release.name)
        for file, lost in gone.items():
            if any(_code(found).severity is Severity.ERROR for found in lost):
                self._missing.setdefault(file, {})[release.name] = None
            else:  # nothing refuses its deletion, so that it need not be told apart
                for found in lost:
                    self._add(found.what, found, release.name)

    def _changes_of(self, before: ElementFacts, release: Release, reach: Reach) -> Iterator[ElementChange]:
        """What changed of an element, as far as a release's runs meet it."""
        matcher = self._matchers[release.name]
        for change in (*element_changes(before, matcher), *self._passed_by(before, matcher, release)):
            left = uncovered(change, matcher) if change.rule != "C46" or reach.is_pinned(before) else None
            if left is not None:
                yield left

    def diagnostics(self, *, passable: bool) -> list[Diagnostic]:
        """What was found in all releases."""
        return [*self._tell(passable=passable), *self._others.values(), *self._tell_missing()]

    def idle(self) -> Iterator[Diagnostic]:
        """What the contract says of releases, and is about none of them."""
        if not self._missing:  # what is not seen may be what they are for
            yield from self._allowances.idle()
        known = self._covered | set(self._elements)
        for workflow in self._contract_workflows.values():
            for change in workflow.changes:
                for rpc in change.covers:
                    if rpc not in known:
                        steps = ("change", change.index, "covers")
                        what = f"names {rpc}, which neither the contract nor a live release has"
                        message = f"workflow {workflow.full_name}: {workflow.place.spell(*steps)} {what}"
                        yield Diagnostic(
                            Code.CHANGE_RELEASE, workflow.place, message, "correct the name, or remove it", steps
                        )

    def _tell(self, *, passable: bool) -> Iterator[Diagnostic]:
        for found in self._found.values():
            others = f" and {found.others} more" if found.others else ""
            where = f"; it is the {found.use}{others}" if found.use else ""
            message = f"{found.what} ({found.rule}): {found.consequence}{where}; live: {', '.join(found.releases)}"
            hint = found.hint
            if passable:
                allow = self._allowances.spell(found.rule, found.element, found.releases)
                hint += f"; or, if no harm is done, {allow}"
            yield Diagnostic(_code(found), found.place, message, hint)

    def _tell_missing(self) -> Iterator[Diagnostic]:
        for path, releases in self._missing.items():
            yield Diagnostic(
                Code.MISSING_FILE,
                _gone(path, [*releases][-1]),
                f"the file is not among those to generate, which all lie in one folder, and these releases have it: "
                f"{', '.join(releases)}; `strategy: all` is missing, or the file was deleted",
                "set `strategy: all` for protoc-gen-protopact in buf.gen.yaml; if the file was deleted, run `protopact "
                "check` and mark what it finds: each finding spells the `allow` for it",
            )

    def _roots(
        self, before: ElementFacts, after: ElementFacts | None, difference: Difference, reach: Reach, release: str
    ) -> Iterator[_Root]:
        """The messages that an rpc has in both contracts; tells of those that it has in one only."""
        if after is None or after.kind is not before.kind:
            return
        settings = reach.of(before, after)
        for (role, was), (_, is_) in zip(roles(before), roles(after), strict=True):
            if difference.is_same(was, is_):
                yield _Root(role, settings, was, after.rpc)
            if was != is_:
                moved = _moved(role, after, was, is_, difference)
                self._payload(moved, [_Use(role, settings, after.rpc, 1)], release)
            lost = difference.lost_aliases(was, is_)
            if lost:
                side = f"{after.rpc}/{'request' if role.request else 'response'}"
                change = Change("P40c", side, side, f"is read under the name {' or '.join(lost)} no more", key=lost[0])
                self._payload(change, [_Use(role, settings, after.rpc, 1)], release)

    def _absent(self, old: Snapshot) -> set[str]:
        """Services that may be absent only because buf runs the plugin once for each folder."""
        folders = {dirname(path) for path in self._generated}
        return {
            service.name
            for service in old.services.values()
            if service.name not in self._new.services
            and len(folders) == 1
            and service.file not in self._generated
            and dirname(service.file) not in folders
        }

    def _changes_that_ended(self, releases: Iterable[Release]) -> Mapping[str, Sequence[tuple[str, ChangeFacts]]]:
        """The declared changes that releases have and the contract has not, by workflow of the contract."""
        ended: dict[str, list[tuple[str, ChangeFacts]]] = defaultdict(list)
        for release in releases:
            for before in release.snapshot.elements.values():
                after = self._matchers[release.name].find(before) if before.changes else None
                if after is not None and after.kind is before.kind:
                    ended[after.rpc] += [(release.name, each) for each in ended_changes(before, after)]
        return ended

    def _passed_by(self, before: ElementFacts, matcher: Matcher, release: Release) -> Iterator[ElementChange]:
        """Changes that came after a release and went: neither contract has them, and the code has the new branch."""
        after = matcher.find(before)
        if after is not None:
            later = {
                change.id: change
                for name, change in self._ended.get(after.rpc, ())
                if name not in release.after and change.id not in before.changes
            }
            for change in later.values():
                yield without_branch(change, after)

    def _passes(self, found: _Found, change: ElementChange, release: Release) -> bool:
        return self._allowances.passes(found.rule, (found.element, change.element), release.name)

    def _since(self, before: ElementFacts, after: ElementFacts | None, release: str) -> None:
        """Hold the releases that declared changes name against what those releases have."""
        workflow = self._contract_workflows.get(after.rpc) if after is not None else None
        if workflow is None:
            return
        ids = {each.id for each in workflow.changes}
        for change in workflow.changes:
            known = before.changes.get(change.id)
            renamed = any(each.since == release and each.id not in ids for each in before.changes.values())
            if known is None and change.since == release and not renamed:
                what = f"is {quote(release)}, and {release} was cut without the change"
            elif known is not None and known.since != change.since:
                what = f"is {quote(change.since)}, and {release} has the change since {known.since}"
            else:
                continue
            steps = ("change", change.index, "since")
            message = f"workflow {workflow.full_name}: {workflow.place.spell(*steps)} {what}"
            hint = "name the release that brings the change; another change wants another id"
            self._others[message] = Diagnostic(Code.CHANGE_RELEASE, workflow.place, message, hint, steps)

    def _element(self, change: ElementChange, settings: ServiceSettings, release: str, home: str) -> _Found | None:
        """What a change of an element does; None when it does no harm."""
        rule = CONTRACT[change.rule]
        verdict, happens, hint = judge_element(rule, settings)
        if verdict is Verdict.SAFE:
            return None
        is_renamed = change.element not in self._elements and not change.element.startswith(f"{change.place}.")
        return _Found(
            element=change.place if is_renamed else change.element,
            what=f"{change.subject} {change.what}",
            place=self._element_place(change.place, home, release),
            rule=rule.name,
            verdict=verdict,
            consequence=happens,
            hint=f"{_LOOK if change.declared and rule.seen else ''}{hint.format(old=change.old_name)}",
            seen=rule.seen and not change.declared,
        )

    def _payload(self, change: Change, uses: Sequence[_Use], release: str) -> None:
        rule = PAYLOAD[change.rule]
        worst: tuple[Verdict, Role, Mapping[Direction, Outcome], str] | None = None
        hits = 0
        for use in uses:
            directions = flows(use.role, use.settings)
            failed = failures(rule, use.settings.encodings, directions)
            verdict = judge(rule, use.role, failed)
            if directions and (verdict is not Verdict.SAFE or rule.warns or rule.name == "P3"):
                hits += use.count
                if worst is None or verdict.rank > worst[0].rank:
                    worst = verdict, use.role, failed, f"{use.role.value} {use.rpc}"
        if worst is None:
            return
        verdict, role, failed, first = worst
        happens, hint = _words(rule, role, verdict, failed)
        _, name = holder_of(change.subject)
        hint = hint.replace("{name}", name).replace("{number}", str(change.number)).replace("{key}", change.key)
        hint = hint.replace("{old}", change.key)
        subject = change.subject.partition("/")[0]
        what = f"{change.subject} {change.what}"
        found = _Found(
            subject, what, self._place(change.place), rule.name, verdict, happens, hint, first, hits - 1, seen=rule.seen
        )
        if not self._allowances.passes(rule.name, (subject, change.place), release):
            # A release may have had it in another way than the one before: what leads out of the one is no way out of
            # the other.
            self._add(f"{what} {change.key}", found, release)

    def _add(self, key: str, found: _Found, release: str) -> None:
        known = self._found.setdefault((found.rule, key), found)
        if found.verdict.rank > known.verdict.rank:
            found.releases = known.releases
            self._found[found.rule, key] = known = found
        if known.place.source.release:
            known.place = found.place  # of the latest release that has it
        known.releases[release] = None

    @cached_property
    def _elements(self) -> Mapping[str, Element]:
        return {
            each.full_name: each
            for service in self._contract.services
            for element in service.elements
            for each in (element, *(element.handlers if isinstance(element, Workflow) else ()))
        }

    @cached_property
    def _contract_workflows(self) -> Mapping[str, Workflow]:
        return {name: each for name, each in self._elements.items() if isinstance(each, Workflow)}

    @cached_property
    def _types(self) -> Mapping[str, Source]:
        return {
            name: source
            for source in self._contract.sources.values()
            for name in (*source.type_names, *source.extensions)
        }

    def _place(self, name: str) -> Place:
        """Place of a type, field or value, or of an rpc's request or response as `rpc/request`."""
        rpc, _, side = name.partition("/")
        if side:
            return self._elements[rpc].place.part(_REQUEST if side == "request" else _RESPONSE)
        source = self._types.get(name) or self._types[holder_of(name)[0]]
        return source.place(name)

    def _element_place(self, rpc: str, home: str, release: str) -> Place:
        """Place of an rpc, else of its service, else the file of the release in which that was."""
        if rpc in self._elements:
            return self._elements[rpc].place
        for service in self._contract.services:
            if service.full_name == rpc.rpartition(".")[0]:
                return service.place
        return _gone(home, release)


def _code(found: _Found) -> Code:
    if found.rule == "P3":
        return Code.UNRESERVED_FIELD
    if not found.seen:
        return Code.UNSEEN_USE
    return Code.CHANGED_MEANING if found.verdict is Verdict.SAFE else _CODES[found.verdict]


def _in_all(added: Sequence[Sequence[ElementChange]]) -> Sequence[ElementChange]:
    """What is new to every release; what one of them has was rolled out with it."""
    known = [set(each) for each in added]
    return [change for change in added[0] if all(change in each for each in known)] if added else []


def _shared(new: Snapshot, old: Snapshot) -> Snapshot:
    """A snapshot in which what is equal to something in another one is the same: all releases compare it faster."""
    messages = {
        name: old.messages[name] if name in old.messages and old.messages[name] == message else message
        for name, message in new.messages.items()
    }
    return Snapshot(new.services, new.elements, messages, new.enums)


def _gone(path: str, release: str) -> Place:
    """A file of a release; a lock holds no lines."""
    return Place(Source(FileDescriptorProto(name=path), release), ())


def _uses(old: Snapshot, roots: Sequence[_Root], names: Iterable[str]) -> Iterator[tuple[str, list[_Use]]]:
    """For each of the types that are called so and reached from roots: from how many, and the first, for each role.

    Sets of roots are the bits of an integer: a contract may have thousands, each of which reaches nearly everything.
    """
    masks: dict[str, int] = defaultdict(int)
    groups: dict[tuple[str, int], int] = defaultdict(int)  # what is equal is nearly always the same: hashes cost more
    for index, root in enumerate(roots):
        masks[root.message] |= 1 << index
        groups[root.role.value, id(root.settings)] |= 1 << index
    edges = [(name, old.messages[name].inner) for name in _outer_first(old, list(masks))]
    changed = True
    while changed:  # once, and once more to see that it is done, where messages do not hold themselves
        changed = False
        for name, inner in edges:
            for each in inner:
                if masks[name] & ~masks[each]:
                    masks[each] |= masks[name]
                    changed = True
    for name in names:
        uses: list[_Use] = []
        for group in groups.values():
            hit = masks.get(name, 0) & group
            if hit:
                first = roots[(hit & -hit).bit_length() - 1]
                uses.append(_Use(first.role, first.settings, first.rpc, hit.bit_count()))
        yield name, uses


def _outer_first(old: Snapshot, roots: Sequence[str]) -> list[str]:
    """Messages that are reached from roots, each before those that it holds as far as they do not hold one another."""
    inner_first: list[str] = []
    seen: set[str] = set()
    stack = [(name, False) for name in roots]
    while stack:
        name, done = stack.pop()
        if done:
            inner_first.append(name)
        elif name not in seen and name in old.messages:
            seen.add(name)
            stack.append((name, True))
            stack += [(inner, False) for inner in old.messages[name].inner if inner not in seen]
    return inner_first[::-1]


def _moved(role: Role, after: ElementFacts, was: str, is_: str, difference: Difference) -> Change:
    is_renamed = was.rpartition(".")[2] == is_.rpartition(".")[2] or difference.same_shape(was, is_)
    rule = "P40" if is_renamed else "P41"
    if difference.is_same(was, is_):
        rule = "P40b"
    side = "request" if role.request else "response"
    return Change(rule, f"{after.rpc}/{side}", f"{after.rpc}/{side}", f"is {is_}, and was {was}", key=was)


def _words(rule: PayloadRule, role: Role, verdict: Verdict, failed: Mapping[Direction, Outcome]) -> tuple[str, str]:
    """What happens, and the way out."""
    if rule.name == "P3":
        return "what takes its place one day would be read in its stead from what is stored", rule.hint
    if verdict is Verdict.SAFE:
        return "it is read without an error, and may mean something else", rule.hint
    direction = Direction.FORWARD if Direction.FORWARD in failed else Direction.BACKWARD
    happens = consequence(role, direction, failed[direction])
    if verdict is Verdict.ORDER:
        first = "workers before clients" if role.request else "clients before workers"
        if role in (Role.ACTIVITY_REQUEST, Role.ACTIVITY_RESPONSE):
            first = "the activities' workers first" if role.request else "the workflows' workers first"
        never = not any(outcomes[Direction.FORWARD].bad for outcomes in rule.outcomes.values())
        beside = f"; or {rule.hint}" if rule.hint and never else ""
        return happens, f"deploy {first}, and do not go back once the new form is written{beside}"
    way = rule.hint
    if verdict is Verdict.DRAIN:
        way += "; or wait until no run or history of these releases is left, and retire them"
    return happens, way
