"""`connect`: an engine by its URL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from protopact.engine import Engine
from protopact.errors import EngineUrlError
from protopact.interceptor import Interceptor
from protopact.payload import Encoding, PayloadCodec

__all__ = ["connect", "database_path"]

_FORMS = "sqlite:// (memory), sqlite:///relative/path.db or sqlite:////absolute/path.db"


def connect(
    url: str,
    *,
    encoding: Encoding = "json/protobuf",
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    retention: timedelta | None = None,
    identity: str | None = None,
) -> AbstractAsyncContextManager[Engine]:
    """The engine that a URL names; it is open within `async with`.

    ::

        async with protopact.connect("sqlite:///nodes.db") as engine:
            ...

    Args:
        url: `sqlite://` keeps everything in memory, `sqlite:///nodes.db` in a file of the working directory,
            `sqlite:////var/lib/nodes.db` in a file by its absolute path.
        encoding: How messages are written; `json/protobuf` and `binary/protobuf` are always read.
        codecs: Applied to every payload on its way to the disk, in this order: compression, encryption.
        interceptors: Hooks around clients, workflows and activities, the first one outermost.
        retention: How long closed runs are kept; None is for ever.
        identity: Name of this process in histories; process id and host by default.

    Raises:
        EngineUrlError: The URL is wrong.
        StoreError: On entering: the file cannot be used.
    """
    path = database_path(url)
    # Here, so that `import protopact`, which generated code and workflow modules do, loads no engine.
    from protopact.embedded.engine import EmbeddedEngine  # noqa: PLC0415
    from protopact.embedded.store import Store  # noqa: PLC0415

    return EmbeddedEngine(
        Store(path),
        encoding=encoding,
        codecs=codecs,
        interceptors=interceptors,
        retention=retention,
        identity=identity,
    )


def database_path(url: str) -> Path | None:
    """The file that an engine's URL names; None when it keeps everything in memory.

    Raises:
        EngineUrlError: The URL is wrong.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise EngineUrlError(f"{url!r} is no URL ({error}); expected {_FORMS}") from error
    if parts.scheme == "temporal":
        raise EngineUrlError(f"{url!r}: the Temporal engine is not in this version yet; use {_FORMS}")
    if parts.scheme != "sqlite":
        _refuse(url, f"unknown scheme {parts.scheme!r}" if parts.scheme else "it has no scheme")
    if parts.netloc:
        _refuse(url, f"{parts.netloc!r} stands where a host would; a path begins after the third slash")
    if parts.query or parts.fragment:
        _refuse(url, "it takes no parameters")
    path = unquote(parts.path.removeprefix("/"))
    if parts.path and not path:
        _refuse(url, "the path is missing after the third slash")
    return Path(path) if path else None


def _refuse(url: str, problem: str) -> NoReturn:
    raise EngineUrlError(f"{url!r}: {problem}; expected {_FORMS}")
