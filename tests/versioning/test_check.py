"""`protopact check` and the plugin's `lock=`: what is told of elements, roles and releases, and how."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from tests.versioning.conftest import HEADER, Answer, Compile, Protopact, git

from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Code, Severity
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import Lock, Release
from protopact_codegen.versioning.settings import (
    Clients,
    Deployment,
    Encoding,
    ServiceSettings,
    Settings,
    SettingsError,
)
from protopact_codegen.versioning.snapshot import Snapshot
from protopact_codegen.versioning.sources import from_input

# Any: fastjsonschema comes without types.
SARIF: Any = import_module("fastjsonschema").compile(
    json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text()), use_default=False
)

SHOP = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {
      id: "buy/{item}" versioning_behavior: VERSIONING_BEHAVIOR_PINNED
      signal: {ref: "Stop"} query: {ref: "Look"} update: {ref: "Add"}
    };
  }
  rpc Ship(ShipRequest) returns (ShipResponse) {
    option (protopact.v1.method).workflow = {};
  }
  rpc Pay(PayRequest) returns (PayResponse) {
    option (protopact.v1.method).activity = {start_to_close_timeout: {seconds: 60}};
  }
  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Look(LookRequest) returns (LookResponse) { option (protopact.v1.method).query = {}; }
  rpc Add(AddRequest) returns (AddResponse) { option (protopact.v1.method).update = {}; }
}
message BuyRequest { string item = 1; }
message BuyResponse { string text = 1; }
message ShipRequest { string text = 1; }
message ShipResponse { string text = 1; }
message PayRequest { string text = 1; }
message PayResponse { string text = 1; }
message StopRequest { string text = 1; }
message LookRequest { string text = 1; }
message LookResponse { string text = 1; }
message AddRequest { string text = 1; }
message AddResponse { string text = 1; }
"""
)
SHIP = """\
  rpc Ship(ShipRequest) returns (ShipResponse) {
    option (protopact.v1.method).workflow = {};
  }
"""
PAY = """\
  rpc Pay(PayRequest) returns (PayResponse) {
    option (protopact.v1.method).activity = {start_to_close_timeout: {seconds: 60}};
  }
"""
STOP = "  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }\n"
LOOK = "  rpc Look(LookRequest) returns (LookResponse) { option (protopact.v1.method).query = {}; }\n"
ADD = "  rpc Add(AddRequest) returns (AddResponse) { option (protopact.v1.method).update = {}; }\n"

# Row, replacements, and the codes under rolling deployment.
ELEMENTS: list[tuple[str, list[tuple[str, str]], str]] = [
    ("C1", [(SHIP, SHIP + SHIP.replace("rpc Ship", "rpc Send"))], "PP905"),
    ("C2", [(SHIP, "")], "PP802"),
    ("C3", [("rpc Ship", "rpc Send")], "PP801"),
    ("C3", [("workflow = {};", 'workflow = {name: "ship"};')], "PP801"),
    (
        "C3",
        [("rpc Ship", "rpc Send"), ("workflow = {};", 'workflow = {aliases: "shop.v1.ShopService.Ship"};')],
        "PP905 PP907",
    ),
    ("C4", [(PAY, PAY + PAY.replace("rpc Pay", "rpc Refund"))], ""),
    ("C5", [("rpc Pay", "rpc Charge")], "PP803"),
    ("C5", [("rpc Pay", "rpc Charge"), ("{start_to", '{aliases: "shop.v1.ShopService.Pay" start_to')], "PP803"),
    ("C5", [("rpc Pay", "rpc Charge"), ("{start_to", '{name: "shop.v1.ShopService.Pay" start_to')], ""),
    ("C6", [(PAY, "")], "PP803"),
    ("C12", [("{seconds: 60}", "{seconds: 90} retry_policy: {max_attempts: 3}")], ""),
    ("C14", [("{start_to", '{task_queue: "pay" start_to')], "PP802"),
    ("C15", [("workflow = {};", 'workflow = {task_queue: "ship"};')], "PP802"),
    ("C16", [('id: "buy/{item}"', 'id: "buy/{item}" id_reuse_policy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE')], ""),
    ("C17", [("buy/{item}", "buying/{item}")], "PP802 PP907"),
    ("C17", [("{item}", "{item|slug}")], "PP802 PP907"),
    ("C17", [("{item}", "{article}"), ("string item = 1", 'string article = 1 [json_name = "item"]')], ""),
    ("C21", [(".activity = {start_to_close_timeout: {seconds: 60}}", ".workflow = {}")], "PP803"),
    ("C22", [(STOP, STOP + STOP.replace("rpc Stop", "rpc Halt"))], ""),
    ("C23", [(STOP, ""), ('signal: {ref: "Stop"} ', "")], "PP802"),
    ("C23", [('signal: {ref: "Stop"} ', "")], "PP802"),
    ("C24", [("rpc Stop", "rpc Halt"), ('signal: {ref: "Stop"}', 'signal: {ref: "Halt"}')], "PP802"),
    ("C24", [("signal = {}", 'signal = {name: "halt" aliases: "shop.v1.ShopService.Stop"}')], "PP905 PP907"),
    ("C27", [(LOOK, LOOK + LOOK.replace("rpc Look", "rpc Peek"))], ""),
    ("C28", [(LOOK, ""), ('query: {ref: "Look"} ', "")], "PP905"),
    ("C30", [(ADD, ADD + ADD.replace("rpc Add", "rpc Put"))], ""),
    ("C31", [(ADD, ""), ('update: {ref: "Add"}', "")], "PP802"),
    ("C31", [("update = {}", 'update = {name: "put" aliases: "shop.v1.ShopService.Add"}')], "PP905"),
    ("C32", [("update = {}", "update = {validate: true}")], ""),
    ("C35", [("method).update", "method).query"), ('update: {ref: "Add"}', 'query: {ref: "Add"}')], "PP802"),
    (
        "C36",
        [
            (
                'id: "buy/{item}"',
                'id: "buy/{item}" search_attributes: {name: "A" type: SEARCH_ATTRIBUTE_TYPE_TEXT value: "a"}',
            )
        ],
        "",
    ),
    ("C46", [("VERSIONING_BEHAVIOR_PINNED", "VERSIONING_BEHAVIOR_AUTO_UPGRADE")], "PP803"),
]
# Who reads what another contract wrote, seen by a field that gets wider and one that gets narrower.
ROLES = {
    "workflow request": "BuyRequest",
    "workflow response": "BuyResponse",
    "activity request": "PayRequest",
    "activity response": "PayResponse",
    "signal": "StopRequest",
    "query request": "LookRequest",
    "query response": "LookResponse",
    "update request": "AddRequest",
    "update response": "AddResponse",
}
FLOWS = """\
                   in-place          rolling   pinned
                   inside  outside             inside  outside
workflow request   - D     O D       O D       - D     O D
workflow response  - D     O D       O D       - D     O D
activity request   - D     - D       O D       - -     - -
activity response  - D     - D       O D       - -     - -
signal             - B     O B       O B       O -     O B
query request      - -     O D       O D       O -     O D
query response     - -     O D       O D       - D     O D
update request     - D     O D       O D       O -     O D
update response    - D     O D       O D       - D     O D
"""
LETTERS = {"PP905": "O", "PP802": "D", "PP801": "B"}


