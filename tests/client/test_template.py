"""Ids and search attributes that the contract computes from a request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.payload import messages
from tests.payload.messages import Library

from protopact import contract, template
from protopact.contract import Field, FieldKind, Template, Transform, Uuid
from protopact.errors import MessageMismatchError, TemplateError
from protopact.policy import SearchAttributeType

COLORS = ((0, "COLOR_UNSPECIFIED"), (1, "COLOR_RED"), (-3, "COLOR_NEGATIVE"))
SHADES = ((0, "SHADE_UNSPECIFIED"), (1, "SHADE_DARK"), (1, "SHADE_BLACK"))


@pytest.fixture(params=["google", "betterproto2"])
def library(request: pytest.FixtureRequest) -> Library:
    return messages.google() if request.param == "google" else messages.betterproto2()


def uuids() -> Callable[[], UUID]:
    numbers = iter(range(10))
    return lambda: UUID(int=next(numbers))


def render(request: object, *parts: str | Field | Uuid) -> str:
    return template.render(Template("the source", parts), request, where="workflow id of acme.v1.S.Do", uuid4=uuids())


def field(path: str, kind: FieldKind = FieldKind.STRING, *transforms: Transform, **more: Any) -> Field:  # noqa: ANN401 - a field's
    return Field(tuple(path.split(".")), path, kind, transforms=transforms, **more)


def test_text_fields_and_uuids(library: Library) -> None:
    request = library.cls("Scalars")(string="é x", int64=-5)
    parts = ("a/", field("string"), "{", field("int64", FieldKind.INTEGER), "}", Uuid(), "-", Uuid())
    assert render(request, *parts) == (
        "a/é x{-5}00000000-0000-0000-0000-000000000000-00000000-0000-0000-0000-000000000001"
    )


def test_numbers_booleans_and_enums_print_as_they_are_zero_included(library: Library) -> None:
    color = library.cls("Color")
    make = color if library.name == "betterproto2" else int
    for number, name in [(0, "COLOR_UNSPECIFIED"), (1, "COLOR_RED"), (-3, "COLOR_NEGATIVE"), (9, "9")]:
        request = library.cls("Scalars")(color=make(number), bool=bool(number), uint64=number % 7)
        parts = (field("color", FieldKind.ENUM, enum=COLORS), " ", field("bool", FieldKind.BOOL), " ")
        assert render(request, *parts, field("uint64", FieldKind.INTEGER)) == (
            f"{name} {'true' if number else 'false'} {number % 7}"
        )


def test_an_alias_of_an_enum_value_prints_its_first_name(library: Library) -> None:
    request = library.cls("Scalars")(shade=library.cls("Shade")(1) if library.name == "betterproto2" else 1)
    assert render(request, field("shade", FieldKind.ENUM, enum=SHADES)) == "SHADE_DARK"


@pytest.mark.parametrize(
    ("value", "text"), [("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb"), ("%", "%25"), ("ключ {x}", "ключ {x}")]
)
def test_what_would_look_like_structure_is_escaped(library: Library, value: str, text: str) -> None:
    assert render(library.cls("Scalars")(string=value), "a/%", field("string")) == f"a/%{text}"


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=2, max_size=2, unique=True))
def test_different_values_give_different_ids(values: list[tuple[str, str]]) -> None:
    http = messages.betterproto2().cls("HTTPRequest")
    ids = {render(http(from_=a, foo_bar=b), field("from_"), "/", field("foo_bar")) for a, b in values}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("transform", "value", "text"),
    [
        (Transform.LOWER, "AbÉ", "abé"),
        (Transform.UPPER, "abé", "ABÉ"),
        (Transform.SLUG, "  Hello, World_2! ", "hello-world-2"),
        (Transform.SLUG, "Crème brûlée/ﬁn", "creme-brulee-fin"),
        (Transform.SLUG, "Привет, мир", "привет-мир"),
    ],
)
def test_transforms(library: Library, transform: Transform, value: str, text: str) -> None:
    assert render(library.cls("Scalars")(string=value), field("string", FieldKind.STRING, transform)) == text


def test_transforms_are_applied_in_order(library: Library) -> None:
    request = library.cls("Scalars")(string="A b")
    assert render(request, field("string", FieldKind.STRING, Transform.SLUG, Transform.UPPER)) == "A-B"


def test_nested_fields(library: Library) -> None:
    request = library.cls("Presence")(inner=library.cls("Outer.Inner")(number=5))
    assert render(request, field("inner.number", FieldKind.INTEGER)) == "5"


UNSET: list[tuple[str, dict[str, Any], Field, str]] = [
    ("Scalars", {}, field("string"), "string, which is empty"),
    (
        "Scalars",
        {"string": "!!"},
        field("string", FieldKind.STRING, Transform.SLUG),
        "string, which is empty after slug",
    ),
    ("Presence", {}, field("string", optional=True), "string, which is unset"),
    ("Presence", {"string": ""}, field("string", optional=True), "string, which is empty"),
    ("Presence", {}, field("int32", FieldKind.INTEGER, optional=True), "int32, which is unset"),
    ("Presence", {}, field("inner.number", FieldKind.INTEGER), "inner.number, which is unset"),
    ("Choice", {"int32": 0}, field("string", optional=True), "string, which is unset"),
]


@pytest.mark.parametrize(("name", "values", "part", "says"), UNSET)
def test_what_is_unset_or_empty_is_an_error_that_names_the_field(
    library: Library, name: str, values: dict[str, Any], part: Field, says: str
) -> None:
    with pytest.raises(TemplateError) as refused:
        render(library.cls(name)(**values), "a/", part)
    assert str(refused.value) == f"workflow id of acme.v1.S.Do: the template 'the source' needs {says}"


def test_an_optional_zero_is_not_unset(library: Library) -> None:
    assert render(library.cls("Presence")(int32=0), field("int32", FieldKind.INTEGER, optional=True)) == "0"


@pytest.mark.parametrize(
    ("values", "part", "says"),
    [
        ({"string": 5}, field("string"), "field string: expected str, found int 5"),
        ({"int32": "5"}, field("int32", FieldKind.INTEGER), "field int32: expected int, found str '5'"),
        ({"int32": True}, field("int32", FieldKind.INTEGER), "field int32: expected int, found bool True"),
        ({"bool": 1}, field("bool", FieldKind.BOOL), "field bool: expected bool, found int 1"),
        ({"color": "x"}, field("color", FieldKind.ENUM, enum=COLORS), "field color: expected int, found str 'x'"),
    ],
)
def test_a_value_of_another_type_is_refused(values: dict[str, Any], part: Field, says: str) -> None:
    with pytest.raises(MessageMismatchError, match=f"^workflow id of acme.v1.S.Do: {says}"):
        render(messages.betterproto2().cls("Scalars")(**values), part)


def attributes(request: object, *found: contract.SearchAttribute) -> dict[str, Any]:
    workflow = contract.Workflow(
        name="acme.v1.S.Do",
        method="do",
        request=contract.EMPTY,
        response=contract.EMPTY,
        service="acme.v1.S",
        search_attributes=found,
    )
    return template.search_attributes(workflow, request, uuid4=uuids())


def attribute(name: SearchAttributeType, value: Template | tuple[str, ...]) -> contract.SearchAttribute:
    return contract.SearchAttribute(name.value, name, value)


def test_search_attributes_of_every_type(library: Library) -> None:
    if library.name == "google":
        time = library.cls("Timestamp")(seconds=1, nanos=5000)
    else:
        time = datetime(1970, 1, 1, 0, 0, 1, 5, UTC)
    request = library.cls("Everything")(
        scalars=library.cls("Scalars")(string="a/b", int64=5, double=0.5, bool=False, int32=7),
        repeated=library.cls("Repeated")(string=["x", ""]),
        well_known=library.cls("WellKnown")(time=time),
    )
    text = Template("{scalars.string}!", (field("scalars.string"), "!"))
    assert attributes(
        request,
        attribute(SearchAttributeType.KEYWORD, text),
        attribute(SearchAttributeType.TEXT, Template("{uuid}", (Uuid(),))),
        attribute(SearchAttributeType.INT, ("scalars", "int64")),
        attribute(SearchAttributeType.DOUBLE, ("scalars", "int32")),
        attribute(SearchAttributeType.BOOL, ("scalars", "bool")),
        attribute(SearchAttributeType.DATETIME, ("well_known", "time")),
        attribute(SearchAttributeType.KEYWORD_LIST, ("repeated", "string")),
    ) == {
        "Keyword": "a/b!",
        "Text": "00000000-0000-0000-0000-000000000000",
        "Int": 5,
        "Double": 7.0,
        "Bool": False,
        "Datetime": datetime(1970, 1, 1, 0, 0, 1, 5, UTC),
        "KeywordList": ("x", ""),
    }


def test_a_search_attribute_of_an_unset_field_is_not_set(library: Library) -> None:
    request = library.cls("Presence")()
    unset = Template("a{string}", ("a", field("string", optional=True)))
    assert (
        attributes(
            request,
            attribute(SearchAttributeType.KEYWORD, unset),
            attribute(SearchAttributeType.INT, ("int32",)),
            attribute(SearchAttributeType.BOOL, ("inner", "number")),
        )
        == {}
    )


def test_a_search_attribute_of_another_type_is_refused() -> None:
    request = messages.betterproto2().cls("Scalars")(int64="5")
    with pytest.raises(
        MessageMismatchError, match=r"^search attribute Int of acme.v1.S.Do: expected int, found str '5'"
    ):
        attributes(request, attribute(SearchAttributeType.INT, ("int64",)))
