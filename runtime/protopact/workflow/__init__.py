"""What workflow code is written with: the base class, timers, conditions, channels, time, randomness and logging.

`asyncio.wait`, `asyncio.as_completed` and `asyncio.TaskGroup` iterate over sets, which on Temporal are in another order
on replay: `wait`, `as_completed` and `TaskGroup` here are in order on both engines.

Everything here works only inside a workflow, on either engine, and is the same on every replay. `asyncio` works too:
`asyncio.sleep` and `asyncio.timeout` are durable timers; tasks, events, locks and queues are deterministic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar, NoReturn, TypedDict, TypeVar

from protopact import contract
from protopact.errors import OptionError
from protopact.options import check as check_options
from protopact.policy import (
    ActivityOptions,
    ContinueAsNewOptions,
    LocalActivityOptions,
    SearchAttributeValue,
)
from protopact.workflow import unsafe
from protopact.workflow._children import (
    ChildWorkflowHandle,
    ExternalWorkflowHandle,
    execute_child_workflow,
    external_workflow,
    signal_child_workflow,
    signal_external_workflow,
    start_child_workflow,
)
from protopact.workflow._logging import logger
from protopact.workflow._ordered import TaskGroup, as_completed, wait
from protopact.workflow._runtime import (
    RUNTIME_ATTRIBUTE,
    ActivityHandle,
    ChildRun,
    Info,
    ParentInfo,
    Runtime,
    find_runtime,
    get_runtime,
    uuid4,
)
from protopact.workflow._signals import SignalChannel, SignalChannelOf

__all__ = [
    "RUNTIME_ATTRIBUTE",
    "ActivityHandle",
    "ChildRun",
    "ChildWorkflowHandle",
    "ExternalWorkflowHandle",
    "Info",
    "ParentInfo",
    "Runtime",
    "SignalChannel",
    "SignalChannelOf",
    "TaskGroup",
    "Workflow",
    "all_handlers_finished",
    "as_completed",
    "continue_as_new",
    "deprecate_patch",
    "execute_child_workflow",
    "external_workflow",
    "in_workflow",
    "info",
    "is_replaying",
    "logger",
    "memo",
    "now",
    "patched",
    "random",
    "search_attributes",
    "side_effect",
    "signal_child_workflow",
    "signal_external_workflow",
    "sleep",
    "start_activity",
    "start_child_workflow",
    "start_local_activity",
    "time_ns",
    "unsafe",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "wait",
    "wait_condition",
]

T = TypeVar("T")


class _Upsert(TypedDict, total=False):
    memo: Mapping[str, str | None]
    search_attributes: Mapping[str, SearchAttributeValue | None]


class Workflow(ABC):
    """Root of every workflow class; generated code derives an abstract class per workflow from it.

    One instance is one run. Its `__init__` takes no argument, or one: the request, which `run` gets too. It runs before
    the first signal or update is delivered, and those may be delivered before `run` begins; it obeys the rules of
    workflow code. Whatever handlers rely on is set there::

        class AddNode(node.AddNode):
            def __init__(self, request: AddNodeRequest) -> None:
                self.machine_type = request.machine_type

    Exceptions other than protopact's failures fail the workflow task, which is retried until the code is fixed. A class
    that wants some of them to fail the run says so::

        class AddNode(node.AddNode, failure_exception_types=[ValueError]): ...
    """

    __failure_exception_types__: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init_subclass__(cls, *, failure_exception_types: Sequence[type[Exception]] = (), **kwargs: Any) -> None:  # noqa: ANN401 - whatever other base classes take
        """Take the class's `failure_exception_types`; subclasses inherit them."""
        super().__init_subclass__(**kwargs)
        if failure_exception_types:
            cls.__failure_exception_types__ = (*cls.__failure_exception_types__, *failure_exception_types)

    @classmethod
    @abstractmethod
    def __protopact__(cls) -> contract.Workflow[object, object]:
        """The contract that the class implements; generated code defines it."""


def in_workflow() -> bool:
    """Whether the caller is workflow code."""
    return find_runtime() is not None


