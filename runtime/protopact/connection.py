"""`connect`: an engine by its URL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from protopact.engine import Engine
from protopact.errors import EngineError, EngineUrlError, OptionError
from protopact.interceptor import Interceptor
from protopact.payload import Encoding, PayloadCodec

__all__ = ["connect", "database_path"]

_FORMS = "sqlite:// (memory), sqlite:///relative/path.db, sqlite:////absolute/path.db or temporal://host:port/namespace"


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
            `sqlite:////var/lib/nodes.db` in a file by its absolute path; `temporal://host:7233/namespace` is a Temporal
            cluster (package `protopact[temporal]`), and `temporal://` the one that Temporal's environment variables and
            configuration file name.
        encoding: How messages are written; `json/protobuf` and `binary/protobuf` are always read.
        codecs: Applied to every payload on its way to the disk or the server, in this order: compression, encryption.
        interceptors: Hooks around clients, workflows and activities, the first one outermost.
        retention: How long closed runs are kept; None is for ever. A Temporal namespace has a retention of its own.
        identity: Name of this process in histories; process id and host by default.

    Raises:
        EngineUrlError: The URL is wrong.
        OptionError: The engine that the URL names does not take an option.
        EngineError: A package that the engine needs is not installed, or is of a version that it does not know.
        StoreError: On entering: the file cannot be used.
        EngineConnectionError: On entering: the server cannot be reached or refuses.
    """
    if _scheme(url) == "temporal":
        if retention is not None:
            raise OptionError(
                "retention is for sqlite:// engines; how long closed runs are kept on Temporal, their namespace says: "
                "temporal operator namespace update --retention 72h"
            )
        try:
            from protopact import temporal  # noqa: PLC0415 - as below, and its packages are an extra
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "temporalio":
                raise
            raise _lacking_sdk(error) from None
        return temporal.connect(url, encoding=encoding, codecs=codecs, interceptors=interceptors, identity=identity)
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


def _lacking_sdk(error: ImportError) -> EngineError:
    cure = "pip install 'protopact[temporal]'"
    if error.name == "temporalio":
        return EngineError(f"the Temporal engine needs the package temporalio, which is not installed: {cure}")
    from importlib.metadata import version  # noqa: PLC0415 - nobody else needs it

    return EngineError(
        f"the Temporal engine does not work with temporalio {version('temporalio')} ({error}); install one that it "
        f"works with: {cure}"
    )


def _scheme(url: str) -> str:
    return url.partition(":")[0].casefold()


def database_path(url: str) -> Path | None:
    """The file that the URL of an embedded engine names; None when it keeps everything in memory.

    Raises:
        EngineUrlError: The URL is wrong.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse(url, "it is no URL")
    if parts.scheme != "sqlite":
        _refuse(url, f"unknown scheme {parts.scheme!r}" if _SCHEME.match(url) else "it has no scheme")
    if parts.netloc:
        name = repr(parts.netloc) if _NAME.fullmatch(parts.netloc) else "something"
        _refuse(url, f"{name} stands where a host would; a path begins after the third slash")
    if parts.query or parts.fragment:
        _refuse(url, "it takes no parameters")
    path = unquote(parts.path.removeprefix("/"))
    if parts.path and not path:
        _refuse(url, "the path is missing after the third slash")
    return Path(path) if path else None


# What is not clearly the name of a scheme, or of a file, may be a secret of a URL that was meant for another engine.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]+")


def _shown(url: str) -> str:
    """A URL for messages."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return repr(url) if _NAME.fullmatch(url) else "the URL"
    rest = url[scheme.end() :]
    is_path = scheme[0].casefold() == "sqlite://" and re.fullmatch(r"[\w./-]*", rest)
    return repr(f"{scheme[0]}{rest if is_path else '...'}")


def _refuse(url: str, problem: str) -> NoReturn:
    raise EngineUrlError(f"{_shown(url)}: {problem}; expected {_FORMS}") from None
