"""Event types that the event model lacks: refused or ignored, as Temporal's Replayer has it."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer as TheirReplayer
from temporalio.worker import UnsandboxedWorkflowRunner
from tests.replay.stories import Ours, Story, Theirs

from protopact.errors import HistoryError
from protopact.history import History
from protopact.history import event as ev
from protopact.history.json import to_json
from protopact.history.spelling import upper_snake
from protopact.replay import Replayer

MODELLED = {f"EVENT_TYPE_{upper_snake(kind.__name__)}" for kind in get_args(ev.Attributes) if kind is not ev.Ignorable}
LACKING = sorted(set(EventType.keys()) - MODELLED - {"EVENT_TYPE_UNSPECIFIED"})
IGNORABLE = {
    "EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED",
}


def text(event_type: str, *, may_ignore: bool) -> str:
    """A history in which an event of that type stands behind the start."""
    started, scheduled, task = json.loads(to_json(Story().task().events))["events"]
    words = event_type.removeprefix("EVENT_TYPE_").lower().split("_")
    attributes = words[0] + "".join(map(str.capitalize, words[1:])) + "EventAttributes"
    other: dict[str, Any] = started | {"eventType": event_type, attributes: {}, "workerMayIgnore": may_ignore}
    del other["workflowExecutionStartedEventAttributes"]
    task["workflowTaskStartedEventAttributes"]["scheduledEventId"] = "3"
    events = [started, other, scheduled, task]
    return json.dumps({"events": [event | {"eventId": str(number)} for number, event in enumerate(events, 1)]})


@pytest.mark.parametrize("may_ignore", [False, True], ids=["matters", "may be ignored"])
@pytest.mark.parametrize("event_type", LACKING)
async def test_what_temporal_ignores_is_ignored_and_nothing_else(event_type: str, may_ignore: bool) -> None:  # noqa: FBT001 - a parameter of the test
    given = text(event_type, may_ignore=may_ignore)
    theirs = await TheirReplayer(workflows=[Theirs], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(
        WorkflowHistory.from_json("story", given), raise_on_replay_failure=False
    )
    is_ignored = event_type in IGNORABLE and may_ignore
    assert (theirs.replay_failure is None) is is_ignored
    if is_ignored:
        Replayer(workflows=[Ours]).replay(History.from_json(given))
    else:
        with pytest.raises(HistoryError, match=f"event 2 of the history is of the type {event_type}, which matters"):
            History.from_json(given)
