"""Python expressions and docstrings as text: escaped, and broken over lines where they are too long."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["WIDTH", "Bytes", "Call", "Dict", "Expression", "Tuple", "docstring", "signature", "text", "write"]

WIDTH = 120
"""Longest line, where a line can be broken at all."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `function`; an argument with an empty name is positional."""

    function: str
    arguments: Sequence[tuple[str, Expression]]


@dataclass(frozen=True, slots=True)
class Tuple:
    """A tuple."""

    items: Sequence[Expression]


@dataclass(frozen=True, slots=True)
class Dict:
    """A dict; keys are source text."""

    items: Sequence[tuple[str, Expression]]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A bytes literal."""

    value: bytes


Expression: TypeAlias = str | Call | Dict | Tuple | Bytes
"""An expression; a `str` is source text that stands as it is."""


# Quotes that would end a docstring.
_ENDS = re.compile(r'"""|"\Z')

# How each byte is written in a literal.
_BYTES = tuple('\\"' if byte == ord('"') else repr(bytes((byte,)))[2:-1] for byte in range(256))


def write(expression: Expression, indent: int, before: str = "", after: str = "") -> str:
    """Write an expression between `before`, which starts its line at column `indent`, and `after`."""
    flat = _flat(expression)
    if _fits(before + flat + after, indent):
        return before + flat + after
    match expression:
        case str():
            return before + expression + after
        case Bytes(value):
            lines = _bytes_lines(value, WIDTH - indent - 4)
            return f"{before}({_block(lines, indent)}){after}"
        case Tuple(items):
            lines = [write(item, indent + 4, after=",") for item in items]
            return f"{before}({_block(lines, indent)}){after}"
        case Dict(entries):
            lines = [write(value, indent + 4, f"{key}: ", ",") for key, value in entries]
            return f"{before}{{{_block(lines, indent)}}}{after}"
        case Call(function, arguments):
            inside = ", ".join(_flat(value) for _, value in arguments)
            if not any(name for name, _ in arguments) and _fits(inside, indent + 4):
                lines = [inside]
            else:
                lines = [write(value, indent + 4, f"{name}=" if name else "", ",") for name, value in arguments]
            return f"{before}{function}({_block(lines, indent)}){after}"


def signature(start: str, parameters: Iterable[str], returns: str, indent: int) -> str:
    """Write the first lines of a function, from `start` (`async def pause`) to its colon."""
    parameters = list(parameters)
    flat = f"{start}({', '.join(parameters)}) -> {returns}:"
    if _fits(flat, indent):
        return flat
    inside = ", ".join(parameters)
    lines = [inside] if _fits(inside, indent + 4) else [f"{parameter}," for parameter in parameters]
    return f"{start}({_block(lines, indent)}) -> {returns}:"


def text(value: str) -> str:
    """Write a string literal."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_reveal(escaped)}"'


def docstring(value: str, indent: int) -> str:
    """Write a docstring: nothing in `value` can end it, and nothing in it is invisible."""
    escaped = _ENDS.sub(lambda found: '\\"' * len(found[0]), value.strip().expandtabs().replace("\\", "\\\\"))
    first, *rest = (_reveal(line.rstrip()) for line in escaped.split("\n"))
    if not rest:
        return f'"""{first}"""'
    body = "\n".join(f"{' ' * indent}{line}" if line else "" for line in rest)
    return f'"""{first}\n{body}\n{" " * indent}"""'


def _reveal(line: str) -> str:
    """Escape the characters that a reader would not see, or not see as they are."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in line)


def _flat(expression: Expression) -> str:
    match expression:
        case str():
            return expression
        case Bytes(value):
            return _bytes(map(_BYTES.__getitem__, value))
        case Tuple([only]):
            return f"({_flat(only)},)"
        case Tuple(items):
            return f"({', '.join(map(_flat, items))})"
        case Dict(entries):
            return f"{{{', '.join(f'{key}: {_flat(value)}' for key, value in entries)}}}"
        case Call(function, arguments):
            inside = (f"{name}={_flat(value)}" if name else _flat(value) for name, value in arguments)
            return f"{function}({', '.join(inside)})"


def _fits(line: str, indent: int) -> bool:
    return len(line) + indent <= WIDTH


def _block(lines: Iterable[str], indent: int) -> str:
    inside = "".join(f"\n{' ' * (indent + 4)}{line}" for line in lines)
    return f"{inside}\n{' ' * indent}"


def _bytes_lines(value: bytes, width: int) -> list[str]:
    """Break a bytes literal into literals of at most `width` characters."""
    lines = list[str]()
    pending = list[str]()
    length = 3
    for byte in value:
        piece = _BYTES[byte]
        if length + len(piece) > width:
            lines.append(_bytes(pending))
            pending.clear()
            length = 3
        pending.append(piece)
        length += len(piece)
    return [*lines, _bytes(pending)]


def _bytes(pieces: Iterable[str]) -> str:
    return f'b"{"".join(pieces)}"'
