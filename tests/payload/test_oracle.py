"""Both libraries, both encodings, against google's own implementation."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payload import messages
from tests.payload.messages import PACKAGE
from tests.payload.strategies import messages as random_messages

from protopact.errors import PayloadError
from protopact.payload import Encoding, Payload, PayloadConverter

JSON = PayloadConverter("json/protobuf")
BINARY = PayloadConverter("binary/protobuf")
MICROSECOND = 1000
Class: TypeAlias = Any
Document: TypeAlias = Any
TYPES = [
    "Everything",
    "Scalars",
    "Presence",
    "Choice",
    "Repeated",
    "Maps",
    "WellKnown",
    "Two",
    "HTTPRequest",
    "Extendable",
]

# Random messages of many fields take long to make and to shrink.
slow_data = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def payload(encoding: Encoding, name: str, data: bytes) -> Payload:
    return Payload({"encoding": encoding.encode(), "messageType": f"{PACKAGE}.{name}".encode()}, data)


def google_reads(name: str, data: bytes) -> Document:
    """What google's reader makes of binary `data`, required fields checked; None when it refuses."""
    try:
        message = messages.google().cls(name).FromString(data)
    except DecodeError:
        return None
    return message if message.IsInitialized() else None


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@slow_data
def test_json_is_googles(name: str, data: st.DataObject) -> None:
    message = messages.google().message(name)
    value = data.draw(random_messages(message.type))
    (written,) = JSON.to_payloads(message, value)
    expected = json_format.MessageToDict(value)
    assert json.loads(written.data) == expected
    assert list(json.loads(written.data)) == sorted(expected)
    assert json_format.Parse(written.data, message.type()) == value
    assert JSON.from_payloads(message, (written,)) == value


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@slow_data
def test_every_spelling_that_google_writes_is_read(name: str, data: st.DataObject) -> None:
    message = messages.google().message(name)
    value = data.draw(random_messages(message.type))
    text = json_format.MessageToJson(
        value,
        preserving_proto_field_name=data.draw(st.booleans()),
        indent=data.draw(st.sampled_from([None, 0, 2])),
        use_integers_for_enums=data.draw(st.booleans()),
        always_print_fields_with_no_presence=data.draw(st.booleans()),
        ensure_ascii=data.draw(st.booleans()),
    )
    assert JSON.from_payloads(message, (payload("json/protobuf", name, text.encode()),)) == value


@pytest.mark.parametrize("name", [each for each in TYPES if each != "Extendable"])
@pytest.mark.parametrize("converter", [JSON, BINARY], ids=lambda converter: converter.encoding)
@given(data=st.data())
@slow_data
def test_betterproto2_reads_and_writes_what_google_does(
    name: str, converter: PayloadConverter, data: st.DataObject
) -> None:
    google, betterproto2 = messages.google().message(name), messages.betterproto2().message(name)
    value = data.draw(random_messages(google.type, finest=MICROSECOND))
    if name == "Two":  # betterproto2 does not know whether a field of proto2 is set
        for field, held in value.ListFields():
            if field.has_presence and held == field.default_value:
                value.ClearField(field.name)
    payloads = converter.to_payloads(google, value)
    read = converter.from_payloads(betterproto2, payloads)
    assert type(read) is betterproto2.type
    assert converter.to_payloads(betterproto2, read) == payloads


@given(data=st.data())
@slow_data
def test_what_betterproto2_writes_itself_is_read_by_it(data: st.DataObject) -> None:
    google, betterproto2 = messages.google().message("Presence"), messages.betterproto2().message("Presence")
    value = data.draw(random_messages(google.type))
    read = BINARY.from_payloads(betterproto2, BINARY.to_payloads(google, value))
    assert betterproto2.type.parse(value.SerializeToString()) == read


def json_values() -> st.SearchStrategy[Any]:
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.floats(),
        st.sampled_from(
            [
                "COLOR_RED",
                "CLOSED_B",
                "2020-01-01T00:00:00Z",
                "1.5s",
                "-1.5s",
                "fooBar,a",
                "",
                "1",
                "-1",
                "01",
                "1.0",
                "1e2",
                " 1",
                "1_0",
                "true",
                "NaN",
                "Infinity",
                "AQ==",
                "AQ",
                "_-8=",
                "\ud800",
            ]
        ),
        st.text(max_size=3),
    )
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    )


@pytest.mark.parametrize("name", ["Scalars", "Presence", "Choice", "Repeated", "Maps", "WellKnown", "Two"])
@given(data=st.data())
@settings(slow_data, max_examples=60)
def test_json_is_accepted_as_google_accepts_it(name: str, data: st.DataObject) -> None:
    message = messages.google().message(name)
    fields = message.type.DESCRIPTOR.fields
    names = st.sampled_from([spelling for field in fields for spelling in (field.name, field.json_name)])
    document = data.draw(st.dictionaries(names, json_values(), min_size=1, max_size=2))
    strict = json_reads(message.type, document)
    lenient = json_reads(message.type, document, ignore_unknown_fields=True)
    try:
        read = JSON.from_payloads(message, (payload("json/protobuf", name, json.dumps(document).encode()),))
    except PayloadError as error:
        refusal = str(error)
        # google takes a list without elements for an object
        assert strict is None or "expected a JSON object" in refusal
    else:
        assert str(read) == str(lenient)  # for a NaN is not equal to itself


def json_reads(cls: Class, document: Document, *, ignore_unknown_fields: bool = False) -> Document:
    """What google's reader makes of a JSON document; None when it refuses."""
    try:
        return json_format.Parse(json.dumps(document), cls(), ignore_unknown_fields=ignore_unknown_fields)
    except json_format.ParseError:
        return None


@pytest.mark.parametrize("name", ["Everything", "Two", "Required", "Extendable"])
@given(data=st.data())
@settings(slow_data, max_examples=60)
def test_malformed_binary_is_refused_as_google_refuses_it(name: str, data: st.DataObject) -> None:
    google, betterproto2 = messages.google().message(name), messages.betterproto2().message(name)
    good = data.draw(random_messages(google.type, finest=MICROSECOND)).SerializePartialToString()
    cut = data.draw(st.integers(0, len(good)))
    bad = good[:cut] + data.draw(st.binary(max_size=4)) + good[data.draw(st.integers(cut, len(good))) :]
    expected = google_reads(name, bad)
    payloads = (payload("binary/protobuf", name, bad),)
    if expected is None:
        for message in (google, betterproto2):
            with pytest.raises(PayloadError):
                BINARY.from_payloads(message, payloads)
        return
    assert str(BINARY.from_payloads(google, payloads)) == str(expected)
    try:
        read = BINARY.from_payloads(betterproto2, payloads)
    except PayloadError as error:
        refusal = str(error)
        # A Timestamp or a Duration, or text of proto2, that Python's classes cannot hold.
        assert re.search("no valid|expected text in UTF-8", refusal)
        return
    (written,) = BINARY.to_payloads(betterproto2, read)
    assert len(google_reads(name, written.data).SerializeToString(deterministic=True)) <= len(
        expected.SerializeToString(deterministic=True)
    )
