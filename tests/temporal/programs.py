"""Workflows that are importable, for Temporal's sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
from operator import attrgetter
from typing import final

from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import ActivityError, ApplicationError, ChildWorkflowError, FailureError, workflow

__all__ = ["Everything", "Greeter", "Hidden", "Known", "Outer", "Peeking", "Undoing"]

runs: list[str] = []
"""Runs that this module has seen: of a sandbox, those of its own run."""


class KnownError(Exception):
    """Fails a run where a worker says so."""


@final
class Known(lab.Free):
    """Raises what the worker knows."""

    async def run(self, request: Text) -> Text:
        raise KnownError(request.value)

    def status(self, request: Text) -> Text:
        return request

    async def set(self, request: Text) -> Text:
        return request

    def validate_set(self, request: Text) -> None: ...


@final
class Greeter(lab.Free):
    """Calls an activity; counts the runs that its module has seen."""

    def __init__(self, request: Text) -> None:
        self.name = request.value
        self.seen = 0

    async def run(self, request: Text) -> Text:
        runs.append(request.value)
        self.seen = len(runs)
        echoed = await lab.echo(text(self.name))
        return text(f"{echoed.value} {self.seen}")

    def status(self, request: Text) -> Text:
        return text(f"{request.value}: {self.seen}")

    async def set(self, request: Text) -> Text:
        self.name = request.value
        return request

    def validate_set(self, request: Text) -> None:
        if not request.value:
            raise ApplicationError("empty", type="Empty")


@final
class Peeking(lab.Free):
    """Asks the disk, and swallows that it may not."""

    async def run(self, request: Text) -> Text:
        with contextlib.suppress(Exception):
            attrgetter("stat")(os)("/")  # as the check of the code does not see it
        return request

    def status(self, request: Text) -> Text:
        return request

    async def set(self, request: Text) -> Text:
        return request

    def validate_set(self, request: Text) -> None: ...


@final
class Undoing(lab.Free):
    """Waits for Go, in `run` and in each Set, and undoes then what it has not done."""

    async def run(self, request: Text) -> Text:
        await self._wait()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return request

    def status(self, request: Text) -> Text:
        return request

    async def set(self, request: Text) -> Text:
        await self._wait()
        return request

    def validate_set(self, request: Text) -> None: ...

    async def _wait(self) -> None:
        try:
            await workflow.wait_condition(lambda: self.go.pending > 0)
        finally:
            workflow.logger.warning("undoing")
            await lab.echo(text("undo"))


@final
class Patient(lab.Free):
    """Calls an activity before and after it is told to go on."""

    def __init__(self) -> None:
        self.state = "waits"

    async def run(self, request: Text) -> Text:
        before = await lab.echo(request)
        await self.go.receive()
        return await lab.echo(text(f"{before.value} {self.state} "))

    def status(self, request: Text) -> Text:
        return text(self.state)

    async def set(self, request: Text) -> Text:
        self.state = request.value
        return request

    def validate_set(self, request: Text) -> None: ...


class Outer:
    """Holds a workflow class."""

    @final
    class Inner(lab.Other):
        """Stands in another class."""

        async def run(self, request: Text) -> Text:
            await workflow.sleep(0.01)
            return text(f"inner {request.value}")


def _make() -> type[lab.Other]:
    @final
    class Local(lab.Other):
        async def run(self, request: Text) -> Text:
            return request

    Local.__qualname__ = "Hidden"
    return Local


Hidden = _make()
Renamed = Hidden
del _make


@final
class Everything(lab.Free):
    """One command of each kind, in two runs."""

    @final
    class Child(lab.Other):
        """Says what it is told, or waits to be cancelled."""

        async def run(self, request: Text) -> Text:
            if request.value == "wait":
                await workflow.sleep(3600)
            return text(f"child {request.value}")

    def __init__(self) -> None:
        self.said: list[str] = []

    async def on_go(self, request: Text) -> None:
        self.said.append(request.value)

    def status(self, request: Text) -> Text:
        return text(f"{request.value}{self.said}")

    async def set(self, request: Text) -> Text:
        await workflow.sleep(0.01)
        before, self.said = self.said, [request.value]
        return text(f"was {before[-1]}")

    def validate_set(self, request: Text) -> None:
        if not request.value:
            raise ApplicationError("empty", type="Empty")

    async def run(self, request: Text) -> Text:
        if request.value != "first":
            return request
        name = workflow.info().workflow_id
        drawn = [str(workflow.uuid4()), str(workflow.random().random())]
        drawn.append(await workflow.side_effect(lambda: str(len(name)), str))
        await asyncio.gather(lab.echo(text(drawn[0])), lab.beat(text("b")), lab.Local.echo(text(drawn[1])))
        withdrawn = lab.echo(text("never"), task_queue="nobody")
        await asyncio.sleep(0.01)
        withdrawn.cancel()
        with contextlib.suppress(ActivityError):
            await withdrawn
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: False, timeout=0.01)
        if workflow.patched("new"):
            workflow.upsert_memo({"drawn": drawn[2]})
            workflow.upsert_search_attributes({"Count": len(name)})
        await self._speak(name)
        await workflow.wait_condition(lambda: self.said == ["two", "end"])
        await workflow.wait_condition(workflow.all_handlers_finished)
        self.continue_as_new(text("second"))

    async def _speak(self, name: str) -> None:
        child = await lab.Other.start_child(text("x"), id=f"{name}-child")
        await child
        waiting = await lab.Other.start_child(text("wait"), id=f"{name}-waiting")
        waiting.cancel(reason="enough")
        with contextlib.suppress(ChildWorkflowError):
            await waiting
        with contextlib.suppress(FailureError):
            await lab.Free.external(f"{name}-nobody").go(text("x"))
        for reason in ("enough", ""):
            with contextlib.suppress(FailureError):
                await lab.Other.external(f"{name}-nobody").cancel(reason=reason)
