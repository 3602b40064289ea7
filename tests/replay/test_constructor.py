"""Constructors that take the request: handlers see it even where they run before `run`, on either SDK."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow as temporal
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.replay.bench import execution
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.stories import P, Story, accepts, completes, ends

from protopact import testing, workflow
from protopact.errors import WorkflowTaskError
from protopact.history import event as ev
from protopact.history.json import to_json
from protopact.payload import Payload

SEEN: list[str] = []


class Mine(histories.Program):
    def __init__(self, request: Job) -> None:
        SEEN.append(f"init {request.id}")
        self.job = request
        self.done = False

    async def run(self, request: Job) -> Outcome:
        SEEN.append(f"run {request.id} {request is self.job}")
        await workflow.wait_condition(lambda: self.done)
        return Outcome(id=request.id)

    async def on_finish(self, request: Nudge) -> None:
        self.done = True

    async def add(self, request: Nudge) -> Reading:
        SEEN.append(f"add {self.job.id}")
        return Reading(log=[self.job.id])

    def peek(self, request: Nudge) -> Reading:
        return Reading(log=[self.job.id])


@temporal.defn(name=P + "Program")
class Theirs:
    @temporal.init
    def __init__(self, job: Job) -> None:
        SEEN.append(f"init {job.id}")
        self.job = job
        self.done = False

    @temporal.run
    async def run(self, job: Job) -> Outcome:
        SEEN.append(f"run {job.id} {job is self.job}")
        await temporal.wait_condition(lambda: self.done)
        return Outcome(id=job.id)

    @temporal.signal(name=P + "Finish")
    async def finish(self, _: Nudge) -> None:
        self.done = True

    @temporal.update(name=P + "Add")
    async def add(self, _: Nudge) -> Reading:
        SEEN.append(f"add {self.job.id}")
        return Reading(log=[self.job.id])


STORIES = {
    "run first": Story().task().answer(),
    "an update first": Story().task().answer(accepts("u"), completes("u")),
}


@pytest.mark.parametrize("name", STORIES)
async def test_the_object_is_made_alike(name: str) -> None:
    history = STORIES[name].events
    SEEN.clear()
    replayer = Replayer(workflows=[Theirs], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(WorkflowHistory.from_json("story", to_json(history)))
    theirs = list(SEEN)
    SEEN.clear()

    def replay() -> None:
        run = execution(Mine, history)
        run.advance(history)
        run.unwind()

    await asyncio.to_thread(replay)
    assert theirs == SEEN
    assert SEEN[0] == "init story"
    assert SEEN[-1] == "run story True"


async def test_a_request_that_cannot_be_read_fails_the_task() -> None:
    history = Story().task().answer(ends()).events[:3]
    started = history[0].attributes
    assert isinstance(started, ev.WorkflowExecutionStarted)
    bad = ev.Event(1, history[0].event_time, ev.WorkflowExecutionStarted(input=(Payload(data=b"?"),), workflow_id="a"))

    def replay() -> None:
        run = execution(Mine, history)
        with pytest.raises(WorkflowTaskError, match="MessageMismatchError: request of histories.v1.Histories.Program"):
            run.advance([bad, *history[1:]])
        run.unwind()

    await asyncio.to_thread(replay)


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_an_update_may_come_first_after_a_restart(cached: int) -> None:
    async with testing.Environment() as env:
        handle = await histories.Client(env).start_program(Job(id="a"))
        async with env.worker(workflows=[Mine], max_cached_workflows=cached):
            await env.sleep(timedelta(seconds=1))
        async with env.worker(workflows=[Mine], max_cached_workflows=cached):
            assert (await handle.add(Nudge())).log == ["a"]
            assert (await handle.peek(Nudge())).log == ["a"]
            await handle.finish(Nudge())
            assert (await handle.result()).id == "a"
