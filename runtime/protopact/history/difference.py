"""Two histories side by side: in which steps they differ, whatever their times and ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from protopact.history.event import Event
from protopact.history.step import Step, steps
from protopact.history.words import DescribePayload, describe_payload

__all__ = ["difference"]

_CONTEXT = 2


def difference(
    one: Sequence[Event],
    other: Sequence[Event],
    *,
    describe: DescribePayload = describe_payload,
    workflow_tasks: bool = False,
) -> list[str]:
    """What is in one history and not in the other, step by step.

    Steps are compared by what they are, how they ended and what they carried: not by times, event ids and run ids,
    which differ whenever a workflow runs again.

    Args:
        one: A history, or the beginning of one.
        other: Another one.
        describe: Puts a payload into words.
        workflow_tasks: Whether workflow tasks are compared; those that failed always are.

    Returns:
        Lines: those of `one` begin with `- `, those of `other` with `+ `, those of both with two spaces; of steps that
        are alike the neighbours of others. None when everything is alike.
    """
    left = [_text(step) for step in steps(one, describe=describe, workflow_tasks=workflow_tasks)]
    right = [_text(step) for step in steps(other, describe=describe, workflow_tasks=workflow_tasks)]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    lines: list[str] = []
    shown = 0  # steps of `left` that are told
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        lines += _alike(group[0][1] - shown)
        for kind, begin, end, other_begin, other_end in group:
            if kind == "equal":
                lines += [f"  {text[0]}" for text in left[begin:end]]
            else:
                lines += _changed(left[begin:end], right[other_begin:other_end])
        shown = group[-1][2]
    return [*lines, *_alike(len(left) - shown)] if lines else []


def _alike(count: int) -> Iterator[str]:
    if count:
        yield f"  ... {count} {'step' if count == 1 else 'steps'} alike"


def _changed(left: Sequence[tuple[str, ...]], right: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Steps that differ; two that are of one thing are compared line by line."""
    titles = SequenceMatcher(None, [text[0] for text in left], [text[0] for text in right], autojunk=False)
    for kind, begin, end, other_begin, other_end in titles.get_opcodes():
        if kind == "equal":
            for one, other in zip(left[begin:end], right[other_begin:other_end], strict=True):
                yield from _lines(one, other)
        else:
            yield from (f"- {line}" for text in left[begin:end] for line in text)
            yield from (f"+ {line}" for text in right[other_begin:other_end] for line in text)


def _lines(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from (f"  {line}" for line in one[begin:end])
        else:
            yield from (f"- {line}" for line in one[begin:end])
            yield from (f"+ {line}" for line in other[other_begin:other_end])


def _text(step: Step) -> tuple[str, ...]:
    """A step without what differs from run to run: first what it is, then the rest."""
    state = step.state + (f", attempt {step.attempt}" if step.attempt > 1 else "")
    lines = [(line.label, "requested" if line.label == "cancel" else line.text) for line in step.lines]
    return (
        step.title,
        *([f"    {state}"] if state else []),
        *(f"    {label}  {text}" for label, text in lines if label not in {"run", "continues"}),
    )
