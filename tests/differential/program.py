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


class Fail(_Node, frozen=True):
    """Raise what fails a run, or an update."""


class Trip(_Node, frozen=True):
    """Raise what fails the task, the first time that it runs."""


class Do(_Node, frozen=True):
    steps: tuple[Statement, ...]


class Gather(_Node, frozen=True):
    branches: tuple[Statement, ...]
    returns_exceptions: bool = False


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


Leaf: TypeAlias = Draw | Work | Start | Sleep | Pass | Bump | Wait | Settled | Fail | Trip | Cancel | Join
Branch: TypeAlias = Do | Gather | Within | Shield | Spawn | Rescue | Finally | Locked | If
Statement: TypeAlias = Leaf | Branch

_DECODER: msgspec.json.Decoder[Statement] = msgspec.json.Decoder(Statement)


def to_text(statement: Statement) -> str:
    return msgspec.json.encode(statement).decode()


def from_text(text: str) -> Statement:
    return _DECODER.decode(text)


_KINDS = st.sampled_from(["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"])
_SECONDS = st.sampled_from([1.0, 0.0, 2.0, 0.25, 5.0, 30.0])
_TASKS = st.integers(0, 3)

LEAVES: st.SearchStrategy[Statement] = st.one_of(
    st.builds(Work, _KINDS, st.booleans()),
    st.builds(Sleep, _SECONDS),
    st.builds(Bump),
    st.builds(Wait, st.integers(1, 3), st.none() | _SECONDS),
    st.builds(Cancel, _TASKS),
    st.builds(Start, _KINDS, st.booleans()),
    st.builds(Join, _TASKS),
    st.builds(Draw),
    st.builds(Pass),
    st.builds(Settled),
    st.builds(Fail),
    st.builds(Trip),
)


def _branches(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    steps = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Do, steps),
        st.builds(Do, steps),
        st.builds(Gather, steps, st.booleans()),
        st.builds(Within, _SECONDS, inner, st.booleans()),
        st.builds(Spawn, inner),
        st.builds(Rescue, inner, inner, st.booleans(), st.booleans()),
        st.builds(Shield, inner),
        st.builds(Finally, inner, inner),
        st.builds(Locked, inner),
        st.builds(If, inner, inner, st.none() | st.integers(0, 2)),
    )


STATEMENTS: st.SearchStrategy[Statement] = st.recursive(LEAVES, _branches, max_leaves=12)
SHORT_STATEMENTS: st.SearchStrategy[Statement] = st.recursive(LEAVES, _branches, max_leaves=4)
