"""The response: generated files or errors, as a `CodeGeneratorResponse`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GeneratedFile"]


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """A file that the plugin writes.

    Attributes:
        name: Path relative to `out`, with forward slashes.
        content: Its text.
    """

    name: str
    content: str
