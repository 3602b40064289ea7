"""Runs that a later version of the contract takes over: under new names, and past declared changes of the code."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import uuid4

import pytest
from tests.versioning.conftest import compile_image
from tests.versioning.deployment import V1, Service, Shop, buying, message, paying
from tests.versioning.modules import load
from tests.versioning.stage import QUICKLY, UNSANDBOXED, Stage

from protopact.engine import WorkflowStatus
from protopact.errors import QueryError, UpdateFailedError

BUY = 'rpc Buy(BuyRequest) returns (BuyResponse) {\n    option (protopact.v1.method).workflow = {id: "buy/{item}"'
RENAMED = (
    V1.replace(BUY, BUY.replace("Buy(BuyRequest)", "Purchase(PurchaseRequest)") + ' aliases: "shop.v1.ShopService.Buy"')
    .replace('ref: "Pay"', 'ref: "Settle"')
    .replace('ref: "Paid"', 'ref: "Settled"')
    .replace("rpc Pay(", "rpc Settle(")
    .replace("rpc Paid(", "rpc Settled(")
    .replace("signal = {}", 'signal = {aliases: "shop.v1.ShopService.Pay"}')
    .replace("query = {}", 'query = {aliases: "shop.v1.ShopService.Paid"}')
    .replace(
        "message BuyRequest {",
        'message PurchaseRequest {\n  option (protopact.v1.message).aliases = "shop.v1.BuyRequest";',
    )
)
CHANGED = V1.replace(BUY, f'{BUY} change: {{id: "in-pounds" since: "v2"}}')
ADDED = (
    V1.replace(
        'query: {ref: "Paid"}', 'query: {ref: "Paid"} query: {ref: "Tips"} signal: {ref: "Tip"} update: {ref: "Haggle"}'
    )
    .replace(
        "  rpc Paid(",
        """\
  rpc Lend(LendRequest) returns (LendResponse) { option (protopact.v1.method).workflow = {id: "lend/{item}"}; }
  rpc Tip(TipRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Tips(TipsRequest) returns (TipsResponse) { option (protopact.v1.method).query = {}; }
  rpc Haggle(HaggleRequest) returns (HaggleResponse) { option (protopact.v1.method).update = {}; }
  rpc Paid(""",
    )
    .replace(
        "message PaidRequest {}",
        """\
message LendRequest { string item = 1; }
message LendResponse {}
message TipRequest { string coin = 1; }
message TipsRequest {}
message TipsResponse {}
message HaggleRequest { string coin = 1; }
message HaggleResponse {}
message PaidRequest {}""",
    )
)
DEPRECATED = V1.replace(BUY, f'{BUY} change: {{id: "in-pounds" since: "v2" deprecated: true}}')


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Where versions are generated, without a lock: whatever is begun is taken."""
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def old(shop: Shop) -> Service:
    """The first version."""
    return shop.generate(V1, checked=False)


@pytest.fixture(scope="module")
def new(shop: Shop) -> Service:
    """Everything has another name."""
    return shop.generate(RENAMED, checked=False)


@pytest.fixture(scope="module")
def life(shop: Shop, old: Service) -> list[type]:
    """The code before a change, with it, with it deprecated, and with nothing but the new branch."""
    active, deprecated = (shop.generate(each, checked=False) for each in (CHANGED, DEPRECATED))
    versions = [changing_workflow(each) for each in (old, active, deprecated)]
    return [*versions, changing_workflow(old, before="pounds")]


def renamed_workflow(shop: Service) -> type:
    purchase = shop.Purchase.__protopact__()

    class Purchase(shop.Purchase):  # type: ignore[misc]  # generated while the tests run
        async def run(self, request: Any) -> Any:  # noqa: ANN401 - as above
            payment = await self.settle.receive()
            return purchase.response.type(receipt=f"{request.item} settled with {payment.coin}")

        def settled(self, request: Any) -> Any:  # noqa: ANN401 - as above
            return purchase.queries[0].response.type(coins="none")

    return Purchase


def changing_workflow(shop: Service, *, before: str = "pence") -> type:
    """Code on a contract with the change, where it has one; `before` is what it says where it has none."""
    buy = shop.Buy.__protopact__()

    class Buy(shop.Buy):  # type: ignore[misc]  # as above
        async def run(self, _request: Any) -> Any:  # noqa: ANN401 - as above
            changed = self.changed.in_pounds() if hasattr(self, "changed") else before == "pounds"
            await self.pay.receive()
            # Once the change is deprecated, its call answers nothing: there is the new branch alone.
            return buy.response.type(receipt="pence" if changed is False else "pounds")

        def paid(self, request: Any) -> Any:  # noqa: ANN401 - as above
            return buy.queries[0].response.type(coins="none")

    return Buy


async def test_a_run_is_taken_over_under_new_names(stage: Stage, old: Service, new: Service) -> None:
    """Its own name, its request's, and those of what it answers: each is the old one in its history."""
    ask = message(old.Buy.__protopact__().queries[0])
    begun, waiting = [await old.Client(stage.engine).start_buy(buying(old, "tea"), id=f"w-{uuid4()}") for _ in range(2)]
    async with stage.serving(old):
        assert (await asyncio.wait_for(begun.paid(ask), 20)).coins == ""
    await begun.pay(paying(old, "a penny"))
    async with stage.engine.worker(workflows=[renamed_workflow(new)], temporal=UNSANDBOXED):
        assert (await asyncio.wait_for(begun.result(), 20)).receipt == "tea settled with a penny"
        assert (await asyncio.wait_for(waiting.paid(ask), 20)).coins == "none"
        await waiting.pay(paying(old, "a crown"))
        assert (await asyncio.wait_for(waiting.result(), 20)).receipt == "tea settled with a crown"
        request = message(new.Purchase.__protopact__(), item="milk")
        handle = await new.Client(stage.engine).start_purchase(request, id=f"w-{uuid4()}")
        await handle.settle(message(new.Purchase.__protopact__().signals[0].signal, coin="a pound"))
        assert (await asyncio.wait_for(handle.result(), 20)).receipt == "milk settled with a pound"


async def test_each_run_keeps_its_side_of_a_declared_change(stage: Stage, old: Service, life: list[type]) -> None:
    """From before it, active, deprecated, and gone: a run that each began is ended by the next one."""
    ask = message(old.Buy.__protopact__().queries[0])
    said: list[str] = []
    for earlier, later in itertools.pairwise(life):
        handle = await old.Client(stage.engine).start_buy(buying(old, "tea"), id=f"w-{uuid4()}")
        async with stage.engine.worker(workflows=[earlier], temporal=UNSANDBOXED):
            await asyncio.wait_for(handle.paid(ask), 20)
        await handle.pay(paying(old, "a penny"))
        async with stage.engine.worker(workflows=[later], temporal=UNSANDBOXED):
            said.append((await asyncio.wait_for(handle.result(), 20)).receipt)
    assert said == ["pence", "pounds", "pounds"]


def lending_workflow(shop: Service) -> type:
    class Lend(shop.Lend):  # type: ignore[misc]  # as above
        async def run(self, _request: Any) -> Any:  # noqa: ANN401 - as above
            return shop.Lend.__protopact__().response.type()

    return Lend


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A workflow, a signal, a query and an update are new."""
    folder = tmp_path_factory.mktemp("added")
    return load(compile_image(folder, "added", ADDED), "betterproto2", folder).ShopService


async def test_older_workers_do_not_know_what_is_new(stage: Stage, old: Service, added: Service) -> None:
    """C1, C22, C27, C30: workers are deployed before clients."""
    new = added
    client, unique = new.Client(stage.engine), str(uuid4())
    signal, (query,), update = (
        next(each.signal for each in new.Buy.__protopact__().signals if each.signal.method == "tip"),
        [each for each in new.Buy.__protopact__().queries if each.method == "tips"],
        new.Buy.__protopact__().updates[0].update,
    )
    async with stage.serving(old):
        lent = await client.start_lend(
            message(new.Lend.__protopact__(), item="tea"), id=f"l-{unique}", task_timeout=QUICKLY
        )
        bought = await client.start_buy(buying(new, "tea"), id=f"w-{unique}")
        await bought.tip(message(signal, coin="a penny"))
        with pytest.raises(QueryError):
            await bought.tips(message(query))
        with pytest.raises(UpdateFailedError):
            await bought.haggle(message(update, coin="a penny"))
        await bought.pay(paying(new, "a pound"))
        assert (await bought.result()).receipt == "tea for a pound"
        assert (await lent.describe()).status is WorkflowStatus.RUNNING
    async with stage.engine.worker(workflows=[lending_workflow(new)], temporal=UNSANDBOXED):
        await asyncio.wait_for(lent.result(), 20)
