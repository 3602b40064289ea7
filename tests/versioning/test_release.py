"""`protopact release`, and everything that can be wrong with a lock."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest
from tests.versioning.conftest import HEADER, ROOT, WELL_KNOWN, Compile, Protopact, git, protoc

from protopact_codegen.versioning import notation
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.sources import from_input

SHOP = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {
      id: "buy/{item}" name: "Buy" aliases: "old buy" signal: {ref: "Stop" start: true} execution_timeout: {seconds: 60}
    };
  }
  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
}
message BuyRequest {
  reserved 4 to 6, 9;
  reserved "region";
  string item = 1;
  optional int32 count = 2;
  Size size = 3;
  map<string, Tag> tags = 7;
  repeated Tag more = 8;
  oneof kind { string a = 10 [json_name = "a b"]; Tag b = 11; }
  google.protobuf.Timestamp at = 12;
}
enum Size { option allow_alias = true; SIZE_UNSPECIFIED = 0; SIZE_SMALL = 1; SIZE_S = 1; reserved -5 to -3; }
message Tag { string name = 1; Tag inner = 2; }
message StopRequest {}
message BuyResponse {}
message Unreached {}
"""
)
LINES = """\
shop.v1.BuyRequest message reserved=4..6,9,region
shop.v1.BuyRequest.a field 10 singular string "a b" explicit oneof=kind
shop.v1.BuyRequest.at field 12 singular message:google.protobuf.Timestamp at explicit
shop.v1.BuyRequest.b field 11 singular message:shop.v1.Tag b explicit oneof=kind
shop.v1.BuyRequest.count field 2 singular int32 count explicit
shop.v1.BuyRequest.item field 1 singular string item implicit
shop.v1.BuyRequest.more field 8 repeated message:shop.v1.Tag more implicit
shop.v1.BuyRequest.size field 3 singular enum:shop.v1.Size size implicit
shop.v1.BuyRequest.tags field 7 map string->message:shop.v1.Tag tags implicit
shop.v1.BuyResponse message
shop.v1.ShopService service shop.proto
shop.v1.ShopService.Buy handles signal shop.v1.ShopService.Stop start
shop.v1.ShopService.Buy option execution_timeout 60000000
shop.v1.ShopService.Buy option id ["buy/", {"field": "item", "transforms": []}]
shop.v1.ShopService.Buy option task_queue "shop"
shop.v1.ShopService.Buy workflow shop.v1.BuyRequest shop.v1.BuyResponse name="Buy" aliases=["old buy"]
shop.v1.ShopService.Stop signal shop.v1.StopRequest google.protobuf.Empty name="shop.v1.ShopService.Stop"
shop.v1.Size enum open reserved=-5..-3
shop.v1.Size value 0 SIZE_UNSPECIFIED
shop.v1.Size value 1 SIZE_SMALL SIZE_S
shop.v1.StopRequest message
shop.v1.Tag message
shop.v1.Tag.inner field 2 singular message:shop.v1.Tag inner explicit
shop.v1.Tag.name field 1 singular string name implicit
"""
LOCK = Path("protopact.lock")


def test_a_release_is_the_closure_of_what_annotated_services_reach(protopact: Protopact, image: Compile) -> None:
    assert protopact("release", "cut", "v1.0", image("one", SHOP)).output == "v1.0 is cut\n"
    assert protopact("release", "show", "v1.0").output == LINES
    assert protopact("release", "list").output == "v1.0  live, 1 service, 4 messages\n"
    _, _, body = (LOCK / "v1.0.release").read_text().partition("\n\n")
    (digest,) = set(body.splitlines()) - set(LINES.splitlines())
    assert digest.startswith("shop.v1.ShopService.Buy digest ")
    assert body.splitlines() == sorted((digest, *LINES.splitlines()))


