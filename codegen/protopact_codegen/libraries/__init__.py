"""The message libraries: what each calls the classes and attributes that its own plugin generates, and where."""

from __future__ import annotations

from protopact_codegen.libraries.betterproto2 import Betterproto2
from protopact_codegen.libraries.google import Google
from protopact_codegen.libraries.library import ClassRef, Library
from protopact_codegen.options import Options

__all__ = ["ClassRef", "Library", "find_library"]


def find_library(options: Options) -> Library:
    """The adapter of the message library that the invocation asks for."""
    match options.messages:
        case "betterproto2":
            return Betterproto2(options.import_root)
        case "google":
            return Google(options.import_root)
