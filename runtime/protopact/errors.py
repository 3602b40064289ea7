"""Every exception that protopact raises.

::

    ProtopactError
    ├── FailureError                what workflows and activities fail with; recorded in history
    │   ├── ApplicationError        raised by user code, with a type, details and whether it may be retried
    │   ├── ActivityError           an activity failed for good; its cause says why
    │   ├── ChildWorkflowError      a child workflow failed; its cause says why
    │   ├── TimeoutError            a time-out of an activity or a workflow (also the builtin TimeoutError)
    │   ├── CancelledError          a cancellation that was recorded, or reached a caller
    │   ├── TerminatedError         a termination
    │   ├── ServerError             the engine itself failed the operation
    │   └── AlreadyStartedError     the workflow id is taken, as its policies say
    ├── WorkflowFailedError         a client awaited the result of a run that did not complete; its cause says why
    ├── WorkflowContinuedAsNewError the awaited run went on as another one
    ├── UpdateFailedError           an update was rejected or failed; its cause says why
    ├── QueryError                  a query was refused, failed, or nobody answered it in time
    ├── NotFoundError               no such workflow, run or update
    ├── AlreadyClosedError          the run is closed
    ├── OptionError                 an option of a call is unknown, or has a value that it cannot have
    ├── TemplateError               an id cannot be computed from the request
    ├── PayloadError                a payload cannot be written or read
    │   ├── MessageMismatchError    a message is not of the contract's type
    │   └── PayloadSizeError        a payload is larger than the engine allows
    ├── RegistrationError           a worker cannot serve what it was given
    ├── GeneratedCodeError          a generated module and the runtime or its messages do not fit together
    ├── WorkflowCodeError           something was called from where it cannot be called
    │   ├── NotInWorkflowError      a workflow's API, from outside of a workflow
    │   ├── ReadOnlyContextError    what changes a run, from a query or a validator
    │   ├── NondeterministicCallError  what replay could not repeat, from workflow code
    │   └── ChannelClosedError      a signal's channel, in a class that handles the signal with a method
    ├── WorkflowTaskError           a workflow task cannot go on; it is retried, the run is not failed
    │   ├── NondeterminismError     the code does not produce the commands that the history holds
    │   ├── ContractMismatchError   the run was started under a contract that the worker does not know
    │   └── HistoryError            a history is damaged, or holds what this version does not know
    └── EngineError                 the engine cannot work
        ├── EngineUrlError          the engine's URL is wrong
        ├── EngineConnectionError   the server cannot be reached, or does not let us in
        ├── EngineClosedError       the engine was closed, or is used after a fork
        ├── StalledError            in a test environment, what is awaited cannot come
        └── StoreError              the file cannot be used
            ├── NotAStoreError      it is not a protopact database
            ├── StoreVersionError   a newer protopact wrote it
            ├── StoreCorruptError   it is damaged
            ├── StoreFullError      the disk is full
            └── StoreBusyError      another process holds it for too long

`ContinueAsNewError` stands beside the tree: it ends a run that goes on as another one, and is no failure.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, TypeVar, cast, overload

from protopact.limits import LONGEST

if TYPE_CHECKING:
    from protopact.history.event import Event
    from protopact.replay.command import Command
    from protopact.replay.comparison import Difference
    from protopact.replay.report import Report

__all__ = [
    "ActivityError",
    "AlreadyClosedError",
    "AlreadyStartedError",
    "ApplicationError",
    "AsyncActivityCancelledError",
    "CancelledError",
    "ChannelClosedError",
    "ChildWorkflowError",
    "ContinueAsNewError",
    "ContractMismatchError",
    "Details",
    "EngineClosedError",
    "EngineConnectionError",
    "EngineError",
    "EngineUrlError",
    "FailureError",
    "GeneratedCodeError",
    "HistoryError",
    "MessageMismatchError",
    "NondeterminismError",
    "NondeterministicCallError",
    "NotAStoreError",
    "NotFoundError",
    "NotInActivityError",
    "NotInWorkflowError",
    "OptionError",
    "PayloadError",
    "PayloadSizeError",
    "ProtopactError",
    "QueryError",
    "ReadOnlyContextError",
    "RegistrationError",
    "RetryState",
    "RunLimitError",
    "ServerError",
    "StalledError",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "StoreVersionError",
    "TemplateError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "UpdateFailedError",
    "WorkflowCodeError",
    "WorkflowContinuedAsNewError",
    "WorkflowFailedError",
    "WorkflowTaskError",
]


T = TypeVar("T")


class ProtopactError(Exception):
    """Root of every exception that protopact raises."""


class Details(Sequence[object]):
    """Values that travel with a failure: messages of the contract, or JSON values.

    Compares equal to a tuple or list of equal values.
    """

    def __init__(self, values: Sequence[object] = ()) -> None:
        self._values = tuple(values)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple | list | Details):
            return NotImplemented
        return tuple(self) == tuple(cast("Sequence[object]", other))

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have no hash

    def __repr__(self) -> str:
        return repr(tuple(self))

    def get(self, index: int, cls: type[T]) -> T:
        """Detail `index` as a `cls`: a message class of the contract, or the type of a JSON value.

        Raises:
            IndexError: There are not that many details.
            MessageMismatchError: It is something else.
        """
        value = self[index]
        if not isinstance(value, cls):
            raise MessageMismatchError(f"detail {index}: expected {cls.__name__}, found {type(value).__name__}")
        return value


class FailureError(ProtopactError):
    """What workflows and activities fail with; it is recorded in history and crosses processes and languages.

    Attributes:
        message: The message alone, without type or cause.
        stack_trace: Where it was raised, as text, when it came from history; empty otherwise.
        failure: The `protopact.history.failure.Failure` that it came from, when it came from history.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.stack_trace = ""
        self.failure: object | None = None

    @property
    def cause(self) -> BaseException | None:
        """The failure that led to this one."""
        return self.__cause__


