"""What the converter accepts, refuses, and says; and that Temporal's stock converter reads and writes the same."""

from __future__ import annotations

import json
from types import NoneType
from typing import Any

import pytest
import temporalio.api.common.v1
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from temporalio.converter import DefaultPayloadConverter
from tests.payload import messages
from tests.payload.messages import PACKAGE, Library
from tests.payload.strategies import messages as random_messages
from tests.payload.test_oracle import slow_data

from protopact import contract
from protopact.errors import GeneratedCodeError, MessageMismatchError, PayloadError
from protopact.payload import Payload, PayloadConverter, Payloads

JSON = PayloadConverter()
BINARY = PayloadConverter("binary/protobuf")
WHERE = "request of acme.v1.S.Do"


@pytest.fixture(params=["google", "betterproto2"])
def library(request: pytest.FixtureRequest) -> Library:
    return messages.google() if request.param == "google" else messages.betterproto2()


def payload(encoding: str, data: bytes, message_type: str | None = None) -> Payload:
    metadata = {"encoding": encoding.encode()}
    if message_type is not None:
        metadata["messageType"] = message_type.encode()
    return Payload(metadata, data)


def test_a_message_is_one_payload_in_json(library: Library) -> None:
    message = library.message("Scalars")
    (written,) = JSON.to_payloads(message, message.type(string="é", int64=5, uint32=7))
    assert written.metadata == {"encoding": b"json/protobuf", "messageType": b"payload_test.v1.Scalars"}
    assert written.data == '{"int64":"5","string":"é","uint32":7}'.encode()


def test_a_message_is_one_payload_in_binary_by_setting(library: Library) -> None:
    message = library.message("Scalars")
    (written,) = BINARY.to_payloads(message, message.type(int32=5))
    assert written.metadata == {"encoding": b"binary/protobuf", "messageType": b"payload_test.v1.Scalars"}
    assert written.data == b"\x18\x05"


def test_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="encoding must be 'json/protobuf' or 'binary/protobuf', not 'json/plain'"):
        PayloadConverter("json/plain")  # type: ignore[arg-type]


@pytest.mark.parametrize("reader", [JSON, BINARY], ids=["json", "binary"])
@pytest.mark.parametrize("writer", [JSON, BINARY], ids=["json", "binary"])
def test_both_encodings_are_read_by_either_setting(
    library: Library, reader: PayloadConverter, writer: PayloadConverter
) -> None:
    message = library.message("Scalars")
    value = message.type(string="x", int64=-1)
    assert reader.from_payloads(message, writer.to_payloads(message, value)) == value


@pytest.mark.parametrize(
    "text", [b'{"int32":1}', b' {\n  "int32" : 1\n}\n', b'\t{"int32":"1"}', b'{"int32":1.0, "newer": {"a": [1]}}']
)
@pytest.mark.parametrize("message_type", [f"{PACKAGE}.Scalars", None, ""])
def test_variants_of_json_are_read(library: Library, text: bytes, message_type: str | None) -> None:
    message = library.message("Scalars")
    assert JSON.from_payloads(message, (payload("json/protobuf", text, message_type),)) == message.type(int32=1)


def test_unknown_fields_are_tolerated_and_kept_in_binary(library: Library) -> None:
    old, new = library.message("OldScalars"), library.message("Scalars")
    value = new.type(int32=1, string="newer")
    (written,) = BINARY.to_payloads(new, value)
    as_old = payload("binary/protobuf", written.data, old.name)
    read = BINARY.from_payloads(old, (as_old,))
    assert read.int32 == 1
    (again,) = BINARY.to_payloads(old, read)
    assert BINARY.from_payloads(new, (payload("binary/protobuf", again.data, new.name),)) == value


def test_unknown_names_of_enum_values_are_refused(library: Library) -> None:
    message = library.message("Scalars")
    with pytest.raises(PayloadError, match="Invalid enum value COLOR_NEWER"):
        JSON.from_payloads(message, (payload("json/protobuf", b'{"color": "COLOR_NEWER", "newer": 1}'),))


