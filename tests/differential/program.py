"""Programs that workflows interpret: a tree of statements, its text, and the strategy that draws one.

A program travels as text within the requests, signals and updates of the history that it makes, so that a history says
by itself what must be run to replay it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, cast, get_args

import msgspec
from hypothesis import strategies as st

Kind: TypeAlias = Literal["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"]
ChildKind: TypeAlias = Literal[Kind, "WAIT_CANCELLATION_REQUESTED"]
ParentClose: TypeAlias = Literal["TERMINATE", "ABANDON", "REQUEST_CANCEL"]
Reuse: TypeAlias = Literal["ALLOW_DUPLICATE", "REJECT_DUPLICATE", "ALLOW_DUPLICATE_FAILED_ONLY"]
Whom: TypeAlias = Literal["p", "p.0", "p.1", "nobody"]
"""Ids of workflows: the run that is started, its children, and one that is never there."""


class _Node(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


class Draw(_Node, frozen=True):
    """Draw a random number."""


class Work(_Node, frozen=True):
    """Call an activity and await it. A stubborn one does not obey the first cancellation; a lost one never starts."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False
    is_lost: bool = False


class Start(_Node, frozen=True):
    """Call an activity; its handle is one of the tasks."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False
    is_lost: bool = False


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
    """Call an activity locally and await it. A patient one waits on a timer before each attempt but the first."""

    kind: Kind = "TRY_CANCEL"
    stubborn: bool = False
    is_patient: bool = False


class Child(_Node, frozen=True):
    """Start a child, which runs the body, and await it; or only its start: its handle is then one of the tasks."""

    body: Statement
    number: int = 0
    kind: ChildKind = "WAIT_CANCELLATION_COMPLETED"
    parent_close: ParentClose = "TERMINATE"
    reuse: Reuse = "ALLOW_DUPLICATE"
    seconds: float | None = None
    is_left: bool = False


class Tell(_Node, frozen=True):
    """Signal one of the children that were started."""

    does: Statement
    child: int = 0


class TellOther(_Node, frozen=True):
    """Signal a workflow by its id."""

    whom: Whom
    does: Statement


class CancelOther(_Node, frozen=True):
    """Ask a workflow to cancel, by its id."""

    whom: Whom


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


class Return(_Node, frozen=True):
    """End the run, or the handler."""


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
    """Cancel one of the tasks that were started; -1 is the last."""

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


_Act: TypeAlias = Work | Start | Local | SideEffect | Sleep | Continue | Return | Fail | Trip
_Own: TypeAlias = Draw | Pass | Bump | Wait | Settled | Patch | Upsert | Cancel | Join
_Other: TypeAlias = Child | Tell | TellOther | CancelOther
_Many: TypeAlias = Do | Gather | Group | First | Each
_One: TypeAlias = Within | Shield | Spawn | Rescue | Finally | Locked | If
Statement: TypeAlias = _Act | _Own | _Other | _Many | _One

_DECODER: msgspec.json.Decoder[Statement] = msgspec.json.Decoder(Statement)


def to_text(statement: Statement) -> str:
    return msgspec.json.encode(statement).decode()


def from_text(text: str) -> Statement:
    return _DECODER.decode(text)


def parts(statement: object) -> Iterator[Statement]:
    """A statement, and all within it."""
    if isinstance(statement, tuple):
        for each in cast("tuple[object, ...]", statement):
            yield from parts(each)
    elif isinstance(statement, _Node):
        yield cast("Statement", statement)
        for name in statement.__struct_fields__:
            yield from parts(getattr(statement, name))


def cancelled(body: Statement, meanwhile: Sequence[Statement]) -> Do:
    """The body in a task of its own, and what happens before it is cancelled: at once, while it runs, or after it."""
    return Do((Spawn(body), *meanwhile, Cancel(-1), JOINED))


JOINED = Rescue(Join(-1), Pass())
"""The last task is awaited, whatever becomes of it."""

_KINDS: st.SearchStrategy[Kind] = st.sampled_from(get_args(Kind))
_SECONDS = st.sampled_from([1.0, 0.0, 2.0, 0.25, 5.0, 30.0])
_TASKS = st.integers(-1, 3)
_NUMBERS = st.integers(0, 1)
_SELDOM = st.sampled_from([False, False, False, True])
_WHOM: st.SearchStrategy[Whom] = st.sampled_from(["p.0", "p", "p.1", "nobody", "p.0"])
_MEANWHILE: st.SearchStrategy[tuple[Statement, ...]] = st.sampled_from(
    [
        (Sleep(0.25),),
        (Sleep(1.5),),
        (Sleep(0.25),),
        (),
        (Pass(),),
        (JOINED,),
        (Sleep(1.5), Cancel(-1), Pass()),
        (Pass(), Sleep(0.25), Sleep(1.5)),
    ]
)
"""What happens before something is cancelled."""

_ACTIVITIES = st.one_of(
    st.builds(Work, _KINDS, st.booleans(), _SELDOM),
    st.builds(Start, _KINDS, st.booleans(), _SELDOM),
    st.builds(Local, _KINDS, st.booleans(), st.booleans()),
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
_OTHERS = st.one_of(
    st.builds(CancelOther, _WHOM),
    st.builds(Tell, st.just(Bump()), _NUMBERS),
    st.builds(TellOther, _WHOM, st.just(Bump())),
)
_ENDS = st.sampled_from([Fail(), Trip(), Continue(), Continue(), Return()])


def rescued(body: Statement) -> Rescue:
    """The body, whose failure is no end."""
    return Rescue(body, Pass())


# What ends a run early is drawn seldom.
_LEAVES: st.SearchStrategy[Statement] = st.one_of(
    _ACTIVITIES,
    _WAITS,
    _ACTIVITIES,
    _WAITS,
    _STEPS,
    _ACTIVITIES,
    _WAITS,
    _STEPS,
    _OTHERS,
    _OTHERS.map(rescued),
    st.builds(cancelled, _ACTIVITIES, _MEANWHILE),
    _ENDS,
)


def _child(body: st.SearchStrategy[Statement], *, is_left: bool = False) -> st.SearchStrategy[Child]:
    return st.builds(
        Child,
        body | st.builds(Do, st.tuples(body, st.sampled_from([Wait(2), Sleep(30.0), Work()]))),
        _NUMBERS,
        st.sampled_from(get_args(ChildKind)),
        st.sampled_from(get_args(ParentClose)),
        st.sampled_from(get_args(Reuse)),
        st.none() | st.sampled_from([5.0, 30.0]),
        st.just(is_left),
    )


def _visited(child: Child, meanwhile: Sequence[Statement]) -> Do:
    """A child that is started, what happens while it runs, and its end."""
    return Do((rescued(child), *meanwhile, JOINED))


def _started_and_cancelled(start: Start, meanwhile: Sequence[Statement]) -> Do:
    """An activity that is cancelled by its handle."""
    return Do((start, *meanwhile, Cancel(-1), JOINED))


def _branches(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    steps = st.lists(inner, min_size=2, max_size=4).map(tuple)
    visits = st.lists(st.one_of(_MEANWHILE.map(Do), _OTHERS.map(rescued), inner), max_size=3)
    return st.one_of(
        st.builds(Do, steps),
        st.builds(Do, steps),
        st.builds(Gather, steps, st.booleans()),
        st.builds(Group, steps),
        st.builds(First, steps, st.none() | _SECONDS, st.booleans()),
        st.builds(Each, steps, st.none() | _SECONDS),
        st.builds(Within, _SECONDS, inner, st.booleans()),
        st.builds(Spawn, inner),
        st.builds(cancelled, inner, _MEANWHILE),
        st.builds(Rescue, inner, inner, st.booleans(), st.booleans()),
        st.builds(Shield, inner),
        st.builds(Finally, inner, inner),
        st.builds(Locked, inner),
        st.builds(If, inner, inner, st.none() | st.integers(0, 2)),
        _child(inner),
        st.builds(_visited, _child(inner, is_left=True), visits),
        st.builds(cancelled, _child(inner), _MEANWHILE),
        st.builds(Tell, inner, _NUMBERS) | st.builds(TellOther, _WHOM, inner),
    )


_STATEMENTS: st.SearchStrategy[Statement] = st.recursive(_LEAVES, _branches, max_leaves=8)
MESSAGES: st.SearchStrategy[Statement] = st.recursive(_LEAVES, _branches, max_leaves=4)
"""What a signal or an update does."""

_BODIES: st.SearchStrategy[Statement] = st.lists(_LEAVES, min_size=1, max_size=2).map(tuple).map(Do)
_SCENES: st.SearchStrategy[Statement] = st.one_of(
    st.builds(cancelled, st.builds(Work, _KINDS, st.booleans(), _SELDOM), _MEANWHILE),
    st.builds(cancelled, st.builds(Local, _KINDS, st.booleans(), st.booleans()), _MEANWHILE),
    st.builds(cancelled, st.builds(Local, _KINDS, st.booleans()), _MEANWHILE),
    st.builds(_started_and_cancelled, st.builds(Start, _KINDS, st.booleans(), _SELDOM), _MEANWHILE),
    st.builds(cancelled, _child(_BODIES), _MEANWHILE),
    st.builds(_visited, _child(_BODIES, is_left=True), st.lists(_OTHERS.map(rescued) | _LEAVES, max_size=3)),
    st.just(Do((Wait(1), Continue()))),
)
"""What is cancelled, and children, which a tree of everything comes to too seldom."""

PROGRAMS: st.SearchStrategy[Statement] = st.builds(
    Do, st.lists(st.one_of(_STATEMENTS, _STATEMENTS.map(rescued), _SCENES), min_size=1, max_size=5).map(tuple)
)
"""What a run does."""
