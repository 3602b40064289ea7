"""Every row of the table of changes, P1 to P45 and C1 to C49, and what shows it true."""

from __future__ import annotations

import re

import pytest
from tests.versioning import test_contracts, test_payloads
from tests.versioning.schema import ROOT

from protopact_codegen.checkplugin.rules import is_breaking
from protopact_codegen.diagnostics import Code
from protopact_codegen.versioning.rules import CONTRACT, PAYLOAD, Direction
from protopact_codegen.versioning.settings import Encoding

PAYLOADS = [f"P{number}" for number in range(1, 46)]
CONTRACTS = [f"C{number}" for number in range(1, 50)]

ELSEWHERE = {
    "P45": "test_payloads.py: test_both_encodings_stay_readable",
    "C47": "what is generated is goldens of tests/corpus, and histories that were recorded replay: tests/replay",
}
"""Rows that are no folder of edits, and where they are shown."""

CODE = {
    "C7": "which calls the code makes is not in the contract",
    "C8": "in which order the code calls is not in the contract",
    "C10": "whether the code calls an activity locally is not in the contract",
    "C11": "the id of an activity is the code's or a number",
    "C33": "what an update's handler does is not in the contract",
    "C37": "what the code upserts is not in the contract",
    "C38": "timers are the code's: between no timer and one",
    "C39": "timers are the code's",
    "C45": "whether the code completes or fails is not in the contract",
}
"""Rows that need a declared change, which the check cannot see; replay does, and the check says nothing."""

SAFE = {
    *("C4", "C9", "C12", "C16", "C20", "C29", "C32", "C34", "C36", "C40", "C44"),
}
"""Rows that are safe, or follow the rows of their payloads."""

HANDED_OVER = {"C1", "C22", "C27", "C30"}
"""Rows that ask for workers before clients, which no history shows: `test_handover.py` does."""

REASONED = {
    "C13": "lint refuses it, and a server does; no run has ever had neither time-out",
    "C14": "histories replay: attempts wait on a queue that nobody polls, and nothing fails",
    "C15": "histories replay: runs wait on a queue that nobody polls, and nothing fails",
    "C17": "histories replay: look-ups miss a run, and a second one starts",
    "C28": "queries are in no history: an older client is told that there is no such query",
    "C49": "histories replay: an update that is sent again is done twice",
    "C46": "histories replay: the code that goes on with a run is what differs, and no contract shows it",
}
"""Rows whose harm no payload and no history shows: what follows from how queues, ids, queries and versions work."""

WITHOUT_BETTERPROTO2 = {
    *("P2_extension", "P10_extension", "P21", "P22_closed", "P35b", "P42", "P43", "P44", "P44_enum", "P44_type"),
}
"""Rows of proto2 and editions, which betterproto2 does not know."""


def test_what_older_writes_are_lost_by_has_a_way_out() -> None:
    """An order of deployment is none."""
    for rule in PAYLOAD.values():
        assert rule.hint or not any(each[Direction.FORWARD].bad for each in rule.outcomes.values()), rule.name


def test_every_code_of_a_comparison_is_on_the_page() -> None:
    """Those of PP8xx, and the warnings of the check; the other warnings are lint's."""
    text = (ROOT / "docs/versioning.md").read_text()
    codes = {code.value for code in Code if code.value.startswith("PP8") or is_breaking(code)}
    assert len(codes) > 12
    assert codes - set(re.findall(r"PP\d{3}", text)) == set()


def folders(rows: list[str], row: str) -> list[str]:
    return [each for each in rows if re.fullmatch(rf"{row}[b-d]?(?:_\w+)?", each)]


def lines(row: str) -> list[str]:
    return [
        line
        for folder in folders(test_contracts.ROWS, row)
        for line in (test_contracts.HERE / folder / "expected.txt").read_text().splitlines()
    ]


@pytest.mark.parametrize("row", PAYLOADS)
def test_payload_rows(row: str) -> None:
    assert bool(folders(test_payloads.ROWS, row)) is (row not in ELSEWHERE)
    assert (row in PAYLOAD) is (row not in ELSEWHERE)


@pytest.mark.parametrize("row", CONTRACTS)
def test_contract_rows(row: str) -> None:
    assert bool(folders(test_contracts.ROWS, row)) is (row not in ELSEWHERE)
    if row in SAFE:
        assert "rolling: safe" in lines(row)
        assert not any("Error" in line for line in lines(row) if "; strictly" not in line)
    elif row in CODE:
        assert "rolling: safe" in lines(row)
        assert any(line.startswith("replay of ") and "Error: " in line for line in lines(row))
    elif row == "C13":
        assert lines(row)[0] == "the contract is refused"
    elif row == "C25":
        assert any(line.startswith("rolling: PP801") for line in lines(row))  # by the row of its payload
    elif row not in ELSEWHERE:
        assert row in CONTRACT
        assert any(re.match(rf"rolling: .*PP\d+ {row}\b", line) for line in lines(row))


def test_no_rule_is_without_a_row() -> None:
    assert {rule.rstrip("bcd") for rule in (*PAYLOAD, *CONTRACT)} <= {"P0", *PAYLOADS, *CONTRACTS}


def test_what_is_shown_and_what_is_reasoned_are_counted() -> None:
    """Of the rows: told under every encoding and deployment, measured with both libraries, replayed, or reasoned."""
    told = {each: (test_payloads.HERE / each / "expected.txt").read_text() for each in test_payloads.ROWS}
    replayed = {each: (test_contracts.HERE / each / "expected.txt").read_text() for each in test_contracts.ROWS}
    for name, text in told.items():
        settings = re.findall(
            r"^(\S+(?: strict| lenient)?), (rolling|(?:in-place|pinned), clients \w+): ", text, re.MULTILINE
        )
        assert len(set(settings)) == len(Encoding) * 5, name
    for name, text in replayed.items():
        deployments = set(re.findall(r"^(rolling|(?:in-place|pinned), clients \w+): ", text, re.MULTILINE))
        assert len(deployments) == (0 if name == "C13" else 5), name
        assert ("\nreplay of " in text) is (name != "C13"), name
    proto2 = {name for name in told if "proto3" not in (test_payloads.HERE / name / "before.proto").read_text()}
    assert proto2 == WITHOUT_BETTERPROTO2
    harmless = {row for row in CONTRACTS if row in SAFE or row in ELSEWHERE}
    shown = {row for row in CONTRACTS if any("Error: " in line for line in lines(row) if line.startswith("replay of "))}
    assert {*CONTRACTS} - harmless - shown == REASONED.keys() | HANDED_OVER
    print(  # noqa: T201 - with -s
        f"{len(PAYLOADS) + len(CONTRACTS)} rows, {len(told) + len(replayed)} edits: {len(told)} of payloads, measured "
        f"in every encoding and told under {len(Encoding) * 5} settings, {len(told) - len(proto2)} of them with both "
        f"libraries; {len(replayed) - 1} of contracts, replayed and told under 5 deployments; {len(shown)} rows of "
        f"contracts break a history; harm that is reasoned only, {len(REASONED)}:"
    )
    for row, reason in REASONED.items():
        print(f"    {row}: {reason}")  # noqa: T201 - as above
