"""What contracts are compiled with, and what stands above each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Any: grpcio-tools comes without types.
PROTOC: Any = import_module("grpc_tools.protoc")
WELL_KNOWN = Path(PROTOC.__file__).parent / "_proto"

HEADER = """\
syntax = "proto3";
package shop.v1;
import "google/protobuf/empty.proto";
import "google/protobuf/timestamp.proto";
import "protopact/v1/annotations.proto";
"""
