"""Failures between protopact and the `temporalio` SDK: protobuf messages and exceptions, both ways.

A failure crosses as the protobuf message that a Temporal history holds: type, message, details, causes, whether it may
be retried. An exception of the SDK that stands for one of ours carries that message, and the SDK's failure converters
write it as it is; so nothing is lost under a converter that is not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration as DurationProto
from temporalio import workflow
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.common.v1 import Payloads as PayloadsProto
from temporalio.api.enums.v1 import ApplicationErrorCategory, RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.common import RawValue
from temporalio.converter import DefaultFailureConverter
from temporalio.converter import PayloadConverter as TemporalPayloadConverter
from temporalio.exceptions import FailureError as TemporalFailureError
from temporalio.exceptions import WorkflowAlreadyStartedError

from protopact.errors import AlreadyStartedError, FailureError
from protopact.failure import FailureConverter
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
from protopact.history.time import Duration
from protopact.payload import PayloadConverter, Payloads
from protopact.temporal.payloads import from_proto, from_protos, to_proto, to_protos

__all__ = ["MessageFailureConverter", "TemporalFailures", "failure_from_proto", "failure_to_proto"]

_SECOND = 1_000_000_000


# -- protobuf messages


def failure_from_proto(proto: FailureProto) -> Failure:
    """A failure out of the SDK's protobuf message, with its causes."""
    causes = [proto]
    while causes[-1].HasField("cause"):
        causes.append(causes[-1].cause)
    failure: Failure | None = None
    for each in reversed(causes):
        failure = Failure(
            message=each.message,
            info=_info_from_proto(each),
            source=each.source,
            stack_trace=each.stack_trace,
            cause=failure,
            encoded_attributes=from_proto(each.encoded_attributes) if each.HasField("encoded_attributes") else None,
        )
    assert failure is not None, "there is one failure at least"
    return failure


def failure_to_proto(failure: Failure) -> FailureProto:
    """A failure as the SDK's protobuf message, with its causes."""
    written = FailureProto()
    each: Failure | None = failure
    proto = written
    while each is not None:
        proto.message, proto.source, proto.stack_trace = each.message, each.source, each.stack_trace
        if each.encoded_attributes is not None:
            proto.encoded_attributes.CopyFrom(to_proto(each.encoded_attributes))
        _info_to_proto(each.info, proto)
        each = each.cause
        if each is not None:
            proto.cause.SetInParent()
            proto = proto.cause
    return written


def _info_from_proto(proto: FailureProto) -> FailureInfo | None:  # noqa: PLR0911 - one kind after the other
    match proto.WhichOneof("failure_info"):
        case "application_failure_info":
            application = proto.application_failure_info
            delay = application.next_retry_delay
            return ApplicationFailureInfo(
                type=application.type,
                non_retryable=application.non_retryable,
                details=_payloads(application.details),
                next_retry_delay=(
                    Duration(delay.ToNanoseconds()) if application.HasField("next_retry_delay") else None
                ),
                category=_name(ApplicationErrorCategory, "APPLICATION_ERROR_CATEGORY_", application.category),
            )
        case "timeout_failure_info":
            timeout = proto.timeout_failure_info
            return TimeoutFailureInfo(
                timeout_type=_name(TimeoutType, "TIMEOUT_TYPE_", timeout.timeout_type),
                last_heartbeat_details=_payloads(timeout.last_heartbeat_details),
            )
        case "canceled_failure_info":
            cancelled = proto.canceled_failure_info
            return CanceledFailureInfo(details=_payloads(cancelled.details), identity=cancelled.identity)
        case "terminated_failure_info":
            return TerminatedFailureInfo(identity=proto.terminated_failure_info.identity)
        case "server_failure_info":
            return ServerFailureInfo(non_retryable=proto.server_failure_info.non_retryable)
        case "reset_workflow_failure_info":
            reset = proto.reset_workflow_failure_info
            return ResetWorkflowFailureInfo(last_heartbeat_details=_payloads(reset.last_heartbeat_details))
        case "activity_failure_info":
            activity = proto.activity_failure_info
            return ActivityFailureInfo(
                activity_type=activity.activity_type.name,
                activity_id=activity.activity_id,
                scheduled_event_id=activity.scheduled_event_id,
                started_event_id=activity.started_event_id,
                identity=activity.identity,
                retry_state=_name(RetryState, "RETRY_STATE_", activity.retry_state),
            )
        case "child_workflow_execution_failure_info":
            child = proto.child_workflow_execution_failure_info
            return ChildWorkflowFailureInfo(
                namespace=child.namespace,
                workflow_id=child.workflow_execution.workflow_id,
                run_id=child.workflow_execution.run_id,
                workflow_type=child.workflow_type.name,
                initiated_event_id=child.initiated_event_id,
                started_event_id=child.started_event_id,
                retry_state=_name(RetryState, "RETRY_STATE_", child.retry_state),
            )
        case _:  # Nexus, which contracts do not speak of: its message and its cause remain
            return None


