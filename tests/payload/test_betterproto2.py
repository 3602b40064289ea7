"""What betterproto2 itself gets wrong, and what its values may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tests.payload import messages
from tests.payload.messages import PACKAGE, Class

from protopact.errors import MessageMismatchError, PayloadError
from protopact.payload import Payload, PayloadConverter

JSON = PayloadConverter()
BINARY = PayloadConverter("binary/protobuf")


def cls(name: str) -> Class:
    return messages.betterproto2().cls(name)


def written(name: str, **fields: object) -> bytes:
    message = messages.betterproto2().message(name)
    (payload,) = JSON.to_payloads(message, message.type(**fields))
    assert JSON.from_payloads(message, (payload,)) == message.type(**fields)
    (binary,) = BINARY.to_payloads(message, message.type(**fields))
    assert BINARY.from_payloads(message, (binary,)) == message.type(**fields)
    return payload.data


def read(name: str, data: bytes, encoding: str = "json/protobuf") -> Any:  # noqa: ANN401 - a generated class
    message = messages.betterproto2().message(name)
    return JSON.from_payloads(message, (Payload({"encoding": encoding.encode()}, data),))


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=-1.5), b"-1.500s"),
        (timedelta(microseconds=-1), b"-0.000001s"),
        (timedelta(seconds=-1), b"-1s"),
        (timedelta(days=-1, microseconds=1), b"-86399.999999s"),
        (timedelta(0), b"0s"),
        (timedelta(seconds=315_576_000_000), b"315576000000s"),
    ],
)
def test_durations_keep_their_sign(duration: timedelta, text: bytes) -> None:
    assert written("WellKnown", duration=duration) == b'{"duration":"' + text + b'"}'
    assert written("Repeated", duration=[duration]) == b'{"duration":["' + text + b'"]}'
    assert written("Maps", string_duration={"a": duration}) == b'{"stringDuration":{"a":"' + text + b'"}}'


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), b"1969-12-31T23:59:59.999999Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), b"1970-01-01T00:00:00Z"),
        (datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), b"2020-01-01T00:00:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), b"0001-01-01T00:00:00Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), b"9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_instants(time: datetime, text: bytes) -> None:
    assert written("WellKnown", time=time) == b'{"time":"' + text + b'"}'


def test_what_is_finer_than_a_microsecond_is_cut_off_on_reading() -> None:
    found = read("WellKnown", b'{"time": "1969-12-31T23:59:59.999999999Z", "duration": "-1.999999999s"}')
    assert found.time == datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)
    assert found.duration == timedelta(seconds=-1, microseconds=-999_999)


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("time", b"\x0a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("time", b"\x0a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("duration", b"\x12\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ],
)
def test_times_that_are_none_are_refused(field: str, data: bytes) -> None:
    with pytest.raises(PayloadError, match=f"field {field}: no valid "):
        read("WellKnown", data, "binary/protobuf")


def test_names_in_json_are_the_contracts() -> None:
    assert written("HTTPRequest", class_="a", from_="b", foo_bar="c", x2y="d", http_code="e") == (
        b'{"HTTPCode":"e","fooBar":"c","from":"b","klass":"a","x2y":"d"}'
    )


def test_well_known_types_in_json_are_protobufs() -> None:
    mask, value = cls("FieldMask")(paths=["foo_bar"]), cls("Value")(number_value=1)
    assert written("WellKnown", mask=mask, value=value, int64=5, string="", bool=False, double=0.5, bytes=b"\xff") == (
        b'{"bool":false,"bytes":"/w==","double":0.5,"int64":"5","mask":"fooBar","string":"","value":1.0}'
    )


def test_presence_is_kept() -> None:
    assert written("Presence", int32=0, string="", bool=False, outer=cls("Outer")(), color=cls("Color")(0)) == (
        b'{"bool":false,"color":"COLOR_UNSPECIFIED","int32":0,"outer":{},"string":""}'
    )
    assert written("Presence") == b"{}"


def test_deprecated_fields_warn_nobody_who_only_reads() -> None:
    assert read("HTTPRequest", b'{"old": "x"}').old == "x"


def test_maps_are_read_in_the_order_of_their_keys() -> None:
    text = b'{"stringInt32": {"b": 1, "c": 2, "a": 3, "\xc3\xa9": 4}, "int64Outer": {"10": {}, "9": {}, "-1": {}}}'
    found = read("Maps", text)
    assert list(found.string_int32) == ["a", "b", "c", "é"]
    assert list(found.int64_outer) == [-1, 9, 10]


def test_defaults_of_proto2() -> None:
    assert read("Two", b"{}").number == 7
    assert read("Two", b'{"number": 0}').number == 0
    assert JSON.to_payloads(messages.betterproto2().message("Two"), cls("Two")())[0].data == b'{"number":0}'


def test_unknown_numbers_of_closed_enums_are_kept_aside() -> None:
    message = messages.betterproto2().message("Two")
    payloads = (Payload({"encoding": b"binary/protobuf", "messageType": f"{PACKAGE}.Two".encode()}, b"\x10\x05"),)
    found = BINARY.from_payloads(message, payloads)
    assert found.closed == cls("Closed")(0)
    assert BINARY.to_payloads(message, found) == payloads


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("Scalars", {"int32": "5"}, "field int32: expected int, found str '5'"),
    ("Scalars", {"int32": True}, "field int32: expected int, found bool True"),
    ("Scalars", {"int32": 1.0}, "field int32: expected int, found float 1.0"),
    ("Scalars", {"int32": None}, "field int32: expected int, found None"),
    ("Scalars", {"bool": 1}, "field bool: expected bool, found int 1"),
    ("Scalars", {"string": b"x"}, "field string: expected str, found bytes b'x'"),
    ("Scalars", {"string": 5}, "field string: expected str, found int 5"),
    ("Scalars", {"bytes": "x"}, "field bytes: expected bytes, found str 'x'"),
    ("Scalars", {"bytes": bytearray(b"x")}, "field bytes: expected bytes, found builtins.bytearray"),
    ("Scalars", {"double": "x"}, "field double: expected float, found str 'x'"),
    ("Scalars", {"double": True}, "field double: expected float, found bool True"),
    ("Scalars", {"color": 1}, r"field color: expected \S+.Color, found int 1"),
    ("Scalars", {"string": 10**50}, "found int 1000000000000000000000000000000000000000..."),
    ("Presence", {"outer": {}}, r"field outer: expected payload_test.v1.Outer \(\S+.Outer\), found builtins.dict"),
    ("Repeated", {"int32": [1, "2"]}, r"field int32\[1\]: expected int, found str '2'"),
    ("Repeated", {"int32": 1}, "field int32: expected list, found int 1"),
    ("Repeated", {"string": "text"}, "field string: expected list, found str 'text'"),
    ("Repeated", {"inner": [None]}, r"field inner\[0\]: expected payload_test.v1.Outer.Inner"),
    ("Repeated", {"time": [5]}, r"field time\[0\]: expected a datetime, found int 5"),
    ("Repeated", {"wrapped": [b"x"]}, r"field wrapped\[0\]: expected str, found bytes b'x'"),
    ("Maps", {"string_int32": {5: 1}}, r"field string_int32\[5\]: expected str, found int 5"),
    ("Maps", {"string_int32": {"a": "b"}}, r"field string_int32\['a'\]: expected int, found str 'b'"),
    ("Maps", {"string_int32": [("a", 1)]}, "field string_int32: expected dict, found builtins.list"),
    ("Maps", {"bool_color": {1: None}}, r"field bool_color\[1\]: expected bool, found int 1"),
    ("WellKnown", {"duration": 5}, "field duration: expected a timedelta, found int 5"),
    ("WellKnown", {"time": datetime(2020, 1, 1)}, "expected a datetime with a time zone, found 2020-01-01T00:00:00"),  # noqa: DTZ001
    ("WellKnown", {"int64": "5"}, "field int64: expected int, found str '5'"),
    ("Choice", {"int32": 1, "string": "x"}, "field string: the field int32 of the same oneof choice is set too"),
]


@pytest.mark.parametrize(("name", "fields", "says"), WRONG)
def test_a_value_of_another_type_is_refused(name: str, fields: dict[str, Any], says: str) -> None:
    message = messages.betterproto2().message(name)
    for converter in (JSON, BINARY):
        with pytest.raises(MessageMismatchError, match=rf"^request of acme.v1.S.Do: payload_test.v1.{name}: .*{says}"):
            converter.to_payloads(message, message.type(**fields), "request of acme.v1.S.Do")


def test_the_whole_message_is_checked() -> None:
    outer, inner = cls("Outer"), cls("Outer.Inner")
    deep = cls("Presence")(outer=outer(inner=inner(again=outer(inner=inner(number="5")))))
    with pytest.raises(MessageMismatchError, match=r"field outer\.inner\.again\.inner\.number: expected int"):
        JSON.to_payloads(messages.betterproto2().message("Presence"), deep)
    for fields, path in [
        (
            {"repeated": cls("Repeated")(inner=[inner(), inner(again=inner())])},
            r"repeated\.inner\[1\]\.again: expected",
        ),
        ({"maps": cls("Maps")(int64_outer={7: outer(inner=outer())})}, r"maps\.int64_outer\[7\]\.inner: expected"),
        ({"choice": cls("Choice")(outer=inner())}, r"choice\.outer: expected payload_test.v1.Outer "),
        ({"scalars": cls("Scalars")(color=cls("Shade")(1))}, r"scalars\.color: expected \S+\.Color, found Shade"),
    ]:
        with pytest.raises(MessageMismatchError, match=f"field {path}"):
            JSON.to_payloads(messages.betterproto2().message("Everything"), cls("Everything")(**fields))


IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("Scalars", {"int32": 2**31}, "field int32: Value out of range"),
    ("Scalars", {"uint32": -1}, "field uint32: Value out of range"),
    ("Scalars", {"int64": 2**63}, "field int64: Value out of range"),
    ("Scalars", {"uint64": 2**64}, "field uint64: Value out of range"),
    ("Scalars", {"float": 1e39}, r"field float: 1e\+39 is too large for a float of 32 bits"),
    ("Scalars", {"string": "\ud800"}, "field string: .*surrogates not allowed"),
    ("Repeated", {"int32": [1, 2**31]}, r"field int32\[1\]: Value out of range"),
    ("Repeated", {"string": ["\ud800"]}, r"field string\[0\]: .*surrogates not allowed"),
    ("Maps", {"int32_bytes": {2**31: b""}}, r"field int32_bytes\[2147483648\]: Value out of range"),
    ("WellKnown", {"duration": timedelta.max}, "field duration: .* is longer than a Duration can be"),
    (
        "WellKnown",
        {"time": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
        "is not within the years 1 to 9999",
    ),
    ("WellKnown", {"uint32": 2**32}, "field uint32: Value out of range"),
]


@pytest.mark.parametrize(("name", "fields", "says"), IMPOSSIBLE)
def test_a_value_that_the_field_cannot_hold_is_refused(name: str, fields: dict[str, Any], says: str) -> None:
    message = messages.betterproto2().message(name)
    for converter in (JSON, BINARY):
        with pytest.raises(PayloadError, match=says) as refused:
            converter.to_payloads(message, message.type(**fields))
        assert not isinstance(refused.value, MessageMismatchError)


def test_a_closed_enum_takes_its_own_values_only() -> None:
    message = messages.betterproto2().message("Two")
    with pytest.raises(PayloadError, match="field closed: invalid enumerator 5"):
        JSON.to_payloads(message, message.type(closed=cls("Closed")(5)))


def test_a_message_that_holds_itself_is_refused() -> None:
    message = messages.betterproto2().message("Outer")
    outer = message.type(inner=cls("Outer.Inner")())
    outer.inner.again = outer
    for converter in (JSON, BINARY):
        with pytest.raises(PayloadError, match="Outer is nested too deeply, or holds itself"):
            converter.to_payloads(message, outer)


def test_whole_numbers_are_floats_as_in_python() -> None:
    message = messages.betterproto2().message("Scalars")
    assert JSON.to_payloads(message, message.type(double=1, float=2))[0].data == b'{"double":1.0,"float":2.0}'


def test_text_that_is_not_utf8_is_refused_in_proto2_too() -> None:
    with pytest.raises(PayloadError, match="field text: expected text in UTF-8, found bytes"):
        read("Two", b"\x2a\x01\xff", "binary/protobuf")
