"""`protopact proto`: hands the annotation schema to protoc and buf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import protopact

__all__ = ["app"]

_SCHEMA = Path("protopact", "v1", "annotations.proto")

app = typer.Typer(help="The annotation schema, for protoc and buf.", no_args_is_help=True, rich_markup_mode=None)


def _include_directory() -> Path:
    return Path(protopact.__file__).parents[1]


@app.command()
def path() -> None:
    """Print the include directory for protoc.

    As in: protoc -I "$(protopact proto path)" -I proto ...
    """
    typer.echo(_include_directory())


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Root of a buf module, as proto/.")],
) -> None:
    """Copy the schema into a module of buf.

    Again, after an upgrade, it brings the copy up to date.
    """
    target = directory / _SCHEMA
    text = (_include_directory() / _SCHEMA).read_bytes()
    if target.is_file() and target.read_bytes() == text:
        typer.echo(f"{target} is up to date")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text)
    typer.echo(f"{target} written")
