"""Rows of the tables about runs, read and written. Every statement about runs, history and activities stands here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from protopact.embedded.activity import Activity
from protopact.embedded.inbox import Item, decode_item
from protopact.embedded.priority import LEVELS, Place, place_of
from protopact.embedded.run import Run
from protopact.embedded.schema import EVENT_ID_BITS
from protopact.embedded.store import Row, Store, Value
from protopact.history.event import Event
from protopact.history.failure import Failure
from protopact.history.policy import Priority
from protopact.history.time import Timestamp
from protopact.payload.payload import Payload, Payloads

__all__ = [
    "ActivityRow",
    "Records",
    "RunRow",
    "decode_failure",
    "decode_payload_map",
    "decode_payloads",
    "encode_payloads",
    "json_array",
    "restore_activities",
    "restore_activity",
]


class RunRow(NamedTuple):
    """A row of `run`."""

    key: int
    workflow_id: str
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    status: int
    holder: int | None
    wake_at: int | None
    start_time: int
    close_time: int | None
    last_event_id: int
    history_size: int
    start_request_id: str
    task_attempt: int
    task_failure: str | None
    task_build: str | None
    task_retry_at: int | None
    memo: bytes | None
    search_attributes: bytes | None
    level: int
    fairness_key: str
    fairness_weight: float

    @property
    def place(self) -> Place:
        """Where it stands among the runs that wait to be claimed."""
        return place_of(
            Priority(priority_key=self.level, fairness_key=self.fairness_key, fairness_weight=self.fairness_weight)
        )

    @property
    def state(self) -> tuple[object, ...]:
        """What seldom changes; see `Run.stored_state`."""
        return (
            self.status,
            self.holder,
            self.close_time,
            self.task_attempt,
            self.task_failure,
            self.task_build,
            self.task_retry_at,
        )


class ActivityRow(NamedTuple):
    """A row of `activity`."""

    run_key: int
    scheduled_event_id: int
    activity_id: str
    activity_type: str
    task_queue: str
    attempt: int
    due_at: int
    holder: int | None
    started_at: int | None
    heartbeat: bytes | None
    last_failure: bytes | None
    cancel_requested: int
    heartbeat_at: int | None
    identity: str
    level: int
    fairness_key: str
    fairness_weight: float
    priority_key: int

    @property
    def priority(self) -> Priority | None:
        """Its priority, with what it inherits from its run."""
        if not (self.priority_key or self.fairness_key or self.fairness_weight):
            return None
        return Priority(
            priority_key=self.priority_key, fairness_key=self.fairness_key, fairness_weight=self.fairness_weight
        )


_RUN_COLUMNS = ", ".join(RunRow._fields)
_ACTIVITY_COLUMNS = ", ".join(ActivityRow._fields)

_SELECT_RUN = f"SELECT {_RUN_COLUMNS} FROM run"  # noqa: S608 - our own column names, here and below
_INSERT_RUN = f"INSERT INTO run ({_RUN_COLUMNS}) VALUES ({', '.join('?' * len(RunRow._fields))})"  # noqa: S608
# SQLite writes every index of a column that is named here, changed or not: what seldom changes is named apart.
_UPDATE_RUN = "UPDATE run SET wake_at = ?, last_event_id = ?, history_size = ? WHERE key = ?"
_UPDATE_RUN_STATE = """
UPDATE run SET status = ?, holder = ?, close_time = ?, task_attempt = ?, task_failure = ?, task_build = ?,
    task_retry_at = ?, wake_at = ?, last_event_id = ?, history_size = ?