def test_a_diff_speaks_of_what_changed_and_of_nothing_else(protopact: Protopact, image: Compile) -> None:
    one = image("one", SHOP)
    other = image("other", SHOP.replace("Tag inner = 2;", "// New.\n  Tag outer = 3;"))
    protopact("release", "cut", "v1", one)
    assert protopact("release", "diff", "v1", "--input", one).exit_code == 0
    said = [
        "- shop.v1.Tag.inner field 2 singular message:shop.v1.Tag inner explicit",
        "+ shop.v1.Tag.outer field 3 singular message:shop.v1.Tag outer explicit",
    ]
    answer = protopact("release", "diff", "v1", "--input", other)
    assert (answer.exit_code, answer.output.splitlines()) == (1, said)
    protopact("release", "cut", "v2", other)
    assert protopact("release", "diff", "v1", "v2").output.splitlines() == said
    assert protopact("release", "diff", "v2", "v1").output.splitlines() == [
        said[0].replace("-", "+", 1),
        said[1].replace("+", "-", 1),
    ]


def test_the_working_tree_and_a_git_ref_are_built_by_buf(protopact: Protopact, tmp_path: Path) -> None:
    protopact("proto", "export", "proto")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: proto}]\n")
    contract = tmp_path / "proto/shop.proto"
    contract.write_text(SHOP)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    git(tmp_path, "tag", "v1")
    contract.write_text(SHOP.replace("Tag inner = 2;", ""))
    assert protopact("release", "cut", "v2").output == "v2 is cut\n"
    assert protopact("release", "cut", "v1", "--ref", "v1").output == "v1 is cut\n"
    assert protopact("release", "show", "v1").output == LINES
    assert len(protopact("release", "diff", "v1", "v2").output.splitlines()) == 1
    assert protopact("release", "diff", "v2").exit_code == 0
    lost = protopact("release", "cut", "v3", "--ref", "v9")
    assert (lost.exit_code, lost.output.splitlines()[0]) == (1, "protopact: 'v9' cannot be read with git:")
    contract.write_text("no proto")
    broken = protopact("release", "cut", "v3")
    assert broken.output.startswith("protopact: buf cannot build .:\nproto/shop.proto:1:1:")
    assert broken.exit_code == 1


def test_services_of_other_modules_are_not_ours(protopact: Protopact, tmp_path: Path) -> None:
    """buf marks what an input imports from elsewhere, and generates nothing for it."""
    protopact("proto", "export", "schema")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: schema}, {path: ours}, {path: theirs}]\n")
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/shop.proto").write_text(SHOP)
    ours = SHOP.replace("shop.v1", "mine.v1").replace("Tag inner", "shop.v1.Tag inner")
    (tmp_path / "ours/mine.proto").write_text(ours.replace("import", 'import "shop.proto";\nimport', 1))
    assert protopact("release", "cut", "v1", "ours").exit_code == 0
    assert "ShopService service shop.proto" not in protopact("release", "show", "v1").output
    assert "mine.v1.ShopService service mine.proto" in protopact("release", "show", "v1").output


def test_cutting_twice(protopact: Protopact, image: Compile) -> None:
    one, other = image("one", SHOP), image("other", SHOP.replace("Tag inner = 2;", ""))
    protopact("release", "cut", "v1", one)
    again = protopact("release", "cut", "v1", one)
    assert (again.exit_code, again.output) == (0, "v1 is cut already, from the same contract\n")
    answer = protopact("release", "cut", "v1", other)
    assert answer.exit_code == 1
    assert answer.output == (
        "protopact: the release v1 is cut already, from another contract: 1 line differs (`protopact release diff "
        "v1`); a release does not change: choose another name\n"
    )


def test_retiring_wants_a_reason_that_stays(protopact: Protopact, image: Compile) -> None:
    one = image("one", SHOP)
    protopact("release", "cut", "v1", one)
    refused = protopact("release", "retire", "v1")
    assert refused.exit_code == 1
    assert refused.output == (
        "protopact: v1 is not retired: say which engine to ask whether runs that began under it are left (protopact "
        'release retire v1 --engine URL), or that you know that none are (--force "REASON")\n'
    )
    assert protopact("release", "retire", "v1", "--force", " ").exit_code == 1
    assert protopact("release", "retire", "v1", "--force", "drained on\nFriday").output == "v1 is retired\n"
    assert protopact("release", "list").output == "v1  retired: drained on Friday\n"
    for arguments in (("show", "v1"), ("retire", "v1", "--force", "x"), ("cut", "v1", one)):
        answer = protopact("release", *arguments)
        assert answer.exit_code == 1
        assert "drained on Friday" in answer.output