def test_unknown_numbers_of_enum_values_are_kept(library: Library) -> None:
    message = library.message("Scalars")
    payloads = (payload("json/protobuf", b'{"color":5}', message.name),)
    assert JSON.to_payloads(message, JSON.from_payloads(message, payloads)) == payloads


UNREADABLE: list[tuple[Payloads, str]] = [
    ((), "expected payload_test.v1.Scalars, found no payloads"),
    ((Payload(), Payload()), "expected payload_test.v1.Scalars, found 2 payloads"),
    ((payload("binary/null", b""),), r"expected payload_test.v1.Scalars, found a null \(binary/null\)"),
    (
        (payload("json/plain", b"{}"),),
        "found json/plain, which is no protobuf message; the writer must send the message of the",
    ),
    ((payload("binary/plain", b""),), "found binary/plain, which is no protobuf message"),
    ((Payload(),), "found a payload without an encoding"),
    ((payload("json/protobuf", b"{}", "acme.v1.Other"),), "expected payload_test.v1.Scalars, found acme.v1.Other"),
    ((payload("binary/protobuf", b"", "acme.v1.Other"),), "expected payload_test.v1.Scalars, found acme.v1.Other"),
]


@pytest.mark.parametrize(("payloads", "says"), UNREADABLE)
def test_another_payload_is_refused(library: Library, payloads: Payloads, says: str) -> None:
    with pytest.raises(MessageMismatchError, match=f"^{WHERE}: .*{says}"):
        JSON.from_payloads(library.message("Scalars"), payloads, WHERE)


UNDECODABLE: list[tuple[Payload, str]] = [
    (
        payload("binary/encrypted", b"x"),
        "in the encoding 'binary/encrypted', which no converter here reads; connect with",
    ),
    (payload("json/protobuf", b"{"), "in JSON, found another text: not JSON"),
    (payload("json/protobuf", b"{} {}"), "not JSON: more text after the value"),
    (payload("json/protobuf", b"\xff"), "not JSON: 'utf-8' codec can't decode"),
    (payload("json/protobuf", b"[" * 100_000), "not JSON"),
    (payload("json/protobuf", b'{"int32": 1, "int32": 2}'), "duplicate key 'int32'"),
    (payload("json/protobuf", b'{"int32": 2147483648}'), "field int32: Value out of range"),
    (payload("json/protobuf", b'{"string": 1}'), "field string: "),
    (payload("json/protobuf", b'{"string": "\\ud800"}'), "Unpaired surrogate"),
    (payload("json/protobuf", b'{"double": NaN}'), "field double: Couldn't parse NaN"),
    (payload("json/protobuf", b"[]"), r"expected a JSON object for payload_test.v1.Scalars, found \[\]"),
    (payload("binary/protobuf", b"\x18"), "expected a binary payload_test.v1.Scalars, found other bytes"),
    (payload("binary/protobuf", b"\x72\x01\xff"), "expected a binary payload_test.v1.Scalars, found other bytes"),
]


@pytest.mark.parametrize(("bad", "says"), UNDECODABLE)
def test_what_cannot_be_decoded_is_refused(library: Library, bad: Payload, says: str) -> None:
    with pytest.raises(PayloadError, match=f"^{WHERE}: .*(?:{says})") as refused:
        JSON.from_payloads(library.message("Scalars"), (bad,), WHERE)
    assert not isinstance(refused.value, MessageMismatchError)


def test_json_names_the_field_that_is_wrong(library: Library) -> None:
    text = b'{"inner": [{"number": 1}, {"again": {"inner": {"number": "one"}}}]}'
    with pytest.raises(PayloadError, match=r"field inner\.again\.inner\.number: "):
        JSON.from_payloads(library.message("Repeated"), (payload("json/protobuf", text),))


def test_json_is_not_read_deeper_than_binary(library: Library) -> None:
    message = library.message("Outer")
    deep = b"".join([b'{"inner":{"again":' * 60, b"{}", b"}}" * 60])
    with pytest.raises(PayloadError, match="Message too deep"):
        JSON.from_payloads(message, (payload("json/protobuf", deep),))