def edited(*replacements: tuple[str, str]) -> str:
    text = SHOP
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


def codes(old: Contract, new: Contract, settings: ServiceSettings | None = None) -> list[str]:
    findings = check(new, [Release.of("v1", capture(old))], Settings(settings or ServiceSettings()))
    return sorted(finding.code.value for finding in findings)


def test_what_a_live_release_has_is_not_new(image: Compile) -> None:
    """It was rolled out with that, whatever older releases are live beside it."""
    new = from_input(str(image("new", edited((SHIP, SHIP + SHIP.replace("rpc Ship", "rpc Send"))))))
    before = Release.of("v1", capture(from_input(str(image("old", SHOP)))))
    known = Release.of("v2", capture(new), ("v1",))
    assert [finding.code.value for finding in check(new, [before], Settings())] == ["PP905"]
    assert check(new, [before, known], Settings()) == []


@pytest.mark.parametrize(("row", "replacements", "code"), ELEMENTS)
def test_elements(row: str, replacements: list[tuple[str, str]], code: str, image: Compile) -> None:
    old, new = from_input(str(image("old", SHOP))), from_input(str(image("new", edited(*replacements))))
    findings = check(new, [Release.of("v1", capture(old))], Settings())
    assert sorted(finding.code.value for finding in findings) == code.split()
    assert all(f" ({row}" in finding.message for finding in findings if finding.code is not Code.UNSEEN_USE)


def test_flows(image: Compile) -> None:
    """A type that gets wider is bad from new to old only, one that gets narrower from old to new only."""
    header = FLOWS.splitlines()[:2]
    table = [*header]
    for role, message in ROLES.items():
        name = "string item" if message == "BuyRequest" else "string text"
        narrow, wide = (
            from_input(
                str(
                    image(
                        kind,
                        edited(
                            (f"message {message} {{ {name} = 1;", f"message {message} {{ {name} = 1; {kind} n = 2;")
                        ),
                    )
                )
            )
            for kind in ("int32", "int64")
        )
        cells: list[str] = []
        for deployment in Deployment:
            for clients in Clients:
                settings = ServiceSettings((Encoding.BINARY,), deployment, clients)
                pairs = [codes(narrow, wide, settings), codes(wide, narrow, settings)]
                cells.append(" ".join(LETTERS[found[0]] if found else "-" for found in pairs))
        inside, outside, rolling, same, pinned, far = cells
        assert rolling == same
        table.append(f"{role:<19}{inside}     {outside}       {rolling}       {pinned}     {far}")
    assert "".join(f"{line}\n" for line in table) == FLOWS


def test_another_message(image: Compile) -> None:
    old = from_input(str(image("old", SHOP)))
    renamed = edited(("PayRequest", "ChargeRequest"))
    other = edited(
        ("Pay(PayRequest)", "Pay(BuyResponse)"),
        ("message BuyResponse { string text = 1;", "message BuyResponse { string text = 1; int32 n = 2;"),
    )
    for text, row in ((renamed, "P40"), (other, "P41")):
        findings = check(from_input(str(image("new", text))), [Release.of("v1", capture(old))], Settings())
        (finding,) = [each for each in findings if each.code.value == "PP801"]
        assert f"({row})" in finding.message
        assert str(finding.position).startswith("shop.proto:18:11")


def test_pinned_runs_do_not_mind_what_their_code_would(image: Compile) -> None:
    old, new = from_input(str(image("old", SHOP))), from_input(str(image("new", edited((PAY, "")))))
    assert codes(old, new) == ["PP803"]
    assert codes(old, new, ServiceSettings(deployment=Deployment.PINNED)) == []


def test_a_change_is_told_once_with_all_that_it_hits(image: Compile) -> None:
    shared = edited(
        ("(ShipRequest)", "(PayRequest)"),
        ("message PayRequest { string text = 1;", "message PayRequest { int64 n = 2;"),
    )
    old = from_input(str(image("old", shared)))
    new = from_input(str(image("new", shared.replace("int64 n", "int32 n"))))
    releases = [Release.of(name, capture(old)) for name in ("v1", "v2")]
    (finding,) = check(new, releases, Settings())
    assert finding.message == (
        "shop.v1.PayRequest.n is int32, and was int64 (P11): open runs fail their next workflow task, and retry it "
        "for ever; it is the request of workflow shop.v1.ShopService.Ship and 1 more; live: v1, v2"
    )


