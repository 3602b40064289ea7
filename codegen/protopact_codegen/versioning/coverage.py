"""The coverage: what declared changes of workflows' code see to, and what they leave to other workflows."""

from __future__ import annotations

from dataclasses import replace

from protopact_codegen.versioning.elements import ElementChange, Matcher
from protopact_codegen.versioning.rules import CONTRACT, Verdict
from protopact_codegen.versioning.snapshot import ElementFacts

__all__ = ["uncovered"]

# Rows in which the old branch of a workflow's code can still do what it did.
_BRANCHES = frozenset({"C5b", "C18", "C26", "C46", "C48"})
# The row that is of a workflow's own code, and not of the code that calls it.
_OWN = "C46"
_SHOWN = 3


def uncovered(change: ElementChange, matcher: Matcher) -> ElementChange | None:
    """What is left of a change where workflows declare changes of their code that cover it; None when nothing is.

    A workflow answers for its own code only. No contract says which workflows call an rpc: each of its service may, and
    each of the services of those that declare a change that covers it.
    """
    if CONTRACT[change.rule].verdict is not Verdict.PATCH:
        return change
    callers = [
        (old, _declares(change, old, new))
        for old, new in matcher.workflows
        if (old.rpc == change.element) is (change.rule == _OWN)
    ]
    declaring = {old.service for old, declares in callers if declares}
    if not declaring:
        return change
    services = {change.element.rpartition(".")[0], *declaring}
    others = [old.rpc for old, declares in callers if old.service in services and not declares]
    if not others:
        return None
    verb = "declares" if len(others) == 1 else "declare"
    what = f"{change.what}, and {_listed(others)} {verb} no change that covers it"
    return replace(change, what=what, declared=True)


def _declares(change: ElementChange, old: ElementFacts, new: ElementFacts) -> bool:
    # What is gone cannot be called in an old branch: the release itself must have called it no more.
    changes = [*old.changes.values()]
    if change.rule in _BRANCHES:
        changes += [each for each in new.changes.values() if each.id not in old.changes]
    return any({change.element, change.place}.intersection(each.covers) for each in changes)


def _listed(rpcs: list[str]) -> str:
    shown = rpcs if len(rpcs) <= _SHOWN else [*rpcs[:_SHOWN], f"{len(rpcs) - _SHOWN} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
