"""What checkers of protobuf say of each change, beside what `protopact check` says: `python -m benchmarks.checkers`.

The changes are the folders that the tests have for each row. buf is the real one, asked for all of its categories at
once. Confluent's registry is a Java service that is not installed here: its rules are restated from its published
`SchemaDiff` (version 8.4), which compares messages by the numbers of fields, and knows neither JSON nor services; that
was compiled and run by hand on the same contracts, and said the same of each.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from tests.versioning import test_contracts, test_payloads
from tests.versioning.conftest import compile_image

from protopact_codegen.diagnostics import Code
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.rules import CONTRACT, PAYLOAD
from protopact_codegen.versioning.settings import Encoding, ServiceSettings, Settings
from protopact_codegen.versioning.snapshot import FieldFacts, Label, MessageFacts, Presence, Snapshot
from protopact_codegen.versioning.sources import from_input

BUF = Path(sys.executable).with_name("buf")
CATEGORIES = ("FILE", "PACKAGE", "WIRE_JSON", "WIRE")
ENCODINGS = (Encoding.BINARY, Encoding.LENIENT_JSON, Encoding.STRICT_JSON)
VERDICTS = {
    Code.BREAKING_CHANGE: "break",
    Code.UNPATCHED_CHANGE: "patch",
    Code.UNDRAINED_CHANGE: "drain",
    Code.UNRESERVED_FIELD: "reserve",
    Code.ROLLOUT_ORDER: "order",
    Code.UNSEEN_USE: "warn",
    Code.CHANGED_MEANING: "warn",
}

# -- Confluent


_GROUPS = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64", "bool", "enum"), "number"),
    **dict.fromkeys(("sint32", "sint64"), "signed"),
    **dict.fromkeys(("string", "bytes"), "text"),
    **dict.fromkeys(("fixed32", "sfixed32"), "fixed32"),
    **dict.fromkeys(("fixed64", "sfixed64"), "fixed64"),
}


def confluent(old: Snapshot, new: Snapshot, types: Container[str]) -> bool:
    """Whether the registry takes `new`, whose files hold `types`, for compatible with `old`: its mode BACKWARD."""
    if any(name not in types for name in old.messages):
        return False
    return all(_compatible(before, new.messages[name]) for name, before in old.messages.items() if name in new.messages)


def _compatible(old: MessageFacts, new: MessageFacts) -> bool:
    before, after = ({each.number: each for each in message.fields} for message in (old, new))
    both = [(before[number], after[number]) for number in before.keys() & after.keys()]
    if any(_shape(one) != _shape(other) for one, other in both):
        return False
    labels = [(_label(one), _label(other)) for one, other in both if _shape(one)[0] not in {"text", "message", "group"}]
    if any(one and other and one != other for one, other in labels):
        return False  # of numbers alone
    lone = [after[number] for number in after.keys() - before.keys()] + [
        before[number] for number in before.keys() - after.keys()
    ]
    if any(each.presence is Presence.REQUIRED for each in lone):
        return False
    oneofs = {each.oneof for each in new.fields if each.oneof}
    if any(each.oneof in oneofs and each.number not in after for each in old.fields):
        return False  # a case of a oneof that is still there
    for oneof in oneofs:
        moved = [one for one, other in both if other.oneof == oneof and not one.oneof]
        stayed = [one for one, other in both if other.oneof == oneof and one.oneof]
        if len(moved) > 1 or (moved and stayed):
            return False
    return True


def _shape(field: FieldFacts) -> tuple[str, str]:
    kind = field.type.kind
    if field.label is Label.MAP:
        return f"map {_GROUPS.get(field.type.key, field.type.key)}", _GROUPS.get(kind, field.type.name or kind)
    return _GROUPS.get(kind, kind), field.type.name if kind == "message" else ""


def _label(field: FieldFacts) -> str:
    """The label that a field has in the text, where it has one."""
    if field.label is not Label.SINGULAR:
        return "" if field.label is Label.MAP else "repeated"
    return {Presence.REQUIRED: "required", Presence.EXPLICIT: "" if field.oneof else "optional"}.get(field.presence, "")


# -- buf


def _categories() -> Mapping[str, frozenset[str]]:
    listed = subprocess.run(
        [BUF, "config", "ls-breaking-rules", "--format", "json"], capture_output=True, text=True, check=True
    )
    rules = [json.loads(line) for line in listed.stdout.splitlines()]
    return {rule["id"]: frozenset(rule["categories"]) for rule in rules}


def _buf(before: Path, after: Path, categories: Mapping[str, frozenset[str]]) -> set[str]:
    """The categories in which buf finds something."""
    config = json.dumps({"version": "v2", "breaking": {"use": CATEGORIES}})
    command = [str(BUF), "breaking", str(after), "--against", str(before), "--config", config, "--error-format", "json"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {category for line in said.splitlines() for category in categories[json.loads(line)["type"]]}


# -- the table


def _ours(row: str, before: Path, after: Path, encoding: Encoding) -> str:
    """What is said by the row's rule; the same edit may be told by other rules too."""
    new = from_input(str(after))
    settings = Settings(ServiceSettings((encoding,)))
    findings = check(new, [Release.of("v1", capture(from_input(str(before))))], settings)
    found = {finding.code for finding in findings if f" ({row}): " in finding.message}
    return next((word for code, word in VERDICTS.items() if code in found), "-")


