"""What random programs reach: counts of statements, events, ways to end, and cancellations by type and moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from tests.differential.schedule import Played

from protopact.history.event import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    Event,
    MarkerRecorded,
)
from protopact.replay.child import Child
from protopact.replay.entries import CalledActivity
from protopact.replay.external import SentSignal
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger
from protopact.replay.local import CalledLocalActivity, LocalActivities

_ENDS = (ActivityTaskCanceled, ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut)


@contextmanager
def counting() -> Generator[Counter[str]]:
    """Count what is cancelled, of which type and how far it is; and what is still running when a run ends."""
    counts: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:

        def watch(cls: type[Any], name: str, told: Callable[..., str]) -> None:
            original = getattr(cls, name)

            def watched(self: object, *arguments: object) -> object:
                counts[told(self, *arguments)] += 1
                return original(self, *arguments)

            patch.setattr(cls, name, watched)

        watch(Ledger, "cancel_activity", _told_activity)
        watch(LocalActivities, "cancel", _told_local)
        watch(Child, "cancel", _told_child)
        watch(SentSignal, "cancel", _told_signal)
        watch(Instance, "close", _told_end)
        yield counts


def _told_activity(_: Ledger, activity: CalledActivity) -> str:
    if activity.is_resolved:
        return "cancel activity over"
    return f"cancel activity {activity.cancellation_type.name} {'open' if activity.scheduled_event_id else 'unsent'}"


def _told_local(_: LocalActivities, called: CalledLocalActivity) -> str:
    if called.is_resolved:
        return "cancel local activity over"
    return f"cancel local activity {called.cancellation_type.name} {'replayed' if called.awaits_marker else 'open'}"


def _told_child(child: Child, *_: object) -> str:
    state = child._state.name.lower()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # nothing else says it
    kind = child._cancellation_type.name  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # the same
    return "cancel child over" if state in {"cancelled", "ended"} else f"cancel child {kind} {state}"


def _told_signal(signal: SentSignal, *_: object) -> str:
    return f"cancel signal {'sent' if signal._is_recorded else 'unsent'}"  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # the same


def _told_end(instance: Instance, becomes: type[object], *_: object) -> str:
    return f"{becomes.__name__} while handlers run" if instance.unfinished_handlers() else f"{becomes.__name__} alone"


def count(played: Played, counts: Counter[str]) -> None:
    """Count the events of a run, what its code has done, and what became of cancelled activities."""
    counts.update(f"statement {note.place.rpartition('/')[2].partition('.')[0]}" for note in played.trace)
    counts.update(_told_event(event) for event in played.history)
    counts.update(_cancelled(played.history))


def _told_event(event: Event) -> str:
    attributes = event.attributes
    if isinstance(attributes, MarkerRecorded):
        return f"event MarkerRecorded {attributes.marker_name}"
    cause = getattr(attributes, "cause", "")
    return f"event {type(attributes).__name__}" + (f" {cause}" if cause and cause.isupper() else "")


def _cancelled(history: Sequence[Event]) -> Generator[str]:
    asked: set[int] = set()
    attempts: dict[int, int] = {}
    for event in history:
        attributes = event.attributes
        if isinstance(attributes, ActivityTaskCancelRequested):
            asked.add(attributes.scheduled_event_id)
        elif isinstance(attributes, ActivityTaskStarted):
            attempts[attributes.scheduled_event_id] = attributes.attempt
        elif isinstance(attributes, _ENDS) and attributes.scheduled_event_id in asked:
            attempt = attempts.get(attributes.scheduled_event_id, 0)
            when = "no" if not attempt else "the first" if attempt == 1 else "a later"
            yield f"cancelled activity {type(attributes).__name__} in {when} attempt"
