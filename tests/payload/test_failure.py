"""Exceptions become failures and come back, as in Temporal's Python SDK."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import temporalio.api.failure.v1
import temporalio.exceptions
from hypothesis import given
from hypothesis import strategies as st
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter
from tests.payload import messages

import protopact
from protopact.errors import Details, FailureError, RetryState, TimeoutType
from protopact.failure import SOURCE, FailureConverter
from protopact.history.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    ResetWorkflowFailureInfo,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.history.time import Duration
from protopact.payload import Payload, PayloadConverter

CONVERTER = PayloadConverter()
FAILURES = FailureConverter(CONVERTER)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001 - what was raised, of any kind
        return caught


def details() -> st.SearchStrategy[tuple[Payload, ...]]:
    payload = st.builds(Payload, st.dictionaries(st.text(max_size=3), st.binary(max_size=3)), st.binary(max_size=5))
    return st.lists(payload, max_size=2).map(tuple)


def infos() -> st.SearchStrategy[Any]:
    text, number, states = st.text(max_size=5), st.integers(0, 2**40), st.sampled_from(["", *RetryState.__members__])
    delays = st.none() | st.integers(0, 10**18).map(Duration)
    return st.none() | st.one_of(
        st.builds(ApplicationFailureInfo, text, st.booleans(), details(), delays),
        st.builds(TimeoutFailureInfo, st.sampled_from(["", "NEWER", *TimeoutType.__members__]), details()),
        st.builds(CanceledFailureInfo, details()),
        st.builds(TerminatedFailureInfo),
        st.builds(ServerFailureInfo, st.booleans()),
        st.builds(ResetWorkflowFailureInfo, details()),
        st.builds(ActivityFailureInfo, text, text, number, number, text, states),
        st.builds(ChildWorkflowFailureInfo, text, text, text, text, number, number, states),
    )


def failures() -> st.SearchStrategy[Failure]:
    def failure(cause: st.SearchStrategy[Failure | None]) -> st.SearchStrategy[Failure]:
        return st.builds(
            Failure,
            message=st.text(max_size=5),
            info=infos(),
            source=st.text(max_size=3),
            stack_trace=st.text(max_size=5),
            cause=cause,
            encoded_attributes=st.none() | st.just(Payload({"encoding": b"binary/encrypted"})),
        )

    return st.recursive(failure(st.none()), lambda inner: failure(st.none() | inner), max_leaves=4)


@given(failures())
def test_what_came_from_history_goes_back_as_it_came(failure: Failure) -> None:
    error = FAILURES.from_failure(failure)
    assert FAILURES.to_failure(error) == failure
    assert FAILURES.to_failure(raised(error, error.__cause__)) == failure


@given(failures(), failures())
def test_raised_from_another_it_gets_a_new_cause(failure: Failure, cause: Failure) -> None:
    error = raised(FAILURES.from_failure(failure), FAILURES.from_failure(cause))
    again = FAILURES.to_failure(error)
    assert (again.message, again.info, again.stack_trace) == (failure.message, failure.info, failure.stack_trace)
    assert again.cause == cause


def test_an_application_error_keeps_everything() -> None:
    error = raised(
        protopact.ApplicationError(
            "no quota", {"left": 0}, 5, type="Quota", non_retryable=True, next_retry_delay=timedelta(seconds=1.5)
        )
    )
    failure = FAILURES.to_failure(error)
    assert failure.message == "no quota"
    assert failure.source == SOURCE
    assert failure.info == ApplicationFailureInfo(
        type="Quota",
        non_retryable=True,
        details=CONVERTER.to_details([{"left": 0}, 5]),
        next_retry_delay=Duration(1_500_000_000),
    )
    assert "in raised" in failure.stack_trace
    assert "raise error from cause" in failure.stack_trace

    back = FAILURES.from_failure(failure)
    assert isinstance(back, protopact.ApplicationError)
    assert (back.message, str(back), back.type, back.non_retryable) == ("no quota", "no quota", "Quota", True)
    assert back.next_retry_delay == timedelta(seconds=1.5)
    assert back.details == ({"left": 0}, 5)
    assert back.stack_trace == failure.stack_trace


def test_details_are_messages_when_asked_for_as_such() -> None:
    quota: type[Any] = messages.betterproto2().message("Scalars").type
    error = protopact.ApplicationError("no quota", quota(int32=3))
    assert error.details.get(0, quota).int32 == 3
    back = FAILURES.from_failure(FAILURES.to_failure(error))
    assert isinstance(back, protopact.ApplicationError)
    assert back.details.get(0, quota) == quota(int32=3)
    with pytest.raises(protopact.MessageMismatchError, match=r"detail 0: expected payload_test.v1.Maps"):
        back.details.get(0, messages.betterproto2().message("Maps").type)
    with pytest.raises(protopact.MessageMismatchError, match="detail 0: expected str, found Scalars"):
        error.details.get(0, str)


def test_details_are_a_sequence() -> None:
    details = Details([1, "two"])
    assert (details == (1, "two"), details == [1, "two"], details == "ab", details == [1]) == (True, True, False, False)
    assert (details[0], details[-1], details[:1], len(details)) == (1, "two", (1,), 2)
    assert repr(details) == "(1, 'two')"


ERRORS: list[FailureError] = [
    protopact.ActivityError(
        "activity failed",
        activity_type="acme.v1.S.Do",
        activity_id="5",
        scheduled_event_id=5,
        started_event_id=6,
        identity="1@host",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    ),
    protopact.ChildWorkflowError(
        "child failed",
        namespace="default",
        workflow_id="w",
        run_id="r",
        workflow_type="acme.v1.S.Run",
        initiated_event_id=5,
        started_event_id=6,
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    ),
    protopact.TimeoutError("too late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1]),
    protopact.TimeoutError("too late"),
    protopact.CancelledError("stopped", "why"),
    protopact.CancelledError(),
    protopact.TerminatedError("ended"),
    protopact.ServerError("broken", non_retryable=True),
    protopact.ApplicationError("plain"),
    FailureError("plain"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_failure_comes_back_equal(error: FailureError) -> None:
    cause = protopact.ApplicationError("because", type="Root")
    failure = FAILURES.to_failure(raised(error, cause))
    back = FAILURES.from_failure(failure)
    assert type(back) is type(error)

    def plain(error: FailureError) -> dict[str, Any]:
        return {k: v for k, v in vars(error).items() if k not in {"failure", "stack_trace"}}

    assert plain(back) == plain(error)
    assert isinstance(back.cause, protopact.ApplicationError)
    assert (back.cause.message, back.cause.type) == ("because", "Root")


class Broken(Exception):  # noqa: N818 - a user's exception
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message", "info"),
    [
        (ValueError("bad"), "bad", ApplicationFailureInfo(type="ValueError")),
        (builtins.TimeoutError(), "", ApplicationFailureInfo(type="TimeoutError")),
        (protopact.NotFoundError("gone"), "gone", ApplicationFailureInfo(type="NotFoundError")),
        (asyncio.CancelledError(), "", ApplicationFailureInfo(type="CancelledError")),
        (asyncio.CancelledError("stop"), "stop", ApplicationFailureInfo(type="CancelledError")),
        (KeyboardInterrupt(), "", ApplicationFailureInfo(type="KeyboardInterrupt")),
        (Broken(), "Broken, whose str() fails", ApplicationFailureInfo(type="Broken")),
        (ValueError("\ud800"), r"\ud800", ApplicationFailureInfo(type="ValueError")),
    ],
)
def test_other_exceptions(error: BaseException, message: str, info: object) -> None:
    failure = FAILURES.to_failure(raised(error))
    assert (failure.message, failure.info, failure.source) == (message, info, SOURCE)


def test_a_chain_of_causes_in_a_circle_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    failure = FAILURES.to_failure(one)
    assert failure.cause is not None
    assert (failure.message, failure.cause.message, failure.cause.cause) == ("one", "two", None)


def test_a_long_chain_of_causes() -> None:
    error = ValueError("0")
    for number in range(1, 3000):
        error, error.__cause__ = ValueError(str(number)), error
    failure = FAILURES.to_failure(error)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(failure), type=Failure) == failure
    messages: list[str] = []
    each: BaseException | None = FAILURES.from_failure(failure)
    while each is not None:
        messages.append(str(each))
        each = each.__cause__
    assert messages == [str(number) for number in range(2999, 2899, -1)]


def test_details_that_cannot_be_encoded_are_said_to_be_lost() -> None:
    failure = FAILURES.to_failure(
        raised(protopact.ApplicationError("no quota", object(), type="Quota"), ValueError("x"))
    )
    assert failure.info == ApplicationFailureInfo(type="PayloadError")
    assert failure.message.startswith(
        "the details of this failure cannot be encoded: detail 0: expected a message of an"
    )
    assert failure.cause is not None
    assert (failure.cause.message, failure.cause.info) == ("no quota", ApplicationFailureInfo(type="Quota"))
    assert failure.cause.cause is not None
    assert failure.cause.cause.message == "x"


def test_what_a_writer_hid_in_a_payload_is_read() -> None:
    (hidden,) = CONVERTER.to_details([{"message": "secret", "stack_trace": "at line 1"}])
    failure = Failure("Encoded failure", ApplicationFailureInfo(type="T"), encoded_attributes=hidden)
    error = FAILURES.from_failure(failure)
    assert (error.message, error.stack_trace) == ("secret", "at line 1")
    assert FAILURES.to_failure(error) == failure


def in_a_handler(make: Callable[[], BaseException]) -> BaseException:
    try:
        try:
            raise ValueError("first")  # noqa: TRY301 - so that there is something to handle
        except ValueError:
            raise make()  # noqa: B904 - without a cause on purpose
    except BaseException as caught:  # noqa: BLE001 - what was raised, of any kind
        return caught


PAIRS: list[tuple[BaseException, BaseException]] = [
    (ValueError("bad"), ValueError("bad")),
    (raised(ValueError("bad"), KeyError("k")), raised(ValueError("bad"), KeyError("k"))),
    (in_a_handler(lambda: KeyError("second")), in_a_handler(lambda: KeyError("second"))),
    (
        in_a_handler(lambda: protopact.ApplicationError("second", 5, {"a": 1}, type="T", non_retryable=True)),
        in_a_handler(
            lambda: temporalio.exceptions.ApplicationError("second", 5, {"a": 1}, type="T", non_retryable=True)
        ),
    ),
    (
        raised(protopact.ApplicationError("second", next_retry_delay=timedelta(seconds=2)), None),
        raised(temporalio.exceptions.ApplicationError("second", next_retry_delay=timedelta(seconds=2)), None),
    ),
    (protopact.CancelledError("c", 1), temporalio.exceptions.CancelledError("c", 1)),
    (protopact.TerminatedError("t"), temporalio.exceptions.TerminatedError("t")),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_failures_are_those_of_temporals_sdk(ours: BaseException, theirs: BaseException) -> None:
    expected = temporalio.api.failure.v1.Failure()
    DefaultFailureConverter().to_failure(theirs, DefaultPayloadConverter(), expected)
    failure: Failure | None = FAILURES.to_failure(ours)
    while failure is not None:
        assert failure.message == expected.message
        info = failure.info
        if isinstance(info, ApplicationFailureInfo):
            application = expected.application_failure_info
            assert (info.type, info.non_retryable) == (application.type, application.non_retryable)
            assert (info.next_retry_delay or 0) == application.next_retry_delay.ToNanoseconds()
            assert [each.data for each in info.details] == [each.data for each in application.details.payloads]
        elif isinstance(info, CanceledFailureInfo):
            assert [each.data for each in info.details] == [
                each.data for each in expected.canceled_failure_info.details.payloads
            ]
        else:
            assert expected.HasField("terminated_failure_info")
        failure = failure.cause
        assert expected.HasField("cause") == (failure is not None)
        expected = expected.cause
