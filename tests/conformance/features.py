"""Workflows of the cases of each feature, where users have theirs: the sandbox imports this module for each run."""

from __future__ import annotations

import asyncio

from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.errors import ActivityError, ApplicationError, ChildWorkflowError
from protopact.policy import ActivityCancellationType, RetryPolicy

ONCE = RetryPolicy(maximum_attempts=1)


class Everything(Waiting):
    """Calls whatever workflow code can call."""

    async def run(self, request: Text) -> Text:
        said = [str(workflow.patched("everything")), f"{workflow.random().random():.6f}", str(workflow.uuid4())]
        workflow.upsert_memo({"stage": "begun"})
        workflow.upsert_search_attributes({"Nodes": 3})
        said.append((await suite.echo(request)).value)
        said += [each.value for each in await asyncio.gather(*(suite.echo(text(str(n))) for n in range(3)))]
        said.append((await suite.Local.echo(text("local"))).value)
        said.append(await workflow.side_effect(lambda: "effect", str))
        try:
            await suite.echo(text("fail"), retry_policy=ONCE)
        except ActivityError as error:
            said.append(type(error.cause).__name__)
        await workflow.sleep(0.01)
        try:
            await workflow.wait_condition(lambda: False, timeout=0.01)
        except TimeoutError:
            said.append("timeout")
        said.append((await self.go.receive()).value)
        said.append(await self._children(request))
        stopped = suite.beat(request, cancellation_type=ActivityCancellationType.TRY_CANCEL)
        await workflow.sleep(0.01)
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)
        await workflow.wait_condition(lambda: self.state != "new")
        async with workflow.TaskGroup() as group:
            tasks = [group.create_task(self._nap(number)) for number in range(3)]
        said += [task.result() for task in tasks]
        if request.value != "again":
            self.continue_as_new(text("again"))
        return text(" ".join(said))

    async def _children(self, request: Text) -> str:
        parent = workflow.info().workflow_id
        child = await suite.Other.start_child(text("child"), id=f"{parent}/child-{request.value}")
        failing = await suite.Other.start_child(text("fail"), id=f"{parent}/failing-{request.value}")
        said = (await child).value
        try:
            await failing
        except ChildWorkflowError as error:
            said += type(error.cause).__name__
        try:
            await suite.Free.external(f"{parent}/nobody").go(request)
        except ApplicationError as error:
            said += error.type or ""
        return said

    @staticmethod
    async def _nap(number: int) -> str:
        await workflow.sleep(0.01 * (3 - number))
        return str(number)

    async def on_note(self, request: Text) -> None:
        await suite.echo(request)
        self.state = request.value

    async def set(self, request: Text) -> Text:
        return await suite.echo(request)


class Child(suite.Other):
    """A child that returns, or fails."""

    async def run(self, request: Text) -> Text:
        if request.value == "fail":
            raise ApplicationError("asked to", text("detail"), type="Asked")
        return request


class Cancelled(Waiting):
    """Cleans up when it is cancelled."""

    async def run(self, request: Text) -> Text:
        try:
            await self.go.receive()
        finally:
            await suite.echo(request)
        return request


class Before(Waiting):
    async def run(self, request: Text) -> Text:
        await self.go.receive()
        return await suite.echo(text("old"))


class After(Waiting):
    async def run(self, request: Text) -> Text:
        old = not workflow.patched("new-word")
        await self.go.receive()
        assert workflow.patched("new-word") is not old, "it answers alike all along"
        return await suite.echo(text("old" if old else "new"))


class Later(Waiting):
    async def run(self, request: Text) -> Text:
        workflow.deprecate_patch("new-word")
        await self.go.receive()
        return await suite.echo(text("new"))


class AtLast(Waiting):
    async def run(self, request: Text) -> Text:
        await self.go.receive()
        return await suite.echo(text("new"))


class Calls(Waiting):
    """Calls what its request lists, one after the other."""

    async def run(self, request: Text) -> Text:
        said = [(await suite.Local.echo(text(word))).value for word in request.value.split(",")]
        said.append((await suite.Local.beat(text("thread"))).value)
        return text(" ".join(said))


class Collecting(Waiting):
    """Takes as many signals as it is told and returns their words."""

    async def run(self, request: Text) -> Text:
        words = [(await self.go.receive()).value for _ in range(int(request.value))]
        return text(" ".join(words))


class Slow(Waiting):
    """Its updates wait for Note."""

    async def set(self, request: Text) -> Text:
        noted = await self.note.receive()
        if noted.value == "fail":
            raise ApplicationError("asked to", type="Asked")
        return noted


class Obeying(Waiting):
    """Ends as the signal Go says."""

    async def run(self, request: Text) -> Text:
        signal = await self.go.receive()
        if signal.value == "fail":
            raise ApplicationError("asked to", text("detail"), type="Asked")
        return text(f"{request.value} {signal.value}")


class Descending(Waiting):
    """Counts down to zero, a run for each number."""

    async def run(self, request: Text) -> Text:
        left = int(request.value)
        if left:
            self.continue_as_new(text(str(left - 1)))
        info = workflow.info()
        return text(f"{info.attempt} {info.run_id == info.first_run_id} {info.continued_run_id is None}")


class Drawing(Waiting):
    """Echoes a random number, waits for Go, and echoes another."""

    async def run(self, request: Text) -> Text:
        first = await suite.echo(text(str(workflow.random().random())))
        gone = await self.go.receive()
        second = await suite.echo(text(str(workflow.random().random())))
        return text(f"{first.value} {gone.value} {second.value}")