WHERE key = ?
"""
_UPDATE_RUN_ATTRIBUTES = "UPDATE run SET memo = ?, search_attributes = ? WHERE key = ?"
_UPSERT_ACTIVITY = (
    f"INSERT OR REPLACE INTO activity ({_ACTIVITY_COLUMNS}) VALUES ({', '.join('?' * len(ActivityRow._fields))})"  # noqa: S608
)

_LEAST_KEYS = 16
"""Fairness keys of a level that are looked at at once, if there are as many; more only while too little is found."""

_AFTER_ALL_KEYS = b""
"""To SQLite every blob is more than any text."""

_encoder = msgspec.msgpack.Encoder()
_events = msgspec.msgpack.Decoder(list[Event])
_payloads = msgspec.msgpack.Decoder[Payloads](Payloads)
_failure = msgspec.msgpack.Decoder(Failure)
_payload_map = msgspec.msgpack.Decoder(dict[str, Payload])


class Records:
    """Reads and writes rows; within the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: dict[tuple[str, int], str] = {}  # the key to begin with, where there are many: table and level

    # -- runs

    def next_key(self) -> int:
        """A key above that of every run there ever was."""
        rows = self._store.select("SELECT seq FROM sqlite_sequence WHERE name = 'run'")
        return rows[0][0] + 1 if rows else 1

    def run(self, key: int) -> RunRow | None:
        """The run with a key."""
        return self._one_run(f"{_SELECT_RUN} WHERE key = ?", key)

    def run_with_id(self, run_id: str) -> RunRow | None:
        """The run with a run id."""
        return self._one_run(f"{_SELECT_RUN} WHERE run_id = ?", run_id)

    def latest_run(self, workflow_id: str, *, first_run_id: str | None = None) -> RunRow | None:
        """The newest run of a workflow id; with `first_run_id`, of the chain that began with that run."""
        if first_run_id is None:
            return self._one_run(f"{_SELECT_RUN} WHERE workflow_id = ? ORDER BY key DESC LIMIT 1", workflow_id)
        chain = f"{_SELECT_RUN} WHERE workflow_id = ? AND first_run_id = ? ORDER BY key DESC LIMIT 1"
        return self._one_run(chain, workflow_id, first_run_id)

    def _one_run(self, sql: str, *parameters: Value) -> RunRow | None:
        rows = self._store.select(sql, parameters)
        return RunRow(*rows[0]) if rows else None

    def runs_where(self, condition: str, parameters: Sequence[Value]) -> list[RunRow]:
        """Runs that match a condition of SQL."""
        return [RunRow(*row) for row in self._store.select(f"{_SELECT_RUN} WHERE {condition}", parameters)]

    def waiting_runs(self, condition: str, parameters: Sequence[Value], *, now: Timestamp, limit: int) -> list[RunRow]:
        """Runs that nobody holds, and that are due and match a condition: as `waiting_activities`."""
        due = f"status = 0 AND holder IS NULL AND wake_at <= ? AND {condition}"
        rows = self._due("run", _RUN_COLUMNS, due, (now, *parameters), since="wake_at", limit=limit)
        return [RunRow(*row) for row in rows]

    def _due(
        self, table: str, columns: str, due: str, parameters: Sequence[Value], *, since: str, limit: int
    ) -> list[Row]:
        """Rows that are due: all, or if these are `limit` or more, of the first levels at least `limit`.

        Args:
            table: `run` or `activity`.
            columns: What to read.
            due: A condition.
            parameters: Those of the condition.
            since: The column that says since when a row is due.
            limit: The most to read of one key.
        """
        select = f"SELECT {columns} FROM {table} WHERE {due}"  # noqa: S608 - our own words
        rows = self._store.select(f"{select} ORDER BY {since} LIMIT ?", (*parameters, limit))
        if len(rows) < limit:
            return rows
        of_key = f"{select} AND level = ? AND fairness_key = ? ORDER BY {since} LIMIT ?"
        found = list[Row]()
        for level in range(1, LEVELS + 1):
            for number, key in enumerate(self._keys(table, due, parameters, level), 1):
                found += self._store.select(of_key, (*parameters, level, key, limit))
                if number >= _LEAST_KEYS and len(found) >= limit:
                    self._turns[table, level] = f"{key}\0"
                    break
            if len(found) >= limit:
                break
        return found

    def _keys(self, table: str, due: str, parameters: Sequence[Value], level: int) -> Iterator[str]:
        """Fairness keys of what is due of a level, beginning with the one whose turn it is."""
        # One look into an index for each key: the rest of it, and what is not due, are passed over there.
        following = (
            f"SELECT fairness_key FROM {table} WHERE {due} AND level = ?"  # noqa: S608 - our own words
            " AND fairness_key >= ? AND fairness_key < ? ORDER BY fairness_key LIMIT 1"
        )
        first = self._turns.pop((table, level), "")
        for start, end in ((first, _AFTER_ALL_KEYS), ("", first)):
            at = start
            while rows := self._store.select(following, (*parameters, level, at, end)):
                ((key,),) = rows
                yield key
                at = f"{key}\0"

    def list_runs(
        self,
        *,
        below: int,
        limit: int,
        workflow_type: str | None,
        workflow_id: str | None,
        status: int | None,
    ) -> list[RunRow]:
        """Runs with a key below `below` that match what is given, newest first."""
        given = {"workflow_type": workflow_type, "workflow_id": workflow_id, "status": status}
        wanted = {column: value for column, value in given.items() if value is not None}
        condition = "".join(f" AND {column} = ?" for column in wanted)
        return self.runs_where(f"key < ?{condition} ORDER BY key DESC LIMIT ?", (below, *wanted.values(), limit))

    def write_runs(self, runs: Iterable[Run]) -> None:
        """Write what has changed of runs: their rows, new events, and activities."""
        inserts = list[Row]()
        updates = list[Row]()
        state_updates = list[Row]()
        attributes = list[Row]()
        history = list[Row]()
        activities = list[Row]()
        closed = list[Row]()
        for run in runs:
            new_events = run.new_events
            if new_events:
                data = _encoder.encode(new_events)
                run.history_size += len(data)
                history.append((run.key << EVENT_ID_BITS | new_events[0].event_id, data))
                run.new_events = []
            for scheduled_event_id in run.changed_activities:
                activity = run.activities.get(scheduled_event_id)
                if activity is not None:
                    activities.append(_activity_row(run.key, activity))
                    activity.stored = True
                else:
                    closed.append((run.key, scheduled_event_id))
            run.changed_activities.clear()
            run.changed = False
            state = (
                run.status,
                run.holder,
                run.close_time,
                run.task_attempt,
                run.task_failure,
                run.task_build,
                run.task_retry_at,
            )
            progress = (run.wake_at, run.last_event_id, run.history_size, run.key)
            if run.stored_state is None:
                inserts.append(_run_row(run))
            elif run.stored_state == state:
                updates.append(progress)
            else:
                state_updates.append((*state, *progress))
            if run.changed_attributes and run.stored_state is not None:
                attributes.append((*_attributes(run), run.key))
            run.stored_state = state
            run.changed_attributes = False
        for sql, rows in (
            (_INSERT_RUN, inserts),
            (_UPDATE_RUN, updates),
            (_UPDATE_RUN_STATE, state_updates),
            (_UPDATE_RUN_ATTRIBUTES, attributes),
            ("INSERT INTO history (key, events) VALUES (?, ?)", history),
            ("DELETE FROM activity WHERE run_key = ? AND scheduled_event_id = ?", closed),
            (_UPSERT_ACTIVITY, activities),
        ):
            if rows:
                self._store.execute_many(sql, rows)

    def delete_run(self, key: int) -> None:
        """Delete a run and everything about it."""
        self._store.execute("DELETE FROM history WHERE key BETWEEN ? AND ?", _history_of(key))
        for sql in (
            "DELETE FROM activity WHERE run_key = ?",
            "DELETE FROM inbox WHERE run_key = ?",
            "DELETE FROM watch WHERE run_key = ?",
            "DELETE FROM run WHERE key = ?",
        ):
            self._store.execute(sql, (key,))
        # Some of the room goes back to the file system, if a little at a time.
        self._store.select("PRAGMA incremental_vacuum(64)")

    # -- history

    def history(self, key: int) -> list[Event]:
        """All events of a run."""
        rows = self._store.select("SELECT events FROM history WHERE key BETWEEN ? AND ? ORDER BY key", _history_of(key))
        return [event for (data,) in rows for event in _events.decode(data)]

    def event(self, key: int, event_id: int) -> Event:
        """One event of a run."""
        ((data,),) = self._store.select(
            "SELECT events FROM history WHERE key <= ? ORDER BY key DESC LIMIT 1", (key << EVENT_ID_BITS | event_id,)
        )
        stretch: list[Event] = _events.decode(data)
        return stretch[event_id - stretch[0].event_id]

    # -- activities

    def activities(self, key: int) -> list[ActivityRow]:
        """Open activities of a run."""
        rows = self._store.select(
            f"SELECT {_ACTIVITY_COLUMNS} FROM activity WHERE run_key = ? ORDER BY scheduled_event_id",  # noqa: S608
            (key,),
        )
        return [ActivityRow(*row) for row in rows]

    def activity(self, key: int, scheduled_event_id: int) -> ActivityRow | None:
        """One open activity."""
        rows = self._store.select(
            f"SELECT {_ACTIVITY_COLUMNS} FROM activity WHERE run_key = ? AND scheduled_event_id = ?",  # noqa: S608
            (key, scheduled_event_id),
        )
        return ActivityRow(*rows[0]) if rows else None

    def inbox(self, key: int, taken: Container[int]) -> list[Item]:
        """What waits for a run, but for the rows that were taken."""
        rows = self._store.select("SELECT id, item FROM inbox WHERE run_key = ? ORDER BY id", (key,))
        return [decode_item(item) for row, item in rows if row not in taken]

    def inbox_count(self, key: int) -> int:
        """How much waits for a run."""
        ((count,),) = self._store.select("SELECT count(*) FROM inbox WHERE run_key = ?", (key,))
        return int(count)

    def attempts_of(self, holder: int) -> list[ActivityRow]:
        """Attempts that a process runs."""
        rows = self._store.select(f"SELECT {_ACTIVITY_COLUMNS} FROM activity WHERE holder = ?", (holder,))  # noqa: S608
        return [ActivityRow(*row) for row in rows]

    def waiting_activities(
        self, types: Iterable[str], queues: Iterable[str], *, now: Timestamp, limit: int
    ) -> list[ActivityRow]:
        """Activities that anybody who serves them may start now: all, or of the first levels at least `limit`.

        Of a level there are up to `limit` of each fairness key, the longest waiting first; where there are many keys
        and enough is found, of some of them, and of the next ones the next time.
        """
        due = (
            "holder IS NULL AND due_at <= ? AND activity_type IN (SELECT value FROM json_each(?))"
            " AND task_queue IN (SELECT value FROM json_each(?))"
        )
        served = (now, json_array(types), json_array(queues))
        rows = self._due("activity", _ACTIVITY_COLUMNS, due, served, since="due_at", limit=limit)
        return [ActivityRow(*row) for row in rows]

    def next_waiting_activity(self, types: Iterable[str], queues: Iterable[str], *, now: Timestamp) -> Timestamp | None:
        """When the next attempt may start that is not due yet."""
        ((due,),) = self._store.select(
            "SELECT min(due_at) FROM activity WHERE holder IS NULL AND due_at > ?"
            " AND activity_type IN (SELECT value FROM json_each(?)) AND task_queue IN (SELECT value FROM json_each(?))",
            (now, json_array(types), json_array(queues)),
        )
        return None if due is None else Timestamp(due)

    def claim_activity(self, key: int, scheduled_event_id: int, attempt: int, *, holder: int, now: Timestamp) -> bool:
        """Take a waiting attempt; false when somebody else has it, or it is over."""
        return bool(
            self._store.select(
                "UPDATE activity SET holder = ?, started_at = ?"
                " WHERE run_key = ? AND scheduled_event_id = ? AND attempt = ? AND holder IS NULL RETURNING 1",
                (holder, now, key, scheduled_event_id, attempt),
            )
        )

    def write_heartbeats(self, rows: Iterable[tuple[int, int, int, Payloads]]) -> None:
        """Record heartbeats: run, scheduling event, attempt, details."""
        self._store.execute_many(
            "UPDATE activity SET heartbeat = ? WHERE run_key = ? AND scheduled_event_id = ? AND attempt = ?",
            [(encode_payloads(details), key, scheduled, attempt) for key, scheduled, attempt, details in rows],
        )


