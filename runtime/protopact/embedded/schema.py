"""The tables of a database file, and how an older file becomes a current one.

Times are nanoseconds since the epoch, UTC. `holder` and `process` name a row of `process`; NULL is nobody, and
-1 in `activity.holder` whoever has the task token.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "EVENT_ID_BITS", "MIGRATIONS", "VERSION"]

EVENT_ID_BITS = 24
"""Bits of `history.key` that hold an event id; those above hold the run's key."""

APPLICATION_ID = 0x70706163
"""`PRAGMA application_id` of our files: `ppac`."""

# A statement ends with a semicolon at the end of a line; a comment's line does not.
_FIRST = """
-- A run. `wake_at` is when it next needs a process, without anything arriving; NULL is never.
-- `task_attempt`, `task_failure`, `task_build` and `task_retry_at` tell of a workflow task that failed: the run is
-- parked.
CREATE TABLE run (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow_id TEXT NOT NULL,
    run_id TEXT NOT NULL UNIQUE,
    first_run_id TEXT NOT NULL,
    workflow_type TEXT NOT NULL,
    task_queue TEXT NOT NULL,
    status INTEGER NOT NULL,
    holder INTEGER,
    wake_at INTEGER,
    start_time INTEGER NOT NULL,
    close_time INTEGER,
    last_event_id INTEGER NOT NULL,
    history_size INTEGER NOT NULL,
    start_request_id TEXT NOT NULL,
    task_attempt INTEGER NOT NULL DEFAULT 1,
    task_failure TEXT,
    task_build TEXT,
    task_retry_at INTEGER,
    memo BLOB,
    search_attributes BLOB
) STRICT;
CREATE INDEX run_of_workflow ON run (workflow_id, key);
CREATE INDEX run_held ON run (holder) WHERE holder IS NOT NULL;
CREATE INDEX run_unheld ON run (wake_at) WHERE status = 0 AND holder IS NULL;
CREATE INDEX run_parked ON run (task_build) WHERE task_build IS NOT NULL;
CREATE INDEX run_closed ON run (close_time) WHERE close_time IS NOT NULL;

-- The events that one tick appended to one run: MessagePack of a list of events. `key` is the run's key, shifted to
-- make room for the id of the first event: one B-tree, in which a run's events stand together, and rows of a few
-- kilobytes fit into its leaves. In a table WITHOUT ROWID, what is longer than a quarter of a page gets one of its own.
CREATE TABLE history (
    key INTEGER PRIMARY KEY,
    events BLOB NOT NULL
) STRICT;

-- An activity that is scheduled and not closed. `holder` runs attempt `attempt`, since `started_at`; without a holder
-- the attempt may start at `due_at`. `heartbeat` and `last_failure` are MessagePack.
CREATE TABLE activity (
    run_key INTEGER NOT NULL,
    scheduled_event_id INTEGER NOT NULL,
    activity_id TEXT NOT NULL,
    activity_type TEXT NOT NULL,
    task_queue TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    holder INTEGER,
    started_at INTEGER,
    heartbeat BLOB,
    last_failure BLOB,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_key, scheduled_event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX activity_waiting ON activity (due_at) WHERE holder IS NULL;

-- Something for a run, from a process that does not hold it, or while its workflow task is under way: MessagePack of an
-- `inbox.Item`. `process` and `call` say whom to answer.
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_key INTEGER NOT NULL,
    item BLOB NOT NULL,
    process INTEGER,
    call INTEGER
) STRICT;
CREATE INDEX inbox_of_run ON inbox (run_key);

-- Something for a process: an answer to its call, or news of a run. MessagePack of an `inbox.Notice`.
CREATE TABLE notice (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    process INTEGER NOT NULL,
    notice BLOB NOT NULL
) STRICT;
CREATE INDEX notice_of_process ON notice (process);

-- A process that waits for the close of a run (`update_id` is empty) or for the outcome of an update.
CREATE TABLE watch (
    run_key INTEGER NOT NULL,
    update_id TEXT NOT NULL,
    process INTEGER NOT NULL,
    PRIMARY KEY (run_key, update_id, process)
) STRICT, WITHOUT ROWID;

-- A process that has the file open, and what its workers serve: MessagePack of a list of `processes.Served`.
CREATE TABLE process (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL,
    serves BLOB NOT NULL
) STRICT;
"""

_OUTSIDE = """
-- `holder` is -1 while an attempt is completed from outside, and `heartbeat_at` when it has last been heard of.
ALTER TABLE activity ADD COLUMN heartbeat_at INTEGER;
"""

_WHOSE = """
-- `identity` is the worker's whose code has left its attempt to be completed from outside.
ALTER TABLE activity ADD COLUMN identity TEXT NOT NULL DEFAULT '';
"""

_PRIORITY = """
-- Of what waits for a worker, the least `level` is first. Within one, keys take turns, by weight (0 is the default).
-- `priority_key` is what an activity's `level` was made of, or 0.
ALTER TABLE run ADD COLUMN level INTEGER NOT NULL DEFAULT 3;
ALTER TABLE run ADD COLUMN fairness_key TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN fairness_weight REAL NOT NULL DEFAULT 0;
CREATE INDEX run_in_order ON run (level, fairness_key, wake_at) WHERE status = 0 AND holder IS NULL;
ALTER TABLE activity ADD COLUMN level INTEGER NOT NULL DEFAULT 3;
ALTER TABLE activity ADD COLUMN fairness_key TEXT NOT NULL DEFAULT '';
ALTER TABLE activity ADD COLUMN fairness_weight REAL NOT NULL DEFAULT 0;
ALTER TABLE activity ADD COLUMN priority_key INTEGER NOT NULL DEFAULT 0;
CREATE INDEX activity_in_order ON activity (level, fairness_key, due_at) WHERE holder IS NULL;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _OUTSIDE, _WHOSE, _PRIORITY)
"""Scripts; the n-th makes a file of version n from one of version n - 1. Version 0 is an empty file."""

VERSION = len(MIGRATIONS)
"""`PRAGMA user_version` of current files."""
