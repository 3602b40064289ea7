"""Programs that workflows interpret: a tree of statements, its text, and the strategy that draws one.

A program travels as text within the requests, signals and updates of the history that it makes, so that a history says
by itself what must be run to replay it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st

Kind: TypeAlias = Literal["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"]


class _Node(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Draw(_Node, frozen=True):
    """Draw a random number."""


class Work(_Node, frozen=True):
    """Call an activity and await it. A stubborn one does not obey the first cancellation."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False


class Start(_Node, frozen=True):
    """Call an activity; its handle is one of the tasks."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False


class Sleep(_Node, frozen=True):
    seconds: float = 1


class Pass(_Node, frozen=True):
    """Let others run."""


class Bump(_Node, frozen=True):
    """Count one more."""


class Wait(_Node, frozen=True):
    """Wait for the count."""

    count: int = 1
    seconds: float | None = None


class Settled(_Node, frozen=True):
    """Wait until no handler runs."""


class Local(_Node, frozen=True):
    """Call an activity locally and await it."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False


class SideEffect(_Node, frozen=True):
    """Draw a value that history keeps."""


class Patch(_Node, frozen=True):
    """Ask for a patch, or deprecate it."""

    name: str = "a"
    is_deprecated: bool = False


class Upsert(_Node, frozen=True):
    """Set the memo, or a search attribute; None removes it."""

    value: int | None = None
    sets_memo: bool = False


class Continue(_Node, frozen=True):
    """Go on as a new run, which draws a number."""


class Fail(_Node, frozen=True):
    """Raise what fails a run, or an update."""


class Trip(_Node, frozen=True):
    """Raise what fails the task, the first time that it runs."""


class Do(_Node, frozen=True):
    steps: tuple[Statement, ...]


class Gather(_Node, frozen=True):
    branches: tuple[Statement, ...]
    returns_exceptions: bool = False


class Group(_Node, frozen=True):
    """A task group."""

    branches: tuple[Statement, ...]


class First(_Node, frozen=True):
    """Wait for the first task of several, for so long, and cancel the others."""

    branches: tuple[Statement, ...]
    seconds: float | None = None
    on_error: bool = False


class Each(_Node, frozen=True):
    """Results as they come."""

    branches: tuple[Statement, ...]
    seconds: float | None = None


class Within(_Node, frozen=True):
    """`asyncio.timeout` around the body, or `asyncio.wait_for`."""

    seconds: float
    body: Statement
    waits: bool = False


class Shield(_Node, frozen=True):
    body: Statement


class Spawn(_Node, frozen=True):
    """Start a task."""

    body: Statement


class Cancel(_Node, frozen=True):
    """Cancel one of the tasks that were started."""

    task: int = 0


class Join(_Node, frozen=True):
    """Await one of the tasks that were started."""

    task: int = 0


class Rescue(_Node, frozen=True):
    """What to do about an exception: of any kind, cancellation too, or about failures only."""

    body: Statement
    then: Statement
    catches_cancellation: bool = False
    raises_again: bool = False


class Finally(_Node, frozen=True):
    body: Statement
    then: Statement


class Locked(_Node, frozen=True):
    body: Statement


class If(_Node, frozen=True):
    """By the count, or by a random number."""

    then: Statement
    otherwise: Statement
    count: int | None = None


_Act: TypeAlias = Work | Start | Local | SideEffect | Sleep | Continue | Fail | Trip
_Own: TypeAlias = Draw | Pass | Bump | Wait | Settled | Patch | Upsert | Cancel | Join
_Many: TypeAlias = Do | Gather | Group | First | Each
_One: TypeAlias = Within | Shield | Spawn | Rescue | Finally | Locked | If
Statement: TypeAlias = _Act | _Own | _Many | _One

_DECODER: msgspec.json.Decoder[Statement] = msgspec.json.Decoder(Statement)


def to_text(statement: Statement) -> str:
    return msgspec.json.encode(statement).decode()


def from_text(text: str) -> Statement:
    return _DECODER.decode(text)


_KINDS = st.sampled_from(["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"])
_SECONDS = st.sampled_from([1.0, 0.0, 2.0, 0.25, 5.0, 30.0])
_TASKS = st.integers(0, 3)

_ACTIVITIES = st.one_of(
    st.builds(Work, _KINDS, st.booleans()),
    st.builds(Start, _KINDS, st.booleans()),
    st.builds(Local, _KINDS, st.booleans()),
)
_WAITS = st.one_of(
    st.builds(Sleep, _SECONDS),
    st.builds(Wait, st.integers(1, 3), st.none() | _SECONDS),
    st.builds(Join, _TASKS),
    st.builds(Settled),
    st.builds(Pass),
)
_STEPS = st.one_of(
    st.builds(Bump),
    st.builds(Cancel, _TASKS),
    st.builds(Draw),
    st.builds(Patch, st.sampled_from(["a", "b"]), st.booleans()),
    st.builds(Upsert, st.none() | st.integers(0, 2), st.booleans()),
    st.builds(SideEffect),
)
_ENDS = st.sampled_from([Fail(), Trip(), Continue()])
# What ends a run early is drawn seldom.
_LEAVES: st.SearchStrategy[Statement] = st.one_of(
    _ACTIVITIES, _WAITS, _ACTIVITIES, _WAITS, _STEPS, _ACTIVITIES, _WAITS, _STEPS, _ENDS
)


def _branches(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    steps = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Do, steps),
        st.builds(Do, steps),
        st.builds(Gather, steps, st.booleans()),
        st.builds(Group, steps),
        st.builds(First, steps, st.none() | _SECONDS, st.booleans()),
        st.builds(Each, steps, st.none() | _SECONDS),
        st.builds(Within, _SECONDS, inner, st.booleans()),
        st.builds(Spawn, inner),
        st.builds(Rescue, inner, inner, st.booleans(), st.booleans()),
        st.builds(Shield, inner),
        st.builds(Finally, inner, inner),
        st.builds(Locked, inner),
        st.builds(If, inner, inner, st.none() | st.integers(0, 2)),
    )


_STATEMENTS: st.SearchStrategy[Statement] = st.recursive(_LEAVES, _branches, max_leaves=8)
MESSAGES: st.SearchStrategy[Statement] = st.recursive(_LEAVES, _branches, max_leaves=4)
"""What a signal or an update does."""

PROGRAMS: st.SearchStrategy[Statement] = st.builds(Do, st.lists(_STATEMENTS, min_size=1, max_size=5).map(tuple))
"""What a run does."""
