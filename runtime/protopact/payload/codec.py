"""Codecs: bytes to bytes between the converter and the disk, for encryption or compression."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from protopact.errors import PayloadError
from protopact.payload.payload import PLAIN, Headers, Payload, Payloads

if TYPE_CHECKING:
    from protopact.history.failure import Failure

__all__ = ["CodecChain", "PayloadCodec"]

S = TypeVar("S", bound=msgspec.Struct)

_PLAIN_DETAILS = frozenset({"data", "patch-data"})


class PayloadCodec(ABC):
    """Turns payloads into other payloads, and back. Both ways get a batch and return as many, in the same order.

    An error that it raises means that the payloads cannot be written or read now: the operation is tried again.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Encode a batch. Set a metadata `encoding` of your own, so that `decode` knows what is yours."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Decode a batch. Return payloads that are not yours as they are."""


class CodecChain:
    """Codecs, applied in their order on the way to the disk and in the reverse order on the way back.

    A chain without codecs is false, and gives back what it is given.

    Args:
        codecs: The codecs, outermost last.
    """

    def __init__(self, codecs: Sequence[PayloadCodec] = ()) -> None:
        self._codecs = tuple(codecs)

    def __bool__(self) -> bool:
        return bool(self._codecs)

    async def encode(self, payloads: Payloads) -> Payloads:
        """Encode a batch of payloads, but for those that are not for codecs.

        Raises:
            PayloadError: A codec returned another number of payloads.
        """
        payloads, place = _without_plain(payloads)
        for codec in self._codecs if payloads else ():
            payloads = _same_number(codec, payloads, await codec.encode(payloads))
        return place(payloads)

    async def decode(self, payloads: Payloads) -> Payloads:
        """Decode a batch of payloads; see `encode`."""
        payloads, place = _without_plain(payloads)
        for codec in reversed(self._codecs) if payloads else ():
            payloads = _same_number(codec, payloads, await codec.decode(payloads))
        return place(payloads)

    async def encode_headers(self, headers: Headers) -> Headers:
        """Encode the values of headers or of a memo."""
        return dict(zip(headers, await self.encode(tuple(headers.values())), strict=True)) if headers else {}

    async def decode_headers(self, headers: Headers) -> Headers:
        """Decode the values of headers or of a memo."""
        return dict(zip(headers, await self.decode(tuple(headers.values())), strict=True)) if headers else {}

    async def encode_structs(self, structs: Sequence[S]) -> list[S]:
        """`structs` with every payload in them encoded, in one batch.

        Structs are events, attributes, commands and failures; payloads are inputs, results, details, memo and headers.
        Search attributes stay readable, for the engine finds runs by them; so does protopact's own part of a memo.
        """
        return await _apply(structs, self.encode) if self else list(structs)

    async def decode_structs(self, structs: Sequence[S]) -> list[S]:
        """`structs` with every payload in them decoded, in one batch; see `encode_structs`."""
        return await _apply(structs, self.decode) if self else list(structs)

    async def encode_failure(self, failure: Failure) -> Failure:
        """`failure` with the details of the whole chain of causes encoded."""
        return (await self.encode_structs([failure]))[0]

    async def decode_failure(self, failure: Failure) -> Failure:
        """`failure` with the details of the whole chain of causes decoded."""
        return (await self.decode_structs([failure]))[0]


def _without_plain(payloads: Payloads) -> tuple[Payloads, Callable[[Payloads], Payloads]]:
    """The payloads that codecs see, and what puts what becomes of them in their places."""
    coded = tuple(payload for payload in payloads if PLAIN not in payload.metadata)
    if len(coded) == len(payloads):
        return payloads, lambda done: done

    def place(done: Payloads) -> Payloads:
        rest = iter(done)
        return tuple(payload if PLAIN in payload.metadata else next(rest) for payload in payloads)

    return coded, place


def _same_number(codec: PayloadCodec, before: Payloads, after: Sequence[Payload]) -> Payloads:
    if len(before) != len(after):
        raise PayloadError(
            f"{type(codec).__module__}.{type(codec).__qualname__} was given {len(before)} payloads and returned "
            f"{len(after)}; a codec returns as many as it gets, in the same order"
        )
    return tuple(after)


async def _apply(structs: Sequence[S], transform: Callable[[Payloads], Awaitable[Payloads]]) -> list[S]:
    payloads: list[Payload] = []
    _collect(structs, payloads)
    if not payloads:
        return list(structs)
    transformed = iter(await transform(tuple(payloads)))
    return [_replace(struct, transformed) for struct in structs]


# What a struct holds is found by what it is: payloads, structs, mappings of payloads, sequences of them.
_Held: TypeAlias = Any


def _collect(value: _Held, payloads: list[Payload]) -> None:
    if isinstance(value, Payload):
        payloads.append(value)
    elif isinstance(value, msgspec.Struct):
        for name in _fields(type(value)):
            _collect(getattr(value, name), payloads)
    elif value is not None:
        for each in _values(value) if hasattr(value, "values") else value:
            _collect(each, payloads)


def _values(value: _Held) -> Iterator[_Held]:
    return (each for key, each in value.items() if not _is_plain(key, each))


def _is_plain(key: str, value: _Held) -> bool:
    """Whether it is a detail of a marker that Temporal Core writes and reads, and that no codec sees."""
    return key in _PLAIN_DETAILS and not isinstance(value, Payload)


def _replace(value: _Held, payloads: Iterator[Payload]) -> _Held:
    if isinstance(value, Payload):
        return next(payloads)
    if isinstance(value, msgspec.Struct):
        names = _fields(type(value))
        return msgspec.structs.replace(value, **{name: _replace(getattr(value, name), payloads) for name in names})
    if value is None:
        return None
    if hasattr(value, "values"):
        return {key: each if _is_plain(key, each) else _replace(each, payloads) for key, each in value.items()}
    return tuple(_replace(each, payloads) for each in value)


@cache
def _fields(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """Names of the fields of `cls` in which payloads may be."""
    return tuple(
        field.name
        for field in msgspec.structs.fields(cls)
        if field.name != "search_attributes" and _may_hold_payloads(field.type)
    )


def _may_hold_payloads(hint: object) -> bool:
    """Whether `hint` is a payload, payloads, headers, or a struct (of which any may hold payloads)."""
    arguments = typing.get_args(hint)
    if arguments:
        return any(map(_may_hold_payloads, arguments))
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)
