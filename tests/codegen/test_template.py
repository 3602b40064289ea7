from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from protopact_codegen.diagnostics import Code
from protopact_codegen.template import FieldKind, FieldPath, Literal, Template, TemplatePart, Uuid, parse

# A message that everybody has: strings, integers, enums, repeated and nested messages.
FIELD: Descriptor = FieldDescriptorProto.DESCRIPTOR


def shown(part: TemplatePart) -> str:
    match part:
        case Literal(text):
            return text
        case Uuid():
            return "<uuid>"
        case FieldPath() as path:
            return f"<{'|'.join([path.name, *(transform.value for transform in path.transforms)])}>"


def render(template: Template) -> list[str]:
    return [shown(part) for part in template.parts]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("constant", ["constant"]),
        ("node/{name}", ["node/", "<name>"]),
        ("{name}{number}", ["<name>", "<number>"]),
        ("{name|slug|lower}", ["<name|slug|lower>"]),
        ("{ name | upper }", ["<name|upper>"]),
        ("a{{b}}c{uuid}", ["a{b}c", "<uuid>"]),
        ("{{{name}}}", ["{", "<name>", "}"]),
        ("{{name}}", ["{name}"]),
        ("{.name}", ["<name>"]),
        ("höhe/{name}\n", ["höhe/", "<name>", "\n"]),
    ],
)
def test_templates(source: str, parts: list[str]) -> None:
    template, problems = parse(source, FIELD)
    assert not problems
    assert render(template) == parts
    assert template.source == source


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("{name", [Code.TEMPLATE_SYNTAX]),
        ("name}", [Code.TEMPLATE_SYNTAX]),
        ("{}", [Code.TEMPLATE_SYNTAX]),
        ("{name!r}", [Code.TEMPLATE_SYNTAX]),
        ("{1name}", [Code.TEMPLATE_SYNTAX]),
        ("{a..b}", [Code.TEMPLATE_SYNTAX]),
        ("{nãme}", [Code.TEMPLATE_SYNTAX]),
        ("{nam}", [Code.TEMPLATE_FIELD]),
        ("{name.first}", [Code.TEMPLATE_FIELD]),
        ("{name|}", [Code.TEMPLATE_TRANSFORM]),
        ("{name|title}", [Code.TEMPLATE_TRANSFORM]),
        ("{options.ctype}", [Code.TEMPLATE_MESSAGE]),
        ("{uuid|lower}", [Code.TEMPLATE_SYNTAX]),
        ("{{.Name}}", [Code.FOREIGN_TEMPLATE]),
        ("${name}", [Code.FOREIGN_TEMPLATE]),
        ("${! name }", [Code.FOREIGN_TEMPLATE, Code.TEMPLATE_SYNTAX]),
        ("{x}/{y|z}/}", [Code.TEMPLATE_FIELD, Code.TEMPLATE_TRANSFORM, Code.TEMPLATE_FIELD, Code.TEMPLATE_SYNTAX]),
    ],
)
def test_everything_wrong_is_said(source: str, codes: list[Code]) -> None:
    assert [problem.code for problem in parse(source, FIELD)[1]] == codes


def test_a_field_knows_its_kind() -> None:
    template, _ = parse("{name}{number}{type}{proto3_optional}", FIELD)
    fields = [part for part in template.parts if isinstance(part, FieldPath)]
    assert [path.kind for path in fields] == [FieldKind.STRING, FieldKind.INTEGER, FieldKind.ENUM, FieldKind.BOOL]
    assert fields[2].enum[:2] == ((1, "TYPE_DOUBLE"), (2, "TYPE_FLOAT"))
    assert all(path.optional for path in fields)


def test_a_mistyped_field_is_guessed() -> None:
    (problem,) = parse("{typeName}", FIELD)[1]
    assert problem.hint == "did you mean `type_name`?"


@given(st.text(alphabet="{}|.$! \n\tanmeuid_é1"))
def test_any_text_is_parsed(source: str) -> None:
    template, problems = parse(source, FIELD)
    assert all(problem.message and problem.hint for problem in problems)
    assert not any(
        isinstance(a, Literal) and isinstance(b, Literal)
        for a, b in zip(template.parts, template.parts[1:], strict=False)
    )


@given(
    st.lists(
        st.one_of(
            st.text(min_size=1).filter(lambda text: "{" not in text and "}" not in text and "$" not in text),
            st.sampled_from(["{{", "}}", "{name}", "{number|slug}", "{uuid}"]),
        )
    )
)
def test_well_formed_pieces_are_understood(pieces: list[str]) -> None:
    source = "".join(pieces)
    template, problems = parse(source, FIELD)
    assert [problem for problem in problems if problem.code is not Code.FOREIGN_TEMPLATE] == []
    marks = {"{{": "{", "}}": "}", "{name}": "<name>", "{number|slug}": "<number|slug>", "{uuid}": "<uuid>"}
    assert "".join(render(template)) == "".join(marks.get(piece, piece) for piece in pieces)
