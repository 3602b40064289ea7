"""The check of a workflow class before it runs: what its code reaches, read and not run."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from protopact.determinism.value import index_rules
from protopact.determinism.walk import Finding, walk
from protopact.workflow import Workflow

__all__ = ["check", "render"]

_known: weakref.WeakKeyDictionary[type[Workflow], tuple[Finding, ...]] = weakref.WeakKeyDictionary()


def check(cls: type[Workflow]) -> Sequence[Finding]:
    """What replay could not repeat of what a workflow class reaches, warnings included, in order of place.

    It is worked out once for a class. Code without source, as of an interactive session, is passed over.
    """
    found = _known.get(cls)
    if found is None:
        index_rules()
        found = _known[cls] = tuple(walk(cls))
    return found


def render(finding: Finding) -> str:
    """A finding as `path:line:column: CODE message`, and its hint on a line of its own."""
    place = f"{_shown(finding.path)}:{finding.line}:{finding.column}"
    return f"{place}: {finding.code.value} {finding.message}\n    hint: {finding.hint}"


def _shown(path: str) -> str:
    """Relative to where one stands, if it lies below."""
    try:
        return str(Path(path).relative_to(os.getcwd()))  # noqa: PTH109 - cheaper, and all that is wanted
    except (ValueError, OSError):
        return path
