"""`protopact release`: the releases that contracts are checked against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protopact_codegen.cli.engines import runs
from protopact_codegen.cli.refusal import refusals
from protopact_codegen.contract import Contract
from protopact_codegen.versioning import notation
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.census import Census, counts, workflow_types
from protopact_codegen.versioning.lock import DEFAULT, Lock, LockError
from protopact_codegen.versioning.sources import from_git, from_input

__all__ = ["app"]

app = typer.Typer(help="The releases that contracts are checked against.", no_args_is_help=True, rich_markup_mode=None)

_LockFolder = Annotated[Path, typer.Option("--lock", metavar="FOLDER", help="Where the lock is.")]
_Source = Annotated[str, typer.Argument(metavar="INPUT", help="An image, or what `buf build` takes.")]
_Ref = Annotated[str | None, typer.Option("--ref", metavar="REF", help="INPUT as it was at a git ref.")]
_Engine = typer.Option("--engine", envvar="PROTOPACT_ENGINE", metavar="URL", help="Engine, may be repeated.")
_Engines = Annotated[list[str], _Engine]
_MaybeEngines = Annotated[list[str] | None, _Engine]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the release.")]


@app.command()
def cut(name: _Name, source: _Source = ".", *, ref: _Ref = None, lock: _LockFolder = DEFAULT) -> None:
    """Lock the contract of a release, as it is deployed.

    It stays live, and every contract is checked against it, until it is retired.
    """
    with refusals():
        written = Lock(lock).cut(name, capture(_contract(source, ref)))
        typer.echo(f"{name} is {'cut' if written else 'cut already, from the same contract'}")


@app.command("list")
def list_releases(*, lock: _LockFolder = DEFAULT) -> None:
    """List the releases, each after those that were there when it was cut."""
    with refusals():
        for release in Lock.require(lock).all:
            snapshot = release.snapshot
            counts = _counts((len(snapshot.services), "service"), (len(snapshot.messages), "message"))
            typer.echo(f"{release.name}  " + (f"retired: {release.retired}" if release.retired else f"live, {counts}"))


@app.command()
def show(name: _Name, *, lock: _LockFolder = DEFAULT) -> None:
    """Print the contract of a release, a line for each element."""
    with refusals():
        for line in Lock(lock).find_live(name).lines:
            typer.echo(line)


@app.command()
def diff(
    name: _Name,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="Another release; the working tree by default.")
    ] = None,
    *,
    source: Annotated[
        str, typer.Option("--input", metavar="INPUT", help="Instead of the working tree: what `cut` takes.")
    ] = ".",
    lock: _LockFolder = DEFAULT,
) -> None:
    """Print what differs between a release and another one, or the working tree.

    The exit code is 1 if anything does.
    """
    with refusals():
        found = Lock(lock)
        before = set(found.find_live(name).lines)
        after = set(found.find_live(other).lines if other is not None else notation.write(capture(from_input(source))))
    for line in sorted(before ^ after, key=lambda line: (line, line in after)):
        typer.echo(f"{'-' if line in before else '+'} {line}")
    if before != after:
        raise typer.Exit(1)


@app.command()
def status(engine: _Engines, *, lock: _LockFolder = DEFAULT) -> None:
    """Show how many runs of each release are open, or closed and retained, on an engine.

    Runs of the workflows of live releases are counted, each for the release that it was started under. One that carries
    no contract, or one of no release, is unknown.
    """
    with refusals():
        found = Lock.require(lock)
        census = Census(found, runs(engine, workflow_types(found)))
        for release in found.all:
            left = census.runs[release.name]
            state = "retired" if release.retired else "live"
            typer.echo(f"{release.name}  {state}, {counts(left) if left else 'no run is left'}")
        if census.unknown:
            typer.echo(f"unknown  {counts(census.unknown)}")
        for run in census.unknown:
            if run.is_open:
                typer.echo(f"    {run}")


@app.command()
def retire(
    name: _Name,
    *,
    engine: _MaybeEngines = None,
    force: Annotated[
        str | None, typer.Option("--force", metavar="REASON", help="Why you are sure that nothing of it is left.")
    ] = None,
    lock: _LockFolder = DEFAULT,
) -> None:
    """Check contracts against a release no more: no run, history, client or worker of it is left.

    The engines are asked whether runs that began under it are open or retained, and unknown ones open. With `--force`
    they are not; the reason stays in the lock.
    """
    with refusals():
        found = Lock.require(lock)
        release = found.find_live(name)
        if force is None and not engine:
            raise LockError(
                f"{name} is not retired: say which engine to ask whether runs that began under it are left (protopact "
                f'release retire {name} --engine URL), or that you know that none are (--force "REASON")'
            )
        if force is None:
            objection = Census(found, runs(engine or (), workflow_types(found))).objection(release, found.live)
            if objection:
                raise LockError(f"{name} is not retired: {objection}")
            force = f"no run of it was left on {', '.join(url.partition('?')[0] for url in engine or ())}"
        found.retire(name, force)
        typer.echo(f"{name} is retired")


def _contract(source: str, ref: str | None) -> Contract:
    return from_input(source) if ref is None else from_git(ref, source)


def _counts(*counted: tuple[int, str]) -> str:
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counted)
