"""What engines know of runs: asked through the runtime, which the commands know by its entry point alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import entry_points

from protopact_codegen.versioning.census import Run

__all__ = ["runs"]


def runs(urls: Sequence[str], workflow_types: Collection[str]) -> Iterator[Run]:
    """The runs of some workflows on each of some engines; raises what the runtime raises for its own commands."""
    (point,) = entry_points(group="protopact.runs")
    ask = point.load()
    for url in urls:
        for run in ask(url, workflow_types):
            yield Run(
                workflow_type=run["workflow_type"],
                workflow_id=run["workflow_id"],
                run_id=run["run_id"],
                is_open=run["status"] == "open",
                start_time=run["start_time"],
                digest=run["digest"],
                release=run["release"],
            )
