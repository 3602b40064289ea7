"""Signals: channels and handlers, order, starts with a signal, many of them."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.bench import Bench, Lab, find, kinds, millis, running, soon
from tests.conformance.features import Collecting
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.engine import SignalWorkflow, WorkflowRef
from protopact.errors import AlreadyStartedError, ApplicationError, WorkflowFailedError
from protopact.history.event import WorkflowExecutionSignaled
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy


async def test_signals_before_the_worker_are_kept_in_order(bench: Bench) -> None:
    handle = await bench.start("3")
    for word in "abc":
        await handle.go(text(word))
    async with bench.worker(Collecting):
        assert (await soon(handle.result())).value == "a b c"


async def test_a_handler_instead_of_a_channel(bench: Bench) -> None:
    class Handling(Waiting):
        def __init__(self) -> None:
            super().__init__()
            self.told = list[str]()

        async def run(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: len(self.told) == 4)
            await workflow.wait_condition(workflow.all_handlers_finished)
            return text(" ".join(self.told))

        async def on_go(self, request: Text) -> None:
            self.told.append(request.value)
            self.told.append((await suite.echo(request)).value)

    async with bench.worker(Handling, activities=[Lab()]):
        handle = await bench.start()
        await handle.go(text("a"))
        await handle.go(text("b"))
        said = (await soon(handle.result())).value.split()
    assert sorted(said) == ["a", "a!", "b", "b!"]
    assert said.index("a") < said.index("b")


async def test_two_channels_are_apart(bench: Bench) -> None:
    class Two(Waiting):
        async def run(self, request: Text) -> Text:
            noted = await self.note.receive()
            gone = await self.go.receive()
            assert not self.go.pending
            return text(f"{noted.value} {gone.value}")

    async with bench.worker(Two):
        handle = await bench.start()
        await handle.go(text("first"))
        await handle.note(text("second"))
        assert (await soon(handle.result())).value == "second first"


async def test_signals_that_come_while_the_workflow_waits_for_something_else(bench: Bench) -> None:
    class Busy(Waiting):
        async def run(self, request: Text) -> Text:
            await self.note.receive()
            words = list[str]()
            while self.go.pending:
                words.append((await self.go.receive()).value)
            return text(" ".join(words))

    async with bench.worker(Busy):
        handle = await bench.start()
        for word in ("a", "b", "c"):
            await handle.go(text(word))
        await handle.note(text(""))
        assert (await soon(handle.result())).value == "a b c"


async def test_a_wait_that_is_cancelled_loses_no_signal(bench: Bench) -> None:
    class Impatient(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                async with asyncio.timeout(0.02):
                    await self.go.receive()
            except TimeoutError:
                await self.note.receive()
            return await self.go.receive()

    async with bench.worker(Impatient):
        handle = await bench.start()
        while "TimerFired" not in kinds(await handle.history()):
            await asyncio.sleep(0.01)
        await handle.go(text("late"))
        await handle.note(text(""))
        assert (await soon(handle.result())).value == "late"


async def test_signal_with_start(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.client.start_free_with_go(text("a"), text("go"), id=bench.id("new"))
        assert (await soon(handle.result())).value == "go new"
        assert kinds(await handle.history())[:2] == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
        open_run = await bench.start(name="open")
        same = await bench.client.start_free_with_go(text("b"), text("now"), id=open_run.id)
        assert same.run_id == open_run.run_id
        assert (await soon(open_run.result())).value == "now new"


async def test_signal_with_start_on_an_id_whose_run_has_closed(bench: Bench) -> None:
    first = await bench.start()
    await first.terminate()
    second = await bench.client.start_free_with_go(text("b"), text("go"), id=first.id)
    assert second.run_id != first.run_id
    async with bench.worker(Waiting):
        assert (await soon(second.result())).value == "go new"
    with pytest.raises(AlreadyStartedError):
        await bench.client.start_free_with_go(
            text("b"), text("go"), id=first.id, id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE
        )


async def test_signal_with_start_that_terminates_the_open_run(bench: Bench) -> None:
    first = await bench.start()
    second = await bench.client.start_free_with_go(
        text("b"), text("go"), id=first.id, id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING
    )
    assert second.run_id != first.run_id
    async with bench.worker(Waiting):
        assert (await soon(second.result())).value == "go new"
        with pytest.raises(WorkflowFailedError):
            await soon(first.result())


async def test_the_same_signal_request_is_delivered_once(bench: Bench) -> None:
    async with bench.worker(Collecting):
        handle = await bench.start("2")
        go = handle.__protopact__.workflow.signals[0].signal
        for value, request_id in (("1", "r1"), ("1", "r1"), ("2", "r2")):
            await bench.engine.signal_workflow(
                SignalWorkflow(ref=WorkflowRef(handle.id), signal=go, request=text(value), request_id=request_id)
            )
        assert (await soon(handle.result())).value == "1 2"


@pytest.mark.parametrize("number", [500, pytest.param(5000, marks=pytest.mark.slow)])
async def test_many_signals(bench: Bench, number: int) -> None:
    class Counting(Waiting):
        async def run(self, request: Text) -> Text:
            total = 0
            for _ in range(number):
                total += int((await self.go.receive()).value)
            return text(str(total))

    async with bench.worker(Counting):
        handle = await bench.start()
        for first in range(0, number, 100):
            await asyncio.gather(*(handle.go(text(str(each))) for each in range(first, first + 100)))
        assert (await soon(handle.result())).value == str(sum(range(number)))
    assert kinds(await handle.history()).count("WorkflowExecutionSignaled") == number


async def test_a_signal_handler_that_fails_the_run(bench: Bench) -> None:
    class Failing(Waiting):
        async def on_go(self, request: Text) -> None:
            raise ApplicationError("signalled", type="Signalled")

        async def run(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: False)
            return request

    async with bench.worker(Failing):
        handle = await bench.start()
        await handle.go(text(""))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == "Signalled"


async def test_a_workflow_signals_itself_through_its_activity(bench: Bench) -> None:
    class Calling(Lab):
        async def echo(self, request: Text) -> Text:
            await bench.client.free_handle(bench.id()).go(text("from within"))
            return text(" activity")

    class Both(Waiting):
        async def run(self, request: Text) -> Text:
            reply = await suite.echo(request)
            return text((await self.go.receive()).value + reply.value)

    async with bench.worker(Both, activities=[Calling()]):
        assert await bench.run() == "from within activity"


async def test_a_signal_wakes_a_workflow_that_sleeps(bench: Bench) -> None:
    class Reminder(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                async with asyncio.timeout(3600):
                    return await self.go.receive()
            except TimeoutError:
                return request

    async with bench.worker(Reminder):
        handle = await bench.start("nobody")
        await handle.go(text("woken"))
        assert (await soon(handle.result())).value == "woken"
    assert "TimerFired" not in kinds(await handle.history())


async def test_a_signal_nobody_takes_is_in_history(bench: Bench) -> None:
    async def ends(request: Text) -> Text:
        await workflow.sleep(0.05)
        return request

    async with bench.worker(running(ends)):
        handle = await bench.start()
        await handle.note(text("unread"))
        await soon(handle.result())
    signaled = find(await handle.history(), WorkflowExecutionSignaled)
    assert signaled.signal_name == "suite.v1.SuiteService.Note"
    assert signaled.identity == "client"


async def test_empty_signals_queries_and_updates(bench: Bench) -> None:
    class Quiet(suite.Quiet):
        def __init__(self) -> None:
            self.touched = 0

        async def run(self) -> None:
            await self.ping.receive()
            await suite.nothing()

        def peek(self) -> Text:
            return text(str(self.touched))

        async def touch(self) -> None:
            self.touched += 1

    async with bench.worker(Quiet, activities=[Lab()]):
        handle = await bench.client.start_quiet(id=bench.id())
        await soon(handle.touch())
        assert (await soon(handle.peek())).value == "1"
        await handle.ping()
        await soon(handle.result())
        again = await bench.client.start_quiet_with_ping(id=bench.id("again"))
        await soon(again.result())
        last, update = await soon(bench.client.start_quiet_with_touch(id=bench.id("last")))
        await soon(update.result())
        await last.ping()
        await soon(last.result())
    signaled = find(await handle.history(), WorkflowExecutionSignaled)
    assert not signaled.input, "nothing is no payload"


async def test_sleeping_in_a_handler_while_run_goes_on(bench: Bench) -> None:
    class Slow(Waiting):
        def __init__(self) -> None:
            super().__init__()
            self.done = 0

        async def on_go(self, request: Text) -> None:
            await workflow.sleep(millis(20))
            self.done += 1

        async def run(self, request: Text) -> Text:
            await self.note.receive()
            await workflow.wait_condition(workflow.all_handlers_finished)
            return text(str(self.done))

    async with bench.worker(Slow):
        handle = await bench.start()
        await asyncio.gather(*(handle.go(text("")) for _ in range(5)))
        await handle.note(text(""))
        assert (await soon(handle.result())).value == "5"
