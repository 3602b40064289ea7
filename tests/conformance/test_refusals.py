"""What a server refuses of a call, an option or a command: every engine refuses the same, in the same words."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conformance.bench import Bench, Lab, find, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Other, Waiting, text
from tests.devserver import ADMITTED_ID

from protopact import workflow
from protopact.engine import WorkflowStatus
from protopact.errors import (
    ActivityError,
    AlreadyClosedError,
    ApplicationError,
    OptionError,
    PayloadSizeError,
    QueryError,
    ServerError,
    TerminatedError,
    WorkflowFailedError,
)
from protopact.history.event import WorkflowExecutionStarted
from protopact.policy import Priority, RetryPolicy, SearchAttributeValue

LONG = "é" * 501
"""An id of 1,002 bytes, which is two too many."""

ATTRIBUTES: Mapping[str, tuple[SearchAttributeValue, str]] = {
    "Count": (2**63, "search attribute Count: expected an integer of 64 bits, found one of 64"),
    "Load": (math.nan, "search attribute Load: expected a finite number, found nan"),
    "Since": (datetime(2026, 1, 2), "search attribute Since: expected a time with a zone, found 2026-01-02 00:00:00"),  # noqa: DTZ001 - what is refused
    "Owner": ("x" * 2047, "search attribute Owner: expected at most 2048 bytes as JSON, found 2049"),
    "Tags": (["é" * 339, "x" * 10], "search attribute Tags: expected at most 2048 bytes as JSON, found 2051"),
}
"""Values of search attributes that are refused, and why."""

FITTING: Mapping[str, SearchAttributeValue] = {
    "Count": -(2**63),
    "Load": 1.5,
    "Since": datetime(2026, 1, 2, tzinfo=UTC),
    "Owner": "x" * 2046,
    "Tags": ["é" * 339, "x" * 7],
}
"""Values of search attributes that fit as they are and no more."""

EDGES: Mapping[str, Any] = {
    "priority": Priority(priority_key=2**31 - 1, fairness_key="x" * 64, fairness_weight=0.001),
    "retry_policy": RetryPolicy(maximum_attempts=2**31 - 1),
}
"""Options at the edge of what is taken."""


def too_long(what: str) -> str:
    return f"{what}: expected at most 1000 bytes, found 1002"


CALLS: tuple[tuple[str, Callable[[Bench], Awaitable[object]]], ...] = (
    *(
        (why, lambda bench, name=name, value=value: bench.start(search_attributes={name: value}))
        for name, (value, why) in ATTRIBUTES.items()
    ),
    (too_long("option id"), lambda bench: bench.start(id=LONG)),
    (too_long("workflow id of suite.v1.SuiteService.Free"), lambda bench: bench.client.start_free(text(LONG))),
    (too_long("option task_queue"), lambda bench: bench.start(task_queue=LONG)),
    (too_long("option request_id"), lambda bench: bench.start(request_id=LONG)),
    (
        "search attribute Region: expected at most 2048 bytes as JSON, found 2071",
        lambda bench: bench.client.start_declared(Document(title="x" * 2060), id=bench.id()),
    ),
    (too_long("option id"), lambda bench: bench.client.free_handle(bench.id()).set(text("x"), id=LONG)),
    (
        too_long("option update_id"),
        lambda bench: bench.client.start_free_with_set(text(""), text("x"), id=bench.id(), update_id=LONG),
    ),
    (
        "expected no start_delay, found 0:00:01",
        lambda bench: bench.client.start_free_with_set(
            text(""), text("x"), id=bench.id(), start_delay=timedelta(seconds=1)
        ),
    ),
)
"""Calls of a client, and why each is refused."""

COMMANDS: tuple[tuple[str, Callable[[], object]], ...] = (
    *(
        (why, lambda name=name, value=value: workflow.upsert_search_attributes({name: value}))
        for name, (value, why) in ATTRIBUTES.items()
    ),
    *(
        (why, lambda name=name, value=value: suite.Other.start_child(text("c"), search_attributes={name: value}))
        for name, (value, why) in ATTRIBUTES.items()
    ),
    *(
        (why, lambda name=name, value=value: suite.Free.continue_as_new(text("c"), search_attributes={name: value}))
        for name, (value, why) in ATTRIBUTES.items()
    ),
    (too_long("option id"), lambda: suite.Other.start_child(text("c"), id=LONG)),
    (too_long("workflow id of suite.v1.SuiteService.Other"), lambda: suite.Other.start_child(text(LONG))),
    (too_long("option task_queue"), lambda: suite.Other.start_child(text("c"), task_queue=LONG)),
    (too_long("option task_queue"), lambda: suite.Free.continue_as_new(text("c"), task_queue=LONG)),
    (too_long("option task_queue"), lambda: suite.echo(text("c"), task_queue=LONG)),
    (too_long("option activity_id"), lambda: suite.echo(text("c"), activity_id=LONG)),
    (too_long("option activity_id"), lambda: suite.Local.echo(text("c"), activity_id=LONG)),
    (too_long("workflow_id"), lambda: suite.Free.external(LONG)),
    (
        "run_id: expected the UUID of a run, or None for the latest, found 'r1'",
        lambda: suite.Free.external("w", run_id="r1"),
    ),
)
"""What workflow code asks for, and why each is refused."""

VALUES: tuple[tuple[str, Callable[[], object]], ...] = (
    ("Priority.priority_key must be 1 or more, not 2147483648", lambda: Priority(priority_key=2**31)),
    ("Priority.fairness_weight must be positive, not -1", lambda: Priority(fairness_weight=-1)),
    ("RetryPolicy.maximum_attempts must be at most 2147483647 and", lambda: RetryPolicy(maximum_attempts=2**31)),
    ("RetryPolicy.backoff_coefficient must be at least 1, not nan", lambda: RetryPolicy(backoff_coefficient=math.nan)),
    ("next_retry_delay that is positive", lambda: ApplicationError("no", next_retry_delay=timedelta(0))),
    ("next_retry_delay that is positive", lambda: ApplicationError("no", next_retry_delay=timedelta(-1))),
    ("at most 36525 days", lambda: ApplicationError("no", next_retry_delay=timedelta(36_526))),
)
"""Values that cannot be made, and why."""

# Any: callers may have no type checker.
WRONG_NUMBER: Any = 1.5
WRONG_TEXT: Any = "1"
WRONG: dict[str, Callable[[], object]] = {
    "Priority.priority_key must be of type int or None, not float: 1.5": lambda: Priority(priority_key=WRONG_NUMBER),
    "Priority.priority_key must be of type int or None, not bool: True": lambda: Priority(priority_key=True),
    "Priority.fairness_key must be of type str or None, not float": lambda: Priority(fairness_key=WRONG_NUMBER),
    "Priority.fairness_weight must be of type float or int or None": lambda: Priority(fairness_weight=WRONG_TEXT),
    "RetryPolicy.maximum_attempts must be of type int, not float: 1.5": lambda: RetryPolicy(
        maximum_attempts=WRONG_NUMBER
    ),
    "RetryPolicy.initial_interval must be of type timedelta, not float": lambda: RetryPolicy(
        initial_interval=WRONG_NUMBER
    ),
    "RetryPolicy.non_retryable_error_types must be of type tuple or list, not str": lambda: RetryPolicy(
        non_retryable_error_types=WRONG_TEXT
    ),
    "as a timedelta, found 1.5": lambda: ApplicationError("no", next_retry_delay=WRONG_NUMBER),
}


@pytest.mark.parametrize(("why", "make"), [*VALUES, *WRONG.items()])
def test_values(why: str, make: Callable[[], object]) -> None:
    with pytest.raises(OptionError, match=re.escape(why)):
        make()


async def test_calls_of_a_client(bench: Bench) -> None:
    for why, call in CALLS:
        with pytest.raises(OptionError, match=re.escape(why)):
            await call(bench)
    with pytest.raises(OptionError, match=re.escape(too_long("workflow_id"))):
        bench.client.free_handle(LONG)


async def test_commands_of_a_workflow(bench: Bench) -> None:
    said = list[str]()

    async def greedy(request: Text) -> Text:
        said.clear()
        for _, ask in COMMANDS:
            try:
                asked = ask()
                if asyncio.iscoroutine(asked):
                    await asked
            except OptionError as error:
                said.append(str(error))
            else:
                said.append("it was taken")
        return request

    async with bench.worker(running(greedy)):
        assert await bench.run("done") == "done"
    assert len(said) == len(COMMANDS)
    for (why, _), says in zip(COMMANDS, said, strict=True):
        assert why in says


async def test_what_fits(bench: Bench) -> None:
    longest = bench.id("child").ljust(ADMITTED_ID, "x")

    async def modest(request: Text) -> Text:
        if request.value == "next":
            return text(repr(sorted(workflow.search_attributes())))
        workflow.upsert_search_attributes(FITTING)
        await suite.echo(text("c"), activity_id="x" * ADMITTED_ID, **EDGES)
        child = await suite.Other.start_child(text("c"), id=longest, search_attributes=FITTING, **EDGES)
        child.cancel()
        suite.Free.continue_as_new(text("next"), search_attributes=FITTING, retry_policy=EDGES["retry_policy"])

    async with bench.worker(running(modest), Other, activities=[Lab()]):
        handle = await bench.start(
            id=bench.id("run").ljust(ADMITTED_ID, "x"), request_id="x" * ADMITTED_ID, search_attributes=FITTING, **EDGES
        )
        assert (await soon(handle.result())).value == repr(sorted(FITTING))
        started = find(await handle.history(), WorkflowExecutionStarted)
        assert started.priority is not None
        assert started.priority.priority_key == 2**31 - 1


async def test_a_short_wait_before_the_next_attempt(bench: Bench) -> None:
    class Impatient(Lab):
        async def echo(self, request: Text) -> Text:
            if not attempts:
                attempts.append(1)
                raise ApplicationError("again", next_retry_delay=timedelta(microseconds=1))
            return request

    attempts = list[int]()

    async def code(request: Text) -> Text:
        return await suite.echo(request)

    async with bench.worker(running(code), activities=[Impatient()]):
        assert await bench.run("done") == "done"


# -- sizes, and ids that are taken

LARGE, TOO_LARGE = "x" * 1_900_000, "x" * 2_200_000
MEMO, TOO_LARGE_MEMO = {"a": "x" * 1_000_000}, {"a": TOO_LARGE}


class Asking(Waiting):
    """Asks for what its request names."""

    async def run(self, request: Text) -> Text:  # noqa: C901 - each case stands alone
        match request.value:
            case "one id for two":
                await asyncio.gather(*(suite.echo(request, activity_id="a") for _ in range(2)))
            case "an id that is given anyway":
                await asyncio.gather(suite.echo(request, activity_id="2"), suite.echo(request))
            case "too much in all":
                await asyncio.gather(*(suite.echo(text(LARGE)) for _ in range(3)))
            case "the memo of a child":
                await suite.Other.start_child(text("c"), memo=TOO_LARGE_MEMO)
            case "the memo of the next run":
                suite.Free.continue_as_new(request, memo=TOO_LARGE_MEMO)
            case "memos one by one":
                for name in "abc":
                    workflow.upsert_memo({name: "x" * 800_000})
                    await workflow.sleep(0.001)
            case "details of a failure":
                raise ApplicationError("failed", text(TOO_LARGE))
            case "message of a failure":
                raise ApplicationError(TOO_LARGE)
            case "ids in turn":
                for _ in range(2):
                    await suite.echo(request, activity_id="a")
                withdrawn = suite.beat(request, activity_id="a", task_queue="nobody's")
                await workflow.sleep(0.001)
                withdrawn.cancel()
                await asyncio.sleep(0)  # it asks for its cancellation first
                await suite.echo(request, activity_id="a")
            case _:
                await suite.copy(Document(title=request.value))
        return request

    def status(self, request: Text) -> Text:
        return text(TOO_LARGE)


class Failing(Lab):
    """Fails with too much."""

    async def copy(self, request: Document) -> Document:
        if request.title == "details of an activity's failure":
            raise ApplicationError("the beginning", text(TOO_LARGE), type="Kind")
        raise ApplicationError("the beginning" + TOO_LARGE, type="Kind")


PARKED = {
    "one id for two": "ScheduleActivityDuplicateId: ",
    "an id that is given anyway": "ScheduleActivityDuplicateId: ",
    "too much in all": "GrpcMessageTooLarge: ",
}
"""What fails the workflow task, and how."""

TERMINATED = {
    "the memo of a child": "Memo exceeds size limit",
    "the memo of the next run": "Memo exceeds size limit",
    "memos one by one": "Memo exceeds size limit",
    "details of a failure": "Failure exceeds size limit",
    "message of a failure": "Failure exceeds size limit",
}
"""What ends the run, and why."""


async def test_what_a_task_may_ask_for(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    async def parks(ask: str, why: str) -> None:
        handle = await bench.start(ask, name=ask)
        assert why in await bench.until_parked(handle)

    async def is_terminated(ask: str, why: str) -> None:
        handle = await bench.start(ask, name=ask)
        with pytest.raises(WorkflowFailedError, match=why) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, TerminatedError)

    async def fails(ask: str) -> None:
        handle = await bench.start(ask, name=ask)
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, ActivityError)
        refused = raised.value.cause.cause
        assert isinstance(refused, ServerError)
        assert refused.message.startswith("Failure exceeds size limit")
        assert isinstance(refused.cause, ApplicationError)
        assert refused.cause.message.startswith("the beginning")
        assert (refused.cause.type, len(refused.cause.details)) == ("Kind", 0)

    async with bench.worker(Asking, Other, activities=[Failing()]):
        assert await bench.run("ids in turn", name="ids in turn") == "ids in turn"
        await asyncio.gather(
            *(parks(ask, why) for ask, why in PARKED.items()),
            *(is_terminated(ask, why) for ask, why in TERMINATED.items()),
            *(fails(ask) for ask in ("details of an activity's failure", "message of an activity's failure")),
        )


async def test_what_an_update_may_end_with(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Talkative(Waiting):
        def validate_set(self, request: Text) -> None:
            if request.value == "rejected":
                raise ApplicationError(TOO_LARGE)

        async def set(self, request: Text) -> Text:
            raise ApplicationError("failed", text(TOO_LARGE))

    async def ends(how: str) -> None:
        handle = await bench.start(name=how)
        with pytest.raises(AlreadyClosedError):
            await soon(handle.set(text(how)))
        assert (await handle.describe()).status is WorkflowStatus.TERMINATED

    async with bench.worker(Talkative):
        await asyncio.gather(ends("rejected"), ends("failed"))


async def test_what_a_call_may_take(bench: Bench) -> None:
    with pytest.raises(PayloadSizeError):
        await bench.start(memo=TOO_LARGE_MEMO)
    with pytest.raises(PayloadSizeError):
        await bench.client.start_free_with_go(text(LARGE), text(LARGE), id=bench.id(), memo=MEMO)
    with pytest.raises(PayloadSizeError):
        await bench.client.start_free_with_set(text(LARGE), text(LARGE), id=bench.id(), memo=MEMO)
    async with bench.worker(Asking, activities=[Lab()]):
        handle = await bench.start("x", memo=MEMO)
        await soon(handle.result())
        with pytest.raises(QueryError, match=r"failed: Blob data size exceeds limit"):
            await soon(handle.status(text("")))
