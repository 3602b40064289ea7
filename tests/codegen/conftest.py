"""Contracts as requests: what protoc would hand to the plugin, made in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[2]
# Any: grpcio-tools comes without types.
PROTOC: Any = import_module("grpc_tools.protoc")
WELL_KNOWN = Path(PROTOC.__file__).parent / "_proto"

Compile = Callable[..., bytes]


@pytest.fixture
def compile_request(tmp_path: Path) -> Compile:
    """Compile proto files, given by path and text, to the bytes of a request that generates all of them."""

    def compile_request(
        files: Mapping[str, str], parameter: str = "messages=google", schema: Path = ROOT / "runtime"
    ) -> bytes:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        image = tmp_path / "image.binpb"
        includes = [f"--proto_path={tmp_path}", f"--proto_path={schema}", f"--proto_path={WELL_KNOWN}"]
        outputs = [f"--descriptor_set_out={image}", "--include_imports", "--include_source_info"]
        assert PROTOC.main(["protoc", *includes, *outputs, *files]) == 0
        request = CodeGeneratorRequest(parameter=parameter, file_to_generate=files)
        request.proto_file.extend(FileDescriptorSet.FromString(image.read_bytes()).file)
        return request.SerializeToString()

    return compile_request
