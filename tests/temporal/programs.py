"""Workflows that are importable, for Temporal's sandbox."""

from __future__ import annotations

from typing import final

from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import ApplicationError, workflow

__all__ = ["Greeter", "Hidden", "Known", "Outer"]

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
