"""How signals, updates, queries and the start of a run reach the methods of a workflow class."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from protopact import contract
from protopact.errors import ApplicationError, PayloadError, ReadOnlyContextError
from protopact.errors import CancelledError as CancelledFailure
from protopact.history.event import UpdateRequest, WorkflowExecutionSignaled, WorkflowExecutionStarted
from protopact.history.failure import Failure
from protopact.interceptor import ExecuteWorkflow, HandleQuery, HandleSignal, HandleUpdate
from protopact.payload.payload import Headers, Payloads
from protopact.replay.command import AcceptUpdate, CompleteUpdate, CompleteWorkflowExecution, RejectUpdate
from protopact.replay.definition import Definition
from protopact.replay.instance import Instance
from protopact.workflow import SignalChannelOf, Workflow

__all__ = ["Handlers"]

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")

_logger = logging.getLogger("protopact.workflow")


class Handlers:
    """The methods of one run's workflow object.

    Names that the class does not know are no reason to fail a task: signals are kept until a class that knows them is
    deployed, updates and queries are refused.

    Args:
        definition: The workflow class and what goes with it.
        instance: The run's code at work.

    Attributes:
        has_accepted: Whether an update has been accepted since this was last set to False.
    """

    def __init__(self, definition: Definition, instance: Instance) -> None:
        self.has_accepted = False
        self._definition = definition
        self._instance = instance
        self._contract = definition.contract
        self._object: Workflow | None = None
        own = definition.contract
        self._signals = {name: ref.signal for ref in own.signals for name in (ref.signal.name, *ref.signal.aliases)}
        self._updates = {name: ref for ref in own.updates for name in (ref.update.name, *ref.update.aliases)}
        self._queries = {name: query for query in own.queries for name in (query.name, *query.aliases)}

    def instantiate(self) -> None:
        """Make the workflow object, if there is none; inside the loop."""
        if self._object is None:
            self._object = self._definition.workflow()

    def start(self, started: WorkflowExecutionStarted) -> None:
        """Start `run`."""
        self._instance.start_main(self._execute(started))

    async def _execute(self, started: WorkflowExecutionStarted) -> None:
        own, converter = self._contract, self._definition.converter
        request = converter.from_payloads(own.request, started.input, f"request of {own.name}")
        call = _around(
            self._definition, "execute_workflow", lambda call: _call(self._object, "run", own.request, call.request)
        )
        result = await call(ExecuteWorkflow(workflow=own, request=request, headers=dict(started.header)))
        payloads = converter.to_payloads(own.response, result, f"response of {own.name}")
        self._instance.close(CompleteWorkflowExecution(result=payloads))

    # -- signals

    def signal(self, event: WorkflowExecutionSignaled) -> None:
        """Deliver a signal: to its channel, or to the method that the class handles it with."""
        signal = self._signals.get(event.signal_name)
        if signal is None:
            _logger.warning(
                "workflow %s %r has no signal %r; it has: %s. The signal stays in history",
                self._contract.name,
                self._instance.info().workflow_id,
                event.signal_name,
                _listed(self._signals),
            )
            return
        try:
            request = self._definition.converter.from_payloads(signal.request, event.input, f"request of {signal.name}")
        except PayloadError:
            # As in Temporal's SDKs: failing the task would wedge the run for what somebody else has sent.
            _logger.exception(
                "a signal %s to workflow %s %r cannot be read and is dropped",
                signal.name,
                self._contract.name,
                self._instance.info().workflow_id,
            )
            return
        call = _around(self._definition, "handle_signal", lambda call: self._deliver(signal, call.request))
        handled = call(
            HandleSignal(workflow=self._contract, signal=signal, request=request, headers=dict(event.header))
        )
        self._instance.start_handler(signal.name, handled)

    async def _deliver(self, signal: contract.Signal[object], request: object) -> None:
        cls = type(self._object)
        descriptor = getattr(cls, signal.method)
        if not isinstance(descriptor, SignalChannelOf):
            raise TypeError(f"{cls.__qualname__}.{signal.method} hides the channel of signal {signal.name}")
        method = descriptor.handler_of(cls)
        if method is None:
            getattr(self._object, signal.method).deliver(request)
        else:
            await _call(self._object, method, signal.request, request)

    # -- updates

    def update(self, request: UpdateRequest, *, sequencing_event_id: int, validate: bool) -> None:
        """Validate an update, accept or reject it, and handle it."""
        self._instance.loop.create_task(
            self._update(request, sequencing_event_id, validate=validate), name=f"update {request.name}"
        )

    async def _update(self, request: UpdateRequest, sequencing_event_id: int, *, validate: bool) -> None:
        instance, failures = self._instance, self._definition.failures
        is_accepted = False
        try:
            ref = self._known("update", self._updates, request.name)
            with instance.handling(ref.update.name):
                handle = self._handle_update(ref.update, request)
                if validate and ref.validate:
                    with instance.read_only("a validator"):
                        self._validate(ref.update, handle)
                    # Decoded anew, so that a validator that changed the message has changed nothing.
                    handle = self._handle_update(ref.update, request)
                is_accepted = self.has_accepted = True
                instance.ledger.add(AcceptUpdate(request=request, sequencing_event_id=sequencing_event_id))
                success = await self._perform(ref.update, handle)
            self._complete(request.update_id, success=success)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - becomes the update's failure, or the task's
            if instance.loop.is_unwound:
                return
            failure: BaseException = error
            if isinstance(error, asyncio.CancelledError) and not isinstance(error, CancelledFailure):
                failure = CancelledFailure(f"Cancellation raised within update {request.name}")
            if isinstance(error, ReadOnlyContextError) or (is_accepted and not instance.is_failure(failure)):
                instance.fail_task(error)
            elif is_accepted:
                self._complete(request.update_id, failure=failures.to_failure(failure))
            else:
                rejection = RejectUpdate(update_id=request.update_id, failure=failures.to_failure(failure))
                instance.ledger.rejections.append(rejection)

    def _handle_update(self, update: contract.Update[object, object], request: UpdateRequest) -> HandleUpdate:
        return HandleUpdate(
            workflow=self._contract,
            update=update,
            update_id=request.update_id,
            request=self._definition.converter.from_payloads(update.request, request.args, f"request of {update.name}"),
            headers=dict(request.header),
        )

    def _validate(self, update: contract.Update[object, object], handle: HandleUpdate) -> None:
        method = f"validate_{update.method}"
        call = _around(
            self._definition, "validate_update", lambda call: _call(self._object, method, update.request, call.request)
        )
        call(handle)

    async def _perform(self, update: contract.Update[object, object], handle: HandleUpdate) -> Payloads:
        call = _around(
            self._definition,
            "handle_update",
            lambda call: _call(self._object, update.method, update.request, call.request),
        )
        result = await call(handle)
        return self._definition.converter.to_payloads(update.response, result, f"response of {update.name}")

    def _complete(self, update_id: str, *, success: Payloads = (), failure: Failure | None = None) -> None:
        ledger = self._instance.ledger
        accepted = ledger.accepted_event_id(update_id)
        ledger.add(CompleteUpdate(update_id=update_id, accepted_event_id=accepted, success=success, failure=failure))

    def _known(self, kind: str, names: dict[str, T], name: str) -> T:
        if name not in names:
            raise ApplicationError(
                f"workflow {self._contract.name} has no {kind} {name!r}; it has: {_listed(names)}",
                type=f"Unknown{kind.capitalize()}",
            )
        return names[name]

    # -- queries

    def query(self, name: str, args: Payloads, header: Headers) -> Payloads | Failure:
        """Answer a query; inside the loop."""
        converter, failures = self._definition.converter, self._definition.failures
        try:
            query = self._known("query", self._queries, name)
            request = converter.from_payloads(query.request, args, f"request of {query.name}")
            call = _around(
                self._definition,
                "handle_query",
                lambda call: _call(self._object, query.method, query.request, call.request),
            )
            with self._instance.read_only("a query"):
                answer = call(HandleQuery(workflow=self._contract, query=query, request=request, headers=dict(header)))
            return converter.to_payloads(query.response, answer, f"response of {query.name}")
        except Exception as error:  # noqa: BLE001 - whatever a query raises is its caller's answer
            return failures.to_failure(error)


def _call(receiver: object, method: str, message: contract.Message[Any], request: object) -> Any:  # noqa: ANN401 - of any of the user's methods
    """Call a method of the workflow object: `google.protobuf.Empty` is no argument."""
    function: Callable[..., Any] = getattr(receiver, method)
    return function() if message.type is type(None) else function(request)


def _around(definition: Definition, hook: str, innermost: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`innermost` within the hooks of every interceptor, the first one outermost."""
    call = innermost
    for interceptor in reversed(definition.interceptors):
        call = _within(getattr(interceptor, hook), call)
    return call


def _within(hook: Callable[[C, Callable[[C], R]], R], inner: Callable[[C], R]) -> Callable[[C], R]:
    return lambda call: hook(call, inner)


def _listed(names: dict[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
