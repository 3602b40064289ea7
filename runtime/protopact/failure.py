"""Exceptions to failures and back, under the rules of Temporal's Python SDK.

A failure that came from history and is raised again goes back as it came, but for a new cause. An exception that is no
failure of ours becomes an application failure whose type is the name of its class.
"""

from __future__ import annotations

import traceback
from datetime import timedelta
from typing import TypeVar

import msgspec

from protopact.errors import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    Details,
    FailureError,
    PayloadError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name; it is the builtin too
    TimeoutType,
)
from protopact.history.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    FailureInfo,
    ResetWorkflowFailureInfo,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.history.time import from_timedelta, to_timedelta
from protopact.payload.converter import PayloadConverter
from protopact.payload.payload import Payloads

__all__ = ["SOURCE", "FailureConverter", "attempt_error", "summary", "worker_shutdown", "writable"]

SOURCE = "protopact"
"""`source` of the failures that are raised here."""

_AT_ONCE = timedelta(milliseconds=1)  # none at all would be what the retry policy says

_MAX_CAUSES = 100  # a history that holds thousands, one within the other, could be written and not be read
E = TypeVar("E", RetryState, TimeoutType)


def worker_shutdown(activity: str) -> ApplicationError:
    """What an attempt fails with whose worker stops before it has ended; the next one follows at once.

    Args:
        activity: Which one, for the message.
    """
    message = f"{activity} had not ended when its worker stopped"
    return ApplicationError(message, type="WorkerShutdown", next_retry_delay=_AT_ONCE)


def attempt_error(error: BaseException) -> BaseException:
    """What an attempt of an activity fails with when its code has raised `error`.

    A server takes failures of applications only: what else stands for a failure becomes the cause of one, which has the
    name of its class, as other exceptions do.
    """
    if not isinstance(error, FailureError) or isinstance(error, ApplicationError | ServerError):
        return error
    failed = ApplicationError(error.message, type=type(error).__name__)
    failed.__cause__ = error
    return failed


def summary(error: BaseException) -> str:
    """Type and message of an exception, as text that can be written."""
    return writable(f"{type(error).__name__}: {_str(error)}")


def writable(text: str) -> str:
    """`text` as UTF-8 can write it: without lone surrogates, which file names bring into messages."""
    return text.encode("utf-8", "backslashreplace").decode()