def test_releases_that_had_it_otherwise_are_told_apart(image: Compile) -> None:
    """What leads out of the one is no way out of the other."""
    edits = {
        "v1": [],
        "v2": [("string item = 1;", "string goods = 1;"), ("{item}", "{goods}")],
        "v3": [("string item = 1;", "string goods = 1;"), ("{item}", "{goods}")],
        "new": [("string item = 1;", "string article = 1;"), ("{item}", "{article}")],
    }
    contracts = {name: from_input(str(image(name, edited(*edit)))) for name, edit in edits.items()}
    releases = [Release.of(name, capture(contracts[name])) for name in ("v1", "v2", "v3")]
    said = re.compile(r"was called (\w+) .*; live: (.*)\n.*json_name = (\S+)\]")
    found = [said.search(str(each)) for each in check(contracts["new"], releases, Settings())]
    assert [match.groups() for match in found if match is not None] == [
        ("item", "v1", '"item"'),
        ("goods", "v2, v3", '"goods"'),
    ]


def test_a_change_that_came_and_went_is_told_for_the_releases_before_it_too(image: Compile) -> None:
    """Neither the first release nor the contract has it: runs of the first one took the branch that is gone."""

    def version(name: str, change: str) -> Contract:
        return from_input(str(image(name, edited(("workflow = {};", f"workflow = {{{change}}};")))))

    plain, changed = version("plain", ""), version("changed", 'change: {id: "a-b" since: "v2"}')
    deprecated = version("deprecated", 'change: {id: "a-b" since: "v2" deprecated: true}')
    renamed = version("renamed", 'change: {id: "b-a" since: "v2"}')

    def told(new: Contract, *versions: Contract) -> list[str]:
        cut: list[Release] = []
        for number, each in enumerate(versions, 1):
            cut.append(Release.of(f"v{number}", capture(each), tuple(release.name for release in cut)))
        said = re.compile(r" \((C\d+)\): .*; live: (.*)")
        return [
            " ".join(match.groups()) for each in check(new, cut, Settings()) if (match := said.search(each.message))
        ]

    assert told(plain, plain, changed) == ["C41 v1", "C42 v2"]
    assert told(plain, plain, plain, changed, changed) == ["C41 v1, v2", "C42 v3, v4"]
    assert told(plain, plain, deprecated) == ["C41 v1"]
    assert told(plain, changed, plain) == ["C42 v1"]  # what came after it has the new branch
    assert told(deprecated, plain, changed) == ["C41 v1"]
    assert told(renamed, plain, changed) == ["C43 v2"]  # the branch is there, under another id
    assert told(changed, plain, changed) == []


def test_a_change_that_came_and_went_on_another_branch(image: Compile) -> None:
    """Releases that know nothing of each other: what was cut beside the one with the change has the old branch."""

    def version(name: str, change: str) -> Snapshot:
        return capture(from_input(str(image(name, edited(("workflow = {};", f"workflow = {{{change}}};"))))))

    plain, changed = version("plain", ""), version("changed", 'change: {id: "a-b" since: "left"}')
    contract = from_input(str(image("new", SHOP)))

    def told(*releases: Release) -> list[str]:
        said = re.compile(r" \((C\d+)\): .*; live: (.*)")
        found = (said.search(each.message) for each in check(contract, releases, Settings()))
        return [" ".join(match.groups()) for match in found if match is not None]

    base = Release.of("v1", plain)
    left, right = Release.of("left", changed, ("v1",)), Release.of("right", plain, ("v1",))
    assert told(base, left, right) == ["C41 v1, right", "C42 left"]
    assert told(base, right) == []
    # What was cut after both has the new branch.
    merged = Release.of("merged", plain, ("left", "right", "v1"))
    assert told(base, left, right, merged) == ["C41 v1, right", "C42 left"]
    assert told(left, merged) == ["C42 left"]


def test_a_change_of_a_release_that_is_retired_by_force(protopact: Protopact, image: Compile) -> None:
    """What it was for concerns runs of older releases, which are still live, and its id is for ever."""

    def version(name: str, change: str, *replacements: tuple[str, str]) -> Path:
        return image(name, edited(("workflow = {};", f"workflow = {{{change}}};"), *replacements))

    plain, changed = version("plain", ""), version("changed", 'change: {id: "a-b" since: "v2"}')
    protopact("release", "cut", "v1", plain)
    protopact("release", "cut", "v2", changed)
    protopact("release", "retire", "v2", "--force", "it was never deployed")
    lines = Path("protopact.lock/v2.release").read_text().splitlines()
    assert [line for line in lines if line.startswith("shop") and " digest " not in line] == [
        'shop.v1.ShopService.Buy workflow shop.v1.BuyRequest shop.v1.BuyResponse name="shop.v1.ShopService.Buy"',
        "shop.v1.ShopService.Ship change a-b since=v2",
        'shop.v1.ShopService.Ship workflow shop.v1.ShipRequest shop.v1.ShipResponse name="shop.v1.ShopService.Ship"',
    ]
    gone = "has no branch for runs from before it (C41): "
    for contract in (plain, version("deprecated", 'change: {id: "a-b" since: "v2" deprecated: true}')):
        said = protopact("check", contract).output
        assert f"PP802 change a-b of workflow shop.v1.ShopService.Ship {gone}" in said
        assert said.count("live: v1\n") == said.count(": PP") == 1
    renamed = version("renamed", 'aliases: "shop.v1.ShopService.Ship"', ("rpc Ship", "rpc Send"))
    assert f"PP802 change a-b of workflow shop.v1.ShopService.Send {gone}" in protopact("check", renamed).output
    assert protopact("check", changed) == Answer(0, "")
    assert (
        'change[0].since is "v3", and v2 has the change since v2\n    hint: name the release that brings the change; '
        "another change wants another id\n"
    ) in protopact("check", version("again", 'change: {id: "a-b" since: "v3"}')).output
    protopact("release", "retire", "v1", "--force", "drained")
    assert protopact("check", plain) == Answer(0, "")


