"""What workflow code gets out of the SDK: results as the messages of the contract, failures as exceptions of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextvars import ContextVar
from copy import copy
from typing import Any, ClassVar, Self, TypeVar

from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.common import RawValue
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    FailureConverter,
    SerializationContext,
    WithSerializationContext,
)
from temporalio.converter import PayloadConverter as TemporalPayloadConverter
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import FailureError as TemporalFailureError
from temporalio.workflow import in_workflow

from protopact import contract
from protopact.payload import PayloadConverter
from protopact.replay.instance import response_of
from protopact.temporal.failures import TemporalFailures
from protopact.temporal.payloads import from_proto

__all__ = ["Expected", "cancelled_as", "worker_data_converter"]

T = TypeVar("T")

cancelled_as: ContextVar[FailureProto | None] = ContextVar("protopact_cancelled_as", default=None)
"""What an activity that ends as cancelled is to be recorded with; the SDK itself would write a failure that is bare."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """The type hint of a result: the response that the contract declares.

    Attributes:
        message: Type of the response.
        name: The element of the contract that responds.
    """

    message: contract.Message[Any]  # of whatever type
    name: str


class _Payloads(TemporalPayloadConverter, WithSerializationContext):
    """Reads results as the messages that the contract expects; what is raw already goes by as it is.

    Attributes:
        messages: Messages to payloads and back.
        inner_class: The client's converter, for everything else.
    """

    messages: ClassVar[PayloadConverter]
    inner_class: ClassVar[type[TemporalPayloadConverter]]

    def __init__(self) -> None:
        self._inner = self.inner_class()
        self._is_for_activities = False
        self._for_activities: Self | None = None

    def with_context(self, context: SerializationContext) -> Self:
        """The converter for activities, or for everything else."""
        inner = _in_context(self._inner, context)
        is_for_activities = isinstance(context, ActivitySerializationContext)
        if inner is self._inner:  # the client's does not care, and there are two converters in all
            if is_for_activities == self._is_for_activities:
                return self
            if is_for_activities and self._for_activities is not None:
                return self._for_activities
        found = copy(self)
        found._inner, found._is_for_activities = inner, is_for_activities  # noqa: SLF001 - its own
        if inner is self._inner and is_for_activities:
            self._for_activities = found
        return found

    def to_payloads(self, values: Sequence[Any]) -> list[PayloadProto]:
        """Write values."""
        if len(values) == 1 and type(values[0]) is RawValue:
            return [values[0].payload]
        return self._inner.to_payloads(values)

    # Hints are whatever the signature of a function says.
    def from_payloads(self, payloads: Sequence[PayloadProto], type_hints: list[Any] | None = None) -> list[Any]:
        """Read values."""
        if type_hints is None and self._is_for_activities and not in_workflow():
            return [RawValue(payload) for payload in payloads]  # details of heartbeats, which are read when asked for
        if type_hints is not None and len(type_hints) == len(payloads) == 1:
            expected = type_hints[0]
            if expected is RawValue:
                return [RawValue(payloads[0])]
            if type(expected) is Expected:
                given = (from_proto(payloads[0]),)
                return [self.messages.from_payloads(expected.message, given, response_of(expected.name))]
        return self._inner.from_payloads(payloads, type_hints)


class _Failures(FailureConverter, WithSerializationContext):
    """Reads failures as exceptions of ours.

    Attributes:
        failures: Exceptions to failures and back.
        inner_class: The client's converter, which writes them.
    """

    failures: ClassVar[TemporalFailures]
    inner_class: ClassVar[type[FailureConverter]]

    def __init__(self) -> None:
        self._inner = self.inner_class()

    def with_context(self, context: SerializationContext) -> Self:
        """The converter of a context, if that matters to the client's."""
        inner = _in_context(self._inner, context)
        if inner is self._inner:
            return self
        found = copy(self)
        found._inner = inner  # noqa: SLF001 - its own
        return found

    def to_failure(
        self, exception: BaseException, payload_converter: TemporalPayloadConverter, failure: FailureProto
    ) -> None:
        """Write a failure."""
        cancelled = cancelled_as.get()
        if cancelled is not None and isinstance(exception, TemporalCancelledError):
            exception = TemporalFailureError(cancelled.message, failure=cancelled)
        # By way of the failure that it is: the SDK would follow causes in a circle, and believe every str().
        self._inner.to_failure(self.failures.to_temporal(exception), payload_converter, failure)

    def from_failure(
        self,
        failure: FailureProto,
        payload_converter: TemporalPayloadConverter,  # noqa: ARG002 - ours reads details
    ) -> BaseException:
        """Read a failure."""
        return self.failures.from_proto(failure)


def worker_data_converter(
    base: DataConverter, *, converter: PayloadConverter, failures: TemporalFailures
) -> DataConverter:
    """The data converter of a worker: that of its client, save for what it reads for workflow code.

    Args:
        base: The client's.
        converter: Messages to payloads and back.
        failures: Exceptions to failures and back.
    """

    # The SDK makes converters by calling a class, in the sandbox too; so the class has what they need.
    class Payloads(_Payloads):
        messages = converter
        inner_class = base.payload_converter_class

    class Failures(_Failures):
        inner_class = base.failure_converter_class

    Failures.failures = failures
    return dataclasses.replace(base, payload_converter_class=Payloads, failure_converter_class=Failures)


def _in_context(converter: T, context: SerializationContext) -> T:
    return converter.with_context(context) if isinstance(converter, WithSerializationContext) else converter
