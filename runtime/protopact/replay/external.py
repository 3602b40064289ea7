"""Signals to other workflows, and requests to cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from protopact.errors import CancelledError
from protopact.history.event import (
    Event,
    ExternalWorkflowExecutionSignaled,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
)
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.interceptor import CancelExternalWorkflow, SignalExternalWorkflow
from protopact.payload.payload import Payloads
from protopact.replay.command import RequestCancelExternalWorkflowExecution, SignalExternalWorkflowExecution
from protopact.replay.entries import Entry
from protopact.replay.operation import Operation

if TYPE_CHECKING:
    from protopact.replay.instance import Instance
    from protopact.replay.ledger import Ledger

__all__ = ["Externals", "RequestedCancellation", "SentSignal", "cancel_failure", "signal_failure"]


class SentSignal(Entry):
    """A signal that the code sends to another workflow.

    Attributes:
        outcome: Whether it has arrived.
    """

    __slots__ = ("_call", "_is_recorded", "_payloads", "is_withdrawn", "outcome")

    becomes = SignalExternalWorkflowExecutionInitiated

    def __init__(self, call: SignalExternalWorkflow, payloads: Callable[[], Payloads], instance: Instance) -> None:
        self.outcome: Operation[None] = Operation(instance.loop)
        self.is_withdrawn = False
        self._call = call
        self._payloads = payloads
        self._is_recorded = False

    def command(self) -> SignalExternalWorkflowExecution:
        """The command."""
        call = self._call
        return SignalExternalWorkflowExecution(
            namespace="",  # the sender's
            workflow_id=call.workflow_id,
            run_id=call.run_id or "",
            signal_name=call.signal.name,
            input=self._payloads(),
            child_workflow_only=call.is_child,
            header=call.headers,
        )

    def meet(self, ledger: Ledger, event_id: int, _: SignalExternalWorkflowExecutionInitiated, /) -> bool:
        """Its answer is expected from now on."""
        self._is_recorded = True
        ledger.external[event_id] = self.outcome
        return True

    def cancel(self, ledger: Ledger) -> None:
        """Take it back, if history does not have it."""
        if not (self._is_recorded or self.is_withdrawn):
            self.is_withdrawn = True
            ledger.cancelled.append(self)

    def tell_cancelled(self) -> None:
        """Tell the code that it was never sent, as Temporal Core words it."""
        self.outcome.fail(CancelledError("Signal was cancelled before being sent"))


class RequestedCancellation(Entry):
    """The code's request to cancel another workflow."""

    __slots__ = ("_call", "_outcome", "_reason")

    becomes = RequestCancelExternalWorkflowExecutionInitiated

    def __init__(self, call: CancelExternalWorkflow, run_id: str, outcome: asyncio.Future[None]) -> None:
        self._call = call
        self._reason = f"Cancel requested by workflow with run id {run_id} with reason: {call.reason}"  # Core's words
        self._outcome = outcome

    def command(self) -> RequestCancelExternalWorkflowExecution:
        """The command."""
        call = self._call
        return RequestCancelExternalWorkflowExecution(
            namespace="", workflow_id=call.workflow_id, run_id=call.run_id or "", reason=self._reason
        )

    def meet(self, ledger: Ledger, event_id: int, _: RequestCancelExternalWorkflowExecutionInitiated, /) -> bool:
        """Its answer is expected from now on."""
        ledger.external[event_id] = self._outcome
        return True


_OF_SIGNALS = (ExternalWorkflowExecutionSignaled, SignalExternalWorkflowExecutionFailed)
"""Answers to signals; the others are to requests to cancel."""

_KIND: Literal["signal or request to cancel"] = "signal or request to cancel"


class Externals:
    """What the code asks of other workflows."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def signal(self, call: SignalExternalWorkflow) -> None:
        """Signal another workflow, and wait until it has the signal."""
        instance = self._instance
        instance.check_running("signal another workflow")
        payloads = instance.encode_request(call.signal.request, call.request, call.signal.name)
        sent = SentSignal(call, payloads, instance)
        instance.ledger.add(sent)

        def cancel(_: asyncio.CancelledError) -> bool:
            sent.cancel(instance.ledger)
            return False

        await sent.outcome.wait(cancel)

    async def cancel(self, call: CancelExternalWorkflow) -> None:
        """Ask another workflow to cancel, and wait until it has the request."""
        instance = self._instance
        instance.check_running("cancel another workflow")
        outcome: asyncio.Future[None] = instance.loop.create_future()
        instance.ledger.add(RequestedCancellation(call, instance.info().run_id, outcome))
        await outcome

    def answer(self, event: Event, initiated_event_id: int, failure: Failure | None) -> Callable[[], None] | None:
        """What an answer does to the code; None when nobody waits for it.

        Raises:
            NondeterminismError: Nothing was asked, or something else.
            HistoryError: It was answered before.
        """
        ledger = self._instance.ledger
        if initiated_event_id not in ledger.external:
            raise ledger.unexpected(event, _KIND, initiated_event_id)
        outcome = ledger.external.pop(initiated_event_id)
        if isinstance(outcome, Operation) is not isinstance(event.attributes, _OF_SIGNALS):
            raise ledger.disagree(event, None)
        ledger.forget(_KIND, initiated_event_id)
        if outcome is None:
            return None
        return lambda: self._resolve(outcome, failure)

    def _resolve(self, outcome: Operation[None] | asyncio.Future[None], failure: Failure | None) -> None:
        if isinstance(outcome, asyncio.Future):
            if outcome.done():
                return  # whoever waited was cancelled; the request was sent all the same
            if failure is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(self._instance.decode_failure(failure))
        elif failure is None:
            outcome.complete(None)
        else:
            outcome.fail(self._instance.decode_failure(failure))


_SIGNAL_REASONS = {
    "UNSPECIFIED": "unknown",
    "SIGNAL_COUNT_LIMIT_EXCEEDED": "The per-workflow signal limit was exceeded",
}


def signal_failure(failed: SignalExternalWorkflowExecutionFailed) -> Failure:
    """Why a signal did not arrive, as Temporal Core words it."""
    cause = failed.cause or "UNSPECIFIED"
    reason = _SIGNAL_REASONS.get(cause, "it was not found")
    return Failure(f"Unable to signal external workflow because {reason}", ApplicationFailureInfo(type=_camel(cause)))


def cancel_failure(failed: RequestCancelExternalWorkflowExecutionFailed) -> Failure:
    """Why a request to cancel did not arrive, as Temporal Core words it."""
    cause = failed.cause or "UNSPECIFIED"
    reason = "unknown" if cause == "UNSPECIFIED" else "not found"
    return Failure(f"Unable to cancel external workflow because {reason}", ApplicationFailureInfo(type=_camel(cause)))


def _camel(cause: str) -> str:
    """The failure's type, which is Core's own spelling of the cause."""
    return "".join(word.capitalize() for word in cause.split("_"))
