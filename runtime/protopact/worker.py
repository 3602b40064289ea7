"""What a worker serves: workflow classes and activities instances, checked as a whole before anything is polled.

A workflow class claims itself, an activities instance claims its service's activities, and `services` claims
everything in a service. Claims are kept by registered name, aliases included. The code of workflow classes is checked
for what replay could not repeat, and has the determinism guard around it while it runs. Queues follow from the claims:
by default every queue that the claimed elements name in their contract, or the one that `task_queue` says.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast, get_type_hints

from protopact import contract
from protopact.activity import Activities
from protopact.determinism import guard
from protopact.determinism.check import check, render
from protopact.engine import WorkerOptions
from protopact.errors import RegistrationError
from protopact.workflow import Workflow

__all__ = [
    "RegisteredActivity",
    "RegisteredWorkflow",
    "Registry",
    "build_id_of",
    "registered_workflows",
    "takes_request",
]

_logger = logging.getLogger(__name__)

E = TypeVar("E", bound="RegisteredWorkflow | RegisteredActivity")


@dataclass(frozen=True, eq=False, slots=True)
class RegisteredWorkflow:
    """A workflow class, and the workflow of the contract that it implements."""

    contract: contract.Workflow[object, object]
    cls: type[Workflow]

    @property
    def owner(self) -> str:
        """What claims it, for messages."""
        return f"workflow class {_name(self.cls)}"


@dataclass(frozen=True, eq=False, slots=True)
class RegisteredActivity:
    """A method of an activities instance, and the activity of the contract that it implements.

    Attributes:
        contract: The activity.
        method: The bound method: takes the request, or nothing for `google.protobuf.Empty`.
        is_async: Whether it is `async def`; otherwise it runs in a thread.
        instance: What it is a method of.
    """

    contract: contract.Activity[object, object]
    method: Callable[..., object]
    is_async: bool
    instance: Activities

    @property
    def owner(self) -> str:
        """What claims it, for messages."""
        return f"activities {_name(type(self.instance))}"


class Registry:
    """What a worker serves, by registered name and alias.

    Attributes:
        workflows: Workflow classes.
        activities: Activities.
        workflow_queues: Task queues to poll for workflow tasks.
        activity_queues: Task queues to poll for activities. An activity whose contract names no queue is called on its
            workflow's queue, so it is served on the queues of the workflows here.
        unserved_queues: Queues that the contract names for what is claimed here and that this worker does not poll,
            because `task_queue` says another; with the registered names of the elements. They are logged as a warning.

    Raises:
        RegistrationError: What was given cannot be served; the message names everything that is wrong.
    """

    def __init__(self, options: WorkerOptions) -> None:
        problems = _check_limits(options)
        workflows = [found for cls in options.workflows if (found := _workflow(cls, problems))]
        activities = [found for instance in options.activities for found in _activities(instance, problems)]
        self.workflows = _claim(workflows, problems)
        self.activities = _claim(activities, problems)
        problems += self._unserved(options.services)
        problems += _conflicting_contracts(options)
        if not (options.workflows or options.activities or options.services):
            problems.append("nothing to serve: give it workflows=[...] or activities=[...]")
        self.workflow_queues, self.activity_queues = self._queues(options.task_queue, problems)
        if problems:
            raise RegistrationError("\n  - ".join(["this worker cannot serve what it was given:", *problems]))
        if workflows:
            guard.install()
        self.unserved_queues: Mapping[str, tuple[str, ...]] = self._unserved_queues(options.task_queue)
        for queue, names in self.unserved_queues.items():
            _logger.warning(
                "the worker polls task queue %r for everything it serves; nobody here serves task queue %r, "
                "which the contract names for %s",
                options.task_queue,
                queue,
                ", ".join(names),
            )

    def _unserved(self, services: Sequence[type]) -> list[str]:
        problems = list[str]()
        for service in services:
            described = _service_of(service)
            if described is None:
                problems.append(f"services: {_given(service)} is not a generated service class")
                continue
            missing = [
                f"workflow {each.name} (give workflows=[...] a subclass of its generated class)"
                for each in described.workflows
                if each.name not in self.workflows
            ]
            activities = [each.name for each in described.activities if each.name not in self.activities]
            if activities:
                missing.append(
                    f"activities {', '.join(activities)} (give activities=[...] an instance of a subclass of "
                    f"{_name(service)}.Activities)"
                )
            if missing:
                problems.append(f"services: {described.name} is not served as a whole; missing: {'; '.join(missing)}")
        return problems

    def _queues(self, task_queue: str | None, problems: list[str]) -> tuple[frozenset[str], frozenset[str]]:
        if task_queue is not None:
            only = frozenset([task_queue])
            return only if self.workflows else frozenset(), only if self.activities else frozenset()
        queues = {each.contract.name: each.contract.task_queue for each in self.workflows.values()}
        workflow_queues = frozenset(queue for queue in queues.values() if queue)
        queueless = [name for name, queue in queues.items() if not queue]
        queues = {each.contract.name: each.contract.task_queue for each in self.activities.values()}
        activity_queues = frozenset(queue for queue in queues.values() if queue)
        if None in queues.values():
            activity_queues |= workflow_queues
            if not workflow_queues:
                queueless += [name for name, queue in queues.items() if not queue]
        if queueless:
            problems.append(
                f"task_queue: the contract names no task queue for {', '.join(queueless)}; give task_queue="
            )
        return workflow_queues, activity_queues

    def _unserved_queues(self, task_queue: str | None) -> Mapping[str, tuple[str, ...]]:
        names = dict[str, dict[str, None]]()
        claimed: list[RegisteredWorkflow | RegisteredActivity] = [*self.workflows.values(), *self.activities.values()]
        for each in claimed:
            queue = each.contract.task_queue
            if task_queue is not None and queue is not None and queue != task_queue:
                names.setdefault(queue, {})[each.contract.name] = None
        return MappingProxyType({queue: tuple(found) for queue, found in names.items()})


def registered_workflows(classes: Sequence[type[Workflow]]) -> Mapping[str, RegisteredWorkflow]:
    """Workflow classes by registered name and alias, for who runs them without serving a queue.

    Raises:
        RegistrationError: The classes cannot be run; the message names everything that is wrong.
    """
    problems = list[str]()
    claimed = _claim([found for cls in classes if (found := _workflow(cls, problems))], problems)
    if not classes:
        problems.append("nothing to run: give it workflows=[...]")
    if problems:
        raise RegistrationError("\n  - ".join(["these workflows cannot be run:", *problems]))
    guard.install()
    return claimed


def build_id_of(workflows: Sequence[type[Workflow]]) -> str:
    """A digest of the modules that hold workflow classes: the same code has the same build in every process."""
    digest = hashlib.sha256()
    names = {base.__module__ for cls in workflows for base in cls.__mro__}
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            digest.update(name.encode())
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]


def _workflow(cls: type[Workflow], problems: list[str]) -> RegisteredWorkflow | None:
    # What is given comes from code that no type checker may have seen.
    given = cast("object", cls)
    if isinstance(given, Workflow):
        problems.append(f"workflows: an instance of {_name(type(given))} was given; give the class itself")
        return None
    described = _workflow_of(given)
    if described is None or not (inspect.isclass(given) and issubclass(given, Workflow)):
        problems.append(f"workflows: {_given(given)} is not a subclass of a generated workflow class")
        return None
    where = f"workflow class {_name(cls)} ({described.name})"
    if missing := _abstract(cls):
        problems.append(f"{where} does not implement {', '.join(missing)}")
        return None
    problems += [f"{where} cannot be created: {problem}" for problem in _check_constructor(cls, described)]
    problems += [f"{where}: {problem}" for problem in _check_handlers(cls, described)]
    if findings := [finding for finding in check(cls) if not finding.code.is_warning]:
        listed = "\n".join(map(render, findings)).replace("\n", "\n    ")
        problems.append(f"{where} does what replay could not repeat:\n    {listed}")
    return RegisteredWorkflow(described, cls)


def takes_request(cls: type[Workflow]) -> bool:
    """Whether the constructor of a workflow class takes the request of the run: it cannot be called without."""
    return not _binds(inspect.signature(cls))


def _binds(signature: inspect.Signature, *arguments: object) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _check_constructor(cls: type[Workflow], described: contract.Workflow[object, object]) -> Iterable[str]:
    signature, request = inspect.signature(cls), described.request.type
    if _binds(signature):
        return
    if request is type(None):
        yield f"__init__ must be callable without arguments: the workflow has no request (found {signature})"
    elif not _binds(signature, None):
        yield (
            f"__init__ must be callable without arguments, or with the {request.__name__} as its only argument "
            f"(found {signature})"
        )
    else:
        try:
            hints = get_type_hints(cls.__init__)
        except Exception:  # noqa: BLE001 - names that only type checkers see; the annotation may be right
            return
        parameter = next(iter(signature.parameters))
        hint: object = hints.get(parameter, request)
        if inspect.isclass(hint) and not issubclass(request, hint):
            yield (
                f"__init__ gets the request of the run: expected its parameter {parameter!r} to be a "
                f"{request.__name__}, found {hint.__name__}"
            )


def _check_handlers(cls: type[Workflow], described: contract.Workflow[object, object]) -> Iterable[str]:
    yield from _check_method(cls, "run", described.request, is_async=True)
    for query in described.queries:
        yield from _check_method(cls, query.method, query.request, is_async=False)
    for signal in described.signals:
        yield from _check_method(cls, f"on_{signal.signal.method}", signal.signal.request, is_async=True)
    for update in described.updates:
        yield from _check_method(cls, update.update.method, update.update.request, is_async=True)
        if update.validate:
            yield from _check_method(cls, f"validate_{update.update.method}", update.update.request, is_async=False)


def _check_method(
    cls: type[Workflow], name: str, request: contract.Message[object], *, is_async: bool
) -> Iterable[str]:
    method: object = inspect.getattr_static(cls, name, None)
    if method is None:
        return  # an optional handler
    if not inspect.isfunction(method):
        yield f"{name} must be a method of its instances, not a {type(method).__name__}"
        return
    if inspect.iscoroutinefunction(method) is not is_async or inspect.isasyncgenfunction(method):
        yield f"{name} must be {'an `async def`' if is_async else 'a plain `def`: it answers at once, without `await`'}"
    if problem := _arity_problem(method, request, bound=False):
        yield f"{name} {problem}"


def _activities(instance: Activities, problems: list[str]) -> list[RegisteredActivity]:
    # What is given comes from code that no type checker may have seen.
    given = cast("object", instance)
    if inspect.isclass(given) and issubclass(given, Activities):
        problems.append(
            f"activities: the class {_name(given)} was given; give an instance of it: {given.__name__}(...)"
        )
        return []
    described = _service_of(given)
    if described is None or not isinstance(given, Activities):
        problems.append(f"activities: {_given(given)} is not an instance of a generated Activities class")
        return []
    where = f"activities {_name(type(instance))} ({described.name})"
    found = list[RegisteredActivity]()
    for activity in described.activities:
        method = getattr(instance, activity.method, None)
        if not callable(method):
            problems.append(f"{where}: {activity.method} must be a method, for {activity.name}")
        elif inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            problems.append(f"{where}: {activity.method} yields; an activity returns its response")
        elif problem := _arity_problem(method, activity.request, bound=True):
            problems.append(f"{where}: {activity.method} {problem}")
        else:
            found.append(RegisteredActivity(activity, method, inspect.iscoroutinefunction(method), instance))
    return found


def _arity_problem(method: Callable[..., object], request: contract.Message[object], *, bound: bool) -> str | None:
    arguments = ([] if bound else [None]) + ([] if request.type is type(None) else [None])
    try:
        inspect.signature(method).bind(*arguments)
    except ValueError:
        return None  # a callable that does not tell its signature
    except TypeError as error:
        takes = "no argument" if request.type is type(None) else f"one positional argument, the {request.type.__name__}"
        return f"must take {takes} ({error})"
    return None


def _claim(entries: Sequence[E], problems: list[str]) -> Mapping[str, E]:
    claimed = dict[str, E]()
    for entry in entries:
        for name in dict.fromkeys((entry.contract.name, *entry.contract.aliases)):
            first = claimed.setdefault(name, entry)
            if first is not entry:
                problems.append(
                    f"the name {name} is claimed twice: by {first.owner} ({first.contract.name}) "
                    f"and by {entry.owner} ({entry.contract.name})"
                )
    return MappingProxyType(claimed)


def _conflicting_contracts(options: WorkerOptions) -> Iterable[str]:
    seen = dict[str, tuple[contract.Service, str]]()
    given: list[object] = [*options.activities, *options.services]
    for element in given:
        described = _service_of(element)
        if described is None:
            continue
        where = _name(element if inspect.isclass(element) else type(element))
        first, elsewhere = seen.setdefault(described.name, (described, where))
        if first.digest != described.digest:
            yield (
                f"two versions of the contract of {described.name} are mixed: {elsewhere} and {where} were generated "
                f"from different contracts; generate both from {described.source} again"
            )


def _check_limits(options: WorkerOptions) -> list[str]:
    problems = list[str]()
    for name in ("max_concurrent_activities", "max_concurrent_local_activities"):
        if getattr(options, name) < 1:
            problems.append(f"{name} must be at least 1, not {getattr(options, name)}")
    if options.max_cached_workflows < 0:
        problems.append(f"max_cached_workflows must not be negative, not {options.max_cached_workflows}")
    if options.graceful_shutdown_timeout < timedelta(0):
        problems.append(f"graceful_shutdown_timeout must not be negative, not {options.graceful_shutdown_timeout}")
    if options.task_queue == "":
        problems.append("task_queue must not be empty; leave it out to poll the queues that the contract names")
    problems += [
        f"workflow_failure_exception_types: {_given(given)} is not an exception class"
        for given in cast("Sequence[object]", options.workflow_failure_exception_types)
        if not (inspect.isclass(given) and issubclass(given, Exception))
    ]
    return problems


def _workflow_of(element: object) -> contract.Workflow[object, object] | None:
    described = _described(element)
    return cast("contract.Workflow[object, object]", described) if isinstance(described, contract.Workflow) else None


def _service_of(element: object) -> contract.Service | None:
    described = _described(element)
    return described if isinstance(described, contract.Service) else None


def _described(element: object) -> object:
    describe: object = getattr(element, "__protopact__", None)
    return describe() if callable(describe) else None


def _abstract(cls: type) -> list[str]:
    return sorted(getattr(cls, "__abstractmethods__", ()))


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _given(value: object) -> str:
    return _name(value) if inspect.isclass(value) else f"{value!r} (of type {type(value).__name__})"
