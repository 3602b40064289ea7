"""Digests of closures: what they follow, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.versioning.conftest import HEADER, Compile

from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.closure import digests
from protopact_codegen.versioning.sources import from_input

CONTRACT = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {
      id: "buy/{item}" name: "Buy" signal: {ref: "Stop"} run_timeout: {seconds: 9}
    };
  }
  rpc Sell(SellRequest) returns (SellResponse) { option (protopact.v1.method).workflow = {id: "sell/{item}"}; }
  rpc Pack(PackRequest) returns (PackResponse) {
    option (protopact.v1.method).activity = {start_to_close_timeout: {seconds: 5}};
  }
  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
}
service OtherService {
  option (protopact.v1.service) = {task_queue: "other"};
  rpc Lend(LendRequest) returns (LendResponse) { option (protopact.v1.method).workflow = {}; }
}
message BuyRequest { string item = 1; Tag tag = 2; Size size = 3; }
message BuyResponse {}
message SellRequest { string item = 1; }
message SellResponse {}
message PackRequest { Tag tag = 1; }
message PackResponse {}
message StopRequest {}
message LendRequest { string item = 1; }
message LendResponse {}
message Tag { string name = 1; Tag inner = 2; Label label = 3; }
message Label { Tag back = 1; string text = 2; }
message Unreached {}
enum Size { SIZE_UNSPECIFIED = 0; SIZE_SMALL = 1; }
"""
)
BUY, SELL, LEND = "shop.v1.ShopService.Buy", "shop.v1.ShopService.Sell", "shop.v1.OtherService.Lend"

Digests = Callable[[str], dict[str, str]]


@pytest.fixture
def digests_of(image: Compile) -> Digests:
    return lambda text: digests(capture(from_input(str(image("contract", text)))))


def test_they_are_the_same_for_ever(digests_of: Digests) -> None:
    """They are recorded with runs: a plugin that computes others parks runs for no reason."""
    assert digests_of(CONTRACT) == {
        BUY: "7d61f2308aa449e646fa925e2a5eba77",
        SELL: "2a5db4783db0237c1cc736018210a710",
        LEND: "a3f724d31a7d49919bdb1c1882229442",
    }


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("message Unreached {}", "message Unreached { string a = 1; }", ()),
        ("message Unreached {}", "// A comment.\nmessage Elsewhere {}", ()),
        ("{seconds: 9}", "{seconds: 10}", ()),
        ("{seconds: 5}", "{seconds: 6}", ()),
        ("{seconds: 5}", "{seconds: 5} wait_for_cancellation: true", (BUY, SELL)),
        ('task_queue: "shop"', 'task_queue: "store"', ()),
        ('signal: {ref: "Stop"}', 'signal: {ref: "Stop" start: true}', ()),
        ("message StopRequest {}", "message StopRequest { reserved 4; }", ()),
        ("message LendRequest { string item = 1; }", "message LendRequest { string thing = 1; }", (LEND,)),
        ("message StopRequest {}", "message StopRequest { string why = 1; }", (BUY,)),
        ("message Label { Tag back = 1; string text = 2; }", "message Label { Tag back = 1; }", (BUY, SELL)),
        ("SIZE_SMALL = 1;", "SIZE_LITTLE = 1;", (BUY, SELL)),
        ('name: "Buy"', 'name: "Purchase"', (BUY, SELL)),
        ('id: "sell/{item}"', 'id: "sold/{item}"', (BUY, SELL)),
        ("string item = 1; Tag", 'string item = 1 [json_name = "thing"]; Tag', (BUY, SELL)),
    ],
)
def test_what_changes_them(old: str, new: str, changed: tuple[str, ...], digests_of: Digests) -> None:
    assert CONTRACT.count(old) == 1
    before, after = digests_of(CONTRACT), digests_of(CONTRACT.replace(old, new))
    assert tuple(rpc for rpc in (BUY, SELL, LEND) if before[rpc] != after[rpc]) == changed


def test_order_does_not_count(digests_of: Digests) -> None:
    """Of messages, values and rpcs."""
    head, body = CONTRACT.split("message BuyRequest", 1)
    moved = head.replace("service ShopService", f"message BuyRequest{body}\nservice ShopService", 1)
    assert digests_of(moved) == digests_of(CONTRACT)
