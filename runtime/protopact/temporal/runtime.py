"""One run, as its own code sees it on Temporal: the `Runtime` behind `protopact.workflow`, on `temporalio.workflow`.

What starts something takes as many turns of the loop as on the embedded engine: the handles of activities and children
are the SDK's own tasks, whose results and failures are converted to ours where the SDK reads them.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from temporalio import workflow
from temporalio.api.common.v1 import Payload as PayloadProto
from temporalio.common import RawValue
from temporalio.exceptions import InvalidVersioningOverrideError, WorkflowAlreadyStartedError

from protopact import contract
from protopact.errors import AlreadyStartedError, ContinueAsNewError, NotFoundError, PayloadError, ReadOnlyContextError
from protopact.history.event import RetryPolicy
from protopact.history.time import from_timedelta
from protopact.interceptor import (
    CancelExternalWorkflow,
    ContinueAsNew,
    SignalExternalWorkflow,
    StartActivity,
    StartChildWorkflow,
    StartLocalActivity,
)
from protopact.limits import LONGEST
from protopact.origin import without_origin
from protopact.payload.attributes import memo_from_payloads
from protopact.payload.payload import Headers
from protopact.policy import (
    ActivityOptions,
    ChildWorkflowOptions,
    ContinueAsNewOptions,
    LocalActivityOptions,
    SearchAttributeValue,
)
from protopact.replay.definition import Definition
from protopact.replay.instance import request_of
from protopact.temporal import commands, side_effects
from protopact.temporal.attributes import from_typed, to_updates
from protopact.temporal.headers import sending
from protopact.temporal.instances import fail_activation
from protopact.temporal.payloads import (
    from_proto,
    headers_from_protos,
    memo_to_raw_values,
    to_raw_values,
)
from protopact.workflow import ActivityHandle, ChildRun, Info, ParentInfo, Runtime

if TYPE_CHECKING:
    from protopact.temporal.failures import TemporalFailures

__all__ = ["Continuation", "TemporalRuntime"]

T = TypeVar("T")

_NO_HEADERS: Headers = {}
_NOT_STARTED = "Unknown child start fail cause"
"""What the SDK says when the server could not start a child because its namespace is gone."""
_LONGEST_SECONDS = LONGEST.total_seconds()


class Continuation(ContinueAsNewError):  # noqa: N818 - it is no error
    """What the code has raised to continue as new.

    Args:
        call: What the code asked for.
        request: The request of the new run, encoded.
        memo: The memo that this run was started with.
        is_other: Whether the run goes on as another workflow.
    """

    def __init__(
        self, call: ContinueAsNew, request: list[RawValue], memo: Mapping[str, PayloadProto], *, is_other: bool
    ) -> None:
        super().__init__("the run goes on as a new one")
        self._call = call
        self._memo = memo
        self._request = request
        self._is_other = is_other

    def perform(self) -> NoReturn:
        """End the run."""
        call = self._call
        arguments = commands.continue_as_new_arguments(call.workflow, call.options, self._memo, is_other=self._is_other)
        with sending(call.headers):
            workflow.continue_as_new(args=self._request, **arguments)


class TemporalRuntime(Runtime):
    """One run; made in its loop.

    Args:
        definition: The workflow class and what goes with it.
        failures: Exceptions to failures and back.
    """

    def __init__(self, definition: Definition, failures: TemporalFailures) -> None:
        self._definition = definition
        self._failures = failures
        self._read_only: str | None = None
        self._info: Info | None = None
        self._memo_at_start = dict(workflow.info().raw_memo)
        self._children: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}

    # -- what the code may not do

    @contextmanager
    def read_only(self, by: str) -> Generator[None]:
        """Refuse whatever would start, wake or command something.

        Raises:
            ReadOnlyContextError: The block tried to.
        """
        self._read_only = by
        try:
            yield
        except workflow.ReadOnlyContextError as error:
            self._read_only = by
            self._check_writable(str(error).rpartition(": ")[2] or "change something")
        finally:
            self._read_only = None

    def _check_writable(self, what: str) -> None:
        if self._read_only is not None:
            raise ReadOnlyContextError(
                f"{self._read_only} must change nothing: expected it to read the workflow's state and return, found "
                f"that it tried to {what}. Move that to a signal, an update or `run`."
            )

    def fail_task(self, error: BaseException) -> None:
        """Fail the workflow task with `error` as soon as the code lets go, whatever the code makes of it."""
        fail_activation(error, self._failures.to_proto(error))

    # -- what the code sees

    def info(self) -> Info:
        """What is known of the run."""
        if self._info is None:
            self._info = _info(workflow.info())
        return self._info

    def history_length(self) -> int:
        """Number of events in the history, up to the workflow task that the code runs in."""
        return workflow.info().get_current_history_length()

    def history_size(self) -> int:
        """Bytes that the history takes, up to that task."""
        return workflow.info().get_current_history_size()

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the server suggests to continue as new."""
        return workflow.info().is_continue_as_new_suggested()

    def time_ns(self) -> int:
        """Workflow time: nanoseconds since the Unix epoch."""
        return workflow.time_ns()

    def random(self) -> random.Random:
        """The run's generator of random numbers."""
        self._check_writable("draw a random number")
        return workflow.random()

    def is_replaying(self) -> bool:
        """Whether the code that runs now has run before."""
        return self.in_query() or workflow.unsafe.is_replaying()

    def is_silent(self) -> bool:
        """Whether log lines are held back."""
        return workflow.unsafe.is_replaying_history_events()

    def in_query(self) -> bool:
        """Whether the code that runs now answers a query."""
        return self._read_only == "a query"

    def all_handlers_finished(self) -> bool:
        """Whether no handler is running."""
        return workflow.all_handlers_finished()

    def patched(self, patch_id: str, *, deprecated: bool) -> bool:
        """Whether the run takes a patched branch."""
        self._check_writable("patch")
        if deprecated:
            workflow.deprecate_patch(patch_id)
            return True
        return workflow.patched(patch_id)

    def memo(self) -> Mapping[str, str]:
        """The run's memo."""
        return without_origin(_memo(workflow.info().raw_memo))

    def memo_at_start(self) -> Mapping[str, str]:
        """What the run was started with, and what the engine keeps there."""
        return _memo(self._memo_at_start)

    def upsert_memo(self, memo: Mapping[str, str | None]) -> None:
        """Set entries of the run's memo."""
        self._check_writable("upsert the memo")
        workflow.upsert_memo(memo_to_raw_values(memo))

    def search_attributes(self) -> Mapping[str, SearchAttributeValue]:
        """The run's search attributes."""
        return from_typed(workflow.info().typed_search_attributes)

    def upsert_search_attributes(self, attributes: Mapping[str, SearchAttributeValue | None]) -> None:
        """Set search attributes of the run."""
        self._check_writable("upsert search attributes")
        declared = self._definition.contract.search_attributes
        updates = to_updates(attributes, declared, workflow.info().typed_search_attributes)
        workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType] - of values of any type

    def sleep(self, seconds: float) -> Awaitable[None]:
        """A durable timer."""
        self._check_timer(seconds)
        return workflow.sleep(seconds)

    def wait_condition(self, fn: Callable[[], bool], timeout: float | None) -> Awaitable[None]:
        """Wait until `fn` returns true."""
        self._check_writable("wait for a condition")
        if timeout is not None and timeout > 0:
            self._check_timer(timeout)
        return workflow.wait_condition(fn, timeout=timeout)

    def _check_timer(self, seconds: float) -> None:
        self._check_writable("start a timer")
        if seconds < 0:
            raise ValueError(f"a timer cannot be started {-seconds} seconds ago: its delay must not be negative")
        if seconds > _LONGEST_SECONDS:
            raise ValueError(f"a timer lasts at most {LONGEST.days} days (100 years), not {seconds} seconds")

    # -- activities

    def start_activity(
        self,
        activity: contract.Activity[Any, T],  # the request's type is checked by the generated stub, and when encoding
        request: object,
        options: ActivityOptions,
    ) -> ActivityHandle[T]:
        """Start an activity."""
        self._check_writable("start an activity")
        if not self._definition.hooks["start_activity"]:
            return self._start_activity(activity, request, options, _NO_HEADERS)

        def start(call: StartActivity) -> Awaitable[Any]:  # of whatever the activity returns
            return self._start_activity(call.activity, call.request, call.options, call.headers)

        call = StartActivity(activity=activity, request=request, options=options)
        return _handle(self._definition.around("start_activity", start)(call))

    def _start_activity(
        self, activity: contract.Activity[Any, T], request: object, options: ActivityOptions, headers: Headers
    ) -> ActivityHandle[T]:
        arguments = commands.activity_arguments(activity, options)
        payloads = self._encode(activity.request, request, activity.name)
        if not headers:
            return cast("ActivityHandle[T]", workflow.start_activity(activity.name, args=payloads, **arguments))
        with sending(headers):
            return cast("ActivityHandle[T]", workflow.start_activity(activity.name, args=payloads, **arguments))

    def start_local_activity(
        self,
        activity: contract.Activity[Any, T],  # as for activities
        request: object,
        options: LocalActivityOptions,
    ) -> ActivityHandle[T]:
        """Start a local activity."""
        self._check_writable("start a local activity")

        def start(call: StartLocalActivity) -> Awaitable[Any]:  # of whatever the activity returns
            arguments = commands.local_activity_arguments(call.activity, call.options)
            payloads = self._encode(call.activity.request, call.request, call.activity.name)
            with sending(call.headers):
                return workflow.start_local_activity(call.activity.name, args=payloads, **arguments)

        call = StartLocalActivity(activity=activity, request=request, options=options)
        return _handle(self._definition.around("start_local_activity", start)(call))

    async def side_effect(self, fn: Callable[[], T | Awaitable[T]], cls: type[T]) -> T:
        """Record the result of a function."""
        self._check_writable("record a side effect")
        converter, failures = self._definition.converter, self._failures

        def decode(raw: RawValue) -> T:
            return converter.detail_as(from_proto(raw.payload), cls, where="side effect")

        async def record() -> RawValue:
            try:
                value = fn()
                if inspect.isawaitable(value):
                    value = await value
                (raw,) = to_raw_values(converter.to_details((value,)))
                decode(raw)  # what replay could not read is refused before it is written
            except Exception as error:
                raise failures.to_temporal(error) from error
            return raw

        with side_effects.offered(record) as number:
            arguments = {**commands.local_activity_arguments(contract.SIDE_EFFECT, {})}
            arguments["result_type"] = RawValue
            raw: object = await workflow.start_local_activity(contract.SIDE_EFFECT.name, args=[number], **arguments)
        if not isinstance(raw, RawValue):
            raise PayloadError("side effect: expected one payload, found none")
        return decode(raw)

    # -- other workflows

    def continue_as_new(
        self,
        workflow: contract.Workflow[Any, Any],
        request: object,
        options: ContinueAsNewOptions,
    ) -> NoReturn:
        """End the run and go on as a new one."""
        self._check_writable("continue as new")
        call = ContinueAsNew(workflow=workflow, request=request, options=options)
        self._definition.around("continue_as_new", self._continue_as_new)(call)
        raise TypeError("an interceptor's `continue_as_new` returned: expected it to call the next hook, which raises")

    def _continue_as_new(self, call: ContinueAsNew) -> NoReturn:
        own = call.workflow
        payloads = self._encode(own.request, call.request, own.name)
        is_other = self.info().workflow_type not in (own.name, *own.aliases)
        raise Continuation(call, payloads, self._memo_at_start, is_other=is_other)

    async def start_child_workflow(
        self,
        workflow: contract.Workflow[Any, T],  # as for activities
        workflow_id: str,
        request: object,
        options: ChildWorkflowOptions,
    ) -> ChildRun[T]:
        """Start a child."""
        call = StartChildWorkflow(workflow=workflow, workflow_id=workflow_id, request=request, options=options)
        started = cast("object", await self._definition.around("start_child_workflow", self._start_child)(call))
        if not isinstance(started, ChildRun):
            raise TypeError(
                "an interceptor's `start_child_workflow` must return what the next hook returned, not "
                f"{type(started).__name__}"
            )
        return cast("ChildRun[T]", started)

    async def _start_child(self, call: StartChildWorkflow) -> ChildRun[Any]:
        self._check_writable("start a child workflow")
        own, workflow_id = call.workflow, call.workflow_id
        arguments = commands.child_arguments(own, call.options)
        payloads = self._encode(own.request, call.request, own.name)
        try:
            with sending(call.headers):
                handle = await workflow.start_child_workflow(own.name, args=payloads, id=workflow_id, **arguments)
        except WorkflowAlreadyStartedError as error:
            raise AlreadyStartedError(
                f"child workflow {own.name} could not be started: its id {workflow_id!r} is taken",
                workflow_id=workflow_id,
                run_id="",
                workflow_type=own.name,
            ) from error
        except (RuntimeError, InvalidVersioningOverrideError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith(_NOT_STARTED):
                raise
            raise NotFoundError(f"child workflow {own.name} {workflow_id!r} could not be started: {error}") from error
        self._children[workflow_id] = handle
        return ChildRun(workflow=own, id=workflow_id, run_id=handle.first_execution_run_id or "", task=handle)

    async def signal_external_workflow(
        self, workflow_id: str, run_id: str | None, signal: contract.Signal[Any], request: object, *, is_child: bool
    ) -> None:
        """Signal another workflow."""
        call = SignalExternalWorkflow(
            workflow_id=workflow_id, run_id=run_id, signal=signal, request=request, is_child=is_child
        )
        await self._definition.around("signal_external_workflow", self._signal_external)(call)

    async def _signal_external(self, call: SignalExternalWorkflow) -> None:
        self._check_writable("signal another workflow")
        payloads = self._encode(call.signal.request, call.request, call.signal.name)
        target: workflow.ChildWorkflowHandle[Any, Any] | workflow.ExternalWorkflowHandle[Any]
        if call.is_child and call.workflow_id in self._children:
            target = self._children[call.workflow_id]
        else:
            target = workflow.get_external_workflow_handle(call.workflow_id, run_id=call.run_id)
        with sending(call.headers):
            await target.signal(call.signal.name, args=payloads)

    async def cancel_external_workflow(self, workflow_id: str, run_id: str | None, reason: str) -> None:
        """Ask another workflow to cancel."""
        call = CancelExternalWorkflow(workflow_id=workflow_id, run_id=run_id, reason=reason)
        await self._definition.around("cancel_external_workflow", self._cancel_external)(call)

    async def _cancel_external(self, call: CancelExternalWorkflow) -> None:
        self._check_writable("cancel another workflow")
        target = workflow.get_external_workflow_handle(call.workflow_id, run_id=call.run_id)
        await target.cancel(reason=call.reason)

    def _encode(self, message: contract.Message[Any], value: object, name: str) -> list[RawValue]:
        return to_raw_values(self._definition.converter.to_payloads(message, value, request_of(name)))


def _handle(started: Awaitable[Any]) -> ActivityHandle[Any]:
    """The handle that the code gets of what interceptors return."""
    if isinstance(started, asyncio.Task):
        return cast("ActivityHandle[Any]", started)

    async def answer() -> Any:  # noqa: ANN401 - what an interceptor puts in place of the activity's result
        return await started

    return cast("ActivityHandle[Any]", asyncio.create_task(answer()))


def _memo(payloads: Mapping[str, PayloadProto]) -> dict[str, str]:
    return memo_from_payloads({name: from_proto(value) for name, value in payloads.items()})


def _info(known: workflow.Info) -> Info:
    parent = known.parent
    policy = known.retry_policy
    return Info(
        workflow_id=known.workflow_id,
        run_id=known.run_id,
        first_run_id=known.first_execution_run_id or known.run_id,
        continued_run_id=known.continued_run_id or None,
        workflow_type=known.workflow_type,
        task_queue=known.task_queue,
        attempt=known.attempt or 1,
        start_time=known.workflow_start_time,
        execution_timeout=known.execution_timeout or None,
        run_timeout=known.run_timeout or None,
        task_timeout=known.task_timeout or timedelta(seconds=10),
        retry_policy=None
        if policy is None
        else RetryPolicy(
            initial_interval=from_timedelta(policy.initial_interval),
            backoff_coefficient=policy.backoff_coefficient,
            maximum_interval=from_timedelta(policy.maximum_interval or timedelta(0)),
            maximum_attempts=policy.maximum_attempts,
            non_retryable_error_types=tuple(policy.non_retryable_error_types or ()),
        ),
        parent=None
        if parent is None
        else ParentInfo(namespace=parent.namespace, workflow_id=parent.workflow_id, run_id=parent.run_id),
        headers=headers_from_protos(known.headers),
    )
