"""How signals, updates, queries and the start of a run reach the methods of a workflow class."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

from protopact import contract
from protopact.errors import (
    ApplicationError,
    ContinueAsNewError,
    PayloadError,
    ReadOnlyContextError,
    WorkflowCodeError,
)
from protopact.errors import CancelledError as CancelledFailure
from protopact.history.event import (
    UpdateRequest,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from protopact.history.failure import Failure
from protopact.interceptor import ExecuteWorkflow, HandleQuery, HandleSignal, HandleUpdate
from protopact.payload.payload import Headers, Payloads
from protopact.replay.command import CompleteUpdate, CompleteWorkflowExecution, RejectUpdate
from protopact.replay.definition import Definition, ReceivedSignal
from protopact.replay.entries import AcceptedUpdate, CompletedUpdate
from protopact.replay.instance import Instance, request_of, response_of
from protopact.workflow import SignalChannel, Workflow

__all__ = ["Handlers"]

T = TypeVar("T")

_NOT_READ = object()

_logger = logging.getLogger("protopact.workflow")


class Handlers:
    """The methods of one run's workflow object.

    Names that the class does not know are no reason to fail a task: signals stay in history until a class that knows
    them is deployed, updates and queries are refused.

    Args:
        definition: The workflow class and what goes with it.
        instance: The run's code at work.

    Attributes:
        answers_queries: Whether the run answers queries once there is a workflow object.
    """

    __slots__ = ("_definition", "_instance", "_object", "_request", "_started", "answers_queries")

    def __init__(self, definition: Definition, instance: Instance) -> None:
        self.answers_queries = True
        self._definition = definition
        self._instance = instance
        self._object: Workflow | None = None
        self._started = WorkflowExecutionStarted()
        self._request: object = _NOT_READ

    def begin(self, started: WorkflowExecutionStarted) -> None:
        """The run has begun."""
        self._started = started

    def instantiate(self) -> None:
        """Make the workflow object, if there is none; inside the loop.

        Raises:
            PayloadError: Its constructor takes the request, which cannot be read.
        """
        if self._object is None:
            create = cast("Callable[..., Workflow]", self._definition.workflow)
            self._object = create(self._read_request()) if self._definition.takes_request else create()

    def start(self) -> None:
        """Start `run`."""
        self._instance.start_main(self._execute)

    def _read_request(self) -> object:
        if self._request is _NOT_READ:
            definition, own = self._definition, self._definition.contract
            self._request = definition.converter.from_payloads(own.request, self._started.input, request_of(own.name))
        return self._request

    async def _execute(self) -> None:
        definition, own, started = self._definition, self._definition.contract, self._started
        request = self._read_request()
        if definition.hooks["execute_workflow"]:
            call = definition.around("execute_workflow", self._run)
            result = await call(ExecuteWorkflow(workflow=own, request=request, headers=dict(started.header)))
        else:
            result = await _call(self._object, "run", own.request, request)
        payloads = self._instance.encoder(own.response, result, response_of(own.name))
        self._instance.close(WorkflowExecutionCompleted, lambda: CompleteWorkflowExecution(result=payloads()))

    async def _run(self, call: ExecuteWorkflow) -> object:
        return await _call(self._object, "run", call.workflow.request, call.request)

    # -- signals

    def signal(self, event: WorkflowExecutionSignaled) -> None:
        """Deliver a signal: to its channel, or to the method that the class handles it with."""
        definition, instance = self._definition, self._instance
        received = definition.signals.get(event.signal_name)
        if received is None:
            _logger.warning(
                "workflow %s %r has no signal %r; it has: %s. The signal stays in history",
                definition.contract.name,
                instance.info().workflow_id,
                event.signal_name,
                _listed(definition.signals),
            )
            return
        signal = received.signal
        try:
            request = definition.converter.from_payloads(signal.request, event.input, request_of(signal.name))
        except PayloadError:
            # As in Temporal's SDKs: failing the task would wedge the run for what somebody else has sent.
            _logger.exception(
                "a signal %s to workflow %s %r cannot be read and is dropped",
                signal.name,
                definition.contract.name,
                instance.info().workflow_id,
            )
            return
        if definition.hooks["handle_signal"]:
            call = definition.around("handle_signal", partial(self._handle_signal, received))
            own = definition.contract
            handle = HandleSignal(workflow=own, signal=signal, request=request, headers=dict(event.header))
            instance.start_handler(signal.name, partial(call, handle))
        elif received.handler is not None:
            instance.start_handler(signal.name, partial(self._perform_signal, received.handler, signal, request))
        else:
            instance.loop.call_soon(self._deliver, signal, request, instance.begin_handler(signal.name))

    async def _handle_signal(self, received: ReceivedSignal, call: HandleSignal) -> None:
        if received.handler is not None:
            await _call(self._object, received.handler, call.signal.request, call.request)
        else:
            self._channel(received.signal).deliver(call.request)

    async def _perform_signal(self, handler: str, signal: contract.Signal[object], request: object) -> None:
        await _call(self._object, handler, signal.request, request)

    def _deliver(self, signal: contract.Signal[object], request: object, end: Callable[[], None]) -> None:
        """What a task that does nothing else would do, in as many turns."""
        self._channel(signal).deliver(request)
        self._instance.loop.ready.append(end)

    def unread_signals(self) -> tuple[str, ...]:
        """Names of the signals that wait in channels."""
        if self._object is None:
            return ()
        own = {each.signal.name: each.signal for each in self._definition.signals.values() if each.handler is None}
        channels = {name: vars(self._object).get(signal.method) for name, signal in own.items()}
        return tuple(name for name, each in channels.items() if isinstance(each, SignalChannel) and each.pending)

    def _channel(self, signal: contract.Signal[object]) -> SignalChannel[object]:
        channel: SignalChannel[object] = getattr(self._object, signal.method)
        return channel

    # -- updates

    def update(self, request: UpdateRequest, *, sequencing_event_id: int, validate: bool) -> None:
        """Validate an update, accept or reject it, and handle it."""
        self._instance.loop.create_task(
            self._update(request, sequencing_event_id, validate=validate), name=f"update {request.name}"
        )

    async def _update(self, request: UpdateRequest, sequencing_event_id: int, *, validate: bool) -> None:
        instance, failures = self._instance, self._definition.failures
        end: Callable[[], None] | None = None
        is_accepted = False
        try:
            ref = self._known("update", self._definition.updates, request.name)
            end = instance.begin_handler(ref.update.name)
            handle = self._handle_update(ref.update, request)
            if validate and ref.validate:
                with instance.read_only("a validator"):
                    self._definition.around("validate_update", self._validate)(handle)
                # Decoded anew, so that a validator that changed the message has changed nothing.
                handle = self._handle_update(ref.update, request)
            is_accepted = instance.tests_conditions = True
            instance.ledger.add(AcceptedUpdate(request, sequencing_event_id))
            result = await self._definition.around("handle_update", self._perform_update)(handle)
            success = instance.encoder(ref.update.response, result, response_of(ref.update.name))
            self._complete(request.update_id, success=success)
        except KeyboardInterrupt:
            raise
        except ContinueAsNewError:
            instance.fail_task(
                WorkflowCodeError(
                    f"the handler of update {request.name} continues as new: expected `run` or the handler of a signal "
                    "to do so. Let the handler note what is wanted, and `run` wait for it"
                )
            )
        except BaseException as error:  # noqa: BLE001 - becomes the update's failure, or the task's
            if instance.loop.is_unwound:
                return
            failure: BaseException = error
            if isinstance(error, asyncio.CancelledError):
                failure = CancelledFailure(f"Cancellation raised within update {request.name}")
            if isinstance(error, ReadOnlyContextError) or (is_accepted and not instance.is_failure(failure)):
                instance.fail_task(error)
            elif is_accepted:
                self._complete(request.update_id, failure=failures.to_failure(failure))
            else:
                rejection = RejectUpdate(update_id=request.update_id, failure=failures.to_failure(failure))
                instance.ledger.rejections.append(rejection)
        finally:
            if end is not None:
                end()

    def _handle_update(self, update: contract.Update[object, object], request: UpdateRequest) -> HandleUpdate:
        return HandleUpdate(
            workflow=self._definition.contract,
            update=update,
            update_id=request.update_id,
            request=self._definition.converter.from_payloads(update.request, request.args, request_of(update.name)),
            headers=dict(request.header),
        )

    def _validate(self, handle: HandleUpdate) -> None:
        _call(self._object, f"validate_{handle.update.method}", handle.update.request, handle.request)

    async def _perform_update(self, handle: HandleUpdate) -> object:
        return await _call(self._object, handle.update.method, handle.update.request, handle.request)

    def _complete(
        self, update_id: str, *, success: Callable[[], Payloads] | None = None, failure: Failure | None = None
    ) -> None:
        def outcome(accepted_event_id: int) -> CompleteUpdate:
            payloads = () if success is None else success()
            return CompleteUpdate(
                update_id=update_id, accepted_event_id=accepted_event_id, success=payloads, failure=failure
            )

        ledger = self._instance.ledger
        ledger.add(CompletedUpdate(ledger, update_id, outcome))

    def _known(self, kind: str, names: Mapping[str, T], name: str) -> T:
        if name not in names:
            raise ApplicationError(
                f"workflow {self._definition.contract.name} has no {kind} {name!r}; it has: {_listed(names)}",
                type=f"Unknown{kind.capitalize()}",
            )
        return names[name]

    # -- queries

    def query(self, name: str, args: Payloads, header: Headers) -> Payloads | Failure:
        """Answer a query; inside the loop."""
        definition = self._definition
        if self._object is None or not self.answers_queries:
            message = "none of its workflow tasks has run, so there is no state to ask for"
            return definition.failures.to_failure(ApplicationError(message, type="WorkflowNotReady"))
        try:
            query = self._known("query", definition.queries, name)
            request = definition.converter.from_payloads(query.request, args, request_of(query.name))
            handle = HandleQuery(workflow=definition.contract, query=query, request=request, headers=dict(header))
            with self._instance.read_only("a query"):
                answer = definition.around("handle_query", self._answer)(handle)
            return definition.converter.to_payloads(query.response, answer, response_of(query.name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a query raises is its caller's answer
            return definition.failures.to_failure(error)

    def _answer(self, handle: HandleQuery) -> object:
        return _call(self._object, handle.query.method, handle.query.request, handle.request)


def _call(receiver: object, method: str, message: contract.Message[Any], request: object) -> Any:  # noqa: ANN401 - of any of the user's methods
    """Call a method of the workflow object: `google.protobuf.Empty` is no argument."""
    function: Callable[..., Any] = getattr(receiver, method)
    return function() if message.type is type(None) else function(request)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
