"""The rules that buf lists: one for each code, by which buf is told what to run and what to leave.

What is found by a comparison is a rule of `buf breaking`, all else one of `buf lint`. buf knows no warnings: their
rules are off unless asked for.
"""

from __future__ import annotations

from protopact_codegen.checkplugin.messages import Message, message
from protopact_codegen.diagnostics import Code, Severity

__all__ = ["CODES", "categories", "is_breaking", "rules"]

CODES = tuple(code for code in Code if code is not Code.MISSING_FILE and not code.name.startswith("LIBRARY_"))
"""What has a rule: all but what is about the generated code, and about how the plugin that generates it was called."""

_COMPARED = frozenset(
    {
        *(Code.BREAKING_CHANGE, Code.UNDRAINED_CHANGE, Code.UNPATCHED_CHANGE, Code.UNRESERVED_FIELD),
        *(Code.IDLE_ALLOW, Code.CHANGE_RELEASE, Code.ROLLOUT_ORDER, Code.CHANGED_MEANING, Code.UNSEEN_USE),
    }
)
_LINT, _BREAKING = 1, 2
_ERRORS, _ALL = "PROTOPACT", "PROTOPACT_STRICT"
_PURPOSES = {
    _ERRORS: "What protopact refuses.",
    _ALL: "What protopact refuses, and what it warns of.",
}


def is_breaking(code: Code) -> bool:
    """Whether a finding is one of `buf breaking`, and not of `buf lint`."""
    return code in _COMPARED


def rules() -> list[Message]:
    """The rules, as `buf.plugin.check.v1.Rule`."""
    return [
        message(
            "buf.plugin.check.v1.Rule",
            id=code.value,
            category_ids=[_ERRORS, _ALL] if code.severity is Severity.ERROR else [_ALL],
            default=code.severity is Severity.ERROR,
            purpose=f"Finds protopact's {code.severity.value} `{code.name.lower().replace('_', ' ')}`.",
            type=_BREAKING if is_breaking(code) else _LINT,
        )
        for code in CODES
    ]


def categories() -> list[Message]:
    """The categories, as `buf.plugin.check.v1.Category`."""
    return [message("buf.plugin.check.v1.Category", id=name, purpose=purpose) for name, purpose in _PURPOSES.items()]
