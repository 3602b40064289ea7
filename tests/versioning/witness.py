"""Witnesses of findings: payloads and histories that hold what a finding is about, and are really read and replayed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from google.protobuf.message import Message
from tests.versioning.built import Built, LossError, compare
from tests.versioning.evolution import Enum, Rpc, Version

from protopact.history import History
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.difference import Difference
from protopact_codegen.versioning.flows import Role
from protopact_codegen.versioning.rules import Direction
from protopact_codegen.versioning.settings import Encoding

__all__ = ["Crossing", "Finding", "Witness"]

_VALUES = 24
_PAYLOAD = re.compile(
    r"(?P<what>.+) \((?P<rule>P\d+[a-z]?)\): .*; it is the (?P<role>\w+ of \w+) (?P<rpc>\S+?)"
    r"(?: and \d+ more)?; live: .*"
)
_ELEMENT = re.compile(r"(?:change \S+ of )?\w+ (?P<element>\S+) .*\((?P<rule>C\d+[a-z]?)\): .*")


@dataclass(frozen=True)
class Finding:
    """A finding, as far as its message tells."""

    rule: str
    what: str
    code: Code
    element: str
    role: Role | None = None

    @staticmethod
    def of(diagnostic: Diagnostic) -> Finding:
        match = _PAYLOAD.fullmatch(diagnostic.message)
        if match is not None:
            return Finding(match["rule"], match["what"], diagnostic.code, match["rpc"], Role(match["role"]))
        match = _ELEMENT.fullmatch(diagnostic.message)
        assert match is not None, diagnostic.message
        return Finding(match["rule"], "", diagnostic.code, match["element"])


@dataclass(frozen=True)
class Crossing:
    """What one version writes as the request or the response of an rpc, and another one reads."""

    writer: Built
    wrote: Rpc
    reader: Built
    reads: Rpc
    request: bool

    @property
    def exists(self) -> bool:
        """Whether both know the rpc."""
        return self.writer.has(self.wrote) and self.reader.has(self.reads)

    def pass_(self, value: Message, encoding: Encoding) -> None:
        """Write a value, and read it.

        Raises:
            LossError: It is not read, or as something else.
        """
        side = "request" if self.request else "response"
        payloads = self.writer.write(self.wrote, value, encoding, request=self.request)
        got = self.reader.read(self.reads, payloads, encoding, request=self.request)
        compare(
            value,
            (self.writer.version, getattr(self.wrote, side)),
            got,
            (self.reader.version, getattr(self.reads, side)),
        )

    @staticmethod
    def of(old: tuple[Built, Rpc], new: tuple[Built, Rpc], direction: Direction, *, request: bool) -> Crossing:
        """From the old to the new one, or the reverse."""
        return Crossing(*old, *new, request) if direction is Direction.FORWARD else Crossing(*new, *old, request)


class Witness:
    """Looks for what shows the findings between two versions."""

    def __init__(self, old: Built, new: Built, encoding: Encoding, random: Random) -> None:
        self._old, self._new, self._encoding, self._random = old, new, encoding, random

    def shows(self, finding: Finding) -> bool:
        """Whether what a finding is about really goes wrong, in the direction that its verdict says."""
        if finding.code is Code.UNRESERVED_FIELD or (finding.role is None and finding.code is Code.ROLLOUT_ORDER):
            return False  # nothing that is written yet, or nothing but what newer clients ask of older workers
        if finding.role is None:
            return any(self._lost(self._histories_of(finding.element)))
        failed = set(self._failures(finding, finding.role))
        if finding.code is Code.UNDRAINED_CHANGE:
            return Direction.FORWARD in failed
        return Direction.BACKWARD in failed if finding.code is Code.ROLLOUT_ORDER else bool(failed)

    # -- payloads

    def _failures(self, finding: Finding, role: Role) -> Iterator[Direction]:
        after = next(each for each in self._new.version.rpcs if finding.element.endswith(f".{each.name}"))
        before = self._old.version.rpc(after.id)
        assert before is not None
        wanted = self._fields(finding)
        for direction in Direction:
            crossing = Crossing.of((self._old, before), (self._new, after), direction, request=role.request)
            if crossing.exists and self._fails(crossing, wanted):
                yield direction

    def _fails(self, crossing: Crossing, wanted: set[int] | None) -> bool:
        for _ in range(_VALUES):
            value = crossing.writer.sample(crossing.wrote, self._random, request=crossing.request, wanted=wanted)
            try:
                crossing.pass_(value, self._encoding)
            except LossError:
                return True
        return False

    @cached_property
    def _changes(self) -> dict[str, tuple[str, str]]:
        found = Difference(capture(self._old.contract), capture(self._new.contract)).changes
        return {f"{each.subject} {each.what}": (each.subject, each.place) for some in found.values() for each in some}

    def _fields(self, finding: Finding) -> set[int] | None:
        """Ids of the fields that a finding is about, or that hold what it is about; None for a whole message."""
        if "/" in finding.what.partition(" ")[0]:
            return None
        versions = self._old.version, self._new.version
        return {
            id_ for name in self._changes[finding.what] for each in versions for id_ in _fields(each, name, versions)
        }

    # -- histories

    @cached_property
    def _histories(self) -> Sequence[History]:
        return self._old.record(self._encoding, self._random)

    def _histories_of(self, element: str) -> Iterator[History]:
        """The histories in which an element is named."""
        known = {f"{self._old.version.package}.ShopService.{each.name}": each for each in self._old.version.rpcs}
        name = (known[element].registered if element in known else "") or element
        return (each for each in self._histories if f'"{name}"' in each.to_json())

    def _lost(self, histories: Iterator[History]) -> Iterator[bool]:
        for history in histories:
            try:
                self._new.replay([history])
            except LossError:
                yield True


def _fields(version: Version, name: str, versions: Sequence[Version]) -> Iterator[int]:
    path = next(name.removeprefix(each.package) for each in versions if name.startswith(f"{each.package}."))
    _, first, member = f"{path}.".split(".")[:3]
    types = {each.id: each for known in versions for each in known.types if each.name == first}
    for id_, type_ in types.items():
        if isinstance(type_, Enum):
            yield from (each.id for message in version.messages for each in message.fields if each.type == id_)
        else:
            held = [each for each in version.messages if each.id == id_]
            yield from (each.id for message in held for each in message.fields if member in ("", each.name, each.oneof))
