"""Who gets a workflow id: every policy of reuse and conflict, over every run that may have it already."""

from __future__ import annotations

import asyncio
from typing import Protocol, Unpack

import pytest
from tests.conformance.bench import Bench, kinds, soon
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Ending, Other, Waiting, text

from protopact.client import WorkflowHandle
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyStartedError,
    OptionError,
    TerminatedError,
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.policy import StartOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy

ALLOWED = {
    WorkflowIdReusePolicy.ALLOW_DUPLICATE: {"completed", "failed", "cancelled", "terminated"},
    WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY: {"failed", "cancelled", "terminated"},
    WorkflowIdReusePolicy.REJECT_DUPLICATE: set[str](),
}
"""The ends of a prior run after which its id may be used again."""

ENDS = {
    "running": WorkflowStatus.TERMINATED,
    "other": WorkflowStatus.TERMINATED,
    "completed": WorkflowStatus.COMPLETED,
    "failed": WorkflowStatus.FAILED,
    "cancelled": WorkflowStatus.CANCELED,
    "terminated": WorkflowStatus.TERMINATED,
}
"""What a prior run may have come to, and the status that it has once another one has its id."""

TERMINATES = (WorkflowIdConflictPolicy.TERMINATE_EXISTING, WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE)


class Way(Protocol):
    """A way to start a Free."""

    __name__: str

    async def __call__(self, bench: Bench, **options: Unpack[StartOptions]) -> suite.Free.Handle: ...


async def plain(bench: Bench, **options: Unpack[StartOptions]) -> suite.Free.Handle:
    return await bench.client.start_free(text("next"), **options)


async def with_signal(bench: Bench, **options: Unpack[StartOptions]) -> suite.Free.Handle:
    return await bench.client.start_free_with_go(text("next"), text("at once"), **options)


async def with_update(bench: Bench, **options: Unpack[StartOptions]) -> suite.Free.Handle:
    handle, updated = await bench.client.start_free_with_set(text("next"), text("at once"), **options)
    assert (await soon(updated.result())).value == "new"
    return handle


WAYS = (plain, with_signal, with_update)
"""The ways to start."""


async def prior(bench: Bench, end: str, workflow_id: str) -> WorkflowHandle[Text]:
    """A run that has an id: running, of another type, or ended as named."""
    if end == "other":
        return await bench.client.start_other(text(end), id=workflow_id)
    handle = await bench.client.start_free(text(end), id=workflow_id)
    if end == "terminated":
        await handle.terminate()
    elif end == "cancelled":
        await handle.cancel()
    if end != "running":
        await soon(asyncio.gather(handle.result(), return_exceptions=True))
    return handle


def expected(way: Way, end: str, reuse: WorkflowIdReusePolicy, conflict: WorkflowIdConflictPolicy) -> str:
    """What a start does for an id that a run has had."""
    if reuse is WorkflowIdReusePolicy.REJECT_DUPLICATE and conflict in TERMINATES:
        return "no such start"
    if end not in {"running", "other"}:
        return "new" if end in ALLOWED[reuse] else "refused"
    if conflict is WorkflowIdConflictPolicy.TERMINATE_EXISTING or (conflict in TERMINATES and end == "other"):
        return "new"
    # An open run is what a signal looks for.
    return "existing" if conflict is WorkflowIdConflictPolicy.USE_EXISTING or way is with_signal else "refused"


async def tried(
    bench: Bench, way: Way, end: str, reuse: WorkflowIdReusePolicy, conflict: WorkflowIdConflictPolicy
) -> None:
    """See that a start for an id that a run has had does what is expected."""
    first = await prior(bench, end, bench.id(f"{way.__name__} {conflict.name}"))
    start = way(bench, id=first.id, id_reuse_policy=reuse, id_conflict_policy=conflict)
    match expected(way, end, reuse, conflict):
        case "no such start":
            with pytest.raises(OptionError, match="REJECT_DUPLICATE cannot stand beside"):
                await start
            return
        case "refused":
            with pytest.raises(AlreadyStartedError) as raised:
                await start
            assert (raised.value.workflow_id, raised.value.run_id) == (first.id, first.run_id)
            assert raised.value.workflow_type == f"suite.v1.SuiteService.{'Other' if end == 'other' else 'Free'}"
            has_id: WorkflowHandle[Text] = first
        case "existing" if way is with_update and end == "other":
            with pytest.raises(UpdateFailedError, match="rejected"):
                await start
            has_id = first
        case "existing":
            has_id = await start
            assert has_id.run_id == first.run_id
            assert ("WorkflowExecutionSignaled" in kinds(await has_id.history())) == (way is with_signal)
        case _:
            has_id = await start
            assert has_id.run_id != first.run_id
            assert (await first.describe()).status is ENDS[end]
            assert (await has_id.describe()).workflow_type == "suite.v1.SuiteService.Free"
            assert ("WorkflowExecutionSignaled" in kinds(await has_id.history())) == (way is with_signal)
    if end in {"running", "other"}:
        assert kinds(await has_id.history())[-1] != "WorkflowExecutionTerminated"


