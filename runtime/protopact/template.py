"""Texts that the contract computes from a request: workflow ids, update ids, search attributes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from protopact import contract
from protopact.errors import MessageMismatchError, TemplateError
from protopact.policy import SearchAttributeType, SearchAttributeValue

__all__ = ["render", "search_attributes"]

T = TypeVar("T")


def render(template: contract.Template, request: object, *, where: str, uuid4: Callable[[], UUID]) -> str:
    """The id that `template` gives for `request`.

    Values print as they are: numbers in decimals, `true` and `false`, enum values by name. `%` and `/` in a value
    become `%25` and `%2F`, so that different values give different ids.

    Args:
        template: The template of the contract.
        request: The message that it takes its fields from.
        where: What is computed, for messages: `workflow id of acme.v1.S.Do`.
        uuid4: Source of `{uuid}`.

    Raises:
        TemplateError: A field is unset or empty.
        MessageMismatchError: A field holds a value of another type.
    """
    texts: list[str] = []
    for part in template.parts:
        match part:
            case str():
                texts.append(part)
            case contract.Uuid():
                texts.append(str(uuid4()))
            case contract.Field():
                text = _text(part, request, where)
                if text is None:
                    raise TemplateError(f"{where}: the template {template.source!r} needs {part.name}, which is unset")
                if not text:
                    after = "".join(f" after {each.value}" for each in part.transforms)
                    raise TemplateError(
                        f"{where}: the template {template.source!r} needs {part.name}, which is empty{after}"
                    )
                texts.append(text.replace("%", "%25").replace("/", "%2F"))
    return "".join(texts)


def search_attributes(
    workflow: contract.Workflow[object, object], request: object, *, uuid4: Callable[[], UUID]
) -> dict[str, SearchAttributeValue]:
    """The search attributes that the contract sets for `request`; one whose field is unset is not set.

    Values are not escaped, and may be empty.

    Raises:
        MessageMismatchError: A field holds a value of another type.
    """
    found: dict[str, SearchAttributeValue] = {}
    for attribute in workflow.search_attributes:
        where = f"search attribute {attribute.name} of {workflow.name}"
        if isinstance(attribute.value, contract.Template):
            value = _template_value(attribute.value, request, where, uuid4)
        else:
            value = _field_value(attribute.type, _value(attribute.value, request), where)
        if value is not None:
            found[attribute.name] = value
    return found


def _template_value(
    template: contract.Template, request: object, where: str, uuid4: Callable[[], UUID]
) -> SearchAttributeValue | None:
    texts: list[str | None] = []
    for part in template.parts:
        match part:
            case str():
                texts.append(part)
            case contract.Uuid():
                texts.append(str(uuid4()))
            case contract.Field():
                texts.append(_text(part, request, where))
    known = [text for text in texts if text is not None]
    return "".join(known) if len(known) == len(texts) else None


def _field_value(kind: SearchAttributeType, value: Any, where: str) -> SearchAttributeValue | None:  # noqa: ANN401 - a field's
    if value is None:
        return None
    if kind is SearchAttributeType.KEYWORD_LIST:
        return tuple(_checked(str, each, where) for each in value)
    if kind is SearchAttributeType.DATETIME and hasattr(value, "ToDatetime"):  # google's Timestamp
        return cast("datetime", value.ToDatetime(UTC))
    if kind is SearchAttributeType.DOUBLE and type(value) is int:
        return float(value)
    return _checked(_CLASSES[kind], value, where)


_CLASSES: dict[SearchAttributeType, type[str | float | datetime]] = {
    SearchAttributeType.KEYWORD: str,
    SearchAttributeType.TEXT: str,
    SearchAttributeType.INT: int,
    SearchAttributeType.DOUBLE: float,
    SearchAttributeType.BOOL: bool,
    SearchAttributeType.DATETIME: datetime,
}


def _value(path: tuple[str, ...], request: object) -> Any:  # noqa: ANN401 - a field's value
    """The value at the end of `path`; None when it, or a message before it, is unset."""
    value: Any = request
    for name in path:
        descriptor = getattr(value, "DESCRIPTOR", None)  # google's; betterproto2 has None for what is unset
        if descriptor is not None and descriptor.fields_by_name[name].has_presence and not value.HasField(name):
            return None
        value = getattr(value, name)
        if value is None:
            return None
    return value


def _text(field: contract.Field, request: object, where: str) -> str | None:
    value = _value(field.path, request)
    if value is None:
        return None
    where = f"{where}: field {field.name}"
    text = _PRINT[field.kind](field, value, where)
    for transform in field.transforms:
        text = _TRANSFORMS[transform](text)
    return text


def _print_enum(field: contract.Field, value: object, where: str) -> str:
    number = int(_checked(int, value, where))
    return next((name for known, name in field.enum if known == number), str(number))


_PRINT: dict[contract.FieldKind, Callable[[contract.Field, object, str], str]] = {
    contract.FieldKind.STRING: lambda _, value, where: _checked(str, value, where),
    contract.FieldKind.INTEGER: lambda _, value, where: str(int(_checked(int, value, where))),
    contract.FieldKind.BOOL: lambda _, value, where: "true" if _checked(bool, value, where) else "false",
    contract.FieldKind.ENUM: _print_enum,
}


def _checked(cls: type[T], value: object, where: str) -> T:
    if not isinstance(value, cls) or (cls is int and isinstance(value, bool)):
        raise MessageMismatchError(f"{where}: expected {cls.__name__}, found {type(value).__name__} {value!r}")
    return value


def _slug(text: str) -> str:
    """Lower-case letters and digits of any script, without accents, joined by single hyphens."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return re.sub(r"[\W_]+", "-", plain.lower()).strip("-")


_TRANSFORMS: dict[contract.Transform, Callable[[str], str]] = {
    contract.Transform.SLUG: _slug,
    contract.Transform.LOWER: str.lower,
    contract.Transform.UPPER: str.upper,
}
