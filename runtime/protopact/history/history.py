"""A history as one value: its events, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

from protopact.errors import HistoryError
from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.history.json import from_json, to_json

__all__ = ["History"]


class History(Sequence[Event]):
    """The history of a run, or the beginning of one: a sequence of its events.

    Args:
        events: The events, from the first one on.
        workflow_id: Id of the workflow; by default what the first event says.
        run_id: The run; by default what the first event says, which after a reset is the run that was reset.

    Attributes:
        workflow_id: Id of the workflow; empty when neither the caller nor the first event says it.
        run_id: The run; empty when neither says it.
        workflow_type: Registered name of the workflow.

    Raises:
        HistoryError: The first event is not the start of a workflow.
    """

    __slots__ = ("_events", "run_id", "workflow_id", "workflow_type")

    def __init__(self, events: Iterable[Event], *, workflow_id: str | None = None, run_id: str | None = None) -> None:
        self._events = tuple(events)
        started = self._events[0].attributes if self._events else None
        if not isinstance(started, WorkflowExecutionStarted):
            found = "no event" if started is None else f"{type(started).__name__} as event {self._events[0].event_id}"
            raise HistoryError(f"a history begins with WorkflowExecutionStarted as event 1; found {found}")
        self.workflow_id = started.workflow_id if workflow_id is None else workflow_id
        self.run_id = started.original_execution_run_id if run_id is None else run_id
        self.workflow_type = started.workflow_type

    @classmethod
    def from_json(cls, text: str, *, workflow_id: str | None = None, run_id: str | None = None) -> History:
        """A history out of Temporal's JSON, as `temporal workflow show --output json` and Temporal's SDKs write it.

        Args:
            text: The JSON.
            workflow_id: Id of the workflow, which files of older servers do not hold.
            run_id: The run.

        Raises:
            HistoryError: The text is no such history, or holds an event that matters and that this version does not
                know.
        """
        return cls(from_json(text), workflow_id=workflow_id, run_id=run_id)

    def to_json(self) -> str:
        """The history as Temporal's JSON, which Temporal's tools read. It does not hold `workflow_id` and `run_id`."""
        return to_json(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (self.workflow_id, self.run_id, self._events) == (other.workflow_id, other.run_id, other._events)

    __hash__ = None  # type: ignore[assignment]  # events hold mappings

    def __repr__(self) -> str:
        return f"<history of {self.workflow_type} {self.workflow_id!r} (run {self.run_id}), {len(self)} events>"
