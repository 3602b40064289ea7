"""Findings that a contract passes: what each finding spells passes it, where it belongs, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.versioning import test_contracts, test_payloads
from tests.versioning.conftest import HEADER, Compile, compile_image

from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.settings import Encoding, ServiceSettings, Settings
from protopact_codegen.versioning.sources import from_input

PAYLOADS = ("P3", "P4", "P5", "P7", "P22", "P23", "P30", "P40", "P40b")
CONTRACTS = (
    "C2",
    "C3b",
    "C3c",
    "C5",
    "C5b",
    "C6",
    "C6_others",
    "C14",
    "C17",
    "C23",
    "C23_handler",
    "C42",
    "C43",
    "C46",
    "C48",
    "C49",
)
SETTINGS = Settings(ServiceSettings((Encoding.BINARY, Encoding.STRICT_JSON)))
# Where an option of each kind stands: behind what the pattern matches.
HOMES = {
    "message": r"\nmessage \w+ \{",
    "enum": r"\nenum \w+ \{",
    "service": r"\n  option \(protopact\.v1\.service\) = \{",
    "method": r"\n  rpc [^{]+\{",
    "field": r"\n  (?:\w+ )+= \d+(?= \[|;)",
    "enum_value": r"\n  \w+ = \d+(?=;)",
}


def findings(new: Contract, old: Contract) -> list[Diagnostic]:
    return check(new, [Release.of("v1", capture(old))], SETTINGS, complete=True)


def texts(row: str) -> tuple[str, str]:
    if row in PAYLOADS:
        before, after = ((test_payloads.HERE / row / f"{when}.proto").read_text() for when in ("before", "after"))
        return before, after
    return test_contracts.text_of(row, "before", "proto"), test_contracts.text_of(row, "after", "proto")


def homes(text: str, allow: str, option: str) -> Iterator[str]:
    """The contract with the option in each place where one of its kind may stand."""
    for found in re.finditer(HOMES[option], text):
        head, tail = text[: found.end()], text[found.end() :]
        yield f"{head} {allow}{tail}" if option in {"field", "enum_value"} else f"{head}\n{allow}{tail}"


@pytest.mark.parametrize("row", [*PAYLOADS, *CONTRACTS])
def test_what_a_finding_spells_passes_it(row: str, tmp_path: Path) -> None:
    before, after = texts(row)
    old = from_input(str(compile_image(tmp_path, "before", before)))
    told = findings(from_input(str(compile_image(tmp_path, "after", after))), old)
    assert told
    finding = told[0]
    spelled = re.search(r"or, if no harm is done, `([^`]+)`(.*)$", finding.hint)
    assert spelled
    allow = spelled[1].replace('"..."', '"nobody minds"')
    option = re.search(r"\(protopact\.v1\.(\w+)\)", spelled[0])
    assert option
    rest = [each.message for each in told if each.message != finding.message]
    passed = 0
    for index, text in enumerate(homes(after, allow, option[1])):
        said = findings(from_input(str(compile_image(tmp_path, f"passed{index}", text))), old)
        if finding.message in {each.message for each in said}:
            assert Code.IDLE_ALLOW in {each.code for each in said}
        else:
            assert [each.message for each in said] == rest
            passed += 1
    assert passed == 1


SHOP = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) { option (protopact.v1.method).workflow = {}; }
}
message BuyRequest {}
message BuyResponse {}
"""
)
BUY = "option (protopact.v1.method).workflow = {}"


def test_a_service_that_is_gone_is_passed_by_a_file(image: Compile) -> None:
    old = from_input(str(image("old", SHOP)))
    moved = SHOP.replace("ShopService", "MartService").replace("rpc Buy", "rpc Sell")
    moved = moved.replace("BuyRe", "SellRe")
    (gone,) = findings(from_input(str(image("new", moved))), old)
    allow = 'option (protopact.v1.file).allow = {rule: "C2" releases: ["v1"] reason: "%s" element: "%s"};'
    assert allow % ("...", "shop.v1.ShopService.Buy") in gone.hint
    passing = moved.replace("service ", allow % ("shut", "shop.v1.ShopService.Buy") + "\nservice ", 1)
    assert findings(from_input(str(image("passed", passing))), old) == []
    other = moved.replace("service ", allow % ("shut", "shop.v1.ShopService.Sell") + "\nservice ", 1)
    codes = {finding.code for finding in findings(from_input(str(image("other", other))), old)}
    assert codes == {Code.UNDRAINED_CHANGE, Code.IDLE_ALLOW}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "",
            'id: "pay-first" since: "v1"',
            'change[0].since is "v1", and v1 was cut without the change',
        ),
        (
            'id: "pay-first" since: "v0"',
            'id: "pay-first" since: "v1"',
            'change[0].since is "v1", and v1 has the change since v0',
        ),
        (
            "",
            'id: "pay-first" since: "v2" covers: "Pay"',
            "change[0].covers names shop.v1.ShopService.Pay, which neither the contract nor a live release has",
        ),
    ],
    ids=["too late", "another release", "covers nothing"],
)
def test_a_change_that_says_otherwise_than_the_lock(before: str, after: str, said: str, image: Compile) -> None:
    contracts = [
        from_input(str(image(name, SHOP.replace(BUY, BUY.replace("{}", f"{{change: {{{text}}}}}" if text else "{}")))))
        for name, text in (("old", before), ("new", after))
    ]
    (finding,) = findings(contracts[1], contracts[0])
    assert finding.code is Code.CHANGE_RELEASE
    assert finding.message == f"workflow shop.v1.ShopService.Buy: (protopact.v1.method).workflow.{said}"


def test_what_passes_something_new_stays_in_use(image: Compile) -> None:
    """A later release has it too, and says nothing of it any more; the earlier one is live still."""
    workflow = BUY.replace("{}", '{update: {ref: "Add"}}')
    update = "  rpc Add(BuyRequest) returns (BuyResponse) { option (protopact.v1.method).update = {}; }\n"
    changed = SHOP.replace(BUY, workflow).replace("  rpc Buy", f"{update}  rpc Buy")
    allow = 'option (protopact.v1.method).allow = {rule: "C30" releases: ["v1"] reason: "..."};'
    passing = changed.replace(f"{workflow};", f"{workflow}; {allow}")
    old, new, passed = (
        from_input(str(image(name, text))) for name, text in (("old", SHOP), ("new", changed), ("passed", passing))
    )
    v1, v2 = Release.of("v1", capture(old)), Release.of("v2", capture(new))
    (told,) = check(new, [v1], SETTINGS, complete=True)
    assert allow in told.hint
    assert check(passed, [v1], SETTINGS, complete=True) == []
    assert check(new, [v1, v2], SETTINGS, complete=True) == []
    assert check(passed, [v1, v2], SETTINGS, complete=True) == []
    (idle,) = check(passed, [v2], SETTINGS, complete=True)
    assert idle.code is Code.IDLE_ALLOW
