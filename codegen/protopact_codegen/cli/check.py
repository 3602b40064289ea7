"""`protopact check`: what a contract does to the releases that are live."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from protopact_codegen.cli.formats import Format, write
from protopact_codegen.cli.refusal import refusals
from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Diagnostic, Severity
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import DEFAULT, Lock, Release
from protopact_codegen.versioning.settings import Settings
from protopact_codegen.versioning.sources import SourceError, from_git, from_input, is_ref, paths

__all__ = ["check_contract"]


def check_contract(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="An image, or what `buf build` takes.")] = ".",
    *,
    against: Annotated[
        str | None, typer.Option("--against", metavar="RELEASE|REF|INPUT", help="One release, or another contract.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How findings are printed.")] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    lock: Annotated[Path, typer.Option("--lock", metavar="FOLDER", help="Where the lock is.")] = DEFAULT,
) -> None:
    """Check what a contract does to the releases that are live.

    The exit code is 0 if it does no harm, 1 if it would or has errors of its own, 2 for a command line that does not
    parse, and 3 if the check could not be made: the lock cannot be used, or the contract cannot be built.
    """
    with refusals(exit_code=3):
        found = Lock.require(lock) if against is None else Lock(lock)
        findings = _findings(source, found, against)
        files = paths(source) if form is not Format.TEXT else {}
    findings.sort(key=attrgetter("order"))
    text = write(findings, form, files)
    if text:
        typer.echo(text)
    if any(strict or finding.code.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _findings(source: str, lock: Lock, against: str | None) -> list[Diagnostic]:
    try:
        contract = from_input(source)
    except SourceError as error:
        if not error.findings:
            raise
        return list(error.findings)
    if against is None:
        return check(contract, lock.live, lock.settings_for(contract), retired=lock.retired, complete=True)
    # Without a lock, what a new one says.
    settings = lock.settings_for(contract) if lock.exists else Settings()
    if against in lock.releases:
        return check(contract, [lock.find_live(against)], settings)
    return check(contract, [Release.of(against, capture(_other(lock, against, source)))], settings, passable=False)


def _other(lock: Lock, against: str, source: str) -> Contract:
    if is_ref(against):
        return from_git(against, "." if Path(source).is_file() else source)
    try:
        return from_input(against)
    except SourceError as error:
        if error.findings or Path(against).exists():
            raise
        releases = f"no release of {lock.folder} ({', '.join(lock.releases) or 'it has none'})"
        raise SourceError(f"{against!r} is {releases}, no git ref, and nothing that buf takes: {error}") from error
