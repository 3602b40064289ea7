"""A history as a person reads it: text, with what belongs together in one step, values, attempts and durations.

A pure function over the event model; values are put into words by a function that the caller may give, so that this
module needs no message library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protopact.history import event as ev
from protopact.history.step import CLOSED, Outcome, Step, steps
from protopact.history.time import to_datetime
from protopact.history.words import DescribePayload, describe_payload, duration_text, short_name

__all__ = ["render"]

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND


def render(
    events: Sequence[ev.Event],
    *,
    describe: DescribePayload = describe_payload,
    workflow_tasks: bool = False,
    colour: bool = False,
    width: int | None = None,
) -> str:
    """A history as text.

    Args:
        events: A history, or the beginning of one.
        describe: Puts a payload into words.
        workflow_tasks: Whether workflow tasks are shown; those that failed always are.
        colour: Whether to use the escape sequences of a terminal.
        width: Longest line, in characters; values are cut to fit. None does not cut.
    """
    if not events:
        return "No events.\n"
    paint = _Paint(enabled=colour)
    all_steps = steps(events, describe=describe, workflow_tasks=workflow_tasks)
    lines = list(_heading(events, all_steps, paint))
    begin = events[0].event_time
    offsets = [f"+{_offset(step.time - begin)}" for step in all_steps]
    margin = max(len(offset) for offset in offsets)
    titles = max(len(step.title) for step in all_steps)
    for step, offset in zip(all_steps, offsets, strict=True):
        lines.append("")
        first = f"{offset:>{margin}}  {step.title:<{titles}}  "
        state = _state(step)
        ids = paint.dim(f"[{_ranges(step.event_ids)}]")
        lines.append(f"{first}{paint.outcome(step.outcome, state)}{'  ' if state else ''}{ids}")
        labels = max((len(line.label) for line in step.lines), default=0)
        for line in step.lines:
            label = f"{'':{margin}}  {line.label:<{labels}}  "
            text = line.text if width is None or line.is_whole else _cut(line.text, width - len(label))
            lines.append(f"{paint.dim(label)}{text}")
    return "\n".join(lines) + "\n"


def _heading(events: Sequence[ev.Event], all_steps: Sequence[Step], paint: _Paint) -> Iterator[str]:
    first, last = events[0], events[-1]
    if not isinstance(first.attributes, ev.WorkflowExecutionStarted):
        yield paint.bold(f"Events {first.event_id} to {last.event_id} of a history")
        return
    started = first.attributes
    closed = CLOSED.get(type(last.attributes))
    took = duration_text(last.event_time - first.event_time)
    state = f"{closed} after {took}" if closed else f"open for {took} so far"
    outcome = all_steps[-1].outcome if closed else Outcome.OPEN
    yield f"{paint.bold(f'{short_name(started.workflow_type)} {started.workflow_id}')}  {paint.outcome(outcome, state)}"
    tasks = sum(isinstance(event.attributes, ev.WorkflowTaskScheduled) for event in events)
    facts = (
        ("type", started.workflow_type),
        ("run", started.original_execution_run_id),
        ("queue", started.task_queue),
        ("started", f"{to_datetime(first.event_time):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"),
        ("events", f"{len(events)}, {tasks} workflow {'task' if tasks == 1 else 'tasks'}"),
    )
    for label, text in facts:
        if text:
            yield f"{paint.dim(f'  {label:<9}')}{text}"


def _state(step: Step) -> str:
    words = step.state
    if step.end is not None:
        words += f" in {duration_text(step.end - step.time)}"
    if step.attempt > 1:
        words += f", attempt {step.attempt}"
    return words


def _offset(value: int) -> str:
    """Time since the start, for a column: `0.012 s`, `2:05.250`, `1:02:05`."""
    if value < _MINUTE:
        return f"{value / _SECOND:.3f} s"
    minutes, rest = divmod(value, _MINUTE)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes}:{rest / _SECOND:06.3f}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // _SECOND:02d}"


def _ranges(ids: Sequence[int]) -> str:
    """Event ids, neighbours as a range: `5, 9-10`."""
    parts: list[tuple[int, int]] = []
    for number in ids:
        if parts and number == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], number)
        else:
            parts.append((number, number))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= max(width, 20) else text[: max(width, 20) - 1] + "…"


_COLOUR = {Outcome.OPEN: "33", Outcome.GOOD: "32", Outcome.BAD: "31", Outcome.NEUTRAL: "36"}


class _Paint:
    """Colours, or none."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    def outcome(self, outcome: Outcome, text: str) -> str:
        return self._wrap(_COLOUR[outcome], text)

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._enabled and text else text
