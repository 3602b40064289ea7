"""Histories of a Temporal server, replayed on generated code: every task is answered as it was recorded."""

from __future__ import annotations

import pytest
from tests.replay.bench import check_every_task, recorded
from tests.replay.workflows import RECORDED

from protopact.workflow import Workflow


@pytest.mark.parametrize(("name", "workflow"), RECORDED, ids=[name for name, _ in RECORDED])
def test_every_task_is_answered_as_it_was(name: str, workflow: type[Workflow]) -> None:
    check_every_task(workflow, recorded(name))
