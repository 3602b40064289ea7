"""A small cloud that lives in a directory, so that several processes can use it and every effect can be counted.

Each effect is one line of `ledger.jsonl`, on disk before the call returns; what is there follows from the lines. It
keeps no promises that a real cloud does not: creating a machine twice makes two, announcing one twice announces it
twice. That each happens once is the activities' doing.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BOOT_LOG", "Announcement", "Cloud", "QuotaExceededError", "Vm"]

BOOT_LOG = ("firmware", "kernel", "network", "disks", "kubelet")
"""What a machine says while it boots, one line after the other."""


class QuotaExceededError(Exception):
    """The cloud has no room for another machine."""


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine.

    Attributes:
        vm_id: Name of the machine, never used again.
        node_id: Name of the node it was created for.
        machine_type: Its size.
        created_at: Unix seconds.
    """

    vm_id: str
    node_id: str
    machine_type: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the rest of the company was told."""

    offset: int
    vm_id: str
    address: str


class Cloud:
    """A cloud in a directory.

    Args:
        directory: Where it lives; created when it is not there.
        quota: Number of machines it has room for.
        line_seconds: Time between two lines of a machine's boot log.
        join_seconds: Time from the end of the boot until the node has joined the cluster.
    """

    def __init__(
        self, directory: Path, *, quota: int = 10, line_seconds: float = 0.25, join_seconds: float = 0.25
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._ledger = directory / "ledger.jsonl"
        self._ledger.touch()
        self._quota = quota
        self._line_seconds = line_seconds
        self._join_seconds = join_seconds

    def find_vm(self, node_id: str) -> Vm | None:
        """The node's machine, or None."""
        return self._vms().get(node_id)

    def vm(self, vm_id: str) -> Vm:
        """A machine.

        Raises:
            LookupError: There is no such machine.
        """
        for vm in self._vms().values():
            if vm.vm_id == vm_id:
                return vm
        raise LookupError(f"there is no machine {vm_id}")

    def create_vm(self, node_id: str, machine_type: str) -> Vm:
        """Create a machine.

        Raises:
            QuotaExceededError: There is no room for it.
        """
        with self._lock():
            if len(self._vms()) >= self._quota:
                raise QuotaExceededError(f"no room for {node_id}: all {self._quota} machines are taken")
            number = sum(effect["do"] == "create" for effect in self.effects()) + 1
            vm = Vm(f"vm-{number}", node_id, machine_type, time.time())
            self._write(
                do="create", vm_id=vm.vm_id, node_id=node_id, machine_type=machine_type, created_at=vm.created_at
            )
        return vm

    def delete_vm(self, vm_id: str) -> None:
        """Delete a machine."""
        with self._lock():
            self._write(do="delete", vm_id=vm_id)

    async def boot_log(self, vm_id: str, *, skip: int = 0) -> AsyncIterator[str]:
        """The lines of a machine's boot log after the first `skip`, each as soon as it is there.

        Raises:
            LookupError: There is no such machine.
        """
        vm = self.vm(vm_id)
        for number, line in enumerate(BOOT_LOG[skip:], start=skip + 1):
            await asyncio.sleep(vm.created_at + number * self._line_seconds - time.time())
            yield line

    def address(self, node_id: str) -> str | None:
        """The node's address in the cluster; None when it has not joined."""
        vm = self.find_vm(node_id)
        if vm is None or time.time() < vm.created_at + len(BOOT_LOG) * self._line_seconds + self._join_seconds:
            return None
        return f"10.0.0.{vm.vm_id.removeprefix('vm-')}"

    def announcements(self) -> list[Announcement]:
        """What the rest of the company was told, in order."""
        told = [effect for effect in self.effects() if effect["do"] == "announce"]
        return [Announcement(offset, effect["vm_id"], effect["address"]) for offset, effect in enumerate(told)]

    def announce(self, vm_id: str, address: str) -> Announcement:
        """Tell the rest of the company that a machine has joined."""
        with self._lock():
            announcement = Announcement(len(self.announcements()), vm_id, address)
            self._write(do="announce", vm_id=vm_id, address=address)
        return announcement

    def effects(self) -> list[dict[str, str]]:
        """Everything that was ever done to this cloud, in order."""
        return [json.loads(line) for line in self._ledger.read_text().splitlines()]

    def _vms(self) -> dict[str, Vm]:
        vms: dict[str, Vm] = {}
        for effect in self.effects():
            match effect:
                case {"do": "create", "vm_id": vm_id, "node_id": node_id, "machine_type": size, "created_at": at}:
                    vms[node_id] = Vm(vm_id, node_id, size, float(at))
                case {"do": "delete", "vm_id": vm_id}:
                    vms = {node_id: vm for node_id, vm in vms.items() if vm.vm_id != vm_id}
                case _:
                    pass
        return vms

    @contextmanager
    def _lock(self) -> Generator[None]:
        with self._ledger.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, **effect: object) -> None:
        with self._ledger.open("a") as file:
            file.write(json.dumps(effect) + "\n")
            file.flush()
            os.fsync(file.fileno())