def test_since_of_a_workflow_that_is_renamed(image: Compile) -> None:
    """It is held against what the releases have under the old name, and told of the new one."""
    old = image("old", edited(("workflow = {};", 'workflow = {change: {id: "a-b" since: "v0"}};')))
    options = 'workflow = {aliases: "shop.v1.ShopService.Ship" change: {id: "a-b" since: "v1"}};'
    new = from_input(str(image("new", edited(("workflow = {};", options), ("rpc Ship", "rpc Send")))))
    found = check(new, [Release.of("v1", capture(from_input(str(old))))], Settings())
    (told,) = (each.message for each in found if each.code is Code.CHANGE_RELEASE)
    assert told == (
        'workflow shop.v1.ShopService.Send: (protopact.v1.method).workflow.change[0].since is "v1", and v1 has the '
        "change since v0"
    )


def test_what_was_not_measured_of_proto2_is_found_by_random_contracts(image: Compile) -> None:
    """A required field that is added or deleted, and enums that drop what they do not know."""

    def version(name: str, fields: str, values: str = "A = 0; B = 1;") -> Contract:
        messages = f"message BuyRequest {{ {fields} }} enum Size {{ {values} }} message BuyResponse {{}}"
        service = (
            "service ShopService { option (protopact.v1.service) = {task_queue: 'q'}; rpc Buy(BuyRequest) returns "
        )
        rpc = "(BuyResponse) { option (protopact.v1.method).workflow = {}; } }"
        return from_input(str(image(name, f"{HEADER.replace('proto3', 'proto2')}{service}{rpc}{messages}")))

    def told(old: Contract, new: Contract, encoding: Encoding) -> list[str]:
        found = check(new, [Release.of("v1", capture(old))], Settings(ServiceSettings((encoding,))))
        return sorted(f"{each.code.value} {each.message.split(' (')[1].split(')')[0]}" for each in found)

    size, number = "optional Size size = 1;", "optional int32 size = 1;"
    kept = "reserved 2; reserved 'id'; "
    plain, required = version("plain", kept + size), version("required", f"{size} required string id = 2;")
    two, three = version("two", size), version("three", size, "A = 0; B = 1; C = 2;")
    numbered = version("numbered", number)
    for encoding in (Encoding.BINARY, Encoding.LENIENT_JSON):
        assert told(two, required, encoding) == ["PP802 P42"]
        assert told(required, plain, encoding) == ["PP905 P43"]
        assert told(three, two, encoding) == ["PP802 P22b"]
        assert told(two, three, encoding) == ["PP905 P21"]
        assert told(two, numbered, encoding) == ["PP801 P0"]


def test_every_change_of_one_workflow_is_told(image: Compile) -> None:
    two = edited(
        (STOP, STOP + STOP.replace("rpc Stop", "rpc Halt")), ('{ref: "Stop"}', '{ref: "Stop"} signal: {ref: "Halt"}')
    )
    old = from_input(str(image("old", two)))
    new = from_input(str(image("new", two.replace('signal: {ref: "Stop"} signal: {ref: "Halt"}', ""))))
    assert codes(old, new) == ["PP802", "PP802"]


def test_messages_that_hold_each_other(image: Compile) -> None:
    """A change is found through any way that leads to it, circles included."""
    ring = (
        "message A { B b = 1; } message B { A a = 1; map<string, C> c = 2; } message C { B b = 1; repeated D d = 2; }"
    )
    rings = edited(
        ("message PayRequest { string text = 1;", "message PayRequest { A a = 1;"),
        ("message PayResponse {", f"{ring} message D {{ int64 n = 1; D d = 2; }} message PayResponse {{"),
    )
    old = from_input(str(image("old", rings)))
    new = from_input(str(image("new", rings.replace("int64 n", "int32 n"))))
    (finding,) = check(new, [Release.of("v1", capture(old))], Settings())
    assert "it is the request of activity shop.v1.ShopService.Pay; live: v1" in finding.message


def test_what_changes_nothing_is_never_told(image: Compile) -> None:
    """Comments, order and layout are not the contract."""
    lines = SHOP.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("message "))
    moved = [*lines[:5], *sorted(lines[first:], reverse=True), *lines[5:first]]
    text = "\n\n".join(f"{line} // said" if line.endswith("}") else line for line in moved)
    old, new = from_input(str(image("old", SHOP))), from_input(str(image("new", text)))
    assert capture(old) == capture(new)
    assert codes(old, new) == []


