"""Which runs a worker takes: deployments forth and back, with code that is generated against a lock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.embedded.bench import open_engine, soon
from tests.versioning.deployment import V1, V2, V3, Service, Shop, buying, paying, selling, workflows

from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import WorkflowDescription
from protopact.errors import OptionError, QueryError


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two releases, one after the other."""
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


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def engine(clock: VirtualClock) -> AsyncIterator[EmbeddedEngine]:
    async with open_engine(clock=clock) as opened:
        yield opened


async def _describe(engine: EmbeddedEngine, workflow_id: str) -> WorkflowDescription:
    (found,) = [each async for each in engine.list_workflows(workflow_id=workflow_id, status=None)][:1]
    return found


async def _deploy(engine: EmbeddedEngine, clock: VirtualClock, starter: Service, worker: Service) -> str | None:
    """Start a run with one version, have a worker of another one take it; why it could not."""
    handle = await starter.Client(engine).start_buy(buying(starter, "tea"), id="w")
    async with engine.worker(workflows=workflows(worker)):
        await clock.settle()
        description: WorkflowDescription = await handle.describe()
        if description.task_failure is None:
            await handle.pay(paying(starter, "a penny"))
            assert (await soon(handle.result())).receipt == "tea for a penny"
    return description.task_failure


async def test_a_rollout_parks_nothing(
    engine: EmbeddedEngine, clock: VirtualClock, first: Service, second: Service
) -> None:
    """Workers first: the new ones take what older clients start. Clients first, or a way back: the older ones do."""
    for starter, worker in ((first, second), (second, first), (first, first)):
        assert await _deploy(engine, clock, starter, worker) is None


async def test_a_run_is_handed_over_and_back(
    engine: EmbeddedEngine, clock: VirtualClock, first: Service, second: Service
) -> None:
    handle = await first.Client(engine).start_buy(buying(first, "tea"), id="w")
    for version in (first, second, first, second):
        async with engine.worker(workflows=workflows(version)):
            assert (await soon(handle.paid(first.Buy.__protopact__().queries[0].request.type()))).coins == ""
    await handle.pay(paying(first, "a penny"))
    async with engine.worker(workflows=workflows(first)):
        assert (await soon(handle.result())).receipt == "tea for a penny"


@pytest.mark.usefixtures("second")
async def test_a_worker_that_does_not_know_the_contract_parks_the_run(
    engine: EmbeddedEngine, clock: VirtualClock, first: Service, third: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    handle = await first.Client(engine).start_buy(buying(first, "tea"), id="w")
    async with engine.worker(workflows=workflows(first)):
        await clock.settle()
    digest = first.Buy.__protopact__().closure.digest
    async with engine.worker(workflows=workflows(third)):
        with pytest.raises(QueryError, match=rf"started under release v1 \(contract {digest[:12]}\)"):
            await soon(handle.paid(first.Buy.__protopact__().queries[0].request.type()))
        await handle.pay(paying(first, "a penny"))
        await clock.settle()
        failure = (await handle.describe()).task_failure
        assert failure is not None
        assert failure.startswith(
            f"ContractMismatchError: the run was started under release v1 (contract {digest[:12]}) of "
            "shop.v1.ShopService.Buy, which this worker does not know: its own is release v3 "
        )
        assert "was checked against v2, v3. A worker that knows it takes the run" in failure
    async with engine.worker(workflows=workflows(first)):
        assert (await soon(handle.result())).receipt == "tea for a penny"
    assert await _deploy(engine, clock, third, first) is not None


async def test_whatever_is_not_known_is_taken(
    engine: EmbeddedEngine, clock: VirtualClock, shop: Shop, first: Service, third: Service
) -> None:
    """Without a lock on either side, there is nothing to go by."""
    bare = shop.generate(V2, checked=False)
    for starter, worker in ((bare, third), (first, bare)):
        assert await _deploy(engine, clock, starter, worker) is None


async def test_who_starts_a_run_records_its_contract(
    engine: EmbeddedEngine, clock: VirtualClock, first: Service, second: Service
) -> None:
    """A client, a run that goes on as a new one, and a parent: each says what it was generated from."""
    handle = await first.Client(engine).start_sell(selling(first, "tea", rounds=1), id="w", memo={"who": "me"})
    before = await handle.describe()
    sell, buy = (each.__protopact__().closure for each in (first.Sell, first.Buy))
    assert before.memo == {"who": "me"}
    assert before.origin is not None
    assert (before.origin.digest, before.origin.release) == (sell.digest, "v1")
    assert before.origin.checked == frozenset({sell.digest})
    async with engine.worker(workflows=workflows(second)):
        await clock.settle()
        new_sell, new_buy = (each.__protopact__().closure for each in (second.Sell, second.Buy))
        goes_on, child = await _describe(engine, "w"), await _describe(engine, "child")
        assert goes_on.memo == {"left": "1"}
        for found, closure in ((goes_on, new_sell), (child, new_buy)):
            assert found.origin is not None
            assert (found.origin.digest, found.origin.release) == (closure.digest, "v2")
        assert child.origin is not None
        assert child.origin.checked == frozenset({buy.digest, new_buy.digest})


async def test_the_keys_are_not_for_others(engine: EmbeddedEngine, first: Service) -> None:
    with pytest.raises(OptionError, match=r"option memo: 'protopact.contract' is protopact's own"):
        await first.Client(engine).start_buy(buying(first, "tea"), memo={"protopact.contract": "x"})
