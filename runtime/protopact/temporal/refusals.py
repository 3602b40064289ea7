"""What the server refuses, as exceptions of the one tree."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from temporalio.api.errordetails.v1 import QueryFailedFailure, WorkflowNotReadyFailure
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from protopact.errors import EngineError, OptionError, PayloadSizeError, ProtopactError, RunLimitError
from protopact.temporal.client import connection_error, has_no_namespace

__all__ = ["failure_of_query", "is_not_found", "is_not_ready", "place", "refusal", "refusing"]

_UNREACHABLE = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.PERMISSION_DENIED,
    }
)
_TOO_LARGE = ("size exceeds limit", "exceeds size limit", "larger than max", "message length too large")
_TOO_MANY = ("execution limit for signal events", "limit on the total number of distinct updates")
_NO_RUN_ID = "Invalid RunId"  # it is none that the server could have given
_NO_ATTRIBUTE = "no mapping defined for search attribute"


def place(client: Client) -> str:
    """The namespace of a client and its server, for messages."""
    return f"namespace {client.namespace!r} of Temporal at {client.service_client.config.target_host}"


def refusal(error: RPCError, what: str, client: Client) -> ProtopactError:
    """What a call that the server refused raises.

    Args:
        error: The refusal.
        what: The call, for the message: `start of acme.v1.S.Do`.
        client: The client that called.
    """
    if has_no_namespace(error) or error.status in _UNREACHABLE:
        server = f"{what}: Temporal at {client.service_client.config.target_host}"
        return connection_error(error, server, namespace=client.namespace)
    if any(words in error.message for words in _TOO_LARGE):
        return PayloadSizeError(
            f"{what} is larger than {place(client)} admits ({error.message}). Put large data into a store of its own "
            "and send where it is"
        )
    if any(words in error.message for words in _TOO_MANY):
        return RunLimitError(
            f"{what}: {place(client)} refuses it: {error.message}; the run should have continued as new"
        )
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        hint = ""
        if _NO_ATTRIBUTE in error.message:
            hint = "; register it: temporal operator search-attribute create --name NAME --type TYPE"
        return OptionError(f"{what}: {place(client)} refuses it: {error.message}{hint}")
    return EngineError(f"{what}: {place(client)} answers {error.status.name}: {error.message}")


@contextmanager
def refusing(what: str, client: Client) -> Generator[None]:
    """Raise what the server refuses within the context as exceptions of ours; see `refusal`."""
    try:
        yield
    except RPCError as error:
        raise refusal(error, what, client) from None


def is_not_found(error: RPCError) -> bool:
    """Whether there is no such workflow, run or update, or it is closed: the server's word for both."""
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return _NO_RUN_ID in error.message
    return error.status is RPCStatusCode.NOT_FOUND and not has_no_namespace(error)


def is_not_ready(error: RPCError) -> bool:
    """Whether a run cannot be asked because its workflow task fails again and again."""
    return any(detail.Is(WorkflowNotReadyFailure.DESCRIPTOR) for detail in error.grpc_status.details)


def failure_of_query(error: RPCError) -> FailureProto | None:
    """The failure that a query ended with, if the server says it."""
    found = QueryFailedFailure()
    for detail in error.grpc_status.details:
        if detail.Unpack(found) and found.HasField("failure"):
            return found.failure
    return None