def _is_delay(value: object) -> bool:
    return value is None or (isinstance(value, timedelta) and timedelta(0) < value <= LONGEST)


class ApplicationError(FailureError):
    """A failure that user code raises, with a type that retry policies and callers can name.

    Attributes:
        type: Failure type; the name that `non_retryable_error_types` lists.
        details: Values that travel with the failure: messages of the contract, or JSON values. `details.get(0, Quota)`
            reads one as a message class; `details[0]` as what it says it is.
        non_retryable: Whether retrying is pointless, whatever the retry policy says.
        next_retry_delay: Wait before the next attempt, instead of the retry policy's.

    Raises:
        OptionError: `next_retry_delay` is not positive, or more than 100 years.
    """

    def __init__(
        self,
        message: str,
        *details: object,
        type: str | None = None,  # noqa: A002 - Temporal's word for it
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        if not _is_delay(next_retry_delay):
            raise OptionError(
                f"ApplicationError: expected a next_retry_delay that is positive and at most {LONGEST.days} days (100 "
                f"years), as a timedelta, found {next_retry_delay}; without one the retry policy says how long the "
                "wait is"
            )
        self.type = type
        self.details = Details(details)
        self.non_retryable = non_retryable
        self.next_retry_delay = next_retry_delay


class RetryState(Enum):
    """Why an activity or a child was not tried again."""

    IN_PROGRESS = "in progress"
    NON_RETRYABLE_FAILURE = "non-retryable failure"
    TIMEOUT = "timeout"
    MAXIMUM_ATTEMPTS_REACHED = "maximum attempts reached"
    RETRY_POLICY_NOT_SET = "retry policy not set"
    INTERNAL_SERVER_ERROR = "internal server error"
    CANCEL_REQUESTED = "cancel requested"


class ActivityError(FailureError):
    """An activity failed for good; `cause` says why.

    Attributes:
        activity_type: Registered name of the activity.
        activity_id: Id of the call within its run.
        scheduled_event_id: Event that scheduled it; 0 when not known.
        started_event_id: Event of its last start; 0 when it never started.
        identity: Worker of its last attempt.
        retry_state: Why it was not tried again.
    """

    def __init__(
        self,
        message: str,
        *,
        activity_type: str,
        activity_id: str,
        scheduled_event_id: int = 0,
        started_event_id: int = 0,
        identity: str = "",
        retry_state: RetryState | None = None,
    ) -> None:
        super().__init__(message)
        self.activity_type = activity_type
        self.activity_id = activity_id
        self.scheduled_event_id = scheduled_event_id
        self.started_event_id = started_event_id
        self.identity = identity
        self.retry_state = retry_state


class ChildWorkflowError(FailureError):
    """A child workflow failed; `cause` says why.

    Attributes:
        namespace: Namespace of the child.
        workflow_id: Id of the child.
        run_id: Run of the child; empty when it never started.
        workflow_type: Registered name of the child.
        initiated_event_id: Event that asked for it.
        started_event_id: Event of its start; 0 when it never started.
        retry_state: Why it was not tried again.
    """

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int = 0,
        started_event_id: int = 0,
        retry_state: RetryState | None = None,
    ) -> None:
        super().__init__(message)
        self.namespace = namespace
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.initiated_event_id = initiated_event_id
        self.started_event_id = started_event_id
        self.retry_state = retry_state


