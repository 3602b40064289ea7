"""The processes that have one file open: who lives, what they serve, and how one wakes another.

Each process owns two files in the folder `<database>-processes`, named by its row in the table `process`:

- `<id>.lock`, locked with `flock` for as long as the process lives. The kernel frees the lock at its death, however it
  dies, so a claim whose holder's lock is free is void at once. It is a file of its own because closing any descriptor
  of the database file would drop SQLite's locks on it.
- `<id>.wake`, a FIFO that the process reads. Others write a byte to it when there is something for it in the database.
  They keep it open: when its reader is gone they are told, so a death is noticed at once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from protopact.embedded.store import Store
from protopact.errors import StoreError

__all__ = ["Processes", "Served"]


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker of a process serves: every type on every queue of its kind."""

    workflow_types: tuple[str, ...] = ()
    workflow_queues: tuple[str, ...] = ()
    activity_types: tuple[str, ...] = ()
    activity_queues: tuple[str, ...] = ()
    build_id: str = ""

    def workflow(self, workflow_type: str, task_queue: str) -> bool:
        """Whether it serves workflows of this type on this queue."""
        return workflow_type in self.workflow_types and task_queue in self.workflow_queues

    def activity(self, activity_type: str, task_queue: str) -> bool:
        """Whether it serves activities of this type on this queue."""
        return activity_type in self.activity_types and task_queue in self.activity_queues


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Served, ...])


class _Peer:
    """Another process."""

    __slots__ = ("encoded", "served", "wake_fd")

    def __init__(self, wake_fd: int | None) -> None:
        self.wake_fd = wake_fd
        self.encoded = b""
        self.served: tuple[Served, ...] = ()


