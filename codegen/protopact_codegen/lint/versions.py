"""Rules on what a contract says of its own past: declared changes, former names, and findings that it passes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from protopact_codegen.contract import RELEASE, Allow, Change, Contract, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic, quote
from protopact_codegen.lint.finding import Rule, elements, finding
from protopact_codegen.names import change_name

__all__ = ["RULES"]

_ID = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_RULE = re.compile(r"[PC]\d+[a-z]?")


def _changes(contract: Contract) -> Iterator[Diagnostic]:
    for workflow in elements(contract):
        if isinstance(workflow, Workflow):
            seen: dict[str, Change] = {}
            for change in workflow.changes:
                yield from _change(workflow, change, seen)
                seen.setdefault(change_name(change), change)


def _change(workflow: Workflow, change: Change, seen: dict[str, Change]) -> Iterator[Diagnostic]:
    here = ("change", change.index)
    first = seen.get(change_name(change))
    if _ID.fullmatch(change.id) is None:
        what = f"is {quote(change.id)}; expected small letters and digits, words with `-` between them"
        yield finding(Code.CHANGE, workflow, what, "write an id like `switch-activities`", *here, "id")
    elif first is not None:
        same = (
            "is there already" if first.id == change.id else f"is `changed.{change_name(change)}`, as {quote(first.id)}"
        )
        what, hint = f"is {quote(change.id)}, which {same}", "give each change an id of its own"
        yield finding(Code.CHANGE, workflow, what, hint, *here, "id")
    if RELEASE.fullmatch(change.since) is None:
        what = f"is {quote(change.since)}; expected the name of the release that brings the change"
        yield finding(Code.CHANGE, workflow, what, 'write it: `since: "v1.5"`', *here, "since")
    for index, rpc in enumerate(change.covers):
        if _NAME.fullmatch(rpc) is None:
            what = f"is {quote(rpc)}; expected an rpc of the service, or the full name of another"
            yield finding(Code.CHANGE, workflow, what, "name the rpc", *here, "covers", index)


def _aliases(contract: Contract) -> Iterator[Diagnostic]:
    names = {name: source for source in contract.sources.values() for name in source.type_names}
    for message, aliases in contract.aliases.items():
        for alias in aliases:
            if _NAME.fullmatch(alias) is None:
                what = "; expected the full name of a message, `acme.v1.Order`"
            elif alias == message:
                what = ", its own name"
            elif alias in names:
                what = ", which is there still"
            else:
                continue
            yield Diagnostic(
                Code.MESSAGE_ALIAS,
                names[message].place(message),
                f"message {message}: its alias is {quote(alias)}{what}",
                "write the full name that the message had before it was renamed or moved",
            )


def _allows(contract: Contract) -> Iterator[Diagnostic]:
    for allow in contract.allows:
        for field, what, hint in _lacks(allow):
            steps = ("allow", allow.index, field)
            yield Diagnostic(Code.ALLOW, allow.place, f"{allow.place.spell(*steps)} {what}", hint, steps)


def _lacks(allow: Allow) -> Iterator[tuple[str, str, str]]:
    if _RULE.fullmatch(allow.rule) is None:
        what = f"is {quote(allow.rule)}; expected the rule that the finding names, like `P7`"
        yield "rule", what, "write the rule that stands in parentheses in the finding"
    if not allow.releases or any(RELEASE.fullmatch(name) is None for name in allow.releases):
        yield "releases", "does not name releases", "write those that the finding names as live"
    if not allow.reason.strip():
        yield "reason", "is empty", "write why no harm is done, for whoever reads it after you"


RULES: tuple[Rule, ...] = (_changes, _aliases, _allows)
