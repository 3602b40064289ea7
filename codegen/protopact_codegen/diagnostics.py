"""Diagnostics: what is wrong with a contract, where, and what to do about it.

Codes are stable. `docs/diagnostics.md` explains each; its table and the one here are held equal by a test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from protopact_codegen.source import Path, Place, Position

__all__ = ["Code", "Diagnostic", "Severity", "quote", "render", "summary"]


class Severity(Enum):
    """Whether a diagnostic refuses the contract."""

    ERROR = "error"
    WARNING = "warning"


class Code(Enum):
    """What can be wrong: the stable code and, in the name, what it means.

    1 reading, 2 rpcs and names, 3 references, 4 templates, 5 times and retries, 6 options of a workflow or activity,
    7 message libraries, 8 versioning, 9 warnings.
    """

    UNREADABLE_FILE = "PP101"
    UNKNOWN_OPTION = "PP102"
    NO_KIND = "PP103"
    SEVERAL_KINDS = "PP104"

    STREAMING = "PP201"
    SIGNAL_RESPONSE = "PP202"
    QUERY_RESPONSE = "PP203"
    DUPLICATE_NAME = "PP204"
    RESERVED_NAME = "PP205"
    COLLIDING_NAMES = "PP206"

    UNKNOWN_REFERENCE = "PP301"
    REFERENCE_KIND = "PP302"
    AMBIGUOUS_REFERENCE = "PP303"
    DUPLICATE_REFERENCE = "PP304"
    START_WITHOUT_ID = "PP305"

    TEMPLATE_SYNTAX = "PP401"
    TEMPLATE_FIELD = "PP402"
    TEMPLATE_REPEATED = "PP403"
    TEMPLATE_MESSAGE = "PP404"
    TEMPLATE_TYPE = "PP405"
    TEMPLATE_TRANSFORM = "PP406"
    TEMPLATE_UUID = "PP407"

    DURATION = "PP501"
    NO_TIMEOUT = "PP502"
    HEARTBEAT = "PP503"
    RETRY_POLICY = "PP504"

    NO_TASK_QUEUE = "PP601"
    POLICY_WITHOUT_ID = "PP602"
    SEARCH_ATTRIBUTE = "PP603"
    PRIORITY = "PP604"

    LIBRARY_EDITION = "PP701"
    LIBRARY_GROUP = "PP702"
    LIBRARY_NAME = "PP703"
    LIBRARY_COLLISION = "PP704"

    BREAKING_CHANGE = "PP801"
    UNDRAINED_CHANGE = "PP802"
    UNPATCHED_CHANGE = "PP803"
    UNRESERVED_FIELD = "PP804"
    MISSING_FILE = "PP805"
    CHANGE = "PP806"
    MESSAGE_ALIAS = "PP807"
    ALLOW = "PP808"
    IDLE_ALLOW = "PP809"
    CHANGE_RELEASE = "PP810"

    SHARED_MESSAGE = "PP901"
    EMPTY_MESSAGE = "PP902"
    FOREIGN_TEMPLATE = "PP903"
    FOREIGN_DIALECT = "PP904"
    ROLLOUT_ORDER = "PP905"
    CHANGED_MEANING = "PP906"
    UNSEEN_USE = "PP907"

    @property
    def severity(self) -> Severity:
        """Whether it refuses the contract; with `strict=true` everything does."""
        return Severity.WARNING if self.value.startswith("PP9") else Severity.ERROR


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        code: Its code.
        place: The element that it is about.
        message: What is wrong: names the contract element and the option field, says expected and found.
        hint: What to do.
        steps: The option field, as for `Place.option`; empty when it is about the element itself.
    """

    code: Code
    place: Place
    message: str
    hint: str
    steps: tuple[str | int, ...] = ()

    @property
    def position(self) -> Position:
        """Where it is, as fine as the compiler tells."""
        return self.place.option(*self.steps) if self.steps or self.place.option_path else self.place.position

    @property
    def anchor(self) -> Path:
        """Path in its file of what `position` is the position of; empty for the file."""
        return self.place.anchor(*self.steps)

    @property
    def order(self) -> tuple[Position, Path, str]:
        """Sorts by element, option field and code, which are the same under every compiler."""
        return self.place.position, self.place.numbers(*self.steps), self.code.value

    def __str__(self) -> str:
        return f"{self.position}: {self.code.value} {_one_line(self.message)}\n    hint: {_one_line(self.hint)}"


def render(diagnostics: Iterable[Diagnostic]) -> list[str]:
    """Write diagnostics in their order, equal ones once."""
    return list(dict.fromkeys(map(str, sorted(diagnostics, key=attrgetter("order")))))


def quote(text: str) -> str:
    """Quote what a user wrote."""
    return json.dumps(text, ensure_ascii=False)


def summary(diagnostics: Sequence[str], severity: Severity) -> str:
    """Write the line that stands above rendered diagnostics."""
    plural = "" if len(diagnostics) == 1 else "s"
    return f"protopact: {len(diagnostics)} {severity.value}{plural} in the contract"


def _one_line(text: str) -> str:
    """Escape what a terminal would not show as a character; it comes from names and templates of the contract."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
