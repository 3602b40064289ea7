"""What is beyond the limits of a run, where they are small; docs/engines.md has those of every day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests import devserver
from tests.conformance.bench import ROOT, Bench, Lab, Place, soon
from tests.conformance.programs import Demanding, Greedy, Other, text

from protopact import OptionError, RunLimitError, WorkflowFailedError
from protopact.embedded import limits
from protopact.errors import TerminatedError

LIMITS = {
    "history.maximumSignalsPerExecution": ("MOST_SIGNALS", 3),
    "history.maxTotalUpdates": ("MOST_UPDATES", 2),
    "limit.historyCount.error": ("MOST_EVENTS", 60),
    "limit.historySize.error": ("MOST_BYTES", 100_000),
    "limit.historyCount.suggestContinueAsNew": ("SUGGESTED_EVENTS", 12),
    "limit.numPendingActivities.error": ("MOST_PENDING", 2),
    "limit.numPendingChildExecutions.error": ("MOST_PENDING", 2),
    "limit.numPendingSignals.error": ("MOST_PENDING", 2),
    "limit.numPendingCancelRequests.error": ("MOST_PENDING", 2),
    "limit.maxIDLength": ("LONGEST_ID", 300),
}
"""Settings of a server, what they are called on the embedded engine, and how small they are here."""


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devserver.DevServer]:
    """A server whose limits are small."""
    config = {name: str(value) for name, (_, value) in LIMITS.items()}
    with devserver.start(tmp_path_factory.mktemp("limits"), dynamic_config=config) as running:
        yield running


@pytest.fixture(params=["memory", "file", pytest.param("temporal", marks=[pytest.mark.temporal, pytest.mark.slow])])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    name = f"limits-{uuid4().hex[:12]}"
    if request.param == "temporal":
        server: devserver.DevServer = request.getfixturevalue("small_server")
        return Place(server.url, name)
    for constant, value in LIMITS.values():
        monkeypatch.setattr(limits, constant, value)
    return Place("sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/suite.db", name)


def test_they_are_on_the_page() -> None:
    page = (ROOT / "docs/engines.md").read_text()
    section = page[page.index("## Sizes") :].partition("\n## ")[0]
    assert [name for name in LIMITS if f"`{name}`" not in section] == []
    numbers = [limits.MOST_EVENTS, limits.MOST_SIGNALS, limits.MOST_UPDATES, limits.MOST_PENDING, limits.LONGEST_ID]
    assert [f"{number:,}" for number in (*numbers, limits.SUGGESTED_EVENTS) if f"{number:,} " not in section] == []
    assert [size for size in (limits.MOST_BYTES, limits.SUGGESTED_BYTES) if f"{size >> 20} MiB" not in section] == []


async def test_signals(bench: Bench) -> None:
    handle = await bench.start()
    for _ in range(3):
        await handle.go(text("x"))
    with pytest.raises(RunLimitError, match="exceeded workflow execution limit for signal events"):
        await handle.go(text("x"))
    with pytest.raises(RunLimitError, match="exceeded workflow execution limit for signal events"):
        await bench.client.start_free_with_go(text(""), text("x"), id=handle.id)


async def test_signals_of_workflows(bench: Bench) -> None:
    other = await bench.start(name="w-other", task_queue="nobody's")
    for _ in range(3):
        await other.go(text("x"))
    async with bench.worker(Greedy):
        assert await bench.run("one more signal") == (
            "SignalCountLimitExceeded: Unable to signal external workflow because The per-workflow signal limit was "
            "exceeded"
        )


async def test_updates(bench: Bench) -> None:
    async with bench.worker(Greedy):
        handle = await bench.start()
        for each in range(2):
            await soon(handle.set(text("x"), id=f"{each}"))
        with pytest.raises(RunLimitError, match=r"limit on the total number of distinct updates.*\(2\)"):
            await soon(handle.set(text("x")))
        assert (await soon(handle.set(text("x"), id="1"))).value == "x", "known already"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("activities", "PendingActivitiesLimitExceeded: the number of pending activities, 2, has reached the per-"),
        ("children", "PendingChildWorkflowsLimitExceeded: the number of pending child workflow executions, 2, has"),
        ("signals", "PendingSignalsLimitExceeded: the number of pending signals to external workflows, 2, has"),
        ("cancellations", "PendingRequestCancelLimitExceeded: the number of pending requests to cancel external"),
        ("an id", "BadStartChildExecutionAttributes: "),
    ],
)
async def test_what_fails_the_task(bench: Bench, what: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    async with bench.worker(Demanding, Other):
        handle = await bench.start(what, task_timeout=timedelta(seconds=1))
        assert said in await bench.until_parked(handle)


@pytest.mark.parametrize(("what", "said"), [("events", "count"), ("bytes", "size")])
async def test_histories(bench: Bench, what: str, said: str) -> None:
    async with bench.worker(Greedy, activities=[Lab()]):
        handle = await bench.start(what)
        with pytest.raises(WorkflowFailedError, match=f"history {said} exceeds limit") as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, TerminatedError)


async def test_the_time_to_continue_as_new(bench: Bench) -> None:
    async with bench.worker(Greedy):
        assert 12 <= int(await bench.run("as many as suggested")) < 20


async def test_ids(bench: Bench) -> None:
    with pytest.raises(OptionError, match="WorkflowId length exceeds limit"):
        await bench.start(id="x" * 301)
    with pytest.raises(OptionError, match="length exceeds limit"):
        await bench.start(task_queue="x" * 301)
    handle = await bench.start(id=bench.id().ljust(300, "x"))
    with pytest.raises(OptionError, match="length exceeds limit"):
        await handle.start_set(text("x"), id="x" * 301)
