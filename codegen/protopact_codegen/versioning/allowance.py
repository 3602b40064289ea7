"""The findings that a contract passes: each `allow` beside what it excuses, and those that excuse nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protopact_codegen.contract import Allow, Contract, Element
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.versioning.snapshot import holder_of

__all__ = ["Allowances"]


class Allowances:
    """What a contract passes, and which of it was used."""

    def __init__(self, contract: Contract, rpcs: Iterable[Element]) -> None:
        self._allows = contract.allows
        self._used: set[tuple[int, str]] = set()
        self._rpcs = {rpc.full_name for rpc in rpcs}
        self._services = {service.full_name for service in contract.services}
        self._types = {name: source for source in contract.sources.values() for name in source.type_names}

    def passes(self, rule: str, elements: Iterable[str], release: str) -> bool:
        """Whether a finding against a release is passed; `elements` are the full names of what it is about."""
        names = set(elements)
        used = [
            index
            for index, allow in enumerate(self._allows)
            if allow.rule == rule and allow.element in names and release in allow.releases
        ]
        self._used.update((index, release) for index in used)
        return bool(used)

    def idle(self) -> Iterator[Diagnostic]:
        """What passes nothing."""
        for index, allow in enumerate(self._allows):
            for release in allow.releases:
                if (index, release) not in self._used:
                    yield _idle(allow, release)

    def spell(self, rule: str, element: str, releases: Iterable[str]) -> str:
        """Spell the `allow` that would pass a finding, and say where it goes."""
        option, gone = self._home(element)
        names = ", ".join(f'"{name}"' for name in releases)
        inside = f'{{rule: "{rule}" releases: [{names}] reason: "..."{f" element: {gone!r}" if gone else ""}}}'
        inside = inside.replace("'", '"')
        if option in {"field", "enum_value"}:
            return f"`[(protopact.v1.{option}).allow = {inside}]`"
        if option == "service":  # one message says all of a service, beside which no part of it can be said again
            return f"`allow: {inside}` in `(protopact.v1.service)`"
        where = " in any file" if option == "file" else ""
        return f"`option (protopact.v1.{option}).allow = {inside};`{where}"

    def _home(self, element: str) -> tuple[str, str]:
        """The option that stands nearest to an element, and what it is called there when it has none of its own."""
        holder, last = holder_of(element)
        for option, names in (("method", self._rpcs), ("service", self._services)):
            if element in names:
                return option, ""
            if holder in names:
                return option, last
        if element in self._types:
            return ("enum" if self._types[element].is_enum(element) else "message"), ""
        if holder not in self._types:
            return "file", element
        source = self._types[holder]
        whole, part = ("enum", "enum_value") if source.is_enum(holder) else ("message", "field")
        return (part, "") if source.has_member(holder, last) else (whole, last)


def _idle(allow: Allow, release: str) -> Diagnostic:
    message = (
        f"{allow.place.spell('allow', allow.index)} passes nothing: there is no finding {allow.rule} about "
        f"{allow.element or 'nothing'} against {release}"
    )
    hint = "remove it, or correct it: a finding names its rule in parentheses, and the live releases that it is against"
    return Diagnostic(Code.IDLE_ALLOW, allow.place, message, hint, ("allow", allow.index))
