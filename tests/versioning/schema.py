"""What contracts are compiled with, and what stands above each."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).parents[2]
# Any: grpcio-tools comes without types.
_PROTOC: Any = import_module("grpc_tools.protoc")
WELL_KNOWN = Path(_PROTOC.__file__).parent / "_proto"

HEADER = """\
syntax = "proto3";
package shop.v1;
import "google/protobuf/empty.proto";
import "google/protobuf/timestamp.proto";
import "protopact/v1/annotations.proto";
"""


def protoc(*arguments: str) -> None:
    """Run protoc in this process; what it and its plugins say is told when it fails, and otherwise by nobody."""
    sys.stderr.flush()
    with TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            status = _PROTOC.main(["protoc", *arguments])
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        assert status == 0, said.read().decode()
