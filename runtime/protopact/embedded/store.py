"""The database: one SQLite file, or memory. Transactions, the file's life, and errors that say what to do."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from protopact.embedded.schema import APPLICATION_ID, MIGRATIONS, VERSION
from protopact.errors import (
    EngineClosedError,
    NotAStoreError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreVersionError,
)

__all__ = ["Row", "Store", "Value"]

Value: TypeAlias = str | int | float | bytes | None
"""A value in a row."""

Row: TypeAlias = tuple[Any, ...]  # sqlite3's own: its columns have no static types

_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables


class Store:
    """A database that holds runs and their histories.

    Used on one thread. A subclass may override `commit`, to count commits or to die beside one.

    Args:
        path: The file; it is created when it does not exist, its folder is not. None keeps everything in memory.
        busy_timeout: Longest wait, in seconds, for another process that holds the file.
        checkpoint_rows: Changed rows after which the write-ahead log is copied into the file; a commit counts as eight.
            A log that is begun anew costs less than one that grows: the file system has nothing to allocate.
    """

    _CREATION_SECONDS = 0.002
    """How soon to look again at a file that another process creates."""

    def __init__(
        self, path: str | Path | None = None, *, busy_timeout: float = 10.0, checkpoint_rows: int = 5_000
    ) -> None:
        # The real path, so that two names of one file lead to one folder of processes.
        self.path = None if path is None else Path(path).expanduser().resolve()
        self.busy_timeout = busy_timeout
        self._checkpoint_rows = checkpoint_rows
        self._connection: sqlite3.Connection | None = None
        self._closed_because = "is not open"
        self._checkpoints: _Checkpoints | None = None
        self._busy_since: float | None = None

    @property
    def name(self) -> str:
        """The file's path, or `memory`, for messages."""
        return "memory" if self.path is None else str(self.path)

    def open(self) -> None:
        """Open the file, create what is missing, migrate what is old.

        Raises:
            NotAStoreError: The file is something else.
            StoreVersionError: A newer version wrote it.
            StoreCorruptError: It is damaged.
            StoreFullError: The disk is full.
            StoreBusyError: Another process holds it.
            StoreError: It cannot be opened.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(
                f"this Python uses SQLite {sqlite3.sqlite_version}; protopact needs "
                f"{'.'.join(map(str, _OLDEST_SQLITE))} or newer"
            )
        began = time.monotonic()
        if self.path is not None and not self.path.parent.is_dir():
            raise StoreError(f"{self.path}: the folder {self.path.parent} does not exist; create it first")
        try:
            connection = _connect(self.path, self.busy_timeout)
        except sqlite3.Error as error:
            self._refuse(error, waited=time.monotonic() - began)
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            self._refuse(error, waited=time.monotonic() - began)
        except StoreError:
            connection.close()
            raise
        self._connection = connection
        _open_stores.add(self)
        if self.path is not None:
            self._checkpoints = _Checkpoints(self.path, self._checkpoint_rows)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self.path is not None:
            # In this order: another process may create the tables, and with them the id, at any moment.
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID and (application or tables):
                raise NotAStoreError(
                    f"{self.path} is an SQLite database of another program (application_id {application:#x}, "
                    f"{tables} tables and indices; expected application_id {APPLICATION_ID:#x}); give protopact a "
                    "file of its own"
                )
            if not tables:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._enter_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            # On macOS fsync leaves the data in the disk's cache; elsewhere this changes nothing.
            connection.execute("PRAGMA fullfsync = ON")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._migrate(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA busy_timeout = 0")

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait by itself here: two processes that create one file would wait for each other.
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(self._CREATION_SECONDS)
            else:
                return

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreVersionError(
                f"{self.name} was written by a newer protopact: its schema has version {version}, this one knows "
                f"{VERSION}; upgrade protopact in this process"
            )
        if version == VERSION:
            return
        for script in MIGRATIONS[version:]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")

    def begin(self) -> bool:
        """Begin a transaction that may write. False when another process holds the file: try again a little later.

        Raises:
            StoreBusyError: It has been held for longer than `busy_timeout`.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                self._refuse(error)
            now = time.monotonic()
            if self._busy_since is None:
                self._busy_since = now
            waited = now - self._busy_since
            if waited > self.busy_timeout:
                self._busy_since = None
                self._refuse(error, waited=waited)
            return False
        except sqlite3.Error as error:
            self._refuse(error)
        self._busy_since = None
        return True

    def commit(self) -> None:
        """Make the transaction durable: when this returns, it is on disk.

        Raises:
            StoreError: It could not be made durable; roll back.
        """
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._refuse(error)
        if self._checkpoints is not None:
            self._checkpoints.after_commit(self.connection)

    def rollback(self) -> None:
        """Undo the transaction; nothing happens when there is none."""
        if self._connection is not None and self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def data_version(self) -> int:
        """A number that changes when another process commits."""
        ((version,),) = self.select("PRAGMA data_version")
        return int(version)

    def select(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Rows of a query; of an `INSERT`, `UPDATE` or `DELETE` with `RETURNING` too. Raises `StoreError`."""
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._refuse(error)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Execute a statement; the id of the row it inserted, if it did. Raises `StoreError`."""
        try:
            return self.connection.execute(sql, parameters).lastrowid or 0
        except sqlite3.Error as error:
            self._refuse(error)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Execute a statement for each row. Raises `StoreError`."""
        try:
            self.connection.executemany(sql, rows)
        except sqlite3.Error as error:
            self._refuse(error)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._checkpoints is not None:
            self._checkpoints.close()
            self._checkpoints = None
        if self._connection is not None:
            self.rollback()
            self._connection.close()
            self._connection = None
            _open_stores.discard(self)
            self._closed_because = "is closed"

    def after_fork(self) -> None:
        """Let go of the connection, in a process forked from the one that opened it."""
        # SQLite forbids even closing it here; a reference too many keeps the interpreter from doing so.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._connection = None
        self._checkpoints = None
        self._closed_because = "belongs to the process that this one was forked from; connect in the child"

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection.

        Raises:
            EngineClosedError: There is none.
        """
        if self._connection is None:
            raise EngineClosedError(f"the engine on {self.name} {self._closed_because}")
        return self._connection

    def _refuse(self, error: sqlite3.Error, *, waited: float = 0.0) -> NoReturn:
        """Raise our exception for one of SQLite; `waited` is how long, in seconds, the file was busy."""
        # Errors of the sqlite3 module itself, a connection used wrongly, carry no code.
        code = getattr(error, "sqlite_errorcode", None)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        match None if code is None else code & 0xFF:
            case sqlite3.SQLITE_NOTADB:
                raise NotAStoreError(
                    f"{self.name} is not an SQLite database; give protopact a file of its own, or delete this one"
                ) from error
            case sqlite3.SQLITE_CORRUPT:
                raise StoreCorruptError(
                    f"{self.name} is damaged ({error}); stop every process that uses it and restore a backup, or try "
                    "`sqlite3 FILE .recover`"
                ) from error
            case sqlite3.SQLITE_FULL:
                raise StoreFullError(
                    f"{self.name}: the disk is full; nothing of this was recorded, free some space and try again"
                ) from error
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise StoreBusyError(
                    f"{self.name}: another process holds the file ({name}) and did not let go of it within "
                    f"{waited:.1f} s; find it with `fuser` or `lsof`"
                ) from error
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
                raise StoreError(
                    f"{self.name} cannot be opened for writing ({error}); check that it and its folder are writable"
                ) from error
            case _:
                raise StoreError(f"{self.name}: {name}: {error}") from error


class _Checkpoints:
    """Copies the write-ahead log into the file, off the hot path.

    A thread copies what is there, on a connection of its own; what was written meanwhile is little, and is copied by
    the committing thread, so that SQLite can begin the log anew. Otherwise a busy log would grow for ever.
    """

    _ROWS_OF_A_COMMIT = 8
    """Pages are what counts, and a small commit writes about as many pages as eight rows in a large one."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._commits = 0
        self._changes = 0
        self._thread: threading.Thread | None = None

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Begin a copy when the log is long, or finish one that the thread has done most of."""
        self._commits += 1
        if self._thread is not None:
            if not self._thread.is_alive():
                self._thread = None
                with suppress(sqlite3.Error):  # another process is at it
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        elif connection.total_changes - self._changes + self._commits * self._ROWS_OF_A_COMMIT > self._limit:
            self._changes = connection.total_changes
            self._commits = 0
            self._thread = threading.Thread(target=self._copy, name="protopact-checkpoint", daemon=True)
            self._thread.start()

    def _copy(self) -> None:
        with suppress(sqlite3.Error):  # the next one will do: the log is whole, only long
            connection = _connect(self._path, 0)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                connection.close()

    def close(self) -> None:
        """Wait for a copy under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _connect(path: Path | None, timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(":memory:" if path is None else path, timeout=timeout, isolation_level=None)


def _after_fork() -> None:
    for store in list(_open_stores):
        store.after_fork()


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