def test_settings_of_a_service() -> None:
    settings = Settings.parse(
        "# said\nencoding binary/protobuf\nencoding json/protobuf strict\ndeployment in-place\n\n"
        "shop.v1.ShopService deployment pinned\nshop.v1.ShopService clients outside\nclients inside\n"
    )
    assert settings.of("other") == ServiceSettings((Encoding.BINARY, Encoding.STRICT_JSON), Deployment.IN_PLACE)
    assert settings.of("shop.v1.ShopService") == ServiceSettings(
        (Encoding.BINARY, Encoding.STRICT_JSON), Deployment.PINNED, Clients.OUTSIDE
    )
    assert settings.of("mall.v1.MallService", "shop.v1.ShopService") == settings.of("shop.v1.ShopService")
    assert Settings.parse(Settings().render()) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployment blue", "deployment is 'blue'; expected in-place or rolling or pinned"),
        ("shop.v1.S speed high", "'shop.v1.S speed high' sets nothing; the settings are encoding, deployment, clients"),
        ("clients inside\nclients outside", "clients is said twice; remove one of the two lines"),
    ],
)
def test_settings_that_mean_nothing(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.parse(text)
    assert (str(caught.value), caught.value.line) == (said, len(text.splitlines()))


def test_formats_and_exit_codes(protopact: Protopact, image: Compile) -> None:
    old, new = image("old", SHOP), image("new", edited(("workflow = {};", 'workflow = {task_queue: "ship"};')))
    assert protopact("check", old).output.startswith("protopact: there is no lock at protopact.lock;")
    protopact("release", "cut", "v1", old)
    same = protopact("check", old)
    assert (same.exit_code, same.output) == (0, "")
    said = (
        'workflow shop.v1.ShopService.Ship has the task queue "ship", and had "shop" (C15): open runs stay on the old '
        "queue, and starts of older clients go there; live: v1"
    )
    hint = (
        "have workers poll both queues until the old one is empty, then retire these releases; or, if no harm is done, "
        '`option (protopact.v1.method).allow = {rule: "C15" releases: ["v1"] reason: "..."};`'
    )
    text = protopact("check", new)
    assert text.exit_code == 1
    assert text.output == f"protopact: 1 error in the contract\nshop.proto:16:5: PP802 {said}\n    hint: {hint}\n"
    assert json.loads(protopact("check", new, "--format", "json").output) == [
        {
            "path": "shop.proto",
            "line": 16,
            "column": 5,
            "severity": "error",
            "code": "PP802",
            "message": said,
            "hint": hint,
        }
    ]
    github = protopact("check", new, "--format", "github")
    assert github.output == f"::error file=shop.proto,line=16,col=5,title=PP802::{said}%0Ahint: {hint}\n"
    log = json.loads(protopact("check", new, "--format", "sarif").output)
    SARIF(log)
    ((result,), driver) = log["runs"][0]["results"], log["runs"][0]["tool"]["driver"]
    assert [driver["rules"][result["ruleIndex"]][name] for name in ("id", "name")] == ["PP802", "UndrainedChange"]
    assert (result["ruleId"], result["level"], result["message"]["text"]) == ("PP802", "error", f"{said}\nhint: {hint}")
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "shop.proto"},
        "region": {"startLine": 16, "startColumn": 5},
    }
    warned = image("warned", edited((LOOK, ""), ('query: {ref: "Look"} ', "")))
    assert protopact("check", warned).exit_code == 0
    assert protopact("check", warned, "--strict").exit_code == 1


def test_what_could_not_be_checked_is_told_apart(protopact: Protopact, image: Compile) -> None:
    """From what was checked and would do harm, by the exit code; errors of the contract itself are findings."""
    old = image("old", SHOP)
    assert protopact("check", old).exit_code == 3
    protopact("release", "cut", "v1", old)
    assert protopact("check", "nothing.binpb").exit_code == 3
    assert protopact("check", old, "--against", "nothing.binpb").exit_code == 3
    assert protopact("check", old, "--format", "xml").exit_code == 2
    wrong = image("wrong", edited(('task_queue: "shop"', "")))
    assert protopact("check", old, "--against", wrong).exit_code == 3
    answer = protopact("check", wrong, "--format", "sarif")
    assert answer.exit_code == 1
    log = json.loads(answer.output)
    SARIF(log)
    assert log["runs"][0]["results"][0]["ruleId"] == "PP601"
    clean = json.loads(protopact("check", old, "--format", "sarif").output)
    SARIF(clean)
    assert clean["runs"][0]["results"] == []


def test_places_are_those_of_the_working_tree(protopact: Protopact, tmp_path: Path) -> None:
    """GitHub and code scanning look for files from the repository's root, contracts import them from their module's."""
    protopact("proto", "export", "proto files")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: proto files}]\n")
    (tmp_path / "proto files/shop.proto").write_text(SHOP)
    protopact("release", "cut", "v1")
    (tmp_path / "proto files/shop.proto").write_text(edited(("buy/{item}", "buying/{item}")))
    assert protopact("check", "--format", "github").output.startswith("::error file=proto files/shop.proto,line=10,")
    assert json.loads(protopact("check", "--format", "json").output)[0]["path"] == "proto files/shop.proto"
    result = json.loads(protopact("check", "--format", "sarif").output)["runs"][0]["results"][0]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "proto%20files/shop.proto"}


def test_against_one_release_or_another_contract(protopact: Protopact, image: Compile) -> None:
    old, new = image("old", SHOP), image("new", edited(("workflow = {};", 'workflow = {task_queue: "ship"};')))
    protopact("release", "cut", "v1", old)
    protopact("release", "cut", "v2", new)
    assert protopact("check", new).output.count("live: v1\n") == 1
    assert protopact("check", new, "--against", "v2").exit_code == 0
    assert f"live: {old}" in protopact("check", new, "--against", old).output
    protopact("release", "retire", "v1", "--force", "drained")
    assert protopact("check", new).exit_code == 0
    assert "v1 is retired (drained)" in protopact("check", new, "--against", "v1").output
    (Path("protopact.lock") / "settings").write_text("deployment never\n")
    assert protopact("check", new).output == (
        "protopact: protopact.lock/settings:1: deployment is 'never'; expected in-place or rolling or pinned\n"
    )
    (Path("protopact.lock") / "settings").unlink()
    assert "protopact.lock/settings is lost" in protopact("check", new).output


