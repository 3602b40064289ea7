"""A history as one value: its events, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Self, overload

from protopact.errors import HistoryError
from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.history.json import read, to_json

__all__ = ["History"]


class History(Sequence[Event]):
    """The history of a run, or the beginning of one: a sequence of its events.

    Args:
        events: The events, from the first one on.
        workflow_id: Id of the workflow; by default what the first event says.
        run_id: The run; by default what the first event says, which after a reset is the run that was reset.
        source: The JSON that the events were read from; what else it holds goes into `to_json`.
        damage: Why nothing was read after the last event.

    Attributes:
        workflow_id: Id of the workflow; empty when neither the caller nor the first event says it.
        run_id: The run; empty when neither says it.
        workflow_type: Registered name of the workflow.
        damage: Why nothing was read after the last event; None for a history that was read to its end.

    Raises:
        HistoryError: The events do not begin with the start of a workflow, or one is missing.
    """

    __slots__ = ("_events", "_source", "damage", "run_id", "workflow_id", "workflow_type")

    def __init__(
        self,
        events: Iterable[Event],
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        source: str | None = None,
        damage: HistoryError | None = None,
    ) -> None:
        self._events = tuple(events)
        self._source = source
        self.damage = damage
        started = self._events[0].attributes if self._events else None
        if not isinstance(started, WorkflowExecutionStarted):
            found = "no event" if started is None else f"{type(started).__name__} as event {self._events[0].event_id}"
            raise HistoryError(f"a history begins with WorkflowExecutionStarted as event 1; found {found}")
        gap = _gap(self._events)
        if gap is not None:
            raise gap[1]
        self.workflow_id = started.workflow_id if workflow_id is None else workflow_id
        self.run_id = started.original_execution_run_id if run_id is None else run_id
        self.workflow_type = started.workflow_type

    @classmethod
    def from_json(
        cls, text: str, *, workflow_id: str | None = None, run_id: str | None = None, allow_damage: bool = False
    ) -> Self:
        """A history out of Temporal's JSON, as `temporal workflow show --output json` and Temporal's SDKs write it.

        Enums may be spelt with their prefix, as older versions did without it, or as numbers; 64-bit integers as text
        or as numbers. What protopact does not know of an event is kept for `to_json`.

        Args:
            text: The JSON.
            workflow_id: Id of the workflow, which files of older servers do not hold.
            run_id: The run.
            allow_damage: Whether to read the events before a damage, or before an event that this version does not
                know, and say in `damage` what is wrong; at least the first event must be there.

        Raises:
            HistoryError: The text is no such history, or holds an event that matters and that this version does not
                know. The message says where.
        """
        events, damage = read(text)
        gap = _gap(events)
        if gap is not None:
            events, damage = events[: gap[0]], gap[1]
        if damage is not None and (not allow_damage or not events):
            raise damage
        return cls(events, workflow_id=workflow_id, run_id=run_id, source=text, damage=damage)

    def to_json(self) -> str:
        """The history as Temporal's JSON, which Temporal's tools read. It does not hold `workflow_id` and `run_id`.

        Fields that protopact does not know are written as they were read.
        """
        return to_json(self._events, source=self._source)

    def until(self, event_id: int) -> Self:
        """The beginning of the history, up to and with an event."""
        return self.replace(self._events[:event_id])

    def replace(self, events: Iterable[Event]) -> Self:
        """The history with other events: fewer of them, or the same ones with other contents, for example decoded."""
        kept = tuple(events)
        return type(self)(
            kept,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            source=self._source,
            damage=self.damage if len(kept) == len(self) else None,
        )

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._events[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (self.workflow_id, self.run_id, self._events) == (other.workflow_id, other.run_id, other._events)

    __hash__ = None  # type: ignore[assignment]  # events hold mappings

    def __repr__(self) -> str:
        return f"<history of {self.workflow_type} {self.workflow_id!r} (run {self.run_id}), {len(self)} events>"


def _gap(events: Sequence[Event]) -> tuple[int, HistoryError] | None:
    """How many events stand before a gap, and what is wrong there."""
    for expected, event in enumerate(events, 1):
        if event.event_id != expected:
            what = f"the history is damaged: expected event {expected}, found event {event.event_id}"
            return expected - 1, HistoryError(what)
    return None
