"""Histories of a Temporal server, replayed on generated code: every task is answered as it was recorded."""

from __future__ import annotations

import sys

import pytest
from tests.replay import workflows
from tests.replay.bench import check_every_task, recorded

from protopact.workflow import Workflow

RECORDED: list[tuple[str, type[Workflow]]] = [
    ("cancellable", workflows.Cancellable),
    ("chatty_early", workflows.Chatty),
    ("chatty_full", workflows.Chatty),
    ("chatty_open", workflows.Chatty),
    ("deterministic", workflows.Deterministic),
    ("doomed", workflows.Doomed),
    ("fanout", workflows.Fanout),
    ("patched", workflows.Patched),
    ("reset", workflows.Deterministic),
    ("saga", workflows.Saga),
    ("sequence", workflows.Sequence),
    ("tasks", workflows.Tasks),
    ("terminated", workflows.Chatty),
]
if sys.version_info < (3, 12):
    RECORDED.append(("race", workflows.Race))  # asyncio.wait_for does things in another order since


@pytest.mark.parametrize(("name", "workflow"), RECORDED, ids=[name for name, _ in RECORDED])
def test_every_task_is_answered_as_it_was(name: str, workflow: type[Workflow]) -> None:
    check_every_task(workflow, recorded(name))
