"""Runs and attempts that nobody holds, and the workers here that may take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protopact.embedded.records import RunRow, json_array
from protopact.embedded.tick import Tick
from protopact.history.time import Timestamp

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell
    from protopact.embedded.worker import Worker

__all__ = ["Matching"]

_SERVED = " workflow_type IN (SELECT value FROM json_each(?)) AND task_queue IN (SELECT value FROM json_each(?))"
_UNHELD = f" status = 0 AND holder IS NULL AND {_SERVED}"


class Matching:
    """Claims of runs.

    Attributes:
        wanted: Whether there may be something to claim: the next tick looks.
    """

    _BATCH = 128

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.wanted = False

    def claim_runs(self, tick: Tick) -> None:
        """Take the runs that wait for a worker of this process."""
        for run in list(tick.runs.values()):
            if run.stored_state is None:  # begun in this tick: it is not in the file yet
                self._shell.hold(tick, run)
        soonest = list[Timestamp]()
        for worker in self._shell.serving.workers:
            served = worker.served
            if not served.workflow_types:
                continue
            scope = (json_array(served.workflow_types), json_array(served.workflow_queues))
            due = self._due(tick, worker, scope)
            parked = self._shell.records.runs_where(
                f"task_build IS NOT NULL AND task_build <> ? AND {_UNHELD} LIMIT ?",
                (served.build_id, *scope, self._BATCH),
            )
            for row in {row.key: row for row in (*due, *parked)}.values():
                self._claim(tick, row, served.build_id)
            if len(due) == self._BATCH or len(parked) == self._BATCH:
                soonest.append(tick.now)
                continue
            # What is due and was not claimed is in its back-off.
            upcoming = self._shell.store.select(
                f"SELECT min(wake_at) FROM run WHERE wake_at > ? AND {_UNHELD} UNION ALL"  # noqa: S608 - our own words
                f" SELECT min(task_retry_at) FROM run WHERE task_build = ? AND task_retry_at > ? AND {_UNHELD}",
                (tick.now, *scope, served.build_id, tick.now, *scope),
            )
            soonest += [Timestamp(when) for (when,) in upcoming if when is not None]
        self._shell.agenda.set("runs", min(soonest) if soonest else None)

    def _due(self, tick: Tick, worker: Worker, scope: tuple[str, str]) -> list[RunRow]:
        """The runs whose turn it is, as many as may be claimed at once."""
        # A run that this build could not carry on waits for its back-off; another build takes it at once.
        rows = self._shell.records.waiting_runs(
            f"{_SERVED} AND (task_build IS NOT ? OR task_retry_at <= ?)",
            (*scope, worker.served.build_id, tick.now),
            now=tick.now,
            limit=self._BATCH,
        )
        found, order = {row.key: row for row in rows}, worker.due
        for row in rows:
            order.add(row.key, row.place)
        due = [found[order.take()] for _ in range(min(len(rows), self._BATCH))]
        order.clear()
        return due

    def _claim(self, tick: Tick, row: RunRow, build_id: str) -> None:
        run = self._shell.hold(tick, row)
        if run is not None:
            if run.task_build != build_id:
                run.task_retry_at = None
            self._shell.fire(tick, run)

    def release_unserved(self, tick: Tick) -> None:
        """Let go of runs that no worker of this process serves any more."""
        shell = self._shell
        store, me = shell.store, shell.process_id
        pairs = store.select("SELECT DISTINCT workflow_type, task_queue FROM run WHERE holder = ?", (me,))
        begun = [(run.workflow_type, run.task_queue) for run in shell.runs if run.stored_state is None]
        released = [pair for pair in dict.fromkeys((*pairs, *begun)) if shell.serving.workflow_worker(*pair) is None]
        for run in list(shell.runs):
            if (run.workflow_type, run.task_queue) in released:
                shell.unlock(tick, run)
                shell.runs.drop(run)
                shell.agenda.set(run.key, None)
                run.holder = None
                if run.stored_state is not None:  # else it is begun in this tick, and written as it is
                    run.stored_state = ()  # another one than what is written below
        for key in shell.tasks.updated_runs():
            row = shell.records.run(key)
            if row is not None and (row.workflow_type, row.task_queue) in released:
                for update in shell.tasks.take_updates(tick, key):
                    for caller in update.callers:
                        shell.delivery.post(tick, row, update.item, shell.calls.remote(caller))
        for workflow_type, task_queue in released:
            shell.waits.watch_all(tick, workflow_type, task_queue)
            store.execute(
                "UPDATE run SET holder = NULL WHERE holder = ? AND workflow_type = ? AND task_queue = ?",
                (me, workflow_type, task_queue),
            )
            tick.wake.update(shell.serving.workflow_elsewhere(workflow_type, task_queue))
