"""Continue-as-new: chains of runs, what goes along, and who follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from temporalio import workflow as oracle
from temporalio.common import RawValue
from tests.embedded.bench import Lab, Waiting, all_kinds, find, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_oracle import NOTHING, SERVICE, OracleBase, replayed
from tests.embedded.test_seams import Gated

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyClosedError,
    ApplicationError,
    MessageMismatchError,
    OptionError,
    UpdateFailedError,
    WorkflowContinuedAsNewError,
    WorkflowFailedError,
)
from protopact.history.event import (
    Event,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from protopact.interceptor import ContinueAsNew, Interceptor
from protopact.payload import Payload
from protopact.policy import RetryPolicy, WaitForStage


class Counting(Waiting):
    """Counts down to zero, a run for each number."""

    async def run(self, request: Text) -> Text:
        left = int(request.value)
        if left:
            self.continue_as_new(text(str(left - 1)))
        info = workflow.info()
        return text(f"{info.attempt} {info.run_id == info.first_run_id} {info.continued_run_id is None}")


async def chain(engine: EmbeddedEngine, handle: lab.Free.Handle) -> list[list[Event]]:
    """The histories of a chain of runs, in order."""
    found, run_id = list[list[Event]](), handle.run_id
    while run_id:
        found.append(list(await lab.Client(engine).free_handle(handle.id, run_id=run_id).history()))
        run_id = getattr(found[-1][-1].attributes, "new_execution_run_id", "")
    return found


async def test_a_client_follows_the_chain(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    async with engine.worker(workflows=[Counting]):
        handle = await client.start_free(text("3"), id="a")
        assert (await soon(handle.result())).value == "1 False False"
        with pytest.raises(WorkflowContinuedAsNewError, match="went on as run") as raised:
            await soon(handle.result(follow_runs=False))
        exact = client.free_handle("a", run_id=raised.value.new_run_id)
        assert (await exact.describe()).status is WorkflowStatus.CONTINUED_AS_NEW
        assert (await soon(client.free_handle("a").result())).value == "1 False False"
    histories = await chain(engine, handle)
    assert len(histories) == 4
    ids = [find(history, WorkflowExecutionStarted) for history in histories]
    assert [each.continued_execution_run_id for each in ids] == ["", *(each.original_execution_run_id for each in ids)][
        :4
    ]
    assert {each.first_execution_run_id for each in ids} == {handle.run_id}
    assert [each.initiator for each in ids] == ["", "WORKFLOW", "WORKFLOW", "WORKFLOW"]
    assert len({each.original_execution_run_id for each in ids}) == 4


async def test_what_goes_along_and_what_is_said_anew(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            await workflow.sleep(60)
            match request.value:
                case "as it was":
                    self.continue_as_new(text("anew"))
                case "anew":
                    self.continue_as_new(
                        text("end"),
                        run_timeout=timedelta(minutes=7),
                        task_timeout=timedelta(seconds=7),
                        retry_policy=RetryPolicy(maximum_attempts=7),
                        memo={"who": "you"},
                        search_attributes={"Count": 7},
                        backoff_start_interval=timedelta(minutes=2),
                    )
                case _:
                    return text("end")

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(
            text("as it was"),
            execution_timeout=timedelta(hours=1),
            run_timeout=timedelta(minutes=5),
            retry_policy=RetryPolicy(maximum_attempts=3),
            memo={"who": "me"},
            search_attributes={"Region": "north"},
        )
        result = asyncio.ensure_future(handle.result())
        await clock.advance(timedelta(minutes=6))
        await soon(result)
    first, second, third = (find(each, WorkflowExecutionStarted) for each in await chain(engine, handle))
    same = ("workflow_execution_timeout", "workflow_execution_expiration_time", "workflow_id", "identity")
    for name in (*same, "workflow_run_timeout", "workflow_task_timeout", "retry_policy", "memo", "search_attributes"):
        assert getattr(second, name) == getattr(first, name), name
    for name in same:
        assert getattr(third, name) == getattr(first, name), name
    assert third.workflow_run_timeout == 7 * 60 * 10**9
    assert third.workflow_task_timeout == 7 * 10**9
    assert third.retry_policy is not None
    assert third.retry_policy.maximum_attempts == 7
    assert third.first_workflow_task_backoff == 120 * 10**9
    description = await lab.Client(engine).free_handle(handle.id).describe()
    assert (description.memo, description.search_attributes) == ({"who": "you"}, {"Count": 7})


async def test_the_execution_timeout_spans_the_chain(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            await workflow.sleep(25)
            self.continue_as_new(text("again"))

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(
            text("a"), execution_timeout=timedelta(seconds=60), run_timeout=timedelta(seconds=30)
        )
        result = asyncio.ensure_future(handle.result())
        await clock.advance(timedelta(seconds=61))
        with pytest.raises(WorkflowFailedError, match="timed out"):
            await soon(result)
    ends = [kinds(history)[-1] for history in await chain(engine, handle)]
    assert ends == ["WorkflowExecutionContinuedAsNew"] * 2 + ["WorkflowExecutionTimedOut"]


async def test_headers_come_from_interceptors(clock: VirtualClock) -> None:
    class Tagging(Interceptor):
        def continue_as_new(self, call: ContinueAsNew, next_hook: Callable[[ContinueAsNew], NoReturn]) -> NoReturn:
            call.headers["tag"] = Payload(data=b"next")
            next_hook(call)

    async with (
        open_engine(clock=clock, interceptors=[Tagging()]) as engine,
        engine.worker(workflows=[Counting]),
    ):
        handle = await lab.Client(engine).start_free(text("1"))
        await soon(handle.result())
        first, second = await chain(engine, handle)
    assert find(first, WorkflowExecutionContinuedAsNew).header["tag"].data == b"next"
    assert find(second, WorkflowExecutionStarted).header["tag"].data == b"next"


async def test_a_signal_while_it_is_committed_is_told_first(path: Path | None, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "next":
                return text(f"next after {(await self.go.receive()).value}")
            await self.go.receive()
            if self.go.pending:
                return text(f"told {(await self.go.receive()).value}")
            self.continue_as_new(text("next"))

    codec = Gated()
    async with open_engine(path, clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Free]):
        codec.gate.set()
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        codec.gate.clear()
        await handle.go(text("1"))
        await clock.settle()
        await handle.go(text("2"))
        codec.gate.set()
        assert (await soon(handle.result())).value == "told 2"
        assert find(await handle.history(), WorkflowTaskFailed).cause == "UNHANDLED_COMMAND"


async def test_an_update_while_it_is_committed_goes_to_the_next_run(path: Path | None, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            signal = await self.go.receive()
            if request.value == "a":
                self.continue_as_new(text("next"))
            return text(f"{request.value} {signal.value} {self.state}")

    codec = Gated()
    async with open_engine(path, clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Free]):
        codec.gate.set()
        handle = await lab.Client(engine).start_free(text("a"))
        exact = lab.Client(engine).free_handle(handle.id, run_id=handle.run_id)
        await clock.settle()
        codec.gate.clear()
        await handle.go(text("1"))
        await clock.settle()
        update, pinned = asyncio.create_task(handle.set(text("x"))), asyncio.create_task(exact.set(text("y")))
        await clock.settle()
        codec.gate.set()
        assert (await soon(update)).value == "new"
        with pytest.raises(AlreadyClosedError, match="Continued"):
            await soon(pinned)
        await handle.go(text("2"))
        assert (await soon(handle.result())).value == "next 2 x"
        first, second = await chain(engine, handle)
        assert "WorkflowTaskFailed" not in all_kinds(first)
        assert "WorkflowExecutionUpdateAccepted" in kinds(second)


async def test_an_update_while_an_end_is_committed_is_refused(path: Path | None, clock: VirtualClock) -> None:
    codec = Gated()
    async with open_engine(path, clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Waiting]):
        codec.gate.set()
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        codec.gate.clear()
        await handle.go(text("1"))
        await clock.settle()
        update = asyncio.create_task(handle.set(text("x")))
        await clock.settle()
        codec.gate.set()
        with pytest.raises(AlreadyClosedError):
            await soon(update)
        assert (await soon(handle.result())).value == "1 new"


async def test_an_update_of_a_run_that_is_tried_again_goes_to_the_next(clock: VirtualClock) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            if workflow.info().attempt == 1:
                await lab.Local.echo(request)
                raise ApplicationError("once")
            await self.go.receive()
            return text(self.state)

    class Busy(Lab):
        async def echo(self, request: Text) -> Text:
            await free.wait()
            return request

    free = asyncio.Event()
    retries = RetryPolicy(initial_interval=timedelta(seconds=1))
    async with open_engine(clock=clock) as engine, engine.worker(workflows=[Failing], activities=[Busy()]):
        handle = await lab.Client(engine).start_free(text("a"), retry_policy=retries)
        await clock.settle()
        update = asyncio.create_task(handle.set(text("x")))
        await clock.settle()
        free.set()
        await clock.advance(timedelta(seconds=1))
        assert (await soon(update)).value == "new"
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "x"


async def test_handlers_that_run_are_named_and_their_callers_told(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "next":
                return request
            await workflow.wait_condition(lambda: self.state == "set")
            self.continue_as_new(text("next"))

        async def on_go(self, request: Text) -> None:
            await workflow.sleep(3600)

        async def set(self, request: Text) -> Text:
            self.state = request.value
            await workflow.sleep(3600)
            return request

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("1"))
        with caplog.at_level(logging.WARNING):
            update = await soon(handle.start_set(text("set"), wait_for_stage=WaitForStage.ACCEPTED))
            with pytest.raises(UpdateFailedError, match="the workflow closed before the update completed"):
                await soon(update.result())
        assert "ended while handlers were still running: lab.v1.LabService.Go, lab.v1.LabService.Set" in caplog.text
        assert (await soon(handle.result())).value == "next"


async def test_an_update_goes_to_the_run_that_is_there(engine: EmbeddedEngine) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            self.state = request.value
            await self.go.receive()
            self.continue_as_new(text(request.value + "+"))

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(text("a"))
        for before in ("a", "a+", "a++"):
            # In one tick, both: the signal ends the run, and the update is its first.
            _, update = await soon(asyncio.gather(handle.go(text("")), handle.set(text("x"))))
            assert update.value == before
        await handle.terminate()
        with pytest.raises(AlreadyClosedError):
            await handle.set(text("x"))
    assert kinds((await chain(engine, handle))[-1])[-1] == "WorkflowExecutionTerminated"


async def test_from_the_handler_of_an_update_it_fails_the_task(
    engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    class Free(Waiting):
        async def set(self, request: Text) -> Text:
            self.continue_as_new(request)

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.ensure_future(handle.set(text("x")))
        while (failure := (await handle.describe()).task_failure) is None:
            await asyncio.sleep(0)
        assert failure.startswith("WorkflowCodeError: the handler of update lab.v1.LabService.Set continues as new")
        await handle.terminate()
        with pytest.raises(AlreadyClosedError):
            await soon(waiting)


@pytest.mark.parametrize("cached", [1000, 0])
async def test_a_chain_outlives_its_engine(clock: VirtualClock, cached: int, tmp_path: Path) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "aaaa":
                return request
            await self.go.receive()
            self.continue_as_new(text(request.value + "a"))

    where = tmp_path / "kept.db"
    async with open_engine(where, clock=clock) as engine:
        handle = await lab.Client(engine).start_free(text("a"), id="a")
    for _ in range(3):
        async with (
            open_engine(where, clock=clock) as engine,
            engine.worker(workflows=[Free], max_cached_workflows=cached),
        ):
            await clock.advance(timedelta(seconds=1))
            await lab.Client(engine).free_handle("a").go(text(""))
            await clock.settle()
    async with open_engine(where, clock=clock) as engine:
        assert (await soon(lab.Client(engine).free_handle("a", run_id=handle.run_id).result())).value == "aaaa"


async def test_a_request_or_an_option_that_is_wrong_is_told_at_the_call(engine: EmbeddedEngine) -> None:
    told = list[str]()

    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                workflow.continue_as_new(lab.Free.__protopact__(), "text", {})
            except MessageMismatchError as error:
                told.append(str(error))
            try:
                self.continue_as_new(request, run_timeout=timedelta(0))
            except OptionError as error:
                told.append(str(error))
            return request

    async with engine.worker(workflows=[Free]):
        await soon(lab.Client(engine).execute_free(text("a")))
    assert "request of lab.v1.LabService.Free" in told[0]
    assert told[1].startswith("continue_as_new of lab.v1.LabService.Free: option run_timeout: expected a positive time")


async def test_a_long_history_suggests_it(engine: EmbeddedEngine) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            info = workflow.info()
            await workflow.wait_condition(info.is_continue_as_new_suggested)
            return text(f"{info.get_current_history_length()} {info.get_current_history_size() > 0}")

    handle = await lab.Client(engine).start_free(text("a"))
    await asyncio.gather(*(handle.go(text("")) for _ in range(4100)))
    async with engine.worker(workflows=[Free]):
        assert (await soon(handle.result())).value == "4103 True"
    assert find(await handle.history(), WorkflowTaskStarted).suggest_continue_as_new


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfCounting(OracleBase):
    @oracle.run
    async def run(self, value: RawValue) -> RawValue:
        left = int(value.payload.data.split(b'"')[3])
        if left:
            oracle.continue_as_new(NOTHING)
        return NOTHING


async def test_temporal_accepts_every_run_of_a_chain(engine: EmbeddedEngine) -> None:
    handle = await lab.Client(engine).start_free(text("2"))
    await handle.go(text("early"))
    async with engine.worker(workflows=[Counting]):
        await soon(handle.result())
    histories = await chain(engine, handle)
    assert isinstance(histories[0][1].attributes, WorkflowExecutionSignaled)
    await replayed(OracleOfCounting, *histories)


async def test_a_chain_can_be_terminated_by_its_first_handle(engine: EmbeddedEngine) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            self.continue_as_new(text("again"))

    async with engine.worker(workflows=[Free]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text(""))
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailedError, match="was terminated"):
            await soon(handle.result())
    assert find((await chain(engine, handle))[1], WorkflowExecutionTerminated).reason == "enough"


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_start_that_is_sent_again_finds_the_chain(engine: EmbeddedEngine, *, is_open: bool) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "a":
                self.continue_as_new(text("b"))
            return await self.go.receive() if is_open else request

    async with engine.worker(workflows=[Free]):
        client = lab.Client(engine)
        handle = await client.start_free(text("a"), request_id="once")
        while len(await chain(engine, handle)) < 2:
            await asyncio.sleep(0)
        again = await client.start_free(text("a"), request_id="once")
        if is_open:
            await again.go(text("b"))
        assert (await soon(again.result())).value == "b"
    assert len([run async for run in engine.list_workflows()]) == 2


@pytest.mark.parametrize("ends", ["next", "return"])
async def test_signals_that_nobody_took_are_named(
    engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "return":
                await self.go.receive()
                return request
            if request.value == "a":
                await self.go.receive()
                self.continue_as_new(text("next"))
            return request

    async with engine.worker(workflows=[Free]):
        client = lab.Client(engine)
        with caplog.at_level(logging.WARNING):
            handle = await client.start_free(text("a" if ends == "next" else "return"))
            await asyncio.gather(handle.go(text("1")), handle.go(text("2")))
            await soon(handle.result())
    assert "before it took signals that it had received, and they are lost: lab.v1.LabService.Go;" in caplog.text
