"""What becomes of an attempt: request, response, exceptions, interceptors and codecs."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import pytest
from google.protobuf.source_context_pb2 import SourceContext
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from tests.activity.bench import PING, SECOND, WORK, Bench

import protopact
from protopact import activity
from protopact.embedded.attempt import Attempt, Completed, Failed, Outcome
from protopact.embedded.retry import is_retryable
from protopact.errors import ApplicationError, NotInActivityError, PayloadSizeError
from protopact.history.event import RetryPolicy
from protopact.history.failure import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ServerFailureInfo,
)
from protopact.history.time import Duration
from protopact.interceptor import ExecuteActivity, Interceptor
from protopact.payload import Payload, PayloadCodec, Payloads
from protopact.policy import Priority
from protopact.policy import RetryPolicy as Policy

pytestmark = pytest.mark.usefixtures("stopped_benches")

WHERE = contextvars.ContextVar("where", default="elsewhere")


async def test_an_async_activity_runs_on_the_loop() -> None:
    async def work(request: StringValue) -> StringValue:
        await asyncio.sleep(0)
        return StringValue(value=f"{request.value} on {threading.current_thread() is threading.main_thread()}")

    bench = Bench(work)
    assert await bench.result("in") == "in on True"
    assert bench.told == ["done"]
    assert bench.runner.running == 0


async def test_a_plain_activity_runs_in_a_thread_with_the_workers_context() -> None:
    def work(request: StringValue) -> StringValue:
        return StringValue(value=f"{threading.current_thread().name} {WHERE.get()} {request.value}")

    token = WHERE.set("here")
    bench = Bench(work)
    WHERE.reset(token)
    assert await bench.result("in") == "protopact-activity-1 here in"


async def test_threads_are_used_again_and_are_no_more_than_allowed() -> None:
    seen = list[str]()
    barrier = threading.Barrier(2)

    def work(request: StringValue) -> StringValue:
        seen.append(threading.current_thread().name)
        barrier.wait(10)
        return request

    bench = Bench(work, max_threads=2)
    keys = [bench.start(str(number), key=(1, number, 1)) for number in range(6)]
    assert [bench.text(await _payloads(bench, key)) for key in keys] == ["0", "1", "2", "3", "4", "5"]
    assert sorted(seen) == ["protopact-activity-1"] * 3 + ["protopact-activity-2"] * 3


async def _payloads(bench: Bench, key: tuple[int, int, int]) -> tuple[Payload, ...]:
    outcome = await bench.outcome(key)
    assert isinstance(outcome, Completed)
    return outcome.result


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_empty_is_no_argument_and_no_result(kind: str) -> None:
    calls = list[str]()

    async def on_the_loop() -> None:
        calls.append("called")

    def in_a_thread() -> None:
        calls.append("called")

    bench = Bench(ping=on_the_loop if kind == "async" else in_a_thread)
    assert await bench.run(activity_type=PING.name, input=()) == Completed(())
    assert await bench.run(activity_type=PING.name, input=(Payload({"encoding": b"binary/null"}),), key=(1, 6, 1)) == (
        Completed(())
    )
    assert calls == ["called", "called"]


async def test_a_function_that_returns_an_awaitable_is_awaited() -> None:
    def traced(method: Callable[[StringValue], Awaitable[StringValue]]) -> Callable[[StringValue], object]:
        def call(request: StringValue) -> object:
            return method(request)

        return call

    @traced
    async def work(request: StringValue) -> StringValue:
        return StringValue(value=f"{request.value}, awaited")

    assert await Bench(work).result("in") == "in, awaited"


@pytest.mark.parametrize(
    ("returned", "found"),
    [(None, "NoneType"), (Int32Value(value=1), "google.protobuf.Int32Value"), ("text", "str"), (StringValue, "class")],
)
async def test_a_wrong_response_fails_the_attempt(returned: object, found: str) -> None:
    async def work(_: StringValue) -> object:
        return returned

    failure = await Bench(work).failure()
    assert isinstance(failure.info, ApplicationFailureInfo)
    assert failure.info.type == "MessageMismatchError"
    assert f"response of activity {WORK.name}: expected google.protobuf.StringValue" in failure.message
    assert found in failure.message
    assert is_retryable(failure)


async def test_a_request_that_cannot_be_read_fails_the_attempt() -> None:
    bench = Bench()
    other = bench.converter.to_details([Int32Value(value=1)])
    failure = await bench.failure(input=other)
    assert failure.message.startswith(f"request of activity {WORK.name}: expected google.protobuf.StringValue, found")
    garbage = Payload({"encoding": b"json/protobuf", "messageType": b"google.protobuf.StringValue"}, b"{")
    failure = await bench.failure(input=(garbage,), key=(1, 6, 1))
    assert isinstance(failure.info, ApplicationFailureInfo)
    assert failure.info.type == "PayloadError"
    assert is_retryable(failure)


async def test_an_activity_that_nobody_registered() -> None:
    failure = await Bench().failure(activity_type="lab.v1.Lab.Gone")
    assert isinstance(failure.info, ApplicationFailureInfo)
    assert failure.info.type == "NotFoundError"
    assert failure.message == (
        "activity lab.v1.Lab.Gone is not registered on this worker; it has: lab.v1.Lab.Ping, lab.v1.Lab.Work"
    )


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_an_application_error_keeps_what_it_says(kind: str) -> None:
    def fail() -> NoReturn:
        try:
            raise AssertionError(int("no such shelf"))
        except ValueError as error:
            raise ApplicationError(
                "out of stock",
                SourceContext(file_name="screws"),
                {"left": 0},
                type="OutOfStock",
                non_retryable=True,
                next_retry_delay=timedelta(seconds=7),
            ) from error

    async def on_the_loop(_: StringValue) -> StringValue:
        fail()

    def in_a_thread(_: StringValue) -> StringValue:
        fail()

    bench = Bench(on_the_loop if kind == "async" else in_a_thread)
    failure = await bench.failure()
    assert failure.message == "out of stock"
    assert isinstance(failure.info, ApplicationFailureInfo)
    assert (failure.info.type, failure.info.non_retryable) == ("OutOfStock", True)
    assert failure.info.next_retry_delay == Duration(7 * SECOND)
    assert bench.converter.from_details(failure.info.details) == [SourceContext(file_name="screws"), {"left": 0}]
    assert failure.cause is not None
    assert failure.cause.message == "invalid literal for int() with base 10: 'no such shelf'"
    assert failure.cause.info == ApplicationFailureInfo(type="ValueError")
    assert "in fail" in failure.stack_trace
    assert "embedded/attempt.py" not in failure.stack_trace


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(
    ("error", "type_"),
    [(KeyError("k"), "KeyError"), (SystemExit(3), "SystemExit"), (StopIteration(), "RuntimeError")],
)
async def test_whatever_an_activity_raises_is_its_failure(kind: str, error: BaseException, type_: str) -> None:
    async def on_the_loop(_: StringValue) -> StringValue:
        raise error

    def in_a_thread(_: StringValue) -> StringValue:
        raise error

    failure = await Bench(on_the_loop if kind == "async" else in_a_thread).failure()
    assert failure.info == ApplicationFailureInfo(type=type_)


async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    async def work(request: StringValue) -> StringValue:
        asyncio.current_task().cancel("enough")  # type: ignore[union-attr]  # it runs in a task
        await asyncio.sleep(0)
        return request

    failure = await Bench(work).failure()
    assert (failure.message, failure.info) == ("enough", ApplicationFailureInfo(type="CancelledError"))
    assert is_retryable(failure)


async def test_what_is_no_failure_of_an_application_becomes_the_cause_of_one() -> None:
    async def work(_: StringValue) -> StringValue:
        raise protopact.CancelledError("enough")

    failure = await Bench(work).failure()
    assert (failure.message, failure.info) == ("enough", ApplicationFailureInfo(type="CancelledError"))
    assert failure.cause is not None
    assert isinstance(failure.cause.info, CanceledFailureInfo)
    assert is_retryable(failure)


async def test_what_is_too_large_is_not_tried_again() -> None:
    async def work(_: StringValue) -> StringValue:
        raise PayloadSizeError("the response takes 3 MiB")

    failure = await Bench(work).failure()
    assert (failure.message, failure.info) == ("the response takes 3 MiB", ServerFailureInfo(non_retryable=True))
    assert not is_retryable(failure)


async def test_a_failed_attempt_is_logged_with_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: StringValue) -> StringValue:
        activity.logger.info("about to fail", extra={"shelf": 7})
        raise ValueError("no such shelf")

    with caplog.at_level(logging.DEBUG, "protopact"):
        await Bench(work).failure(key=(1, 5, 3))
    first, second, third = caplog.records
    assert first.message.startswith(
        "about to fail ({'activity_id': '5', 'activity_type': 'lab.v1.Lab.Work', 'attempt': 3"
    )
    assert (first.shelf, first.activity["workflow_id"]) == (7, "experiment/1")  # type: ignore[attr-defined]  # as given
    assert (second.levelname, second.exc_info) == ("WARNING", None)
    assert second.message == (
        "activity lab.v1.Lab.Work (id 5, attempt 3, workflow experiment/1) failed: ValueError: no such shelf; "
        "it is not tried again (RETRY_POLICY_NOT_SET)"
    )
    assert third.levelname == "DEBUG"
    assert third.exc_info is not None
    assert third.exc_info[0] is ValueError


async def test_info() -> None:
    seen = list[activity.Info]()

    async def work(request: StringValue) -> StringValue:
        assert activity.in_activity()
        seen.append(activity.info())
        return request

    policy = RetryPolicy(maximum_attempts=4, non_retryable_error_types=("Fatal",))
    await Bench(work).result(key=(1, 5, 2), retry_policy=policy, heartbeat_timeout=3)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert seen == [
        activity.Info(
            activity_id="5",
            activity_type="lab.v1.Lab.Work",
            attempt=2,
            namespace="default",
            workflow_id="experiment/1",
            workflow_run_id="run-1",
            workflow_type="lab.v1.Lab.Experiment",
            task_queue="lab",
            scheduled_time=start,
            current_attempt_scheduled_time=start + timedelta(seconds=1),
            started_time=start + timedelta(seconds=2),
            schedule_to_close_timeout=timedelta(minutes=1),
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=timedelta(seconds=3),
            retry_policy=Policy(
                maximum_attempts=4, maximum_interval=timedelta(seconds=100), non_retryable_error_types=("Fatal",)
            ),
            priority=Priority(),
            task_token=seen[0].task_token,
        )
    ]
    assert seen[0].task_token


def test_outside_an_activity_its_functions_say_so() -> None:
    assert not activity.in_activity()
    for function in (activity.info, activity.heartbeat, activity.is_cancelled, activity.shield_thread_cancel_exception):
        with pytest.raises(NotInActivityError, match="not in an activity"):
            function()


async def test_callbacks_run_outside_the_activity() -> None:
    contexts = list[tuple[bool, str]]()

    class Watched(Bench):
        def _on_done(self, attempt: Attempt, outcome: Outcome) -> None:
            contexts.append((activity.in_activity(), WHERE.get()))
            super()._on_done(attempt, outcome)

        def _on_heartbeat(self, attempt: Attempt, details: Payloads) -> None:
            contexts.append((activity.in_activity(), WHERE.get()))
            super()._on_heartbeat(attempt, details)

    async def work(request: StringValue) -> StringValue:
        WHERE.set("in the activity")
        activity.heartbeat()
        return request

    await Watched(work).result()
    assert contexts == [(False, "elsewhere"), (False, "elsewhere")]


async def test_starting_never_calls_back() -> None:
    bench = Bench()
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    key = bench.start()
    assert bench.told == []
    assert bench.runner.running == 1
    await bench.outcome(key)


class Recorder(Interceptor):
    """Notes what passes, under a name."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self._name = name
        self._seen = seen

    async def execute_activity(
        self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
    ) -> object:
        assert isinstance(call.request, StringValue)
        self._seen.append(f"{self._name} in {call.request.value} {call.headers['trace'].data.decode()}")
        result = await next_hook(call)
        self._seen.append(f"{self._name} out")
        return result


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_interceptors_stand_around_the_attempt_the_first_one_outermost(kind: str) -> None:
    seen = list[str]()

    async def on_the_loop(request: StringValue) -> StringValue:
        seen.append("work")
        return request

    def in_a_thread(request: StringValue) -> StringValue:
        seen.append("work")
        return request

    interceptors = [Recorder("outer", seen), Recorder("inner", seen)]
    bench = Bench(on_the_loop if kind == "async" else in_a_thread, interceptors=interceptors)
    await bench.result("in", headers={"trace": Payload(data=b"t1")})
    assert seen == ["outer in in t1", "inner in in t1", "work", "inner out", "outer out"]


