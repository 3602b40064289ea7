"""Workflows of the suite that stand at the top of a module, as users write them: on Temporal the sandbox runs them.

The sandbox imports this module anew for each run, so it imports little.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from operator import attrgetter
from typing import Any

from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite

from protopact import ApplicationError, workflow

runs = list[str]()
"""Which runs have been here, in this import of the module."""


def text(value: str) -> Text:
    return Text(value=value)


class Waiting(suite.Free):
    """Waits for Go; Set changes what Status says."""

    def __init__(self) -> None:
        self.state = "new"

    async def run(self, request: Text) -> Text:
        signal = await self.go.receive()
        return text(f"{signal.value} {self.state}")

    def status(self, request: Text) -> Text:
        return text(self.state + request.value)

    def validate_set(self, request: Text) -> None:
        if not request.value:
            raise ValueError("nothing to set")

    async def set(self, request: Text) -> Text:
        before, self.state = self.state, request.value
        return text(before)


class Chain(Waiting):
    """Calls Echo three times, one after the other."""

    async def run(self, request: Text) -> Text:
        reply = request
        for _ in range(3):
            reply = await suite.echo(reply)
        return reply


class Other(suite.Other):
    """Sleeps for an hour."""

    async def run(self, request: Text) -> Text:
        await workflow.sleep(3600)
        return request


class Ending(Waiting):
    """Ends as its request says."""

    async def run(self, request: Text) -> Text:
        if request.value == "failed":
            raise ApplicationError("asked to")
        if request.value != "completed":
            await self.go.receive()
        return request


class Counting(Waiting):
    """How many runs its import of the module has seen."""

    async def run(self, request: Text) -> Text:
        runs.append(request.value)
        return text(str(len(runs)))


class CountingDown(Waiting):
    """Goes on as a run with one less each time it is told Go."""

    async def run(self, request: Text) -> Text:
        left = int(request.value)
        if not left:
            return text("done")
        await self.go.receive()
        self.continue_as_new(text(str(left - 1)))


class Grouping(Waiting):
    """Waits for tasks with asyncio's own words."""

    async def run(self, request: Text) -> Text:
        tasks = [asyncio.create_task(workflow.sleep(0.001)) for _ in range(3)]
        if request.value == "wait":
            await asyncio.wait(tasks)
        elif request.value == "as_completed":
            for each in asyncio.as_completed(tasks):
                await each
        own = attrgetter("__hash__")  # as the check of the code does not see it
        by_address = [own(task)() == own(object)(task) for task in tasks]
        return text(f"{by_address}")


class Peeking(Waiting):
    """Reads the clock as neither the check of the code nor the guard sees it."""

    async def run(self, request: Text) -> Text:
        now: Any = attrgetter("datetime.now")(dt)
        return text(type(now()).__name__)


class Greedy(Waiting):
    """Asks for more and more."""

    async def run(self, request: Text) -> Text:
        own = workflow.info().workflow_id
        match request.value:
            case "events":
                for _ in range(100):
                    await workflow.sleep(0.001)
            case "bytes":
                for _ in range(5):
                    await suite.echo(text("x" * 30_000))
            case "as many as suggested":
                while not workflow.info().is_continue_as_new_suggested():
                    await workflow.sleep(0.001)
                return text(str(workflow.info().get_current_history_length()))
            case "one more signal":
                try:
                    await suite.Free.external(f"{own}-other").go(text("x"))
                except ApplicationError as error:
                    return text(f"{error.type}: {error.message}")
            case _:
                await self.go.receive()
        return request


class Demanding(Waiting):
    """Asks for more at once than may be pending."""

    async def run(self, request: Text) -> Text:
        own = workflow.info().workflow_id
        match request.value:
            case "activities":
                await asyncio.gather(*(suite.echo(text("x"), task_queue="nobody's") for _ in range(3)))
            case "children":
                for number in range(3):
                    await suite.Other.start_child(text("wait"), id=f"{own}-{number}")
            case "signals":
                await asyncio.gather(*(suite.Free.external(f"{own}-{n}").go(text("x")) for n in range(3)))
            case "cancellations":
                await asyncio.gather(*(suite.Free.external(f"{own}-{n}").cancel() for n in range(3)))
            case _:
                await suite.Other.start_child(text("wait"), id="x" * 301)
        return request
