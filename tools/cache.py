"""The project's cache: what takes minutes to build and outlives a checkout."""

import fcntl
import os
import platform
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CacheError", "folder", "is_writable", "locked"]

ROOT = Path(__file__).parents[1]


class CacheError(Exception):
    """There is no folder that can be written to."""


def is_writable(path: Path) -> bool:
    """Whether `path` is a folder, or can be made one, that files can be written to; then it is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def folder(name: str) -> Path:
    """The folder of `name` in `$XDG_CACHE_HOME/protopact` or `~/.cache/protopact`; for want of these, in the checkout.

    Binaries stand in it: it is another one for each kind of machine, as homes are shared between them.

    Raises:
        CacheError: None of them can be written to.
    """
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    home = Path(caches) if Path(caches).is_absolute() else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111 - Path.expanduser raises where there is no home
    machine = f"{platform.system()}-{platform.machine()}".lower()
    choices = [home / "protopact" / name / machine, ROOT / ".cache" / name / machine]
    for choice in choices:
        if choice.is_absolute() and is_writable(choice):
            return choice
    raise CacheError(
        f"there is no place for what is built: none of {', '.join(map(str, choices))} can be written to; "
        "name one that can: XDG_CACHE_HOME=/path/to/folder"
    )


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the folder `path` alone among the processes that ask; a wait for another is said on stderr."""
    with (path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another process that builds into {path}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