def test_against_a_git_ref(protopact: Protopact, tmp_path: Path) -> None:
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    contract = tmp_path / "proto/shop.proto"
    contract.parent.mkdir()
    contract.write_text(SHOP)
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "first"), ("tag", "v0.9")):
        git(tmp_path, *arguments)
    contract.write_text(edited(("buy/{item}", "buying/{item}")))
    protopact("release", "cut", "v1")
    assert protopact("check").output == ""
    assert "(C17): " in protopact("check", "--against", "v0.9").output
    assert "; live: main\n" in protopact("check", "proto", "--against", "main").output
    nothing = protopact("check", "--against", "nowhere")
    told = "'nowhere' is no release of protopact.lock (v1), no git ref, and nothing that buf takes: buf cannot build "
    assert (nothing.exit_code, nothing.output.splitlines()[0]) == (3, f"protopact: {told}nowhere:")
    # An allowance names releases of a lock.
    assert "if no harm is done" not in protopact("check", "--against", "v0.9").output
    contract.write_text(SHOP)
    assert "if no harm is done" in protopact("check", "--against", "v1").output
    # Without a lock, the settings are those of a new one.
    rmtree("protopact.lock")
    assert protopact("check", "--against", "HEAD") == Answer(0, "")
    contract.write_text(edited(("string item = 1;", "string article = 1;"), ("{item}", "{article}")))
    assert "(P7): open runs read another value" in protopact("check", "--against", "HEAD").output


BUF_GEN = (
    "version: v2\nplugins: [{local: protoc-gen-protopact, out: out, strategy: %s, opt: [messages=google, lock=%s]}]\n"
)