def rows(folder: Path) -> Iterator[tuple[str, str, Path, Path]]:
    """The rows: name, what changes, before and after as images."""
    order = sorted((*PAYLOAD, *CONTRACT), key=lambda name: (name[0] != "P", int(re.sub(r"\D", "", name)), name))
    for name in order:
        where = folder / name
        if name in PAYLOAD and name in test_payloads.ROWS:
            texts = [(test_payloads.HERE / name / f"{when}.proto").read_text() for when in ("before", "after")]
        elif name in test_contracts.ROWS:
            texts = [test_contracts.text_of(name, when, "proto") for when in ("before", "after")]
        else:
            continue
        change = (PAYLOAD.get(name) or CONTRACT[name]).change
        before, after = (
            compile_image(where, when, text) for when, text in zip(("before", "after"), texts, strict=True)
        )
        yield name, change, before, after


def table() -> Iterator[str]:
    """The lines of the table, in Markdown."""
    yield (
        "| row | change | buf FILE | buf PACKAGE | buf WIRE_JSON | buf WIRE | Confluent | ours: binary | JSON "
        "| strict JSON |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    categories = _categories()
    missed, cried = Counter[str](), Counter[str]()
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, change, before, after in rows(Path(scratch)):
            count += 1
            made = from_input(str(after))
            old, new = capture(from_input(str(before))), capture(made)
            types = {each for source in made.sources.values() for each in source.type_names}
            buf = _buf(before, after, categories)
            theirs = {category: category in buf for category in CATEGORIES} | {
                "Confluent": not confluent(old, new, types)
            }
            ours = [_ours(name, before, after, encoding) for encoding in ENCODINGS]
            worst = any(verdict not in {"-", "order", "warn"} for verdict in ours)
            for who, refuses in theirs.items():
                missed[who] += worst and not refuses
                cried[who] += refuses and set(ours) == {"-"}
            cells = ["refused" if refuses else "-" for refuses in theirs.values()]
            yield f"| {name} | {change} | {' | '.join((*cells, *ours))} |"
    for words, counted in (
        ("refused by ours under some encoding, and not by it", missed),
        ("safe, and refused by it", cried),
    ):
        numbers = " | ".join(str(counted[who]) for who in (*CATEGORIES, "Confluent"))
        yield f"| | {words}, of {count} | {numbers} | | | |"


if __name__ == "__main__":
    print("\n".join(table()))
