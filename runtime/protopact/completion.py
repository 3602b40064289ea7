"""Activities that are completed from outside: by whoever has their token, in any process, perhaps days later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from protopact import contract
from protopact.errors import OptionError

if TYPE_CHECKING:
    from protopact.engine import Engine

__all__ = [
    "ActivityRef",
    "AsyncActivityHandle",
    "CompleteActivity",
    "FailActivity",
    "HeartbeatActivity",
    "ReportActivityCancellation",
    "contract_of",
]

Resp = TypeVar("Resp")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRef:
    """Names an open activity: one attempt of it by `task_token`, or whichever attempt runs by the ids.

    Attributes:
        task_token: `activity.info().task_token` of the attempt; None when the ids are given.
        workflow_id: Workflow that called it.
        run_id: Run that called it; None is the latest run of the workflow.
        activity_id: Id of the activity within its run.
    """

    task_token: bytes | None = None
    workflow_id: str = ""
    run_id: str | None = None
    activity_id: str = ""

    def __post_init__(self) -> None:
        """Check that it names one.

        Raises:
            OptionError: Neither a token nor the two ids are given, or both.
        """
        ids = bool(self.workflow_id), bool(self.activity_id)
        if self.task_token is None and not all(ids):
            raise OptionError("give task_token=, or workflow_id= and activity_id=")
        if self.task_token is not None and (any(ids) or self.run_id is not None):
            raise OptionError("give task_token=, or workflow_id= and activity_id=, but not both")

    def __str__(self) -> str:
        """For messages; what a token holds is its engine's own."""
        if self.task_token is not None:
            return "the activity of the task token"
        run = "" if self.run_id is None else f" (run {self.run_id})"
        return f"activity {self.activity_id!r} of workflow {self.workflow_id!r}{run}"


@dataclass(slots=True, kw_only=True)
class CompleteActivity(Generic[Resp]):
    """An activity is completed from outside: which one, as what of the contract, and its response."""

    ref: ActivityRef
    activity: contract.Activity[Any, Resp]
    response: Resp


@dataclass(slots=True, kw_only=True)
class FailActivity:
    """An attempt fails from outside; `last_heartbeat_details` are for the next one."""

    ref: ActivityRef
    activity: contract.Activity[Any, Any]
    error: Exception
    last_heartbeat_details: Sequence[object] = ()


@dataclass(slots=True, kw_only=True)
class ReportActivityCancellation:
    """An activity ends from outside, as its cancellation asked."""

    ref: ActivityRef
    activity: contract.Activity[Any, Any]
    details: Sequence[object] = ()


@dataclass(slots=True, kw_only=True)
class HeartbeatActivity:
    """An activity is said from outside to be alive, and how far it is."""

    ref: ActivityRef
    activity: contract.Activity[Any, Any]
    details: Sequence[object] = ()


class AsyncActivityHandle(Generic[Resp]):
    """An open activity that is completed from outside. Obtained from `Engine.async_activity_handle`.

    Each method returns when the engine has recorded what it was told: it is not lost any more.

    Args:
        engine: The engine.
        activity: The activity, as the contract says.
        ref: Which one.
    """

    __slots__ = ("_activity", "_engine", "_ref")

    def __init__(self, engine: Engine, activity: contract.Activity[Any, Resp], ref: ActivityRef) -> None:
        self._engine = engine
        self._activity = activity
        self._ref = ref

    def __repr__(self) -> str:
        """Names the type."""
        return f"<{type(self).__name__} of {self._activity.name}>"

    async def complete(self, response: Resp) -> None:
        """Complete it with its response; None for `google.protobuf.Empty`.

        Raises:
            NotFoundError: It is not open any more, or the token is of an older attempt.
            OptionError: The token is none of this engine's.
            MessageMismatchError: The response is of another type than the contract says.
            PayloadError: It cannot be encoded.
            PayloadSizeError: It is too large.
        """
        call = CompleteActivity(ref=self._ref, activity=self._activity, response=response)
        await self._engine.complete_activity(call)

    async def fail(self, error: Exception, *, last_heartbeat_details: Sequence[object] = ()) -> None:
        """Fail the attempt; another one follows as the retry policy says, under a token of its own.

        Args:
            error: What it failed with, as an activity would raise it: `ApplicationError`.
            last_heartbeat_details: For the next attempt's `activity.heartbeat_details`.

        Raises:
            NotFoundError: As `complete`.
            OptionError: As `complete`.
            PayloadError: A detail cannot be encoded.
        """
        call = FailActivity(
            ref=self._ref, activity=self._activity, error=error, last_heartbeat_details=last_heartbeat_details
        )
        await self._engine.fail_activity(call)

    async def report_cancellation(self, *details: object) -> None:
        """Say that it has ended as its cancellation asked.

        Args:
            *details: Messages of the contract, or JSON values.

        Raises:
            NotFoundError: As `complete`.
            OptionError: As `complete`; or nobody has asked to cancel it.
            PayloadError: A detail cannot be encoded.
        """
        call = ReportActivityCancellation(ref=self._ref, activity=self._activity, details=details)
        await self._engine.report_activity_cancellation(call)

    async def heartbeat(self, *details: object) -> None:
        """Say that it is alive, and record how far it is; each call is recorded.

        Args:
            *details: Messages of the contract, or JSON values.

        Raises:
            AsyncActivityCancelledError: It was cancelled; the heartbeat is recorded all the same.
            NotFoundError: As `complete`.
            OptionError: As `complete`.
            PayloadError: A detail cannot be encoded.
        """
        call = HeartbeatActivity(ref=self._ref, activity=self._activity, details=details)
        await self._engine.heartbeat_activity(call)


def contract_of(method: Callable[..., object]) -> contract.Activity[Any, Any]:
    """The activity that a method of a generated activities class is.

    Raises:
        OptionError: It is something else.
    """
    owner: object = sys.modules.get(getattr(method, "__module__", ""))
    *path, name = getattr(method, "__qualname__", "").split(".")
    for part in path:
        owner = getattr(owner, part, None)
    describe: object = getattr(owner, "__protopact__", None)
    service: object = describe() if isinstance(owner, type) and callable(describe) else None
    if isinstance(service, contract.Service):
        for element in service.activities:
            if element.method == name:
                return element
    raise OptionError(
        f"{method!r} is no method of a generated activities class; give the one of the contract, such as "
        "NodeProvisionerService.Activities.create_vm"
    )
