"""Generated workflow classes as Temporal workflow definitions: what a worker or a replayer of the SDK is given.

A definition is a class with Temporal's decorators whose handlers take and return raw payloads; the user's class, our
converter and our interceptors work behind it, in a `WorkflowRun`. Temporal's sandbox imports the class of a definition
anew for each run, by `from <module> import <name>`. This package is passed through, so that it is this module that is
asked: `__getattr__` has the sandbox import the module of the user's class, and answers with the one definition that
there is. The run then finds the user's class among the modules of its sandbox.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior

from protopact import contract
from protopact.replay.definition import Definition, ReceivedSignal
from protopact.temporal.run import NO_REQUEST, Serving, WorkflowRun
from protopact.temporal.source import ClassSource

__all__ = ["WorkflowDefinition", "define"]

_ABANDON = workflow.HandlerUnfinishedPolicy.ABANDON
"""The run logs itself what it leaves undone."""


class WorkflowDefinition:
    """Root of the definitions. One instance is one run, made by the SDK in the loop of the run."""

    __protopact_serving__: Serving
    __protopact_source__: ClassSource | None

    def __init__(self, request: RawValue) -> None:
        serving, source = self.__protopact_serving__, self.__protopact_source__
        definition = serving.definition
        cls, failure_types = definition.workflow, tuple(definition.failure_exception_types)
        if source is not None and workflow.unsafe.in_sandbox():
            cls, failure_types = source.imported(), (*failure_types, *source.imported_failure_types())
        self.run_of_user = WorkflowRun(serving, cls, failure_types, request)


_definitions: WeakValueDictionary[str, type[WorkflowDefinition]] = WeakValueDictionary()
_numbers = itertools.count(1)


def define(serving: Serving, *, sandboxed: bool = True) -> list[type]:
    """Temporal's definitions of a workflow class: one for its registered name, and one for each alias.

    Args:
        serving: The class and what goes with it.
        sandboxed: Whether its runs are in Temporal's sandbox.

    Raises:
        RegistrationError: The sandbox cannot import the class.
    """
    definition = serving.definition
    source = ClassSource.of(definition.workflow, definition.failure_exception_types) if sandboxed else None
    own = definition.contract
    members = {
        **_handlers(definition),
        "__module__": __name__,
        "__doc__": definition.workflow.__doc__,
        "__protopact_serving__": serving,
        "__protopact_source__": source,
    }
    return [_define(name, own, members, sandboxed=sandboxed) for name in dict.fromkeys((own.name, *own.aliases))]


def _define(
    workflow_name: str, own: contract.Workflow[object, object], members: Mapping[str, object], *, sandboxed: bool
) -> type[WorkflowDefinition]:
    name = f"{re.sub(r'[^0-9A-Za-z]', '_', workflow_name)}_{next(_numbers)}"

    class Methods(WorkflowDefinition):
        def __init__(self, request: RawValue = NO_REQUEST) -> None:
            WorkflowDefinition.__init__(self, request)

        async def run(self, request: RawValue = NO_REQUEST) -> RawValue:  # noqa: ARG002 - the constructor has it
            return await self.run_of_user.execute()

    functions: dict[str, Any] = {"__init__": Methods.__init__, "run": Methods.run}
    for key, function in functions.items():
        function.__qualname__ = f"{name}.{key}"  # the SDK demands that it stands in the class, and reads it there
    functions = {"__init__": workflow.init(functions["__init__"]), "run": workflow.run(functions["run"])}
    made = type(name, (WorkflowDefinition,), {**members, **functions})
    behavior = own.versioning_behavior
    workflow.defn(
        name=workflow_name,
        sandboxed=sandboxed,
        versioning_behavior=VersioningBehavior.UNSPECIFIED if behavior is None else VersioningBehavior[behavior.name],
    )(made)
    _definitions[name] = made
    return made


def __getattr__(name: str) -> type[WorkflowDefinition]:
    """A definition, for the sandbox that imports it."""
    definition = _definitions.get(name)
    if definition is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    source = definition.__protopact_source__
    if source is not None and workflow.unsafe.in_sandbox():
        source.load()
    return definition


# -- handlers


def _handlers(definition: Definition) -> dict[str, object]:
    """Methods for signals, queries and updates by name and alias, and for whatever other name is called."""
    members = dict(_UNKNOWN)
    for name, received in definition.signals.items():
        members[f"signal {name}"] = _signal(name, received, is_intercepted=bool(definition.hooks["handle_signal"]))
    for name, query in definition.queries.items():
        members[f"query {name}"] = _query(name, query)
    for name, ref in definition.updates.items():
        members[f"update {name}"] = _update(name, ref)
    return members


def _signal(name: str, received: ReceivedSignal, *, is_intercepted: bool) -> object:
    class Methods(WorkflowDefinition):
        async def handle(self, request: RawValue = NO_REQUEST) -> None:
            await self.run_of_user.handle_signal(received, request)

        def deliver(self, request: RawValue = NO_REQUEST) -> None:
            self.run_of_user.deliver_signal(received, request)

    decorate = workflow.signal(name=name, unfinished_policy=_ABANDON)
    return decorate(Methods.handle if is_intercepted or received.handler is not None else Methods.deliver)


def _query(name: str, query: contract.Query[object, object]) -> object:
    class Methods(WorkflowDefinition):
        def answer(self, request: RawValue = NO_REQUEST) -> RawValue:
            return self.run_of_user.answer_query(query, request)

    return workflow.query(name=name)(Methods.answer)


def _update(name: str, ref: contract.UpdateRef[object, object]) -> object:
    class Methods(WorkflowDefinition):
        async def handle(self, request: RawValue = NO_REQUEST) -> RawValue:
            return await self.run_of_user.handle_update(ref, request)

        def validate(self, request: RawValue = NO_REQUEST) -> None:
            self.run_of_user.validate_update(ref, request)

    return _validated(workflow.update(name=name, unfinished_policy=_ABANDON)(Methods.handle), Methods.validate)


def _validated(handler: Any, validator: Callable[..., None]) -> object:  # noqa: ANN401 - the decorator's own protocol
    handler.validator(validator)
    return handler


class _Unknown(WorkflowDefinition):
    """Handlers of names that the class does not have."""

    def signal(self, name: str, _requests: Sequence[RawValue]) -> None:
        self.run_of_user.note_unknown_signal(name)

    def query(self, name: str, _requests: Sequence[RawValue]) -> None:
        self.run_of_user.refuse_query(name)

    async def update(self, name: str, _requests: Sequence[RawValue]) -> None:
        self.run_of_user.refuse_update(name)

    def validate(self, name: str, _requests: Sequence[RawValue]) -> None:
        self.run_of_user.refuse_update(name)


_UNKNOWN: dict[str, object] = {
    "unknown_signal": workflow.signal(dynamic=True, unfinished_policy=_ABANDON)(_Unknown.signal),
    "unknown_query": workflow.query(dynamic=True)(_Unknown.query),
    "unknown_update": _validated(
        workflow.update(dynamic=True, unfinished_policy=_ABANDON)(_Unknown.update), _Unknown.validate
    ),
}