class Processes:
    """This process among the others.

    Args:
        store: The open store; it has a path.
        on_wake: Called on the loop when another process woke this one.
        on_death: Called on the loop when another process may have died.
    """

    _NET_SECONDS = 1.0
    """How often to look for what a lost wake-up would have told."""

    _RELEASE_SECONDS = 0.005
    """How soon to look again at the lock of a process whose FIFO has gone: the kernel closes its files one by one."""

    def __init__(self, store: Store, *, on_wake: Callable[[], None], on_death: Callable[[], None]) -> None:
        assert store.path is not None
        self.id = 0
        self._store = store
        self._directory = store.path.with_name(store.path.name + "-processes")
        self._on_wake = on_wake
        self._on_death = on_death
        self._peers: dict[int, _Peer] = {}
        self._lock_fd = -1
        self._wake_fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._net: asyncio.TimerHandle | None = None

    # -- coming and going

    def join(self) -> None:
        """Add this process to the table; within a transaction.

        Raises:
            StoreError: The folder beside the database cannot be written.
        """
        self.id = self._store.execute(
            "INSERT INTO process (pid, serves) VALUES (?, ?)", (os.getpid(), _encoder.encode(()))
        )
        try:
            self._directory.mkdir(exist_ok=True)
            self._lock_fd = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileExistsError):
                os.mkfifo(self._path("wake"), 0o644)
            # Read and write: without a writer of its own, a FIFO is at its end whenever nobody else writes.
            self._wake_fd = os.open(self._path("wake"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(
                f"{self._directory}: {error.strerror}; processes that share {self._store.name} meet in this folder, "
                "make it writable"
            ) from error
        _joined.add(self)

    def listen(self) -> None:
        """Begin to be woken; on the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._wake_fd, self._woken)

    def leave(self) -> None:
        """Remove this process from the tables; within a transaction. Its claims must be gone."""
        self.erase(self.id)

    def erase(self, process: int) -> bool:
        """Remove a process and what waits for it, but not its claims; false when it was not there any more."""
        if not self._store.select("DELETE FROM process WHERE id = ? RETURNING id", (process,)):
            return False
        self._store.execute("DELETE FROM notice WHERE process = ?", (process,))
        self._store.execute("DELETE FROM watch WHERE process = ?", (process,))
        self._store.execute("UPDATE inbox SET process = NULL, call = NULL WHERE process = ?", (process,))
        return True

    def close(self) -> None:
        """Let go of everything but the table. Idempotent."""
        if self._net is not None:
            self._net.cancel()
            self._net = None
        for process in list(self._peers):
            self._forget(process)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._wake_fd)
        self._loop = None
        if self._lock_fd >= 0:
            self._remove_files(self.id)
            os.close(self._wake_fd)
            os.close(self._lock_fd)
            self._lock_fd = self._wake_fd = -1
        _joined.discard(self)

    def after_fork(self) -> None:
        """Let go of the descriptors, in a process forked from the one that joined: the lock must die with its owner."""
        for fd in (self._lock_fd, self._wake_fd, *(peer.wake_fd for peer in self._peers.values())):
            if fd is not None and fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self._lock_fd = self._wake_fd = -1
        self._peers = {}
        self._loop = None

    # -- others

    @property
    def peers(self) -> Iterable[int]:
        """The other processes, as of the last `refresh`."""
        return self._peers.keys()

    def refresh(self) -> None:
        """Read the table."""
        rows = dict[int, bytes](self._store.select("SELECT id, serves FROM process WHERE id <> ?", (self.id,)))
        for process in self._peers.keys() - rows.keys():
            self._forget(process)
        for process, encoded in rows.items():
            peer = self._peers.get(process)
            if peer is None:
                peer = self._peers[process] = _Peer(self._open_wake(process))
            if peer.encoded != encoded:
                peer.encoded = encoded
                peer.served = _decoder.decode(encoded)
        if self._peers and self._net is None and self._loop is not None:
            self._net = self._loop.call_later(self._NET_SECONDS, self._cast_net)

    def serve(self, served: Iterable[Served]) -> None:
        """Tell the table what this process serves; within a transaction."""
        self._store.execute("UPDATE process SET serves = ? WHERE id = ?", (_encoder.encode(tuple(served)), self.id))

    def serving_workflow(self, workflow_type: str, task_queue: str) -> list[int]:
        """The other processes that serve a workflow."""
        return [
            process
            for process, peer in self._peers.items()
            if any(served.workflow(workflow_type, task_queue) for served in peer.served)
        ]

    def serving_activity(self, activity_type: str, task_queue: str) -> list[int]:
        """The other processes that serve an activity."""
        return [
            process
            for process, peer in self._peers.items()
            if any(served.activity(activity_type, task_queue) for served in peer.served)
        ]

    def builds(self, workflow_type: str, task_queue: str) -> set[str]:
        """Build ids of the other processes' workers that serve a workflow."""
        return {
            served.build_id
            for peer in self._peers.values()
            for served in peer.served
            if served.workflow(workflow_type, task_queue)
        }

    def wake(self, processes: Iterable[int]) -> None:
        """Wake other processes; those that are gone are passed over."""
        for process in processes:
            peer = self._peers.get(process)
            fd = None if peer is None else peer.wake_fd
            if fd is not None:
                # Full: it has not read the last byte yet, so it is about to look. Gone: its death is noticed elsewhere.
                with suppress(BlockingIOError, BrokenPipeError):
                    os.write(fd, b"\0")

    def dead(self) -> list[int]:
        """The other processes whose lock is free."""
        return [process for process in self._peers if self._is_dead(process)]

    def bury(self, process: int) -> None:
        """Remove what a dead process left beside the database."""
        self._forget(process)
        self._remove_files(process)

    def _is_dead(self, process: int) -> bool:
        # A copied database knows processes that never had a file here: they are as good as dead.
        try:
            # To read: it may belong to another user, and a lock asks for no more.
            fd = os.open(self._path("lock", process), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES, errno.EINTR}:
                raise
            return False
        finally:
            os.close(fd)
        return True

    def _open_wake(self, process: int) -> int | None:
        try:
            fd = os.open(self._path("wake", process), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # no reader: it is dead, or about to leave
        if self._loop is not None:
            # Nothing can be read here; "readable" is how the loop reports that the other end is gone. Where the system
            # does not report it, the net does.
            with suppress(OSError):
                self._loop.add_reader(fd, self._hung_up, process)
        return fd

    def _hung_up(self, process: int) -> None:
        peer = self._peers.get(process)
        if peer is None or peer.wake_fd is None or self._loop is None:
            return
        self._loop.remove_reader(peer.wake_fd)
        os.close(peer.wake_fd)
        peer.wake_fd = None
        self._on_death()
        self._loop.call_later(self._RELEASE_SECONDS, self._on_death)

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_fd, 4096):
                pass
        self._on_wake()

    def _cast_net(self) -> None:
        self._net = None
        if self._loop is None or not self._peers:
            return
        self._net = self._loop.call_later(self._NET_SECONDS, self._cast_net)
        if self.dead():
            self._on_death()
        self._on_wake()

    def _forget(self, process: int) -> None:
        peer = self._peers.pop(process, None)
        if peer is not None and peer.wake_fd is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(peer.wake_fd)
            os.close(peer.wake_fd)

    def _remove_files(self, process: int) -> None:
        for kind in ("wake", "lock"):
            with suppress(OSError):
                self._path(kind, process).unlink()

    def _path(self, kind: str, process: int | None = None) -> Path:
        return self._directory / f"{self.id if process is None else process}.{kind}"


def _after_fork() -> None:
    for processes in list(_joined):
        processes.after_fork()


_joined: weakref.WeakSet[Processes] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
