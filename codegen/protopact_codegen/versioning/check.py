"""The check: a contract against every release that is live, to diagnostics.

A change is told once, however many releases, rpcs and flows it hits: with the worst that it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import dirname

from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto

from protopact_codegen.contract import Contract, Element, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.source import Place, Source
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.difference import Change, Difference
from protopact_codegen.versioning.elements import ElementChange, Matcher, element_changes
from protopact_codegen.versioning.flows import Role, consequence, failures, flows, judge, roles
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.rules import CONTRACT, PAYLOAD, Direction, Outcome, PayloadRule, Verdict
from protopact_codegen.versioning.settings import Deployment, ServiceSettings, Settings
from protopact_codegen.versioning.snapshot import ElementFacts, Snapshot

__all__ = ["check"]

_CODES: Mapping[Verdict, Code] = {
    Verdict.ORDER: Code.ROLLOUT_ORDER,
    Verdict.DRAIN: Code.UNDRAINED_CHANGE,
    Verdict.PATCH: Code.UNPATCHED_CHANGE,
    Verdict.BREAK: Code.BREAKING_CHANGE,
}
_REQUEST, _RESPONSE = MethodDescriptorProto.INPUT_TYPE_FIELD_NUMBER, MethodDescriptorProto.OUTPUT_TYPE_FIELD_NUMBER


def check(
    contract: Contract, releases: Sequence[Release], settings: Settings, generated: Sequence[str] = ()
) -> list[Diagnostic]:
    """Find what a contract does to the releases that are live.

    Args:
        contract: The contract, without errors.
        releases: The releases, each after those that it came after.
        settings: How payloads are written, and what is deployed how.
        generated: Paths of the files that the plugin was asked to generate; empty when nothing is generated.
    """
    checker = _Checker(contract, settings, generated)
    for release in releases:
        checker.compare(release)
    return checker.diagnostics()


@dataclass(slots=True)
class _Found:
    """One change, with the worst that it does and all that it hits."""

    what: str
    place: Place
    rule: str
    verdict: Verdict
    consequence: str
    hint: str
    uses: dict[str, None] = field(default_factory=dict[str, None])
    releases: dict[str, None] = field(default_factory=dict[str, None])


class _Checker:
    """Gathers what is found, release after release."""

    def __init__(self, contract: Contract, settings: Settings, generated: Sequence[str]) -> None:
        self._contract = contract
        self._settings = settings
        self._generated = generated
        self._new = capture(contract)
        self._found: dict[tuple[str, str], _Found] = {}
        self._missing: dict[str, dict[str, None]] = {}

    def compare(self, release: Release) -> None:
        """Compare the contract with one release."""
        old = release.snapshot
        absent = self._absent(old, release.name)
        difference = Difference(old, self._new)
        matcher = Matcher(old, self._new)
        reached: dict[str, tuple[Change, ...]] = {}
        for before in old.elements.values():
            if before.service in absent:
                continue
            settings = self._settings_of(before)
            home = old.services.get(before.service)
            for change in element_changes(before, matcher):
                self._element(change, settings, release.name, home.file if home is not None else before.service)
            after = matcher.find(before)
            if after is not None and after.kind is before.kind:
                for role, message, each in _messages(before, after, difference, reached):
                    if flows(role, settings):
                        self._payload(each, role, message, settings, release.name)

    def diagnostics(self) -> list[Diagnostic]:
        """What was found in all releases."""
        return [*self._tell(), *self._tell_missing()]

    def _tell(self) -> Iterator[Diagnostic]:
        for found in self._found.values():
            if found.rule == "P3":
                code = Code.UNRESERVED_FIELD
            elif found.verdict is Verdict.SAFE:
                code = Code.CHANGED_MEANING
            else:
                code = _CODES[found.verdict]
            uses = list(found.uses)
            others = f" and {len(uses) - 1} more" if len(uses) > 1 else ""
            where = f"; it is the {uses[0]}{others}" if uses else ""
            message = f"{found.what} ({found.rule}): {found.consequence}{where}; live: {', '.join(found.releases)}"
            yield Diagnostic(code, found.place, message, found.hint)

    def _tell_missing(self) -> Iterator[Diagnostic]:
        for path, releases in self._missing.items():
            yield Diagnostic(
                Code.MISSING_FILE,
                _nowhere(path),
                f"the file is not among those to generate, which all lie in one folder, and these releases have it: "
                f"{', '.join(releases)}; `strategy: all` is missing, or the file was deleted",
                "set `strategy: all` for protoc-gen-protopact in buf.gen.yaml; if the file was deleted, `protopact "
                "check` says what that does",
            )

    def _absent(self, old: Snapshot, release: str) -> set[str]:
        """Services that may be absent only because buf runs the plugin once for each folder."""
        folders = {dirname(path) for path in self._generated}
        absent = {
            service.name
            for service in old.services.values()
            if service.name not in self._new.services
            and len(folders) == 1
            and service.file not in self._generated
            and dirname(service.file) not in folders
        }
        for name in absent:
            self._missing.setdefault(old.services[name].file, {})[release] = None
        return absent

    def _settings_of(self, element: ElementFacts) -> ServiceSettings:
        settings = self._settings.of(element.service)
        after = self._new.elements.get(element.rpc)
        upgrades = after is not None and after.options.get("versioning_behavior") == '"auto-upgrade"'
        if upgrades and settings.deployment is Deployment.PINNED:
            return ServiceSettings(settings.encodings, Deployment.ROLLING, settings.clients)
        return settings

    def _element(self, change: ElementChange, settings: ServiceSettings, release: str, home: str) -> None:
        rule = CONTRACT[change.rule]
        if settings.deployment is Deployment.PINNED and rule.verdict is Verdict.PATCH and rule.name != "C46":
            return  # a run stays with the code that began it
        place = self._element_place(change.place, home)
        what = f"{change.subject} {change.what}"
        found = _Found(what, place, rule.name, rule.verdict, rule.consequence, rule.hint.format(old=change.old_name))
        self._add(change.subject, found, "", release)

    def _payload(
        self, change: Change, role: Role, element: ElementFacts, settings: ServiceSettings, release: str
    ) -> None:
        rule = PAYLOAD[change.rule]
        directions = flows(role, settings)
        failed = failures(rule, settings.encodings, directions)
        verdict = judge(rule, role, failed)
        if verdict is Verdict.SAFE and not rule.warns and rule.name != "P3":
            return
        happens, hint = _words(rule, role, verdict, failed)
        name = change.subject.rpartition(".")[2]
        hint = hint.replace("{name}", name).replace("{number}", str(change.number)).replace("{key}", change.key)
        place = self._place(change.place)
        found = _Found(f"{change.subject} {change.what}", place, rule.name, verdict, happens, hint)
        self._add(change.subject, found, f"{role.value} {element.rpc}", release)

    def _add(self, subject: str, found: _Found, use: str, release: str) -> None:
        known = self._found.setdefault((found.rule, subject), found)
        if found.verdict.rank > known.verdict.rank:
            found.uses, found.releases = known.uses, known.releases
            if use:
                found.uses = {use: None} | found.uses
            self._found[found.rule, subject] = known = found
        if use:
            known.uses[use] = None
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
    def _types(self) -> Mapping[str, Source]:
        return {name: source for source in self._contract.sources.values() for name in source.type_names}

    def _place(self, name: str) -> Place:
        """Place of a type or field, or of an rpc's request or response as `rpc/request`."""
        rpc, _, side = name.partition("/")
        if side:
            return self._elements[rpc].place.part(_REQUEST if side == "request" else _RESPONSE)
        source = self._types.get(name) or self._types[name.rpartition(".")[0]]
        return source.place(name)

    def _element_place(self, rpc: str, home: str) -> Place:
        """Place of an rpc, else of its service, else of the file in which that was."""
        if rpc in self._elements:
            return self._elements[rpc].place
        for service in self._contract.services:
            if service.full_name == rpc.rpartition(".")[0]:
                return service.place
        return _nowhere(home)


