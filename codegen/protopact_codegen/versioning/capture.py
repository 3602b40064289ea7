"""The capture: a contract to its snapshot."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

from protopact_codegen.contract import Contract, Element, Kind, Workflow
from protopact_codegen.digest import extensions, options
from protopact_codegen.versioning.snapshot import (
    ChangeFacts,
    ElementFacts,
    EnumFacts,
    FieldFacts,
    HandlerFacts,
    Label,
    MessageFacts,
    Presence,
    Reserved,
    ServiceFacts,
    Snapshot,
    Type,
)

__all__ = ["capture"]

_Descriptors: TypeAlias = "list[Descriptor | EnumDescriptor]"
_KINDS: Mapping[int, str] = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
_NO_OPTIONS = frozenset(
    {"aliases", "changes", "full_name", "name", "queries", "request", "response", "signals", "updates"}
)


def capture(contract: Contract) -> Snapshot:
    """Take the snapshot of a contract without errors."""
    services: dict[str, ServiceFacts] = {}
    elements: dict[str, ElementFacts] = {}
    messages: dict[str, MessageFacts] = {}
    enums: dict[str, EnumFacts] = {}
    pending: _Descriptors = []
    for service in contract.services:
        services[service.full_name] = ServiceFacts(service.full_name, service.file)
        for element in service.elements:
            # A workflow's handlers may be of services that are not generated here.
            handlers = element.handlers if isinstance(element, Workflow) else ()
            for each in (element, *handlers):
                elements[each.full_name] = _element(each)
                pending += [each.request.descriptor, each.response.descriptor]
    while pending:
        descriptor = pending.pop()
        name = descriptor.full_name
        if name in messages or name in enums or name.startswith("google.protobuf."):
            continue
        if isinstance(descriptor, EnumDescriptor):
            enums[name] = _enum(descriptor)
        else:
            messages[name] = _message(descriptor, contract.aliases.get(name, ()))
            fields = (*descriptor.fields, *extensions(descriptor))
            pending += [type_ for field in fields if (type_ := _reached(field)) is not None]
    return Snapshot(services, elements, messages, enums)


def _element(element: Element) -> ElementFacts:
    handlers: list[HandlerFacts] = []
    if isinstance(element, Workflow):
        handlers += [HandlerFacts(Kind.QUERY, query.query.full_name) for query in element.queries]
        handlers += [HandlerFacts(Kind.SIGNAL, ref.signal.full_name, ref.start) for ref in element.signals]
        handlers += [HandlerFacts(Kind.UPDATE, ref.update.full_name, ref.start) for ref in element.updates]
    return ElementFacts(
        rpc=element.full_name,
        kind=element.kind,
        name=element.name,
        aliases=tuple(sorted(element.aliases)),
        request=element.request.name,
        response=element.response.name,
        handlers=tuple(sorted(handlers, key=lambda handler: (handler.kind.value, handler.rpc))),
        options={name: json.dumps(form, ensure_ascii=False, sort_keys=True) for name, form in _options(element)},
        changes={
            each.id: ChangeFacts(each.id, each.since, each.deprecated, tuple(sorted(each.covers)))
            for each in sorted(element.changes if isinstance(element, Workflow) else (), key=lambda each: each.id)
        },
    )


def _options(element: Element) -> Iterable[tuple[str, object]]:
    return ((name, form) for name, form in sorted(options(element).items()) if name not in _NO_OPTIONS)


def _reached(field: FieldDescriptor) -> Descriptor | EnumDescriptor | None:
    entry = _entry(field)
    return _reached(entry.fields_by_name["value"]) if entry is not None else field.message_type or field.enum_type


def _entry(field: FieldDescriptor) -> Descriptor | None:
    """The message of a map's entries; None for what is no map."""
    message = field.message_type
    return message if message is not None and message.GetOptions().map_entry else None


def _message(descriptor: Descriptor, aliases: Iterable[str]) -> MessageFacts:
    proto = DescriptorProto()
    descriptor.CopyToProto(proto)
    optional = {field.number for field in proto.field if field.proto3_optional}
    fields = [_field(field, oneof=field.number not in optional) for field in descriptor.fields]
    fields += [_extension(field) for field in extensions(descriptor)]
    # The end of a message's range is the first number that is free again.
    ranges = tuple(sorted((each.start, each.end - 1) for each in proto.reserved_range))
    return MessageFacts(
        descriptor.full_name,
        tuple(sorted(fields, key=lambda field: field.number)),
        Reserved(ranges, tuple(sorted(proto.reserved_name))),
        tuple(sorted(aliases)),
    )


def _extension(field: FieldDescriptor) -> FieldFacts:
    """A field that another message or file adds, which JSON knows by its full name."""
    name = f"[{field.full_name}]"
    return replace(_field(field, oneof=False), name=name, json_name=name)


def _field(field: FieldDescriptor, *, oneof: bool) -> FieldFacts:
    label, type_ = Label.SINGULAR, _type(field)
    entry = _entry(field)
    if entry is not None:
        value = _type(entry.fields_by_name["value"])
        label, type_ = Label.MAP, Type(value.kind, value.name, _type(entry.fields_by_name["key"]).kind)
    elif field.is_repeated:
        label = Label.REPEATED
    presence = Presence.IMPLICIT
    if field.is_required:
        presence = Presence.REQUIRED
    elif field.has_presence:
        presence = Presence.EXPLICIT
    holder = field.containing_oneof if oneof else None
    return FieldFacts(
        name=field.name,
        number=field.number,
        label=label,
        type=type_,
        json_name=field.json_name,
        presence=presence,
        oneof=holder.name if holder is not None else "",
        default=_default(field) if field.has_default_value else "",
    )


def _type(field: FieldDescriptor) -> Type:
    described = field.message_type or field.enum_type
    return Type(_KINDS[field.type], described.full_name if described is not None else "")


def _default(field: FieldDescriptor) -> str:
    value = field.default_value
    if isinstance(value, bytes):
        value = b64encode(value).decode()
    if field.enum_type is not None:
        value = field.enum_type.values_by_number[int(value)].name
    return json.dumps(value, ensure_ascii=False)


def _enum(descriptor: EnumDescriptor) -> EnumFacts:
    proto = EnumDescriptorProto()
    descriptor.CopyToProto(proto)
    values: dict[int, tuple[str, ...]] = {}
    for value in descriptor.values:
        values[value.number] = (*values.get(value.number, ()), value.name)
    ranges = tuple(sorted((each.start, each.end) for each in proto.reserved_range))
    first = proto.value[0]
    return EnumFacts(
        descriptor.full_name,
        bool(descriptor.is_closed),
        dict(sorted(values.items())),
        Reserved(ranges, tuple(sorted(proto.reserved_name))),
        first.name if descriptor.is_closed and first.number != min(values) else "",
    )
