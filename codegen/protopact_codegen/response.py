"""The response: generated files or the error, as a `CodeGeneratorResponse`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition

__all__ = ["GeneratedFile", "failure", "success"]


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """A file that the plugin writes.

    Attributes:
        name: Path relative to `out`, with forward slashes.
        content: Its text.
    """

    name: str
    content: str


def success(files: Iterable[GeneratedFile]) -> bytes:
    """Serialize the generated files, sorted by name."""
    response = _response()
    for file in sorted(files, key=lambda file: file.name):
        response.file.add(name=file.name, content=file.content)
    return response.SerializeToString(deterministic=True)


def failure(error: str) -> bytes:
    """Serialize the error of a user's mistake; nothing is written."""
    response = _response()
    response.error = error
    return response.SerializeToString(deterministic=True)


def _response() -> CodeGeneratorResponse:
    return CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=Edition.EDITION_2024,
    )
