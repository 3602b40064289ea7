"""Names: ours by rule, those of a message library as its own compiler makes them."""

from __future__ import annotations

import keyword
from importlib import import_module
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import given
from hypothesis import strategies as st

from protopact_codegen.contract import File, Message
from protopact_codegen.libraries import ClassRef, Library
from protopact_codegen.libraries.betterproto2 import Betterproto2
from protopact_codegen.libraries.google import Google
from protopact_codegen.names import snake_case
from protopact_codegen.source import Place, Source

# Any: the compiler comes without types.
COMPILER: Any = import_module("betterproto2_compiler.compile.naming")
IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)


def place(proto: FileDescriptorProto) -> Place:
    return Place(Source(proto), (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, 0))


def describe(path: str, package: str, *nesting: str, field: str = "name") -> tuple[FileDescriptorProto, Descriptor]:
    """A file that has a message, nested as deep as there are names, and its innermost message."""
    message = DescriptorProto(name=nesting[-1])
    message.field.add(
        name=field, number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    for name in reversed(nesting[:-1]):
        message = DescriptorProto(name=name, nested_type=[message])
    proto = FileDescriptorProto(name=path, package=package, syntax="proto3", message_type=[message])
    pool = DescriptorPool()
    pool.Add(proto)
    return proto, pool.FindMessageTypeByName(".".join(filter(None, (package, *nesting))))


def class_ref(library: Library, user: tuple[str, str], owner: tuple[str, str], *nesting: str) -> ClassRef:
    """Where a module finds a class: `user` and `owner` are path and package of the two files."""
    proto, descriptor = describe(*owner, *nesting)
    path, package = user
    file = File(
        path=path,
        package=package,
        syntax="proto3",
        edition="",
        services=(),
        ignored=(),
        descriptor=descriptor.file,
        place=place(proto),
    )
    return library.class_ref(Message(descriptor, place(proto)), file)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CreateVM2", "create_vm2"),
        ("HTTPGet", "http_get"),
        ("CreateVm", "create_vm"),
        ("CreateVM", "create_vm"),
        ("ListIDs", "list_ids"),
        ("ListIDsOfVMs", "list_ids_of_vms"),
        ("GetV2Status", "get_v2_status"),
        ("S3Upload", "s3_upload"),
        ("already_snake", "already_snake"),
        ("Mixed_Case", "mixed_case"),
        ("x", "x"),
        ("Import", "import"),
        ("_Private", "private"),
        ("_2FA", "x2_fa"),
        ("__", "x__"),
    ],
)
def test_rpcs_become_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@given(IDENTIFIERS)
def test_a_public_name_is_an_identifier_without_a_leading_underscore(name: str) -> None:
    converted = snake_case(name)
    assert converted.isidentifier()
    assert not converted.startswith("_")
    assert converted == converted.lower()


@given(IDENTIFIERS)
def test_betterproto2_attributes_are_named_as_its_compiler_names_them(name: str) -> None:
    _, descriptor = describe("f.proto", "p", "Message", field=name)
    assert Betterproto2().attribute(descriptor.fields[0]) == COMPILER.pythonize_field_name(name)


@given(st.lists(IDENTIFIERS, min_size=1, max_size=3))
def test_betterproto2_classes_are_named_as_its_compiler_names_them(nesting: list[str]) -> None:
    ref = class_ref(Betterproto2(), ("f.proto", "p"), ("f.proto", "p"), *nesting)
    assert ref.names == (COMPILER.pythonize_class_name(".".join(nesting)),)


@pytest.mark.parametrize("word", keyword.kwlist)
def test_betterproto2_attributes_that_are_keywords_have_an_underscore(word: str) -> None:
    _, descriptor = describe("f.proto", "p", "Message", field=word)
    assert Betterproto2().attribute(descriptor.fields[0]) == COMPILER.pythonize_field_name(word)


@pytest.mark.parametrize(
    ("user", "owner", "betterproto2", "google"),
    [
        (("a/v1/u.proto", "a.v1"), ("a/v1/o.proto", "a.v1"), ".", "a.v1.o_pb2"),
        (("a/v1/u.proto", "a.v1"), ("a/v2/o.proto", "a.v2"), "..v2", "a.v2.o_pb2"),
        (("a/v1/u.proto", "a.v1"), ("b/o.proto", "b"), "...b", "b.o_pb2"),
        (("a/v1/u.proto", "a.v1"), ("a/o.proto", "a"), "..", "a.o_pb2"),
        (("a/u.proto", "a"), ("a/v1/x/o.proto", "a.v1.x"), ".v1.x", "a.v1.x.o_pb2"),
        (("a/v1/u.proto", "a.v1"), ("o.proto", ""), "...", "o_pb2"),
        (("u.proto", ""), ("a/o.proto", "a"), ".a", "a.o_pb2"),
        (("u.proto", ""), ("o.proto", ""), ".", "o_pb2"),
        (("a/u.proto", "a"), ("elsewhere/hy-phen.v1.proto", "a"), ".", "elsewhere.hy_phen.v1_pb2"),
        (
            ("a/u.proto", "a"),
            ("google/protobuf/any.proto", "google.protobuf"),
            "..google.protobuf",
            "google.protobuf.any_pb2",
        ),
        (("a/if/u.proto", "a.if"), ("a/if/o.proto", "a.if"), ".", ".o_pb2"),
        (("a/if/u.proto", "a.if"), ("a/if/v1/o.proto", "a.if.v1"), ".v1", ".v1.o_pb2"),
        (("a/if/u.proto", "a.if"), ("b/o.proto", "b"), "...b", "b.o_pb2"),
        (("b/u.proto", "b"), ("a/if/o.proto", "a.if"), "..a.if", "a.if.o_pb2"),
    ],
)
def test_where_a_module_finds_the_class_of_a_message(
    user: tuple[str, str], owner: tuple[str, str], betterproto2: str, google: str
) -> None:
    nested = ("Outer", "Inner")
    assert class_ref(Betterproto2(), user, owner, *nested).module == betterproto2
    found = class_ref(Google(), user, owner, *nested)
    assert (found.module, found.names) == (google, nested)
    reachable = "if" not in google.split(".")
    assert found.plain == reachable


def test_messages_may_be_below_a_package_of_their_own() -> None:
    user, owner = ("a/u.proto", "a"), ("b/v1/o.proto", "b.v1")
    assert class_ref(Betterproto2("gen.messages"), user, owner, "Message").module == "gen.messages.b.v1"
    assert class_ref(Google("gen.messages"), user, owner, "Message").module == "gen.messages.b.v1.o_pb2"
    shipped = ("google/protobuf/timestamp.proto", "google.protobuf")
    assert class_ref(Google("gen.messages"), user, shipped, "Timestamp").module == "google.protobuf.timestamp_pb2"
    assert class_ref(Betterproto2("gen"), user, shipped, "Timestamp").module == "gen.google.protobuf"


def test_a_class_called_like_a_keyword_is_looked_up_by_its_name() -> None:
    ref = class_ref(Google(), ("a/u.proto", "a"), ("a/u.proto", "a"), "Outer", "None")
    assert (ref.names, ref.stub_names, ref.plain) == (("Outer", "None"), ("Outer", "_r_None"), False)
