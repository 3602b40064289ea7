"""`protopact lint-workflows`: what workflow code does that replay could not repeat, before anything runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from protopact.determinism.check import check, render
from protopact.testing import histories

__all__ = ["lint_workflows"]


def lint_workflows(
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE[:CLASS]", help="Workflow classes, or modules that define them."),
    ],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Check workflow classes for what replay could not repeat.

    All that their methods reach is read. Modules are imported, from the working directory too, and nothing of them is
    called. Every finding is printed as `path:line:column: CODE message`; the exit code is 1 if one is an error.
    """
    # What a module of theirs imports stands beside it, as under `python -m`.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the text, as python itself puts it there
    classes = histories.load_workflows(modules)
    findings = sorted({finding for cls in classes for finding in check(cls)})
    for finding in findings:
        typer.echo(render(finding))
    warnings = sum(finding.code.is_warning for finding in findings)
    if findings:
        told = [_counted(len(findings) - warnings, "error"), _counted(warnings, "warning")]
        typer.echo(
            f"protopact: {' and '.join(filter(None, told))} in {_counted(len(classes), 'workflow class')}", err=True
        )
    if len(findings) > warnings or (strict and findings):
        raise typer.Exit(1)


def _counted(count: int, noun: str) -> str:
    if count == 0:
        return ""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
