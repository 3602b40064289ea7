"""Who gets a workflow id: every policy of reuse and conflict, over every run that may have it already."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.bench import Bench, Waiting, kinds, soon, text
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite

from protopact.engine import WorkflowStatus
from protopact.errors import AlreadyStartedError, ApplicationError, OptionError, TerminatedError, WorkflowFailedError
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy

ALLOWED = {
    WorkflowIdReusePolicy.ALLOW_DUPLICATE: {"completed", "failed", "cancelled", "terminated"},
    WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY: {"failed", "cancelled", "terminated"},
    WorkflowIdReusePolicy.REJECT_DUPLICATE: set[str](),
}
"""The ends of a prior run after which its id may be used again."""

TERMINATES = (WorkflowIdConflictPolicy.TERMINATE_EXISTING, WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE)


class Ending(Waiting):
    """Ends as its request says."""

    async def run(self, request: Text) -> Text:
        if request.value == "failed":
            raise ApplicationError("asked to")
        if request.value != "completed":
            await self.go.receive()
        return request


async def prior(bench: Bench, end: str, names: list[str]) -> list[suite.Free.Handle]:
    """Runs that have ids, running or ended as named."""
    handles = [await bench.start(end, name=name) for name in names]
    for handle in handles:
        if end == "terminated":
            await handle.terminate()
        elif end == "cancelled":
            await handle.cancel()
    if end != "running":
        async with bench.worker(Ending):
            await soon(asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True))
    return handles


@pytest.mark.parametrize("reuse", WorkflowIdReusePolicy)
@pytest.mark.parametrize("end", ["running", "completed", "failed", "cancelled", "terminated"])
async def test_every_combination(bench: Bench, end: str, reuse: WorkflowIdReusePolicy) -> None:
    conflicts = list(WorkflowIdConflictPolicy)
    handles = await prior(bench, end, [conflict.name for conflict in conflicts])
    for first, conflict in zip(handles, conflicts, strict=True):
        start = bench.start("next", name=conflict.name, id_reuse_policy=reuse, id_conflict_policy=conflict)
        if reuse is WorkflowIdReusePolicy.REJECT_DUPLICATE and conflict in TERMINATES:
            with pytest.raises(OptionError, match="REJECT_DUPLICATE cannot stand beside"):
                await start
        elif end in ALLOWED[reuse] or (end == "running" and conflict is WorkflowIdConflictPolicy.TERMINATE_EXISTING):
            second = await start
            assert second.run_id != first.run_id
            assert (await second.describe()).status is WorkflowStatus.RUNNING
            assert (await first.describe()).status is not WorkflowStatus.RUNNING
        elif end == "running" and conflict is WorkflowIdConflictPolicy.USE_EXISTING:
            assert (await start).run_id == first.run_id
        else:
            with pytest.raises(AlreadyStartedError) as raised:
                await start
            assert (raised.value.workflow_id, raised.value.run_id) == (first.id, first.run_id)
            assert raised.value.workflow_type == "suite.v1.SuiteService.Free"


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
