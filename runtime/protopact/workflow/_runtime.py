"""What the in-workflow face asks of an engine, and how it finds the engine that runs it.

Each engine puts its `Runtime` on the event loop that it runs workflow code on, as the attribute named by
`RUNTIME_ATTRIBUTE`; whoever runs on that loop is inside the workflow.
"""

from __future__ import annotations

import asyncio
import random
import uuid as _uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NoReturn, TypeVar

from protopact import contract
from protopact.errors import NotInWorkflowError
from protopact.history.event import RetryPolicy
from protopact.payload.payload import Payload
from protopact.policy import (
    ActivityOptions,
    ChildWorkflowOptions,
    ContinueAsNewOptions,
    LocalActivityOptions,
    SearchAttributeValue,
)

__all__ = [
    "RUNTIME_ATTRIBUTE",
    "ActivityHandle",
    "ChildRun",
    "Info",
    "ParentInfo",
    "Runtime",
    "find_runtime",
    "get_runtime",
    "uuid4",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

RUNTIME_ATTRIBUTE = "__protopact_runtime__"
"""Attribute of an event loop that holds the `Runtime` of the workflow that it runs."""


class ActivityHandle(asyncio.Task[T]):
    """A started activity: await it for its result, `cancel()` it, or hand it to `asyncio.gather` and the like.

    It is an `asyncio.Task` in all respects. Cancelling it, or cancelling whoever awaits it, does what the activity's
    cancellation type says. Awaiting raises `protopact.errors.ActivityError` when the activity failed for good; its
    cause says why.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRun(Generic[T_co]):
    """A child that has started, as an engine has it.

    Attributes:
        workflow: The contract's workflow.
        id: Its id.
        run_id: Its first run.
        task: Ends with its result; cancelling it cancels the child, as its cancellation type says.
    """

    workflow: contract.Workflow[Any, T_co]  # of whatever it takes
    id: str
    run_id: str
    task: asyncio.Task[T_co]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentInfo:
    """The workflow that started this one as its child."""

    namespace: str
    workflow_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of a run while its code runs; the same on every replay.

    Attributes:
        workflow_id: Id of the workflow.
        run_id: Id of this run.
        first_run_id: First run of the chain that retries and continue-as-new make.
        continued_run_id: Run that this one goes on from; None for a first run.
        workflow_type: Registered name.
        task_queue: Queue of its workflow tasks, and of its activities unless the contract names another.
        attempt: Number of the attempt under the run's retry policy, from 1.
        start_time: When the run began, aware, UTC.
        execution_timeout: Limit of the whole chain of runs; None without limit.
        run_timeout: Limit of this run; None without limit.
        task_timeout: Limit of one workflow task.
        retry_policy: Retry policy of the run; None when it is not retried.
        parent: Who started it as a child; None otherwise.
        headers: Headers that it was started with.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    continued_run_id: str | None
    workflow_type: str
    task_queue: str
    attempt: int
    start_time: datetime
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta
    retry_policy: RetryPolicy | None
    parent: ParentInfo | None
    headers: Mapping[str, Payload]

    def get_current_history_length(self) -> int:
        """Number of events in the history, up to the workflow task that the code runs in."""
        return get_runtime().history_length()

    def get_current_history_size(self) -> int:
        """Bytes that the history takes, as the engine counts them, up to that task."""
        return get_runtime().history_size()

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the history has become long: a run that goes on for ever continues as new now."""
        return get_runtime().is_continue_as_new_suggested()


class Runtime(ABC):
    """One run, as its own code sees it. Every engine implements it; the functions of `protopact.workflow` call it."""

    @abstractmethod
    def info(self) -> Info:
        """What is known of the run."""

    @abstractmethod
    def history_length(self) -> int:
        """Number of events in the history, up to the workflow task that the code runs in."""

    @abstractmethod
    def history_size(self) -> int:
        """Bytes that the history takes, up to that task."""

    @abstractmethod
    def is_continue_as_new_suggested(self) -> bool:
        """Whether the engine suggests to continue as new."""

    @abstractmethod
    def time_ns(self) -> int:
        """Workflow time: nanoseconds since the Unix epoch."""

    @abstractmethod
    def random(self) -> random.Random:
        """The run's generator of random numbers.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def is_replaying(self) -> bool:
        """Whether the code that runs now has run before; true in queries and while the run is let go."""

    @abstractmethod
    def is_silent(self) -> bool:
        """Whether log lines are held back: history is being replayed, or the run is let go. False in queries."""

    @abstractmethod
    def in_query(self) -> bool:
        """Whether the code that runs now answers a query."""

    @abstractmethod
    def fail_task(self, error: BaseException) -> None:
        """Fail the workflow task with `error` as soon as the code lets go, whatever the code makes of it."""

    @abstractmethod
    def all_handlers_finished(self) -> bool:
        """Whether no signal handler and no update handler is running."""

    @abstractmethod
    def patched(self, patch_id: str, *, deprecated: bool) -> bool:
        """Whether the run takes a patched branch; `deprecated` says that no other branch is left.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def memo(self) -> Mapping[str, str]:
        """The run's memo."""

    @abstractmethod
    def upsert_memo(self, memo: Mapping[str, str | None]) -> None:
        """Set entries of the run's memo.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def search_attributes(self) -> Mapping[str, SearchAttributeValue]:
        """The run's search attributes."""

    @abstractmethod
    def upsert_search_attributes(self, attributes: Mapping[str, SearchAttributeValue | None]) -> None:
        """Set search attributes of the run.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def sleep(self, seconds: float) -> Awaitable[None]:
        """A durable timer.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def wait_condition(self, fn: Callable[[], bool], timeout: float | None) -> Awaitable[None]:
        """Wait until `fn` returns true, at most `timeout` seconds.

        Raises:
            TimeoutError: The builtin one; the time is over.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def start_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: ActivityOptions,
    ) -> ActivityHandle[T]:
        """Start an activity.

        Raises:
            MessageMismatchError: `request` is not of the contract's type.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def continue_as_new(
        self,
        workflow: contract.Workflow[Any, Any],  # the generated method types the request
        request: object,
        options: ContinueAsNewOptions,
    ) -> NoReturn:
        """End the run and go on as a new one.

        Raises:
            ContinueAsNewError: Always, save for what follows.
            MessageMismatchError: `request` is not of the contract's type.
            ReadOnlyContextError: Called from a query or a validator.
        """
        raise NotImplementedError

    @abstractmethod
    def start_child_workflow(
        self,
        workflow: contract.Workflow[Any, T],  # as for activities
        workflow_id: str,
        request: object,
        options: ChildWorkflowOptions,
    ) -> Awaitable[ChildRun[T]]:
        """Start a child, and wait until it has started.

        Raises:
            AlreadyStartedError: The id is taken and the policy refuses.
            ChildWorkflowError: It was cancelled before it started.
            MessageMismatchError: `request` is not of the contract's type.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def signal_external_workflow(
        self, workflow_id: str, run_id: str | None, signal: contract.Signal[Any], request: object, *, is_child: bool
    ) -> Awaitable[None]:
        """Signal another workflow, and wait until it has the signal.

        Raises:
            ApplicationError: There is none that takes it.
            MessageMismatchError: `request` is not of the contract's type.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def cancel_external_workflow(self, workflow_id: str, run_id: str | None, reason: str) -> Awaitable[None]:
        """Ask another workflow to cancel, and wait until it has the request.

        Raises:
            ApplicationError: There is none that takes it.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def start_local_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: LocalActivityOptions,
    ) -> ActivityHandle[T]:
        """Start a local activity.

        Raises:
            MessageMismatchError: `request` is not of the contract's type.
            ReadOnlyContextError: Called from a query or a validator.
        """

    @abstractmethod
    def side_effect(self, fn: Callable[[], T | Awaitable[T]], cls: type[T]) -> Awaitable[T]:
        """Record the result of a function, which is not called on replay.

        Raises:
            ReadOnlyContextError: Called from a query or a validator.
        """


def find_runtime() -> Runtime | None:
    """The runtime of the workflow whose code calls; None outside of a workflow."""
    return getattr(asyncio._get_running_loop(), RUNTIME_ATTRIBUTE, None)  # noqa: SLF001 - the documented call raises, which costs more


def get_runtime() -> Runtime:
    """The runtime of the workflow whose code calls.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    runtime = find_runtime()
    if runtime is None:
        raise NotInWorkflowError(
            "protopact.workflow was used outside of a workflow: expected to be called by a workflow's `run`, by one of "
            "its handlers, or by code that they call and await. Call an activity's method or a client instead."
        )
    return runtime


def uuid4() -> _uuid.UUID:
    """A random UUID out of `random()`; not for secrets.

    Raises:
        ReadOnlyContextError: Called from a query or a validator.
    """
    return _uuid.UUID(bytes=get_runtime().random().getrandbits(128).to_bytes(16, "big"), version=4)