class FailureConverter:
    """Converts exceptions to failures of a history, and back.

    Args:
        converter: For details.
    """

    def __init__(self, converter: PayloadConverter) -> None:
        self._converter = converter

    def to_failure(self, error: BaseException) -> Failure:
        """The failure that `error` is in a history, with its causes.

        Details that cannot be encoded are left out: the failure is then the cause of one that says so. Of causes, the
        first hundred are kept.
        """
        chain: list[BaseException] = []
        each: BaseException | None = error
        while each is not None and len(chain) < _MAX_CAUSES and not any(each is seen for seen in chain):
            chain.append(each)
            if isinstance(each, FailureError) and isinstance(each.failure, Failure) and _is_as_it_came(each):
                break
            each = _cause(each)
        failure: Failure | None = None
        for each in reversed(chain):
            failure = self._to_failure(each, failure)
        assert failure is not None, "the chain begins with the error"
        return failure

    def from_failure(self, failure: Failure) -> FailureError:
        """The exception that `failure` stands for; its `__cause__` is that of the failure's cause.

        Details are decoded when they are asked for.
        """
        failures: list[Failure] = []
        each: Failure | None = failure
        while each is not None:
            failures.append(each)
            each = each.cause
        error: FailureError | None = None
        for each in reversed(failures):
            cause, error = error, self._from_failure(each)
            error.__cause__ = cause
        assert error is not None, "there is one failure at least"
        return error

    def _to_failure(self, error: BaseException, cause: Failure | None) -> Failure:
        if isinstance(error, FailureError) and isinstance(error.failure, Failure):
            return error.failure if _is_as_it_came(error) else msgspec.structs.replace(error.failure, cause=cause)
        message = writable(error.message if isinstance(error, FailureError) else _str(error))
        stack_trace = writable("".join(traceback.format_tb(error.__traceback__)))
        try:
            info = self._info(error)
        except PayloadError as refused:
            bare = Failure(message, ApplicationFailureInfo(type=_type(error)), SOURCE, stack_trace, cause)
            text = f"the details of this failure cannot be encoded: {refused}"
            return Failure(writable(text), ApplicationFailureInfo(type="PayloadError"), SOURCE, cause=bare)
        return Failure(message, info, SOURCE, stack_trace, cause)

    def _info(self, error: BaseException) -> FailureInfo | None:  # noqa: PLR0911 - one kind after the other
        match error:
            case ApplicationError():
                delay = error.next_retry_delay
                return ApplicationFailureInfo(
                    type=writable(error.type or ""),
                    non_retryable=error.non_retryable,
                    details=self._converter.to_details(error.details),
                    next_retry_delay=None if delay is None else from_timedelta(delay),
                )
            case ActivityError():
                return ActivityFailureInfo(
                    activity_type=error.activity_type,
                    activity_id=error.activity_id,
                    scheduled_event_id=error.scheduled_event_id,
                    started_event_id=error.started_event_id,
                    identity=error.identity,
                    retry_state=_name(error.retry_state),
                )
            case ChildWorkflowError():
                return ChildWorkflowFailureInfo(
                    namespace=error.namespace,
                    workflow_id=error.workflow_id,
                    run_id=error.run_id,
                    workflow_type=error.workflow_type,
                    initiated_event_id=error.initiated_event_id,
                    started_event_id=error.started_event_id,
                    retry_state=_name(error.retry_state),
                )
            case TimeoutError():
                details = self._converter.to_details(error.last_heartbeat_details)
                return TimeoutFailureInfo(timeout_type=_name(error.type), last_heartbeat_details=details)
            case CancelledError():
                return CanceledFailureInfo(details=self._converter.to_details(error.details))
            case TerminatedError():
                return TerminatedFailureInfo()
            case ServerError():
                return ServerFailureInfo(non_retryable=error.non_retryable)
            case FailureError():
                return None
            case _:
                return ApplicationFailureInfo(type=type(error).__name__)

    def _from_failure(self, failure: Failure) -> FailureError:
        failure_as_read = self._readable(failure)
        error = self._error(failure_as_read.message, failure_as_read.info)
        error.failure = failure
        error.stack_trace = failure_as_read.stack_trace
        return error

    def _readable(self, failure: Failure) -> Failure:
        """`failure` with the message and the stack trace that its writer moved into a payload, for a codec to hide."""
        if failure.encoded_attributes is None:
            return failure
        match self._converter.from_detail(failure.encoded_attributes):
            case {"message": str(message), "stack_trace": str(stack_trace)}:
                return msgspec.structs.replace(failure, message=message, stack_trace=stack_trace)
            case _:
                return failure

    def _error(self, message: str, info: FailureInfo | None) -> FailureError:  # noqa: PLR0911 - as _info
        match info:
            case ApplicationFailureInfo():
                delay = info.next_retry_delay
                application = ApplicationError(message, type=info.type or None, non_retryable=info.non_retryable)
                # As history has it: other SDKs send what the constructor refuses.
                application.next_retry_delay = None if delay is None else to_timedelta(delay)
                application.details = self._details(info.details)
                return application
            case ActivityFailureInfo():
                return ActivityError(
                    message,
                    activity_type=info.activity_type,
                    activity_id=info.activity_id,
                    scheduled_event_id=info.scheduled_event_id,
                    started_event_id=info.started_event_id,
                    identity=info.identity,
                    retry_state=_member(RetryState, info.retry_state),
                )
            case ChildWorkflowFailureInfo():
                return ChildWorkflowError(
                    message,
                    namespace=info.namespace,
                    workflow_id=info.workflow_id,
                    run_id=info.run_id,
                    workflow_type=info.workflow_type,
                    initiated_event_id=info.initiated_event_id,
                    started_event_id=info.started_event_id,
                    retry_state=_member(RetryState, info.retry_state),
                )
            case TimeoutFailureInfo():
                timeout = TimeoutError(message, type=_member(TimeoutType, info.timeout_type))
                timeout.last_heartbeat_details = self._details(info.last_heartbeat_details)
                return timeout
            case CanceledFailureInfo():
                cancelled = CancelledError(message or "Cancelled")
                cancelled.details = self._details(info.details)
                return cancelled
            case TerminatedFailureInfo():
                return TerminatedError(message)
            case ServerFailureInfo():
                return ServerError(message, non_retryable=info.non_retryable)
            case ResetWorkflowFailureInfo() | None:
                return FailureError(message)

    def _details(self, payloads: Payloads) -> Details:
        return self._converter.from_details(payloads)


def _is_as_it_came(error: FailureError) -> bool:
    """Whether `error`, which came from history, still has the cause that it came with."""
    assert isinstance(error.failure, Failure)
    cause = error.__cause__
    came = cause.failure if isinstance(cause, FailureError) else None
    return came is error.failure.cause and (cause is None) == (came is None)


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    # As in Temporal's SDK, the exception that was being handled counts for failures only.
    return error.__context__ if isinstance(error, FailureError) and not error.__suppress_context__ else None


def _type(error: BaseException) -> str:
    return (error.type if isinstance(error, ApplicationError) else None) or type(error).__name__


def _str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - user code, which must not hide the error that it describes
        return f"{type(error).__name__}, whose str() fails"


def _name(member: E | None) -> str:
    return "" if member is None else member.name


def _member(enum: type[E], name: str) -> E | None:
    return enum.__members__.get(name)
