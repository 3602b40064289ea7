"""The source of functions that are loaded: the tree of each, and the comments that let a line pass."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

__all__ = ["Definition", "Source", "source_of"]

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_IGNORE = re.compile(r"#\s*protopact:\s*ignore(?:\[(?P<codes>[^\]]*)\])?(?P<reason>.*)")


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """A file of source code.

    Attributes:
        filename: As the code says it.
        definitions: Functions and lambdas by the line that they begin on, decorators included, and by name.
        ignored: For each line with a comment `# protopact: ignore[CODE] reason`, the codes.
        malformed: Lines whose comment lacks codes or a reason, and column.
    """

    filename: str
    definitions: Mapping[tuple[int, str], Definition]
    ignored: Mapping[int, frozenset[str]]
    malformed: Mapping[int, int]

    def definition(self, code: CodeType) -> Definition | None:
        """The tree of a function; None if the file is no longer what was loaded."""
        found = self.definitions.get((code.co_firstlineno, code.co_name))
        if found is None:
            return None
        arguments = found.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return found if names == list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) else None


def source_of(filename: str) -> Source | None:
    """The source of a file; None where there is none, as in an interactive session or a package without sources."""
    try:
        status = Path(filename).stat()
    except (OSError, ValueError):
        return None
    return _read(filename, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _read(filename: str, _mtime_ns: int, _size: int) -> Source | None:
    try:
        with tokenize.open(filename) as file:
            text = file.read()
        tree = ast.parse(text, filename)
    except (OSError, SyntaxError, ValueError, UnicodeDecodeError):
        return None
    definitions = dict[tuple[int, str], Definition]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            definitions[min(node.lineno, *(each.lineno for each in node.decorator_list), node.lineno), node.name] = node
        elif isinstance(node, ast.Lambda):
            definitions[node.lineno, "<lambda>"] = node
    ignored, malformed = _comments(text) if "protopact:" in text else ({}, {})
    return Source(filename, definitions, ignored, malformed)


def _comments(text: str) -> tuple[dict[int, frozenset[str]], dict[int, int]]:
    ignored, malformed = dict[int, frozenset[str]](), dict[int, int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or (found := _IGNORE.search(token.string)) is None:
            continue
        line, column = token.start
        codes = frozenset(re.findall(r"PD\d{3}", found["codes"] or ""))
        if codes and found["reason"].strip(" \t:#-"):
            ignored[line] = codes
        else:
            malformed[line] = column + found.start() + 1
    return ignored, malformed
