"""How the commands refuse: one sentence on standard error, and an exit code."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import typer

from protopact_codegen.versioning.lock import LockError
from protopact_codegen.versioning.sources import SourceError

__all__ = ["refusals"]


@contextmanager
def refusals(exit_code: int = 1) -> Generator[None]:
    """Tell what is wrong with a lock or a contract, and exit."""
    try:
        yield
    except (LockError, SourceError) as error:
        typer.echo(f"protopact: {error}", err=True)
        raise typer.Exit(exit_code) from error
