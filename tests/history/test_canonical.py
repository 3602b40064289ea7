"""The fast reader of the canonical spelling agrees with the one that reads every spelling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protopact.history import canonical
from protopact.history.json import from_json

RECORDED = sorted((Path(__file__).parents[1] / "replay" / "histories").glob("*.json"))


def spelt_otherwise(text: str) -> str:
    """The same history, with one event's id under its protobuf name: no longer canonical."""
    document = json.loads(text)
    document["events"][0]["event_id"] = document["events"][0].pop("eventId")
    return json.dumps(document)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_history_is_canonical_and_reads_alike(path: Path) -> None:
    text = path.read_text()
    events = canonical.read(text)
    assert events is not None
    assert canonical.read(spelt_otherwise(text)) is None
    assert events == from_json(spelt_otherwise(text))


@pytest.mark.parametrize(
    "fields",
    [
        {"eventType": "TimerStarted"},
        {"eventTime": "2026-01-01T00:00:00+00:00"},
        {"eventTime": "2026-01-01T00:00:60Z"},
        {"eventTime": "2026-01-01T00:00:00ZZ"},
        {"eventTime": "2026-01-01T00:00:00.Z"},
        {"eventTime": "2026-01-01T00:00:00.1_5Z"},
        {"eventTime": "2026-01-01T00:00:00.0123456789Z"},
        {"timerStartedEventAttributes": {"startToFireTimeout": "ten seconds"}},
        {"timerStartedEventAttributes": {"timerId": 1}},
        {"timerStartedEventAttributes": None},
    ],
)
def test_what_is_spelt_otherwise_is_left_to_the_other_reader(fields: dict[str, object]) -> None:
    event = {
        "eventId": "1",
        "eventTime": "2026-01-01T00:00:00.5Z",
        "eventType": "EVENT_TYPE_TIMER_STARTED",
        "timerStartedEventAttributes": {"timerId": "1", "startToFireTimeout": "1.500s"},
    }
    assert canonical.read(json.dumps({"events": [event]})) is not None
    assert canonical.read(json.dumps({"events": [event | fields]})) is None