def _nowhere(path: str) -> Place:
    """A place in a file that is not there."""
    return Place(Source(FileDescriptorProto(name=path)), ())


def _messages(
    before: ElementFacts, after: ElementFacts, difference: Difference, reached: dict[str, tuple[Change, ...]]
) -> Iterator[tuple[Role, ElementFacts, Change]]:
    """The changes of what an element's messages reach, in the role of each; `reached` remembers them by message."""
    for (role, was), (_, is_) in zip(roles(before), roles(after), strict=True):
        if was != is_:
            yield role, after, _moved(role, after, was, is_, difference)
        elif difference.changes:
            if was not in reached:
                reached[was] = tuple(_reached(difference.old, was, difference))
            for change in reached[was]:
                yield role, after, change


def _reached(old: Snapshot, message: str, difference: Difference) -> Iterator[Change]:
    seen: set[str] = set()
    for facts in old.closure(message):
        for name in (facts.name, *(each.type.name for each in facts.fields if each.type.kind == "enum")):
            if name not in seen:
                seen.add(name)
                yield from difference.changes.get(name, ())


def _moved(role: Role, after: ElementFacts, was: str, is_: str, difference: Difference) -> Change:
    rule = "P40" if difference.same_shape(was, is_) else "P41"
    side = "request" if role.request else "response"
    return Change(rule, f"{after.rpc}/{side}", f"{after.rpc}/{side}", f"is {is_}, and was {was}")


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
        return happens, f"deploy {first}, and do not go back once the new form is written"
    way = rule.hint or "leave it until it is written no more"
    if verdict is Verdict.DRAIN:
        way += "; or wait until no run or history of these releases is left, and retire them"
    return happens, way
