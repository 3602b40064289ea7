"""What is known outside the database: calls, acknowledgements and attempts, each on disk before anything goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["call", "ack", "late", "begin", "end", "commits"]


class Entry(msgspec.Struct, frozen=True):
    """A line of the journal.

    Attributes:
        kind: `call` before a client's call, `ack` after it, `late` when it found that an earlier try had done it all;
            `begin` and `end` around an attempt of an activity; `commits` when a process has done all it had to do.
        name: The call, or the activity as `workflow id/activity id`.
        number: The try of the call, the attempt of the activity, or the number of commits.
        value: What came out.
    """

    kind: Kind
    name: str = ""
    number: int = 0
    value: str = ""


class Journal:
    """A file of entries that several processes append to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: Kind, name: str = "", number: int = 0, value: str = "") -> None:
        os.write(self._file, msgspec.json.encode(Entry(kind, name, number, value)) + b"\n")
        os.fsync(self._file)

    def entries(self, kind: Kind, name: str | None = None) -> list[Entry]:
        entries = [msgspec.json.decode(line, type=Entry) for line in self._path.read_bytes().splitlines()]
        return [entry for entry in entries if entry.kind == kind and name in (None, entry.name)]

    def close(self) -> None:
        os.close(self._file)
