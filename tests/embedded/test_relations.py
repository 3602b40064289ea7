"""Children, and signals and cancellations between workflows, as the engine carries them out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Waiting, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import SystemClock, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import WorkflowStatus
from protopact.errors import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowFailedError,
)
from protopact.history import event as ev
from protopact.interceptor import Interceptor, SignalExternalWorkflow, StartChildWorkflow
from protopact.payload import Payload, PayloadCodec
from protopact.policy import (
    Priority,
)
from protopact.replay import Replayer

Code = Callable[[Text], Awaitable[Text]]


def parent(code: Code) -> type[lab.Other]:
    """A workflow that runs `code`."""

    class Parent(lab.Other):
        async def run(self, request: Text) -> Text:
            return await code(request)

    return Parent


class Child(Waiting):
    """Ends as the signal Go says."""

    async def run(self, request: Text) -> Text:
        signal = await self.go.receive()
        if signal.value == "fail":
            raise ApplicationError("asked to", type="Asked")
        return text(f"{request.value} {signal.value}")


async def play(engine: EmbeddedEngine, code: Code, *children: type[workflow.Workflow]) -> lab.Other.Handle:
    """Start a parent beside its worker's classes, and wait for its end."""
    async with engine.worker(workflows=[parent(code), *(children or (Child,))]):
        handle = await lab.Client(engine).start_other(text("p"))
        await soon(handle.result())
    return handle


# -- what becomes of a child


async def test_a_child_has_the_priority_that_it_is_given(engine: EmbeddedEngine) -> None:
    async def code(request: Text) -> Text:
        child = await lab.Free.start_child(text("c"), priority=Priority(priority_key=2, fairness_key="tenant"))
        await child.go(text("on"))
        return await child

    handle = await play(engine, code)
    priority = ev.Priority(priority_key=2, fairness_key="tenant")
    history = await handle.history()
    assert find(history, ev.StartChildWorkflowExecutionInitiated).priority == priority
    assert find(await lab.Client(engine).free_handle("c").history(), ev.WorkflowExecutionStarted).priority == priority
    assert not Replayer(workflows=[parent(code)]).replay(history).warnings

    async def other(request: Text) -> Text:
        return await (await lab.Free.start_child(text("c"), priority=Priority(priority_key=5)))

    told = Replayer(workflows=[parent(other)]).replay(history, raise_on_failure=False)
    assert "holds priority key 2, fairness key 'tenant', the code asks for key 5" in str(told.warnings[0])


async def test_a_child_without_an_id_has_one_that_replay_draws_again(path: Path | None, clock: VirtualClock) -> None:
    async def code(request: Text) -> Text:
        child = await lab.Other.start_child(text("other"), id=str(workflow.uuid4()))
        assert await child == text("grandchild")
        return text(child.id)

    class Both(lab.Other):
        async def run(self, request: Text) -> Text:
            return text("grandchild") if request.value == "other" else await code(request)

    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[Both], max_cached_workflows=0):
        handle = await lab.Client(engine).start_other(text("p"))
        assert len((await soon(handle.result())).value) == 36


async def test_interceptors_and_headers(path: Path | None) -> None:
    class Stamping(Interceptor):
        async def start_child_workflow(
            self, call: StartChildWorkflow, next_hook: Callable[[StartChildWorkflow], Awaitable[object]]
        ) -> object:
            call.headers["from"] = Payload({"encoding": b"binary/plain"}, b"start")
            return await next_hook(call)

        async def signal_external_workflow(
            self, call: SignalExternalWorkflow, next_hook: Callable[[SignalExternalWorkflow], Awaitable[None]]
        ) -> None:
            call.headers["from"] = Payload({"encoding": b"binary/plain"}, b"signal")
            await next_hook(call)

    async def code(request: Text) -> Text:
        child = await lab.Free.start_child(text("c"))
        await child.go(text("on"))
        return await child

    async with open_engine(path, interceptors=[Stamping()]) as engine:
        await play(engine, code)
        history = await lab.Client(engine).free_handle("c").history()
    assert find(history, ev.WorkflowExecutionStarted).header["from"].data == b"start"
    assert find(history, ev.WorkflowExecutionSignaled).header["from"].data == b"signal"


class Reversing(PayloadCodec):
    """Takes a turn of the loop, and turns data round."""

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await asyncio.sleep(0)
        return [Payload(each.metadata, each.data[::-1]) for each in payloads]

    decode = encode


