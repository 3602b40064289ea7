"""Starts, handles, ids, listings, terminations: what a client sees of runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from tests.conformance.bench import Bench, Lab, find, kinds, millis, running, soon, until
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import QueuedService
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Chain, Other, Waiting, text

from protopact import workflow
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyClosedError,
    AlreadyStartedError,
    ApplicationError,
    CancelledError,
    NotFoundError,
    OptionError,
    TemplateError,
    TerminatedError,
    WorkflowFailedError,
)
from protopact.history import policy
from protopact.history.event import (
    ActivityTaskScheduled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
)
from protopact.policy import Priority


async def test_a_workflow_calls_activities_and_returns(bench: Bench) -> None:
    async with bench.worker(Chain, activities=[Lab()]):
        handle = await bench.start("a")
        assert (await soon(handle.result())).value == "a!!!"
        assert (await soon(bench.client.free_handle(handle.id).result())).value == "a!!!"
    assert kinds(await handle.history()) == [
        "WorkflowExecutionStarted",
        *["ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted"] * 3,
        "WorkflowExecutionCompleted",
    ]
    description = await handle.describe()
    assert description.status is WorkflowStatus.COMPLETED
    assert description.workflow_type == "suite.v1.SuiteService.Free"
    assert (description.workflow_id, description.run_id) == (handle.id, handle.run_id)
    assert description.task_queue == bench.place.name
    assert description.close_time is not None
    assert description.start_time <= description.close_time <= datetime.now(UTC)
    assert description.history_length == len(await handle.history())


async def test_execute_starts_and_waits(bench: Bench) -> None:
    async with bench.worker(Chain, activities=[Lab()]):
        assert (await soon(bench.client.execute_free(text("a"), id=bench.id()))).value == "a!!!"


async def test_a_start_before_the_worker_waits_for_it(bench: Bench) -> None:
    handle = await bench.start("a")
    assert (await handle.describe()).status is WorkflowStatus.RUNNING
    assert kinds(await handle.history()) == ["WorkflowExecutionStarted"]
    async with bench.worker(Chain, activities=[Lab()]):
        assert (await soon(handle.result())).value == "a!!!"


async def test_ids_come_from_the_request(bench: Bench) -> None:
    made = await bench.client.start_free(text(bench.id("a b")))
    assert made.id == bench.id("a b").replace("/", "%2F")
    document = Document(title=bench.place.name, inner=Text(value="Ä Big Shed!"), number=7)
    document.at.GetCurrentTime()
    declared = await bench.client.start_declared(document)
    assert declared.id == f"declared/{bench.place.name}/a-big-shed/7"
    with pytest.raises(TemplateError, match="needs title, which is empty"):
        await bench.client.start_declared(Document(number=1))


async def test_ids_that_are_drawn(bench: Bench) -> None:
    class Hop(QueuedService.Hop):
        async def run(self, request: Text) -> Text:
            return request

    client = QueuedService.Client(bench.engine)
    async with bench.worker(Hop):
        first, second = await client.start_hop(text("a")), await client.start_hop(text("a"))
        assert len(first.id) == len(second.id) == 36
        assert first.id != second.id
        await soon(asyncio.gather(first.result(), second.result()))


@pytest.mark.parametrize("name", ["Grüße", "日本語/ワークフロー", "🦊 with a space", "a%2Fb&c=d#e?f", "e\u0301"])
async def test_unicode_ids(bench: Bench, name: str) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start(name, name=name)
        assert handle.id == bench.id(name)
        assert (await bench.client.free_handle(handle.id).describe()).workflow_id == handle.id
        assert (await soon(handle.set(text("x"), id=name))).value == "new"
        await handle.go(text(name))
        assert (await soon(handle.result())).value == f"{name} x"

    async def listed() -> bool:
        return [each.workflow_id async for each in bench.engine.list_workflows(workflow_id=handle.id)] == [handle.id]

    await until(listed)


ODD = ["it's", 'a"b', "a\\b", "a\\'b", "a\nb", "a\tb", "a\0b", "a%b_c", "ends with \\"]


async def test_ids_with_anything_in_them(bench: Bench) -> None:
    handles = [await bench.start(name=name) for name in ODD]

    async def listed() -> bool:
        found = [[run.run_id async for run in bench.engine.list_workflows(workflow_id=each.id)] for each in handles]
        return found == [[each.run_id] for each in handles]

    await until(listed)
    for handle in handles:
        assert (await bench.client.free_handle(handle.id).describe()).workflow_id == handle.id
        await handle.terminate()
    with pytest.raises(OptionError, match="list of workflows: expected a text that UTF-8 can write"):
        await anext(bench.engine.list_workflows(workflow_id="\ud800"))


async def test_start_options_reach_history_and_description(bench: Bench) -> None:
    hour, minute = millis(3_600_000), millis(60_000)
    handle = await bench.start(
        "a",
        task_queue=f"{bench.place.name}-elsewhere",
        execution_timeout=hour,
        run_timeout=minute,
        task_timeout=millis(9000),
        memo={"who": "me", "größe": "ü"},
        search_attributes={"Region": "north", "Count": 3, "Hot": True, "Tags": ["x", "y"]},
    )
    started = find(await handle.history(), WorkflowExecutionStarted)
    assert started.task_queue == f"{bench.place.name}-elsewhere"
    assert started.workflow_execution_timeout == 3600 * 10**9
    assert started.workflow_run_timeout == 60 * 10**9
    assert started.workflow_task_timeout == 9 * 10**9
    assert started.search_attributes["Region"].metadata["type"] == b"Keyword"
    description = await handle.describe()
    assert description.task_queue == f"{bench.place.name}-elsewhere"
    assert description.memo == {"who": "me", "größe": "ü"}
    assert description.search_attributes == {
        "Region": "north",
        "Count": 3,
        "Hot": True,
        "Tags": ["x", "y"],
    }


async def test_what_the_contract_declares_is_what_a_start_has(bench: Bench) -> None:
    document = Document(title=bench.place.name, inner=Text(value="x"), number=5)
    document.at.FromSeconds(1_767_225_600)
    handle = await bench.client.start_declared(document, search_attributes={"Hot": True})
    started = find(await handle.history(), WorkflowExecutionStarted)
    assert started.workflow_execution_timeout == 60 * 10**9
    assert started.workflow_run_timeout == 50 * 10**9
    assert started.workflow_task_timeout == 7 * 10**9
    assert started.retry_policy is not None
    assert started.retry_policy.maximum_attempts == 3
    assert started.retry_policy.initial_interval == 10**7
    assert tuple(started.retry_policy.non_retryable_error_types) == ("Fatal",)
    assert started.priority == policy.Priority(priority_key=2)
    assert (await handle.describe()).search_attributes == {
        "Region": f"title of {bench.place.name}",
        "Count": 5,
        "Since": datetime(2026, 1, 1, tzinfo=UTC),
        "Hot": True,
    }
    await handle.terminate()
    with pytest.raises(AlreadyStartedError):
        await bench.client.start_declared(document)


async def test_priorities_stand_in_history(bench: Bench) -> None:
    async def urgent(request: Text) -> Text:
        return await suite.echo(request, priority=Priority(priority_key=1))

    async with bench.worker(running(urgent), activities=[Lab()]):
        handle = await bench.start(priority=Priority(priority_key=2, fairness_key="tenant", fairness_weight=0.5))
        await soon(handle.result())
    history = await handle.history()
    assert find(history, WorkflowExecutionStarted).priority == policy.Priority(
        priority_key=2, fairness_key="tenant", fairness_weight=0.5
    )
    scheduled = find(history, ActivityTaskScheduled).priority
    assert scheduled is not None
    assert scheduled.priority_key == 1


async def test_info_tells_the_run_of_itself(bench: Bench) -> None:
    async def tells(request: Text) -> Text:
        info = workflow.info()
        assert info.run_timeout == millis(60_000)
        assert info.parent is None
        assert workflow.in_workflow()
        return text(f"{info.workflow_id} {info.run_id} {info.first_run_id} {info.workflow_type} {info.task_queue}")

    async with bench.worker(running(tells)):
        handle = await bench.start(run_timeout=millis(60_000))
        said = (await soon(handle.result())).value.split()
    assert said == [handle.id, handle.run_id, handle.run_id, "suite.v1.SuiteService.Free", bench.place.name]
    assert not workflow.in_workflow()


async def test_a_constructor_may_take_the_request(bench: Bench) -> None:
    class Built(Waiting):
        def __init__(self, request: Text) -> None:
            self.state = f"built of {request.value}"

        async def run(self, request: Text) -> Text:
            await self.go.receive()
            return text(self.state)

    async with bench.worker(Built):
        handle = await bench.start("a")
        assert (await soon(handle.status(text("")))).value == "built of a"
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "built of a"


async def test_an_option_that_cannot_be(bench: Bench) -> None:
    with pytest.raises(OptionError, match="run_timeout"):
        await bench.start(run_timeout=millis(0))
    with pytest.raises(NotFoundError):
        await bench.client.free_handle(bench.id()).describe()


# -- what a contract says of queues


async def test_elements_are_served_on_the_queues_that_the_contract_names(bench: Bench) -> None:
    class Hop(QueuedService.Hop):
        async def run(self, request: Text) -> Text:
            landed = await QueuedService.land(request, task_queue="suite-landing")
            return text(f"{landed.value} {workflow.info().task_queue}")

    class Landing(QueuedService.Activities):
        async def land(self, request: Text) -> Text:
            return text("landed")

    async with bench.worker(Hop, activities=[Landing()], task_queue=None):
        handle = await QueuedService.Client(bench.engine).start_hop(text("a"), task_queue="suite-queued")
        assert (await soon(handle.result())).value == "landed suite-queued"
    assert find(await handle.history(), ActivityTaskScheduled).task_queue == "suite-landing"


async def test_what_the_contract_sends_elsewhere_waits_for_who_serves_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = f"{bench.place.name}-elsewhere"

    class Hop(QueuedService.Hop):
        async def run(self, request: Text) -> Text:
            return await QueuedService.land(request, task_queue=elsewhere)

    class Landing(QueuedService.Activities):
        async def land(self, request: Text) -> Text:
            return text("landed")

    async with bench.worker(Hop, activities=[Landing()]):
        (said,) = [each.getMessage() for each in caplog.records if "suite-landing" in each.getMessage()]
        assert "nobody here serves task queue 'suite-landing'" in said
        handle = await QueuedService.Client(bench.engine).start_hop(text("a"), id=bench.id())
        await until(lambda: scheduled(handle))
        async with bench.worker(activities=[Landing()], task_queue=elsewhere):
            assert (await soon(handle.result())).value == "landed"


async def scheduled(handle: QueuedService.Hop.Handle) -> bool:
    return "ActivityTaskScheduled" in kinds(await handle.history())


async def test_workflows_and_activities_in_workers_of_their_own(bench: Bench) -> None:
    async with bench.worker(Chain), bench.worker(activities=[Lab()]):
        assert await bench.run("a") == "a!!!"


async def test_an_alias_of_the_contract_is_served(bench: Bench) -> None:
    class Declared(suite.Declared):
        async def run(self, request: Document) -> Document:
            return Document(title=workflow.info().workflow_type)

        async def rename(self, request: Document) -> Document:
            return request

    document = Document(title=bench.place.name, inner=Text(value="x"), number=5)
    document.at.FromSeconds(1_767_225_600)
    async with bench.worker(Declared):
        assert (await soon(bench.client.execute_declared(document))).title == "suite.v1.SuiteService.Declared"


# -- what is there, and what is not


async def test_a_closed_run_takes_nothing_any_more(bench: Bench) -> None:
    handle = await bench.start()
    await handle.terminate(reason="why not")
    for operation in (handle.go(text("")), handle.cancel(), handle.terminate(), handle.set(text("x"))):
        with pytest.raises(AlreadyClosedError):
            await soon(operation)
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(handle.result())
    assert isinstance(raised.value.cause, TerminatedError)
    assert find(await handle.history(), WorkflowExecutionTerminated).reason == "why not"


async def test_what_does_not_exist(bench: Bench) -> None:
    nobody = bench.client.free_handle(bench.id("nobody"))
    for operation in (
        nobody.go(text("")),
        nobody.cancel(),
        nobody.terminate(),
        nobody.set(text("x")),
        nobody.status(text("")),
        nobody.describe(),
        nobody.history(),
        nobody.result(),
    ):
        with pytest.raises(NotFoundError):
            await soon(operation)
    await bench.start()
    with pytest.raises(NotFoundError):
        await bench.client.free_handle(bench.id(), run_id="7d2a8b0e-6a8f-4d1e-8d35-3cf9d0a1a111").describe()
    with pytest.raises(NotFoundError):
        await bench.client.free_handle(bench.id(), run_id="1234").describe()


async def test_a_handle_of_an_earlier_chain_does_not_touch_a_later_one(bench: Bench) -> None:
    first = await bench.start()
    await first.terminate(reason="enough")
    second = await bench.client.start_other(text("a"), id=bench.id())
    for operation in (first.terminate(), first.cancel()):
        with pytest.raises(NotFoundError):
            await soon(operation)
    description = await first.describe()
    assert (description.run_id, description.status) == (first.run_id, WorkflowStatus.TERMINATED)
    assert find(await first.history(), WorkflowExecutionTerminated).reason == "enough"
    assert (await second.describe()).status is WorkflowStatus.RUNNING
    assert (await bench.client.free_handle(bench.id()).describe()).run_id == second.run_id, "by id: the latest"


async def test_cancel_reaches_the_workflow_once(bench: Bench) -> None:
    class Stubborn(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                await workflow.sleep(3600)
            except asyncio.CancelledError:
                await self.go.receive()
            return text("done all the same")

    async with bench.worker(Stubborn):
        handle = await bench.start()
        await handle.cancel(reason="enough")
        await handle.cancel()
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "done all the same"
    assert find(await handle.history(), WorkflowExecutionCancelRequested).cause == "enough"


async def test_a_cancelled_run(bench: Bench) -> None:
    class Cleaning(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                await self.go.receive()
            except asyncio.CancelledError:
                await suite.echo(request)
                raise
            return request

    async with bench.worker(Cleaning, activities=[Lab()]):
        handle = await bench.start()
        await soon(handle.status(text("")))
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    assert (await handle.describe()).status is WorkflowStatus.CANCELED
    history = kinds(await handle.history())
    assert history[-2:] == ["ActivityTaskCompleted", "WorkflowExecutionCanceled"]


async def test_listing(bench: Bench) -> None:
    first, second = await bench.start(name="1"), await bench.start(name="2")
    await bench.client.start_other(text("a"), id=bench.id("3"))
    await second.terminate()
    engine = bench.engine

    async def found(**how: object) -> list[str]:
        mine = bench.place.name + "/"
        listed = [each async for each in engine.list_workflows(**how)]  # type: ignore[arg-type]  # each call is right
        return sorted(each.workflow_id[-1] for each in listed if each.workflow_id.startswith(mine))

    async def all_there() -> bool:
        closed = await found(status=WorkflowStatus.TERMINATED)
        return await found() == ["1", "2", "3"] and closed == ["2"]

    await until(all_there)
    assert await found(workflow_type="suite.v1.SuiteService.Free") == ["1", "2"]
    assert await found(workflow_type="suite.v1.SuiteService.Free", status=WorkflowStatus.RUNNING) == ["1"]
    assert await found(workflow_id=first.id) == ["1"]
    assert await found(workflow_id=bench.id("9")) == []


async def test_other_runs_on_the_same_id_after_the_first(bench: Bench) -> None:
    async with bench.worker(Other, Waiting):
        first = await bench.start()
        await first.go(text("go"))
        await soon(first.result())
        second = await bench.client.start_other(text("a"), id=bench.id())
        assert (await second.describe()).workflow_type == "suite.v1.SuiteService.Other"
        assert (await soon(first.result())).value == "go new"


async def test_a_delayed_start(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start(start_delay=millis(200))
        assert kinds(await handle.history()) == ["WorkflowExecutionStarted"]
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"
    history = await handle.history()
    assert find(history, WorkflowExecutionStarted).first_workflow_task_backoff == 200 * 10**6
    assert history[-1].event_time - history[0].event_time >= 200 * 10**6


async def test_a_failed_run_says_so(bench: Bench) -> None:
    async def fails(request: Text) -> Text:
        raise ApplicationError("no")

    async with bench.worker(running(fails)):
        handle = await bench.start()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert (raised.value.workflow_id, raised.value.run_id) == (handle.id, handle.run_id)
    assert (await handle.describe()).status is WorkflowStatus.FAILED