def test_two_branches_that_cut_different_releases_merge(protopact: Protopact, image: Compile, tmp_path: Path) -> None:
    one = image("one", SHOP)
    other = image("other", SHOP.replace("Tag inner = 2;", ""))
    protopact("release", "cut", "v1", one)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=v1")
    git(tmp_path, "switch", "--quiet", "--create=branch")
    protopact("release", "cut", "v2", one)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=v2")
    git(tmp_path, "switch", "--quiet", "main")
    protopact("release", "cut", "v1.1", other)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=v1.1")
    git(tmp_path, "merge", "--quiet", "--no-edit", "branch")
    listed = protopact("release", "list").output.splitlines()
    assert [line.split()[0] for line in listed] == ["v1", "v1.1", "v2"]


def test_no_lock_yet_and_a_lost_one(protopact: Protopact, image: Compile) -> None:
    answer = protopact("release", "list")
    assert answer.exit_code == 1
    assert answer.output == (
        "protopact: there is no lock at protopact.lock; if it never was there, `protopact release cut NAME` makes it "
        "from the contract that is deployed; if it was, bring it back from version control\n"
    )
    LOCK.mkdir()
    settings = "encoding binary/protobuf\ndeployment pinned\nclients outside\n"
    (LOCK / "settings").write_text(settings)
    for command, code in ((("release", "list"), 1), (("check", "."), 3)):
        answer = protopact(*command)
        assert answer.exit_code == code
        assert answer.output == (
            "protopact: protopact.lock holds no release; if it held some, bring them back from version control; if it "
            "never did, `protopact release cut NAME` makes the first from the contract that is deployed\n"
        )
    assert protopact("release", "cut", "v1", image("one", SHOP)).output == "v1 is cut\n"
    assert (LOCK / "settings").read_text() == settings
    rmtree(LOCK)
    LOCK.write_text("")
    assert "protopact.lock is a file; the lock is a folder" in protopact("release", "list").output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("explicit", "implicit", "was edited by hand, or merged: its checksum does not hold; bring v1.release back"),
        (
            "release v1\n",
            "<<<<<<< HEAD\nrelease v1\n",
            ":3: markers of a merge conflict: two branches have cut or retired",
        ),
        (
            "format 1",
            "format 2",
            ": the format of the lock is 2, and this protopact reads 1: install a newer protopact",
        ),
        ("format 1", "", ": this is not the file of the release v1; bring v1.release back"),
        ("release v1", "release v2", ": this is not the file of the release v1; bring v1.release back"),
    ],
    ids=["edited", "conflict", "newer", "emptied", "renamed"],
)
def test_a_file_that_cannot_be_used(old: str, new: str, said: str, protopact: Protopact, image: Compile) -> None:
    protopact("release", "cut", "v1", image("one", SHOP))
    path = LOCK / "v1.release"
    path.write_text(path.read_text().replace(old, new))
    answer = protopact("release", "list")
    assert answer.exit_code == 1
    assert answer.output.startswith("protopact: protopact.lock/v1.release")
    assert said in answer.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"clients \xff\n", " is no text; bring it back from version control"),
        (
            b"encoding binary/protobuf\n<<<<<<< HEAD\nclients inside\n=======\nclients outside\n>>>>>>> main\n",
            ":2: markers of a merge conflict: two branches have said this differently; leave one line for each setting",
        ),
        (b"", ":0: encoding is not said; add a line: encoding binary/protobuf or json/protobuf strict or "),
        (
            b"encoding binary/protobuf\ndeployment pinned\nx.Y clients inside\n",
            ":3: clients is not said; add a line: clients inside or outside",
        ),
    ],
    ids=["no text", "conflict", "emptied", "a line is lost"],
)
def test_settings_that_cannot_be_used(text: bytes, said: str, protopact: Protopact, image: Compile) -> None:
    one = image("one", SHOP)
    protopact("release", "cut", "v1", one)
    (LOCK / "settings").write_bytes(text)
    answer = protopact("check", one)
    assert answer.exit_code == 3
    assert answer.output.startswith(f"protopact: protopact.lock/settings{said}")


