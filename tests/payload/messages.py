"""The messages of `protos/`, as both message libraries generate them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protopact import contract

PROTOS = Path(__file__).parent / "protos"
WELL_KNOWN = Path(str(find_spec("grpc_tools.protoc").origin)).parent / "_proto"  # type: ignore[union-attr]
PACKAGE = "payload_test.v1"
_OUTPUT = tempfile.TemporaryDirectory(prefix="protopact-payload-")


# Modules and classes that are generated while the tests run.
Class: TypeAlias = Any


@dataclass(frozen=True, eq=False)
class Library:
    """The messages as one library has them; they are found by their protobuf names."""

    name: contract.MessageLibrary
    schema: contract.Schema
    modules: tuple[Any, ...]

    def cls(self, name: str) -> Class:
        if self.name == "betterproto2":
            name = {"HTTPRequest": "HttpRequest"}.get(name, name)
        for part in self.modules:
            found = part
            for step in [name.replace(".", "")] if self.name == "betterproto2" else name.split("."):
                found = getattr(found, step, None)
            if found is not None:
                return found
        raise LookupError(name)

    def message(self, name: str) -> contract.Message[Any]:
        full = name if name.startswith("google.protobuf.") else f"{PACKAGE}.{name}"
        described = {message.name: message for message in contract.messages_of(self.schema)}
        return described.get(full) or self.schema.message(full, self.cls(name.removeprefix("google.protobuf.")))


@cache
def _generate() -> bytes:
    output = Path(_OUTPUT.name)
    (output / "google_messages").mkdir()
    (output / "payload_betterproto2").mkdir()
    programs = Path(sys.executable).parent
    plugin = programs / "protoc-gen-python_betterproto2"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={WELL_KNOWN}",
            f"--plugin=protoc-gen-betterproto2={plugin}",
            f"--betterproto2_out={output / 'payload_betterproto2'}",
            "--betterproto2_opt=client_generation=none",
            f"--python_out={output / 'google_messages'}",
            f"--descriptor_set_out={output / 'descriptors.binpb'}",
            "--include_imports",
            *(str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},  # the plugin runs ruff
    )
    sys.path[:0] = [str(output), str(output / "google_messages")]
    return (output / "descriptors.binpb").read_bytes()


@cache
def google() -> Library:
    _generate()
    names = (f"{PACKAGE}.everything_pb2", f"{PACKAGE}.two_pb2", *(f"google.protobuf.{each}_pb2" for each in _IMPORTED))
    return Library("google", contract.Schema("google"), tuple(map(import_module, names)))


@cache
def betterproto2() -> Library:
    descriptors = FileDescriptorSet.FromString(_generate())
    names = (f"payload_betterproto2.{PACKAGE}", "payload_betterproto2.google.protobuf")
    schema = contract.Schema("betterproto2", descriptors.SerializeToString())
    return Library("betterproto2", schema, tuple(map(import_module, names)))


_IMPORTED = ("any", "duration", "empty", "struct", "timestamp", "wrappers")