def generate(folder: Path, strategy: str = "all", lock: str = "protopact.lock") -> tuple[int, str]:
    (folder / "buf.gen.yaml").write_text(BUF_GEN % (strategy, lock))
    done = subprocess.run(
        [Path(sys.executable).with_name("buf"), "generate", "proto"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_plugin_checks_before_it_writes(protopact: Protopact, tmp_path: Path) -> None:
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    contract = tmp_path / "proto/shop/v1/shop.proto"
    contract.parent.mkdir(parents=True)
    contract.write_text(SHOP)
    missing = generate(tmp_path)
    assert missing[0]
    assert "protopact: the contract cannot be checked\nthere is no lock at protopact.lock; " in missing[1]
    protopact("release", "cut", "v1", "proto")
    assert generate(tmp_path) == (0, "")
    written = tmp_path / "out/shop/v1/shop_protopact.py"
    before = written.read_text()
    contract.write_text(edited(("string item = 1;", "string article = 1;"), ("{item}", "{article}")))
    failed = generate(tmp_path)
    assert failed[0]
    assert "shop/v1/shop.proto:25:22: PP801 shop.v1.BuyRequest.article was called item (P7): " in failed[1]
    assert '[json_name = "item"]' in failed[1]
    assert written.read_text() == before


def test_a_folder_at_a_time_looks_like_deleted_files(protopact: Protopact, tmp_path: Path) -> None:
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    for package in ("shop", "mart"):
        path = tmp_path / f"proto/{package}/v1/{package}.proto"
        path.parent.mkdir(parents=True)
        path.write_text(SHOP.replace("shop.v1", f"{package}.v1"))
    protopact("release", "cut", "v1", "proto")
    assert generate(tmp_path) == (0, "")
    status, said = generate(tmp_path, "directory")
    assert status
    told = (
        "/v1/{0}.proto (in v1): PP805 the file is not among those to generate, which all lie in one folder, and these "
        "releases have it: v1; `strategy: all` is missing, or the file was deleted\n"
        "    hint: set `strategy: all` for protoc-gen-protopact in buf.gen.yaml; if the file was deleted, run "
        "`protopact check` and mark what it finds: each finding spells the `allow` for it\n"
    )
    assert any(f"protopact: 1 error in the contract\n{each}{told.format(each)}" in said for each in ("mart", "shop"))
    (tmp_path / "proto/mart/v1/mart.proto").unlink()
    assert generate(tmp_path)[1] == (
        f"Failure: plugin protoc-gen-protopact: protopact: 1 error in the contract\nmart{told.format('mart')}"
    )
    deleted = protopact("check", "proto")
    assert deleted.exit_code == 1
    # The lock knows which file it was, and no lines: no line is made up.
    said = "workflow mart.v1.ShopService.Buy is gone (C2): open runs of it fail their next workflow task; live: v1"
    assert f"\nmart/v1/mart.proto (in v1): PP802 {said}\n    hint: bring it back, and mark it" in deleted.output
    first = json.loads(protopact("check", "proto", "--format", "json").output)[0]
    assert {name: first.get(name) for name in ("path", "release", "line")} == {
        "path": "mart/v1/mart.proto",
        "release": "v1",
        "line": None,
    }
    assert "\n::error file=mart/v1/mart.proto,title=PP802::" in protopact("check", "proto", "--format", "github").output
    log = json.loads(protopact("check", "proto", "--format", "sarif").output)
    SARIF(log)
    (place,) = {str(each["locations"]) for each in log["runs"][0]["results"]}
    assert place == "[{'physicalLocation': {'artifactLocation': {'uri': 'mart/v1/mart.proto'}}}]"


def test_settings_of_a_service_that_is_not_there(protopact: Protopact, tmp_path: Path) -> None:
    """A line means a service of the contract or of a live release."""
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    contract = tmp_path / "proto/shop.proto"
    contract.parent.mkdir()
    contract.write_text(SHOP)
    protopact("release", "cut", "v1", "proto")
    settings = tmp_path / "protopact.lock/settings"
    said = settings.read_text()
    place = f"protopact.lock/settings:{len(said.splitlines()) + 1}: neither the contract nor a live release has a "
    settings.write_text(said + "shop.v1.ShopServce deployment pinned\nshop.v1.ShopServce clients outside\n")
    told = f"{place}service shop.v1.ShopServce; is shop.v1.ShopService meant? Correct the name, or remove the line"
    answer = protopact("check", "proto")
    assert (answer.exit_code, answer.output) == (3, f"protopact: {told}\n")
    assert f"protopact: the contract cannot be checked\n{told}\n" in generate(tmp_path)[1]
    settings.write_text(said + "mart.v2.Mart deployment pinned\n")
    assert protopact("check", "proto").output == (
        f"protopact: {place}service mart.v2.Mart; correct the name, or remove the line\n"
    )
    settings.write_text(said + "shop.v1.ShopService deployment pinned\n")
    assert protopact("check", "proto") == Answer(0, "")
    contract.write_text(SHOP.replace("ShopService", "MallService"))
    assert protopact("check", "proto").exit_code == 0
    protopact("release", "retire", "v1", "--force", "drained")
    assert protopact("check", "proto").output == (
        f"protopact: {place}service shop.v1.ShopService; is shop.v1.MallService meant? Correct the name, or remove the "
        "line\n"
    )


def test_settings_of_a_service_that_is_renamed(image: Compile) -> None:
    """Those of its new name, else those of its old one."""
    options = '{name: "shop.v1.ShopService.Pay" task_queue: "pay" start_to'
    old = Release.of("v1", capture(from_input(str(image("old", SHOP)))))
    text = edited(("service ShopService", "service MallService"), ("{start_to", options))
    new = from_input(str(image("new", text)))

    def waits(**deployments: Deployment) -> bool:
        """Whether attempts on the old queue wait for a worker, which they do not where runs stay with theirs."""
        services = {f"shop.v1.{name}": ServiceSettings(deployment=each) for name, each in deployments.items()}
        return any("(C14)" in each.message for each in check(new, [old], Settings(services=services)))

    assert waits()
    assert not waits(ShopService=Deployment.PINNED)
    assert not waits(MallService=Deployment.PINNED)
    assert waits(MallService=Deployment.ROLLING, ShopService=Deployment.PINNED)


UPGRADES = ("VERSIONING_BEHAVIOR_PINNED", "VERSIONING_BEHAVIOR_AUTO_UPGRADE")
SHIPS = ("workflow = {};", "workflow = {versioning_behavior: VERSIONING_BEHAVIOR_AUTO_UPGRADE};")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([UPGRADES], [("PayResponse { string", "PayResponse { int32")], "PP801"),
        ([UPGRADES], [(PAY, "")], "PP803"),
        ([UPGRADES], [("StopRequest { string", "StopRequest { int32")], "PP801"),
        ([UPGRADES], [("LookResponse { string", "LookResponse { int32")], "PP801"),
        (
            [SHIPS],
            [
                (SHIP[:-7], SHIP[:-7].replace("Ship(", "Send(") + 'name: "shop.v1.ShopService.Ship" '),
                ("ShipRequest { string", "ShipRequest { int32"),
            ],
            "PP801",
        ),
        ([], [SHIPS], "PP803"),
    ],
    ids=["activity's result", "activity", "signal", "query", "renamed workflow", "upgrades by itself"],
)
def test_what_a_run_that_moves_to_newer_workers_calls_and_answers_moves_with_it(
    old: list[tuple[str, str]], new: list[tuple[str, str]], told: str, image: Compile
) -> None:
    pinned = ServiceSettings(deployment=Deployment.PINNED)
    text = edited(*old)
    for each in new:
        text = text.replace(*each)
    contracts = from_input(str(image("old", edited(*old)))), from_input(str(image("new", text)))
    assert told in codes(*contracts, pinned)
    if old:  # where nothing moves, nothing meets another version
        stays = from_input(str(image("old", SHOP))), from_input(str(image("new", edited(*new))))
        assert told not in codes(*stays, pinned)
    else:
        assert codes(*contracts) == []


def test_activities_are_deployed_as_the_workflows_that_may_call_them(image: Compile) -> None:
    """A service of activities alone may be pinned, and the workflows that read their results not."""
    text = SHOP.replace(PAY, "").replace("message BuyRequest", f"service PayService {{\n{PAY}}}\nmessage BuyRequest")
    text = text.replace(
        "service PayService {", "service PayService { option (protopact.v1.service).task_queue = 'pay';"
    )
    old, new = (
        image(name, each)
        for name, each in (("old", text), ("new", text.replace("PayResponse { s", "PayResponse { repeated s")))
    )
    contracts = from_input(str(old)), from_input(str(new))
    release = Release.of("v1", capture(contracts[0]))
    pinned, rolling = ServiceSettings(deployment=Deployment.PINNED), ServiceSettings()

    def told(**services: ServiceSettings) -> bool:
        settings = Settings(services={f"shop.v1.{name}": each for name, each in services.items()})
        return check(contracts[1], [release], settings) != []

    assert told(PayService=pinned)
    assert told(PayService=pinned, ShopService=rolling)
    assert told(ShopService=pinned)
    assert not told(PayService=pinned, ShopService=pinned)


def test_what_is_not_seen_is_not_taken_for_what_looks_like_it(image: Compile) -> None:
    """A run for the folder of a new service that is made like another one, which is not seen, says both readings."""
    release = Release.of("v1", capture(from_input(str(image("old", SHOP)))))
    mall = from_input(str(image("new", edited(("shop.v1", "mall.v1"), ("ShopService", "MallService")))))
    codes = {
        tuple(each.code for each in check(mall, [release], Settings(), files) if each.code.severity is Severity.ERROR)
        for files in (["mall/v1/mall.proto"], ["mall/v1/mall.proto", "mall/v1/more.proto"])
    }
    assert codes == {(Code.MISSING_FILE,)}


