"""What betterproto2 cannot carry is refused with a code, the place, and the library to use; google carries it all."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from tests.corpus.conftest import HERE, compile_request, generate, protos

# What of `protos/google` betterproto2 cannot carry, and how it is refused.
TABLE = {
    "corpus/attributes.proto": [
        ("15:3", "PP703", "value KIND_mro of enum corpus.attributes.UseRequest.Kind"),
        ("19:3", "PP703", "field corpus.attributes.UseRequest.betterproto2"),
        ("20:3", "PP703", "field corpus.attributes.UseRequest.is_set"),
        ("21:3", "PP703", "field corpus.attributes.UseRequest.__mangled"),
        ("23:3", "PP703", "field corpus.attributes.UseRequest.load"),
        ("28:1", "PP703", "message corpus.attributes._1st"),
    ],
    "corpus/collide.proto": [
        ("20:3", "PP704", "message corpus.collide.Outer.Inner"),
        ("22:5", "PP704", "field corpus.collide.Outer.Inner.foo_bar"),
        ("26:1", "PP704", "message corpus.collide.Outer_Inner"),
    ],
    "corpus/editions.proto": [
        ("2:1", "PP701", "corpus/editions.proto is"),
        ("22:3", "PP702", "field corpus.editions.EditRequest.part"),
    ],
    "corpus/groups.proto": [("15:3", "PP702", "field corpus.groups.GatherRequest.item")],
    "corpus/imported.proto": [
        ("19:1", "PP703", "message corpus.imported.Deadline"),
        ("20:1", "PP703", "message corpus.imported.Iterable"),
        ("21:1", "PP703", "message corpus.imported.self"),
        ("22:1", "PP703", "message corpus.imported.Descriptor"),
        ("23:1", "PP703", "enum corpus.imported.EnumDescriptor"),
    ],
    "corpus/none.proto": [
        ("22:1", "PP703", "message corpus.none.None"),
        ("30:1", "PP703", "message corpus.none.__"),
        ("31:1", "PP703", "message corpus.none._"),
    ],
}


def test_the_table_names_every_contract_that_only_google_carries() -> None:
    assert sorted(TABLE) == protos("google")


@pytest.mark.parametrize("file", TABLE)
def test_betterproto2_is_refused_where_it_would_break(file: str) -> None:
    response = generate(compile_request([HERE / "protos/any", HERE / "protos/google"], [file], "messages=betterproto2"))
    assert not response.file
    found = re.findall(r"^(\S+\.proto):(\d+:\d+): (PP\d+) (\S+ \S+(?: of enum \S+)?)", response.error, re.MULTILINE)
    assert found == [(file, *expected) for expected in TABLE[file]]
    hints = [line for line in response.error.splitlines() if line.startswith("    hint: ")]
    assert len(hints) == len(found)
    assert all("messages=google" in hint for hint in hints)


def test_what_betterproto2_imports_is_no_name_of_a_class(tmp_path: Path) -> None:
    compiler = files("betterproto2_compiler").joinpath("templates/header.py.j2").read_text()
    imported = {
        name.strip()
        for names in re.findall(r"^ *from \S+ import (.+)$", compiler, re.MULTILINE)
        for name in names.split(",")
    }
    classes = sorted(name for name in imported if name[0].isupper() and not name.isupper())
    messages = "".join(f"message {name} {{}}\n" for name in classes)
    (tmp_path / "own.proto").write_text(CONTRACT.format(number=1) + messages)
    response = generate(compile_request([tmp_path], ["own.proto"]))
    assert re.findall(r"PP703 message own\.(\S+)", response.error) == classes


CONTRACT = """
syntax = "proto3";

package own;

import "protopact/v1/annotations.proto";

service Service{number} {{
  rpc Run(Outer{number}.Inner) returns (Outer{number}) {{
    option (protopact.v1.method).workflow = {{task_queue: "q"}};
  }}
}}

message Outer{number} {{
  message Inner {{}}
}}
"""


def test_a_class_is_not_hidden_by_one_of_a_file_that_nobody_imports(tmp_path: Path) -> None:
    (tmp_path / "used.proto").write_text(CONTRACT.format(number=1))
    (tmp_path / "beside.proto").write_text('syntax = "proto3"; package own; message Outer1Inner {}')
    (tmp_path / "elsewhere.proto").write_text('syntax = "proto3"; package other; message None {}')
    response = generate(compile_request([tmp_path], ["used.proto", "beside.proto", "elsewhere.proto"]))
    assert re.findall(r"PP\d+ .+", response.error) == [
        "PP704 message own.Outer1.Inner and own.Outer1Inner would both be the class Outer1Inner in betterproto2"
    ]


@pytest.mark.parametrize(
    ("library", "shared"),
    [
        (
            "betterproto2",
            [
                "a/sa_me.proto and a/sa-me.proto would both be generated as own/sa_me_protopact.py",
                "b/same.proto and a/same.proto would both be generated as own/same_protopact.py",
            ],
        ),
        ("google", ["a/sa_me.proto and a/sa-me.proto would both be generated as a/sa_me_protopact.py"]),
    ],
)
def test_two_files_do_not_share_a_module(tmp_path: Path, library: str, shared: list[str]) -> None:
    paths = ["a/same.proto", "b/same.proto", "a/sa-me.proto", "a/sa_me.proto"]
    for number, file in enumerate(paths):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(CONTRACT.format(number=number))
    response = generate(compile_request([tmp_path], paths, f"messages={library}"))
    assert re.findall(r"PP704 (.+)", response.error) == shared