async def test_an_interceptor_may_change_the_request_and_the_response() -> None:
    class Shout(Interceptor):
        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            assert isinstance(call.request, StringValue)
            call.request = StringValue(value=call.request.value.upper())
            result = await next_hook(call)
            assert isinstance(result, StringValue)
            return StringValue(value=result.value + "!")

    assert await Bench(interceptors=[Shout()]).result("in") == "IN!"


async def test_an_interceptor_that_raises_fails_the_attempt() -> None:
    class Refuse(Interceptor):
        async def execute_activity(
            self, call: ExecuteActivity, next_hook: Callable[[ExecuteActivity], Awaitable[object]]
        ) -> object:
            raise ApplicationError(f"not {call.activity.name} by {next_hook}", type="Refused")

    failure = await Bench(interceptors=[Refuse()]).failure()
    assert failure.info == ApplicationFailureInfo(type="Refused")


class Reverse(PayloadCodec):
    """Writes data backwards, after a turn of the loop."""

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await asyncio.sleep(0)
        return [Payload({"encoding": b"reverse", "was": p.metadata["encoding"]}, p.data[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await asyncio.sleep(0)
        return [
            Payload({**p.metadata, "encoding": p.metadata["was"]}, p.data[::-1]) if "was" in p.metadata else p
            for p in payloads
        ]


async def test_codecs_stand_between_the_attempt_and_the_disk() -> None:
    seen = list[str]()

    async def work(request: StringValue) -> StringValue:
        seen.append(f"details {activity.heartbeat_details(str)}")
        activity.heartbeat("step 2")
        return StringValue(value=request.value + "!")

    bench = Bench(work, codecs=[Reverse()], interceptors=[Recorder("hook", seen)])
    encoded = await bench.codecs.encode(bench.converter.to_details(["step 1"]))
    sent = await bench.codecs.encode(bench.converter.to_details([StringValue(value="in")]))
    headers = {"trace": Payload({"encoding": b"reverse", "was": b"binary/plain"}, b"1t")}
    outcome = await bench.run(input=sent, heartbeat_details=encoded, headers=headers)
    assert isinstance(outcome, Completed)
    [written] = outcome.result
    assert (written.metadata["encoding"], written.data) == (b"reverse", b'"!ni"')
    assert seen == ["hook in in t1", "details step 1", "hook out"]


async def test_codecs_encode_the_details_of_failures() -> None:
    async def work(_: StringValue) -> StringValue:
        raise ApplicationError("no", "abc", type="No")

    failure = await Bench(work, codecs=[Reverse()]).failure(input=())
    assert failure.message.startswith("request of")
    bench = Bench(work, codecs=[Reverse()])
    failure = await bench.failure(input=await bench.codecs.encode(bench.converter.to_details([StringValue(value="x")])))
    assert isinstance(failure.info, ApplicationFailureInfo)
    [detail] = failure.info.details
    assert detail.data == b'"cba"'


@pytest.mark.parametrize("what", ["response", "failure"])
async def test_a_codec_that_fails_fails_the_attempt(what: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Reverse):
        async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
            raise ConnectionError(f"no key server for {len(payloads)}")

    async def work(request: StringValue) -> StringValue:
        if what == "failure":
            raise ApplicationError("no", "detail", type="No")
        return request

    bench = Bench(work, codecs=[Broken()])
    outcome = await bench.run()
    assert isinstance(outcome, Failed)
    if what == "response":
        assert outcome.failure.info == ApplicationFailureInfo(type="ConnectionError")
    else:
        assert outcome.failure.info == ApplicationFailureInfo(type="ApplicationError")
        assert outcome.failure.message.endswith("cannot be encoded by the payload codecs: no key server for 1")
    assert is_retryable(outcome.failure)
    assert caplog.records


async def test_a_partial_is_an_activity_too() -> None:
    def work(prefix: str, request: StringValue) -> StringValue:
        return StringValue(value=prefix + request.value)

    assert await Bench(functools.partial(work, "pre-")).result("in") == "pre-in"
