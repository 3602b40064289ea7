"""Failures: what each kind becomes where it is raised, and what its caller reads of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.conformance.bench import ONCE, QUICKLY, Bench, Lab, kinds, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.engine import WorkflowStatus
from protopact.errors import (
    ActivityError,
    ApplicationError,
    CancelledError,
    FailureError,
    RetryState,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    UpdateFailedError,
    WorkflowFailedError,
)


def chained() -> ApplicationError:
    """A failure with details and two causes."""
    try:
        try:
            raise ValueError("deepest")  # noqa: TRY301 - a cause is needed
        except ValueError as error:
            raise ApplicationError("deeper", {"n": [1, 2]}, type="Deeper") from error
    except ApplicationError as error:
        failure = ApplicationError("on top", text("detail"), Document(title="t"), 7, None, type="Top")
        failure.__cause__ = error
        return failure


def check_chained(error: BaseException | None) -> None:
    assert isinstance(error, ApplicationError)
    assert (error.message, error.type, error.non_retryable) == ("on top", "Top", False)
    assert error.details.get(0, Text) == text("detail")
    assert error.details.get(1, Document) == Document(title="t")
    assert error.details[2] == 7
    assert error.details[3] is None
    assert len(error.details) == 4
    deeper = error.cause
    assert isinstance(deeper, ApplicationError)
    assert (deeper.message, deeper.type) == ("deeper", "Deeper")
    assert deeper.details.get(0, dict) == {"n": [1, 2]}
    deepest = deeper.cause
    assert isinstance(deepest, ApplicationError)
    assert (deepest.message, deepest.type) == ("deepest", "ValueError")
    assert deepest.cause is None


async def test_of_a_workflow(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        raise chained()

    async with bench.worker(running(code)):
        handle = await bench.start()
        with pytest.raises(WorkflowFailedError, match="on top") as raised:
            await soon(handle.result())
    check_chained(raised.value.cause)


async def test_of_an_activity_at_the_client(bench: Bench) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise chained()

    async def code(request: Text) -> Text:
        return await suite.echo(request, retry_policy=ONCE)

    async with bench.worker(running(code), activities=[Failing()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    assert isinstance(raised.value.cause, ActivityError)
    check_chained(raised.value.cause.cause)


async def test_of_an_activity_in_the_workflow_and_after_replay(bench: Bench) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise chained()

    async def code(request: Text) -> Text:
        with pytest.raises(ActivityError) as caught:
            await suite.echo(request, retry_policy=ONCE)
        await workflow.sleep(0.01)
        error = caught.value
        assert (error.activity_type, error.activity_id) == ("suite.v1.SuiteService.Echo", "1")
        assert error.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
        check_chained(error.cause)
        return request

    async with bench.worker(running(code), activities=[Failing()], max_cached_workflows=0):
        assert await bench.run("a") == "a"


async def test_of_an_update(bench: Bench) -> None:
    class Failing(Waiting):
        async def set(self, request: Text) -> Text:
            raise chained()

    async with bench.worker(Failing):
        handle = await bench.start()
        with pytest.raises(UpdateFailedError, match="on top") as raised:
            await soon(handle.set(text("x")))
    check_chained(raised.value.cause)


async def test_a_stack_trace_crosses(bench: Bench) -> None:
    async def somewhere() -> Text:
        raise ApplicationError("here")

    async def code(request: Text) -> Text:
        return await somewhere()

    async with bench.worker(running(code)):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    assert isinstance(raised.value.cause, ApplicationError)
    assert "in somewhere" in raised.value.cause.stack_trace


async def test_non_retryable_crosses(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        raise ApplicationError("no", non_retryable=True)

    async with bench.worker(running(code)):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.non_retryable


class DomainError(Exception):
    """No failure of protopact's tree."""


