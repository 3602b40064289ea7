"""The check plugin, as buf runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.versioning.conftest import HEADER, ROOT, Protopact

Buf = Callable[..., str]

SHOP = (
    HEADER.replace('import "google/protobuf/empty.proto";\nimport "google/protobuf/timestamp.proto";\n', "")
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) { option (protopact.v1.method).workflow = {id: "buy/{item}"}; }
}
message BuyRequest { string item = 1; int32 count = 2; }
message BuyResponse { string text = 1; }
"""
)
BANK = SHOP.replace("shop", "bank").replace("Shop", "Bank")
RENAMED = SHOP.replace("{item}", "{article}").replace("string item", "string article")
ONLY_OURS = "lint: {use: [PROTOPACT]}\nbreaking: {use: [PROTOPACT]}\n"
STRICT = ONLY_OURS.replace("PROTOPACT", "PROTOPACT_STRICT")
PLUGIN = "plugins: [{plugin: buf-plugin-protopact}]\n"
LOCK = "plugins: [{plugin: buf-plugin-protopact, options: {lock: protopact.lock}}]\n"


def configure(rest: str, modules: str = "[{path: proto}, {path: schema}]") -> None:
    Path("buf.yaml").write_text(f"version: v2\nmodules: {modules}\n{rest}")


def write(text: str, path: str = "proto/shop/shop.proto") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.fixture
def buf(protopact: Protopact) -> Buf:
    """Run buf in a folder with a contract, its image and the schema in a module beside it."""
    assert protopact("proto", "export", "schema").exit_code == 0
    write(SHOP)
    configure(PLUGIN + ONLY_OURS)

    def buf(*arguments: str, exit_code: int = 0) -> str:
        done = subprocess.run(["buf", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout + done.stderr

    buf("build", "-o", "old.binpb")
    return buf


def breaking(buf: Buf) -> list[tuple[str, str, int, str]]:
    """Rule, path, line and message of what `buf breaking` finds against what the fixture has written."""
    against = "old" if Path("old").is_dir() else "old.binpb"
    done = subprocess.run(
        ["buf", "breaking", f"--against={against}", "--error-format=json"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 100), done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(each["type"], each.get("path", ""), each.get("start_line", 0), each["message"]) for each in found]


def test_what_cannot_work_is_a_finding_of_lint(buf: Buf) -> None:
    write(SHOP.replace("{item}", "{itme}"))
    text = buf("lint", exit_code=100)
    assert text.startswith("proto/shop/shop.proto:7:88:PP402 workflow shop.v1.ShopService.Buy: (protopact.v1.method).")
    assert "\n    hint: did you mean `item`? (buf-plugin-protopact)\n" in text


@pytest.mark.slow
def test_a_comment_and_a_setting_of_buf_pass_a_rule(buf: Buf) -> None:
    write(SHOP.replace("{item}", "{itme}").replace("  rpc Buy", "  // buf:lint:ignore PP402\n  rpc Buy"))
    assert buf("lint") == ""
    write(SHOP.replace("{item}", "{itme}"))
    configure(PLUGIN + "lint: {use: [PROTOPACT], except: [PP402]}\n")
    assert buf("lint") == ""


def test_without_a_lock_the_contract_is_compared_with_what_buf_is_given(buf: Buf) -> None:
    assert breaking(buf) == []
    write(RENAMED)
    ((rule, path, line, message),) = breaking(buf)
    assert (rule, path, line) == ("PP801", "proto/shop/shop.proto", 9)
    assert message.startswith("PP801 shop.v1.BuyRequest.article was called item (P7): ")
    assert "; live: against\n    hint: " in message


def test_with_a_lock_it_is_compared_with_the_live_releases(buf: Buf, protopact: Protopact) -> None:
    protopact("release", "cut", "v1", "old.binpb")
    configure(LOCK + ONLY_OURS)
    write(RENAMED)
    buf("build", "-o", "old.binpb")
    ((rule, _, _, message),) = breaking(buf)
    assert rule == "PP801"
    assert "; live: v1\n" in message
    protopact("release", "retire", "v1", "--force", "drained")
    assert breaking(buf) == []


@pytest.mark.slow
def test_an_allow_passes_a_finding_and_an_idle_one_is_a_finding(buf: Buf, protopact: Protopact) -> None:
    protopact("release", "cut", "v1", "old.binpb")
    configure(LOCK + ONLY_OURS)
    allow = '[(protopact.v1.field).allow = {rule: "P7" releases: "v1" reason: "no run is open"}]'
    write(RENAMED.replace("article = 1", f"article = 1 {allow}"))
    assert breaking(buf) == []
    write(SHOP.replace("item = 1", f"item = 1 {allow}"))
    assert [rule for rule, *_ in breaking(buf)] == ["PP809"]
    write(SHOP.replace("item = 1", f"item = 1 {allow}".replace("no run is open", "")))
    assert "PP808 (protopact.v1.field).allow[0].reason is empty" in buf("lint", exit_code=100)


@pytest.mark.slow
def test_warnings_are_asked_for(buf: Buf) -> None:
    write(SHOP.replace("int32", "int64"))
    assert breaking(buf) == []
    configure(PLUGIN + STRICT)
    assert [rule for rule, *_ in breaking(buf)] == ["PP905"]


@pytest.mark.slow
@pytest.mark.parametrize("lock", [False, True], ids=["against", "lock"])
def test_modules_do_not_miss_what_others_have(buf: Buf, protopact: Protopact, *, lock: bool) -> None:
    """buf hands over one module at a time."""
    modules = "[{path: proto}, {path: schema}, {path: other}]"
    write(BANK, "other/bank/bank.proto")
    configure(PLUGIN + ONLY_OURS, modules)
    buf("build", "-o", "old.binpb")
    protopact("release", "cut", "v1", "old.binpb")
    Path("old").mkdir()
    for each in ("proto", "schema", "other", "buf.yaml"):
        Path(each).rename(f"old/{each}")
    subprocess.run(["cp", "-r", "old/proto", "old/schema", "old/other", "."], check=True)
    configure((LOCK if lock else PLUGIN) + ONLY_OURS, modules)
    assert breaking(buf) == []
    write(BANK.replace("{item}", "{article}").replace("string item", "string article"), "other/bank/bank.proto")
    assert [(rule, path) for rule, path, *_ in breaking(buf)] == [("PP801", "other/bank/bank.proto")]


def test_a_file_that_is_gone_is_found(buf: Buf) -> None:
    write(BANK, "proto/bank/bank.proto")
    buf("build", "-o", "old.binpb")
    Path("proto/bank/bank.proto").unlink()
    ((rule, _, _, message),) = breaking(buf)
    assert rule == "PP802"
    assert message.startswith("PP802 workflow bank.v1.BankService.Buy is gone (C2): ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{lok: protopact.lock}", "there is no option `lok`; the only one is `lock`, the folder of the lock"),
        ("{lock: true}", "`lock` is no text; write the folder of the lock: `lock: protopact.lock`"),
        ("{lock: gone.lock}", "there is no lock at gone.lock; if it never was there, `protopact release cut NAME`"),
    ],
)
def test_wrong_options_are_told(buf: Buf, options: str, expected: str) -> None:
    configure(f"plugins: [{{plugin: buf-plugin-protopact, options: {options}}}]\n{ONLY_OURS}")
    text = buf("breaking", "--against=old.binpb", exit_code=1)
    assert f"failed_precondition: protopact: {expected}" in text
    assert "Traceback" not in text