def info() -> Info:
    """What is known of the run: ids, type, queue, time-outs."""
    return get_runtime().info()


def time_ns() -> int:
    """Workflow time: nanoseconds since the Unix epoch. It stands still while the code runs between two awaits."""
    return get_runtime().time_ns()


def now() -> datetime:
    """Workflow time as an aware UTC datetime; see `time_ns`."""
    return datetime.fromtimestamp(get_runtime().time_ns() / 1e9, UTC)


def random() -> Random:
    """The run's generator of random numbers: seeded by the run's id, so that replay draws the same ones.

    Raises:
        ReadOnlyContextError: Called from a query or a validator.
    """
    return get_runtime().random()


def is_replaying() -> bool:
    """Whether the code that runs now has run before. For metrics and the like; commands must never depend on it."""
    return get_runtime().is_replaying()


def all_handlers_finished() -> bool:
    """Whether no signal handler and no update handler is running; await it with `wait_condition` before the end."""
    return get_runtime().all_handlers_finished()


def patched(patch_id: str, /) -> bool:
    """Whether this run takes the new branch of a change to its code.

    True in a run that comes here for the first time, which notes it in a marker, and in every replay of such a run;
    false when a run that came by here before the change is replayed. All calls with one id get one answer in a run.
    When no run without the marker is open any more, put `deprecate_patch` in its place; when none with it is, nothing.

    Args:
        patch_id: Names the change; unique among the changes of this workflow.

    Raises:
        ReadOnlyContextError: Called from a query or a validator.
    """
    return get_runtime().patched(patch_id, deprecated=False)


def deprecate_patch(patch_id: str, /) -> None:
    """Say that the old branch of a change is gone, while runs that noted the new one are still open; see `patched`.

    Args:
        patch_id: Names the change.

    Raises:
        ReadOnlyContextError: Called from a query or a validator.
    """
    get_runtime().patched(patch_id, deprecated=True)


def memo() -> Mapping[str, str]:
    """The run's memo: what it was started with, and what `upsert_memo` has set."""
    return get_runtime().memo()


def upsert_memo(memo: Mapping[str, str | None], /) -> None:
    """Set entries of the run's memo, which `describe` and `list_workflows` show.

    Args:
        memo: What to set; None removes an entry.

    Raises:
        OptionError: A value is no text.
        ReadOnlyContextError: Called from a query or a validator.
    """
    check_options(_Upsert, {"memo": memo}, "upsert_memo")
    get_runtime().upsert_memo(memo)


def search_attributes() -> Mapping[str, SearchAttributeValue]:
    """The run's search attributes: what it was started with, and what `upsert_search_attributes` has set."""
    return get_runtime().search_attributes()


def upsert_search_attributes(attributes: Mapping[str, SearchAttributeValue | None], /) -> None:
    """Set search attributes of the run, which `describe` and `list_workflows` show.

    Args:
        attributes: What to set; None removes an attribute. An attribute of the contract has the contract's type, any
            other the type of its value.

    Raises:
        OptionError: A value is of no such type, or the attribute is the engine's own.
        ReadOnlyContextError: Called from a query or a validator.
    """
    check_options(_Upsert, {"search_attributes": attributes}, "upsert_search_attributes")
    if contract.CHANGE_VERSION in attributes:
        raise OptionError(
            f"upsert_search_attributes: {contract.CHANGE_VERSION} lists the patches of the run and is set by the "
            "engine; expected an attribute of your own, or a call of `patched`"
        )
    get_runtime().upsert_search_attributes(attributes)


async def sleep(duration: timedelta | float) -> None:
    """Sleep on a durable timer.

    Args:
        duration: How long, as a timedelta or in seconds; not negative.
    """
    await get_runtime().sleep(_seconds(duration))


async def wait_condition(fn: Callable[[], bool], timeout: timedelta | float | None = None) -> None:  # noqa: ASYNC109 - the field's name and habit
    """Wait until `fn` returns true.

    Args:
        fn: Tested each time something in the run has changed. It must be cheap and change nothing.
        timeout: How long to wait at most, as a timedelta or in seconds; a durable timer.

    Raises:
        TimeoutError: The builtin one; the time is over.
    """
    await get_runtime().wait_condition(fn, None if timeout is None else _seconds(timeout))


