"""What the processes that are killed do: a client's calls, each repeated until it was acknowledged, and a worker.

Node n1 is added: started by its pause, resized, resumed. Node n2 finds no room and is rolled back. Node n1 is deleted.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import msgspec
from examples.node_provisioner.activities import Provisioner
from examples.node_provisioner.cloud import Cloud
from examples.node_provisioner.workflows import AddNode, DeleteNode
from generated.betterproto2.nodes.provisioning.v1 import (
    AddNodeRequest,
    DeleteNodeRequest,
    GetStatusRequest,
    PauseRequest,
    ResizeRequest,
    ResumeRequest,
)
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node
from tests.kill.journal import Journal

import protopact
from protopact import activity, interceptor
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store

SIGNALS = ("add n1", "resume")
"""Calls that signal; the try is in the signal's reason."""

OUTCOMES = {
    "add n1": "node/n1",
    "status": "paused, small",
    "resize to nothing": "MachineTypeMissing",
    "resize": "small",
    "resume": "",
    "n1": "vm-1 big 10.0.0.1",
    "add n2": "node/n2",
    "n2": "QuotaExceededError",
    "delete n1": "node/n1",
    "n1 deleted": "",
}
"""What each call answers, killed or not."""


class Part(msgspec.Struct, frozen=True):
    """What a process does, and when it kills itself.

    Attributes:
        program: What is played: this module, or `family`.
        client: Makes the calls, and ends with the last one.
        worker: Serves the workflows and activities.
        serves: Names of the workflows that a worker of a family serves; empty is all.
        die_at: Number of the commit to die at; 0 is never.
        die_after: Whether to die after that commit instead of before it.
        line_seconds: Time between two lines of a machine's boot log.
    """

    program: Literal["nodes", "family"] = "nodes"
    client: bool = True
    worker: bool = True
    serves: tuple[str, ...] = ()
    die_at: int = 0
    die_after: bool = False
    line_seconds: float = 0.0


def play(folder: Path, part: Part) -> None:
    """Do a part. The database, the cloud and the journal are in `folder`."""
    asyncio.run(_play(folder, part))


async def _play(folder: Path, part: Part) -> None:
    journal = Journal(folder / "journal.jsonl")
    store = MortalStore(folder / "nodes.db", part)
    cloud = Cloud(folder / "cloud", quota=1, line_seconds=part.line_seconds, join_seconds=0)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(EmbeddedEngine(store, interceptors=[Witness(journal)]))
        if part.worker:
            await stack.enter_async_context(
                engine.worker(workflows=[AddNode, DeleteNode], activities=[Provisioner(cloud)])
            )
        if part.client:
            await Calls(node.Client(engine), journal).make()
        else:
            await asyncio.Event().wait()
    journal.write("commits", number=store.commits)


class Calls:
    """A client whose calls are made again until they are acknowledged, by whatever process.

    A method is a call; its argument is the number of the try.
    """

    def __init__(self, client: node.Client, journal: Journal) -> None:
        self._client = client
        self._journal = journal
        self._n1 = client.add_node_handle("node/n1")

    async def make(self) -> None:
        """Make every call that has not been acknowledged."""
        calls: tuple[Callable[[int], Awaitable[str]], ...] = (
            self._add_paused,
            self._status,
            self._resize_to_nothing,
            self._resize,
            self._resume,
            self._added,
            self._add_without_room,
            self._no_room,
            self._delete,
            self._deleted,
        )
        for name, call in zip(OUTCOMES, calls, strict=True):
            if not self._journal.entries("ack", name):
                number = len(self._journal.entries("call", name)) + 1
                self._journal.write("call", name, number)
                self._journal.write("ack", name, number, await call(number))

    async def _add_paused(self, number: int) -> str:
        request = AddNodeRequest(node_id="n1", machine_type="small")
        return (await self._client.start_add_node_with_pause(request, PauseRequest(reason=f"add n1 {number}"))).id

    async def _status(self, _: int) -> str:
        status = await self._n1.get_status(GetStatusRequest())
        return f"{'paused' if status.paused else 'running'}, {status.machine_type}"

    async def _resize_to_nothing(self, _: int) -> str:
        try:
            await self._n1.resize(ResizeRequest())
        except protopact.UpdateFailedError as error:
            return _type(error.cause)
        return "accepted"

    async def _resize(self, _: int) -> str:
        return (await self._n1.resize(ResizeRequest(machine_type="big"), id="resize")).previous_machine_type

    async def _resume(self, number: int) -> str:
        try:
            await self._n1.resume(ResumeRequest(reason=f"resume {number}"))
        except protopact.AlreadyClosedError:
            self._journal.write("late", "resume", number)
        return ""

    async def _added(self, _: int) -> str:
        response = await self._n1.result()
        return f"{response.vm_id} {response.machine_type} {response.address}"

    async def _add_without_room(self, _: int) -> str:
        return (await self._client.start_add_node(AddNodeRequest(node_id="n2"), request_id="add n2")).id

    async def _no_room(self, _: int) -> str:
        try:
            await self._client.add_node_handle("node/n2").result()
        except protopact.WorkflowFailedError as error:
            return _type(error.cause and error.cause.__cause__)
        return "added"

    async def _delete(self, _: int) -> str:
        return (await self._client.start_delete_node(DeleteNodeRequest(node_id="n1"), request_id="delete n1")).id

    async def _deleted(self, _: int) -> str:
        await self._client.delete_node_handle("node/n1").result()
        return ""


class Witness(protopact.Interceptor):
    """Journals every attempt of an activity."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def execute_activity(
        self,
        call: interceptor.ExecuteActivity,
        next_hook: Callable[[interceptor.ExecuteActivity], Awaitable[object]],
    ) -> object:
        info = activity.info()
        name = f"{info.workflow_run_id}/{info.activity_id}"
        self._journal.write("begin", name, info.attempt, info.activity_type)
        try:
            return await next_hook(call)
        finally:
            self._journal.write("end", name, info.attempt, info.activity_type)


class MortalStore(Store):
    """Counts its commits, and kills its process beside one of them."""

    def __init__(self, path: Path, part: Part) -> None:
        super().__init__(path)
        self.commits = 0
        self._part = part

    def commit(self) -> None:
        self.commits += 1
        if self.commits == self._part.die_at and not self._part.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().commit()
        if self.commits == self._part.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _type(error: BaseException | None) -> str:
    return (error.type or "") if isinstance(error, protopact.ApplicationError) else repr(error)
