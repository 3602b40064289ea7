"""Engines that commands are told of: where runs are, not where they may come to be."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from protopact.connection import database_path
from protopact.errors import StoreError

__all__ = ["EngineUrl", "RunId", "check_engine"]

EngineUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="PROTOPACT_ENGINE", metavar="URL", help="Engine: sqlite:///nodes.db, temporal://host:7233/namespace."
    ),
]
RunId: TypeAlias = Annotated[str | None, typer.Option(metavar="ID", help="A run of it; the latest by default.")]


def check_engine(url: str) -> None:
    """Refuse a database file that is not there: connecting would make it.

    Raises:
        StoreError: It is not.
        EngineUrlError: The URL is wrong.
    """
    if not url.startswith("sqlite:"):
        return  # who connects says what is wrong with it
    path = database_path(url)
    if path is None or not path.exists():
        raise StoreError(f"{url}: {path or 'memory'} holds no runs; name the file that a worker writes")
