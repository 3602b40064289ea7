"""docs/engines.md, whose programs, commands and manifest the tests run as they stand."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["PAGE", "block", "command", "program"]

PAGE = Path(__file__).parents[2] / "docs/engines.md"


def block(title: str) -> str:
    """The file of a title."""
    (found,) = re.findall(
        rf'^```[a-z]+ title="{re.escape(title)}"\n(.*?)^```', PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(found)


def command(beginning: str) -> list[str]:
    """The words of the command, in a block for the eye, that begins so."""
    (found,) = re.findall(rf"^{re.escape(beginning)}[^`]*?(?<!\\)\n", PAGE.read_text(), re.MULTILINE)
    return shlex.split(found.replace("\\\n", " "))


def program(title: str, folder: Path, changes: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """What a program of the page defines.

    Args:
        title: Of the program's block.
        folder: Where it is written to, to be run.
        changes: What stands there otherwise than on the page, such as a port.
    """
    path = folder / title
    text = block(title)
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    return runpy.run_path(str(path))
