"""Templates: texts computed from a request, their parts, parsed and checked against its message.

    text       = literal text; `{{` and `}}` are braces
    {name}     = a field of the request; {outer.inner} a field of its message field
    {name|t|u} = with transforms, applied from left to right: slug, lower, upper
    {uuid}     = a random UUID; {.uuid} is the field of that name

Blanks around names and transforms mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protopact_codegen.diagnostics import Code

__all__ = [
    "FieldKind",
    "FieldPath",
    "Literal",
    "Problem",
    "Template",
    "TemplatePart",
    "Transform",
    "Uuid",
    "parse",
]


class Transform(Enum):
    """Named transforms of a template's field."""

    SLUG = "slug"
    LOWER = "lower"
    UPPER = "upper"


class FieldKind(Enum):
    """How the value of a template's field becomes text."""

    STRING = "string"
    INTEGER = "integer"
    BOOL = "bool"
    ENUM = "enum"


@dataclass(frozen=True, slots=True)
class Literal:
    """Text of a template that stands as it is; braces are unescaped."""

    text: str


@dataclass(frozen=True, slots=True)
class Uuid:
    """A random UUID in a template."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field of the request in a template.

    Attributes:
        fields: Descriptors from the request's field to the last one; all but the last are singular messages.
        transforms: Applied in order.
    """

    fields: tuple[FieldDescriptor, ...]
    transforms: tuple[Transform, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Proto names of the fields."""
        return tuple(f.name for f in self.fields)

    @property
    def name(self) -> str:
        """Proto names of the fields, dotted."""
        return ".".join(self.names)

    @property
    def kind(self) -> FieldKind | None:
        """How the last field's value becomes text; None for a field that has no such form (search attributes only)."""
        last = self.fields[-1]
        return None if last.is_repeated else _KINDS.get(last.type)

    @property
    def optional(self) -> bool:
        """Whether the last field has explicit presence, and so may be unset."""
        return bool(self.fields[-1].has_presence)

    @property
    def enum(self) -> tuple[tuple[int, str], ...]:
        """Numbers and names of an enum field's values in declaration order; the first name of a number is its name."""
        values = self.fields[-1].enum_type
        return () if values is None else tuple((value.number, value.name) for value in values.values)


_KINDS: Mapping[int, FieldKind] = {
    FieldDescriptor.TYPE_STRING: FieldKind.STRING,
    FieldDescriptor.TYPE_BOOL: FieldKind.BOOL,
    FieldDescriptor.TYPE_ENUM: FieldKind.ENUM,
    **dict.fromkeys(
        (
            FieldDescriptor.TYPE_INT32,
            FieldDescriptor.TYPE_INT64,
            FieldDescriptor.TYPE_UINT32,
            FieldDescriptor.TYPE_UINT64,
            FieldDescriptor.TYPE_SINT32,
            FieldDescriptor.TYPE_SINT64,
            FieldDescriptor.TYPE_FIXED32,
            FieldDescriptor.TYPE_FIXED64,
            FieldDescriptor.TYPE_SFIXED32,
            FieldDescriptor.TYPE_SFIXED64,
        ),
        FieldKind.INTEGER,
    ),
}

TemplatePart: TypeAlias = Literal | FieldPath | Uuid


@dataclass(frozen=True, slots=True)
class Template:
    """A text computed from a request.

    Attributes:
        source: As written in the contract.
        parts: Literal text, fields and UUIDs, one after the other.
    """

    source: str
    parts: tuple[TemplatePart, ...]


_PIECE = re.compile(r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])")
_PATH = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_FOREIGN = re.compile(r"\{\{\s*\.|\$\{")
_TRANSFORMS = ", ".join(f"`{transform.value}`" for transform in Transform)
_SYNTAX_HINT = "write `{field}`, `{nested.field}`, `{field|slug}` or `{uuid}`; `{{` and `}}` are braces"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a template.

    Attributes:
        code: Its code.
        message: What is wrong; says which part of the template.
        hint: What to do.
    """

    code: Code
    message: str
    hint: str


def parse(source: str, request: Descriptor) -> tuple[Template, list[Problem]]:
    """Parse a template over the message `request`.

    Returns:
        The template, which lacks the parts that are wrong, and everything that is wrong with it.
    """
    parts: list[TemplatePart] = []
    problems = list(_foreign(source))
    for piece in _PIECE.finditer(source):
        if piece["stray"]:
            problems.append(_syntax(f"a single `{piece['stray']}` at character {piece.start() + 1}"))
        elif piece["field"] is None:
            text = piece["text"] or piece["brace"][0]
            last = parts[-1] if parts else None
            parts[-1:] = [Literal(last.text + text)] if isinstance(last, Literal) else [*parts[-1:], Literal(text)]
        else:
            part = _field(piece["field"], request, problems)
            if part is not None:
                parts.append(part)
    return Template(source, tuple(parts)), problems


def _foreign(source: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for found in _FOREIGN.finditer(source):
        if found[0] in seen:
            continue
        seen.add(found[0])
        form, meaning = ("${...}", "`$` and a field") if found[0] == "${" else ("{{.Field}}", "text")
        yield Problem(
            Code.FOREIGN_TEMPLATE,
            f"`{form}` at character {found.start() + 1} is another dialect's; here it is {meaning}",
            "write `{field}` with the field's name as in the request's message",
        )


def _field(text: str, request: Descriptor, problems: list[Problem]) -> TemplatePart | None:
    path, *names = (name.strip(" \t") for name in text.split("|"))
    if not _PATH.fullmatch(path):
        problems.append(_syntax(f"`{{{text}}}` does not name a field"))
        return None
    transforms = tuple(_transforms(text, names, problems))
    if path == "uuid":
        if "uuid" in request.fields_by_name:
            problems.append(
                Problem(
                    Code.TEMPLATE_UUID,
                    f"`{{uuid}}` is a random UUID, and {request.full_name} has a field of that name",
                    "write `{.uuid}` for the field; to have a random UUID, give the field another name",
                )
            )
        elif names:
            problems.append(_syntax(f"`{{{text}}}` transforms a random UUID"))
        return Uuid()
    fields = _resolve(path.removeprefix("."), request, problems)
    return None if fields is None else FieldPath(fields, transforms)


def _transforms(text: str, names: list[str], problems: list[Problem]) -> Iterator[Transform]:
    for name in names:
        try:
            yield Transform(name)
        except ValueError:
            problems.append(
                Problem(
                    Code.TEMPLATE_TRANSFORM,
                    f"`{{{text}}}` names the transform `{name}`, which does not exist",
                    f"use one of {_TRANSFORMS}",
                )
            )


def _resolve(path: str, request: Descriptor, problems: list[Problem]) -> tuple[FieldDescriptor, ...] | None:
    fields: list[FieldDescriptor] = []
    message: Descriptor | None = request
    for name in path.split("."):
        outer = fields[-1] if fields else None
        if message is None:
            problems.append(
                Problem(
                    Code.TEMPLATE_FIELD,
                    f"`{{{path}}}` looks for `{name}` in `{outer.name if outer else ''}`, which is no message",
                    "end the path at that field",
                )
            )
            return None
        if outer is not None and outer.is_repeated:
            problems.append(_repeated(path, outer))
            return None
        if outer is not None and message.file.package == "google.protobuf":
            problems.append(
                Problem(
                    Code.TEMPLATE_MESSAGE,
                    f"`{{{path}}}` looks into `{outer.name}`, a {message.full_name}, "
                    "which has another form in each message library",
                    "name a field of a message of your own",
                )
            )
            return None
        member = message.fields_by_name.get(name)
        if member is None:
            problems.append(_missing(path, name, message))
            return None
        fields.append(member)
        message = member.message_type
    return tuple(fields)


def _missing(path: str, name: str, message: Descriptor) -> Problem:
    names = [member.name for member in message.fields]
    by_letters = {n.replace("_", "").lower(): n for n in names}
    close = get_close_matches(name.replace("_", "").lower(), by_letters, n=1)
    if close:
        hint = f"did you mean `{by_letters[close[0]]}`?"
    elif names:
        hint = "its fields are " + ", ".join(f"`{n}`" for n in names)
    else:
        hint = "it has no fields; give the rpc a request of its own"
    return Problem(Code.TEMPLATE_FIELD, f"`{{{path}}}`: {message.full_name} has no field `{name}`", hint)


def _repeated(path: str, member: FieldDescriptor) -> Problem:
    entry = member.message_type
    what = "a map" if entry is not None and entry.GetOptions().map_entry else "repeated"
    return Problem(
        Code.TEMPLATE_REPEATED, f"`{{{path}}}`: the field `{member.name}` is {what}", "use a field with one value"
    )


def _syntax(what: str) -> Problem:
    return Problem(Code.TEMPLATE_SYNTAX, what, _SYNTAX_HINT)