def start_activity(
    activity: contract.Activity[Any, T],  # the generated stub types the request
    request: object,
    options: ActivityOptions,
) -> ActivityHandle[T]:
    """Start an activity. Generated stubs call this, and are what workflow code calls.

    Args:
        activity: The contract's activity, whose options are the defaults.
        request: Its request; None for `google.protobuf.Empty`.
        options: What this call overrides.

    Raises:
        MessageMismatchError: `request` is not of the contract's type.
        OptionError: An option is wrong.
        ReadOnlyContextError: Called from a query or a validator.
    """
    if options:
        check_options(ActivityOptions, options, f"call of {activity.name}")
    return get_runtime().start_activity(activity, request, options)


def continue_as_new(
    workflow: contract.Workflow[Any, Any],  # the generated method types the request
    request: object,
    options: ContinueAsNewOptions,
) -> NoReturn:
    """End the run and go on as a new one, which has the same id and a history of its own.

    Generated workflow classes have a method that calls this, and is what workflow code calls: in `run`, or in the
    handler of a signal. In the handler of an update it fails the workflow task, as in Temporal's Python SDK.

    Args:
        workflow: The contract's workflow.
        request: The request of the new run; None for `google.protobuf.Empty`.
        options: What the new run has otherwise than this one.

    Raises:
        ContinueAsNewError: Always, save for what follows; let it pass.
        MessageMismatchError: `request` is not of the contract's type.
        OptionError: An option is wrong.
        ReadOnlyContextError: Called from a query or a validator.
    """
    check_options(ContinueAsNewOptions, options, f"continue_as_new of {workflow.name}")
    get_runtime().continue_as_new(workflow, request, options)


def start_local_activity(
    activity: contract.Activity[Any, T],  # the generated stub types the request
    request: object,
    options: LocalActivityOptions,
) -> ActivityHandle[T]:
    """Start a local activity. Generated stubs call this, and are what workflow code calls.

    The worker that runs the workflow runs the activity while the workflow task stays open; history gets one marker
    with its outcome. A worker that dies on the way leaves no trace: the task begins anew, and its local activities
    run again. As on Temporal, what the activity raised is raised here, without an `ActivityError` around it; a
    time-out and a cancellation have one.

    Args:
        activity: The contract's activity, whose options are the defaults.
        request: Its request; None for `google.protobuf.Empty`.
        options: What this call overrides.

    Raises:
        MessageMismatchError: `request` is not of the contract's type.
        OptionError: An option is wrong.
        ReadOnlyContextError: Called from a query or a validator.
    """
    check_options(LocalActivityOptions, options, f"local call of {activity.name}")
    return get_runtime().start_local_activity(activity, request, options)


async def side_effect(fn: Callable[[], T | Awaitable[T]], cls: type[T], /) -> T:
    """Call a function whose result cannot be repeated, once, and record what it returns; replay gets the record.

    ::

        quota = await workflow.side_effect(lambda: Quota(cpus=os.cpu_count()), Quota)

    It is a local activity with the reserved name `protopact.side_effect`: the function runs outside of the workflow,
    while the workflow task stays open, and runs again if the worker dies before the task is recorded. What can fail,
    or takes its time, is better an activity of the contract, which is retried.

    Args:
        fn: Takes nothing and must not touch the workflow's state; `async def` is awaited. It has ten seconds.
        cls: Class of what it returns: a message of a contract, or the type of a JSON value, such as `str` or
            `list[int]`.

    Returns:
        What the function returned, as it was recorded.

    Raises:
        ApplicationError: The function raised an exception, or returned something else than a `cls`.
        ActivityError: It took too long, or was cancelled.
        ReadOnlyContextError: Called from a query or a validator.
    """
    return await get_runtime().side_effect(fn, cls)


def _seconds(duration: timedelta | float) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
