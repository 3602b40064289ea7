"""`protopact check`: what a contract does to the releases that are live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from protopact_codegen.cli.refusal import refusals
from protopact_codegen.diagnostics import Diagnostic, Severity, render, summary
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import DEFAULT, Lock, Release
from protopact_codegen.versioning.sources import from_input

__all__ = ["check_contract"]


class _Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def check_contract(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="An image, or what `buf build` takes.")] = ".",
    *,
    against: Annotated[
        str | None, typer.Option("--against", metavar="RELEASE|INPUT", help="One release, or another contract.")
    ] = None,
    form: Annotated[_Format, typer.Option("--format", help="How findings are printed.")] = _Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    lock: Annotated[Path, typer.Option("--lock", metavar="FOLDER", help="Where the lock is.")] = DEFAULT,
) -> None:
    """Check what a contract does to the releases that are live.

    The exit code is 1 if it would do harm.
    """
    with refusals():
        found = Lock.require(lock)
        releases = _releases(found, against)
        findings = check(from_input(source), releases, found.settings, complete=against is None)
    findings.sort(key=attrgetter("order"))
    _print(findings, form)
    if any(strict or finding.code.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _releases(lock: Lock, against: str | None) -> Sequence[Release]:
    if against is None:
        return lock.live
    if against in lock.releases:
        return [lock.find_live(against)]
    return [Release.of(against, capture(from_input(against)))]


def _print(findings: Sequence[Diagnostic], form: _Format) -> None:
    if form is _Format.JSON:
        typer.echo(json.dumps([_plain(finding) for finding in findings], ensure_ascii=False, indent=2))
    elif form is _Format.GITHUB:
        for finding in findings:
            plain = _plain(finding)
            text = _escape(f"{plain['message']}\nhint: {plain['hint']}")
            place = f"file={plain['path']},line={plain['line']},col={plain['column']},title={plain['code']}"
            typer.echo(f"::{plain['severity']} {place}::{text}")
    else:
        for severity in Severity:
            lines = render(finding for finding in findings if finding.code.severity is severity)
            if lines:
                typer.echo("\n".join((summary(lines, severity), *lines)))


def _plain(finding: Diagnostic) -> dict[str, str | int]:
    position = finding.position
    return {
        "path": position.path,
        "line": position.line,
        "column": position.column,
        "severity": finding.code.severity.value,
        "code": finding.code.value,
        "message": finding.message,
        "hint": finding.hint,
    }


def _escape(text: str) -> str:
    """Write what GitHub's workflow commands take for the end of a message as they want it written."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
