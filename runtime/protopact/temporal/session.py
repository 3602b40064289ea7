"""What an engine has while it is open: its client, the runs of the namespace, and payloads and failures of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.client import Client, RPCTimeoutOrCancelledError
from temporalio.common import RawValue
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.service import RPCError, RPCStatusCode

from protopact import contract
from protopact.errors import FailureError, ProtopactError
from protopact.payload import CodecChain, PayloadConverter, Payloads
from protopact.payload.sizes import check_size
from protopact.temporal.calls import Calls
from protopact.temporal.failures import TemporalFailures, failure_from_proto
from protopact.temporal.payloads import codecs_of, from_raw_values, to_raw_values
from protopact.temporal.refusals import is_not_found, place, refusal
from protopact.temporal.runs import Runs

__all__ = ["LONGEST_PAUSE", "PAUSE", "Session"]

T = TypeVar("T")

PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before the server is asked the same for the second time, and between two such calls at most."""

_TIMED_OUT = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


class Session:
    """An open engine's connection.

    Args:
        client: The client of the SDK.
        converter: Messages to payloads and back.

    Attributes:
        client: The client of the SDK, as it was connected.
        calls: The same for the calls of the engine: see `calling`.
        runs: The runs of the namespace.
        converter: Messages to payloads and back.
        failures: Exceptions of ours to those of the SDK and back.
    """

    def __init__(self, client: Client, converter: PayloadConverter) -> None:
        self.client = client
        self._calls = Calls(client, place(client))
        self.calls = self._calls.client
        self.runs = Runs(self.calls)
        self.converter = converter
        self.failures = TemporalFailures(converter)

    async def close(self) -> None:
        """End the calls that are on their way."""
        await self._calls.close()

    # -- payloads

    def encoded(self, message: contract.Message[Any], value: object, where: str) -> list[RawValue]:
        """A message as the arguments of a call.

        Raises:
            PayloadError: It cannot be encoded.
            PayloadSizeError: It is too large; the server would end a run for a signal that is. What a codec or an
                external storage makes of it is for the server to judge.
        """
        return self._checked(self.converter.to_payloads(message, value, where=where), where)

    def details(self, values: Sequence[object], where: str) -> list[RawValue]:
        """Details of a failure, a cancellation or a heartbeat as the arguments of a call.

        Raises:
            PayloadError: One cannot be encoded.
            PayloadSizeError: As for `encoded`.
        """
        return self._checked(self.converter.to_details(values), where)

    def _checked(self, payloads: Payloads, where: str) -> list[RawValue]:
        data_converter = self.client.data_converter
        if data_converter.payload_codec is None and data_converter.external_storage is None:
            check_size(payloads, where)
        return to_raw_values(payloads)

    def message(self, message: contract.Message[T], value: RawValue | None, where: str) -> T:
        """A message out of the result of a call, which the SDK has decoded by its codec.

        Raises:
            PayloadError: It cannot be decoded.
        """
        return self.converter.from_payloads(message, () if value is None else from_raw_values([value]), where=where)

    def data_converter(self, workflow_id: str) -> DataConverter:
        """The client's data converter, told which workflow it serves."""
        context = WorkflowSerializationContext(namespace=self.client.namespace, workflow_id=workflow_id)
        return self.client.data_converter.with_context(context)

    def codecs(self, workflow_id: str) -> CodecChain:
        """The client's codec, told which workflow it serves."""
        return codecs_of(self.data_converter(workflow_id))

    async def decoded(self, workflow_id: str, payloads: Sequence[PayloadProto]) -> Payloads:
        """Payloads of a workflow, decoded by the codec."""
        if not payloads:
            return ()
        hints: list[type] = [RawValue] * len(payloads)
        values: list[RawValue] = await self.data_converter(workflow_id).decode(payloads, hints)
        return from_raw_values(values)

    async def failure(self, workflow_id: str, failure: FailureProto) -> FailureError:
        """The exception of ours that a failure of a workflow stands for, decoded by the codec."""
        decoded = await self.codecs(workflow_id).decode_failure(failure_from_proto(failure))
        return self.failures.from_failure(decoded)

    # -- calls

    async def sending(
        self, what: str, call: Awaitable[T], *, missing: Callable[[], Awaitable[ProtopactError]] | None = None
    ) -> T:
        """Await a call of the SDK's client; what the server refuses becomes an exception of ours.

        Args:
            what: The call, for messages.
            call: The call.
            missing: What to raise when the server does not find what the call is for.
        """
        try:
            return await call
        except RPCError as error:
            if not is_not_found(error) or missing is None:
                raise refusal(error, what, self.client) from None
        raise await missing()

    async def polling(
        self,
        what: str,
        call: Callable[[], Awaitable[T]],
        *,
        missing: Callable[[], Awaitable[ProtopactError]],
        is_passing: Callable[[RPCError], bool] = lambda _: False,
    ) -> T:
        """As `sending`, for a call that waits at the server: it is made again while the answer is to come.

        Args:
            what: The call, for messages.
            call: Makes the call.
            missing: What to raise when the server does not find what the call is for.
            is_passing: Whether a refusal passes, so that the call is made again.
        """
        pause = PAUSE
        while True:
            try:
                return await call()
            except RPCTimeoutOrCancelledError as error:
                if not isinstance(error.__cause__, RPCError):
                    # Whoever cancels the caller is no time-out, which the SDK takes it for.
                    raise (error.__cause__ or asyncio.CancelledError()) from None
                refused = error.__cause__
            except RPCError as error:
                refused = error
            if is_not_found(refused):
                raise await missing() from None
            if refused.status not in _TIMED_OUT and not is_passing(refused):
                raise refusal(refused, what, self.client) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
