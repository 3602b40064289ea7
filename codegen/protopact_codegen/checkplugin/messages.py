"""The messages that buf and a check plugin exchange: those of `pluginrpc.v1`, and of `buf.plugin` what is needed here.

Both are published as proto files (github.com/pluginrpc/pluginrpc, github.com/bufbuild/bufplugin); there is no Python
package of them. Fields that are not here are skipped by those who read and are absent for those who write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.any_pb2 import DESCRIPTOR as ANY
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from protopact_codegen import annotations_pb2

__all__ = ["POOL", "Message", "message"]

Message: TypeAlias = Any
"""A message whose class is made at run time, so that no type checker knows its fields."""

_SCALARS: Mapping[str, FieldDescriptorProto.Type.ValueType] = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    # An enum is the same on the wire, and is written as a number in JSON.
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
}
_PLUGIN, _CHECK, _DESCRIPTOR, _OPTION = (
    "pluginrpc.v1",
    "buf.plugin.check.v1",
    "buf.plugin.descriptor.v1",
    "buf.plugin.option.v1",
)
_RULE = ("id = 1 string", "category_ids = 2 string*", "default = 3 bool", "purpose = 4 string", "type = 5 int32")
_PAGE = ("next_page_token = 1 string",)
# Fields of each message; those with a `?` are of one oneof.
_MESSAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    _PLUGIN: {
        "Procedure": ("path = 1 string",),
        "Spec": ("procedures = 1 .pluginrpc.v1.Procedure*",),
        "Request": ("value = 1 .google.protobuf.Any",),
        "Response": ("value = 1 .google.protobuf.Any", "error = 2 .pluginrpc.v1.Error"),
        "Error": ("code = 1 int32", "message = 2 string"),
    },
    _DESCRIPTOR: {
        "FileDescriptor": (
            "file_descriptor_proto = 1 .google.protobuf.FileDescriptorProto",
            "is_import = 2 bool",
            "is_syntax_unspecified = 3 bool",
            "unused_dependency = 4 int32*",
        ),
        "FileLocation": ("file_name = 1 string", "source_path = 2 int32*"),
    },
    _OPTION: {
        "Option": ("key = 1 string", "value = 2 .buf.plugin.option.v1.Value"),
        "Value": (
            "bool_value = 1 bool?",
            "int64_value = 2 int64?",
            "double_value = 3 double?",
            "string_value = 4 string?",
            "bytes_value = 5 bytes?",
            "list_value = 6 .buf.plugin.option.v1.ListValue?",
        ),
        "ListValue": ("values = 1 .buf.plugin.option.v1.Value*",),
    },
    _CHECK: {
        "CheckRequest": (
            "file_descriptors = 1 .buf.plugin.descriptor.v1.FileDescriptor*",
            "against_file_descriptors = 2 .buf.plugin.descriptor.v1.FileDescriptor*",
            "options = 3 .buf.plugin.option.v1.Option*",
            "rule_ids = 4 string*",
        ),
        "CheckResponse": ("annotations = 1 .buf.plugin.check.v1.Annotation*",),
        "Annotation": (
            "rule_id = 1 string",
            "message = 2 string",
            "file_location = 3 .buf.plugin.descriptor.v1.FileLocation",
            "against_file_location = 4 .buf.plugin.descriptor.v1.FileLocation",
        ),
        "Rule": _RULE,
        "Category": ("id = 1 string", "purpose = 2 string"),
        "ListRulesRequest": ("page_size = 1 int32", "page_token = 2 string"),
        "ListRulesResponse": (*_PAGE, "rules = 2 .buf.plugin.check.v1.Rule*"),
        "ListCategoriesRequest": ("page_size = 1 int32", "page_token = 2 string"),
        "ListCategoriesResponse": (*_PAGE, "categories = 2 .buf.plugin.check.v1.Category*"),
    },
}
_DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    _PLUGIN: (ANY.name,),
    _DESCRIPTOR: ("google/protobuf/descriptor.proto",),
    _OPTION: (),
    _CHECK: (f"{_DESCRIPTOR}.proto", f"{_OPTION}.proto"),
}

POOL = annotations_pb2.DESCRIPTOR.pool
"""The pool of the messages: the plugin's own, in which the annotations are extensions."""


def message(name: str, **fields: Any) -> Message:  # noqa: ANN401 - as `Message`
    """Make a message, given by its full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))(**fields)


def _file(package: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.extend(_DEPENDENCIES[package])
    for name, fields in _MESSAGES[package].items():
        made = file.message_type.add(name=name)
        for each in fields:
            field, _, number, kind = each.split()
            type_ = kind.rstrip("*?")
            added = made.field.add(name=field, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
            if kind.endswith("*"):
                added.label = FieldDescriptorProto.LABEL_REPEATED
            elif kind.endswith("?"):
                added.oneof_index = 0
            if type_ in _SCALARS:
                added.type = _SCALARS[type_]
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, type_
        if any(each.endswith("?") for each in fields):
            made.oneof_decl.add(name="type")
    return file


POOL.AddSerializedFile(ANY.serialized_pb)
for _package in _MESSAGES:
    POOL.AddSerializedFile(_file(_package).SerializeToString())
