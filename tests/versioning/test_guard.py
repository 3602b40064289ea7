"""Which runs a worker takes: deployments forth and back, with code that is generated against a lock, on each engine."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from tests.versioning.deployment import V1, V2, V3, Service, Shop, buying, paying, selling
from tests.versioning.stage import QUICKLY, Stage

from protopact.errors import OptionError, QueryError
from protopact.origin import Origin


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A lock with one release."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.cut("v1", V1)
    return made


@pytest.fixture(scope="module")
def first(shop: Shop) -> Service:
    """The first release."""
    return shop.generate(V1)


@pytest.fixture(scope="module")
def second(shop: Shop, first: Service) -> Service:
    """The second one, a safe change of the first."""
    shop.cut("v2", V2)
    return shop.generate(V2)


@pytest.fixture(scope="module")
def third(shop: Shop, second: Service) -> Service:
    """The third one, cut after the first was retired: neither knows the other."""
    shop.retire("v1")
    shop.cut("v3", V3)
    return shop.generate(V3)


async def test_a_rollout_parks_nothing(stage: Stage, first: Service, second: Service) -> None:
    """Workers first: the new ones take what older clients start. Clients first, or a way back: the older ones do."""
    for starter, worker in ((first, second), (second, first), (first, first)):
        assert await stage.deploy(starter, worker) is None


async def test_a_run_is_handed_over_and_back(stage: Stage, first: Service, second: Service) -> None:
    handle = await first.Client(stage.engine).start_buy(buying(first, "tea"), id=f"w-{uuid4()}")
    ask = first.Buy.__protopact__().queries[0].request.type()
    for version in (first, second, first, second):
        async with stage.serving(version):
            assert (await asyncio.wait_for(handle.paid(ask), 20)).coins == ""
    await handle.pay(paying(first, "a penny"))
    async with stage.serving(first):
        assert (await asyncio.wait_for(handle.result(), 20)).receipt == "tea for a penny"


@pytest.mark.usefixtures("second")
async def test_a_worker_that_does_not_know_the_contract_parks_the_run(
    stage: Stage, first: Service, third: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    handle = await first.Client(stage.engine).start_buy(buying(first, "tea"), id=f"w-{uuid4()}", task_timeout=QUICKLY)
    ask = first.Buy.__protopact__().queries[0].request.type()
    async with stage.serving(first):
        await handle.paid(ask)
    digest = first.Buy.__protopact__().closure.digest
    async with stage.serving(third):
        with pytest.raises(QueryError, match=rf"started under release v1 \(contract {digest[:12]}\)"):
            await asyncio.wait_for(handle.paid(ask), 20)
        await handle.pay(paying(first, "a penny"))
        failure = await asyncio.wait_for(stage.parked(handle), 20)
        assert failure.startswith(
            f"ContractMismatchError: the run was started under release v1 (contract {digest[:12]}) of "
            "shop.v1.ShopService.Buy, which this worker does not know: its own is release v3 "
        )
        assert "was checked against v2, v3. A worker that knows it takes the run" in failure
    async with stage.serving(first):
        assert (await asyncio.wait_for(handle.result(), 20)).receipt == "tea for a penny"
    assert await stage.deploy(third, first) is not None


@pytest.mark.usefixtures("second")
async def test_a_run_that_is_refused_does_not_fail(
    stage: Stage, first: Service, third: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where every exception fails a run: none of its code has run."""
    caplog.set_level("CRITICAL")
    handle = await first.Client(stage.engine).start_buy(buying(first, "tea"), id=f"w-{uuid4()}")
    async with stage.serving(third, failure_types=[Exception]):
        failure = await asyncio.wait_for(stage.parked(handle), 20)
    assert failure.startswith("ContractMismatchError: the run was started under release v1 ")
    await handle.terminate()


async def test_whatever_is_not_known_is_taken(stage: Stage, shop: Shop, first: Service, third: Service) -> None:
    """Without a lock on either side, there is nothing to go by."""
    bare = shop.generate(V2, checked=False)
    for starter, worker in ((bare, third), (first, bare)):
        assert await stage.deploy(starter, worker) is None


async def test_who_starts_a_run_records_its_contract(stage: Stage, first: Service, second: Service) -> None:
    """A client, a run that goes on as a new one, and a parent: each says what it was generated from."""
    workflow_id = f"w-{uuid4()}"
    handle = await first.Client(stage.engine).start_sell(
        selling(first, workflow_id, rounds=1), id=workflow_id, memo={"who": "me"}
    )
    before = await handle.describe()
    sell, buy = (each.__protopact__().closure for each in (first.Sell, first.Buy))
    assert before.memo == {"who": "me"}
    assert before.origin == Origin(sell.digest, "v1", frozenset({sell.digest}))
    async with stage.serving(second):
        new_sell, new_buy = (each.__protopact__().closure for each in (second.Sell, second.Buy))
        goes_on = await asyncio.wait_for(stage.origin(workflow_id, "v2"), 20)
        assert goes_on == Origin(new_sell.digest, "v2", frozenset({sell.digest, new_sell.digest}))
        child = await asyncio.wait_for(stage.origin(f"child-{workflow_id}", "v2"), 20)
        assert child == Origin(new_buy.digest, "v2", frozenset({buy.digest, new_buy.digest}))
        description = await handle.describe()
        assert description.memo == {"who": "me", "left": "1"}
        await handle.terminate()


async def test_a_signal_that_starts_a_run_records_its_contract(stage: Stage, first: Service) -> None:
    request, payment = buying(first, f"tea-{uuid4()}"), paying(first, "a penny")
    handle = await first.Client(stage.engine).start_buy_with_pay(request, payment)
    digest = first.Buy.__protopact__().closure.digest
    assert (await handle.describe()).origin == Origin(digest, "v1", frozenset({digest}))
    await handle.terminate()


async def test_the_keys_are_not_for_others(stage: Stage, first: Service) -> None:
    with pytest.raises(OptionError, match=r"option memo: 'protopact.contract' is protopact's own"):
        await first.Client(stage.engine).start_buy(buying(first, "tea"), memo={"protopact.contract": "x"})