@pytest.mark.parametrize("reuse", WorkflowIdReusePolicy)
@pytest.mark.parametrize("end", ENDS)
async def test_every_combination(bench: Bench, end: str, reuse: WorkflowIdReusePolicy) -> None:
    async with bench.worker(Ending, Other):
        await asyncio.gather(
            *(tried(bench, way, end, reuse, conflict) for way in WAYS for conflict in WorkflowIdConflictPolicy)
        )


@pytest.mark.parametrize("way", WAYS)
async def test_an_id_that_is_free(bench: Bench, way: Way) -> None:
    async def start(reuse: WorkflowIdReusePolicy, conflict: WorkflowIdConflictPolicy) -> None:
        workflow_id = bench.id(f"{reuse.name} {conflict.name}")
        handle = await way(bench, id=workflow_id, id_reuse_policy=reuse, id_conflict_policy=conflict)
        assert (await handle.describe()).history_length > 0

    pairs = [
        (reuse, conflict)
        for reuse in WorkflowIdReusePolicy
        for conflict in WorkflowIdConflictPolicy
        if reuse is not WorkflowIdReusePolicy.REJECT_DUPLICATE or conflict not in TERMINATES
    ]
    async with bench.worker(Ending):
        await asyncio.gather(*(start(*pair) for pair in pairs))


async def test_a_start_with_a_signal_under_one_request_id_signals_once(bench: Bench) -> None:
    first, second = [await with_signal(bench, id=bench.id(), request_id="r1") for _ in range(2)]
    async with bench.worker(Ending):
        assert first.run_id == second.run_id
        assert (await soon(first.result())).value == "next"
    assert kinds(await first.history()).count("WorkflowExecutionSignaled") == 1


async def test_a_terminated_run_tells_who_waits_for_it(bench: Bench) -> None:
    async with bench.worker(Waiting):
        first = await bench.start()
        waiting = asyncio.create_task(first.result())
        second = await bench.start(id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING)
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(waiting)
        assert isinstance(raised.value.cause, TerminatedError)
        await second.go(text("go"))
        assert (await soon(second.result())).value == "go new"
    assert kinds(await first.history())[-1] == "WorkflowExecutionTerminated"


async def test_a_run_of_another_type_gives_way(bench: Bench) -> None:
    gives_way = WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE
    first = await bench.start()
    other = await bench.client.start_other(text("a"), id=bench.id(), id_conflict_policy=gives_way)
    assert (await first.describe()).status is WorkflowStatus.TERMINATED
    with pytest.raises(AlreadyStartedError):
        await bench.client.start_other(text("a"), id=bench.id(), id_conflict_policy=gives_way)
    assert (await other.describe()).status is WorkflowStatus.RUNNING


async def test_of_many_starts_at_once_one_wins(bench: Bench) -> None:
    answers = await soon(asyncio.gather(*(bench.start() for _ in range(20)), return_exceptions=True))
    assert sum(isinstance(answer, suite.Free.Handle) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyStartedError) for answer in answers) == 19


async def test_the_same_request_id_starts_once(bench: Bench) -> None:
    first = await bench.start(request_id="r1")
    second = await bench.start(request_id="r1")
    assert first.run_id == second.run_id
    with pytest.raises(AlreadyStartedError) as raised:
        await bench.start(request_id="r2")
    assert raised.value.run_id == first.run_id


async def test_a_run_that_used_the_existing_one_awaits_its_result(bench: Bench) -> None:
    async with bench.worker(Waiting):
        first = await bench.start("1")
        again = asyncio.create_task(bench.run("2", id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING))
        await asyncio.sleep(0)
        await first.go(text("both"))
        assert await soon(again) == "both new"
        assert (await soon(first.result())).value == "both new"
