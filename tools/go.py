"""Builds with Go: a program of the module proxy, or one of this repository's, whatever the user's own settings are."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.cache import is_writable

__all__ = ["HOW_TO_GET_GO", "GoError", "build", "is_present"]

HOW_TO_GET_GO = "install Go, 1.21 or newer (https://go.dev/dl/), so that `go` is on PATH"
"""From 1.21 on, Go fetches by itself the version that a module asks for."""

_TAIL = 12
"""Lines of Go's output that an error shows."""


class GoError(Exception):
    """Go did not build what it was asked to; the message holds what it said."""


def is_present() -> bool:
    """Whether `go` is on PATH."""
    return shutil.which("go") is not None


def _environment(scratch: Path) -> dict[str, str]:
    # What a user sets for other projects (a vendor folder, a workspace, another platform) is not for this build.
    ours = {"GOFLAGS": "-buildvcs=false", "GOWORK": "off", "GO111MODULE": "on"}
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH", "GOBIN", "GOROOT")
    } | ours
    for name in ("GOCACHE", "GOMODCACHE"):
        asked = subprocess.run(
            ["go", "env", name],  # noqa: S607 - which `go` is the user's choice
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        ).stdout.strip()
        if not (Path(asked).is_absolute() and is_writable(Path(asked))):
            environment[name] = str(scratch / name.lower())
            environment["GOFLAGS"] = "-buildvcs=false -modcacherw"  # or else `rm -r` cannot remove it
    return environment


def build(arguments: Sequence[str], *, into: Path, folder: Path | None = None) -> None:
    """Run `go ARGUMENTS` with the folder `into` for the binaries, in `folder` when it is given.

    Go's own caches serve when they can be written to; otherwise there are some in the parent of `into`.

    Raises:
        GoError: There is no Go, or it failed.
    """
    if not is_present():
        raise GoError("`go` is not on PATH")
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        ["go", *arguments],  # noqa: S607 - as above
        cwd=folder or into,
        env=_environment(into.parent) | {"GOBIN": str(into)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if not line.startswith("go: downloading ")]
        raise GoError(f"`go {' '.join(arguments)}` failed:\n" + "\n".join(f"    {line}" for line in lines[-_TAIL:]))