def test_a_deleted_file_that_is_marked_is_generated_without(protopact: Protopact, tmp_path: Path) -> None:
    """The marks that the check asks for pass both it and the plugin; what else is not there is still missed."""
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    paths = {package: tmp_path / f"proto/{package}/v1/{package}.proto" for package in ("mall", "mart", "shop")}
    texts = {package: SHOP.replace("shop.v1", f"{package}.v1") for package in paths}
    for package, path in paths.items():
        path.parent.mkdir(parents=True)
        path.write_text(texts[package])
    protopact("release", "cut", "v1", "proto")
    paths["mall"].unlink()
    paths["mart"].unlink()

    asked = protopact("check", "proto").output
    marks = re.findall(r"`(option \(protopact\.v1\.file\)\.allow = [^`]+;)` in any file", asked)
    assert len(marks) == asked.count("hint: ") > 10
    mall = [each for each in marks if '"mall.v1.' in each]
    lock = Lock(tmp_path / "protopact.lock")

    def codes(*marks: str) -> list[str]:
        """What the plugin finds in a contract with marks; the check refuses it just when the plugin does."""
        paths["shop"].write_text(SHOP.replace("service ", "\n".join((*marks, "service ")), 1))
        contract = from_input("proto")
        checked, found = (
            check(contract, lock.live, lock.settings, generated, complete=True)
            for generated in ((), ("shop/v1/shop.proto",))
        )
        refused = [{each.code for each in some if each.code.severity is Severity.ERROR} for some in (checked, found)]
        assert bool(refused[0]) is bool(refused[1])
        return sorted(each.code.value for each in found)

    assert codes() == ["PP805", "PP805"]
    assert codes(*mall) == ["PP805"]
    # One that is left is enough to miss the file, unless it is a warning.
    assert codes(*mall, *marks[len(mall) + 1 :]) == ["PP805"]
    assert codes(*(each for each in marks if '"C28"' not in each)) == ["PP905", "PP905"]
    # An allowance for what is there is idle, which is told once all is seen.
    idle = marks[0].replace('element: "mall.v1.', 'element: "shop.v1.')
    assert codes(*mall, idle) == ["PP805"]
    assert codes(*marks, idle) == ["PP809"]
    assert codes(*marks) == []
    assert generate(tmp_path) == (0, "")
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("out/**/*_protopact.py"))
    assert written == ["out/shop/v1/shop_protopact.py"]
    # Marked, and the strategy forgotten: each folder misses the other one.
    paths["mart"].write_text(texts["mart"])
    paths["shop"].write_text(SHOP.replace("service ", "\n".join((*mall, "service ")), 1))
    status, said = generate(tmp_path, "directory")
    assert status
    assert ("mart/v1/mart.proto (in v1): PP805 " in said) or ("shop/v1/shop.proto (in v1): PP805 " in said)
    assert "PP809" not in said


def test_settings_of_a_service_hold_for_it_alone(protopact: Protopact, tmp_path: Path) -> None:
    """The same edit of three services: by another encoding, by another deployment, and as all else is."""
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: proto}]\n")
    paths = {name: tmp_path / f"proto/{name}/v1/{name}.proto" for name in ("mall", "mart", "shop")}

    def write(*replacements: tuple[str, str]) -> None:
        for package, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(edited(*replacements).replace("shop.v1", f"{package}.v1"))

    write()
    protopact("release", "cut", "v1", "proto")
    settings = tmp_path / "protopact.lock/settings"
    own = "mall.v1.ShopService encoding binary/protobuf\nmart.v1.ShopService deployment in-place\n"
    settings.write_text(settings.read_text() + own)
    write(("string item = 1;", "string article = 1;"), ("{item}", "{article}"))
    hint = (
        '    hint: keep the key of the JSON: `[json_name = "item"]`{}; or, if no harm is done, '
        '`[(protopact.v1.field).allow = {{rule: "P7" releases: ["v1"] reason: "..."}}]`\n'
    )
    what = (
        "{0}/v1/{0}.proto:25:22: {1} {0}.v1.BuyRequest.article was called item (P7): open runs read another value, and "
        "nobody is told; it is the request of workflow {0}.v1.ShopService.Buy; live: v1\n"
    )
    drain = "; or wait until no run or history of these releases is left, and retire them"
    assert generate(tmp_path)[1] == (
        "Failure: plugin protoc-gen-protopact: protopact: 2 errors in the contract\n"
        f"{what.format('mart', 'PP802')}{hint.format(drain)}{what.format('shop', 'PP801')}{hint.format('')}"
    )


def test_enums_of_one_name_are_not_one(image: Compile) -> None:
    """The one goes with its field; the other comes with a message that has nothing to do with it."""
    state = "enum State { %s = 0; %s = 1; } State state = 2;"
    held = edited(("BuyRequest { string item = 1;", f"BuyRequest {{ string item = 1; {state % ('NONE', 'OPEN')}"))
    given_up = edited(("BuyRequest { string item = 1;", 'BuyRequest { string item = 1; reserved 2; reserved "state";'))
    other = given_up.replace(
        "AddResponse { string text = 1;", f"AddResponse {{ string text = 1; {state % ('NO', 'SENT')}"
    )
    old, new = (from_input(str(image(name, text))) for name, text in (("old", held), ("new", other)))
    assert [finding.message for finding in check(new, [Release.of("v1", capture(old))], Settings())] == []