def _info_to_proto(info: FailureInfo | None, proto: FailureProto) -> None:  # noqa: C901 - as _info_from_proto
    match info:
        case ApplicationFailureInfo():
            application = proto.application_failure_info
            application.SetInParent()
            application.type, application.non_retryable = info.type, info.non_retryable
            _set_payloads(application.details, info.details)
            if info.next_retry_delay is not None:
                seconds, nanos = divmod(info.next_retry_delay, _SECOND)
                application.next_retry_delay.CopyFrom(DurationProto(seconds=seconds, nanos=nanos))
            application.category = _value(ApplicationErrorCategory, "APPLICATION_ERROR_CATEGORY_", info.category)
        case TimeoutFailureInfo():
            proto.timeout_failure_info.timeout_type = _value(TimeoutType, "TIMEOUT_TYPE_", info.timeout_type)
            proto.timeout_failure_info.SetInParent()
            _set_payloads(proto.timeout_failure_info.last_heartbeat_details, info.last_heartbeat_details)
        case CanceledFailureInfo():
            proto.canceled_failure_info.SetInParent()
            proto.canceled_failure_info.identity = info.identity
            _set_payloads(proto.canceled_failure_info.details, info.details)
        case TerminatedFailureInfo():
            proto.terminated_failure_info.SetInParent()
            proto.terminated_failure_info.identity = info.identity
        case ServerFailureInfo():
            proto.server_failure_info.SetInParent()
            proto.server_failure_info.non_retryable = info.non_retryable
        case ResetWorkflowFailureInfo():
            proto.reset_workflow_failure_info.SetInParent()
            _set_payloads(proto.reset_workflow_failure_info.last_heartbeat_details, info.last_heartbeat_details)
        case ActivityFailureInfo():
            activity = proto.activity_failure_info
            activity.SetInParent()
            activity.activity_type.name, activity.activity_id = info.activity_type, info.activity_id
            activity.scheduled_event_id, activity.started_event_id = info.scheduled_event_id, info.started_event_id
            activity.identity = info.identity
            activity.retry_state = _value(RetryState, "RETRY_STATE_", info.retry_state)
        case ChildWorkflowFailureInfo():
            child = proto.child_workflow_execution_failure_info
            child.SetInParent()
            child.namespace, child.workflow_type.name = info.namespace, info.workflow_type
            child.workflow_execution.workflow_id, child.workflow_execution.run_id = info.workflow_id, info.run_id
            child.initiated_event_id, child.started_event_id = info.initiated_event_id, info.started_event_id
            child.retry_state = _value(RetryState, "RETRY_STATE_", info.retry_state)
        case None:
            pass


def _payloads(payloads: PayloadsProto) -> Payloads:
    return from_protos(payloads.payloads)


def _set_payloads(target: PayloadsProto, payloads: Payloads) -> None:
    if payloads:
        target.payloads.extend(to_protos(payloads))


# The stubs give each enum a type of its own, and no interface that they share.
def _name(enum: Any, prefix: str, value: Any) -> str:  # noqa: ANN401
    """The name of a value as histories spell it; of one that this SDK does not know, its number."""
    if not value:
        return ""
    name = enum.Name(value) if value in enum.values() else str(int(value))
    return str(name).removeprefix(prefix)


def _value(enum: Any, prefix: str, name: str) -> Any:  # noqa: ANN401 - as _name
    if name.isdecimal():
        return int(name)
    return enum.Value(prefix + name) if name else 0