def _history_of(key: int) -> tuple[int, int]:
    """Lowest and highest key of a run's rows in `history`."""
    return key << EVENT_ID_BITS, (key + 1 << EVENT_ID_BITS) - 1


def restore_activities(run: Run, rows: Iterable[ActivityRow]) -> None:
    """Give a run that was loaded from its history what only the table `activity` knows."""
    for row in rows:
        activity = run.activities.get(row.scheduled_event_id)
        if activity is not None:
            restore_activity(activity, row)


def restore_activity(activity: Activity, row: ActivityRow) -> None:
    """Give an activity what its row knows."""
    activity.attempt = row.attempt
    activity.due_at = Timestamp(row.due_at)
    activity.holder = row.holder
    activity.started_at = None if row.started_at is None else Timestamp(row.started_at)
    activity.heartbeat = decode_payloads(row.heartbeat)
    activity.heartbeat_at = None if row.heartbeat_at is None else Timestamp(row.heartbeat_at)
    activity.identity = row.identity
    activity.last_failure = None if row.last_failure is None else _failure.decode(row.last_failure)


def encode_payloads(payloads: Payloads) -> bytes | None:
    """MessagePack of payloads; None for none."""
    return _encoder.encode(payloads) if payloads else None


def decode_payloads(data: bytes | None) -> Payloads:
    """What `encode_payloads` wrote."""
    return () if data is None else _payloads.decode(data)


