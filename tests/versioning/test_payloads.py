"""The payload rules: each folder of `payloads` is one row, before and after, and what is said of it.

`samples.json` holds messages as one contract writes them, each with what the other one should read, or null where
nothing of it means that: the row's claim is held against google's protobuf. `expected.txt` is written anew with
`UPDATE_GOLDENS=1 pytest tests/versioning`.
"""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, get_args

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.message_factory import GetMessageClass
from tests.versioning.conftest import compile_image
from tests.versioning.modules import load

from protopact import contract
from protopact.errors import PayloadError
from protopact.payload import PayloadConverter, Payloads
from protopact.payload.library import codec_of
from protopact_codegen.diagnostics import render
from protopact_codegen.options import MessageLibrary
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.difference import Difference
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.rules import PAYLOAD, Direction, Outcome
from protopact_codegen.versioning.settings import Clients, Deployment, Encoding, ServiceSettings, Settings
from protopact_codegen.versioning.sources import from_input

HERE = Path(__file__).parent / "payloads"
ROWS = sorted(folder.name for folder in HERE.iterdir())
VARIANTS = {"P22_closed": "P22b", "P24_new_first": "P24b"}
# What decides is not the format but the type in the payload's metadata, which google's protobuf alone has none of.
BY_TYPE = {"P40", "P40b", "P40c", "P41"}


Json: TypeAlias = dict[str, object]
Class: TypeAlias = type[Message]


def rule_of(row: str) -> str:
    return VARIANTS.get(row, row.partition("_")[0])


def images(row: str, folder: Path) -> tuple[Path, Path]:
    before, after = ((HERE / row / f"{name}.proto").read_text() for name in ("before", "after"))
    return compile_image(folder, "before", before), compile_image(folder, "after", after)


def order_class(image: Path) -> Class:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(image.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("shop.v1.Order"))


def parse(cls: Class, written: Json) -> Message:
    return json_format.ParseDict(written, cls())


def read(encoding: Encoding, writer: Message, reader: Class) -> Message:
    if encoding is Encoding.BINARY:
        return reader.FromString(writer.SerializeToString())
    return json_format.Parse(json_format.MessageToJson(writer), reader())


def known(message: Message) -> Message:
    """A message without what its contract does not know."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy


def outcome(encoding: Encoding, writer: Message, reader: Class, meant: Json | None) -> Outcome:
    try:
        got = known(read(encoding, writer, reader))
    except (DecodeError, EncodeError, json_format.ParseError):
        return Outcome.ERROR
    if not got.IsInitialized():
        return Outcome.ERROR  # other implementations refuse it on reading, and this one when it is written again
    return Outcome.SAME if meant is not None and got == parse(reader, meant) else Outcome.LOSS


@pytest.mark.parametrize("row", [row for row in ROWS if row not in BY_TYPE])
def test_a_row_is_true(row: str, tmp_path: Path) -> None:
    """Its samples are read as it says; where it says that something goes wrong, nothing else goes wrong.

    How a tolerant reader reads JSON is the runtime's own, and is measured below.
    """
    old, new = map(order_class, images(row, tmp_path))
    samples: dict[str, list[tuple[Json, Json | None]]] = json.loads((HERE / row / "samples.json").read_text())
    rule = PAYLOAD[rule_of(row)]
    measured: dict[tuple[Encoding, Direction], Outcome] = {}
    for encoding, direction in product((Encoding.BINARY, Encoding.STRICT_JSON), Direction):
        writer, reader = (old, new) if direction is Direction.FORWARD else (new, old)
        found = {
            outcome(encoding, parse(writer, written), reader, meant) for written, meant in samples[direction.value]
        } - {Outcome.SAME}
        assert len(found) <= 1, (encoding, direction)
        measured[encoding, direction] = next(iter(found), Outcome.SAME)
    said = {(encoding, direction): rule.outcomes[encoding][direction] for encoding, direction in measured}
    assert measured == said


def converted(encoding: Encoding, writer: Converter, written: Json, reader: Converter, meant: Json | None) -> Outcome:
    """What our reader makes of what our writer made."""
    payloads = writer.write(encoding, written)
    try:
        got = reader.read(payloads)
    except PayloadError:
        return Outcome.ERROR
    return (
        Outcome.SAME if meant is not None and reader.plain(got) == reader.plain(reader.parse(meant)) else Outcome.LOSS
    )


class Converter:
    """Reads and writes the request of a generated contract's workflow as the runtime does."""

    def __init__(self, module: ModuleType) -> None:
        service: contract.Service = module.ShopService.__protopact__()
        self._message = service.workflows[0].request
        self._codec = codec_of(self._message)

    def parse(self, plain: Json) -> object:
        return self._codec.from_json(json.dumps(plain).encode(), "sample")

    def plain(self, value: object) -> bytes:
        return self._codec.to_json(value, "sample")

    def write(self, encoding: Encoding, plain: Json) -> Payloads:
        converter = PayloadConverter("binary/protobuf" if encoding is Encoding.BINARY else "json/protobuf")
        return converter.to_payloads(self._message, self.parse(plain))

    def read(self, payloads: Payloads) -> object:
        return PayloadConverter().from_payloads(self._message, payloads)


