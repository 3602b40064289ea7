"""The census: how many runs of an engine began under which release of a lock.

A run carries the digest of the contract that it was started under, and the release that this was of as far as its
starter knew, for which it counts: releases of one digest may differ in what a digest has not, as a task queue. A run
that names none counts for the oldest live release of its digest, so that none is taken for drained before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protopact_codegen.contract import Kind
from protopact_codegen.versioning.lock import Lock, Release

__all__ = ["Census", "Run", "counts", "workflow_types"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A run that an engine has.

    Attributes:
        workflow_type: Registered name of its workflow.
        workflow_id: Its workflow id.
        run_id: Its run id.
        is_open: Whether it is open; a closed one is retained.
        start_time: When it was started, in ISO 8601.
        digest: Digest of the contract that it was started under; empty when it carries none.
        release: The release that it names; empty when it names none.
    """

    workflow_type: str
    workflow_id: str
    run_id: str
    is_open: bool
    start_time: str
    digest: str
    release: str

    def __str__(self) -> str:
        contract = f"contract {self.digest[:12]}, which is of no release" if self.digest else "it carries no contract"
        return f"{self.workflow_type} {self.workflow_id} (run {self.run_id}), since {self.start_time}: {contract}"


class Census:
    """The runs of an engine by release.

    Args:
        lock: The lock.
        runs: Runs of the workflows of its live releases.

    Attributes:
        runs: For each release of the lock, the runs that count for it, each release after those that it came after.
        unknown: Runs that count for none: they carry no digest, or one of a contract that was not cut.
    """

    def __init__(self, lock: Lock, runs: Iterable[Run]) -> None:
        self.runs: dict[str, list[Run]] = {release.name: [] for release in lock.all}
        self.unknown: list[Run] = []
        retired, live = lock.retired, reversed(lock.live)
        known = {digest: release.name for release in (*retired, *live) for digest in release.digests.values()}
        for run in runs:
            named = lock.releases.get(run.release)
            is_of_it = named is not None and run.digest in named.digests.values()
            release = run.release if is_of_it else known.get(run.digest)
            (self.unknown if release is None else self.runs[release]).append(run)

    def objection(self, release: Release, live: Sequence[Release]) -> str:
        """Why a release cannot be retired; empty when it can.

        Args:
            release: A live release.
            live: The live releases, each after those that it came after.
        """
        own = self.runs[release.name]
        if own:
            return f"of the runs that began under it, {counts(own)}"
        for older in live[: live.index(release)]:
            # Workers of the younger release may have carried them on, and written to their histories.
            if self.runs[older.name]:
                return (
                    f"it came after {older.name}, and of the runs that began under {older.name}, "
                    f"{counts(self.runs[older.name])}, in whose histories there may be what it wrote; retire "
                    f"{older.name} first"
                )
        unknown = [run for run in self.unknown if run.is_open]
        if unknown:
            shown = "\n".join(f"    {run}" for run in unknown[:_SHOWN])
            more = f"\n    and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            are = "run is open that is" if len(unknown) == 1 else "runs are open that are"
            return f"{len(unknown)} {are} of no known release, and may have begun under it:\n{shown}{more}"
        return ""


def counts(runs: Sequence[Run]) -> str:
    """How many of them are open, and how many closed."""
    is_open = sum(run.is_open for run in runs)
    return f"{is_open} {_be(is_open)} open, {len(runs) - is_open} closed and retained"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def workflow_types(lock: Lock) -> set[str]:
    """Registered names of the workflows of live releases."""
    return {
        name
        for release in lock.live
        for element in release.snapshot.elements.values()
        if element.kind is Kind.WORKFLOW
        for name in (element.name, *element.aliases)
    }
