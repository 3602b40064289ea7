"""A warm interpreter that forks the processes to be killed, so that each starts in a few milliseconds.

It is run as `python -m tests.kill.zygote`, reads a `Birth` or a `Death` as JSON from each line of its input, and writes
an `Event` when a child has been forked and when one has ended. It forks before anything connects an engine. It kills
too, because only the parent knows for sure that a process id is still its child's.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec
from tests.kill import family, scenario

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a child that does not end is stuck."""


class Birth(msgspec.Struct, frozen=True, tag=True):
    """A child to fork, and its part."""

    folder: str
    part: scenario.Part


class Death(msgspec.Struct, frozen=True, tag=True):
    """A child to kill, if it has not ended."""

    pid: int


class Event(msgspec.Struct, frozen=True):
    """A child was forked, or has ended: with its exit code, or with minus the signal that killed it."""

    pid: int
    exit_code: int | None = None


_decoder = msgspec.json.Decoder[Birth | Death](Birth | Death)


class Zygote:
    """The warm interpreter, from the outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.zygote"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._ended: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # it ends with its input, and its children with it

    def fork(self, folder: Path, part: scenario.Part) -> int:
        """Fork a child and return its process id."""
        self._tell(Birth(str(folder), part))
        while (event := self._next()).exit_code is not None:
            self._ended[event.pid] = event.exit_code
        return event.pid

    def kill(self, pid: int) -> int:
        """Kill a child with SIGKILL and return its exit code: it may have ended before."""
        self._tell(Death(pid))
        return self.wait(pid)

    def wait(self, pid: int) -> int:
        """Wait until a child has ended and return its exit code, or minus the signal that killed it."""
        self.wait_any(pid)
        return self._ended.pop(pid)

    def wait_any(self, *pids: int) -> int:
        """Wait until one of these children has ended and return its process id."""
        while not (ended := self._ended.keys() & set(pids)):
            event = self._next()
            assert event.exit_code is not None
            self._ended[event.pid] = event.exit_code
        return ended.pop()

    def _tell(self, command: Birth | Death) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(command) + b"\n")
        stdin.flush()

    def _next(self) -> Event:
        stdout = self._process.stdout
        assert stdout is not None
        assert select.select([stdout], [], [], PATIENCE)[0], "a child is stuck"
        line = stdout.readline()  # unbuffered, so that `select` sees what is left
        assert line, "the zygote has died"
        return msgspec.json.decode(line, type=Event)


def _serve() -> None:
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(wake)
    commands = os.fdopen(0, "rb", buffering=0)  # what is not read is seen by `select`
    children: set[int] = set()
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            _reap(children)
        if 0 in ready:
            line = commands.readline()
            if not line:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return
            command = _decoder.decode(line)
            if isinstance(command, Birth):
                pid = os.fork()
                if not pid:
                    _live(command)
                children.add(pid)
                _say(Event(pid))
            elif command.pid in children:
                os.kill(command.pid, signal.SIGKILL)


def _wake(_: int, __: FrameType | None) -> None:
    """There is a handler, so the wake-up descriptor is written."""


def _reap(children: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        children.remove(pid)
        _say(Event(pid, os.waitstatus_to_exitcode(status)))


def _live(birth: Birth) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        play = family.play if birth.part.program == "family" else scenario.play
        play(Path(birth.folder), birth.part)
        code = 0
    except BaseException:  # noqa: BLE001 - said, and then the exit code says it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _say(event: Event) -> None:
    os.write(1, msgspec.json.encode(event) + b"\n")


if __name__ == "__main__":
    _serve()
