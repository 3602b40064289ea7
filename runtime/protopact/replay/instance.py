"""One run's code at work: its loop, its activities, timers and conditions, and how it ends.

Order is that of Temporal's Python SDK: callbacks run in turn until none is left, then conditions are tested in the
order in which they were made, until nothing moves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NoReturn, TypeVar, cast
from zlib import crc32

from protopact import contract
from protopact.errors import (
    ActivityError,
    ChildWorkflowError,
    FailureError,
    NondeterministicCallError,
    ReadOnlyContextError,
    WorkflowTaskError,
)
from protopact.errors import CancelledError as CancelledFailure
from protopact.history.event import (
    Attributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowTaskStarted,
)
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp, to_datetime, to_timedelta
from protopact.interceptor import CancelExternalWorkflow, ContinueAsNew, SignalExternalWorkflow, StartChildWorkflow
from protopact.limits import LONGEST
from protopact.origin import check_origin, without_origin
from protopact.payload.attributes import (
    memo_from_payloads,
    memo_to_payloads,
    merged,
    search_attributes_from_payloads,
    search_attributes_to_payloads,
)
from protopact.payload.payload import Payload, Payloads
from protopact.policy import (
    ActivityOptions,
    ChildWorkflowOptions,
    ContinueAsNewOptions,
    LocalActivityOptions,
    SearchAttributeValue,
)
from protopact.replay.activities import Activities
from protopact.replay.child import Children
from protopact.replay.command import CancelWorkflowExecution, Command, FailWorkflowExecution
from protopact.replay.continuation import Continuation
from protopact.replay.definition import Definition
from protopact.replay.entries import Closing, StartedTimer
from protopact.replay.external import Externals
from protopact.replay.ledger import Ledger
from protopact.replay.local import LocalActivities
from protopact.replay.loop import Handle, Loop, Task, Unwinding
from protopact.replay.patch import Patches
from protopact.replay.seed import seed_of
from protopact.replay.upsert import UpsertedMemo, UpsertedSearchAttributes
from protopact.workflow import RUNTIME_ATTRIBUTE, ActivityHandle, ChildRun, Info, ParentInfo, Runtime

__all__ = ["RAISE_ON_CANCELLING_COMPLETED_ACTIVITY", "Instance", "request_of", "response_of"]

T = TypeVar("T")

RAISE_ON_CANCELLING_COMPLETED_ACTIVITY = 1
"""Flag of the Python SDK: cancelling a task that awaits an activity whose result is there cancels the task."""

_TASK_TIMEOUT = Duration(10_000_000_000)
_LONGEST_SECONDS = LONGEST.total_seconds()


class Instance(Runtime):
    """One run's code.

    Args:
        definition: The workflow class and what goes with it.
        workflow_id: Id of the workflow.
        run_id: The run.
        ledger: Where its commands go.

    Attributes:
        loop: The loop that it runs on.
        ledger: Where its commands go.
        flags: Flags of the Python SDK that history has recorded.
        used_flags: Flags of the Python SDK that the code has made use of.
        tests_conditions: Whether conditions are tested in this activation.
        children: Its children.
        externals: What it asks of other workflows.
        is_cancel_requested: Whether somebody has asked it to cancel.
        patches: The patches of the run.
        local_activities: The local activities of the run.
        activities: What it asks of activities.
        memo_payloads: Its memo, encoded.
        search_attribute_payloads: Its search attributes, encoded; without the one that lists patches.
        encodes_at_once: Whether messages are encoded when the code hands them over, on replay too: it may change them
            later.
    """

    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str, ledger: Ledger) -> None:
        self.loop = Loop(self._start_timer)
        setattr(self.loop, RUNTIME_ATTRIBUTE, self)
        self.ledger = ledger
        self.flags: set[int] = set()
        self.used_flags: set[int] = set()
        self.tests_conditions = True
        self.children = Children(self)
        self.externals = Externals(self)
        self.is_cancel_requested = False
        self.patches = Patches(ledger)
        self.local_activities = LocalActivities(ledger, self.loop)
        self.activities = Activities(self, definition)
        self.memo_payloads: Mapping[str, Payload] = {}
        self.search_attribute_payloads: Mapping[str, Payload] = {}
        self.encodes_at_once = False
        self._definition = definition
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._started: tuple[WorkflowExecutionStarted, Timestamp] | None = None
        self._info: Info | None = None
        self._history: tuple[int, WorkflowTaskStarted] = (0, WorkflowTaskStarted())
        self._seed = run_id
        self._random: random.Random | None = None
        self._main: Task[None] | None = None
        self._task_error: BaseException | None = None
        self._read_only: str | None = None
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._timer_seq = 0
        self._handlers: dict[int, str] = {}
        self._handler_seq = 0

    # -- what has happened

    def begin(self, started: WorkflowExecutionStarted, at: Timestamp) -> None:
        """The run has begun.

        Raises:
            ContractMismatchError: It was started under a contract that is not known here, if that is checked.
        """
        if self._definition.checks_origin:
            check_origin(self._definition.contract, memo_from_payloads(started.memo))
        self._started = started, at
        self.memo_payloads = started.memo
        self.search_attribute_payloads = started.search_attributes
        # A run that a reset made draws as the run that it was made of, up to the reset.
        self._seed = started.original_execution_run_id or self._run_id
        self.loop.set_salt(crc32(self._seed.encode()))

    def begin_task(self, event_id: int, started: WorkflowTaskStarted) -> None:
        """A workflow task has begun, by the event `event_id`."""
        self._history = event_id, started

    def start_main(self, run: Callable[[], Awaitable[None]]) -> None:
        """Start what the run is."""
        self._main = self.loop.create_task(self._guard(run), name="run")

    def start_handler(self, name: str, handle: Callable[[], Awaitable[None]]) -> None:
        """Start what handles a signal."""
        end = self.begin_handler(name)
        task = self.loop.create_task(self._guard(handle), name=f"signal {name}")
        task.add_done_callback(lambda _: end())

    def begin_handler(self, name: str) -> Callable[[], None]:
        """Count a handler as running, until what is returned is called."""
        self._handler_seq += 1
        seq = self._handler_seq
        self._handlers[seq] = name
        return partial(self._handlers.__delitem__, seq)

    def request_cancel(self) -> None:
        """Somebody has asked the run to cancel."""
        self.is_cancel_requested = True
        if self._main is not None:
            # In its turn, so that code that has not begun yet begins and can take it.
            self.loop.call_soon(self._main.cancel)

    def fire_timer(self, timer: StartedTimer) -> None:
        """A timer has fired."""
        if not timer.cancelled():
            self.loop.ready.append(timer.callback)

    def run(self, *, tests_conditions: bool = True) -> None:
        """Run until nothing moves.

        Args:
            tests_conditions: Whether conditions are tested, if they are in this activation.

        Raises:
            WorkflowTaskError: The code raised an exception that fails the task.
        """
        ready = self.loop.ready
        while ready:
            while ready:
                try:
                    ready.popleft()()
                except KeyboardInterrupt:
                    raise
                except SystemExit as error:  # a mistake of the code, which must not end the worker
                    self._task_error = error
                except BaseException as error:  # noqa: BLE001 - as in asyncio, it is reported and the loop goes on
                    self.loop.call_exception_handler(
                        {"message": "Exception in a callback of a workflow", "exception": error}
                    )
                if self._task_error is not None:
                    break
            if self._conditions and tests_conditions and self.tests_conditions and self._task_error is None:
                self._conditions[:] = [each for each in self._conditions if not each[1].done() and not _holds(*each)]
            if (failure := self._task_error) is not None:
                raise WorkflowTaskError(f"{type(failure).__name__}: {failure}") from failure

    # -- how the code ends

    async def _guard(self, call: Callable[[], Awaitable[None]]) -> None:
        """What fails what: see Temporal's Python SDK.

        The coroutine is made in its turn, which never comes when the run is let go before.
        """
        try:
            await call()
        except KeyboardInterrupt:
            raise
        except Continuation as error:
            self.close(WorkflowExecutionContinuedAsNew, error.command)
        except BaseException as error:  # noqa: BLE001 - becomes the run's failure, or the task's
            if not self.loop.is_unwound:
                self._end(error)

    def _end(self, error: BaseException) -> None:
        failure = error
        if isinstance(error, asyncio.CancelledError):
            failure = CancelledFailure(str(error))
        if self.is_cancel_requested and _is_cancellation(failure):
            self.close(WorkflowExecutionCanceled, CancelWorkflowExecution, error)
        elif self.is_failure(failure):
            self.fail(failure)
        else:
            self._task_error = error

    def fail(self, error: BaseException) -> None:
        """Fail the run."""
        failure = None if self.loop.is_replaying else self._definition.failures.to_failure(error)

        def build() -> FailWorkflowExecution:
            return FailWorkflowExecution(failure=failure or self._definition.failures.to_failure(error))

        self.close(WorkflowExecutionFailed, build, error)

    def close(
        self, becomes: type[Attributes], build: Callable[[], Command], error: BaseException | None = None
    ) -> None:
        """End the run, for what the code raised or without."""
        self.ledger.close(Closing(becomes, build, error))

    def is_failure(self, error: BaseException) -> bool:
        """Whether an exception fails the run, or an update, rather than the task.

        A nondeterministic call fails the task, whatever the class lists: it is cured by deploying a fix.
        """
        return isinstance(error, self._definition.failure_types) and not isinstance(error, NondeterministicCallError)

    def fail_task(self, error: BaseException) -> None:
        """Fail the task with `error` as soon as the code lets go, whatever the code makes of it."""
        self._task_error = error

    def unfinished_handlers(self) -> tuple[str, ...]:
        """Names of the handlers that are running."""
        return tuple(self._handlers.values())

    def unwind(self) -> None:
        """Let go of the code."""
        self.loop.unwind()
        self._conditions.clear()

    def encoder(self, message: contract.Message[Any], value: object, where: str) -> Callable[[], Payloads]:
        """What gives the payloads of a message that the code has made: encoded now, or on replay when asked for.

        Raises:
            MessageMismatchError: It is of another type.
            PayloadError: It cannot be encoded.
        """
        encode = partial(self._definition.converter.to_payloads, message, value, where)
        if self.loop.is_replaying and not self.encodes_at_once and type(value) is message.type:
            return encode
        payloads = encode()
        return lambda: payloads

    def encode_request(self, message: contract.Message[Any], value: object, name: str) -> Callable[[], Payloads]:
        """What gives the payloads of the request of the contract's element `name`; see `encoder`."""
        return self.encoder(message, value, request_of(name))

    def decode_response(self, message: contract.Message[T], payloads: Payloads, name: str) -> T:
        """The response of the contract's element `name`.

        Raises:
            PayloadError: It cannot be read.
        """
        return self._definition.converter.from_payloads(message, payloads, response_of(name))

    def decode_failure(self, failure: Failure) -> FailureError:
        """The exception that a failure stands for."""
        return self._definition.failures.from_failure(failure)

    # -- what the code may not do

    @contextmanager
    def read_only(self, by: str) -> Generator[None]:
        """Refuse whatever would start, wake or command something."""
        self._read_only = by
        self.loop.set_read_only(True)
        try:
            yield
        finally:
            self._read_only = None
            self.loop.set_read_only(False)

    def check_writable(self, what: str) -> None:
        """Refuse `what` where nothing may change.

        Raises:
            ReadOnlyContextError: It may not.
        """
        if self._read_only is not None:
            raise ReadOnlyContextError(
                f"{self._read_only} must change nothing: expected it to read the workflow's state and return, found "
                f"that it tried to {what}. Move that to a signal, an update or `run`."
            )

    def raises_on_cancelling_completed(self) -> bool:
        """Whether the Python SDK's flag 1 is in force; using it records it."""
        if self.loop.is_replaying and RAISE_ON_CANCELLING_COMPLETED_ACTIVITY not in self.flags:
            return False
        self.used_flags.add(RAISE_ON_CANCELLING_COMPLETED_ACTIVITY)
        return True

    # -- what the code sees

    @property
    def task_queue(self) -> str:
        """The run's task queue."""
        return self._begun().task_queue

    def _begun(self) -> WorkflowExecutionStarted:
        assert self._started is not None, "code runs after its run has begun"
        return self._started[0]

    def info(self) -> Info:
        """What is known of the run."""
        if self._info is None:
            self._info = self._describe()
        return self._info

    def _describe(self) -> Info:
        if self._started is None:
            raise WorkflowTaskError("the history does not begin with WorkflowExecutionStarted")
        started, at = self._started
        parent = None
        if started.parent_workflow_id:
            parent = ParentInfo(
                namespace=started.parent_workflow_namespace,
                workflow_id=started.parent_workflow_id,
                run_id=started.parent_run_id,
            )
        return Info(
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            first_run_id=started.first_execution_run_id or self._run_id,
            continued_run_id=started.continued_execution_run_id or None,
            workflow_type=started.workflow_type,
            task_queue=started.task_queue,
            attempt=started.attempt or 1,
            start_time=to_datetime(at),
            execution_timeout=to_timedelta(started.workflow_execution_timeout) or None,
            run_timeout=to_timedelta(started.workflow_run_timeout) or None,
            task_timeout=to_timedelta(started.workflow_task_timeout or _TASK_TIMEOUT),
            retry_policy=started.retry_policy,
            parent=parent,
            headers=started.header,
        )

    def history_length(self) -> int:
        """Number of events, up to the task that the code runs in."""
        return self._history[0]

    def history_size(self) -> int:
        """Bytes of history, up to that task."""
        return self._history[1].history_size_bytes

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the engine suggests to continue as new."""
        return self._history[1].suggest_continue_as_new

    def time_ns(self) -> int:
        """Workflow time: nanoseconds since the Unix epoch."""
        return self.loop.time_ns

    def random(self) -> random.Random:
        """The run's generator of random numbers."""
        self.check_writable("draw a random number")
        if self._random is None:
            self._random = random.Random(seed_of(self._seed))  # noqa: S311 - not for secrets; replay draws the same
        return self._random

    def reseed(self, run_id: str) -> None:
        """Draw as the run `run_id` does from now on: a reset made that run out of this one's history."""
        self._seed = run_id
        if self._random is not None:
            self._random.seed(seed_of(run_id))

    def is_replaying(self) -> bool:
        """Whether the code that runs now has run before."""
        return self.loop.is_replaying or self.loop.is_unwound or self._read_only == "a query"

    def is_silent(self) -> bool:
        """Whether log lines are held back."""
        return self.loop.is_unwound or (self.loop.is_replaying and self._read_only != "a query")

    def in_query(self) -> bool:
        """Whether the code that runs now answers a query."""
        return self._read_only == "a query"

    def all_handlers_finished(self) -> bool:
        """Whether no handler is running."""
        return not self._handlers

    def patched(self, patch_id: str, *, deprecated: bool) -> bool:
        """Whether the run takes a patched branch."""
        self.check_running("patch")
        return self.patches.answer(patch_id, deprecated=deprecated, is_replaying=self.loop.is_replaying)

    def memo(self) -> Mapping[str, str]:
        """The run's memo."""
        return without_origin(memo_from_payloads(self.memo_payloads))

    def upsert_memo(self, memo: Mapping[str, str | None]) -> None:
        """Set entries of the run's memo."""
        self.check_running("upsert the memo")
        if memo:
            payloads = memo_to_payloads(memo)
            self.ledger.add(UpsertedMemo(payloads))
            self.memo_payloads = merged(self.memo_payloads, payloads)

    def search_attributes(self) -> Mapping[str, SearchAttributeValue]:
        """The run's search attributes."""
        return search_attributes_from_payloads(self.search_attribute_payloads)

    def upsert_search_attributes(self, attributes: Mapping[str, SearchAttributeValue | None]) -> None:
        """Set search attributes of the run."""
        self.check_running("upsert search attributes")
        payloads = search_attributes_to_payloads(attributes, self._definition.contract.search_attributes)
        self.ledger.add(UpsertedSearchAttributes(payloads))
        self.search_attribute_payloads = merged(self.search_attribute_payloads, payloads)

    async def sleep(self, seconds: float) -> None:
        """A durable timer."""
        future: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_later(seconds, _wake, future)
        future.add_done_callback(lambda each: timer.cancel() if each.cancelled() else None)
        await future

    async def wait_condition(self, fn: Callable[[], bool], timeout: float | None) -> None:  # noqa: ASYNC109 - the field's name and habit
        """Wait until `fn` returns true."""
        self.check_running("wait for a condition")
        future: asyncio.Future[None] = self.loop.create_future()
        self._conditions.append((fn, future))
        await asyncio.wait_for(future, timeout)

    def _start_timer(self, delay: float, handle: Handle) -> asyncio.TimerHandle:
        self.check_running("start a timer")
        if delay < 0:
            raise ValueError(f"a timer cannot be started {-delay} seconds ago: its delay must not be negative")
        if delay > _LONGEST_SECONDS:
            raise ValueError(f"a timer lasts at most {LONGEST.days} days (100 years), not {delay} seconds")
        self._timer_seq += 1
        timer = StartedTimer(self.ledger, self._timer_seq, self.loop.time() + delay, Duration(int(delay * 1e9)), handle)
        self.ledger.add(timer)
        return timer

    def start_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: ActivityOptions,
    ) -> ActivityHandle[T]:
        """Start an activity."""
        return self.activities.start(activity, request, options)

    def continue_as_new(
        self,
        workflow: contract.Workflow[Any, Any],  # the generated method types the request
        request: object,
        options: ContinueAsNewOptions,
    ) -> NoReturn:
        """End the run and go on as a new one."""
        self.check_running("continue as new")
        call = ContinueAsNew(workflow=workflow, request=request, options=options)
        self._definition.around("continue_as_new", self._continue_as_new)(call)
        raise TypeError("an interceptor's `continue_as_new` returned: expected it to call the next hook, which raises")

    def _continue_as_new(self, call: ContinueAsNew) -> NoReturn:
        payloads = self.encode_request(call.workflow.request, call.request, call.workflow.name)
        raise Continuation(call, self._begun(), self.search_attribute_payloads, payloads)

    def start_local_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: LocalActivityOptions,
    ) -> ActivityHandle[T]:
        """Start a local activity."""
        return self.activities.start_local(activity, request, options)

    async def side_effect(self, fn: Callable[[], T | Awaitable[T]], cls: type[T]) -> T:
        """Record the result of a function."""
        return await self.activities.record(fn, cls)

    async def start_child_workflow(
        self,
        workflow: contract.Workflow[Any, T],  # as for activities
        workflow_id: str,
        request: object,
        options: ChildWorkflowOptions,
    ) -> ChildRun[T]:
        """Start a child."""
        call = StartChildWorkflow(workflow=workflow, workflow_id=workflow_id, request=request, options=options)
        started = cast("object", await self._definition.around("start_child_workflow", self.children.start)(call))
        if not isinstance(started, ChildRun):
            raise TypeError(
                "an interceptor's `start_child_workflow` must return what the next hook returned, not "
                f"{type(started).__name__}"
            )
        return cast("ChildRun[T]", started)

    async def signal_external_workflow(
        self, workflow_id: str, run_id: str | None, signal: contract.Signal[Any], request: object, *, is_child: bool
    ) -> None:
        """Signal another workflow."""
        call = SignalExternalWorkflow(
            workflow_id=workflow_id, run_id=run_id, signal=signal, request=request, is_child=is_child
        )
        await self._definition.around("signal_external_workflow", self.externals.signal)(call)

    async def cancel_external_workflow(self, workflow_id: str, run_id: str | None, reason: str) -> None:
        """Ask another workflow to cancel."""
        call = CancelExternalWorkflow(workflow_id=workflow_id, run_id=run_id, reason=reason)
        await self._definition.around("cancel_external_workflow", self.externals.cancel)(call)

    def check_running(self, what: str) -> None:
        """Refuse `what` where nothing may change, and while the run is let go.

        Raises:
            ReadOnlyContextError: It may not.
        """
        if self.loop.is_unwound:
            raise Unwinding
        if self._read_only is not None:
            self.check_writable(what)


@cache
def request_of(name: str) -> str:
    """The place of a request in the contract, for messages of errors."""
    return f"request of {name}"


@cache
def response_of(name: str) -> str:
    """The place of a response in the contract, for messages of errors."""
    return f"response of {name}"


def _holds(condition: Callable[[], bool], future: asyncio.Future[None]) -> bool:
    if condition():
        future.set_result(None)
        return True
    return False


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, ActivityError | ChildWorkflowError):
        return isinstance(error.cause, CancelledFailure)
    return isinstance(error, CancelledFailure)
