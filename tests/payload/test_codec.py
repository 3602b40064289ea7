"""A chain of codecs reaches every payload, in batches, and comes back."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard, get_args, get_origin

import msgspec
import pytest

from protopact.errors import PayloadError
from protopact.history import event, failure
from protopact.history.event import Event
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.history.time import Timestamp
from protopact.payload import CodecChain, Payload, PayloadCodec
from protopact.replay import command


class Marking(PayloadCodec):
    """Wraps payloads, and counts the batches."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.batches: list[int] = []

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        self.batches.append(len(payloads))
        return [Payload({"encoding": self.name}, msgspec.msgpack.encode(each)) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [
            msgspec.msgpack.decode(each.data, type=Payload) if each.metadata["encoding"] == self.name else each
            for each in payloads
        ]


class Zip(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [Payload({"encoding": b"binary/zip"}, zlib.compress(msgspec.msgpack.encode(each))) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [msgspec.msgpack.decode(zlib.decompress(each.data), type=Payload) for each in payloads]


class Dropping(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return payloads[1:]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return payloads[1:]


def plain(number: int) -> Payload:
    return Payload({"encoding": b"json/plain"}, str(number).encode())


def structs() -> list[type[msgspec.Struct]]:
    found = {
        cls
        for module in (event, failure, command)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, msgspec.Struct) and cls is not Payload
    }
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


Hint: TypeAlias = Any  # the type of a field
Value: TypeAlias = Any  # a value of such a type


def is_struct(hint: Hint) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def filled(hint: Hint, depth: int = 4) -> Value:
    """A value of a type, with a payload wherever one may be."""
    if hint is Payload:
        return plain(1)
    if is_struct(hint):
        fields = msgspec.structs.fields(hint)
        return hint(**{field.name: filled(field.type, depth - 1) for field in fields}) if depth else None
    origin: object = get_origin(hint)
    arguments = get_args(hint)
    if origin is tuple:
        return (plain(2), plain(3)) if arguments[0] is Payload else ()
    if origin is dict:
        return {"b": plain(4), "a": plain(5)} if arguments[1] is Payload else {}
    if arguments:  # a union: its first struct, or its first type
        return filled(arguments[0], depth)
    return hint() if isinstance(hint, type) else 0  # or a NewType of whole numbers


def payloads_in(value: Value, *, of_search_attributes: bool = False) -> list[Payload]:
    """Payloads within plain data, search attributes apart."""
    if isinstance(value, Payload):
        return [value]
    if isinstance(value, msgspec.Struct):
        names = [name for name in value.__struct_fields__ if (name == "search_attributes") == of_search_attributes]
        return [each for name in names for each in payloads_in(getattr(value, name))]
    items = value.values() if hasattr(value, "values") else value if hasattr(value, "index") else ()
    return [each for item in items for each in payloads_in(item)] if not isinstance(value, str) else []


@pytest.mark.parametrize("cls", structs(), ids=lambda cls: cls.__qualname__)
async def test_every_payload_of_every_struct_is_encoded(cls: type[msgspec.Struct]) -> None:
    value = filled(cls)
    codec = Marking("marked")
    chain = CodecChain([codec])
    (encoded,) = await chain.encode_structs([value])
    assert {each.metadata["encoding"] for each in payloads_in(encoded)} <= {b"marked"}
    assert payloads_in(encoded, of_search_attributes=True) == payloads_in(value, of_search_attributes=True)
    assert codec.batches == ([len(payloads_in(value))] if payloads_in(value) else [])
    assert await chain.decode_structs([encoded]) == [value]


async def test_structs_go_in_one_batch_and_keep_their_places() -> None:
    codec = Marking("marked")
    chain = CodecChain([codec])
    causes = Failure(
        "outer",
        ApplicationFailureInfo(details=(plain(3),)),
        cause=Failure("inner", ApplicationFailureInfo(details=(plain(4), plain(5)))),
    )
    history = [
        Event(1, Timestamp(0), event.WorkflowExecutionStarted(input=(plain(0),), memo={"b": plain(1), "a": plain(2)})),
        Event(2, Timestamp(0), event.WorkflowTaskScheduled(task_queue="q")),
        Event(3, Timestamp(0), event.WorkflowExecutionFailed(failure=causes)),
    ]
    encoded = await chain.encode_structs(history)
    assert codec.batches == [6]
    assert encoded[1] is not None
    assert await chain.decode_structs(encoded) == history
    assert [msgspec.msgpack.decode(each.data, type=Payload) for each in payloads_in(tuple(encoded))] == [
        plain(number) for number in range(6)
    ]
    assert await chain.decode_failure(await chain.encode_failure(causes)) == causes


async def test_the_chain_is_applied_in_order_and_undone_in_reverse() -> None:
    chain = CodecChain([Marking("inner"), Zip(), Marking("outer")])
    (encoded,) = await chain.encode((plain(1),))
    assert encoded.metadata["encoding"] == b"outer"
    assert await chain.decode((encoded,)) == (plain(1),)


async def test_headers() -> None:
    chain = CodecChain([Zip()])
    headers = {"trace": plain(1), "user": plain(2)}
    encoded = await chain.encode_headers(headers)
    assert list(encoded) == ["trace", "user"]
    assert encoded["trace"].metadata["encoding"] == b"binary/zip"
    assert await chain.decode_headers(encoded) == headers
    assert await chain.encode_headers({}) == {}


async def test_no_codecs_change_nothing() -> None:
    chain = CodecChain()
    assert not chain
    assert CodecChain([Zip()])
    value = Event(1, Timestamp(0), event.WorkflowExecutionStarted(input=(plain(0),)))
    assert (await chain.encode_structs([value]))[0] is value
    assert await chain.encode((plain(0),)) == (plain(0),)


async def test_a_codec_that_loses_payloads_is_refused() -> None:
    chain = CodecChain([Dropping()])
    with pytest.raises(PayloadError, match=r"test_codec\.Dropping was given 2 payloads and returned 1"):
        await chain.encode((plain(1), plain(2)))
    with pytest.raises(PayloadError, match="returns as many as it gets"):
        await chain.decode((plain(1), plain(2)))
