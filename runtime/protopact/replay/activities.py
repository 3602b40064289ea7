"""What a run's code asks of activities: calls of them, local calls, and side effects."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from protopact import contract
from protopact.errors import PayloadError
from protopact.history.failure import Failure
from protopact.history.time import Timestamp
from protopact.interceptor import StartActivity, StartLocalActivity
from protopact.payload.details import EncodedDetails
from protopact.payload.payload import Headers, Payloads
from protopact.policy import ActivityOptions, LocalActivityOptions
from protopact.replay.activity import ActivityTask, BackOff, LocalActivityTask
from protopact.replay.definition import Definition
from protopact.replay.entries import CalledActivity
from protopact.replay.local import CalledLocalActivity, End
from protopact.replay.loop import Task
from protopact.workflow import ActivityHandle

if TYPE_CHECKING:
    from protopact.replay.instance import Instance

__all__ = ["Activities"]

T = TypeVar("T")

_NO_HEADERS: Headers = {}


class Activities:
    """The activities of a run.

    Args:
        instance: The run's code.
        definition: The workflow class and what goes with it.
    """

    def __init__(self, instance: Instance, definition: Definition) -> None:
        self._instance = instance
        self._definition = definition
        self._seq = 0  # local calls and side effects count too

    # -- what the code asks for

    def start(
        self, activity: contract.Activity[Any, T], request: object, options: ActivityOptions
    ) -> ActivityHandle[T]:
        """Start an activity.

        Raises:
            ReadOnlyContextError: Nothing may be started now.
            ValueError: It has no time-out.
        """
        self._instance.check_running("start an activity")
        if not self._definition.hooks["start_activity"]:
            return self._start(activity, request, options, _NO_HEADERS)

        def start(call: StartActivity) -> Awaitable[Any]:  # of whatever the activity returns
            return self._start(call.activity, call.request, call.options, call.headers)

        call = StartActivity(activity=activity, request=request, options=options)
        return self._handle(self._definition.around("start_activity", start)(call), activity.name)

    def start_local(
        self, activity: contract.Activity[Any, T], request: object, options: LocalActivityOptions
    ) -> ActivityHandle[T]:
        """Start a local activity.

        Raises:
            ReadOnlyContextError: Nothing may be started now.
            ValueError: It has no time-out.
        """
        self._instance.check_running("start a local activity")
        if not self._definition.hooks["start_local_activity"]:
            return self._start_local(activity, request, options, _NO_HEADERS)

        def start(call: StartLocalActivity) -> Awaitable[Any]:  # of whatever the activity returns
            return self._start_local(call.activity, call.request, call.options, call.headers)

        call = StartLocalActivity(activity=activity, request=request, options=options)
        return self._handle(self._definition.around("start_local_activity", start)(call), activity.name)

    async def record(self, fn: Callable[[], T | Awaitable[T]], cls: type[T]) -> T:
        """Record the result of a function: a side effect.

        Raises:
            ReadOnlyContextError: Nothing may be recorded now.
            PayloadError: What history holds is of another type.
        """
        self._instance.check_running("record a side effect")
        converter = self._definition.converter

        def decode(payloads: Payloads) -> T:
            if len(payloads) != 1:
                raise PayloadError(f"side effect: expected one payload, found {len(payloads)}")
            return converter.detail_as(payloads[0], cls, where="side effect")

        async def record() -> Sequence[object]:
            value = fn()
            if inspect.isawaitable(value):
                value = await value
            payloads = converter.to_details((value,))
            decode(payloads)  # what replay could not read is refused before it is written
            return EncodedDetails(payloads, converter)

        called = self._called(contract.SIDE_EFFECT, tuple, {}, _NO_HEADERS)
        called.function, called.decode = record, decode
        task: LocalActivityTask[T] = self._call(called)
        return await task

    def _handle(self, started: Awaitable[Any], name: str) -> ActivityHandle[Any]:
        """The handle that the code gets of what interceptors return."""
        if isinstance(started, ActivityHandle):
            return started

        async def answer() -> Any:  # noqa: ANN401 - what an interceptor puts in place of the activity's result
            return await started

        return _Intercepted(answer(), self._instance.loop, f"activity {name}")

    def _start(
        self, activity: contract.Activity[Any, T], request: object, options: ActivityOptions, headers: Headers
    ) -> ActivityHandle[T]:
        _check_timeouts(activity, options)
        instance = self._instance
        payloads = instance.encode_request(activity.request, request, activity.name)
        self._seq = seq = self._seq + 1
        called = CalledActivity(
            activity,
            options.get("activity_id") or str(seq),
            payloads,
            options=options,
            headers=headers,
            task_queue=instance.task_queue,
        )
        task: ActivityTask[T] = ActivityTask(instance, called)
        called.task = task
        instance.ledger.add(called)
        return task

    def _start_local(
        self, activity: contract.Activity[Any, T], request: object, options: LocalActivityOptions, headers: Headers
    ) -> ActivityHandle[T]:
        _check_timeouts(activity, options)
        payloads = self._instance.encode_request(activity.request, request, activity.name)
        return self._call(self._called(activity, payloads, options, headers))

    def _called(
        self,
        activity: contract.Activity[Any, Any],
        payloads: Callable[[], Payloads],
        options: LocalActivityOptions,
        headers: Headers,
    ) -> CalledLocalActivity:
        loop = self._instance.loop
        self._seq = seq = self._seq + 1
        now, is_replaying = Timestamp(loop.time_ns), loop.is_replaying
        return CalledLocalActivity(
            activity, seq, payloads, options=options, headers=headers, now=now, is_replaying=is_replaying
        )

    def _call(self, called: CalledLocalActivity) -> LocalActivityTask[Any]:
        task: LocalActivityTask[Any] = LocalActivityTask(self._instance, called)
        called.task = task
        self._instance.local_activities.call(called)
        return task

    # -- what has happened

    def complete(self, activity: CalledActivity, result: Payloads) -> None:
        """An activity has returned.

        Raises:
            PayloadError: Its result cannot be read.
        """
        own = activity.activity
        activity.task.complete(self._instance.decode_response(own.response, result, own.name))

    def fail(self, activity: CalledActivity, failure: Failure) -> None:
        """An activity has failed for good, or was cancelled."""
        activity.task.fail(self._instance.decode_failure(failure))

    def end_local(self, called: CalledLocalActivity, end: End) -> None:
        """A local activity has returned, has failed for good, was cancelled, or is to be tried again after a while.

        Raises:
            PayloadError: Its result cannot be read.
        """
        own, result = called.activity, end.result or ()
        if end.backoff is not None:
            self._seq = seq = self._seq + 1
            called.task.back_off(BackOff(seq, end.attempt + 1, end.backoff))
        elif end.failure is not None:
            called.task.fail(self._instance.decode_failure(end.failure))
        elif called.decode is not None:
            called.task.complete(called.decode(result))
        else:
            called.task.complete(self._instance.decode_response(own.response, result, own.name))

    def call_again(self, called: CalledLocalActivity, back_off: BackOff) -> CalledLocalActivity:
        """Start the attempt of a local activity for which the run has slept.

        Raises:
            ReadOnlyContextError: Nothing may be started now.
        """
        instance = self._instance
        instance.check_running("start a local activity")
        now, is_replaying = Timestamp(instance.loop.time_ns), instance.loop.is_replaying
        again = called.again(back_off.seq, back_off.attempt, now=now, is_replaying=is_replaying)
        instance.local_activities.call(again)
        return again


class _Intercepted(Task[T], ActivityHandle[T]):
    """What an interceptor made of an activity."""


def _check_timeouts(activity: contract.Activity[Any, Any], options: ActivityOptions | LocalActivityOptions) -> None:
    if (
        options.get("start_to_close_timeout", activity.start_to_close_timeout) is None
        and options.get("schedule_to_close_timeout", activity.schedule_to_close_timeout) is None
    ):
        raise ValueError(
            f"activity {activity.name} needs a start_to_close_timeout or a schedule_to_close_timeout: neither the "
            "contract nor this call has one"
        )