def test_a_default_may_hold_any_character(protopact: Protopact, image: Compile) -> None:
    """Python ends lines at more of them than a file does."""
    rpc = "rpc Buy(BuyRequest) returns (BuyResponse) { option (protopact.v1.method).workflow = {}; }"
    service = f"service ShopService {{ option (protopact.v1.service).task_queue = 'q'; {rpc} }}\n"
    request = r'message BuyRequest { optional string item = 1 [default = "a\302\205b\342\200\250c\nd\re"]; }'
    text = f"{HEADER.replace('proto3', 'proto2')}{service}{request} message BuyResponse {{}}"
    one = image("one", text)
    assert protopact("release", "cut", "v1", one).output == "v1 is cut\n"
    assert protopact("check", one).output == ""


def test_a_lost_release_is_missed(protopact: Protopact, image: Compile) -> None:
    protopact("release", "cut", "v1", image("one", SHOP))
    protopact("release", "cut", "v2", image("one", SHOP))
    (LOCK / "v1.release").unlink()
    answer = protopact("release", "list")
    assert answer.exit_code == 1
    assert answer.output == (
        "protopact: protopact.lock/v1.release is lost: v2 was cut after v1, and a release that is over is retired, not "
        "deleted; bring the file back from version control\n"
    )


def test_mistakes_are_told(protopact: Protopact, image: Compile, tmp_path: Path) -> None:
    protopact("release", "cut", "v1", image("one", SHOP))
    assert "there is no release 'v9' in protopact.lock; there are v1" in protopact("release", "show", "v9").output
    for name in ("a/b", "v" * 101):
        assert f"{name!r} is no name of a release" in protopact("release", "cut", name, image("one", SHOP)).output
    assert protopact("release", "cut", "V1", image("one", SHOP)).output == (
        "protopact: V1 and v1 are one file where letters have no case; choose another name\n"
    )
    (tmp_path / "text.binpb").write_text("no image")
    assert "text.binpb is no image of buf" in protopact("release", "cut", "v2", "text.binpb").output
    bare = image("bare", 'syntax = "proto3";\nmessage M {}\n')
    assert "has no service with an annotated rpc" in protopact("release", "cut", "v2", bare).output
    wrong = image("wrong", SHOP.replace('task_queue: "shop"', ""))
    answer = protopact("release", "cut", "v2", wrong)
    assert answer.exit_code == 1
    assert answer.output.startswith("protopact: 1 error in the contract\nshop.proto:10:5: PP601 ")


def test_without_buf(protopact: Protopact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    answer = protopact("release", "cut", "v1")
    assert answer.exit_code == 1
    assert answer.output.startswith("protopact: buf is not on the path; install it, or name an image instead: protoc ")


def test_an_old_protobuf(protopact: Protopact, image: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command comes with the runtime, which admits an older protobuf than the plugin."""
    monkeypatch.setattr("google.protobuf.__version__", "5.29.3")
    answer = protopact("release", "cut", "v1", image("one", SHOP))
    assert answer.exit_code == 1
    assert answer.output == (
        "protopact: contracts are read with protobuf 6.31 or newer, and 5.29.3 is installed: pip install "
        "'protopact[codegen]'\n"
    )


def test_the_notation_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Everything that the corpus of contracts holds, proto2 and editions included, reads back as it was written."""
    for folder in sorted((ROOT / "tests/corpus/protos").iterdir()):
        protos = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
        includes = [f"--proto_path={path}" for path in (folder, folder.parent / "any", ROOT / "runtime", WELL_KNOWN)]
        output = tmp_path / f"{folder.name}.binpb"
        outputs = [f"--descriptor_set_out={output}", "--include_imports", "--include_source_info"]
        protoc(*includes, *outputs, *protos)
        snapshot = capture(from_input(str(output)))
        assert notation.read(notation.write(snapshot)) == snapshot
