"""The request: bytes to the files to generate, with options that are read by the plugin's own copy of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from protopact_codegen import annotations_pb2

__all__ = ["Request", "RequestError", "parse"]


class RequestError(Exception):
    """What is on standard input is no request of buf or protoc."""


@dataclass(frozen=True, slots=True)
class Request:
    """What buf or protoc asks for.

    Attributes:
        parameter: The options as given.
        generate: Paths of the files to generate, sorted.
        files: Every file, imports included, by its path, each after what it imports.
    """

    parameter: str
    generate: tuple[str, ...]
    files: Mapping[str, FileDescriptorProto]


def parse(data: bytes) -> Request:
    """Parse a serialized `CodeGeneratorRequest`.

    Raises:
        RequestError: `data` is none.
    """
    # Same fields, another pool: only there are the annotations extensions rather than unknown fields.
    descriptor = annotations_pb2.DESCRIPTOR.pool.FindMessageTypeByName(CodeGeneratorRequest.DESCRIPTOR.full_name)
    try:
        request = cast("CodeGeneratorRequest", GetMessageClass(descriptor).FromString(data))
    except DecodeError as error:
        raise RequestError(f"standard input holds no CodeGeneratorRequest ({error})") from error
    files = {file.name: file for file in request.proto_file}
    missing = [path for path in request.file_to_generate if path not in files]
    if missing:
        raise RequestError(f"the request does not hold the files it wants generated: {', '.join(missing)}")
    return Request(request.parameter, tuple(sorted(request.file_to_generate)), files)