def test_a_contract_with_errors_is_not_compared(buf: Buf) -> None:
    write(SHOP.replace("{item}", "{itme}"))
    text = buf("breaking", "--against=old.binpb", exit_code=1)
    assert (
        "protopact: the contract cannot be compared before it is without errors:\nshop/shop.proto:7:88: PP402 " in text
    )


def test_every_rule_is_listed(buf: Buf) -> None:
    lint = {line.split()[0] for line in buf("config", "ls-lint-rules").splitlines() if line.startswith("PP")}
    compared = {line.split()[0] for line in buf("config", "ls-breaking-rules").splitlines() if line.startswith("PP")}
    assert not lint & compared
    documented = {
        line.split()[1]
        for line in (ROOT / "docs/diagnostics.md").read_text().splitlines()
        if line.startswith("| PP") and not line.startswith(("| PP7", "| PP805"))
    }
    assert lint | compared == documented


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    plugin = Path(sys.executable).parent / "buf-plugin-protopact"
    return subprocess.run([plugin, *arguments], input=stdin, capture_output=True, check=False, env=dict(os.environ))


def test_the_protocol_is_spoken_in_json_too() -> None:
    assert run("--protocol").stdout == b"1\n"
    spec = json.loads(run("--spec", "--format", "json").stdout)
    paths = [procedure["path"] for procedure in spec["procedures"]]
    assert "/buf.plugin.check.v1.CheckService/Check" in paths
    answer = json.loads(run("/buf.plugin.check.v1.CheckService/ListRules", "--format", "json").stdout)
    assert answer["value"]["rules"][0]["id"] == "PP101"


def test_what_is_no_call_is_told() -> None:
    answer = json.loads(run("/buf.plugin.check.v1.CheckService/Check", "--format", "json", stdin=b"{").stdout)
    assert answer["error"]["code"] == 3
    refused = run("lint")
    assert refused.returncode == 2
    assert b"invalid choice: 'lint'" in refused.stderr
