"""The workflow's code at work: an instance of the user's class on a loop of its own, and what it asks for.

Jobs are applied and run in the order of Temporal's Python SDK: signals and updates first, then everything else; within a
set, callbacks in order, then wait conditions in the order of their registration, until nothing moves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from protopact import contract
from protopact.errors import (
    CancelledError,
    ActivityError,
    ApplicationError,
    FailureError,
    PayloadError,
    ReadOnlyContextError,
    WorkflowTaskError,
)
from protopact.history.event import RetryPolicy as RetryPolicyEvent
from protopact.history.event import UpdateRequest, WorkflowExecutionSignaled, WorkflowExecutionStarted
from protopact.history.failure import Failure
from protopact.history.time import Duration, from_timedelta, to_datetime, to_timedelta
from protopact.interceptor import ExecuteWorkflow, HandleQuery, HandleSignal, HandleUpdate, StartActivity
from protopact.payload.payload import Payloads
from protopact.policy import ActivityCancellationType, ActivityOptions, RetryPolicy
from protopact.replay.command import (
    AcceptUpdate,
    CompleteUpdate,
    RejectUpdate,
    ScheduleActivityTask,
)
from protopact.replay.definition import Definition
from protopact.replay.loop import Handle, Loop, Task, Unwinding
from protopact.replay.seed import seed_of
from protopact.workflow import RUNTIME_ATTRIBUTE, ActivityHandle, Info, ParentInfo, Runtime
from protopact.replay.ledger import Ledger

__all__ = ["Instance"]

T = TypeVar("T")
NANOSECONDS = 1_000_000_000


class _Handle(Task[T], ActivityHandle[T]):
    """An activity of this run."""

    def __init__(self, coro: Any, loop: Loop, name: str, instance: Instance, seq: int) -> None:
        self._instance = instance
        self._seq = seq
        self.running = False
        super().__init__(coro, loop, name)

    def cancel(self, msg: Any | None = None) -> bool:
        if not self._instance.loop.is_unwound:
            self._instance.check_writable("cancel an activity")
            if not self.running and not self.done():
                self._instance.ledger.cancel_activity(self._seq)
        return super().cancel(msg)


class _TimerHandle(asyncio.TimerHandle):
    def __init__(self, instance: Instance, seq: int, when: float, handle: Handle) -> None:
        self._instance = instance
        self._seq = seq
        self._when_seconds = when
        self.handle = handle
        self._is_cancelled = False

    def cancel(self) -> None:
        if not self._is_cancelled and not self._instance.loop.is_unwound:
            self._is_cancelled = True
            if self._instance.timers.pop(self._seq, None) is not None:
                self._instance.ledger.cancel_timer(self._seq)

    def cancelled(self) -> bool:
        return self._is_cancelled

    def when(self) -> float:
        return self._when_seconds


class Instance(Runtime):
    """One run's code."""

    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str, ledger: Ledger) -> None:
        self.definition = definition
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.ledger = ledger
        seed = seed_of(run_id)
        self.loop = Loop(seed, self._start_timer)
        setattr(self.loop, RUNTIME_ATTRIBUTE, self)
        self._random = random.Random(seed)
        self.replaying = False
        self.is_closed = False
        self.cancel_requested = False
        self.error: BaseException | None = None
        self.timers: dict[int, _TimerHandle] = {}
        self._activity_seq = 0
        self._timer_seq = 0
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._handles: dict[int, tuple[_Handle[Any], contract.Activity[Any, Any]]] = {}
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._object: Any = None
        self._primary: Task[Any] | None = None
        self._started: WorkflowExecutionStarted | None = None
        self._info: Info | None = None
        self._running_handlers: dict[int, str] = {}
        self._handler_count = 0
        self._updates_in_progress: dict[str, str] = {}
        self._read_only: str | None = None
        self.accepted_any = False
        own = definition.contract
        cls = definition.workflow
        self._signals = {
            name: reference.signal
            for reference in own.signals
            for name in (reference.signal.name, *reference.signal.aliases)
        }
        self._queries = {name: query for query in own.queries for name in (query.name, *query.aliases)}
        self._updates = {
            name: reference for reference in own.updates for name in (reference.update.name, *reference.update.aliases)
        }
        self._failure_types: tuple[type[BaseException], ...] = (
            FailureError,
            TimeoutError,
            *definition.failure_exception_types,
            *cls.__failure_exception_types__,
        )

    # Jobs.

    def initialize(self, started: WorkflowExecutionStarted, time_ns: int) -> None:
        retry = started.retry_policy
        self._started = started
        self._info = Info(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            first_run_id=started.first_execution_run_id or self.run_id,
            continued_run_id=started.continued_execution_run_id or None,
            workflow_type=started.workflow_type,
            task_queue=started.task_queue,
            attempt=started.attempt or 1,
            start_time=to_datetime(cast(Any, time_ns)),
            execution_timeout=to_timedelta(started.workflow_execution_timeout) if started.workflow_execution_timeout else None,
            run_timeout=to_timedelta(started.workflow_run_timeout) if started.workflow_run_timeout else None,
            task_timeout=to_timedelta(started.workflow_task_timeout or Duration(10 * NANOSECONDS)),
            retry_policy=retry,
            parent=ParentInfo(
                namespace=started.parent_workflow_namespace,
                workflow_id=started.parent_workflow_id,
                run_id=started.parent_run_id,
            )
            if started.parent_workflow_id
            else None,
            headers=started.header,
        )

    def ensure_object(self) -> None:
        if self._object is None:
            self._object = self.definition.workflow()

    def start(self) -> None:
        started = self._started
        assert started is not None
        own = self.definition.contract

        async def run() -> None:
            request = self.definition.converter.from_payloads(own.request, started.input, f"request of {own.name}")

            async def call(execute: ExecuteWorkflow) -> object:
                arguments = () if own.request is contract.EMPTY else (execute.request,)
                return await self._object.run(*arguments)

            next_hook: Callable[[ExecuteWorkflow], Awaitable[object]] = call
            for interceptor in reversed(self.definition.interceptors):
                next_hook = _bind(interceptor.execute_workflow, next_hook)
            result = await next_hook(ExecuteWorkflow(workflow=own, request=request, headers=dict(started.header)))
            payloads = self.definition.converter.to_payloads(own.response, result, f"response of {own.name}")
            self.close("complete", payloads)

        self._primary = self.loop.create_task(self._top_level(run()), name="run")

    def close(self, how: str, payloads: Payloads = (), failure: Failure | None = None) -> None:
        from protopact.replay.command import (
            CancelWorkflowExecution,
            CompleteWorkflowExecution,
            FailWorkflowExecution,
        )

        self.is_closed = True
        if how == "complete":
            self.ledger.add(CompleteWorkflowExecution(result=payloads))
        elif how == "cancel":
            self.ledger.add(CancelWorkflowExecution())
        else:
            assert failure is not None
            self.ledger.add(FailWorkflowExecution(failure=failure))

    async def _top_level(self, coro: Awaitable[None]) -> None:
        try:
            await coro
        except (Exception, asyncio.CancelledError) as error:
            if self.loop.is_unwound:
                return
            failure: BaseException = error
            if isinstance(error, asyncio.CancelledError) and not isinstance(error, CancelledError):
                failure = CancelledError(str(error) or "Cancelled")
            if self.cancel_requested and _is_cancelled(failure):
                self.close("cancel")
            elif isinstance(failure, self._failure_types):
                self.close("fail", failure=self.definition.failures.to_failure(failure))
            else:
                self.error = error

    def cancel(self) -> None:
        self.cancel_requested = True
        if self._primary is not None:
            self.loop.call_soon(self._primary.cancel)

    def signal(self, event: WorkflowExecutionSignaled) -> None:
        signal = self._signals.get(event.signal_name)
        if signal is None:
            return
        own = self.definition.contract
        try:
            request = self.definition.converter.from_payloads(signal.request, event.input, f"request of {signal.name}")
        except PayloadError:
            import logging

            logging.getLogger("protopact.workflow").exception(
                "signal %s of workflow %s cannot be read and is dropped", event.signal_name, self.workflow_id
            )
            return
        descriptor = getattr(type(self._object), signal.method, None)
        method = descriptor.handler_of(type(self._object)) if descriptor is not None else None
        self._handler_count += 1
        number = self._handler_count
        self._running_handlers[number] = signal.name

        async def call(handle: HandleSignal) -> None:
            if method is None:
                getattr(self._object, signal.method).deliver(handle.request)
            else:
                arguments = () if signal.request is contract.EMPTY else (handle.request,)
                await getattr(self._object, method)(*arguments)

        next_hook: Callable[[HandleSignal], Awaitable[None]] = call
        for interceptor in reversed(self.definition.interceptors):
            next_hook = _bind(interceptor.handle_signal, next_hook)
        coro = self._top_level(
            cast(Any, next_hook(HandleSignal(workflow=own, signal=signal, request=request, headers=dict(event.header))))
        )
        task = self.loop.create_task(coro, name=f"signal {signal.name}")
        task.add_done_callback(lambda _: self._running_handlers.pop(number, None))

    def update(self, request: UpdateRequest, *, sequencing_event_id: int, validate: bool) -> None:
        self.loop.create_task(
            self._run_update(request, sequencing_event_id, validate=validate), name=f"update {request.name}"
        )

    async def _run_update(self, request: UpdateRequest, sequencing_event_id: int, *, validate: bool) -> None:
        own = self.definition.contract
        accepted = False
        try:
            try:
                reference = self._updates.get(request.name)
                if reference is None:
                    raise ApplicationError(
                        f"workflow {own.name} has no update {request.name!r}; it has: "
                        f"{', '.join(sorted(self._updates)) or 'none'}",
                        type="UnknownUpdate",
                    )
                update = reference.update
                self._updates_in_progress[request.update_id] = update.name
                converter = self.definition.converter

                def input_() -> HandleUpdate:
                    return HandleUpdate(
                        workflow=own,
                        update=update,
                        update_id=request.update_id,
                        request=converter.from_payloads(update.request, request.args, f"request of {update.name}"),
                        headers=dict(request.header),
                    )

                handle = input_()
                if validate and reference.validate:
                    self._validate(reference, handle)
                    handle = input_()
                accepted = True
                self.accepted_any = True
                self.ledger.add(AcceptUpdate(request=request, sequencing_event_id=sequencing_event_id))

                async def call(each: HandleUpdate) -> object:
                    arguments = () if update.request is contract.EMPTY else (each.request,)
                    return await getattr(self._object, update.method)(*arguments)

                next_hook: Callable[[HandleUpdate], Awaitable[object]] = call
                for interceptor in reversed(self.definition.interceptors):
                    next_hook = _bind(interceptor.handle_update, next_hook)
                result = await next_hook(handle)
                success = converter.to_payloads(update.response, result, f"response of {update.name}")
                self.ledger.add(
                    CompleteUpdate(
                        update_id=request.update_id,
                        accepted_event_id=self.ledger.accepted.get(request.update_id, 0),
                        success=success,
                    )
                )
            except (Exception, asyncio.CancelledError) as error:
                if self.loop.is_unwound:
                    return
                failure: BaseException = error
                if isinstance(error, asyncio.CancelledError) and not isinstance(error, CancelledError):
                    failure = CancelledError(f"Cancellation raised within update {error}")
                if isinstance(error, ReadOnlyContextError):
                    self.error = error
                elif not accepted:
                    self.ledger.rejections.append(
                        RejectUpdate(
                            update_id=request.update_id, failure=self.definition.failures.to_failure(failure)
                        )
                    )
                elif isinstance(failure, self._failure_types):
                    self.ledger.add(
                        CompleteUpdate(
                            update_id=request.update_id,
                            accepted_event_id=self.ledger.accepted.get(request.update_id, 0),
                            failure=self.definition.failures.to_failure(failure),
                        )
                    )
                else:
                    self.error = error
        finally:
            self._updates_in_progress.pop(request.update_id, None)

    def _validate(self, reference: Any, handle: HandleUpdate) -> None:
        update = reference.update

        def call(each: HandleUpdate) -> None:
            arguments = () if update.request is contract.EMPTY else (each.request,)
            getattr(self._object, f"validate_{update.method}")(*arguments)

        next_hook: Callable[[HandleUpdate], None] = call
        for interceptor in reversed(self.definition.interceptors):
            next_hook = _bind(interceptor.validate_update, next_hook)
        self._set_read_only("a validator")
        try:
            next_hook(handle)
        finally:
            self._set_read_only(None)

    def query(self, name: str, payloads: Payloads, header: Any) -> Payloads | Failure:
        own = self.definition.contract
        failures = self.definition.failures
        query = self._queries.get(name)
        if query is None:
            return failures.to_failure(
                ApplicationError(
                    f"workflow {own.name} has no query {name!r}; it has: {', '.join(sorted(self._queries)) or 'none'}",
                    type="UnknownQuery",
                )
            )

        def call(each: HandleQuery) -> object:
            arguments = () if query.request is contract.EMPTY else (each.request,)
            return getattr(self._object, query.method)(*arguments)

        next_hook: Callable[[HandleQuery], object] = call
        for interceptor in reversed(self.definition.interceptors):
            next_hook = _bind(interceptor.handle_query, next_hook)
        with self.loop:
            self._set_read_only("a query")
            try:
                request = self.definition.converter.from_payloads(query.request, payloads, f"request of {query.name}")
                answer = next_hook(HandleQuery(workflow=own, query=query, request=request, headers=dict(header)))
                return self.definition.converter.to_payloads(query.response, answer, f"response of {query.name}")
            except Exception as error:
                return failures.to_failure(error)
            finally:
                self._set_read_only(None)

    def _set_read_only(self, by: str | None) -> None:
        self._read_only = by
        self.loop.set_read_only(by is not None)

    def resolve_activity(self, seq: int, *, result: Payloads = (), failure: Failure | None = None) -> None:
        handle, activity = self._handles.pop(seq)
        future = self._results.pop(seq)
        if failure is not None:
            if handle.running and not future.done():
                future.set_exception(self.definition.failures.from_failure(failure))
            return
        try:
            value = self.definition.converter.from_payloads(activity.response, result, f"response of {activity.name}")
        except PayloadError as error:
            raise WorkflowTaskError(f"the result of activity {activity.name} cannot be read: {error}") from error
        if not future.done():
            future.set_result(value)

    def fire_timer(self, seq: int) -> None:
        handle = self.timers.pop(seq, None)
        if handle is not None:
            self.loop.ready.append(handle.handle)

    # Running.

    def run(self, *, check_conditions: bool) -> None:
        loop = self.loop
        ready = loop.ready
        while ready:
            while ready:
                ready.popleft()()
                if self.error is not None:
                    error = self.error
                    raise WorkflowTaskError(f"{type(error).__name__}: {error}") from error
            if check_conditions and self._conditions:
                self._conditions = [each for each in self._conditions if not each[1].done() and not self._test(*each)]

    def _test(self, fn: Callable[[], bool], future: asyncio.Future[None]) -> bool:
        self._set_read_only("a condition")
        try:
            true = fn()
        except Exception as error:
            self._set_read_only(None)
            future.set_exception(error)
            return True
        finally:
            self._set_read_only(None)
        if true:
            future.set_result(None)
        return bool(true)

    def unfinished_handlers(self) -> tuple[str, ...]:
        return (*self._running_handlers.values(), *self._updates_in_progress.values())

    def unwind(self) -> None:
        self.replaying = True
        self.loop.unwind()
        self._conditions.clear()

    def check_writable(self, what: str) -> None:
        if self._read_only is not None:
            raise ReadOnlyContextError(f"{self._read_only} must change nothing: it tried to {what}")

    # Runtime.

    def info(self) -> Info:
        assert self._info is not None
        return self._info

    def time_ns(self) -> int:
        return self.loop.time_ns

    def random(self) -> random.Random:
        self.check_writable("draw a random number")
        return self._random

    def is_replaying(self) -> bool:
        return self.replaying or self._read_only == "a query"

    def is_silent(self) -> bool:
        return (self.replaying and self._read_only != "a query") or self.loop.is_unwound

    def all_handlers_finished(self) -> bool:
        return not self._running_handlers and not self._updates_in_progress

    async def sleep(self, seconds: float) -> None:
        self.check_writable("sleep")
        await asyncio.sleep(seconds)

    async def wait_condition(self, fn: Callable[[], bool], timeout: float | None) -> None:
        self.check_writable("wait")
        future = self.loop.create_future()
        self._conditions.append((fn, future))
        if not self.loop.ready:
            self.loop.call_soon(lambda: None)
        await asyncio.wait_for(future, timeout)

    def _start_timer(self, delay: float, handle: Handle) -> asyncio.TimerHandle:
        from protopact.replay.command import StartTimer

        if self.loop.is_unwound:
            raise Unwinding
        self.check_writable("start a timer")
        if delay < 0:
            raise ValueError("a timer's delay must not be negative")
        self._timer_seq += 1
        seq = self._timer_seq
        timer = _TimerHandle(self, seq, self.loop.time() + delay, handle)
        self.timers[seq] = timer
        self.ledger.start_timer(
            seq, StartTimer(timer_id=str(seq), start_to_fire_timeout=Duration(max(round(delay * 1000), 1) * 1_000_000))
        )
        return timer

    def start_activity(
        self, activity: contract.Activity[Any, T], request: object, options: ActivityOptions
    ) -> ActivityHandle[T]:
        if self.loop.is_unwound:
            raise Unwinding
        self.check_writable("start an activity")
        call = StartActivity(activity=activity, request=request, options=options)
        if not self.definition.interceptors:
            return self._schedule(call)

        def last(each: StartActivity) -> Awaitable[object]:
            return self._schedule(each)

        next_hook: Callable[[StartActivity], Awaitable[object]] = last
        for interceptor in reversed(self.definition.interceptors):
            next_hook = _bind(interceptor.start_activity, next_hook)
        return cast("ActivityHandle[T]", next_hook(call))

    def _schedule(self, call: StartActivity) -> ActivityHandle[Any]:
        activity, options = call.activity, call.options
        info = self.info()
        payloads = self.definition.converter.to_payloads(
            activity.request, call.request, f"request of {activity.name}"
        )

        def duration(value: Any) -> Duration:
            return Duration(0) if value is None else from_timedelta(value)

        start = options.get("start_to_close_timeout", activity.start_to_close_timeout)
        schedule = options.get("schedule_to_close_timeout", activity.schedule_to_close_timeout)
        self._activity_seq += 1
        seq = self._activity_seq
        command = ScheduleActivityTask(
            activity_id=options.get("activity_id") or str(seq),
            activity_type=activity.name,
            task_queue=options.get("task_queue") or activity.task_queue or info.task_queue,
            header=call.headers,
            input=payloads,
            schedule_to_close_timeout=duration(schedule),
            schedule_to_start_timeout=duration(
                options.get("schedule_to_start_timeout", activity.schedule_to_start_timeout)
            ),
            start_to_close_timeout=duration(start),
            heartbeat_timeout=duration(options.get("heartbeat_timeout", activity.heartbeat_timeout)),
            retry_policy=_retry(options.get("retry_policy", activity.retry_policy)),
            priority_key=(options.get("priority", activity.priority).priority_key or 0),
        )
        kind = options.get("cancellation_type", activity.cancellation_type)
        future: asyncio.Future[Any] = self.loop.create_future()
        holder: list[_Handle[Any]] = []

        async def wait() -> Any:
            handle = holder[0]
            handle.running = True
            while True:
                try:
                    return await asyncio.shield(future)
                except asyncio.CancelledError:
                    if future.done() and isinstance(future.exception() if not future.cancelled() else None, BaseException):
                        raise
                    if self.loop.is_unwound:
                        raise
                    self.ledger.cancel_activity(seq)

        handle: _Handle[Any] = _Handle(wait(), self.loop, f"activity {activity.name}", self, seq)
        holder.append(handle)
        self._results[seq] = future
        self._handles[seq] = (handle, activity)
        self.ledger.schedule_activity(seq, command, kind)
        return handle

    def cancelled_failure(self, seq: int, scheduled_event_id: int) -> Failure:
        handle_activity = self._handles[seq][1]
        error = ActivityError(
            "Activity cancelled",
            activity_type=handle_activity.name,
            activity_id=self.ledger.activities[seq].schedule.activity_id,
            scheduled_event_id=scheduled_event_id,
        )
        error.__cause__ = CancelledError("Cancelled")
        return self.definition.failures.to_failure(error)


def _bind(hook: Callable[..., Any], next_hook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda call: hook(call, next_hook)


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        return True
    return isinstance(error, ActivityError) and isinstance(error.__cause__, CancelledError)


def _retry(policy: RetryPolicy) -> RetryPolicyEvent:
    return RetryPolicyEvent(
        initial_interval=from_timedelta(policy.initial_interval),
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=from_timedelta(policy.maximum_interval or policy.initial_interval * 100),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )
