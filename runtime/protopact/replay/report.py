"""What is said when code and history disagree: plain data, as text for a terminal and as JSON for tools."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import Enum
from itertools import zip_longest

import msgspec

from protopact.replay.comparison import Difference

__all__ = ["Cause", "CauseKind", "Frame", "Report", "Side", "Stack"]

_COLUMN = 46
_LABEL = 27
_TEXT = 90


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the code that was at work.

    Attributes:
        file: Path of the file, as Python has it.
        line: Number of the line, from 1.
        function: Name of the function, with its class.
        code: The line itself; empty when the file cannot be read.
    """

    file: str
    line: int
    function: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Where a coroutine of the workflow was.

    Attributes:
        doing: What it did there: `called`, `cancelled`, `returned`, `raised` or `waits`.
        frames: Lines of the user's code, the most recent call last.
        task: Name of the asyncio task.
    """

    doing: str
    frames: tuple[Frame, ...]
    task: str = ""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two that disagree.

    Attributes:
        kind: Type of the event, or of the command.
        event_id: The event; 0 for a command.
        fields: What it says, in words, by the name of the field; payloads are decoded.
    """

    kind: str
    event_id: int = 0
    fields: dict[str, str] = {}

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"event {self.event_id}, {self.kind}" if self.event_id else self.kind


class CauseKind(Enum):
    """What most likely happened to the code."""

    INSERTED = "inserted call"
    REMOVED = "removed call"
    REORDERED = "reordered calls"
    RENAMED = "renamed"
    CHANGED_ID = "changed id"
    CHANGED_KIND = "changed kind"
    CHANGED_VALUE = "changed value"
    MISSING_PATCH = "missing patch"
    ENDED_EARLY = "ended early"
    ENDED_LATE = "ended late"
    ENDED_OTHERWISE = "ended otherwise"
    UNKNOWN_SIGNAL = "unknown signal"
    UNKNOWN_UPDATE = "unknown update"
    NOT_REPEATABLE = "not repeatable"
    UNKNOWN = "unknown"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The likely cause.

    Attributes:
        kind: Which of the known ones.
        text: The same in a sentence or two.
        cure: Python that keeps open runs as they are; empty when a patch is no cure.
    """

    kind: CauseKind
    text: str
    cure: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Where code and history disagree, and why they may.

    Attributes:
        workflow_type: Registered name of the workflow.
        workflow_id: Id of the workflow.
        run_id: The run.
        build_id: Build of the worker that replayed it; empty when none was said.
        recorded_build_id: Build of the worker that recorded what the code disagrees with; empty when history says none.
        recorded_deployment: Worker deployment of that build; empty when it has none.
        agreed: Last command event that the code agreed with; None when there is none.
        expected: What the history holds; None when it holds no more.
        produced: What the code asked for instead; None when it asked for nothing.
        differences: Fields in which an event and a command of the same kind differ, in strict mode.
        stacks: Where the code was: what produced the command first, or everything that waits.
        cause: The likely cause.
    """

    workflow_type: str
    workflow_id: str
    run_id: str
    build_id: str = ""
    recorded_build_id: str = ""
    recorded_deployment: str = ""
    agreed: Side | None = None
    expected: Side | None = None
    produced: Side | None = None
    differences: tuple[Difference, ...] = ()
    stacks: tuple[Stack, ...] = ()
    cause: Cause | None = None

    @property
    def source(self) -> Frame | None:
        """The line of the user's workflow that produced the command, or that waits; None when it is not known."""
        return self.stacks[0].frames[-1] if self.stacks and self.stacks[0].frames else None

    def to_json(self) -> str:
        """The report as JSON; its keys are the attributes."""
        return msgspec.json.encode(self).decode()

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"workflow {self.workflow_type} {self.workflow_id!r} ({self._run()}) does not follow its history"
        yield ""
        agreed = "nothing: this is the first command" if self.agreed is None else _agreed(self.agreed)
        yield f"  {'agrees up to':<{_LABEL}}{agreed}"
        yield ""
        yield from self._columns()
        for stack in self.stacks:
            yield ""
            task = f" by task {stack.task!r}" if stack.task and stack.task != "run" else ""
            for index, frame in enumerate(reversed(stack.frames)):
                label = f"{_DOING[stack.doing]}{task}" if index == 0 else "from"
                yield f"  {label:<{_LABEL}}{frame}"
                if frame.code:
                    yield f"  {'':<{_LABEL}}    {frame.code}"
        if self.cause is not None:
            yield ""
            lines = textwrap.wrap(f"{self.cause.kind.value}: {self.cause.text}", _TEXT)
            for index, line in enumerate(lines):
                yield f"  {'likely cause' if index == 0 else '':<{_LABEL}}{line}"
            if self.cause.cure:
                yield ""
                for index, line in enumerate(self.cause.cure.splitlines()):
                    yield f"  {'cure' if index == 0 else '':<{_LABEL}}{line}"

    def _run(self) -> str:
        run = f"run {self.run_id}"
        if self.build_id:
            run += f", build {self.build_id}"
        if self.recorded_build_id:
            run += f", recorded by build {self.recorded_build_id}"
        return f"{run} of deployment {self.recorded_deployment}" if self.recorded_deployment else run

    def _columns(self) -> Iterator[str]:
        expected, produced = self.expected, self.produced
        yield _row("", "the history holds", "the code asks for")
        yield _row(
            "",
            expected.title if expected is not None else "nothing more",
            produced.title if produced is not None else "nothing",
        )
        mine = {} if expected is None else expected.fields
        theirs = {} if produced is None else produced.fields
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            left, right = mine.get(name, ""), theirs.get(name, "")
            differ = name in mine and name in theirs and left != right
            lines = list(zip_longest(_wrapped(left), _wrapped(right), fillvalue=""))
            for index, (one, other) in enumerate(lines):
                label = f"{'* ' if differ else '  '}{name}" if index == 0 else ""
                yield _row(label, one, other)


_DOING = {
    "called": "called at",
    "cancelled": "cancelled; called at",
    "returned": "returned from",
    "raised": "raised at",
    "waits": "waits at",
}


def _agreed(side: Side) -> str:
    first = next(iter(side.fields.values()), "")
    return f"{side.title}{f' ({first})' if first else ''}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMN - 2, break_on_hyphens=False) or [""]


def _row(label: str, left: str, right: str) -> str:
    return f"  {f'{label}  ':<{_LABEL}}{f'{left}  ':<{_COLUMN}}{right}"