@pytest.mark.parametrize("converter", [JSON, BINARY], ids=["json", "binary"])
class TestWrongValues:
    def test_another_message(self, library: Library, converter: PayloadConverter) -> None:
        with pytest.raises(MessageMismatchError) as refused:
            converter.to_payloads(library.message("Scalars"), library.cls("Maps")(), WHERE)
        scalars, maps = library.cls("Scalars"), library.cls("Maps")
        library.message("Maps")
        assert str(refused.value) == (
            f"{WHERE}: expected payload_test.v1.Scalars ({scalars.__module__}.Scalars), "
            f"found payload_test.v1.Maps ({maps.__module__}.Maps)"
        )

    @pytest.mark.parametrize("value", [None, {}, {"int32": 1}, "text", 5])
    def test_no_message(self, library: Library, converter: PayloadConverter, value: object) -> None:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        with pytest.raises(MessageMismatchError, match=rf"found no message \({name}\)"):
            converter.to_payloads(library.message("Scalars"), value)

    def test_a_class(self, library: Library, converter: PayloadConverter) -> None:
        with pytest.raises(MessageMismatchError, match=r"pass a message, Scalars\(...\), not its class"):
            converter.to_payloads(library.message("Scalars"), library.cls("Scalars"))

    def test_the_other_librarys_class(self, library: Library, converter: PayloadConverter) -> None:
        other = messages.betterproto2() if library.name == "google" else messages.google()
        other.message("Scalars")
        with pytest.raises(MessageMismatchError) as refused:
            converter.to_payloads(library.message("Scalars"), other.cls("Scalars")())
        assert f"it is {other.name}'s class of it, and the contract was generated for {library.name}" in str(
            refused.value
        )


def test_a_required_field_of_proto2_is_required() -> None:
    message = messages.google().message("Required")
    for converter in (JSON, BINARY):
        with pytest.raises(PayloadError, match=r"Required lacks its required field name"):
            converter.to_payloads(message, message.type())
        with pytest.raises(PayloadError, match=r"Required lacks its required field name"):
            converter.from_payloads(message, (payload(converter.encoding, b"{}" if converter is JSON else b""),))


def test_a_timestamp_out_of_range_has_no_json() -> None:
    message = messages.google().message("google.protobuf.Timestamp")
    with pytest.raises(PayloadError, match=r"google.protobuf.Timestamp cannot be written as JSON"):
        JSON.to_payloads(message, message.type(seconds=10**15))


def test_an_any_of_an_unknown_type_has_no_json(library: Library) -> None:
    message = library.message("WellKnown")
    value = message.type(any=library.cls("Any")(type_url="type.googleapis.com/acme.v1.Unknown", value=b"x"))
    with pytest.raises(PayloadError, match=r"cannot be written as JSON: .*acme\.v1\.Unknown"):
        JSON.to_payloads(message, value)
    assert BINARY.from_payloads(message, BINARY.to_payloads(message, value)) == value


def test_unknown_fields_within_an_any_are_tolerated(library: Library) -> None:
    message = library.message("WellKnown")
    text = b'{"any": {"@type": "type.googleapis.com/payload_test.v1.OldScalars", "int32": 3, "newer": 1}}'
    read = JSON.from_payloads(message, (payload("json/protobuf", text),))
    assert read.any.value == b"\x18\x03"


def test_well_known_types_may_be_requests(library: Library) -> None:
    message = library.message("google.protobuf.Timestamp")
    value = message.type(seconds=1, nanos=5)
    (written,) = JSON.to_payloads(message, value)
    assert written.data == b'"1970-01-01T00:00:01.000000005Z"'
    assert JSON.from_payloads(message, (written,)) == value
    wrapped = library.message("google.protobuf.StringValue")
    (written,) = JSON.to_payloads(wrapped, wrapped.type(value="x"))
    assert (written.data, JSON.from_payloads(wrapped, (written,)).value) == (b'"x"', "x")
    document = library.message("google.protobuf.Struct")
    read = JSON.from_payloads(document, (payload("json/protobuf", b'{"b": [1, null], "a": {"c": true}}'),))
    assert JSON.to_payloads(document, read)[0].data == b'{"a":{"c":true},"b":[1.0,null]}'


EMPTY = "google.protobuf.Empty"


