"""Lint: a contract that cannot work is refused, and one that will hurt is warned of.

Each rule is a function of the contract; none depends on another. A rule speaks of what is there: where the reader
could not resolve something, it has said so already.
"""

from __future__ import annotations

from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Diagnostic
from protopact_codegen.lint import messages, names, options, rpcs, templates, times, versions

__all__ = ["check"]

_RULES = (*rpcs.RULES, *names.RULES, *templates.RULES, *times.RULES, *options.RULES, *messages.RULES, *versions.RULES)


def check(contract: Contract) -> list[Diagnostic]:
    """Find everything in a contract that cannot work, and everything to warn of."""
    return [diagnostic for rule in _RULES for diagnostic in rule(contract)]
