"""Queries: of open and closed runs, of runs in trouble, and those that cannot be answered."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.conformance.bench import QUICKLY, Bench, Lab, kinds, soon
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import contract, workflow
from protopact.engine import QueryWorkflow
from protopact.errors import ApplicationError, MessageMismatchError, NotFoundError, QueryError


async def test_a_query_sees_what_signals_and_updates_before_it_did(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        assert (await soon(handle.status(text("?")))).value == "new?"
        before = kinds(await handle.history())
        await soon(handle.set(text("changed")))
        assert (await soon(handle.status(text("?")))).value == "changed?"
        assert kinds(await handle.history()) == [
            *before,
            "WorkflowExecutionUpdateAccepted",
            "WorkflowExecutionUpdateCompleted",
        ]


async def test_a_closed_run_still_answers(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        await soon(handle.set(text("changed")))
        await handle.go(text("go"))
        await soon(handle.result())
        assert (await soon(handle.status(text("?")))).value == "changed?"
    async with bench.worker(Waiting):
        assert (await soon(handle.status(text("?")))).value == "changed?"


@pytest.mark.parametrize("end", ["failed", "cancelled", "terminated"])
async def test_a_run_that_ended_badly_still_answers(bench: Bench, end: str) -> None:
    class Ending(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            raise ApplicationError("asked to")

    async with bench.worker(Ending):
        handle = await bench.start()
        await soon(handle.set(text("changed")))
        await {
            "failed": lambda: handle.go(text("")),
            "cancelled": handle.cancel,
            "terminated": handle.terminate,
        }[end]()
        await soon(asyncio.wait([asyncio.create_task(handle.result())]))
        assert (await soon(handle.status(text("?")))).value == "changed?"


async def test_an_evicted_run_answers_and_goes_on(bench: Bench) -> None:
    async with bench.worker(Waiting, max_cached_workflows=1):
        handles = [await bench.start(name=str(number)) for number in range(3)]
        for handle in handles:
            await soon(handle.set(text("x")))
        for handle in handles:
            assert (await soon(handle.status(text("")))).value == "x"
        for handle in handles:
            await handle.go(text("go"))
        assert [(await soon(handle.result())).value for handle in handles] == ["go x"] * 3


async def test_a_query_that_raises(bench: Bench) -> None:
    class Raising(Waiting):
        def status(self, request: Text) -> Text:
            if request.value == "bug":
                raise KeyError("a bug")
            raise ApplicationError("not now", type="Moody")

    async with bench.worker(Raising):
        handle = await bench.start()
        with pytest.raises(QueryError, match="not now"):
            await soon(handle.status(text("")))
        with pytest.raises(QueryError, match="a bug"):
            await soon(handle.status(text("bug")))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new", "a query harms no run"


async def test_a_query_that_would_change_the_run(bench: Bench) -> None:
    class Changing(Waiting):
        def status(self, request: Text) -> Text:
            suite.echo(request)
            return request

    async with bench.worker(Changing):
        handle = await bench.start()
        with pytest.raises(QueryError):
            await soon(handle.status(text("")))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"
    assert "ActivityTaskScheduled" not in kinds(await handle.history())


async def test_a_query_that_the_workflow_does_not_know(bench: Bench) -> None:
    schema = suite.Free.__protopact__().queries[0]
    unknown = contract.Query(
        name="suite.v1.SuiteService.Unknown", method="unknown", request=schema.request, response=schema.response
    )
    async with bench.worker(Waiting):
        handle = await bench.start()
        with pytest.raises(QueryError, match="Unknown"):
            await soon(
                bench.engine.query_workflow(
                    QueryWorkflow(ref=handle.__protopact__.latest, query=unknown, request=text(""))
                )
            )


async def test_a_query_with_the_wrong_message(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        with pytest.raises(MessageMismatchError):
            await handle.status("text")  # type: ignore[arg-type]  # what is refused


async def test_a_query_of_a_run_that_never_ran(bench: Bench) -> None:
    handle = await bench.start()
    await handle.terminate()
    async with bench.worker(Waiting):
        with pytest.raises(QueryError):
            await soon(handle.status(text("")))
    with pytest.raises(NotFoundError):
        await soon(bench.client.free_handle(bench.id("nobody")).status(text("")))


async def test_a_query_that_nobody_can_answer(bench: Bench) -> None:
    handle = await bench.start()
    target = handle.__protopact__
    query = target.workflow.queries[0]
    with pytest.raises(QueryError):
        await soon(
            bench.engine.query_workflow(
                QueryWorkflow(ref=target.latest, query=query, request=text(""), timeout=timedelta(seconds=1))
            )
        )


async def test_a_query_waits_for_a_worker_that_comes_in_time(bench: Bench) -> None:
    handle = await bench.start()
    waiting = asyncio.create_task(handle.status(text("?")))
    await asyncio.sleep(0)
    async with bench.worker(Waiting):
        assert (await soon(waiting)).value == "new?"


async def test_a_parked_run_that_is_fixed_answers(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Buggy(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            raise KeyError("a bug")

    async with bench.worker(Buggy):
        handle = await bench.start(task_timeout=QUICKLY)
        await soon(handle.set(text("changed")))
        await handle.go(text(""))
        await bench.until_parked(handle)
    async with bench.worker(Waiting, build_id="fixed"):
        assert (await soon(handle.status(text("?")))).value == "changed?"
        assert (await soon(handle.result())).value == " changed"


async def test_a_query_reads_clocks_and_what_is_known_of_the_run(bench: Bench) -> None:
    class Telling(Waiting):
        def status(self, request: Text) -> Text:
            return text(f"{workflow.info().workflow_id} {workflow.now().year > 2000}")

    async with bench.worker(Telling, activities=[Lab()]):
        handle = await bench.start()
        assert (await soon(handle.status(text("")))).value == f"{handle.id} True"