def decode_payload_map(data: bytes | None) -> dict[str, Payload]:
    """A memo or search attributes."""
    return {} if data is None else _payload_map.decode(data)


def decode_failure(data: bytes | None) -> Failure | None:
    """A failure of `activity.last_failure`."""
    return None if data is None else _failure.decode(data)


def json_array(values: Iterable[str]) -> str:
    """JSON of strings, for `json_each`."""
    return msgspec.json.encode(list(values)).decode()


def _run_row(run: Run) -> Row:
    return (
        run.key,
        run.workflow_id,
        run.run_id,
        run.first_run_id,
        run.workflow_type,
        run.task_queue,
        run.status,
        run.holder,
        run.wake_at,
        run.start_time,
        run.close_time,
        run.last_event_id,
        run.history_size,
        run.start_request_id,
        run.task_attempt,
        run.task_failure,
        run.task_build,
        run.task_retry_at,
        *_attributes(run),
        *run.place,
    )


def _attributes(run: Run) -> tuple[bytes | None, bytes | None]:
    return (
        _encoder.encode(run.memo) if run.memo else None,
        _encoder.encode(run.search_attributes) if run.search_attributes else None,
    )


def _activity_row(key: int, activity: Activity) -> Row:
    event = activity.event
    return (
        key,
        activity.scheduled_event_id,
        event.activity_id,
        event.activity_type,
        event.task_queue,
        activity.attempt,
        activity.due_at,
        activity.holder,
        activity.started_at,
        encode_payloads(activity.heartbeat),
        None if activity.last_failure is None else _encoder.encode(activity.last_failure),
        1 if activity.cancel_event_id else 0,
        activity.heartbeat_at,
        activity.identity,
        *_place(activity.priority),
    )


def _place(priority: Priority | None) -> tuple[int, str, float, int]:
    level = place_of(priority).level
    if priority is None:
        return level, "", 0.0, 0
    return level, priority.fairness_key, priority.fairness_weight, priority.priority_key