@pytest.mark.parametrize(
    "payloads",
    [
        (),
        (payload("binary/null", b""),),
        (payload("json/plain", b" null"),),
        (payload("json/protobuf", b"{}", EMPTY),),
        (payload("json/protobuf", b' { "newer": 1 } '),),
        (payload("binary/protobuf", b"", EMPTY),),
        (payload("binary/protobuf", b"\x08\x01", EMPTY),),
    ],
)
def test_empty_is_read_from_nothing_and_from_what_others_send(payloads: Payloads) -> None:
    JSON.from_payloads(contract.EMPTY, payloads)


@pytest.mark.parametrize(
    ("payloads", "says"),
    [
        ((payload("json/protobuf", b"{}", "acme.v1.Other"),), f"expected {EMPTY}, found acme.v1.Other"),
        ((payload("json/plain", b"1"),), f"expected {EMPTY}, found a value in json/plain"),
        ((payload("binary/null", b""), payload("binary/null", b"")), f"expected {EMPTY}, found 2 payloads"),
    ],
)
def test_empty_is_not_read_from_anything_else(payloads: Payloads, says: str) -> None:
    with pytest.raises(MessageMismatchError, match=f"^{WHERE}: {says}"):
        JSON.from_payloads(contract.EMPTY, payloads, WHERE)


def test_empty_writes_nothing() -> None:
    assert JSON.to_payloads(contract.EMPTY, None) == ()
    with pytest.raises(MessageMismatchError, match=f"{WHERE}: expected {EMPTY}"):
        JSON.to_payloads(contract.EMPTY, "x", WHERE)


def test_a_contract_of_other_messages_is_refused() -> None:
    google, betterproto2 = messages.google(), messages.betterproto2()
    wrong = contract.Message(f"{PACKAGE}.Scalars", google.cls("Maps"), google.schema)
    with pytest.raises(GeneratedCodeError, match=r"is not the class of this message that google's protobuf generates"):
        JSON.to_payloads(wrong, google.cls("Maps")())
    wrong = contract.Message(f"{PACKAGE}.Scalars", google.cls("Scalars"), betterproto2.schema)
    with pytest.raises(GeneratedCodeError, match=r"is no class that betterproto2 generates"):
        JSON.to_payloads(wrong, google.cls("Scalars")())
    wrong = contract.Message(f"{PACKAGE}.Scalars", betterproto2.cls("Maps"), betterproto2.schema)
    for _ in range(2):
        with pytest.raises(GeneratedCodeError, match=r"differ in the fields"):
            JSON.to_payloads(wrong, betterproto2.cls("Maps")())
    wrong = contract.Message("acme.v1.Unknown", betterproto2.cls("Maps"), betterproto2.schema)
    with pytest.raises(GeneratedCodeError, match=r"has no descriptor of it; generate the contract again"):
        JSON.to_payloads(wrong, betterproto2.cls("Maps")())


STOCK = DefaultPayloadConverter()


def to_temporal(payloads: Payloads) -> list[temporalio.api.common.v1.Payload]:
    return [temporalio.api.common.v1.Payload(metadata=each.metadata, data=each.data) for each in payloads]


def from_temporal(payloads: list[temporalio.api.common.v1.Payload]) -> Payloads:
    return tuple(Payload(dict(each.metadata), each.data) for each in payloads)


@given(value=random_messages(messages.google().cls("Everything")))
@slow_data
def test_temporals_converter_reads_what_we_write_and_writes_what_we_read(value: Message) -> None:
    message = messages.google().message("Everything")
    for converter in (JSON, BINARY):
        assert STOCK.from_payloads(to_temporal(converter.to_payloads(message, value))) == [value]
    stock = from_temporal(STOCK.to_payloads([value]))
    assert JSON.from_payloads(message, stock) == value
    (ours,) = JSON.to_payloads(message, value)
    assert ours.metadata == stock[0].metadata
    assert json.loads(ours.data) == json.loads(stock[0].data)


def test_empty_crosses_to_temporals_converter() -> None:
    assert STOCK.from_payloads(to_temporal(JSON.to_payloads(contract.EMPTY, None))) == []
    JSON.from_payloads(contract.EMPTY, from_temporal(STOCK.to_payloads([None])))
    JSON.from_payloads(contract.EMPTY, from_temporal(STOCK.to_payloads([messages.google().cls("Empty")()])))


