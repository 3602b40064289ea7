"""The Go side of the interop tests: a program, and the messages that it is written on. `python -m tools.interop`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tools import go
from tools.cache import locked

__all__ = ["MissingError", "build", "write_messages"]

ROOT = Path(__file__).parents[1]
_MODULE = ROOT / "tests/interop/go"
_BUILT = ROOT / ".cache/interop"
_MESSAGES = {
    "nodes/provisioning/v1": "proto_examples/nodes/provisioning/v1/node.proto",
    "relay/v1": "tests/interop/relay/v1/relay.proto",
    "protopact/v1": "runtime/protopact/v1/annotations.proto",
}
_PACKAGE = "protopact.dev/interop"


class MissingError(Exception):
    """There is no Go side to be had; the message says how to get it."""

    def __init__(self, reason: object) -> None:
        super().__init__(
            "These tests run against a worker and a client in Go, and there is none:\n"
            f"  - {reason}\n"
            f"To get one: {go.HOW_TO_GET_GO}; `make interop` builds it, the first time in a minute or two.\n"
            "`make test-embedded` runs the tests that need no server and no Go."
        )


def build() -> Path:
    """The program, built: the first time in a minute or two, then, by way of Go's own cache, in no time.

    Raises:
        MissingError: There is no Go, or it cannot build it.
    """
    binary = _BUILT / "bin" / _PACKAGE.rpartition("/")[2]
    _BUILT.mkdir(parents=True, exist_ok=True)
    with locked(_BUILT):
        if not binary.exists() and go.is_present():
            print("Building the Go side of the interop tests; the first time takes a minute or two", file=sys.stderr)
        try:
            go.build(["install", "-trimpath", "-ldflags=-s -w", "."], into=binary.parent, folder=_MODULE)
        except go.GoError as error:
            raise MissingError(error) from None
    return binary


def write_messages(out: Path) -> None:
    """Write what protoc-gen-go makes of the contracts, below `out`.

    Raises:
        MissingError: There is no Go, or it cannot build protoc-gen-go.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        binaries = Path(scratch, "bin")
        try:
            go.build(["install", "google.golang.org/protobuf/cmd/protoc-gen-go"], into=binaries, folder=_MODULE)
        except go.GoError as error:
            raise MissingError(error) from None
        options = [f"--go_opt=M{at}/{Path(proto).name}={_PACKAGE}/gen/{at}" for at, proto in _MESSAGES.items()]
        paths = ("--proto_path=proto_examples", "--proto_path=tests/interop", "--proto_path=runtime")
        plugin = (f"--plugin={binaries}/protoc-gen-go", f"--go_opt=module={_PACKAGE}", f"--go_out={out}")
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", *paths, *plugin, *options, *_MESSAGES.values()],
            cwd=ROOT,
            check=True,
        )


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["messages"]:
            write_messages(_MODULE)
        else:
            build()
    except MissingError as missing:
        sys.exit(str(missing))
