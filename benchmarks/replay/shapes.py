"""Histories of the four shapes, made without running anything, as long as they are asked to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from protopact.history import event as ev
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payloads

__all__ = ["SHAPES", "history"]

_START = 1_750_000_000_000_000_000
_RUN_ID = "0198a7c0-0000-7000-8000-000000000001"

_RETRY_POLICY = ev.RetryPolicy(
    initial_interval=Duration(10**9), backoff_coefficient=2.0, maximum_interval=Duration(100 * 10**9)
)
"""What servers write when nobody says another one."""

Encode = Callable[[str, dict[str, object]], Payloads]
Body = Callable[[Encode, int], Iterator[ev.Attributes]]


def history(shape: str, count: int, encode: Encode) -> list[ev.Event]:
    """The closed history of a run that does `count` times what `shape` says.

    Args:
        shape: Name of the workflow.
        count: How often.
        encode: Message name (`AddRequest`) and fields to payloads.
    """
    started = ev.WorkflowExecutionStarted(
        workflow_type=shape,
        task_queue="replaying",
        input=encode("ShapeRequest", {"id": "x", "count": count}),
        workflow_id="replayed",
        original_execution_run_id=_RUN_ID,
        first_execution_run_id=_RUN_ID,
        attempt=1,
    )
    events = [_event(1, started)]
    flags: tuple[int, ...] = (1, 2, 3, 4)
    for attributes in _numbered(SHAPES[shape](encode, count), events):
        if isinstance(attributes, ev.WorkflowTaskCompleted) and flags:
            attributes = ev.WorkflowTaskCompleted(  # noqa: PLW2901 - the first completed task has the flags
                scheduled_event_id=attributes.scheduled_event_id,
                started_event_id=attributes.started_event_id,
                core_used_flags=flags,
            )
            flags = ()
        events.append(_event(len(events) + 1, attributes))
    return events


def _event(event_id: int, attributes: ev.Attributes) -> ev.Event:
    return ev.Event(event_id, Timestamp(_START + event_id * 1_000_000), attributes)


def _numbered(body: Iterator[ev.Attributes], events: list[ev.Event]) -> Iterator[ev.Attributes]:
    """Events of workflow tasks name those before them."""
    for attributes in body:
        match attributes:
            case ev.WorkflowTaskStarted():
                yield ev.WorkflowTaskStarted(scheduled_event_id=len(events))
            case ev.WorkflowTaskCompleted():
                yield ev.WorkflowTaskCompleted(scheduled_event_id=len(events) - 1, started_event_id=len(events))
            case _:
                yield attributes


def _task() -> Iterator[ev.Attributes]:
    yield ev.WorkflowTaskScheduled(task_queue="replaying", start_to_close_timeout=Duration(10**10))
    yield ev.WorkflowTaskStarted()
    yield ev.WorkflowTaskCompleted()


def _scheduled(encode: Encode, seq: int, number: int) -> ev.Attributes:
    return ev.ActivityTaskScheduled(
        activity_id=str(seq),
        activity_type="Add",
        task_queue="replaying",
        input=encode("AddRequest", {"id": "x", "number": number}),
        start_to_close_timeout=Duration(60 * 10**9),
        retry_policy=_RETRY_POLICY,
    )


def _done(encode: Encode, scheduled: int, started: int, number: int) -> Iterator[ev.Attributes]:
    yield ev.ActivityTaskStarted(scheduled_event_id=scheduled, attempt=1)
    result = encode("AddResponse", {"id": "x", "number": number})
    yield ev.ActivityTaskCompleted(result=result, scheduled_event_id=scheduled, started_event_id=started)


def _completed(encode: Encode, number: int) -> ev.Attributes:
    return ev.WorkflowExecutionCompleted(result=encode("ShapeResponse", {"id": "x", "number": number}))


def _sequence(encode: Encode, count: int) -> Iterator[ev.Attributes]:
    event_id = 4
    yield from _task()
    for number in range(count):
        yield _scheduled(encode, number + 1, number)
        yield from _done(encode, event_id + 1, event_id + 2, number + 1)
        yield from _task()
        event_id += 6
    yield _completed(encode, count)


def _parallel(encode: Encode, count: int) -> Iterator[ev.Attributes]:
    yield from _task()
    for number in range(count):
        yield _scheduled(encode, number + 1, number)
    for number in range(count):
        yield from _done(encode, 5 + number, 5 + count + 2 * number, number + 1)
    yield from _task()
    yield _completed(encode, count * (count + 1) // 2)


def _timers(encode: Encode, count: int) -> Iterator[ev.Attributes]:
    event_id = 4
    yield from _task()
    for number in range(count):
        yield ev.TimerStarted(timer_id=str(number + 1), start_to_fire_timeout=Duration(10**9))
        yield ev.TimerFired(timer_id=str(number + 1), started_event_id=event_id + 1)
        yield from _task()
        event_id += 5
    yield _completed(encode, count)


def _signals(encode: Encode, count: int) -> Iterator[ev.Attributes]:
    yield from _task()
    for _ in range(count):
        yield ev.WorkflowExecutionSignaled(signal_name="Poke", input=encode("PokeRequest", {"number": 1}))
        yield from _task()
    yield _completed(encode, count)


SHAPES: dict[str, Body] = {
    "Sequence": _sequence,
    "Timers": _timers,
    "Signals": _signals,
    "Parallel": _parallel,
}
"""Workflow names, and what lies between the start and the end of their histories."""