class TestDetails:
    def test_values_and_messages(self, library: Library) -> None:
        message = library.message("Scalars")
        value = message.type(string="x")
        given: list[object] = [value, {"b": [1, 2.5, None, True], "a": "é"}, "text", 5, None, b"\x00\xff", [], False]
        payloads = JSON.to_details(given)
        assert [each.metadata["encoding"] for each in payloads] == [
            b"json/protobuf",
            *[b"json/plain"] * 3,
            b"binary/null",
            b"binary/plain",
            *[b"json/plain"] * 2,
        ]
        details = JSON.from_details(payloads)
        assert details.get(0, message.type) == value
        assert list(details)[1:] == given[1:]
        assert details[1:3] == tuple(given[1:3])
        assert details == JSON.from_details(payloads)
        assert len(details) == 8
        assert JSON.to_details(details) is payloads

    def test_temporals_converter_reads_them(self) -> None:
        value = messages.google().cls("Scalars")(string="x")
        given = [value, {"a": [1, None]}, "é", None, b"\xff"]
        assert STOCK.from_payloads(to_temporal(JSON.to_details(given))) == given
        details = JSON.from_details(from_temporal(STOCK.to_payloads(given)))
        assert [details.get(0, messages.google().cls("Scalars")), *details[1:]] == given

    def test_a_known_message_is_decoded_by_its_name(self) -> None:
        value = messages.google().cls("Required")(name="x")
        text = json_format.MessageToJson(value).encode()
        (read,) = JSON.from_details((payload("json/protobuf", text, f"{PACKAGE}.Required"),))
        assert read in (value, messages.betterproto2().cls("Required")(name="x"))

    def test_what_nobody_knows_stays_a_payload(self) -> None:
        unknown = (
            payload("json/protobuf", b"{}", "acme.v1.Unknown"),
            payload("json/protobuf", b"{", f"{PACKAGE}.Scalars"),
            payload("binary/encrypted", b"x"),
            payload("json/plain", b"{"),
            Payload(),
        )
        assert tuple(JSON.from_details(unknown)) == unknown

    def test_a_detail_is_read_as_what_is_asked_for(self) -> None:
        details = JSON.from_details(JSON.to_details([5, [1, 2], {"a": 1}, None]))
        assert details.get(0, int) == 5
        assert details.get(1, list[int]) == [1, 2]
        assert details.get(2, dict[str, int]) == {"a": 1}
        assert details.get(3, NoneType) is None
        assert details.get(0, object) == 5
        with pytest.raises(IndexError):
            details.get(4, int)

    def test_a_detail_of_another_type_is_refused(self, library: Library) -> None:
        scalars: type[Any] = library.message("Scalars").type
        details = JSON.from_details(JSON.to_details([5, scalars()]))
        with pytest.raises(MessageMismatchError, match=r"detail 0: the value is no str: Expected `str`, got"):
            details.get(0, str)
        with pytest.raises(MessageMismatchError, match=r"detail 0: expected payload_test.v1.Scalars, found json/plain"):
            details.get(0, scalars)
        with pytest.raises(MessageMismatchError, match=r"detail 1: expected int, found a payload_test.v1.Scalars"):
            details.get(1, int)
        with pytest.raises(
            MessageMismatchError, match=r"detail 1: expected payload_test.v1.Maps, found payload_test.v1.Sc"
        ):
            details.get(1, library.message("Maps").type)
        with pytest.raises(MessageMismatchError, match="found a payload of the encoding 'binary/encrypted'"):
            JSON.from_details((payload("binary/encrypted", b"x"),)).get(0, str)

    @pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), [object()]])
    def test_other_values_are_refused(self, value: object) -> None:
        with pytest.raises(PayloadError, match=r"detail 1: expected a message of an imported contract or a JSON value"):
            JSON.to_details(["x", value])

    def test_a_message_within_a_detail_is_checked(self) -> None:
        with pytest.raises(MessageMismatchError, match="field int32: expected int, found str 'x'"):
            JSON.to_details([messages.betterproto2().message("Scalars").type(int32="x")])
