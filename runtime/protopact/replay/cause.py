"""Why code and history disagree: the calls of both, from there on, laid side by side."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections import Counter
from collections.abc import Sequence

from protopact.history import event as ev
from protopact.replay.call import CLOSINGS, Call
from protopact.replay.marker import PATCH
from protopact.replay.report import Cause, CauseKind
from protopact.replay.trace import statement

__all__ = ["likely_cause", "missing_patch"]

_REMOTE_KINDS = frozenset({ev.ActivityTaskScheduled, ev.StartChildWorkflowExecutionInitiated, ev.MarkerRecorded})


def likely_cause(recorded: Sequence[Call], produced: Sequence[Call], *, is_stuck: bool) -> Cause:
    """The likely cause.

    Args:
        recorded: The calls of the history, from the answer on that disagrees.
        produced: The calls of the code, from the same answer on.
        is_stuck: The code asked for nothing where the history goes on.
    """
    first = next(
        (index for index, pair in enumerate(zip(recorded, produced, strict=False)) if not _agree(*pair)),
        min(len(recorded), len(produced)),
    )
    rest, mine = recorded[first:], produced[first:]
    if not rest:
        return Cause(kind=CauseKind.UNKNOWN, text="the rest of the history and of what the code asks for agree")
    if not mine or (is_stuck and not mine[0].is_local_activity):
        return _removed(rest[:1], "and the code waits for something that the history does not bring it")
    expected, found = rest[0], mine[0]
    if expected.key == found.key:
        return _same_call(rest, mine)
    if expected.kind in CLOSINGS and found.kind in CLOSINGS:
        return Cause(
            kind=CauseKind.ENDED_OTHERWISE,
            text=f"the history holds {expected.text}, the code ends with {found.text}",
            cure=_either(f"end-{_slug(found)}", found, f"...  # end with {expected.text}, as before"),
        )
    if expected.kind in CLOSINGS:
        calls = _until_closing(mine)
        return Cause(
            kind=CauseKind.ENDED_LATE,
            text=f"the history ends here, and the code goes on with {_texts(calls)}",
            cure=_guarded(f"add-{_slug(found)}", found),
        )
    return _aligned(rest, mine)


def missing_patch(event: ev.Event, patch_id: str) -> Cause:
    """The history holds the marker of a patch that the code does not ask for any more."""
    return Cause(
        kind=CauseKind.MISSING_PATCH,
        text=f"event {event.event_id} is the marker of patch {patch_id!r}, and the code does not call `patched` with "
        "that id there: the call was removed, renamed, or is not reached",
        cure=f'workflow.deprecate_patch("{patch_id}")  # where `patched` was, until no run with the marker is kept',
    )


def _agree(expected: Call, found: Call) -> bool:
    return expected.signature == found.signature and (
        expected.id == found.id or expected.kind is not ev.ActivityTaskScheduled
    )


def _same_call(rest: Sequence[Call], mine: Sequence[Call]) -> Cause:
    expected, found = rest[0], mine[0]
    if expected.values != found.values and (expected.kind is not ev.TimerStarted or expected.id == found.id):
        if _holds(rest[1:], found) and _holds(mine[1:], expected):
            return _reordered(expected, found)
        if expected.kind is not ev.TimerStarted and _holds(rest[1:], found):
            return _removed([expected])
        if expected.kind is not ev.TimerStarted and _holds(mine[1:], expected):
            return _inserted([found], expected)
        return Cause(
            kind=CauseKind.CHANGED_VALUE,
            text=f"{expected.text} was called with {expected.values}, and is called with {found.values} now",
            cure=_either(f"change-{_slug(found)}", found, f"...  # as before, with {expected.values}"),
        )
    if _ids(rest) == _ids(mine):
        return _reordered(expected, found)
    return Cause(
        kind=CauseKind.CHANGED_ID,
        text=f"{expected.text} had the id {expected.id!r}, and has {found.id!r} now",
        cure=_either(f"change-id-of-{_slug(found)}", found, f"...  # as before, with the id {expected.id!r}"),
    )


def _aligned(rest: Sequence[Call], mine: Sequence[Call]) -> Cause:
    """What makes the one sequence the other, by what each has more of."""
    expected, found = rest[0], mine[0]
    if found.kind in CLOSINGS:
        return _ended_early([each for each in rest if each.kind not in CLOSINGS], found)
    counted, mine_counted = Counter(each.key for each in rest), Counter(each.key for each in mine)
    is_new = mine_counted[found.key] > counted[found.key]
    is_gone = counted[expected.key] > mine_counted[expected.key]
    if is_new and is_gone:
        return _replaced(expected, found)
    if is_new:
        return _inserted(_until(mine, expected), expected)
    if is_gone:
        return _removed(_until(rest, found))
    return _reordered(expected, found)


def _replaced(expected: Call, found: Call) -> Cause:
    old = f"{_call_of(expected)}  # as before"
    if expected.kind is found.kind:
        return Cause(
            kind=CauseKind.RENAMED,
            text=f"{expected.text} became {found.text}: it was renamed, or another one is called in its place",
            cure=_either(f"rename-{_slug(expected)}", found, old),
        )
    short = f"{expected.text} became {found.text}"
    if expected.kind in _REMOTE_KINDS and found.kind in _REMOTE_KINDS:
        short += ": it was made another kind of call"
    return Cause(kind=CauseKind.CHANGED_KIND, text=short, cure=_either(f"change-{_slug(expected)}", found, old))


def _inserted(calls: Sequence[Call], before: Call) -> Cause:
    now, then = ("is", "was") if len(calls) == 1 else ("are", "were")
    return Cause(
        kind=CauseKind.INSERTED,
        text=f"{_texts(calls)} {now} called before {before.text}, and {then} not when the history was written",
        cure=_guarded(f"add-{_slug(calls[0])}", calls[0]),
    )


def _removed(calls: Sequence[Call], more: str = "and the code goes on with what comes behind it") -> Cause:
    lines = "\n".join(f"    {_call_of(each)}" for each in calls)
    return Cause(
        kind=CauseKind.REMOVED,
        text=f"the history holds {_texts(calls)} here, {more}",
        cure=f'if not workflow.patched("drop-{_slug(calls[0])}"):\n{lines}  # as before',
    )


def _ended_early(calls: Sequence[Call], found: Call) -> Cause:
    lines = "\n".join(f"    {_call_of(each)}" for each in calls[:3])
    return Cause(
        kind=CauseKind.ENDED_EARLY,
        text=f"the code ends with {found.text} where the history goes on with {_texts(calls)}",
        cure=f'if not workflow.patched("drop-{_slug(calls[0])}"):\n{lines}  # as before' if calls else "",
    )


def _reordered(expected: Call, found: Call) -> Cause:
    same = expected.key == found.key and expected.values != found.values
    old, new = (
        (f"{expected.text} with {expected.values}", f"{found.text} with {found.values}")
        if same
        else (expected.text, found.text)
    )
    return Cause(
        kind=CauseKind.REORDERED,
        text=f"the history holds {old} before {new}, and the code calls them the other way round",
        cure=f'if workflow.patched("reorder-{_slug(found)}"):\n    ...  # {new}, then {old}\nelse:\n'
        f"    ...  # {old}, then {new}, as before",
    )


def _holds(calls: Sequence[Call], call: Call) -> bool:
    return any(each.signature == call.signature for each in calls)


def _ids(calls: Sequence[Call]) -> list[tuple[str, str]]:
    return sorted((each.name, each.id) for each in calls if each.id)


def _until(calls: Sequence[Call], call: Call) -> Sequence[Call]:
    return calls[: next((index for index, each in enumerate(calls) if each.key == call.key), len(calls))]


def _until_closing(calls: Sequence[Call]) -> Sequence[Call]:
    return calls[: next((index for index, each in enumerate(calls) if each.kind in CLOSINGS), len(calls))]


def _texts(calls: Sequence[Call]) -> str:
    texts = [each.text for each in calls[:3]]
    if len(calls) > len(texts):
        texts.append(f"{len(calls) - len(texts)} more")
    return ", ".join(texts) or "something else"


# Python that keeps open runs as they are.


def _guarded(patch_id: str, call: Call) -> str:
    return f'if workflow.patched("{patch_id}"):\n{_indented(_line(call))}'


def _either(patch_id: str, call: Call, old: str) -> str:
    return f'if workflow.patched("{patch_id}"):\n{_indented(_line(call))}\nelse:\n    {old}'


def _line(call: Call) -> str:
    """The statement of the user's code that calls it, as it is."""
    if call.kind not in CLOSINGS and call.stack is not None and call.stack.frames:
        found = statement(call.stack.frames[-1])
        if found and not found.startswith("return"):
            return found
    return _call_of(call)


def _call_of(call: Call) -> str:
    """A call that is only known from the history, on generated code."""
    if call.kind is ev.TimerStarted:
        return f"await workflow.sleep({call.values.removesuffix(' s')})"
    if call.is_side_effect:
        return "await workflow.side_effect(...)"
    if call.kind is ev.ActivityTaskScheduled or call.is_local_activity:
        service = call.name.rpartition(".")[0].rpartition(".")[2]
        method = _snake(call.short)
        method += "_" if keyword.iskeyword(method) else ""
        return f"await {'.'.join(filter(None, (service, 'Local' if call.is_local_activity else '', method)))}(...)"
    if call.kind is ev.StartChildWorkflowExecutionInitiated:
        return f"await {'.'.join(call.name.split('.')[-2:])}.execute_child(...)"
    if call.kind is ev.MarkerRecorded and call.name != PATCH:
        return f'workflow.patched("{call.name}")'
    return f"...  # {call.text}"


def _indented(text: str) -> str:
    return textwrap.indent(text, "    ")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _slug(call: Call) -> str:
    if call.kind is ev.TimerStarted:
        return "timer"
    return _snake(call.short).replace("_", "-") if call.name else "end" if call.kind in CLOSINGS else "call"
