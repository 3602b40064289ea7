"""Failures between protopact and the SDK: nothing is lost on either way, through the SDK's own converters too."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from nodes.provisioning.v1 import node_pb2 as pb
from temporalio import exceptions
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
)

from protopact import errors
from protopact.history.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    FailureInfo,
    ResetWorkflowFailureInfo,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from protopact.history.time import Duration
from protopact.payload import Payload, PayloadConverter
from protopact.temporal.failures import TemporalFailures, failure_from_proto, failure_to_proto

FAILURES = TemporalFailures(PayloadConverter())
DETAILS = (Payload({"encoding": b"json/plain"}, b'{"a":1}'), Payload({"encoding": b"of/nobody"}, b"x"))
INFOS: list[FailureInfo | None] = [
    ApplicationFailureInfo(
        "Quota", non_retryable=True, details=DETAILS, next_retry_delay=Duration(1_500_000_001), category="BENIGN"
    ),
    ApplicationFailureInfo(),
    TimeoutFailureInfo("HEARTBEAT", DETAILS),
    CanceledFailureInfo(DETAILS, "me"),
    TerminatedFailureInfo("me"),
    ServerFailureInfo(non_retryable=True),
    ResetWorkflowFailureInfo(DETAILS),
    ActivityFailureInfo("acme.v1.Do", "7", 5, 6, "me", "MAXIMUM_ATTEMPTS_REACHED"),
    ChildWorkflowFailureInfo("default", "child", "run", "acme.v1.Child", 5, 6, "TIMEOUT"),
    None,
]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: type(info).__name__)
def test_a_failure_is_the_same_as_a_protobuf_message(info: FailureInfo | None) -> None:
    encoded = Payload({"encoding": b"json/plain"}, b'{"message":"hidden","stack_trace":"t"}')
    inner = Failure("inner", ApplicationFailureInfo("Inner"), "GoSDK", encoded_attributes=encoded)
    failure = Failure("message", info, "protopact", "trace", inner)
    assert failure_from_proto(failure_to_proto(failure)) == failure


@pytest.mark.parametrize("info", INFOS, ids=lambda info: type(info).__name__)
@pytest.mark.parametrize("converter", [DefaultFailureConverter(), DefaultFailureConverterWithEncodedAttributes()])
def test_a_failure_crosses_the_sdk_as_it_is(info: FailureInfo | None, converter: DefaultFailureConverter) -> None:
    came = Failure("message", info, "GoSDK", "trace", Failure("inner", ApplicationFailureInfo("Inner")))
    raised = FAILURES.from_failure(came)
    written = FailureProto()
    converter.to_failure(FAILURES.to_temporal(raised), DefaultPayloadConverter(), written)
    read = FAILURES.from_temporal(FAILURES.from_proto_to_temporal(written))
    assert type(read) is type(raised)
    assert str(read) == str(raised)
    assert isinstance(read.cause, errors.ApplicationError)
    assert read.cause.type == "Inner"


def test_what_user_code_raises() -> None:
    try:
        try:
            raise KeyError("inner")  # noqa: TRY301 - it is its cause
        except KeyError as error:
            raise errors.ApplicationError(
                "no quota",
                pb.PauseRequest(reason="why"),
                {"a": 1},
                type="Quota",
                non_retryable=True,
                next_retry_delay=timedelta(seconds=2),
            ) from error
    except errors.ApplicationError as error:
        theirs = FAILURES.to_temporal(error)
    assert isinstance(theirs, exceptions.ApplicationError)
    assert (theirs.message, theirs.type, theirs.non_retryable) == ("no quota", "Quota", True)
    assert theirs.next_retry_delay == timedelta(seconds=2)
    assert theirs.details[1] == {"a": 1}
    assert isinstance(theirs.cause, exceptions.ApplicationError)
    assert theirs.cause.type == "KeyError"
    assert theirs.failure is not None
    assert "test_what_user_code_raises" in theirs.failure.stack_trace
    ours = FAILURES.from_temporal(theirs)
    assert isinstance(ours, errors.ApplicationError)
    assert ours.details.get(0, pb.PauseRequest) == pb.PauseRequest(reason="why")
    assert FAILURES.to_temporal(theirs) is theirs


def test_what_the_sdk_raises() -> None:
    error = exceptions.ApplicationError("no", pb.PauseRequest(reason="why"), type="Quota", non_retryable=True)
    error.__cause__ = ValueError("inner")
    ours = FAILURES.from_temporal(error)
    assert isinstance(ours, errors.ApplicationError)
    assert (ours.message, ours.type, ours.non_retryable) == ("no", "Quota", True)
    assert ours.details.get(0, pb.PauseRequest).reason == "why"
    assert isinstance(ours.cause, errors.ApplicationError)
    assert (ours.cause.type, ours.cause.message) == ("ValueError", "inner")
    assert isinstance(FAILURES.from_temporal(exceptions.CancelledError("stop", 1)), errors.CancelledError)
    assert isinstance(FAILURES.from_temporal(asyncio.CancelledError()), errors.CancelledError)
    taken = FAILURES.from_temporal(exceptions.WorkflowAlreadyStartedError("id", "acme.v1.Do", run_id="run"))
    assert isinstance(taken, errors.AlreadyStartedError)
    assert (taken.workflow_id, taken.run_id, taken.workflow_type) == ("id", "run", "acme.v1.Do")
    assert FAILURES.from_temporal(ours) is ours


def test_a_failure_type_of_a_newer_server_keeps_its_number() -> None:
    proto = FailureProto(message="new")
    proto.timeout_failure_info.timeout_type = 99  # type: ignore[assignment]
    failure = failure_from_proto(proto)
    assert failure.info == TimeoutFailureInfo("99")
    assert failure_to_proto(failure) == proto
    nexus = FailureProto(message="nexus")
    nexus.nexus_operation_execution_failure_info.operation = "x"
    assert FAILURES.from_proto(nexus).message == "nexus"
