"""Where commands come from: the lines of the user's code that were at work when each was asked for.

Nothing of this runs in a worker's replay. It is done once more, traced, when code and history have disagreed.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import linecache
import sysconfig
import textwrap
from collections.abc import Iterator, Sequence
from types import CodeType, CoroutineType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from protopact.replay.entries import ActivityCancellation, Closing, Entry, TimerCancellation
from protopact.replay.ledger import Ledger
from protopact.replay.local import CalledLocalActivity, MarkedLocalActivity
from protopact.replay.report import Frame, Stack

if TYPE_CHECKING:
    from protopact.errors import NondeterminismError
    from protopact.history.event import Event
    from protopact.replay.command import Command
    from protopact.replay.comparison import Difference
    from protopact.replay.loop import Loop

__all__ = ["Trace", "TracedLedger", "stack_of_error", "statement", "waiting", "with_code"]

_MAX_FRAMES = 25
_DRIVERS = {("protopact.replay.instance", "run"), ("protopact.replay.handlers", "instantiate")}
"""Who calls the user's code."""

_OURS = __file__.rpartition("replay/")[0]
_STDLIB = sysconfig.get_paths()["stdlib"] + "/"


class Trace:
    """What a traced replay has seen.

    Args:
        foreseen: What the code is told ahead in the open task: markers and accepted updates of its answer.

    Attributes:
        foreseen: The same.
        outgoing: What the code asked for in the open task, in order.
        entry: What the code asked for in its place; None when it asked for nothing.
    """

    __slots__ = ("_local_activities", "_stacks", "entry", "foreseen", "outgoing")

    def __init__(self, foreseen: Sequence[Event] = ()) -> None:
        self.foreseen = foreseen
        self._local_activities: list[CalledLocalActivity] = []
        self.outgoing: list[tuple[Entry, Command]] = []
        self._stacks: dict[int, tuple[object, Stack]] = {}  # the entry is kept, so that its id stays its own
        self.entry: Entry | None = None

    def note(self, entry: object, stack: Stack) -> None:
        """Note where a command was asked for, or a local activity."""
        self._stacks[id(entry)] = entry, stack
        if isinstance(entry, CalledLocalActivity):
            self._local_activities.append(entry)

    def take_local_activities(self) -> list[CalledLocalActivity]:
        """Local activities that were called since this was asked last."""
        called, self._local_activities = self._local_activities, []
        return called

    def stack(self, entry: object) -> Stack | None:
        """Where a command was asked for; a cancellation without a place of its own has that of what it cancels."""
        found = self._stacks.get(id(entry))
        stack = None if found is None else found[1]
        if isinstance(entry, MarkedLocalActivity):
            return self.stack(entry.called)
        if (stack is None or not stack.frames) and isinstance(entry, ActivityCancellation | TimerCancellation):
            begun = self.stack(entry.cancelled)
            if begun is not None:
                return Stack(doing="cancelled", frames=begun.frames, task=begun.task)
        return stack


class TracedLedger(Ledger):
    """A ledger that notes where commands come from.

    Args:
        trace: Where they are noted.
    """

    __slots__ = ("_trace",)

    def __init__(self, workflow_type: str, workflow_id: str, run_id: str, trace: Trace) -> None:
        super().__init__(workflow_type, workflow_id, run_id)
        self._trace = trace

    def add(self, entry: Entry) -> None:
        """Put a command in line."""
        self._note(entry)
        super().add(entry)

    def notice(self, called: object, /) -> None:
        """Hear of a local activity."""
        self._note(called)

    def _note(self, entry: object) -> None:
        frames = tuple(_frames(inspect.currentframe()))
        task = asyncio.current_task()
        self._trace.note(entry, Stack(doing="called", frames=frames, task="" if task is None else task.get_name()))

    def close(self, closing: Closing) -> None:
        """End the run."""
        self._trace.note(closing, stack_of_error(closing.error) or Stack(doing="returned", frames=()))
        super().close(closing)

    def disagree(
        self, event: Event, entry: Entry | None, differences: tuple[Difference, ...] = ()
    ) -> NondeterminismError:
        """The error to raise when the code does not ask for what history holds."""
        self._trace.entry = entry
        return super().disagree(event, entry, differences)

    def outgoing(self) -> tuple[Command, ...]:
        """Commands for the open task."""
        entries = [each for each in self._queue if not each.is_withdrawn]
        commands = super().outgoing()
        self._trace.outgoing = list(zip(entries, commands, strict=False))  # rejections of updates come last
        return commands


def stack_of_error(error: BaseException | None) -> Stack | None:
    """Where the user's code raised an exception."""
    if error is None:
        return None
    frames: list[Frame] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if _is_user(trace.tb_frame):
            frames.append(_frame(trace.tb_frame.f_code, trace.tb_lineno))
        trace = trace.tb_next
    return Stack(doing="raised", frames=tuple(frames[-_MAX_FRAMES:]))


def waiting(loop: Loop) -> Iterator[Stack]:
    """Where the coroutines of a run wait."""
    for task in loop.open_tasks():
        frames: list[Frame] = []
        awaited: Any = task.get_coro()  # coroutines await coroutines, and at last something else
        while isinstance(awaited, CoroutineType):
            if awaited.cr_frame is not None and _is_user(awaited.cr_frame):
                frames.append(_frame(awaited.cr_code, awaited.cr_frame.f_lineno))
            awaited = awaited.cr_await
        if frames:
            yield Stack(doing="waits", frames=tuple(frames), task=task.get_name())


def with_code(stack: Stack) -> Stack:
    """A stack with the lines themselves."""
    frames = tuple(
        msgspec.structs.replace(each, code=linecache.getline(each.file, each.line).strip()) for each in stack.frames
    )
    return msgspec.structs.replace(stack, frames=frames)


def statement(frame: Frame) -> str:
    """The whole statement that a line is part of; empty when it is a block, or cannot be read."""
    lines = linecache.getlines(frame.file)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return ""
    found: ast.stmt | None = None
    for node in ast.walk(tree):  # outer ones first
        if isinstance(node, ast.stmt) and node.lineno <= frame.line <= (node.end_lineno or node.lineno):
            found = node
    if found is None or hasattr(found, "body"):
        return ""
    return textwrap.dedent("".join(lines[found.lineno - 1 : found.end_lineno])).strip()


def _frames(frame: FrameType | None) -> list[Frame]:
    """Lines of the user's code that are at work, the most recent call last."""
    found: list[Frame] = []
    while frame is not None and len(found) < _MAX_FRAMES:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in _DRIVERS:
            break
        if _is_user(frame):
            found.append(_frame(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _is_user(frame: FrameType) -> bool:
    """Whether a line is neither ours, nor generated, nor of the standard library."""
    file = frame.f_code.co_filename
    if file.startswith((_OURS, "<")) or frame.f_globals.get("__name__", "").endswith("_protopact"):
        return False
    return not file.startswith(_STDLIB) or "/site-packages/" in file


def _frame(code: CodeType, line: int) -> Frame:
    return Frame(file=code.co_filename, line=line, function=code.co_qualname)
