"""`protopact release status` and `retire`: what an engine says of the runs of each release."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.devserver import DevServer
from tests.versioning.conftest import Protopact
from tests.versioning.deployment import V1, V2, V3, Service, Shop, buying
from typer.testing import CliRunner

import protopact as runtime
from protopact.cli import app
from protopact.engine import TerminateWorkflow, WorkflowRef
from protopact.errors import StoreError


class Engine:
    """An engine on which runs are started and ended."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark = uuid4().hex[:8]

    def start(self, shop: Service, name: str) -> None:
        """Start a run."""

        async def start() -> None:
            async with runtime.connect(self.url) as engine:
                await shop.Client(engine).start_buy(buying(shop, "tea"), id=f"{name}-{self.mark}")

        asyncio.run(start())

    def end(self, name: str, *, delete: bool = False) -> None:
        """Close a run, or delete it."""
        ref = WorkflowRef(f"{name}-{self.mark}")

        async def end() -> None:
            async with runtime.connect(self.url) as engine:
                if delete:
                    await engine.delete_workflow(ref)
                else:
                    await engine.terminate_workflow(TerminateWorkflow(ref=ref))

        asyncio.run(end())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(f"sqlite:///{tmp_path}/shop.db")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_runs_are_counted_by_release(protopact: Protopact, shop: Shop, engine: Engine) -> None:
    shop.cut("v1", V1)
    first, bare = shop.generate(V1), shop.generate(V3, checked=False)
    shop.cut("v2", V2)
    second = shop.generate(V2)
    for name, version in (("a", first), ("b", first), ("c", second), ("d", bare)):
        engine.start(version, name)
    engine.end("a")
    answer = protopact("release", "status", "--engine", engine.url)
    assert answer.exit_code == 0
    counted, unknown = answer.output.splitlines()[:3], answer.output.splitlines()[3]
    assert counted == [
        "v1  live, 1 is open, 1 closed and retained",
        "v2  live, 1 is open, 0 closed and retained",
        "unknown  1 is open, 0 closed and retained",
    ]
    digest = bare.Buy.__protopact__().closure.digest
    assert unknown.startswith(f"    shop.v1.ShopService.Buy d-{engine.mark} (run ")
    assert unknown.endswith(f": contract {digest[:12]}, which is of no release")


def test_a_run_counts_for_the_release_that_it_was_started_under(
    protopact: Protopact, shop: Shop, engine: Engine
) -> None:
    """Another one may have the same digest, and its workers poll another queue."""
    shop.cut("v1", V1)
    engine.start(shop.generate(V1), "a")
    allowed = 'option (protopact.v1.method).allow = {rule: "C15" releases: "v1" reason: "workers poll both queues"};'
    moved = V1.replace('{id: "sell/{item}"};', '{id: "sell/{item}" task_queue: "mall"}; ' + allowed)
    shop.cut("v1.1", moved)
    engine.start(shop.generate(moved), "b")
    assert protopact("release", "status", "--engine", engine.url).output.splitlines() == [
        "v1  live, 1 is open, 0 closed and retained",
        "v1.1  live, 1 is open, 0 closed and retained",
    ]
    refused = protopact("release", "retire", "v1", "--engine", engine.url)
    assert refused.exit_code == 1
    assert "of the runs that began under it, 1 is open" in refused.output
    engine.end("a", delete=True)
    assert protopact("release", "retire", "v1", "--engine", engine.url).output == "v1 is retired\n"


def test_a_run_that_names_no_release_counts_for_the_oldest_that_it_may_be_of(
    protopact: Protopact, shop: Shop, engine: Engine
) -> None:
    """Code that was generated before its release was cut."""
    shop.cut("v0", re.sub("  rpc Sell.*", "", V1))
    early = shop.generate(V1)
    shop.cut("v1", V1)
    shop.cut("v1.1", V1)
    engine.start(early, "a")
    lines = protopact("release", "status", "--engine", engine.url).output.splitlines()
    assert lines == [
        "v0  live, no run is left",
        "v1  live, 1 is open, 0 closed and retained",
        "v1.1  live, no run is left",
    ]
    answer = protopact("release", "retire", "v1.1", "--engine", engine.url)
    assert "v1.1 is not retired: it came after v1, and of the runs that began under v1, 1 is open" in answer.output