# -- exceptions


class TemporalFailures:
    """Converts exceptions of ours to those of the SDK, and back.

    Args:
        converter: For details.
    """

    def __init__(self, converter: PayloadConverter) -> None:
        self._ours = FailureConverter(converter)
        self._theirs = DefaultFailureConverter()
        self._details = _Details(converter)

    def to_temporal(self, error: BaseException) -> TemporalFailureError:
        """The exception of the SDK that stands for an exception, with its causes.

        It carries the failure that is written: whoever converts it again, with whatever converter, writes that.
        """
        if isinstance(error, TemporalFailureError):
            return error
        found = self.from_proto_to_temporal(failure_to_proto(self._ours.to_failure(error)))
        return found.with_traceback(error.__traceback__)

    def from_proto_to_temporal(self, proto: FailureProto) -> TemporalFailureError:
        """The exception of the SDK that a failure stands for."""
        found = self._theirs.from_failure(proto, self._details)
        return found if isinstance(found, TemporalFailureError) else TemporalFailureError(str(found), failure=proto)

    def from_temporal(self, error: BaseException) -> FailureError:
        """The exception of ours that stands for one of the SDK's, with its causes.

        What is no failure of the SDK becomes an application failure, as the SDK itself makes of it.
        """
        if isinstance(error, FailureError):
            return error
        if isinstance(error, WorkflowAlreadyStartedError):
            return AlreadyStartedError(
                f"workflow id {error.workflow_id!r} is taken (run {error.run_id or 'unknown'})",
                workflow_id=error.workflow_id,
                run_id=error.run_id or "",
                workflow_type=error.workflow_type,
            )
        proto = error.failure if isinstance(error, TemporalFailureError) else None
        if proto is None:
            proto = FailureProto()
            if isinstance(error, asyncio.CancelledError):
                proto.message = str(error) or "Cancelled"
                proto.canceled_failure_info.SetInParent()
            else:
                self._theirs.to_failure(error, self._details, proto)
        return self.from_proto(proto)

    def from_proto(self, proto: FailureProto) -> FailureError:
        """The exception of ours that a failure stands for, its payloads decoded by the codecs."""
        return self.from_failure(failure_from_proto(proto))

    def from_failure(self, failure: Failure) -> FailureError:
        """The exception of ours that a failure stands for, its payloads decoded by the codecs."""
        return self._ours.from_failure(failure)

    def to_proto(self, error: BaseException) -> FailureProto:
        """The failure that an exception of ours, of the SDK's or of nobody's is in a history."""
        if isinstance(error, TemporalFailureError):
            proto = FailureProto()
            self._theirs.to_failure(error, self._details, proto)
            return proto
        return failure_to_proto(self._ours.to_failure(error))


class _Details(TemporalPayloadConverter):
    """Details of failures for the SDK: values where they say what they are, and raw values where they do not.

    So a detail that nobody here can read hides no failure.
    """

    def __init__(self, converter: PayloadConverter) -> None:
        self._converter = converter

    # Details are whatever user code attached.
    def to_payloads(self, values: Sequence[Any]) -> list[PayloadProto]:
        return [
            value.payload if isinstance(value, RawValue) else to_proto(self._converter.to_details([value])[0])
            for value in values
        ]

    def from_payloads(self, payloads: Sequence[PayloadProto], type_hints: list[Any] | None = None) -> list[Any]:  # noqa: ARG002
        found = list[Any]()
        for proto in payloads:
            payload = from_proto(proto)
            value = self._converter.from_detail(payload)
            found.append(RawValue(proto) if value is payload else value)
        return found


class MessageFailureConverter(DefaultFailureConverter):
    """The SDK's failure converter, which knows our exceptions too: `protopact.ApplicationError` with its details."""

    def __init__(self) -> None:
        super().__init__()
        self._failures = TemporalFailures(PayloadConverter())

    def to_failure(
        self, exception: BaseException, payload_converter: TemporalPayloadConverter, failure: FailureProto
    ) -> None:
        """Write an exception."""
        if isinstance(exception, FailureError):
            with workflow.unsafe.imports_passed_through():
                failure.CopyFrom(self._failures.to_proto(exception))
        else:
            super().to_failure(exception, payload_converter, failure)
