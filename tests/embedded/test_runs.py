"""Starts, results, signals, cancellations and terminations, as a client sees them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from tests.embedded.bench import Chain, Lab, Sleeper, Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import WorkflowRef, WorkflowStatus
from protopact.errors import (
    AlreadyClosedError,
    AlreadyStartedError,
    ApplicationError,
    CancelledError,
    EngineClosedError,
    NotFoundError,
    OptionError,
    TerminatedError,
    WorkflowFailedError,
)
from protopact.history.event import (
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowTaskCompleted,
)
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy


async def test_the_first_completed_task_names_the_sdk_and_its_flags(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Chain], activities=[Lab()], identity="me", build_id="b1"):
        handle = await lab.Client(engine).start_free(text("a"))
        await soon(handle.result())
    first = next(e.attributes for e in await handle.history() if isinstance(e.attributes, WorkflowTaskCompleted))
    assert (first.identity, first.build_id, first.sdk_name) == ("me", "b1", "protopact")
    assert set(first.core_used_flags) == {1, 2, 3, 4}


async def test_start_options_reach_history_and_description(engine: EmbeddedEngine) -> None:
    handle = await lab.Client(engine).start_free(
        text("a"),
        id="mine",
        task_queue="elsewhere",
        execution_timeout=timedelta(hours=1),
        run_timeout=timedelta(minutes=1),
        memo={"who": "me"},
        search_attributes={"Region": "north", "Count": 3, "Hot": True, "Tags": ["x", "y"]},
    )
    started = find(await handle.history(), WorkflowExecutionStarted)
    assert started.task_queue == "elsewhere"
    assert started.workflow_execution_timeout == 3600 * 10**9
    assert started.workflow_run_timeout == 60 * 10**9
    assert started.workflow_execution_expiration_time == 1_767_225_600 * 10**9 + 3600 * 10**9
    assert started.search_attributes["Region"].metadata["type"] == b"Keyword"
    description = await handle.describe()
    assert description.workflow_id == "mine"
    assert description.task_queue == "elsewhere"
    assert description.memo == {"who": "me"}
    assert description.search_attributes == {"Region": "north", "Count": 3, "Hot": True, "Tags": ["x", "y"]}


async def test_the_same_request_id_starts_once(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    first = await client.start_free(text("a"), request_id="r1")
    second = await client.start_free(text("a"), request_id="r1")
    assert first.run_id == second.run_id
    with pytest.raises(AlreadyStartedError, match="is taken by a lab.v1.LabService.Free that is Running") as raised:
        await client.start_free(text("a"), request_id="r2")
    assert raised.value.run_id == first.run_id


async def test_terminate_existing_starts_another_in_one_step(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    async with engine.worker(workflows=[Waiting]):
        first = await client.start_free(text("a"))
        waiting = asyncio.create_task(first.result())
        second = await client.start_free(text("a"), id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING)
        with pytest.raises(WorkflowFailedError, match="was terminated") as raised:
            await soon(waiting)
    assert isinstance(raised.value.cause, TerminatedError)
    assert first.run_id != second.run_id
    old = client.free_handle("a", run_id=first.run_id)
    assert "id_conflict_policy TERMINATE_EXISTING" in find(await old.history(), WorkflowExecutionTerminated).reason
    assert (await client.free_handle("a").describe()).run_id == second.run_id


@pytest.mark.parametrize(
    ("end", "failed_only"),
    [("complete", False), ("fail", True), ("cancel", True), ("terminate", True), ("time out", True)],
)
async def test_reuse_of_an_id_after_each_end(
    engine: EmbeddedEngine, clock: VirtualClock, end: str, *, failed_only: bool
) -> None:
    class Ending(Waiting):
        async def run(self, request: Text) -> Text:
            if end == "fail":
                raise ApplicationError("no")
            if end != "complete":
                await workflow.sleep(3600)
            return request

    client = lab.Client(engine)
    async with engine.worker(workflows=[Ending]):
        handle = await client.start_free(text("a"), run_timeout=timedelta(minutes=1))
        if end == "cancel":
            await handle.cancel()
        elif end == "terminate":
            await handle.terminate()
        elif end == "time out":
            await clock.advance(timedelta(minutes=1))
        await asyncio.wait([asyncio.create_task(handle.result())])
    with pytest.raises(AlreadyStartedError, match="id_reuse_policy REJECT_DUPLICATE"):
        await client.start_free(text("a"), id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE)
    if failed_only:
        await client.start_free(text("a"), id_reuse_policy=WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    else:
        with pytest.raises(AlreadyStartedError, match="ALLOW_DUPLICATE_FAILED_ONLY"):
            await client.start_free(text("a"), id_reuse_policy=WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
        await client.start_free(text("a"))


async def test_policies_that_contradict_each_other(engine: EmbeddedEngine) -> None:
    with pytest.raises(OptionError, match="REJECT_DUPLICATE cannot stand beside"):
        await lab.Client(engine).start_free(
            text("a"),
            id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING,
        )


async def test_cancel_reaches_the_workflow_once(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Sleeper]):
        handle = await lab.Client(engine).start_free(text("3600"))
        await handle.cancel(reason="enough")
        with pytest.raises(WorkflowFailedError, match="was cancelled") as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, CancelledError)
    history = await handle.history()
    assert find(history, WorkflowExecutionCancelRequested).cause == "enough"
    assert kinds(history)[-1] == "WorkflowExecutionCanceled"


async def test_a_closed_run_takes_nothing_any_more(engine: EmbeddedEngine) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    await handle.terminate(reason="why not")
    for operation in (handle.go(text("")), handle.cancel(), handle.terminate(), handle.set(text("x"))):
        with pytest.raises(AlreadyClosedError, match="is closed: Terminated"):
            await soon(operation)


async def test_what_does_not_exist(engine: EmbeddedEngine) -> None:
    handle = lab.Client(engine).free_handle("nobody")
    for operation in (
        handle.go(text("")),
        handle.cancel(),
        handle.terminate(),
        handle.set(text("x")),
        handle.status(text("")),
        handle.describe(),
        handle.history(),
        handle.result(),
    ):
        with pytest.raises(NotFoundError, match="there is no workflow 'nobody' in"):
            await soon(operation)
    await lab.Client(engine).start_free(text("a"))
    with pytest.raises(NotFoundError, match="there is no run 1234 of workflow 'a'"):
        await lab.Client(engine).free_handle("a", run_id="1234").describe()


async def test_a_handle_of_an_earlier_chain_does_not_touch_a_later_one(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    first = await client.start_free(text("a"))
    await first.terminate()
    await client.start_free(text("a"))
    with pytest.raises(NotFoundError, match="is another one by now"):
        await first.terminate()


async def test_a_handle_of_an_earlier_chain_shows_that_chain(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    first = await client.start_free(text("a"))
    await first.terminate(reason="enough")
    second = await client.start_other(text("a"))
    description = await first.describe()
    assert (description.run_id, description.status) == (first.run_id, WorkflowStatus.TERMINATED)
    assert find(await first.history(), WorkflowExecutionTerminated).reason == "enough"
    assert (await second.describe()).status is WorkflowStatus.RUNNING
    assert (await client.free_handle("a").describe()).run_id == second.run_id, "a handle by id means the latest"
    await engine.delete_workflow(WorkflowRef("a", first.run_id))
    with pytest.raises(NotFoundError, match="there is no workflow 'a' in .* any more"):
        await first.describe()


async def test_a_failure_keeps_its_type_details_and_cause(engine: EmbeddedEngine) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                raise ValueError("deep")  # noqa: TRY301 - a cause is needed
            except ValueError as error:
                raise ApplicationError("no luck", text("detail"), {"n": 1}, type="Luck") from error

    async with engine.worker(workflows=[Failing]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(WorkflowFailedError, match=r"workflow a \(run .*\) failed: no luck") as raised:
            await soon(handle.result())
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.details.get(0, Text), cause.details.get(1, dict)) == ("Luck", text("detail"), {"n": 1})
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "ValueError"


async def test_listing_filters_and_pages(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    await asyncio.gather(*(client.start_free(text(f"w{number:03}")) for number in range(250)))
    await client.start_other(text("other"))
    await client.free_handle("w007").terminate()
    everything = [each async for each in engine.list_workflows()]
    assert len(everything) == 251
    assert everything[0].workflow_id == "other"
    names = {each.workflow_id async for each in engine.list_workflows(workflow_type="lab.v1.LabService.Free")}
    assert len(names) == 250
    closed = [each.workflow_id async for each in engine.list_workflows(status=WorkflowStatus.TERMINATED)]
    assert closed == ["w007"]
    assert [each.workflow_id async for each in engine.list_workflows(workflow_id="w009")] == ["w009"]


async def test_deleting_an_open_run_terminates_it_first(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    async with engine.worker(workflows=[Sleeper]):
        handle = await client.start_free(text("3600"))
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        await engine.delete_workflow(handle.__protopact__.latest)
        with pytest.raises(WorkflowFailedError):
            await soon(waiting)
        with pytest.raises(NotFoundError):
            await handle.describe()
        await client.start_free(text("3600"), id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE)


async def test_what_is_not_open(clock: VirtualClock) -> None:
    async with open_engine(clock=clock) as engine:
        client = lab.Client(engine)
        async with engine.worker(workflows=[Sleeper]):
            handle = await client.start_free(text("3600"))
            waiting = asyncio.create_task(handle.result())
            await asyncio.sleep(0)
    with pytest.raises(EngineClosedError, match="was closed"):
        await waiting
    with pytest.raises(EngineClosedError, match="is not open"):
        await client.start_free(text("a"))


async def test_another_event_loop(engine: EmbeddedEngine) -> None:
    def elsewhere() -> None:
        asyncio.run(elsewhere_async())

    async def elsewhere_async() -> None:
        with pytest.raises(EngineClosedError, match="opened on another event loop"):
            await lab.Client(engine).start_free(text("a"))

    await asyncio.to_thread(elsewhere)


@pytest.mark.parametrize("code", ["takes", "breaks", "sleeps"])
async def test_a_history_has_an_end(
    engine: EmbeddedEngine, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """As on a server."""
    monkeypatch.setattr("protopact.embedded.limits.MOST_EVENTS", 30)

    class Long(Waiting):
        async def run(self, request: Text) -> Text:
            if code == "breaks":
                raise ValueError("parked")
            while True:
                await (self.go.receive() if code == "takes" else workflow.sleep(1))

    async with engine.worker(workflows=[Long]):
        handle = await lab.Client(engine).start_free(text("a"))
        for _ in range(40):
            with contextlib.suppress(AlreadyClosedError):
                await soon(handle.go(text("")) if code != "sleeps" else clock.advance(timedelta(seconds=1)))
        with pytest.raises(WorkflowFailedError) as caught:
            await soon(handle.result())
        assert isinstance(caught.value.cause, TerminatedError)
        assert "Workflow history count exceeds limit: 3" in str(caught.value)
        assert len(await handle.history()) < 40


@pytest.mark.parametrize("turns", range(4))
async def test_a_run_that_begins_while_a_worker_does(engine: EmbeddedEngine, turns: int) -> None:
    """Both may arrive in one tick, the run first: it is not in the file yet when the worker looks for runs."""

    class Quick(Waiting):
        async def run(self, request: Text) -> Text:
            return request

    async def start() -> lab.Free.Handle:
        return await lab.Client(engine).start_free(text("a"))

    starting = asyncio.create_task(start())
    for _ in range(turns):
        await asyncio.sleep(0)
    async with engine.worker(workflows=[Quick]):
        assert (await soon((await starting).result())).value == "a"


@pytest.mark.parametrize("turns", range(4))
async def test_a_signal_that_comes_while_workers_change(engine: EmbeddedEngine, turns: int) -> None:
    """The run is let go of and taken again with what has just happened to it."""

    async def signal() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await handle.go(text("go"))

    async with engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        signalling = asyncio.create_task(signal())
    async with engine.worker(workflows=[Waiting]):
        await signalling
        assert (await soon(handle.result())).value == "go new"


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("turns", range(4))
async def test_a_run_that_begins_while_its_worker_ends(engine: EmbeddedEngine, turns: int, others: int) -> None:
    """It is let go of before it is in the file, and is there for the next worker."""

    async def start() -> lab.Free.Handle:
        return await lab.Client(engine).start_free(text("b"))

    async with engine.worker(workflows=[Waiting]):
        for _ in range(others):
            await lab.Client(engine).start_free(text("a"))
        starting = asyncio.create_task(start())
        for _ in range(turns):
            await asyncio.sleep(0)
    handle = await starting
    async with engine.worker(workflows=[Waiting]):
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"
