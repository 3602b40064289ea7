"""Where the Temporal dev server comes from that tests run against. As a script it installs it, and prints its path."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import go
from tools.cache import CacheError, folder, locked

__all__ = ["MissingError", "provide"]

VERSION = "v1.5.1"
"""Of the CLI; the server in it is 1.29."""

_MODULE = "github.com/temporalio/cli/cmd/temporal"
_DOWNLOAD = Path(__file__).with_name("temporal_download.py")


class MissingError(Exception):
    """There is no Temporal dev server to be had; the message says how to get one."""


def _missing(*reasons: str) -> MissingError:
    lines = "".join(f"  - {reason}\n" for reason in reasons)
    return MissingError(
        "These tests run against a real Temporal dev server, and there is none:\n"
        f"{lines}"
        f"To get one, do one of these: {go.HOW_TO_GET_GO}, and `make temporal` builds it, once, in a few minutes; "
        "or install the Temporal CLI (https://docs.temporal.io/cli/setup-cli), so that `temporal` is on PATH; "
        "or name a binary of it: TEMPORAL_CLI=/path/to/temporal.\n"
        "`make test-embedded` runs the tests that need no server."
    )


def _run(*command: object) -> str:
    """What a command printed, or OSError with the end of it."""
    done = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stdout.strip().rpartition("\n")[2] or f"it ended with {done.returncode}")
    return done.stdout


def _install(cache: Path) -> Path:
    """Build it with Go, or have the SDK download it; a binary in the cache is whole, and has run once."""
    binary = cache / VERSION / "temporal"
    if binary.exists():
        return binary
    reasons: list[str] = ["TEMPORAL_CLI is not set", "`temporal` is not on PATH"]
    with locked(cache), tempfile.TemporaryDirectory(dir=cache) as scratch:
        if binary.exists():
            return binary
        made: Path | None = None
        if go.is_present():
            print(f"Building the Temporal dev server ({_MODULE}@{VERSION}), once; this takes minutes", file=sys.stderr)
            try:
                go.build(["install", f"{_MODULE}@{VERSION}"], into=Path(scratch))
                made = Path(scratch) / "temporal"
            except go.GoError as error:
                reasons.append(str(error))
        else:
            reasons.append("`go` is not on PATH, to build it with")
        if made is None:
            print(f"Downloading the Temporal dev server ({VERSION}), once", file=sys.stderr)
            try:
                _run(sys.executable, _DOWNLOAD, VERSION, scratch)
                made = next(path for path in Path(scratch).iterdir() if os.access(path, os.X_OK))
            except (OSError, StopIteration) as error:
                reasons.append(f"the download of Temporal's Python SDK failed: {error}")
                raise _missing(*reasons) from None
        try:
            _run(made, "--version")
        except OSError as error:
            raise _missing(*reasons, f"what was installed does not run: {error}") from None
        binary.parent.mkdir(exist_ok=True)
        made.replace(binary)
    return binary


def provide() -> Path:
    """The `temporal` binary: what TEMPORAL_CLI names, or is on PATH, or in the project's cache; or is installed there.

    Raises:
        MissingError: There is none, and none can be installed.
    """
    if named := os.environ.get("TEMPORAL_CLI"):
        found = shutil.which(named)
        if found is None:
            raise _missing(f"TEMPORAL_CLI is {named!r}, which is no executable file")
        return Path(found).absolute()
    if found := shutil.which("temporal"):
        return Path(found).absolute()
    try:
        return _install(folder("temporal-cli"))
    except CacheError as error:
        raise _missing("TEMPORAL_CLI is not set", "`temporal` is not on PATH", str(error)) from None


if __name__ == "__main__":
    try:
        print(provide())
    except MissingError as missing:
        sys.exit(str(missing))
