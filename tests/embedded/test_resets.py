"""Resets: what the new run keeps, does again and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow as oracle
from temporalio.common import RawValue
from tests.embedded.bench import Lab, Waiting, all_kinds, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_oracle import NOTHING, SERVICE, OracleBase, echo, replayed

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import ResetWorkflow, WorkflowStatus
from protopact.errors import NotFoundError, OptionError, UpdateFailedError, WorkflowFailedError
from protopact.history.event import WorkflowExecutionTerminated, WorkflowExecutionUpdateAdmitted, WorkflowTaskFailed
from protopact.interceptor import Interceptor
from protopact.policy import ParentClosePolicy
from protopact.replay import Replayer


class Drawing(Waiting):
    """Echoes a random number, waits for Go, and echoes another."""

    async def run(self, request: Text) -> Text:
        first = await lab.echo(text(str(workflow.random().random())))
        gone = await self.go.receive()
        second = await lab.echo(text(str(workflow.random().random())))
        return text(f"{first.value} {gone.value} {second.value}")


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfDrawing(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await echo()
        await oracle.wait_condition(lambda: self.gone > 0)
        await echo()
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfUpdates(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await oracle.wait_condition(lambda: self.gone > 0)
        return NOTHING


def completed_tasks(names: list[str]) -> list[int]:
    return [index + 1 for index, name in enumerate(names) if name == "WorkflowTaskCompleted"]


async def test_a_closed_run_is_done_again_from_a_task(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Drawing], activities=[Lab()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("gone"))
        first, gone, second = (await soon(handle.result())).value.split()
        history = await handle.history()
        event_id = completed_tasks(all_kinds(history))[1]
        again = await handle.reset(event_id=event_id, reason="once more")
        assert isinstance(again, lab.Free.Handle)
        assert again.run_id not in (None, handle.run_id)
        values = (await soon(again.result())).value.split()
        assert values[:2] == [first, gone]
        assert values[2] != second  # drawn anew: the reset seeds the rest
        reset = await again.history()
        assert (await handle.describe()).run_id == again.run_id
    failed = find(reset, WorkflowTaskFailed)
    assert (failed.cause, failed.base_run_id, failed.new_run_id) == ("RESET_WORKFLOW", handle.run_id, again.run_id)
    assert failed.failure is not None
    assert failed.failure.message == "once more"
    assert reset[: event_id - 1] == history[: event_id - 1]
    await replayed(OracleOfDrawing, reset)


@pytest.mark.parametrize("cached", [1000, 0])
async def test_an_open_run_is_terminated_and_its_signals_go_along(
    path: Path | None, clock: VirtualClock, cached: int
) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            got = [(await self.go.receive()).value for _ in range(3)]
            await workflow.sleep(10)
            return text(" ".join(got))

    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Free], max_cached_workflows=cached):
        client = lab.Client(engine)
        handle = await client.start_free(text("a"), id="a")
        for word in "ab":
            await handle.go(text(word))
            await clock.settle()
        tasks = completed_tasks(all_kinds(await handle.history()))
        again = await handle.reset(event_id=tasks[1])
        with pytest.raises(WorkflowFailedError, match="was terminated"):
            await soon(client.free_handle("a", run_id=handle.run_id).result())
        old = await client.free_handle("a", run_id=handle.run_id).history()
        assert find(old, WorkflowExecutionTerminated).reason == f"reset to event {tasks[1]}"
        await again.go(text("c"))
        await clock.advance(timedelta(seconds=11))
        assert (await soon(again.result())).value == "a b c"


async def test_signals_of_the_runs_that_followed_go_along(engine: EmbeddedEngine) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            value = request.value + (await self.go.receive()).value
            if len(value) < 4:
                self.continue_as_new(text(value))
            return text(value)

    async with engine.worker(workflows=[Free]):
        client = lab.Client(engine)
        handle = await client.start_free(text("-"), id="a")
        for word in "abc":
            await client.free_handle("a").go(text(word))
        assert (await soon(handle.result())).value == "-abc"
        again = await client.free_handle("a", run_id=handle.run_id).reset(event_id=3)
        result = asyncio.ensure_future(again.result())
        signals = [name for name in kinds(await again.history()) if name == "WorkflowExecutionSignaled"]
        assert len(signals) == 3
        await client.free_handle("a").go(text("d"))
        await client.free_handle("a").go(text("e"))
        assert (await soon(result)).value == "-ade"


async def test_interceptors_see_it(clock: VirtualClock) -> None:
    class Telling(Interceptor):
        async def reset_workflow(
            self, call: ResetWorkflow, next_hook: Callable[[ResetWorkflow], Awaitable[str]]
        ) -> str:
            call.reason = f"{call.reason}, as asked"
            told.append(await next_hook(call))
            return told[0]

    told = list[str]()
    async with open_engine(clock=clock, interceptors=[Telling()]) as engine, engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        again = await handle.reset(event_id=3, reason="once more")
        assert told == [again.run_id]
        failed = find(await again.history(), WorkflowTaskFailed)
        assert failed.failure is not None
        assert failed.failure.message == "once more, as asked"


async def test_updates_go_along(path: Path | None, clock: VirtualClock) -> None:
    class Free(Waiting):
        def __init__(self) -> None:
            super().__init__()
            self.log = list[str]()

        async def run(self, request: Text) -> Text:
            await self.go.receive()
            return text(" ".join(self.log))

        def validate_set(self, request: Text) -> None:
            if request.value == "no":
                raise ValueError("no")

        async def set(self, request: Text) -> Text:
            self.log.append(request.value)
            await workflow.sleep(1)
            return text(f"{workflow.info().run_id} {request.value}")

    async with open_engine(path, clock=clock) as engine:
        async with engine.worker(workflows=[Free]):
            client = lab.Client(engine)
            handle = await client.start_free(text("a"), id="a")
            waiting = [asyncio.create_task(handle.set(text(word), id=word)) for word in "abc"]
            await clock.advance(timedelta(seconds=1))
            for each in waiting:
                await soon(each)
            with pytest.raises(UpdateFailedError, match="was rejected"):
                await soon(handle.set(text("no")))
        again = await handle.reset(event_id=3)
        history = await again.history()
        admitted = [e.attributes for e in history if isinstance(e.attributes, WorkflowExecutionUpdateAdmitted)]
        assert [(each.request.update_id if each.request else "", each.origin) for each in admitted] == [
            (word, "REAPPLY") for word in "abc"
        ]
        same = asyncio.create_task(again.set(text("b"), id="b"))
        await clock.settle()
        async with engine.worker(workflows=[Free]):
            await clock.advance(timedelta(seconds=1))
            assert (await soon(same)).value == f"{again.run_id} b"
            await again.go(text(""))
            assert (await soon(again.result())).value == "a b c"
        history = await again.history()
        assert [kind for kind in kinds(history) if "Update" in kind].count("WorkflowExecutionUpdateAccepted") == 3
        Replayer(workflows=[Free]).replay(history)
        await replayed(OracleOfUpdates, history)


async def test_the_parent_of_a_child_waits_for_the_run_that_goes_on(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    class Parent(lab.Other):
        async def run(self, request: Text) -> Text:
            return await lab.Free.execute_child(text("c"), id="c")

    class Child(Waiting):
        async def run(self, request: Text) -> Text:
            return await self.go.receive()

    async with engine.worker(workflows=[Parent, Child]):
        client = lab.Client(engine)
        handle = await client.start_other(text("p"))
        await clock.settle()
        child = await client.free_handle("c").reset(event_id=3)
        await clock.settle()
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
        await child.go(text("in the end"))
        assert (await soon(handle.result())).value == "in the end"
        assert kinds(await handle.history())[-2:] == ["ChildWorkflowExecutionCompleted", "WorkflowExecutionCompleted"]


class Parent(lab.Other):
    """Starts a child, waits a second, and then for the child."""

    async def run(self, request: Text) -> Text:
        child = await lab.Free.start_child(request, id="c", parent_close_policy=ParentClosePolicy[request.value])
        await workflow.sleep(1)
        return await child


class Child(Waiting):
    async def run(self, request: Text) -> Text:
        return await self.go.receive()


@oracle.defn(name=f"{SERVICE}.Other")
class OracleOfParents:
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        child = await oracle.start_child_workflow(f"{SERVICE}.Free", NOTHING, id="c")
        await oracle.sleep(1)
        await child
        return NOTHING


@pytest.mark.parametrize("cached", [1000, 0])
async def test_children_stay_and_end_for_the_new_run(path: Path | None, clock: VirtualClock, cached: int) -> None:
    async with (
        open_engine(path, clock=clock) as engine,
        engine.worker(workflows=[Parent, Child], max_cached_workflows=cached),
    ):
        client = lab.Client(engine)
        handle = await client.start_other(text("TERMINATE"))
        await clock.advance(timedelta(seconds=2))
        tasks = completed_tasks(all_kinds(await handle.history()))
        again = await handle.reset(event_id=tasks[1])
        again = await again.reset(event_id=tasks[1])
        await clock.advance(timedelta(seconds=2))
        child = client.free_handle("c")
        assert (await child.describe()).status is WorkflowStatus.RUNNING
        await child.go(text("in the end"))
        assert (await soon(again.result())).value == "in the end"
        await replayed(OracleOfParents, await again.history())


async def test_ends_of_children_go_along(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[Parent, Child]):
        client = lab.Client(engine)
        handle = await client.start_other(text("TERMINATE"))
        await clock.advance(timedelta(seconds=2))
        await client.free_handle("c").go(text("before"))
        assert (await soon(handle.result())).value == "before"
        tasks = completed_tasks(all_kinds(await handle.history()))
        again = await handle.reset(event_id=tasks[1])
        await clock.advance(timedelta(seconds=2))
        assert (await soon(again.result())).value == "before"
        history = await again.history()
        assert kinds(history).count("ChildWorkflowExecutionCompleted") == 1
        await replayed(OracleOfParents, history)


@pytest.mark.parametrize("is_late", [True, False])
async def test_children_that_outlived_their_parent_end_for_the_new_run(
    engine: EmbeddedEngine, clock: VirtualClock, *, is_late: bool
) -> None:
    async with engine.worker(workflows=[Parent, Child]):
        client = lab.Client(engine)
        handle = await client.start_other(text("ABANDON"))
        await clock.advance(timedelta(seconds=2))
        await handle.terminate()
        child = client.free_handle("c")
        if not is_late:
            await child.go(text("between"))
            assert (await soon(child.result())).value == "between"
        tasks = completed_tasks(all_kinds(await handle.history()))
        again = await handle.reset(event_id=tasks[1])
        await clock.advance(timedelta(seconds=2))
        if is_late:
            await child.go(text("after"))
        assert (await soon(again.result())).value == ("after" if is_late else "between")


async def test_what_is_open_there_is_done_again(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    calls = list[str]()

    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            handle = lab.echo(request)
            await workflow.sleep(60)
            return await handle

    class Counting(Lab):
        async def echo(self, request: Text) -> Text:
            calls.append(request.value)
            await asyncio.Event().wait() if len(calls) == 1 else None
            return text("done")

    async with engine.worker(workflows=[Free], activities=[Counting()]):
        handle = await lab.Client(engine).start_free(text("a"), run_timeout=timedelta(seconds=90))
        await handle.go(text("a task more"))
        await clock.advance(timedelta(seconds=5))
        tasks = completed_tasks(all_kinds(await handle.history()))
        again = await handle.reset(event_id=tasks[-1])
        result = asyncio.ensure_future(again.result())
        await clock.advance(timedelta(seconds=56))
        assert (await soon(result)).value == "done"
    assert calls == ["a", "a"]


async def test_the_run_timeout_begins_anew(path: Path | None, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            return await self.go.receive()

    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Free], max_cached_workflows=0):
        handle = await lab.Client(engine).start_free(text("a"), run_timeout=timedelta(seconds=90))
        await clock.advance(timedelta(seconds=60))
        again = await handle.reset(event_id=3)
        await clock.advance(timedelta(seconds=60))
        assert (await again.describe()).status is WorkflowStatus.RUNNING
        await clock.advance(timedelta(seconds=31))
        assert (await again.describe()).status is WorkflowStatus.TIMED_OUT


async def test_it_is_refused_in_words(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    async with engine.worker(workflows=[Drawing], activities=[Lab()]):
        handle = await client.start_free(text("a"))
        await handle.go(text("gone"))
        await soon(handle.result())
        with pytest.raises(OptionError, match="to event 1: it is a WorkflowExecutionStarted; expected one that starts"):
            await handle.reset(event_id=1)
        with pytest.raises(OptionError, match="to event 99: there is no such event; .* are events 4, "):
            await handle.reset(event_id=99)
        with pytest.raises(NotFoundError):
            await client.free_handle("nobody").reset(event_id=3)
        assert (await handle.describe()).status is WorkflowStatus.COMPLETED


async def test_a_start_that_is_sent_again_finds_the_run_that_was_reset(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[Drawing], activities=[Lab()]):
        client = lab.Client(engine)
        handle = await client.start_free(text("a"), request_id="once")
        await handle.go(text("gone"))
        await soon(handle.result())
        again = await handle.reset(event_id=completed_tasks(all_kinds(await handle.history()))[0])
        await soon(again.result())
        assert (await client.start_free(text("a"), request_id="once")).run_id == again.run_id
