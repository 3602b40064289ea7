"""Rules on templates: every field has a text form, and a typed search attribute fits its field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from google.protobuf.descriptor import FieldDescriptor

from protopact_codegen.contract import Contract, Element, SearchAttribute, SearchAttributeType, Update, Workflow
from protopact_codegen.diagnostics import Code, Diagnostic, quote
from protopact_codegen.lint.finding import Rule, elements, finding
from protopact_codegen.template import FieldKind, FieldPath, Template

__all__ = ["RULES"]

_FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
_TYPES: Mapping[int, str] = {
    FieldDescriptor.TYPE_BYTES: "a bytes field",
    FieldDescriptor.TYPE_DOUBLE: "a double",
    FieldDescriptor.TYPE_FLOAT: "a float",
}


def _texts(contract: Contract) -> Iterator[Diagnostic]:
    for element in elements(contract):
        if isinstance(element, Workflow | Update) and element.id is not None:
            yield from _without_text(element, element.id, "id")
        if isinstance(element, Workflow):
            for attribute in element.search_attributes:
                if isinstance(attribute.value, Template) and attribute.type in _TEXTS:
                    yield from _without_text(element, attribute.value, "search_attributes", attribute.index, "value")


def _without_text(element: Element, template: Template, *steps: str | int) -> Iterator[Diagnostic]:
    for part in template.parts:
        if not isinstance(part, FieldPath) or part.kind is not None:
            continue
        last = part.fields[-1]
        if last.is_repeated:
            code, what, hint = Code.TEMPLATE_REPEATED, _describe(part), "use a field with one value"
        elif last.message_type is not None:
            own = last.message_type.file.package != "google.protobuf"
            code, what = Code.TEMPLATE_MESSAGE, _describe(part)
            hint = f"name one of its fields: `{{{part.name}.field}}`" if own else "use a field with a text form"
        else:
            code, what = Code.TEMPLATE_TYPE, f"{_describe(part)}, which has no one text form"
            hint = "use a string, an integer, a bool or an enum"
        yield finding(code, element, f"{quote(template.source)}: `{{{part.name}}}` is {what}", hint, *steps)


def _attributes(contract: Contract) -> Iterator[Diagnostic]:
    for workflow in elements(contract):
        if not isinstance(workflow, Workflow):
            continue
        seen: set[str] = set()
        for attribute in workflow.search_attributes:
            steps = ("search_attributes", attribute.index)
            if not attribute.name:
                hint = "set `name` to what it is registered under"
                yield finding(Code.SEARCH_ATTRIBUTE, workflow, "has no name", hint, *steps)
            elif attribute.name in seen:
                what = f"sets {quote(attribute.name)} a second time"
                yield finding(Code.SEARCH_ATTRIBUTE, workflow, what, "remove one of the two", *steps)
            seen.add(attribute.name)
            yield from _typed(workflow, attribute, *steps, "value")


def _typed(workflow: Workflow, attribute: SearchAttribute, *steps: str | int) -> Iterator[Diagnostic]:
    value = attribute.value
    if isinstance(value, Template):
        if not value.source:
            yield finding(Code.SEARCH_ATTRIBUTE, workflow, "is empty", "write `{field}` with the field's name", *steps)
        elif attribute.type not in _TEXTS:
            what = f"is {quote(value.source)}; the value of type {attribute.type.value} is one field"
            yield finding(Code.SEARCH_ATTRIBUTE, workflow, what, "write `{field}` and nothing else", *steps)
    else:
        wanted, fits = _WANTED[attribute.type]
        if not fits(value):
            what = f'is "{{{value.name}}}", {_describe(value)}; type {attribute.type.value} takes {wanted}'
            yield finding(Code.SEARCH_ATTRIBUTE, workflow, what, "change `type`, or name another field", *steps)


_TEXTS = frozenset({SearchAttributeType.KEYWORD, SearchAttributeType.TEXT})

_WANTED: Mapping[SearchAttributeType, tuple[str, Callable[[FieldPath], bool]]] = {
    SearchAttributeType.INT: ("an integer", lambda path: path.kind is FieldKind.INTEGER),
    SearchAttributeType.DOUBLE: (
        "a double or a float",
        lambda path: path.fields[-1].type in _FLOATS and not path.fields[-1].is_repeated,
    ),
    SearchAttributeType.BOOL: ("a bool", lambda path: path.kind is FieldKind.BOOL),
    SearchAttributeType.DATETIME: (
        "a google.protobuf.Timestamp",
        lambda path: _message(path) == "google.protobuf.Timestamp" and not path.fields[-1].is_repeated,
    ),
    SearchAttributeType.KEYWORD_LIST: (
        "a repeated string",
        lambda path: path.fields[-1].is_repeated and path.fields[-1].type == FieldDescriptor.TYPE_STRING,
    ),
}


def _message(path: FieldPath) -> str | None:
    message = path.fields[-1].message_type
    return None if message is None else message.full_name


def _describe(path: FieldPath) -> str:
    """Words for the type of a field."""
    last = path.fields[-1]
    message = last.message_type
    if message is not None and message.GetOptions().map_entry:
        return "a map"
    if last.is_repeated:
        return "repeated"
    if message is not None:
        return f"a message, {message.full_name}"
    kind = path.kind
    if kind is None:
        return _TYPES[last.type]
    return f"an {kind.value}" if kind in {FieldKind.INTEGER, FieldKind.ENUM} else f"a {kind.value}"


RULES: tuple[Rule, ...] = (_texts, _attributes)