def test_a_release_is_retired_when_nothing_of_it_is_left(protopact: Protopact, shop: Shop, engine: Engine) -> None:
    shop.cut("v1", V1)
    first = shop.generate(V1)
    shop.cut("v2", V2)
    engine.start(first, "a")

    def retire(name: str) -> str:
        answer = protopact("release", "retire", name, "--engine", engine.url)
        assert answer.exit_code == (1 if "not retired" in answer.output else 0)
        return answer.output

    left = "v1 is not retired: of the runs that began under it,"
    assert retire("v1") == f"protopact: {left} 1 is open, 0 closed and retained\n"
    assert retire("v2") == (
        "protopact: v2 is not retired: it came after v1, and of the runs that began under v1, 1 is open, 0 closed and "
        "retained, in whose histories there may be what it wrote; retire v1 first\n"
    )
    engine.end("a")
    assert retire("v1") == f"protopact: {left} 0 are open, 1 closed and retained\n"
    engine.end("a", delete=True)
    assert retire("v1") == "v1 is retired\n"
    assert protopact("release", "list").output.splitlines()[0] == f"v1  retired: no run of it was left on {engine.url}"


def test_an_unknown_run_that_is_open_stands_in_the_way(protopact: Protopact, shop: Shop, engine: Engine) -> None:
    shop.cut("v1", V1)
    bare = shop.generate(V2, checked=False)
    for name in "abcde":
        engine.start(bare, name)
    answer = protopact("release", "retire", "v1", "--engine", engine.url)
    assert answer.exit_code == 1
    assert answer.output.startswith(
        "protopact: v1 is not retired: 5 runs are open that are of no known release, and may have begun under it:\n"
    )
    assert answer.output.splitlines()[-1] == "    and 2 more"
    for name in "abcde":
        engine.end(name)
    assert protopact("release", "retire", "v1", "--engine", engine.url).output == "v1 is retired\n"


def test_runs_of_a_retired_release_are_still_told(protopact: Protopact, shop: Shop, engine: Engine) -> None:
    shop.cut("v1", V1)
    engine.start(shop.generate(V1), "a")
    shop.cut("v2", V2)
    forced = protopact("release", "retire", "v1", "--engine", engine.url, "--force", "we let it break")
    assert forced.output == "v1 is retired\n"
    assert protopact("release", "status", "--engine", engine.url).output.splitlines() == [
        "v1  retired, 1 is open, 0 closed and retained",
        "v2  live, no run is left",
    ]


def test_an_engine_that_is_not_there(shop: Shop) -> None:
    shop.cut("v1", V1)
    answer = CliRunner().invoke(
        app, ["release", "status", "--engine", "sqlite:///nowhere.db", "--lock", str(shop.lock)]
    )
    assert isinstance(answer.exception, StoreError)
    assert str(answer.exception) == (
        "sqlite:///nowhere.db: nowhere.db holds no runs; name the file that a worker writes"
    )


def test_on_temporal(protopact: Protopact, shop: Shop, temporal_server: DevServer) -> None:
    """The same questions; the server's list answers, once it has heard of a run."""
    engine = Engine(temporal_server.url)
    # Under names of its own: the server is shared.
    named = V1.replace('{id: "buy', f'{{name: "Buy {engine.mark}" id: "buy')
    named = named.replace('{id: "sell', f'{{name: "Sell {engine.mark}" id: "sell')
    shop.cut("v1", named)
    first, bare = (
        shop.generate(named),
        shop.generate(named.replace("string coin = 1;", "bytes coin = 1;"), checked=False),
    )
    engine.start(first, "a")
    engine.start(bare, "b")

    def status() -> list[str]:
        return protopact("release", "status", "--engine", engine.url).output.splitlines()[:2]

    until(
        lambda: status() == ["v1  live, 1 is open, 0 closed and retained", "unknown  1 is open, 0 closed and retained"]
    )
    assert "is not retired" in protopact("release", "retire", "v1", "--engine", engine.url).output
    engine.end("a", delete=True)
    engine.end("b")
    until(lambda: status() == ["v1  live, no run is left", "unknown  0 are open, 1 closed and retained"])
    assert protopact("release", "retire", "v1", "--engine", engine.url).output == "v1 is retired\n"


def until(condition: Callable[[], bool]) -> None:
    """Wait until the server has heard of it."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
