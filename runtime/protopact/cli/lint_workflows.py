"""`protopact lint-workflows`: what workflow code does that replay could not repeat, before anything runs."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Annotated

import typer

from protopact.determinism.check import check, render
from protopact.errors import RegistrationError
from protopact.workflow import Workflow

__all__ = ["lint_workflows"]


def lint_workflows(
    modules: Annotated[
        list[str], typer.Argument(metavar="MODULE...", help="Modules with workflow classes, as `import` names them.")
    ],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Check what the workflow classes of a module reach.

    Modules are imported, from the working directory too, and nothing of them is called. Every finding is printed as
    `path:line:column: CODE message`; the exit code is 1 if there is one.
    """
    sys.path.insert(0, "")
    classes = dict.fromkeys(cls for name in modules for cls in _classes(_imported(name)))
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


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise RegistrationError(f"module {name} cannot be imported: {type(error).__name__}: {error}") from error


def _classes(module: ModuleType) -> list[type[Workflow]]:
    classes = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Workflow) and not inspect.isabstract(each)
    ]
    if not classes:
        raise RegistrationError(
            f"module {module.__name__} has no workflow class: expected a subclass of a generated workflow class that "
            "implements all of its methods"
        )
    return classes


def _counted(count: int, noun: str) -> str:
    if count == 0:
        return ""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