class TimeoutType(Enum):
    """Which limit was passed."""

    START_TO_CLOSE = "start-to-close"
    SCHEDULE_TO_START = "schedule-to-start"
    SCHEDULE_TO_CLOSE = "schedule-to-close"
    HEARTBEAT = "heartbeat"


class TimeoutError(FailureError, builtins.TimeoutError):  # noqa: A001 - Temporal's name; it is the builtin too
    """A time-out of an activity or a workflow.

    Attributes:
        type: Which limit was passed; None for a workflow's own.
        last_heartbeat_details: Details of the last heartbeat; `last_heartbeat_details.get(0, BootProgress)` reads one.
    """

    def __init__(
        self,
        message: str,
        *,
        type: TimeoutType | None = None,  # noqa: A002 - Temporal's word for it
        last_heartbeat_details: Sequence[object] = (),
    ) -> None:
        super().__init__(message)
        self.type = type
        self.last_heartbeat_details = Details(last_heartbeat_details)


class CancelledError(FailureError):
    """A cancellation that reached a workflow's caller or was recorded in history.

    Attributes:
        details: Values that the cancelled side attached.
    """

    def __init__(self, message: str = "Cancelled", *details: object) -> None:
        super().__init__(message)
        self.details = Details(details)


class TerminatedError(FailureError):
    """A termination.

    Attributes:
        details: Values given by whoever terminated it.
    """

    def __init__(self, message: str, *details: object) -> None:
        super().__init__(message)
        self.details = Details(details)


class ServerError(FailureError):
    """The engine itself failed the operation.

    Attributes:
        non_retryable: Whether retrying is pointless.
    """

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self.non_retryable = non_retryable


class WorkflowFailedError(ProtopactError):
    """A client awaited the result of a run that failed, timed out, was cancelled or terminated; `cause` says why.

    Attributes:
        workflow_id: Id of the workflow.
        run_id: Run that closed.
    """

    def __init__(self, message: str, *, workflow_id: str, run_id: str) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id

    @property
    def cause(self) -> BaseException | None:
        """The failure that the run closed with."""
        return self.__cause__


class WorkflowContinuedAsNewError(ProtopactError):
    """The awaited run went on as another one, and the caller asked not to follow.

    Attributes:
        new_run_id: The run it went on as.
    """

    def __init__(self, message: str, *, new_run_id: str) -> None:
        super().__init__(message)
        self.new_run_id = new_run_id


class ContinueAsNewError(BaseException):
    """Raised by a workflow class's `continue_as_new` to end the run; let it pass.

    It is no `Exception`, so that code which handles failures does not take it for one.
    """


class UpdateFailedError(ProtopactError):
    """An update was rejected by its validator or failed; `cause` says why."""

    @property
    def cause(self) -> BaseException | None:
        """The failure that the update closed with."""
        return self.__cause__


class QueryError(ProtopactError):
    """A query was refused or failed, or no worker answered it in time."""


class NotFoundError(ProtopactError):
    """There is no such workflow, run, update or open activity."""


class AsyncActivityCancelledError(ProtopactError):
    """An activity that is completed from outside was cancelled: its handle's heartbeat says so.

    Clean up and answer with `report_cancellation`; completing it all the same is possible.
    """


class AlreadyStartedError(FailureError):
    """The workflow id is taken: by an open run, or by a closed one whose id may not be used again.

    Attributes:
        workflow_id: The id.
        run_id: The run that has it; empty when a workflow tried to start a child.
        workflow_type: Registered name of that run's workflow; of the child's, when a workflow tried to start one.
    """

    def __init__(self, message: str, *, workflow_id: str, run_id: str, workflow_type: str) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type


