"""One run on Temporal: the user's object, how calls reach its methods, and what its exceptions become.

The rules are those of the embedded engine (`protopact.replay.handlers`), which are the SDK's own. What user code raises
leaves here as one of three: a failure that carries what is to be written, a cancellation, or the exception itself,
which fails the workflow task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError as TemporalFailureError

from protopact import contract
from protopact.errors import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    ContinueAsNewError,
    ContractMismatchError,
    FailureError,
    NondeterministicCallError,
    PayloadError,
    ReadOnlyContextError,
    WorkflowCodeError,
    WorkflowTaskError,
)
from protopact.errors import CancelledError as CancelledFailure
from protopact.failure import summary
from protopact.interceptor import ExecuteWorkflow, HandleQuery, HandleSignal, HandleUpdate
from protopact.origin import check_origin
from protopact.payload.payload import Payload, Payloads
from protopact.replay.definition import Definition, ReceivedSignal
from protopact.replay.instance import request_of, response_of
from protopact.temporal.failures import TemporalFailures
from protopact.temporal.headers import received_headers
from protopact.temporal.payloads import from_proto, headers_from_protos, to_proto
from protopact.temporal.runtime import Continuation, TemporalRuntime
from protopact.workflow import RUNTIME_ATTRIBUTE, SignalChannel, Workflow

__all__ = ["NO_REQUEST", "Serving", "WorkflowRun"]

T = TypeVar("T")

NO_REQUEST = RawValue(to_proto(Payload({"encoding": b"binary/null"})))
"""What stands for a request where a call carries none, and for a response that is none."""

_logger = logging.getLogger("protopact.workflow")


@dataclass(frozen=True, eq=False, slots=True)
class Serving:
    """What the runs of a workflow class share.

    Attributes:
        definition: The workflow class and what goes with it.
        failures: Exceptions to failures and back.
        checks_origin: Whether a run is refused that was started under a contract that is not known here.
    """

    definition: Definition
    failures: TemporalFailures
    checks_origin: bool


class WorkflowRun:
    """One run; made in its loop.

    Args:
        serving: What it shares with other runs.
        cls: The class, of the sandbox if the run is in one.
        failure_types: Exceptions that the worker lets fail a run; as the class.
        request: The run's request.
    """

    def __init__(
        self,
        serving: Serving,
        cls: type[Workflow],
        failure_types: Iterable[type[BaseException]],
        request: RawValue,
    ) -> None:
        self._definition = definition = serving.definition
        self._failures = serving.failures
        self._failure_types = (FailureError, TimeoutError, *failure_types, *cls.__failure_exception_types__)
        self._runtime = TemporalRuntime(definition, serving.failures)
        self._raw_request = request
        self._handlers: dict[int, str] = {}
        self._handler_seq = 0
        self._validated: dict[str, object] = {}
        setattr(asyncio.get_running_loop(), RUNTIME_ATTRIBUTE, self._runtime)
        self._request: object = None
        self._is_read = False
        self._refusal: ContractMismatchError | None = None
        if serving.checks_origin:
            try:
                check_origin(definition.contract, self._runtime.memo_at_start())
            except ContractMismatchError as error:
                # Raised by whatever is asked of the run: a constructor that raises leaves the SDK a coroutine.
                self._refusal = error
                return
        try:
            create = cast("Callable[..., Workflow]", cls)
            self._object = create(self._read_request()) if definition.takes_request else create()
        except BaseException as error:
            if _is_not_of_the_user(error):
                raise
            _raise(self._outgoing(error), error)

    # -- run

    async def execute(self) -> RawValue:
        """`run`, to its end."""
        definition, own = self._definition, self._definition.contract
        try:
            request = self._read_request()
            if definition.hooks["execute_workflow"]:
                headers = headers_from_protos(workflow.info().headers)
                call = definition.around("execute_workflow", self._run)
                result = await call(ExecuteWorkflow(workflow=own, request=request, headers=headers))
            else:
                result = await _call(self._object, "run", own.request, request)
            answer = self._answer(own.response, result, own.name)
        except BaseException as error:  # noqa: BLE001 - becomes the end of the run, or of the task
            self._end(error)
        self._note_end()
        return answer

    async def _run(self, call: ExecuteWorkflow) -> object:
        return await _call(self._object, "run", call.workflow.request, call.request)

    def _read_request(self) -> object:
        if not self._is_read:
            own = self._definition.contract
            self._request = self._decode(own.request, self._raw_request, own.name)
            self._is_read = True
        return self._request

    # -- signals

    def deliver_signal(self, received: ReceivedSignal, raw: RawValue) -> None:
        """Put a signal into its channel."""
        signal = received.signal
        try:
            request = self._decode(signal.request, raw, signal.name)
        except PayloadError as error:
            self._note_unreadable(signal, error)
        else:
            self._channel(signal).deliver(request)

    async def handle_signal(self, received: ReceivedSignal, raw: RawValue) -> None:
        """Have a signal handled by its method, or by interceptors first."""
        signal = received.signal
        try:
            request = self._decode(signal.request, raw, signal.name)
        except PayloadError as error:
            self._note_unreadable(signal, error)
            return
        end = self._begin_handler(signal.name)
        try:
            if self._definition.hooks["handle_signal"]:
                own = self._definition.contract
                call = HandleSignal(workflow=own, signal=signal, request=request, headers=received_headers())
                await self._definition.around("handle_signal", self._handle_signal)(call)
            else:
                await _call(self._object, cast("str", received.handler), signal.request, request)
        except BaseException as error:  # noqa: BLE001 - as for `run`
            self._end(error)
        finally:
            end()

    async def _handle_signal(self, call: HandleSignal) -> None:
        received = self._definition.signals[call.signal.name]
        if received.handler is not None:
            await _call(self._object, received.handler, call.signal.request, call.request)
        else:
            self._channel(call.signal).deliver(call.request)

    def note_unknown_signal(self, name: str) -> None:
        """Say that the class does not know a signal."""
        if not self._runtime.is_silent():
            _logger.warning(
                "workflow %s %r has no signal %r; it has: %s. The signal stays in history",
                self._definition.contract.name,
                self._runtime.info().workflow_id,
                name,
                _listed(self._definition.signals),
            )

    def _note_unreadable(self, signal: contract.Signal[object], error: PayloadError) -> None:
        # As in Temporal's SDKs: failing the task would wedge the run for what somebody else has sent.
        if not self._runtime.is_silent():
            _logger.error(
                "a signal %s to workflow %s %r cannot be read and is dropped",
                signal.name,
                self._definition.contract.name,
                self._runtime.info().workflow_id,
                exc_info=error,
            )

    def _channel(self, signal: contract.Signal[object]) -> SignalChannel[object]:
        channel: SignalChannel[object] = getattr(self._object, signal.method)
        return channel

    # -- updates

    def validate_update(self, ref: contract.UpdateRef[object, object], raw: RawValue) -> None:
        """Accept an update, or raise."""
        if self._refusal is not None:
            self._runtime.fail_task(self._refusal)  # it is for another worker to accept or reject
        try:
            handle = self._handle_update(ref.update, raw)
            if ref.validate:
                with self._runtime.read_only("a validator"):
                    self._definition.around("validate_update", self._validate)(handle)
        except KeyboardInterrupt:
            raise
        except ReadOnlyContextError as error:
            raise workflow.ReadOnlyContextError(str(error)) from error
        except BaseException as error:
            raise self._failed(error) from error

    async def handle_update(self, ref: contract.UpdateRef[object, object], raw: RawValue) -> RawValue:
        """Have an update handled."""
        update = ref.update
        end = self._begin_handler(update.name)
        try:
            handle = self._handle_update(update, raw)
            if self._definition.hooks["handle_update"]:
                result = await self._definition.around("handle_update", self._perform_update)(handle)
            else:
                result = await self._perform_update(handle)
            return self._answer(update.response, result, update.name)
        except ContinueAsNewError as error:
            raise WorkflowCodeError(
                f"the handler of update {update.name} continues as new: expected `run` or the handler of a signal "
                "to do so. Let the handler note what is wanted, and `run` wait for it"
            ) from error
        except BaseException as error:
            if _is_not_of_the_user(error):
                raise
            failure: BaseException = error
            if isinstance(error, asyncio.CancelledError):
                failure = CancelledFailure(f"Cancellation raised within update {update.name}")
            _raise(self._failed(failure) if self._is_failure(failure) else self._task_error(error), error)
        finally:
            end()

    def _handle_update(self, update: contract.Update[object, object], raw: RawValue) -> HandleUpdate:
        known = workflow.current_update_info()
        return HandleUpdate(
            workflow=self._definition.contract,
            update=update,
            update_id="" if known is None else known.id,
            request=self._decode(update.request, raw, update.name),
            headers=received_headers(),
        )

    def _validate(self, handle: HandleUpdate) -> None:
        _call(self._object, f"validate_{handle.update.method}", handle.update.request, handle.request)

    async def _perform_update(self, handle: HandleUpdate) -> object:
        return await _call(self._object, handle.update.method, handle.update.request, handle.request)

    # -- queries

    def answer_query(self, query: contract.Query[object, object], raw: RawValue) -> RawValue:
        """Answer a query."""
        definition = self._definition
        try:
            request = self._decode(query.request, raw, query.name)
            handle = HandleQuery(workflow=definition.contract, query=query, request=request, headers=received_headers())
            with self._runtime.read_only("a query"):
                result = definition.around("handle_query", self._query)(handle)
            return self._answer(query.response, result, query.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a query raises is its caller's answer
            raise self._failed(error) from error

    def _query(self, handle: HandleQuery) -> object:
        return _call(self._object, handle.query.method, handle.query.request, handle.request)

    def refuse(self, kind: str, names: Mapping[str, Any], name: str) -> NoReturn:
        """Say that there is no query or update of a name."""
        error = ApplicationError(
            f"workflow {self._definition.contract.name} has no {kind} {name!r}; it has: {_listed(names)}",
            type=f"Unknown{kind.capitalize()}",
        )
        raise self._failed(error)

    def refuse_query(self, name: str) -> NoReturn:
        """Say that there is no such query."""
        self.refuse("query", self._definition.queries, name)

    def refuse_update(self, name: str) -> NoReturn:
        """Say that there is no such update."""
        self.refuse("update", self._definition.updates, name)

    # -- what exceptions become

    def _end(self, error: BaseException) -> NoReturn:
        """Leave `run` or the handler of a signal, as the SDK understands it."""
        if isinstance(error, Continuation):
            self._note_end()
            error.perform()
        if _is_not_of_the_user(error):
            raise error
        outgoing = self._outgoing(error)
        if isinstance(outgoing, asyncio.CancelledError | TemporalFailureError):
            self._note_end()
        _raise(outgoing, error)

    def _outgoing(self, error: BaseException) -> BaseException:
        failure = error
        if isinstance(error, asyncio.CancelledError):
            failure = CancelledFailure(str(error) or "Cancelled")
        if workflow.cancellation_reason() is not None and _is_cancellation(failure):
            return asyncio.CancelledError(str(failure))
        if self._is_failure(failure):
            return self._failed(failure)
        return self._task_error(error)

    def _failed(self, error: BaseException) -> TemporalFailureError:
        failure = self._failures.to_proto(error)
        return TemporalFailureError(failure.message, failure=failure)

    def _is_failure(self, error: BaseException) -> bool:
        # These two are cured by deploying a fix, whatever the class or the worker lists.
        is_task_error = isinstance(error, NondeterministicCallError | ContractMismatchError)
        return isinstance(error, self._failure_types) and not is_task_error

    def _task_error(self, error: BaseException) -> BaseException:
        """What fails the task: the exception, unless the SDK would take it for a failure, or not see it at all."""
        if isinstance(error, TemporalFailureError) or not isinstance(error, Exception | asyncio.CancelledError):
            return WorkflowTaskError(summary(error))
        return error

    # -- handlers that run

    def _begin_handler(self, name: str) -> Callable[[], None]:
        self._handler_seq += 1
        seq = self._handler_seq
        self._handlers[seq] = name

        def end() -> None:
            del self._handlers[seq]

        return end

    def _note_end(self) -> None:
        """Log, when nothing moves any more, what the run has left undone."""
        if self._runtime.is_silent():
            return
        if self._handlers or self._unread_signals():
            self._waiting = asyncio.ensure_future(workflow.wait_condition(self._log_undone))

    def _log_undone(self) -> bool:
        info = self._runtime.info()
        if unread := self._unread_signals():
            _logger.warning(
                "workflow %s (run %s) ended before it took signals that it had received, and they are lost: %s; take "
                "what is pending in their channels before returning or continuing as new",
                info.workflow_id,
                info.run_id,
                ", ".join(unread),
            )
        if self._handlers:
            _logger.warning(
                "workflow %s (run %s) ended while handlers were still running: %s; await "
                "workflow.wait_condition(workflow.all_handlers_finished) before returning",
                info.workflow_id,
                info.run_id,
                ", ".join(self._handlers.values()),
            )
        return True

    def _unread_signals(self) -> Sequence[str]:
        own = {each.signal.name: each.signal for each in self._definition.signals.values() if each.handler is None}
        channels = {name: vars(self._object).get(signal.method) for name, signal in own.items()}
        return [name for name, each in channels.items() if isinstance(each, SignalChannel) and each.pending]

    # -- payloads

    def _decode(self, message: contract.Message[T], raw: RawValue, name: str) -> T:
        if self._refusal is not None:
            raise self._refusal
        payloads: Payloads = () if raw is NO_REQUEST else (from_proto(raw.payload),)
        return self._definition.converter.from_payloads(message, payloads, request_of(name))

    def _answer(self, message: contract.Message[Any], value: object, name: str) -> RawValue:
        payloads = self._definition.converter.to_payloads(message, value, response_of(name))
        return RawValue(to_proto(payloads[0])) if payloads else NO_REQUEST


def _call(receiver: object, method: str, message: contract.Message[Any], request: object) -> Any:  # noqa: ANN401 - of any of the user's methods
    """Call a method of the user's object: `google.protobuf.Empty` is no argument."""
    function: Callable[..., Any] = getattr(receiver, method)
    return function() if message.type is type(None) else function(request)


def _is_not_of_the_user(error: BaseException) -> bool:
    """Whether the SDK has raised an exception, to let go of the run or to end it, or Python or who sits before it."""
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or (
        not isinstance(error, Exception) and type(error).__module__.partition(".")[0] == "temporalio"
    )


def _raise(error: BaseException, cause: BaseException) -> NoReturn:
    if error is cause:
        raise error
    raise error from cause


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, ActivityError | ChildWorkflowError):
        return isinstance(error.cause, CancelledFailure)
    return isinstance(error, CancelledFailure)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
