"""Versions made real: what is generated for them, payloads that one writes and another reads, histories that replay."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from tests.versioning.conftest import compile_image
from tests.versioning.evolution import Enum, Field, Rpc, Step, Version
from tests.versioning.modules import load

from protopact import ProtopactError, workflow
from protopact.activity import Activities
from protopact.contract import Activity, Service
from protopact.contract import Message as Described
from protopact.engine import WorkflowRef
from protopact.errors import PayloadError
from protopact.history import History
from protopact.payload import PayloadConverter, Payloads
from protopact.replay import Replayer
from protopact.testing import Environment
from protopact.workflow import Workflow
from protopact_codegen.contract import Contract
from protopact_codegen.names import snake_case
from protopact_codegen.options import MessageLibrary
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.settings import Encoding
from protopact_codegen.versioning.sources import from_input

__all__ = ["Built", "LossError"]

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


# Generated classes that are loaded here, their values, and the descriptors of two implementations have no types.
_Any: TypeAlias = Any


FULL = 0.8
"""The share of fields that a sample has."""


class LossError(Exception):
    """What was read is not what was written; the message says where."""


class Built:
    """A version, compiled, generated and imported.

    Values are google's messages, whose descriptors say what they mean; the payloads between two versions are written
    and read, and histories recorded and replayed, with the messages of `library`.
    """

    def __init__(
        self,
        version: Version,
        folder: Path,
        name: str,
        library: MessageLibrary = "google",
        *,
        shuffled: Random | None = None,
    ) -> None:
        self.version = version
        self._folder = folder
        self._image = compile_image(folder, name, version.files(shuffled))
        self._library: MessageLibrary = library

    @cached_property
    def contract(self) -> Contract:
        return from_input(str(self._image))

    def release(self, name: str, after: tuple[str, ...] = ()) -> Release:
        return Release.of(name, capture(self.contract), after)

    @cached_property
    def _module(self) -> ModuleType:
        return load(self._image, "google", self._folder)

    @cached_property
    def _elements(self) -> dict[str, Any]:  # Any: elements of every kind, by the rpc's name in the contract
        return _elements_of(self._module)

    @cached_property
    def _code(self) -> ModuleType:
        return self._module if self._library == "google" else load(self._image, self._library, self._folder)

    @cached_property
    def _served(self) -> dict[str, Any]:  # Any: as above
        return _elements_of(self._code)

    def _said(self, name: str, value: Message, *, request: bool = True) -> _Any:
        """A value as a message of the library."""
        if self._library == "google":
            return value
        element = self._served[name]
        return (element.request if request else element.response).type.parse(value.SerializeToString())

    # -- payloads

    def has(self, rpc: Rpc) -> bool:
        """Whether anybody answers an rpc: a handler may have no workflow."""
        return snake_case(rpc.name) in self._elements

    def sample(
        self, rpc: Rpc, random: Random, *, request: bool, fullness: float = FULL, wanted: set[int] | None = None
    ) -> Message:
        """A request or a response of an rpc, filled at random: whole, or only the fields of these ids."""
        message: Message = self._described(self._elements, rpc, request=request).type()
        if wanted is None:
            return fill(random, message, fullness=fullness)
        leads = {each.id for each in self.version.messages if self._holds(each.id, wanted)}
        return self._fill_only(random, message, wanted, leads, 5)

    def _holds(self, message: int, wanted: set[int]) -> bool:
        types = map(self.version.find, self.version.reached(message))
        return any(each.id in wanted for type_ in types if not isinstance(type_, Enum) for each in type_.fields)

    def _fill_only(self, random: Random, message: Message, wanted: set[int], leads: set[int], depth: int) -> Message:
        described = next(each for each in self.version.messages if each.name == message.DESCRIPTOR.name)
        for each in described.fields:
            if each.id in wanted or each.label == "required":
                if random.random() < FULL or each.label == "required":
                    fill_field(random, message, message.DESCRIPTOR.fields_by_name[each.name], 1, FULL)
            elif each.type in leads and depth:
                if each.label == "map":
                    inner = getattr(message, each.name)["a"]
                elif each.label == "repeated":
                    inner = getattr(message, each.name).add()
                else:
                    inner = getattr(message, each.name)
                    inner.SetInParent()
                self._fill_only(random, inner, wanted, leads, depth - 1)
        return message

    def write(self, rpc: Rpc, value: Message, encoding: Encoding, *, request: bool) -> Payloads:
        converter = PayloadConverter("binary/protobuf" if encoding is Encoding.BINARY else "json/protobuf")
        described = self._described(self._served, rpc, request=request)
        return converter.to_payloads(described, self._said(snake_case(rpc.name), value, request=request))

    def read(self, rpc: Rpc, payloads: Payloads, encoding: Encoding, *, request: bool) -> Message:
        """What was written.

        Raises:
            LossError: It cannot be read.
        """
        known: Described[Message] = self._described(self._elements, rpc, request=request)
        try:
            got: Any = PayloadConverter().from_payloads(self._described(self._served, rpc, request=request), payloads)
            read: Message = got if self._library == "google" else known.type.FromString(bytes(got))
            if encoding is Encoding.STRICT_JSON:  # as Temporal's own converter reads it
                read = json_format.Parse(payloads[0].data, known.type())
        except (PayloadError, DecodeError, json_format.ParseError) as error:
            raise LossError(str(error)) from error
        if not read.IsInitialized():
            raise LossError("something required is missing")
        return read

    @staticmethod
    def _described(elements: dict[str, Any], rpc: Rpc, *, request: bool) -> Described[Any]:
        element = elements[snake_case(rpc.name)]
        found: Described[Any] = element.request if request else element.response
        return found

    # -- histories

    def _classes(self) -> list[type[Workflow]]:
        return [self._workflow(rpc) for rpc in self.version.of_kind("workflow")]

    def _workflow(self, rpc: Rpc) -> type[Workflow]:
        service = self._code.ShopService
        steps = [self._step(rpc, step) for step in rpc.steps]

        async def run(self: _Any, request: object) -> object:
            for step in steps:
                await step(self)
            return response

        response = self._least(snake_case(rpc.name), request=False)
        members: dict[str, object] = {"run": run}
        for handler in filter(None, map(self.version.rpc, rpc.handles)):
            if handler.kind != "signal":
                name = snake_case(handler.name)
                members[name] = _answer(self._least(name, request=False), is_async=handler.kind == "update")
        base = getattr(service, rpc.name)
        made: type[Workflow] = type(base)(rpc.name, (base,), members)
        return made

    def _least(self, name: str, *, request: bool) -> _Any:
        """A message with what it must have."""
        element = self._elements[name]
        return self._said(name, minimal((element.request if request else element.response).type), request=request)

    def _step(self, rpc: Rpc, step: Step) -> Callable[[Any], Awaitable[None]]:
        act = self._act(rpc, step)
        state = rpc.changes.get(step.change)
        if not step.change or state is None:
            return act

        async def changed(run: _Any) -> None:
            taken = getattr(run.changed, snake_case(step.change))()
            if taken or state == "deprecated":
                await act(run)

        return changed

    def _act(self, rpc: Rpc, step: Step) -> Callable[[Any], Awaitable[None]]:
        service, target = self._code.ShopService, self.version.rpc(step.target)
        requests = {name: self._least(name, request=True) for name in self._elements}

        async def act(run: _Any) -> None:
            if step.what == "sleep":
                await workflow.sleep(10)
            elif target is None:
                return
            elif step.what == "receive":
                if target.id in rpc.handles:
                    await getattr(run, snake_case(target.name)).receive()
            else:
                name = snake_case(target.name)
                request = requests[name]
                if step.what == "child":
                    await getattr(service, target.name).execute_child(request)
                else:
                    await getattr(service, name)(request)

        return act

    async def _record(self, encoding: Encoding, random: Random) -> list[History]:
        service = self._code.ShopService
        activities = [self._activities(service)] if self.version.of_kind("activity") else []
        binary = encoding is Encoding.BINARY
        async with (
            Environment(encoding="binary/protobuf" if binary else "json/protobuf") as env,
            env.worker(workflows=self._classes(), activities=activities),
        ):
            client = service.Client(env)
            for rpc in self.version.of_kind("workflow"):
                start = getattr(client, f"start_{snake_case(rpc.name)}")
                handle = await start(self._filled(random, rpc), id=f"run-{rpc.id}")
                for handler in filter(None, map(self.version.rpc, rpc.handles)):
                    times = sum(step.target == handler.id for step in rpc.steps) if handler.kind == "signal" else 1
                    for _ in range(times):
                        await getattr(handle, snake_case(handler.name))(self._filled(random, handler))
            histories: list[History] = []
            await env.sleep(timedelta(hours=1))
            async for run in env.list_workflows():
                ref, events = await env.workflow_history(WorkflowRef(run.workflow_id, run.run_id))
                histories.append(History(events, workflow_id=ref.workflow_id, run_id=ref.run_id))
            return histories

    def _filled(self, random: Random, rpc: Rpc) -> _Any:
        name = snake_case(rpc.name)
        return self._said(name, fill(random, self._elements[name].request.type()))

    def _activities(self, service: _Any) -> Activities:
        described: Service = service.__protopact__()

        def method(element: Activity[Any, Any]) -> Callable[..., object]:
            async def act(_self: object, _request: object) -> object:
                again = Random(element.name)  # noqa: S311 - the same ones again
                filled = fill(again, self._elements[element.method].response.type())
                return self._said(element.method, filled, request=False)

            return act

        members = {each.method: method(each) for each in described.activities}
        base = service.Activities
        made: Activities = type(base)("Acts", (base,), members)()
        return made

    def record(self, encoding: Encoding, random: Random) -> list[History]:
        """Run every workflow, and take their histories."""
        return asyncio.run(self._record(encoding, random))

    def replay(self, histories: Sequence[History]) -> None:
        """Replay histories.

        Raises:
            LossError: One of them does not replay.
        """
        classes = self._classes()
        for history in histories:
            try:
                Replayer(workflows=classes, strict=False).replay(history)
            except ProtopactError as error:
                raise LossError(f"{type(error).__name__}: {error}") from error


def _elements_of(module: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    service: Service = module.ShopService.__protopact__()
    for each in service.workflows:
        found |= {each.method: each} | {query.method: query for query in each.queries}
        found |= {ref.signal.method: ref.signal for ref in each.signals}
        found |= {ref.update.method: ref.update for ref in each.updates}
    return found | {each.method: each for each in service.activities}


def _answer(response: object, *, is_async: bool) -> Callable[..., object]:
    async def update(_run: object, _request: object) -> object:
        return response

    def query(_run: object, _request: object) -> object:
        return response

    return update if is_async else query


# -- values


def fill(random: Random, message: Message, depth: int = 2, fullness: float = FULL) -> Message:
    """Fill a message with random values, and that share of the fields that may be unset."""
    for each in message.DESCRIPTOR.fields:
        if (random.random() < fullness or each.is_required) and (depth or each.message_type is None):
            fill_field(random, message, each, depth, fullness)
    return message


def fill_field(random: Random, message: Message, each: _Any, depth: int, fullness: float) -> None:
    """Fill one field of a message."""
    if each.is_repeated and each.message_type is not None and each.message_type.GetOptions().map_entry:
        entries = getattr(message, each.name)
        entry = each.message_type.fields_by_name["value"]
        for key in ("a", "b")[: random.randint(1, 2)]:
            if entry.message_type is not None:
                fill(random, entries[key], depth - 1, fullness)
            else:
                entries[key] = _value(random, entry)
    elif each.is_repeated:
        for _ in range(random.randint(1, 2)):
            if each.message_type is not None:
                fill(random, getattr(message, each.name).add(), depth - 1, fullness)
            else:
                getattr(message, each.name).append(_value(random, each))
    elif each.message_type is not None:
        getattr(message, each.name).SetInParent()
        fill(random, getattr(message, each.name), depth - 1, fullness)
    else:
        setattr(message, each.name, _value(random, each))


def minimal(cls: type[Message]) -> Message:
    """A message with what it must have."""
    made = cls()
    for each in made.DESCRIPTOR.fields:
        if each.is_required:
            setattr(made, each.name, _value(Random(each.name), each))  # noqa: S311 - the same one again
    return made


def _value(random: Random, each: _Any) -> object:
    if each.enum_type is not None:
        return random.choice(each.enum_type.values).number
    if each.cpp_type in _INTEGERS:
        low, high = _INTEGERS[each.cpp_type]
        return random.choice((low, high, 1, random.randint(low, high), random.randint(0, 100)))
    if each.type == FieldDescriptor.TYPE_BYTES:
        return random.choice((b"text", b"\xff\xfe", b"12"))
    if each.type == FieldDescriptor.TYPE_STRING:
        return random.choice(("text", "12", "é", ""))
    if each.type == FieldDescriptor.TYPE_BOOL:
        return True
    values = (1.5, -2.0, 1e30, 0.1, -0.0, math.inf, math.nan)
    return random.choice(values if each.type == FieldDescriptor.TYPE_FLOAT else (*values, 1e300, 0.1234567890123))


# -- meaning


def compare(written: Message, writer: tuple[Version, int], read: Message, reader: tuple[Version, int]) -> None:
    """Compare what was read with what was written, by what fields and values are, not by what they are called.

    Raises:
        LossError: They differ.
    """
    old, new = writer[0].message(writer[1]), reader[0].message(reader[1])
    by_number = writer[1] != reader[1]  # another message of the same shape
    known = {each.number if by_number else each.id: each for each in old.fields}
    for each in new.fields:
        before = known.get(each.number if by_number else each.id)
        got = _plain(read, each)
        if before is None:
            if got and (not read.DESCRIPTOR.fields_by_name[each.name].has_presence or read.HasField(each.name)):
                raise LossError(f"{new.name}.{each.name} is {got}, and nobody wrote it")
        elif not _same(_plain(written, before), (writer[0], before), got, (reader[0], each)):
            raise LossError(
                f"{new.name}.{each.name} is {got!r:.80}, and was written as {_plain(written, before)!r:.80}"
            )
    for oneof in {each.oneof for each in new.fields if each.oneof} & {each.oneof for each in old.fields}:
        if written.WhichOneof(oneof) and not read.WhichOneof(oneof):
            raise LossError(f"{new.name}.{oneof} has no case")


def _plain(message: Message, each: Field) -> list[_Any]:
    value: Any = getattr(message, each.name)
    if each.label == "map" and not each.oneof:
        return [found for _, found in sorted(value.items())]
    if each.label == "repeated":
        return list(value)
    if message.DESCRIPTOR.fields_by_name[each.name].message_type is not None:
        return [value] if message.HasField(each.name) else []
    return [value] if value else []


def _same(wrote: list[_Any], writer: tuple[Version, Field], got: list[_Any], reader: tuple[Version, Field]) -> bool:
    wrote, got = ([each for each in values if _is_something(each)] for values in (wrote, got))
    if len(wrote) != len(got):
        return False
    return all(_same_value(a, writer, b, reader) for a, b in zip(wrote, got, strict=True))


def _is_something(value: object) -> bool:
    return bool(value) or isinstance(value, Message)


def _same_value(a: _Any, writer: tuple[Version, Field], b: _Any, reader: tuple[Version, Field]) -> bool:
    types = writer[1].type, reader[1].type
    kinds = [
        version.find(each) if isinstance(each, int) else None
        for version, each in zip((writer[0], reader[0]), types, strict=True)
    ]
    if isinstance(a, Message) and isinstance(b, Message):
        compare(a, (writer[0], int(types[0])), b, (reader[0], int(types[1])))
        return True
    if isinstance(kinds[0], Enum) and isinstance(kinds[1], Enum) and types[0] == types[1]:
        return isinstance(a, int) and isinstance(b, int) and _same_member(a, kinds[0], b, kinds[1])
    if isinstance(a, float) and isinstance(b, float):
        # JSON has the shortest decimal that is the float, which is another double.
        is_near = set(types) == {"float", "double"} and abs(a - b) <= 1e-6 * abs(a)
        return a == b or is_near or (math.isnan(a) and math.isnan(b))
    if isinstance(a, str) and isinstance(b, bytes):
        return a.encode() == b
    if isinstance(b, str) and not isinstance(a, str):
        return str(a) == b
    return bool(a == b)


def _same_member(a: int, old: Enum, b: int, new: Enum) -> bool:
    wrote = next((each.id for each in old.values if each.number == a), None)
    got = next((each.id for each in new.values if each.number == b), None)
    if wrote is None or all(each.id != wrote for each in new.values):
        return a == b and got is None
    return wrote == got


def pairs(old: Version, new: Version) -> Iterator[tuple[Rpc, Rpc]]:
    """The rpcs that are in both versions, and still of one kind."""
    for rpc in old.rpcs:
        other = new.rpc(rpc.id)
        if other is not None and other.kind == rpc.kind:
            yield rpc, other