@pytest.mark.parametrize(
    ("row", "library"),
    [
        (row, library)
        for row in ROWS
        for library in get_args(MessageLibrary)
        # betterproto2 knows neither proto2 nor editions
        if library == "google" or "proto3" in (HERE / row / "before.proto").read_text()
    ],
)
def test_a_row_is_true_of_the_runtime(
    row: str, library: MessageLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written by the one generated module is read by the other as the row says, in both message libraries.

    `wrote.proto` is an older release than the live one, whose payloads that one reads.
    """
    before, after = images(row, tmp_path)
    wrote = HERE / row / "wrote.proto"
    older = compile_image(tmp_path, "wrote", wrote.read_text()) if wrote.exists() else before
    samples: dict[str, list[tuple[Json, Json | None]]] = json.loads((HERE / row / "samples.json").read_text())
    measured: dict[tuple[str, str], str] = {}
    said: dict[tuple[str, str], str] = {}
    for direction in Direction:
        monkeypatch.setattr(contract, "_described", {})  # a process knows the aliases of all contracts in it
        written_by, read_by = (older, after) if direction is Direction.FORWARD else (after, before)
        writer, reader = (Converter(load(image, library, tmp_path)) for image in (written_by, read_by))
        for encoding in (Encoding.BINARY, Encoding.LENIENT_JSON):
            found = {
                converted(encoding, writer, written, reader, meant).value for written, meant in samples[direction.value]
            } - {"✓"}
            key = encoding.value, direction.value
            measured[key] = "".join(sorted(found)) or "✓"
            said[key] = PAYLOAD[rule_of(row)].outcomes[encoding][direction].value
    assert measured == said


@pytest.mark.parametrize("library", get_args(MessageLibrary))
def test_both_encodings_stay_readable(library: MessageLibrary, tmp_path: Path) -> None:
    """P45: whatever a worker writes, it reads what was written before."""
    module = Converter(load(images("P1", tmp_path)[0], library, tmp_path))
    (sample, _), *_ = json.loads((HERE / "P1/samples.json").read_text())["old→new"]
    readings = {module.plain(module.read(module.write(encoding, sample))) for encoding in Encoding}
    assert readings == {module.plain(module.parse(sample))}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_recognised_and_told(row: str, tmp_path: Path) -> None:
    before, after = images(row, tmp_path)
    contract = from_input(str(after))
    old = capture(from_input(str(before)))
    found = {change.rule for changes in Difference(old, capture(contract)).changes.values() for change in changes}
    assert rule_of(row) in found | BY_TYPE
    release = Release.of("v1", old)
    lines: list[str] = []
    for encoding, deployment, clients in product(Encoding, Deployment, Clients):
        settings = Settings(ServiceSettings((encoding,), deployment, clients))
        if deployment is not Deployment.ROLLING or clients is Clients.INSIDE:
            codes = sorted({finding.code.value for finding in check(contract, [release], settings)})
            who = "" if deployment is Deployment.ROLLING else f", clients {clients.value}"
            lines.append(f"{encoding.value}, {deployment.value}{who}: {', '.join(codes) or 'safe'}")
    for encoding in Encoding:
        told = render(check(contract, [release], Settings(ServiceSettings((encoding,)))))
        lines += [f"-- {encoding.value}, rolling", *told] if told else []
    text = "".join(f"{line}\n" for line in lines)
    golden = HERE / row / "expected.txt"
    if "UPDATE_GOLDENS" in os.environ:
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_rule_has_its_row() -> None:
    assert {rule_of(row) for row in ROWS} == set(PAYLOAD) - {"P0"}  # the worst is assumed
