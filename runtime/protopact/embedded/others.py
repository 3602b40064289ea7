"""What other processes have done to the file, and what they left for this one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from protopact.embedded.inbox import (
    Answered,
    AttemptLost,
    Happened,
    Query,
    Refused,
    Unwanted,
    Update,
    decode_notice,
    encode,
)
from protopact.embedded.processes import Processes
from protopact.embedded.records import ActivityRow, decode_payloads
from protopact.embedded.tick import Tick

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Others"]

_logger = logging.getLogger(__name__)


class Others:
    """The shell's post room.

    Attributes:
        look_for_dead: Whether another process may have died.
    """

    def __init__(self, shell: Shell, processes: Processes) -> None:
        self._shell = shell
        self._processes = processes
        self._version = -1
        self.look_for_dead = True

    def has_news(self) -> bool:
        """Whether another process has committed, or may have died."""
        return self.look_for_dead or self._shell.store.data_version() != self._version

    def forget_news(self) -> None:
        """A tick has failed: what it had absorbed is news again."""
        self._version = -1
        self.look_for_dead = True

    def absorb(self, tick: Tick) -> None:
        """Take in what has happened; at the beginning of a transaction."""
        version = self._shell.store.data_version()
        if version == self._version and not self.look_for_dead:
            return
        self._version = version
        self._processes.refresh()
        if self.look_for_dead:
            self.look_for_dead = False
            for process in self._processes.dead():
                self._void_claims(tick, process)
        self._take_notices(tick)
        self._take_inbox(tick)
        self._hand_over_parked(tick)
        self._shell.matching.wanted = True

    def _void_claims(self, tick: Tick, process: int) -> None:
        """A process is dead: nobody holds what it held."""
        store = self._shell.store
        tick.buried.append(process)
        if not self._processes.erase(process):
            return  # it left in order, or another process has done the rest
        _logger.info("process %d of %s has died; its claims are void", process, store.name)
        attempts = _lost_attempts(self._shell.records.attempts_of(process))
        store.execute_many(
            "INSERT INTO inbox (run_key, item) VALUES (?, ?)", [(k, encode(item)) for k, item in attempts]
        )
        store.execute("UPDATE run SET holder = NULL WHERE holder = ?", (process,))
        store.execute(
            "UPDATE run SET wake_at = 0 WHERE status = 0 AND holder IS NULL AND key IN (SELECT run_key FROM inbox)"
        )
        tick.wake.update(self._processes.peers)

    def _take_notices(self, tick: Tick) -> None:
        store, me = self._shell.store, self._shell.process_id
        rows = store.select("SELECT notice FROM notice WHERE process = ? ORDER BY id", (me,))
        if not rows:
            return
        store.execute("DELETE FROM notice WHERE process = ?", (me,))
        for (data,) in rows:
            notice = decode_notice(data)
            match notice:
                case Answered() | Refused():
                    self._shell.calls.answered(tick, notice)
                case Unwanted():
                    self._shell.dispatch.cancel_here(tick, notice)
                case Happened(run_key=run_key, update_id=update_id):
                    tick.happened.append((run_key, update_id))
                    if not update_id:
                        self._shell.forget_run(tick, run_key)

    def _take_inbox(self, tick: Tick) -> None:
        shell = self._shell
        rows = shell.store.select(
            "SELECT DISTINCT inbox.run_key FROM inbox JOIN run ON run.key = inbox.run_key WHERE run.holder = ?",
            (shell.process_id,),
        )
        for (key,) in rows:
            run = shell.held_run(tick, key)
            if run is None:
                continue
            if run.locked:
                shell.coding.interrupt(run)
                continue
            for item, caller in shell.delivery.take(tick, key):
                shell.delivery.apply(tick, run, item, caller)
        rows = shell.store.select(
            "SELECT DISTINCT inbox.run_key FROM inbox JOIN run ON run.key = inbox.run_key WHERE run.status <> 0"
        )
        for (key,) in rows:
            self._clear_inbox(tick, key)

    def _clear_inbox(self, tick: Tick, key: int) -> None:
        """A run is closed: answer the queries that wait for it, if they can be answered here, and refuse the rest."""
        shell = self._shell
        row = shell.records.run(key)
        if row is None or shell.serving.workflow_worker(row.workflow_type, row.task_queue) is None:
            return
        for item, caller in shell.delivery.take(tick, key):
            if isinstance(item, Query | Update):
                shell.delivery.apply(tick, shell.runs.load(row, tick.now), item, caller)

    def _hand_over_parked(self, tick: Tick) -> None:
        """Let workers with another build try the runs that are parked here."""
        shell = self._shell
        rows = shell.records.runs_where("task_build IS NOT NULL AND status = 0 AND holder = ?", (shell.process_id,))
        for row in rows:
            if self._processes.builds(row.workflow_type, row.task_queue) - {row.task_build}:
                run = shell.held_run(tick, row.key)
                if run is not None:
                    shell.unlock(tick, run)
                    tick.touch(run)
                    run.holder = None
                    run.changed = True
                    shell.waits.watch(tick, run.key)
                    for update in shell.tasks.take_updates(tick, run.key):
                        for caller in update.callers:
                            shell.delivery.post(tick, row, update.item, shell.calls.remote(caller))
                    tick.wake.update(shell.serving.workflow_elsewhere(row.workflow_type, row.task_queue))


def _lost_attempts(rows: Iterable[ActivityRow]) -> list[tuple[int, AttemptLost]]:
    """What became of the attempts of a process that died: run and item."""
    return [
        (
            row.run_key,
            AttemptLost(
                row.scheduled_event_id, row.attempt, "", row.started_at or row.due_at, decode_payloads(row.heartbeat)
            ),
        )
        for row in rows
    ]