class RunLimitError(ProtopactError):
    """A run takes no more signals or updates: it has had as many as a run may, and should have continued as new."""


class AlreadyClosedError(ProtopactError):
    """The run is closed: it takes no signals, updates, cancellations or terminations."""


class OptionError(ProtopactError, TypeError, ValueError):
    """An option of a call is unknown, or has a value that it cannot have."""


class TemplateError(ProtopactError, ValueError):
    """An id cannot be computed from the request, because a field of its template is unset or empty."""


class PayloadError(ProtopactError):
    """A payload cannot be written or read."""


class MessageMismatchError(PayloadError, TypeError):
    """A message, or a value within one, is not of the contract's type."""


class PayloadSizeError(PayloadError):
    """A payload is larger than the engine allows."""


class RegistrationError(ProtopactError):
    """A worker cannot serve what it was given."""


class GeneratedCodeError(ProtopactError, ImportError):
    """A generated module does not fit the runtime, or its messages are not there."""


class WorkflowCodeError(ProtopactError, RuntimeError):
    """Something was called from where it cannot be called."""


class NotInActivityError(ProtopactError, RuntimeError):
    """An activity's API was called from outside of an activity."""


class NotInWorkflowError(WorkflowCodeError):
    """A workflow's API was called from outside of a workflow."""


class ReadOnlyContextError(WorkflowCodeError):
    """A query or a validator called what changes the run."""


class NondeterministicCallError(WorkflowCodeError):
    """Workflow code called what replay could not repeat; the message says what to call instead."""


class ChannelClosedError(WorkflowCodeError):
    """A signal's channel was used in a class that handles the signal with a method."""


class WorkflowTaskError(ProtopactError):
    """A workflow task cannot go on. It is retried with back-off and cured by deploying a fix; the run is not failed."""


class NondeterminismError(WorkflowTaskError):
    """The workflow's code does not produce the commands that its history holds.

    Attributes:
        workflow_type: Registered name of the workflow.
        workflow_id: Id of the workflow.
        run_id: The run.
        last_event_id: Last event that the code agreed with; 0 when there is none.
        event: The event of the history that disagrees; None when the code asks for more than the history holds.
        command: What the code produced in its place; None when it produced nothing.
        differences: Fields in which the two differ, when they are of one kind and strict mode compares them.
        report: All of it for people and tools, with the line of the workflow that produced the command and the likely
            cause; None when the run could not be replayed from its beginning to find out. `str()` of the error is the
            report, and `report.to_json()` is the same for tools.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow_type: str = "",
        workflow_id: str = "",
        run_id: str = "",
        last_event_id: int = 0,
        event: Event | None = None,
        command: Command | None = None,
        differences: tuple[Difference, ...] = (),
    ) -> None:
        super().__init__(message)
        self.workflow_type = workflow_type
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.last_event_id = last_event_id
        self.event = event
        self.command = command
        self.differences = differences
        self.report: Report | None = None

    def __str__(self) -> str:
        return super().__str__() if self.report is None else str(self.report)


class ContractMismatchError(WorkflowTaskError):
    """The run was started under a contract that the worker was not checked against, nor that against the worker's."""


class HistoryError(WorkflowTaskError):
    """A history is damaged, or holds what this version does not know."""


class EngineError(ProtopactError):
    """The engine cannot work."""


class EngineUrlError(EngineError, ValueError):
    """The engine's URL is wrong."""


class EngineConnectionError(EngineError):
    """The server cannot be reached, does not let us in, or has no such namespace."""


class EngineClosedError(EngineError):
    """The engine was closed, or is used in a process forked from the one that connected it."""


class StalledError(EngineError):
    """In a test environment, what is awaited cannot come: nothing happens any more that could bring it."""


class StoreError(EngineError):
    """The database file cannot be used."""


class NotAStoreError(StoreError):
    """The file is not a protopact database."""


class StoreVersionError(StoreError):
    """A newer protopact wrote the file."""


class StoreCorruptError(StoreError):
    """The file is damaged."""


class StoreFullError(StoreError):
    """The disk is full."""


class StoreBusyError(StoreError):
    """Another process holds the file for too long."""
