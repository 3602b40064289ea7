"""Each cancellation type of an activity at each moment of its life, as Temporal's Replayer accepts it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import ClassVar

import pytest
from temporalio import workflow as oracle
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError as OracleActivityError
from tests.embedded.bench import Lab, Waiting, kinds, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_oracle import NOTHING, SERVICE, OracleBase, replayed

from protopact import workflow
from protopact.embedded.clock import VirtualClock
from protopact.errors import ActivityError, ApplicationError
from protopact.policy import ActivityCancellationType


@oracle.defn(name=f"{SERVICE}.Free")
class Oracle(OracleBase):
    kind: ClassVar[str]
    at_once: ClassVar[bool]

    @oracle.run
    async def run(self, _: RawValue) -> RawValue:
        handle = oracle.start_activity(
            f"{SERVICE}.Beat",
            NOTHING,
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=60),
            cancellation_type=oracle.ActivityCancellationType[self.kind],
        )
        await asyncio.sleep(0)
        if not self.at_once:
            await oracle.wait_condition(lambda: self.gone > 0)
        handle.cancel()
        with pytest.raises(OracleActivityError):
            await handle
        await oracle.sleep(60)
        return NOTHING


@pytest.mark.parametrize("kind", ActivityCancellationType)
@pytest.mark.parametrize("moment", ["before it is scheduled", "before a worker comes", "running", "between attempts"])
async def test_what_it_does_and_leaves_in_history(
    clock: VirtualClock, kind: ActivityCancellationType, moment: str
) -> None:
    at_once = moment == "before it is scheduled"

    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            handle = lab.beat(request, cancellation_type=kind, heartbeat_timeout=None)
            await asyncio.sleep(0)
            if not at_once:
                await self.go.receive()
            handle.cancel()
            with pytest.raises(ActivityError):
                await handle
            await workflow.sleep(60)
            return text("done")

    class Beating(Lab):
        async def beat(self, request: Text) -> Text:
            if moment == "between attempts":
                raise ApplicationError("again")
            await asyncio.Event().wait()
            return request

    activities = [] if moment == "before a worker comes" else [Beating()]
    async with open_engine(clock=clock) as engine, engine.worker(workflows=[Free], activities=activities):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
        await handle.go(text(""))
        await clock.advance(timedelta(seconds=61))
        assert (await soon(handle.result())).value == "done"
        history = await handle.history()
    found = [name for name in kinds(history) if "Activity" in name]
    if at_once:
        assert found == []
    elif kind is ActivityCancellationType.ABANDON:
        assert "ActivityTaskCancelRequested" not in found
    else:
        assert found[:2] == ["ActivityTaskScheduled", "ActivityTaskCancelRequested"]
        assert found[-1] == "ActivityTaskCanceled"
    Oracle.kind, Oracle.at_once = kind.name, at_once
    await replayed(Oracle, history)