async def family(request: Text) -> Text:
    """Two children at once, one of which fails; a signal to each."""

    async def one(name: str, word: str) -> str:
        child = await lab.Free.start_child(text(name))
        await child.go(text(word))
        try:
            return (await child).value
        except ChildWorkflowError as error:
            return f"{name} {type(error.cause).__name__}"

    return text(", ".join(await asyncio.gather(one("c1", "on"), one("c2", "fail"))))


EXPECTED = "c1 on, c2 ApplicationError"


async def test_with_codecs(path: Path | None) -> None:
    async with open_engine(path, codecs=[Reversing()]) as engine:
        handle = await play(engine, family)
        assert (await handle.result()).value == EXPECTED


# -- processes and crashes


async def test_parent_and_children_in_different_processes(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=SystemClock()) as parents, open_engine(path, clock=SystemClock()) as children:
        handle = await lab.Client(parents).start_other(text("p"))
        async with parents.worker(workflows=[parent(family)]), children.worker(workflows=[Child]):
            assert (await soon(handle.result())).value == EXPECTED
        check_once(await handle.history())


async def test_a_child_ends_while_nobody_serves_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path) as engine, engine.worker(workflows=[parent(family)]):
        handle = await lab.Client(engine).start_other(text("p"))
        while "ExternalWorkflowExecutionSignaled" not in kinds(await handle.history()):
            await asyncio.sleep(0.001)
    async with open_engine(path) as engine, engine.worker(workflows=[Child]):
        await soon(lab.Client(engine).free_handle("c1").result())
        with pytest.raises(WorkflowFailedError):
            await soon(lab.Client(engine).free_handle("c2").result())
    async with open_engine(path) as engine, engine.worker(workflows=[parent(family)]):
        handle = lab.Client(engine).other_handle("p")
        assert (await soon(handle.result())).value == EXPECTED
        check_once(await handle.history())


class Copying(Store):
    """Copies the database after each commit."""

    def __init__(self, path: Path, copies: Path) -> None:
        super().__init__(path)
        self.copies = copies
        self.count = 0

    def commit(self) -> None:
        super().commit()
        self.count += 1
        with sqlite3.connect(self.copies / f"{self.count}.db") as copy:
            self.connection.backup(copy)
        copy.close()


async def test_a_crash_after_any_commit_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    async def slowly(request: Text) -> Text:
        await workflow.sleep(1)
        reply = await family(request)
        await workflow.sleep(1)
        return reply

    class Slow(Child):
        async def run(self, request: Text) -> Text:
            await workflow.sleep(1)
            return await super().run(request)

    copies = tmp_path / "copies"
    copies.mkdir()
    clock = VirtualClock()
    store = Copying(tmp_path / "lab.db", copies)
    async with open_engine(store=store, clock=clock) as engine, engine.worker(workflows=[parent(slowly), Slow]):
        handle = await lab.Client(engine).start_other(text("p"))
        await clock.advance(timedelta(seconds=5))
        await soon(handle.result())
    checked = 0
    for path in sorted(copies.glob("*.db")):
        later = VirtualClock(clock.now())
        async with open_engine(path, clock=later) as engine:
            if not [each async for each in engine.list_workflows()]:
                continue
            async with engine.worker(workflows=[parent(slowly), Slow]):
                handle = lab.Client(engine).other_handle("p")
                await later.advance(timedelta(seconds=5))
                assert (await soon(handle.result())).value == EXPECTED
                check_once(await handle.history())
                assert len([each async for each in engine.list_workflows()]) == 3
                checked += 1
    assert checked > 4


def check_once(history: Sequence[ev.Event]) -> None:
    """Each child began once and ended once."""
    names = kinds(history)
    assert names.count("StartChildWorkflowExecutionInitiated") == names.count("ChildWorkflowExecutionStarted") == 2
    assert names.count("ChildWorkflowExecutionCompleted") == names.count("ChildWorkflowExecutionFailed") == 1
    assert names.count("ExternalWorkflowExecutionSignaled") == 2


async def test_a_long_line_of_children_is_terminated(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Line(lab.Other):
        async def run(self, request: Text) -> Text:
            if left := int(request.value):
                await lab.Other.start_child(text(str(left - 1)))
            await workflow.sleep(3600)
            return request

    async with engine.worker(workflows=[Line]):
        handle = await lab.Client(engine).start_other(text("400"))
        await clock.settle()
        assert (await lab.Client(engine).other_handle("0").describe()).status is WorkflowStatus.RUNNING
        await handle.terminate()
    statuses = [run.status async for run in engine.list_workflows()]
    assert statuses == [WorkflowStatus.TERMINATED] * 401
