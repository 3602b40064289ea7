"""`History`: one value, read from files that are whole, damaged, or from a newer server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from temporalio.api.history.v1 import History as TheirHistory

from protopact.errors import HistoryError
from protopact.history import History
from protopact.history import event as ev
from protopact.history.time import Timestamp
from protopact.payload import Payload

RECORDED = Path(__file__).parents[1] / "replay" / "histories"
TEXT = (RECORDED / "sequence.json").read_text()


def document(*changes: tuple[int, dict[str, Any]]) -> str:
    """The recorded history, with other fields in some of its events."""
    read = json.loads(TEXT)
    for event_id, fields in changes:
        read["events"][event_id - 1].update(fields)
    return json.dumps(read)


def test_it_is_the_sequence_of_its_events_and_knows_whose_they_are() -> None:
    history = History.from_json(TEXT)
    assert [event.event_id for event in history] == list(range(1, len(history) + 1))
    assert history[0].attributes == history[:1][0].attributes
    started = history[0].attributes
    assert isinstance(started, ev.WorkflowExecutionStarted)
    assert history.workflow_id == started.workflow_id
    assert history.run_id == started.original_execution_run_id
    assert history.workflow_type == "histories.v1.Histories.Sequence"
    assert repr(history).startswith("<history of histories.v1.Histories.Sequence")
    assert history == History(list(history))
    assert history != History.from_json(TEXT, workflow_id="other")
    assert History.from_json(TEXT, workflow_id="w", run_id="r").run_id == "r"
    assert len(history.until(4)) == 4
    assert history.until(4).damage is None


def test_a_history_begins_at_its_beginning_and_has_no_gaps() -> None:
    history = History.from_json(TEXT)
    with pytest.raises(HistoryError, match="begins with WorkflowExecutionStarted as event 1; found no event"):
        History([])
    with pytest.raises(HistoryError, match="found WorkflowTaskScheduled as event 2"):
        History(history[1:])
    with pytest.raises(HistoryError, match="expected event 3, found event 4"):
        History([*history[:2], *history[3:]])


def test_fields_that_the_event_model_lacks_survive() -> None:
    text = document(
        (2, {"version": "7", "taskId": "1048", "links": [{"workflowEvent": {"workflowId": "other"}}]}),
        (3, {"principal": {"type": "user"}, "inventedLater": {"deep": ["\u00e9="]}}),
    )
    history = History.from_json(text)
    written = json.loads(history.to_json())["events"]
    assert written[1]["version"] == "7"
    assert written[1]["links"] == [{"workflowEvent": {"workflowId": "other"}}]
    assert written[2]["inventedLater"] == {"deep": ["\u00e9="]}
    theirs = json_format.Parse(history.to_json(), TheirHistory(), ignore_unknown_fields=True)
    assert theirs == json_format.Parse(text, TheirHistory(), ignore_unknown_fields=True)
    # They go with the events that are left, and what was changed is changed.
    later = history.replace(
        ev.Event(event.event_id, Timestamp(event.event_time + 10**9), event.attributes) for event in history[:2]
    )
    again = json.loads(later.to_json())["events"]
    assert [each["taskId"] for each in again[1:]] == ["1048"]
    assert again[1]["eventTime"] != written[1]["eventTime"]


def test_fields_deep_within_lists_and_maps_survive() -> None:
    text = document()
    read = json.loads(text)
    started = read["events"][0]["workflowExecutionStartedEventAttributes"]
    started["input"]["payloads"][0]["externalPayloads"] = [{"sizeBytes": "9"}]
    started["memo"] = {"fields": {"a": {"data": "", "externalPayloads": [{"sizeBytes": "8"}]}}}
    started["taskQueue"] = {"name": "q", "kind": "TASK_QUEUE_KIND_STICKY", "normalName": "n"}
    text = json.dumps(read)
    again = History.from_json(text).to_json()
    assert json_format.Parse(again, TheirHistory()) == json_format.Parse(text, TheirHistory())


def test_an_event_that_may_be_ignored_keeps_what_it_holds() -> None:
    paused = {
        "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED",
        "workerMayIgnore": True,
        "workflowExecutionPausedEventAttributes": {"identity": "me"},
    }
    text = document((len(History.from_json(TEXT)), paused))
    history = History.from_json(text)
    assert history[-1].attributes == ev.Ignorable(event_type="WORKFLOW_EXECUTION_PAUSED")
    written = json.loads(history.to_json())["events"][-1]
    assert {key: written[key] for key in paused} == paused


def test_user_metadata_is_read() -> None:
    text = document(
        (5, {"userMetadata": {"summary": {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "ImhpIg=="}}})
    )
    history = History.from_json(text)
    assert history[4].user_metadata == ev.UserMetadata(
        summary=Payload(metadata={"encoding": b"json/plain"}, data=b'"hi"')
    )
    assert History.from_json(history.to_json()) == history


def test_escapes_are_what_they_stand_for() -> None:
    assert History.from_json(TEXT.replace("=", "\\u003d")) == History.from_json(TEXT)


def damaged(text: str) -> History:
    with pytest.raises(HistoryError) as raised:
        History.from_json(text)
    history = History.from_json(text, allow_damage=True)
    assert history.damage is not None
    assert str(history.damage) == str(raised.value)
    assert list(history) == list(History.from_json(TEXT)[: len(history)])
    return history


def test_a_damaged_history_is_read_up_to_the_damage_on_demand() -> None:
    whole = History.from_json(TEXT)
    cut = damaged(TEXT[: TEXT.index('"eventId": "7"') + 3])
    assert (len(cut), str(cut.damage)[:37]) == (6, "the history is not Temporal's JSON: I")
    wrong = damaged(document((9, {"eventTime": "noon"})))
    assert len(wrong) == 8
    assert "damaged at events[8].eventTime: expected an RFC 3339 time" in str(wrong.damage)
    gap = damaged(document((5, {"eventId": "50"})))
    assert (len(gap), str(gap.damage)) == (4, "the history is damaged: expected event 5, found event 50")
    unknown = damaged(document((6, {"eventType": "EVENT_TYPE_NEXUS_OPERATION_SCHEDULED"})))
    assert len(unknown) == 5
    assert History.from_json(TEXT, allow_damage=True).damage is None
    assert len(whole) > 9


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"events": []}', '{"events": [', '{"events": 3}', "\x00"])
def test_what_holds_no_event_at_all_is_no_history(text: str) -> None:
    with pytest.raises(HistoryError):
        History.from_json(text, allow_damage=True)
