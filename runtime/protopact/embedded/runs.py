"""The runs that this process has in memory: the most recently used of those that it holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from protopact.embedded.records import Records, RunRow, restore_activities
from protopact.embedded.run import Run
from protopact.history.time import Timestamp

__all__ = ["Runs"]


class Runs:
    """Runs in memory.

    Attributes:
        limit: How many to keep between ticks.
    """

    def __init__(self, records: Records) -> None:
        self.limit = 0
        self._records = records
        self._runs: OrderedDict[int, Run] = OrderedDict()
        self._open: dict[str, Run] = {}

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def get(self, key: int) -> Run | None:
        """A run, if it is in memory."""
        run = self._runs.get(key)
        if run is not None:
            self._runs.move_to_end(key)
        return run

    def open_run(self, workflow_id: str) -> Run | None:
        """The open run of a workflow id, if it is in memory."""
        return self._open.get(workflow_id)

    def add(self, run: Run) -> None:
        """Keep a run that this process holds."""
        self._runs[run.key] = run
        self._open[run.workflow_id] = run

    def drop(self, run: Run) -> None:
        """Let a run go; its coroutines end here."""
        if self._runs.get(run.key) is run:
            del self._runs[run.key]
            if self._open.get(run.workflow_id) is run:
                del self._open[run.workflow_id]
        run.drop_execution()

    def excess(self) -> list[Run]:
        """Runs beyond the limit, the longest unused first."""
        return list(islice(self._runs.values(), max(0, len(self._runs) - self.limit)))

    def load(self, row: RunRow, now: Timestamp) -> Run:
        """Read a run from the disk; it is not kept."""
        run = Run(
            row.key,
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            first_run_id=row.first_run_id,
            workflow_type=row.workflow_type,
            task_queue=row.task_queue,
            start_request_id=row.start_request_id,
        )
        run.load(self._records.history(row.key))
        restore_activities(run, self._records.activities(row.key))
        run.holder = row.holder
        run.history_size = row.history_size
        run.wake_at = None if row.wake_at is None else Timestamp(row.wake_at)
        run.task_attempt = row.task_attempt
        run.task_failure = row.task_failure
        run.task_build = row.task_build
        run.task_retry_at = None if row.task_retry_at is None else Timestamp(row.task_retry_at)
        run.stored_state = row.state
        for activity in run.activities.values():
            run.plan_activity(activity, now)
        return run
