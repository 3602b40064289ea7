"""The plugin's options, as a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["MessageLibrary", "Options"]

MessageLibrary: TypeAlias = Literal["betterproto2", "google"]
"""Names of the message libraries."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the invocation asks for.

    Attributes:
        messages: Message library whose classes the generated code uses.
        import_root: Python package under which the generated messages are importable; empty when `out` is on the path.
        strict: Whether warnings are errors.
        parameter: The options as given, for the header of generated files.
    """

    messages: MessageLibrary = "betterproto2"
    import_root: str = ""
    strict: bool = False
    parameter: str = ""