KINDS: dict[str, tuple[Callable[[], BaseException], type[FailureError] | None]] = {
    "ApplicationError": (lambda: ApplicationError("x"), ApplicationError),
    "CancelledError, unasked": (lambda: CancelledError("x"), CancelledError),
    "TimeoutError": (lambda: TimeoutError("x"), TimeoutError),
    "an exception that may": (lambda: DomainError("x"), ApplicationError),
}
"""What a handler raises, and what its run fails with."""


@pytest.mark.parametrize("where", ["run", "a signal's handler"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_that_fails_the_run(bench: Bench, where: str, kind: str) -> None:
    make, expected = KINDS[kind]

    class Failing(Waiting, failure_exception_types=[DomainError]):
        async def run(self, request: Text) -> Text:
            if where == "run":
                raise make()
            await workflow.wait_condition(lambda: False)
            return request

        async def on_go(self, request: Text) -> None:
            raise make()

    async with bench.worker(Failing):
        handle = await bench.start()
        if where != "run":
            await handle.go(text(""))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert expected is not None
    assert isinstance(raised.value.cause, expected)
    assert (await handle.describe()).status is not WorkflowStatus.RUNNING


@pytest.mark.parametrize("where", ["run", "a signal's handler", "an update's handler"])
async def test_a_handler_that_fails_the_task(bench: Bench, where: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Buggy(Waiting):
        async def run(self, request: Text) -> Text:
            if where == "run":
                raise DomainError("a bug")
            await workflow.wait_condition(lambda: False)
            return request

        async def on_note(self, request: Text) -> None:
            raise DomainError("a bug")

        async def set(self, request: Text) -> Text:
            raise DomainError("a bug")

    class Fixed(Waiting):
        async def run(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: where == "run" or self.state != "new")
            return text("fixed")

        async def on_note(self, request: Text) -> None:
            self.state = "noted"

    async with bench.worker(Buggy, build_id="1"):
        handle = await bench.start(task_timeout=QUICKLY)
        update: asyncio.Task[Text] | None = None
        if where == "a signal's handler":
            await handle.note(text(""))
        elif where == "an update's handler":
            update = asyncio.create_task(handle.set(text("set")))
        assert "a bug" in await bench.until_parked(handle)
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
    async with bench.worker(Fixed, build_id="2"):
        assert (await soon(handle.result())).value == "fixed"
        if update is not None:
            assert (await soon(update)).value == "new"
    assert (await handle.describe()).task_failure is None


async def test_types_that_a_worker_lists_fail_the_run(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        raise DomainError("listed")

    async with bench.worker(running(code), workflow_failure_exception_types=[DomainError]):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    assert isinstance(raised.value.cause, ApplicationError)
    assert (raised.value.cause.type, raised.value.cause.message) == ("DomainError", "listed")


async def test_a_failure_that_is_passed_on(bench: Bench) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise ApplicationError("first", type="First")

    async def code(request: Text) -> Text:
        try:
            return await suite.echo(request, retry_policy=ONCE)
        except ActivityError as error:
            raise ApplicationError("second", type="Second") from error

    async with bench.worker(running(code), activities=[Failing()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    second = raised.value.cause
    assert isinstance(second, ApplicationError)
    assert second.type == "Second"
    assert isinstance(second.cause, ActivityError)
    assert isinstance(second.cause.cause, ApplicationError)
    assert second.cause.cause.type == "First"


class Mute(Exception):  # noqa: N818 - its name is its type
    """Cannot say what it is."""

    def __str__(self) -> str:
        """Fail."""
        raise KeyError("no words")


def in_a_circle() -> Exception:
    """An exception that has caused itself."""
    first, second = DomainError("first"), DomainError("second")
    first.__cause__, second.__cause__ = second, first
    return first


AWKWARD: dict[str, tuple[Callable[[], Exception], str]] = {
    "a file's name": (lambda: DomainError("caf\udce9.txt"), r"DomainError: caf\udce9.txt"),
    "no text": (Mute, "Mute: Mute, whose str() fails"),
    "a circle": (in_a_circle, "DomainError: first"),
}
"""Exceptions that are awkward to write down, and what is written."""


@pytest.mark.parametrize("kind", AWKWARD)
async def test_an_exception_that_is_awkward_to_write(bench: Bench, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    make, written = AWKWARD[kind]
    type_, _, message = written.partition(": ")

    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise make()

    class Awkward(Waiting, failure_exception_types=[Mute]):
        async def run(self, request: Text) -> Text:
            if request.value == "good":
                return await super().run(request)
            if request.value == "bad":
                raise make()
            call = suite.Local.echo if request.value == "local" else suite.echo
            return await call(request, retry_policy=ONCE)

    async with bench.worker(Awkward, activities=[Failing()]):
        good = await bench.start("good", name="good")
        bad = await bench.start("bad", name="bad", task_timeout=QUICKLY)
        if make is Mute:  # it fails the run, the others its task
            with pytest.raises(WorkflowFailedError) as raised:
                await soon(bad.result())
            assert isinstance(raised.value.cause, ApplicationError)
            assert (raised.value.cause.type, raised.value.cause.message) == (type_, message)
        else:
            assert written in await bench.until_parked(bad)
        for where in ("local", "remote"):
            with pytest.raises(WorkflowFailedError) as raised:
                await bench.run(where, name=where)
            failed = of_an_attempt(raised.value)
            assert (failed.type, failed.message) == (type_, message)
        await good.go(text("go"))
        assert (await soon(good.result())).value == "go new"


def of_an_attempt(error: WorkflowFailedError) -> ApplicationError:
    """The failure of an attempt, of an activity or of a local one, which has failed a run."""
    cause = error.cause.cause if isinstance(error.cause, ActivityError) else error.cause
    assert isinstance(cause, ApplicationError)
    return cause


FOREIGN: dict[str, Callable[[], FailureError]] = {
    "CancelledError": lambda: CancelledError("x"),
    "TimeoutError": lambda: TimeoutError("x"),
    "TerminatedError": lambda: TerminatedError("x"),
    "ActivityError": lambda: ActivityError("x", activity_type="t", activity_id="1"),
}
"""Failures that are none of an application."""


@pytest.mark.parametrize("kind", FOREIGN)
async def test_an_activity_that_raises_what_is_no_failure_of_an_application(bench: Bench, kind: str) -> None:
    make = FOREIGN[kind]

    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            raise make()

    async def code(request: Text) -> Text:
        call = suite.Local.echo if request.value == "local" else suite.echo
        return await call(request, retry_policy=ONCE)

    async with bench.worker(running(code), activities=[Failing()]):
        for where in ("local", "remote"):
            with pytest.raises(WorkflowFailedError) as raised:
                await bench.run(where, name=where)
            failed = of_an_attempt(raised.value)
            assert (failed.type, failed.message) == (kind, "x")
            assert type(failed.cause) is type(make())


async def test_long_messages(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        raise ApplicationError("x" * 20_000 + " größe \N{FOX FACE}", type="Länge")

    async with bench.worker(running(code)):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "Länge"
    assert cause.message.startswith("xxx")


async def test_saga(bench: Bench) -> None:
    class Failing(Lab):
        def __init__(self) -> None:
            self.did = list[str]()

        async def echo(self, request: Text) -> Text:
            self.did.append(request.value)
            if request.value == "pay":
                raise ApplicationError("no money", non_retryable=True)
            return request

    async def code(request: Text) -> Text:
        undo = list[str]()
        try:
            for step in ("charge", "pay"):
                undo.append(f"undo {step}")
                await suite.echo(text(step))
        except ActivityError:
            for step in reversed(undo):
                await suite.echo(text(step))
            raise
        return request

    failing = Failing()
    async with bench.worker(running(code), activities=[failing]):
        handle = await bench.start()
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
    assert failing.did == ["charge", "pay", "undo pay", "undo charge"]
    assert kinds(await handle.history())[-1] == "WorkflowExecutionFailed"
