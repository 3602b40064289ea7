"""Who serves what: the workers here, and those of other processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from protopact.embedded.tick import Tick
from protopact.embedded.worker import Worker

if TYPE_CHECKING:
    from protopact.embedded.shell import Shell

__all__ = ["Serving"]

_logger = logging.getLogger(__name__)


class Serving:
    """The shell's list of who serves what.

    Args:
        shell: The shell.

    Attributes:
        workers: The workers here.
    """

    def __init__(self, shell: Shell) -> None:
        self.workers: list[Worker] = []
        self._shell = shell
        self._warned = set[tuple[str, str, str]]()
        self._workflow_workers: dict[tuple[str, str], Worker | None] = {}
        self._activity_workers: dict[tuple[str, str], Worker | None] = {}

    @property
    def has_peers(self) -> bool:
        """Whether other processes have the file open."""
        return self._shell.processes is not None and bool(self._shell.processes.peers)

    def serve(self, tick: Tick, workers: Iterable[Worker]) -> None:
        """Serve with these workers from now on; let go of runs that none of them serves."""
        self.workers = list(workers)
        self._workflow_workers.clear()
        self._activity_workers.clear()
        self._shell.runs.limit = max((worker.options.max_cached_workflows for worker in self.workers), default=0)
        if self._shell.processes is not None:
            self._shell.processes.serve(worker.served for worker in self.workers)
            tick.wake.update(self._shell.processes.peers)
        self._shell.matching.release_unserved(tick)
        self._shell.matching.wanted = True
        for run in self._shell.runs:
            for activity in run.activities.values():
                if activity.holder is None and activity.due_at <= tick.now:
                    self._shell.dispatch.offer(tick, run, activity)

    def workflow_worker(self, workflow_type: str, task_queue: str) -> Worker | None:
        """The worker here that serves a workflow."""
        key = (workflow_type, task_queue)
        if key not in self._workflow_workers:
            serving = (worker for worker in self.workers if worker.served.workflow(*key))
            self._workflow_workers[key] = next(serving, None)
        return self._workflow_workers[key]

    def activity_worker(self, activity_type: str, task_queue: str) -> Worker | None:
        """The worker here that serves an activity."""
        key = (activity_type, task_queue)
        if key not in self._activity_workers:
            serving = (worker for worker in self.workers if worker.served.activity(*key))
            self._activity_workers[key] = next(serving, None)
        return self._activity_workers[key]

    def workflow_elsewhere(self, workflow_type: str, task_queue: str) -> list[int]:
        """Other processes that serve a workflow."""
        return (
            [] if self._shell.processes is None else self._shell.processes.serving_workflow(workflow_type, task_queue)
        )

    def activity_elsewhere(self, activity_type: str, task_queue: str) -> list[int]:
        """Other processes that serve an activity."""
        return (
            [] if self._shell.processes is None else self._shell.processes.serving_activity(activity_type, task_queue)
        )

    def offered(self, activity_type: str, task_queue: str) -> list[int]:
        """Other processes that may run an activity which is not served here; a warning when there are none."""
        serving = self.activity_elsewhere(activity_type, task_queue)
        if not serving:
            self.warn_unserved("activity", activity_type, task_queue)
        return serving

    def warn_unserved(self, kind: str, name: str, task_queue: str) -> None:
        """Say once that a worker polls the queue of something that no worker serves: most likely it was forgotten."""
        polled = any(
            task_queue in (each.served.workflow_queues if kind == "workflow" else each.served.activity_queues)
            for each in self.workers
        )
        if polled and (kind, name, task_queue) not in self._warned:
            self._warned.add((kind, name, task_queue))
            _logger.warning(
                "%s %s waits on task queue %r, which a worker here polls, but no worker serves it; give one its %s",
                kind,
                name,
                task_queue,
                "class in workflows=[...]" if kind == "workflow" else "activities in activities=[...]",
            )
