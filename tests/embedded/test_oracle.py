"""What the engine writes, Temporal's own Replayer accepts: histories with every branch that the server decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta

import pytest
from temporalio import workflow as oracle
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError as OracleActivityError
from temporalio.exceptions import ApplicationError as OracleApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.embedded.bench import Lab, Waiting, all_kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_seams import Gated

from protopact import activity, workflow
from protopact.embedded.clock import VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.errors import ActivityError, ApplicationError, UpdateFailedError, WorkflowFailedError
from protopact.history.event import Event
from protopact.history.json import to_json
from protopact.policy import RetryPolicy, WaitForStage

SERVICE = "lab.v1.LabService"
NOTHING = RawValue(Payload())


@pytest.fixture
async def engine(clock: VirtualClock) -> AsyncIterator[EmbeddedEngine]:
    async with open_engine(clock=clock) as opened:
        yield opened


async def replayed(definition: type, *histories: Sequence[Event]) -> None:
    """Replay each history, whole and cut where a workflow task had started."""

    async def cuts() -> AsyncGenerator[WorkflowHistory]:
        for history in histories:
            names = all_kinds(history)
            ends = [index + 1 for index, name in enumerate(names) if name == "WorkflowTaskStarted"]
            for end in (*ends, len(history)):
                yield WorkflowHistory.from_json("a", to_json(history[:end]))

    replayer = Replayer(workflows=[definition], workflow_runner=UnsandboxedWorkflowRunner())
    results = await replayer.replay_workflows(cuts(), raise_on_replay_failure=False)
    assert not results.replay_failures, [all_kinds(history) for history in histories]


async def echo(name: str = "Echo") -> None:
    await oracle.execute_activity(
        f"{SERVICE}.{name}", NOTHING, result_type=RawValue, start_to_close_timeout=timedelta(seconds=10)
    )


class OracleBase:
    """The handlers that every Free has."""

    def __init__(self) -> None:
        self.gone = 0

    @oracle.signal(name=f"{SERVICE}.Go")
    async def go(self, _: RawValue) -> None:
        self.gone += 1

    @oracle.update(name=f"{SERVICE}.Set")
    async def set(self, _: RawValue) -> RawValue:
        await oracle.sleep(5)
        return NOTHING


class Slow(Waiting):
    async def set(self, request: Text) -> Text:
        await workflow.sleep(5)
        return await super().set(request)


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfTimeouts(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await echo()
        for name in ("Beat", "Echo"):
            with pytest.raises(OracleActivityError):
                await echo(name)
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfCancellation(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await oracle.execute_activity(
            f"{SERVICE}.Beat",
            NOTHING,
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=60),
            cancellation_type=oracle.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfTimers(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        timers = [asyncio.ensure_future(oracle.sleep(seconds)) for seconds in (10, 20, 3600)]
        await oracle.wait_condition(lambda: self.gone > 0)
        await timers[0]
        timers[2].cancel()
        await timers[1]
        await oracle.wait_condition(oracle.all_handlers_finished)
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfParking(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await echo()
        await oracle.wait_condition(lambda: self.gone > 0)
        await echo()
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfEnds(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await oracle.sleep(3600)
        return NOTHING


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfFailure(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        raise OracleApplicationError("no")


@oracle.defn(name=f"{SERVICE}.Free")
class OracleOfSignals(OracleBase):
    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        await oracle.wait_condition(lambda: self.gone > 0)
        return NOTHING


async def test_retries_and_time_outs(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            await lab.echo(request)
            with pytest.raises(ActivityError):
                await lab.beat(request, retry_policy=RetryPolicy(maximum_attempts=2))
            with pytest.raises(ActivityError):
                await lab.echo(request, task_queue="nobody", schedule_to_start_timeout=timedelta(seconds=1))
            return request

    class Flaky(Lab):
        async def echo(self, request: Text) -> Text:
            if activity.info().attempt < 3:
                raise ApplicationError("again", text("detail"))
            return request

        async def beat(self, request: Text) -> Text:
            activity.heartbeat(request)
            await asyncio.Event().wait()
            return request

    async with engine.worker(workflows=[Free], activities=[Flaky()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.advance(timedelta(minutes=1))
        await soon(handle.result())
    await replayed(OracleOfTimeouts, await handle.history())


@pytest.mark.parametrize("when", ["running", "between attempts", "before a worker comes"])
async def test_cancellation_of_an_activity(engine: EmbeddedEngine, clock: VirtualClock, when: str) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.beat(request)

    class Beating(Lab):
        async def beat(self, request: Text) -> Text:
            if when == "between attempts":
                raise ApplicationError("again")
            await asyncio.Event().wait()
            return request

    activities = [] if when == "before a worker comes" else [Beating()]
    async with engine.worker(workflows=[Free], activities=activities):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.cancel()
        with pytest.raises(WorkflowFailedError, match="cancelled"):
            await soon(handle.result())
    await replayed(OracleOfCancellation, await handle.history())


async def test_timers_signals_and_updates(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Free(Slow):
        async def run(self, request: Text) -> Text:
            timers = [asyncio.ensure_future(workflow.sleep(seconds)) for seconds in (10, 20, 3600)]
            await self.go.receive()
            await timers[0]
            timers[2].cancel()
            await timers[1]
            await workflow.wait_condition(workflow.all_handlers_finished)
            return request

    client = lab.Client(engine)
    async with engine.worker(workflows=[Free]):
        handle, update = await soon(
            client.start_free_with_set(text("a"), text("1"), wait_for_stage=WaitForStage.ACCEPTED)
        )
        with pytest.raises(UpdateFailedError):
            await soon(handle.set(text("")))
        more = await asyncio.gather(
            handle.start_set(text("2"), wait_for_stage=WaitForStage.ACCEPTED),
            handle.go(text("go")),
            handle.start_set(text("3"), wait_for_stage=WaitForStage.ACCEPTED),
            handle.go(text("go")),
        )
        await clock.advance(timedelta(seconds=12))
        last = await soon(handle.start_set(text("4"), wait_for_stage=WaitForStage.ACCEPTED))
        await clock.advance(timedelta(seconds=8))
        assert (await soon(handle.result())).value == "a"
        for each in (update, more[0], more[2], last):
            await soon(each.result())
    await replayed(OracleOfTimers, await handle.history())


async def test_parked_and_cured(engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Free(Waiting):
        bugs = 3

        async def run(self, request: Text) -> Text:
            await lab.echo(request)
            await self.go.receive()
            if type(self).bugs:
                type(self).bugs -= 1
                raise KeyError("bug")
            return await lab.echo(request)

    async with engine.worker(workflows=[Free], activities=[Lab()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.go(text("1"))
        await clock.advance(timedelta(seconds=2))
        await handle.go(text("2"))
        await clock.advance(timedelta(minutes=1))
        await soon(handle.result())
    await replayed(OracleOfParking, await handle.history())


async def test_ends_that_the_workflow_did_not_choose(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "fail":
                raise ApplicationError("no", text("detail"), type="T")
            await workflow.sleep(3600)
            return request

    client = lab.Client(engine)
    async with engine.worker(workflows=[Free]):
        terminated = await client.start_free(text("terminated"))
        await clock.settle()
        await terminated.terminate(reason="enough")
        late = await client.start_free(text("late"), run_timeout=timedelta(seconds=10))
        delayed = await client.start_free(text("delayed"), start_delay=timedelta(seconds=10))
        retried = await client.start_free(text("fail"), retry_policy=RetryPolicy(maximum_attempts=2))
        await clock.advance(timedelta(minutes=1))
        still_open = await client.start_free(text("open"))
        await clock.settle()
        await replayed(OracleOfEnds, *[await each.history() for each in (terminated, late, delayed, still_open)])
        failed = [each async for each in engine.list_workflows(workflow_id="fail")]
        assert len(failed) == 2
        for run in failed:
            await replayed(OracleOfFailure, await client.free_handle("fail", run_id=run.run_id).history())
        assert retried.run_id is not None


async def test_a_task_that_was_superseded(clock: VirtualClock) -> None:
    codec = Gated()
    codec.gate.set()
    async with open_engine(clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Waiting]):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        codec.gate.clear()
        await handle.go(text("1"))
        await clock.settle()
        await handle.go(text("2"))
        codec.gate.set()
        await soon(handle.result())
        history = await handle.history()
    assert "WorkflowTaskFailed" in all_kinds(history)

    await replayed(OracleOfSignals, history)
