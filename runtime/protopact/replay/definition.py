"""What the core knows of a workflow class: its contract, its handlers, its converters and its hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from protopact import contract as ct
from protopact.errors import FailureError, RegistrationError
from protopact.failure import FailureConverter
from protopact.interceptor import Interceptor
from protopact.payload import PayloadConverter
from protopact.worker import takes_request
from protopact.workflow import SignalChannelOf, Workflow

__all__ = ["Definition", "ReceivedSignal"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")

_HOOKS = (
    "execute_workflow",
    "handle_signal",
    "handle_query",
    "validate_update",
    "handle_update",
    "start_activity",
    "continue_as_new",
    "start_child_workflow",
    "signal_external_workflow",
    "cancel_external_workflow",
    "start_local_activity",
)


@dataclass(frozen=True, eq=False, slots=True)
class ReceivedSignal:
    """A signal that a workflow class receives.

    Attributes:
        signal: The contract's signal.
        handler: Method that handles it; None when its channel takes it.
    """

    signal: ct.Signal[object]
    handler: str | None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Definition:
    """A workflow class, ready to be run.

    Attributes:
        workflow: The class.
        converter: Turns messages into payloads and back.
        failures: Turns exceptions into failures and back.
        failure_exception_types: Exceptions that fail the run instead of its task, beside protopact's failures, the
            builtin `TimeoutError` and what the class lists.
        interceptors: Hooks around the workflow's code, the first one outermost.
        checks_origin: Whether a run is refused that was started under a contract which is not known here: what workers
            do, and replaying a stored history does not.
        contract: The contract that the class implements.
        failure_types: All exceptions that fail the run instead of its task.
        signals: Signals by name and alias.
        updates: Updates by name and alias.
        queries: Queries by name and alias.
        takes_request: Whether the constructor of the class takes the request.
        hooks: For each hook inside the workflow, those that an interceptor overrides, the innermost first.

    Raises:
        RegistrationError: The class hides the channel of a signal.
    """

    workflow: type[Workflow]
    converter: PayloadConverter
    failures: FailureConverter
    failure_exception_types: Sequence[type[BaseException]] = ()
    interceptors: Sequence[Interceptor] = ()
    checks_origin: bool = False
    contract: ct.Workflow[object, object] = field(init=False)
    failure_types: tuple[type[BaseException], ...] = field(init=False)
    signals: Mapping[str, ReceivedSignal] = field(init=False)
    updates: Mapping[str, ct.UpdateRef[object, object]] = field(init=False)
    queries: Mapping[str, ct.Query[object, object]] = field(init=False)
    takes_request: bool = field(init=False)
    hooks: Mapping[str, tuple[Callable[[Any, Any], Any], ...]] = field(init=False)  # of as many signatures

    def __post_init__(self) -> None:
        """Look up once what every run needs."""
        cls, own = self.workflow, self.workflow.__protopact__()
        derived: dict[str, object] = {
            "contract": own,
            "failure_types": (
                FailureError,
                TimeoutError,
                *self.failure_exception_types,
                *cls.__failure_exception_types__,
            ),
            "signals": _by_name((ref.signal, _received(cls, ref.signal)) for ref in own.signals),
            "updates": _by_name((ref.update, ref) for ref in own.updates),
            "queries": _by_name((query, query) for query in own.queries),
            "takes_request": takes_request(cls),
            "hooks": {
                hook: tuple(
                    getattr(interceptor, hook)
                    for interceptor in reversed(self.interceptors)
                    if getattr(type(interceptor), hook) is not getattr(Interceptor, hook)
                )
                for hook in _HOOKS
            },
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def around(self, hook: str, innermost: Callable[[C], R]) -> Callable[[C], R]:
        """`innermost` within a hook of every interceptor, the first one outermost."""
        call = innermost
        for each in self.hooks[hook]:
            call = _within(each, call)
        return call


def _within(hook: Callable[[C, Callable[[C], R]], R], inner: Callable[[C], R]) -> Callable[[C], R]:
    return lambda call: hook(call, inner)


def _by_name(
    elements: Iterable[tuple[ct.Signal[object] | ct.Update[object, object] | ct.Query[object, object], T]],
) -> dict[str, T]:
    return {name: found for element, found in elements for name in (element.name, *element.aliases)}


def _received(cls: type[Workflow], signal: ct.Signal[object]) -> ReceivedSignal:
    descriptor = getattr(cls, signal.method, None)
    if not isinstance(descriptor, SignalChannelOf):
        raise RegistrationError(
            f"workflow class {cls.__qualname__} hides the channel of signal {signal.name}: expected its attribute "
            f"{signal.method!r} to be as generated, found {descriptor!r}. Rename yours."
        )
    return ReceivedSignal(signal, descriptor.handler_of(cls))
