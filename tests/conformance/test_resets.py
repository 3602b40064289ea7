"""Resets: what the new run keeps, does again and is told."""

from __future__ import annotations

import pytest
from tests.conformance.bench import Bench, Lab, find, kinds, soon, until
from tests.conformance.features import Drawing
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact.engine import WorkflowStatus
from protopact.errors import AlreadyStartedError, NotFoundError, OptionError, WorkflowFailedError
from protopact.history import History
from protopact.history.event import ActivityTaskScheduled, WorkflowTaskCompleted, WorkflowTaskFailed


def completed_tasks(history: History) -> list[int]:
    return [event.event_id for event in history if isinstance(event.attributes, WorkflowTaskCompleted)]


async def test_a_closed_run_is_done_again_from_a_task(bench: Bench) -> None:
    async with bench.worker(Drawing, activities=[Lab()]):
        handle = await bench.start()
        await handle.go(text("gone"))
        first, gone, second = (await soon(handle.result())).value.split()
        history = await handle.history()
        event_id = completed_tasks(history)[-2]
        again = await handle.reset(event_id=event_id, reason="once more")
        assert isinstance(again, suite.Free.Handle)
        assert again.run_id not in (None, handle.run_id)
        values = (await soon(again.result())).value.split()
        assert values[:2] == [first, gone]
        assert values[2] != second, "drawn anew: the reset seeds the rest"
        reset = await again.history()
        assert (await bench.client.free_handle(handle.id).describe()).run_id == again.run_id
    failed = find(reset, WorkflowTaskFailed)
    assert (failed.cause, failed.base_run_id, failed.new_run_id) == ("RESET_WORKFLOW", handle.run_id, again.run_id)
    assert failed.failure is not None
    assert failed.failure.message == "once more"


async def test_an_open_run_is_terminated_and_its_signals_go_along(bench: Bench) -> None:
    class Collecting(Waiting):
        async def run(self, request: Text) -> Text:
            got = list[str]()
            for _ in range(3):
                got.append((await self.go.receive()).value)
                self.state = got[-1]
            return text(" ".join(got))

    async with bench.worker(Collecting):
        handle = await bench.start()
        for word in "ab":
            await handle.go(text(word))
            while (await soon(handle.status(text("")))).value != word:
                pass
        tasks = completed_tasks(await handle.history())
        again = await handle.reset(event_id=tasks[0])
        first = bench.client.free_handle(handle.id, run_id=handle.run_id)
        with pytest.raises(WorkflowFailedError):
            await soon(first.result())
        assert (await first.describe()).status is WorkflowStatus.TERMINATED
        await again.go(text("c"))
        assert (await soon(again.result())).value == "a b c"


class Child(Waiting):
    async def run(self, request: Text) -> Text:
        return await self.go.receive()


async def test_children_stay_and_end_for_the_new_run(bench: Bench) -> None:
    first, second = bench.id("first"), bench.id("second")

    class Parent(suite.Other):
        async def run(self, request: Text) -> Text:
            child = await suite.Free.start_child(text("c"), id=first)
            await suite.echo(request)
            try:
                await suite.Free.start_child(text("c"), id=second)
                started = "started"
            except AlreadyStartedError:
                started = "there was one"
            return text(f"{(await child).value}, {started}")

    async with bench.worker(Parent, Child, activities=[Lab()]):
        handle = await bench.client.start_other(text(bench.id("parent")))
        children = bench.client.free_handle(first), bench.client.free_handle(second)

        async def are_both_started() -> bool:
            return kinds(await handle.history()).count("ChildWorkflowExecutionStarted") > 1

        await until(are_both_started)
        history = await handle.history()
        scheduled = find(history, ActivityTaskScheduled)
        again = await handle.reset(event_id=scheduled.workflow_task_completed_event_id)
        await children[0].go(text("in the end"))
        assert (await soon(again.result())).value == "in the end, there was one"
        assert (await children[1].describe()).status is WorkflowStatus.RUNNING
        await children[1].terminate()


async def test_it_is_refused_in_words(bench: Bench) -> None:
    async with bench.worker(Drawing, activities=[Lab()]):
        handle = await bench.start()
        await handle.go(text("gone"))
        await soon(handle.result())
        for wrong in (1, 99):
            expected = f"to event {wrong}: .*expected .*workflow task. The completed tasks of the run are events "
            with pytest.raises(OptionError, match=expected):
                await handle.reset(event_id=wrong)
        with pytest.raises(NotFoundError):
            await bench.client.free_handle(bench.id("nobody")).reset(event_id=3)
        assert (await handle.describe()).status is WorkflowStatus.COMPLETED
