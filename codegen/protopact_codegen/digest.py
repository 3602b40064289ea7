"""Digests: one number for everything in a service's contract that another program could notice.

The canonical form holds names, kinds, options, references and the messages reached from its rpcs; it holds no
comments, places or paths. What is unset or empty is left out, so that an option which is new to the plugin changes no
digest of a contract that does not use it. Messages of `google.protobuf` are names only: compilers ship them in
different versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from hashlib import sha256
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, EnumValueDescriptor, FieldDescriptor

from protopact_codegen.contract import Element, Message, Rpc, Workflow
from protopact_codegen.template import FieldPath, Literal, Template, Uuid

__all__ = ["Digester", "Form", "extensions", "options"]

Form: TypeAlias = "str | int | float | bool | list[Form] | dict[str, Form]"

_NOT_THE_CONTRACT = frozenset({"deprecated", "doc", "file", "index", "place", "rpc", "service"})
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Type:
    """A message or enum: its name and canonical form as a member of a JSON object, and names of what it reaches."""

    text: str
    reaches: tuple[str, ...] = ()


class Digester:
    """Computes digests; remembers the types that it has seen."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}

    def digest(self, service: str, task_queue: str | None, elements: Iterable[Element]) -> str:
        """Compute the hex SHA-256 of a service's contract.

        Args:
            service: Full name of the service.
            task_queue: Its default task queue.
            elements: Its annotated rpcs.
        """
        elements = tuple(elements)
        contract: dict[str, Form] = {
            "service": service,
            "task_queue": task_queue or "",
            "elements": [_form(element) for element in elements],
        }
        # As the JSON of one object; each type is written once, however many services reach it.
        types = ",".join(text for _, text in sorted(self._closure(elements).items()))
        return sha256(f'{_json(contract)[:-1]},"types":{{{types}}}}}'.encode()).hexdigest()

    def _closure(self, elements: Iterable[Element]) -> dict[str, str]:
        messages = [message.descriptor for message in _messages(elements)]
        self._learn(messages)
        pending = [descriptor.full_name for descriptor in messages]
        closure: dict[str, str] = {}
        while pending:
            name = pending.pop()
            known = self._types.get(name)
            if known is not None and name not in closure:
                closure[name] = known.text
                pending += known.reaches
        return closure

    def _learn(self, messages: Iterable[Descriptor]) -> None:
        """Take in messages and what they reach, but for those of google."""
        pending: list[Descriptor | EnumDescriptor] = [*messages]
        while pending:
            descriptor = pending.pop()
            name = descriptor.full_name
            if name not in self._types and not name.startswith("google.protobuf."):
                reached = _reached(descriptor)
                text = f"{_json(name)}:{_form_of(descriptor)}"
                self._types[name] = _Type(text, tuple(each.full_name for each in reached))
                pending += reached


def options(element: Element) -> dict[str, Form]:
    """Give what an element says of itself in canonical form, by name; what is unset or empty is left out."""
    return _members(element)


def extensions(message: Descriptor) -> list[FieldDescriptor]:
    """The fields that other messages and files add to a message, by their numbers."""
    if not message.is_extendable:
        return []
    return sorted(message.file.pool.FindAllExtensions(message), key=_number)


def _messages(elements: Iterable[Element]) -> Iterator[Message]:
    for element in elements:
        yield from (element.request, element.response)
        if isinstance(element, Workflow):
            for handler in element.handlers:
                yield from (handler.request, handler.response)


def _reached(descriptor: Descriptor | EnumDescriptor) -> list[Descriptor | EnumDescriptor]:
    if isinstance(descriptor, EnumDescriptor):
        return []
    members = (*descriptor.fields, *extensions(descriptor))
    reached = (member.message_type or member.enum_type for member in members)
    return [type_ for type_ in reached if type_ is not None]


def _form_of(descriptor: Descriptor | EnumDescriptor) -> str:
    if isinstance(descriptor, EnumDescriptor):
        values = sorted(descriptor.values, key=_number)
        first = descriptor.values[0]  # what is unset, where it is not the lowest
        unset: list[Form] = [first.name] if descriptor.is_closed and first.number != values[0].number else []
        return _json([descriptor.is_closed, [[value.name, value.number] for value in values], *unset])
    members = sorted((*descriptor.fields, *extensions(descriptor)), key=_number)
    return _json([_field(member) for member in members])


def _json(form: Form) -> str:
    return json.dumps(form, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _number(item: FieldDescriptor | EnumValueDescriptor) -> int:
    return item.number


def _field(member: FieldDescriptor) -> Form:
    type_ = member.message_type or member.enum_type
    oneof = member.containing_oneof
    return [
        member.number,
        member.full_name if member.is_extension else member.name,
        member.json_name,
        type_.full_name if type_ is not None else "",
        member.type,
        member.is_repeated,
        member.is_required,
        member.has_presence,
        oneof.name if oneof is not None else "",
    ]


def _form(value: object) -> Form:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    write = _FORMS.get(type(value))
    if write is not None:
        return write(value)
    return {"kind": value.kind.value} | _members(value) if isinstance(value, Rpc) else _members(value)


def _members(value: object) -> dict[str, Form]:
    members: dict[str, Form] = {}
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__qualname__} has no canonical form")
    for field in fields(value):
        member = None if field.name in _NOT_THE_CONTRACT else getattr(value, field.name)
        if member is not None and member is not False and member not in ("", ()):
            members[field.name] = _form(member)
    return members


# Any: each function takes values of its key's type, which no type of the mapping can say.
_FORMS: Mapping[type, Callable[[Any], Form]] = {
    timedelta: lambda duration: duration // _MICROSECOND,
    tuple: lambda items: [_form(item) for item in items],
    Message: lambda message: [message.name, *message.aliases] if message.aliases else message.name,
    Literal: lambda literal: literal.text,
    Uuid: lambda _: {"uuid": True},
    FieldPath: lambda path: {"field": path.name, "transforms": [_form(transform) for transform in path.transforms]},
    Template: lambda template: [_form(part) for part in template.parts],
}
