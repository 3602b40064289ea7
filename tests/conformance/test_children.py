"""Children: how they end, how their parents end, and what they are cancelled by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from tests.conformance.bench import Bench, find, kinds, millis, soon, until
from tests.conformance.features import Obeying
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.client import WorkflowHandle
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyStartedError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    NotFoundError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    WorkflowFailedError,
)
from protopact.history import event as ev
from protopact.policy import (
    ChildWorkflowCancellationType,
    ParentClosePolicy,
    RetryPolicy,
    WorkflowIdReusePolicy,
)

Code = Callable[[Text], Awaitable[Text]]


def parent(code: Code) -> type[suite.Other]:
    """A workflow that runs `code`."""

    class Parent(suite.Other):
        async def run(self, request: Text) -> Text:
            return await code(request)

    return Parent


async def start(bench: Bench, **options: object) -> suite.Other.Handle:
    return await bench.client.start_other(text(bench.place.name), id=bench.id("p"), **options)  # type: ignore[arg-type]  # each is right


async def play(bench: Bench, code: Code, *children: type[workflow.Workflow]) -> suite.Other.Handle:
    """Start a parent beside its worker's classes, and wait for its end."""
    async with bench.worker(parent(code), *(children or (Obeying,))):
        handle = await start(bench)
        await soon(handle.result())
    return handle


async def status(handle: WorkflowHandle[Text], expected: WorkflowStatus) -> None:
    """Wait until a run has a status."""

    async def has() -> bool:
        try:
            return (await handle.describe()).status is expected
        except NotFoundError:
            return False

    await until(has)


# -- what becomes of a child


async def test_a_child_returns(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        child = await suite.Free.start_child(text("c"), id=bench.id("c"))
        assert (child.id, len(child.run_id)) == (bench.id("c"), 36)
        await child.go(text("on"))
        return await child

    handle = await play(bench, code)
    assert (await handle.result()).value == "c on"
    assert kinds(await handle.history()) == [
        "WorkflowExecutionStarted",
        "StartChildWorkflowExecutionInitiated",
        "ChildWorkflowExecutionStarted",
        "SignalExternalWorkflowExecutionInitiated",
        "ExternalWorkflowExecutionSignaled",
        "ChildWorkflowExecutionCompleted",
        "WorkflowExecutionCompleted",
    ]
    child = await bench.client.free_handle(bench.id("c")).history()
    started = find(child, ev.WorkflowExecutionStarted)
    assert (started.parent_workflow_id, started.parent_run_id) == (handle.id, handle.run_id)
    assert started.parent_initiated_event_id == 5
    assert started.root_workflow_id == handle.id


async def test_a_child_knows_its_parent(bench: Bench) -> None:
    class Knowing(Waiting):
        async def run(self, request: Text) -> Text:
            parent_info = workflow.info().parent
            assert parent_info is not None
            return text(f"{parent_info.workflow_id} {parent_info.run_id}")

    async def code(request: Text) -> Text:
        return await suite.Free.execute_child(text("c"), id=bench.id("c"))

    handle = await play(bench, code, Knowing)
    assert (await handle.result()).value == f"{handle.id} {handle.run_id}"


async def test_a_child_fails(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        child = await suite.Free.start_child(text("c"), id=bench.id("c"))
        await child.go(text("fail"))
        with pytest.raises(ChildWorkflowError) as caught:
            await child.result()
        error = caught.value
        assert (error.workflow_id, error.run_id) == (child.id, child.run_id)
        assert error.workflow_type == "suite.v1.SuiteService.Free"
        assert isinstance(error.cause, ApplicationError)
        assert error.cause.details.get(0, Text) == text("detail")
        return text(error.cause.type or "")

    handle = await play(bench, code)
    assert (await handle.result()).value == "Asked"


async def test_nobody_catches_that_a_child_failed(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        child = await suite.Free.start_child(text("c"), id=bench.id("c"))
        await child.go(text("fail"))
        return await child

    async with bench.worker(parent(code), Obeying):
        handle = await start(bench)
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ChildWorkflowError)
    assert isinstance(raised.value.cause.cause, ApplicationError)


async def test_a_child_that_is_retried_is_one_child(bench: Bench) -> None:
    class Retried(Waiting):
        async def run(self, request: Text) -> Text:
            if workflow.info().attempt < 3:
                raise ApplicationError("again")
            return text(f"attempt {workflow.info().attempt}")

    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(20), maximum_attempts=3)
        return await suite.Free.execute_child(text("c"), id=bench.id("c"), retry_policy=policy)

    handle = await play(bench, code, Retried)
    assert (await handle.result()).value == "attempt 3"
    assert kinds(await handle.history()).count("ChildWorkflowExecutionCompleted") == 1


async def test_a_child_that_continues_as_new_is_one_child(bench: Bench) -> None:
    class Counting(Waiting):
        async def run(self, request: Text) -> Text:
            if left := int(request.value):
                self.continue_as_new(text(str(left - 1)))
            return text("done")

    async def code(request: Text) -> Text:
        return await suite.Free.execute_child(text("2"), id=bench.id("c"))

    handle = await play(bench, code, Counting)
    assert (await handle.result()).value == "done"
    assert kinds(await handle.history()).count("ChildWorkflowExecutionCompleted") == 1


@pytest.mark.parametrize(
    ("end", "cause"),
    [("terminated", TerminatedError), ("timed out", TimeoutError), ("cancelled by somebody else", CancelledError)],
)
async def test_a_child_ends_otherwise(bench: Bench, end: str, cause: type[Exception]) -> None:
    timeout = millis(400) if end == "timed out" else None

    async def code(request: Text) -> Text:
        with pytest.raises(ChildWorkflowError) as caught:
            await suite.Free.execute_child(text("c"), id=bench.id("c"), run_timeout=timeout)
        assert isinstance(caught.value.cause, cause)
        return request

    async with bench.worker(parent(code), Obeying):
        handle = await start(bench)
        child = bench.client.free_handle(bench.id("c"))
        await status(child, WorkflowStatus.RUNNING if timeout is None else WorkflowStatus.TIMED_OUT)
        if end == "terminated":
            await child.terminate(reason="enough")
        elif end != "timed out":
            await child.cancel()
        await soon(handle.result())


@pytest.mark.parametrize("kind", ChildWorkflowCancellationType)
async def test_a_parent_cancels_a_child(bench: Bench, kind: ChildWorkflowCancellationType) -> None:
    class CleansUp(Obeying):
        async def run(self, request: Text) -> Text:
            try:
                await workflow.sleep(3600)
            except asyncio.CancelledError:
                await self.go.receive()
                raise
            return request

    async def code(request: Text) -> Text:
        child = await suite.Free.start_child(
            text("c"), id=bench.id("c"), cancellation_type=kind, parent_close_policy=ParentClosePolicy.ABANDON
        )
        await workflow.sleep(0.02)
        child.cancel(reason="no more")
        if kind.name.startswith("WAIT"):
            await suite.Free.external(bench.id("c")).go(text(""))
        with pytest.raises(ChildWorkflowError) as caught:
            await child
        assert isinstance(caught.value.cause, CancelledError)
        await workflow.sleep(0.02)  # what a run asks of others in its last task is not done
        return request

    async with bench.worker(parent(code), CleansUp):
        handle = await start(bench)
        await soon(handle.result())
        child = bench.client.free_handle(bench.id("c"))
        history = await child.history()
        if kind is ChildWorkflowCancellationType.ABANDON:
            assert "WorkflowExecutionCancelRequested" not in kinds(history)
            return
        if kind is ChildWorkflowCancellationType.TRY_CANCEL:
            assert (await child.describe()).status is WorkflowStatus.RUNNING
            await child.go(text(""))
        await status(child, WorkflowStatus.CANCELED)
        history = await child.history()
    assert find(history, ev.WorkflowExecutionCancelRequested).cause == "no more"


async def test_cancelling_the_parent_cancels_its_child(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        waits = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        return await suite.Free.execute_child(text("c"), id=bench.id("c"), cancellation_type=waits)

    async with bench.worker(parent(code), Obeying):
        handle = await start(bench)
        child = bench.client.free_handle(bench.id("c"))
        await status(child, WorkflowStatus.RUNNING)
        await handle.cancel()
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, CancelledError)
        await status(child, WorkflowStatus.CANCELED)


async def test_an_id_that_is_taken(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(AlreadyStartedError) as caught:
            await suite.Free.start_child(text("c"), id=bench.id("c"))
        return text(f"{caught.value.workflow_id} {caught.value.workflow_type}")

    await bench.start(name="c")
    handle = await play(bench, code)
    assert (await handle.result()).value == f"{bench.id('c')} suite.v1.SuiteService.Free"
    assert "StartChildWorkflowExecutionFailed" in kinds(await handle.history())


async def test_nobody_catches_that_an_id_is_taken(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        for _ in range(2):
            child = await suite.Free.start_child(
                text("c"), id=bench.id("c"), id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE
            )
            await child.go(text("on"))
            await child
        return request

    async with bench.worker(parent(code), Obeying):
        handle = await start(bench)
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert raised.value.cause is not None


async def test_ids_of_children(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        named = await suite.Free.start_child(text(f"{request.value}-child"))
        await named.go(text("on"))
        await named
        return text(named.id)

    async with bench.worker(parent(code), Obeying, max_cached_workflows=0):
        handle = await start(bench)
        assert (await soon(handle.result())).value == f"{bench.place.name}-child"


async def test_what_the_contract_declares_is_what_a_child_has(bench: Bench) -> None:
    class Declared(suite.Declared):
        async def run(self, request: Document) -> Document:
            return Document(title="done")

        async def rename(self, request: Document) -> Document:
            return request

    async def code(request: Text) -> Text:
        document = Document(title=request.value, inner=Text(value="x"), number=5)
        document.at.FromSeconds(1_767_225_600)
        child = await suite.Declared.start_child(document, memo={"who": "me"})
        return text(f"{child.id} {(await child).title}")

    handle = await play(bench, code, Declared)
    child_id = f"declared/{bench.place.name}/x/5"
    assert (await handle.result()).value == f"{child_id} done"
    child = bench.client.declared_handle(child_id)
    started = find(await child.history(), ev.WorkflowExecutionStarted)
    assert started.workflow_run_timeout == 50 * 10**9
    assert started.retry_policy is not None
    assert started.retry_policy.maximum_attempts == 3
    description = await child.describe()
    assert description.memo == {"who": "me"}
    assert description.search_attributes["Count"] == 5
    initiated = find(await handle.history(), ev.StartChildWorkflowExecutionInitiated)
    assert initiated.parent_close_policy == "ABANDON"


# -- a parent's end


@pytest.mark.parametrize("end", ["completes", "is terminated", "is cancelled", "times out"])
async def test_a_parent_ends_before_its_children(bench: Bench, end: str) -> None:
    async def code(request: Text) -> Text:
        await asyncio.gather(
            *(
                suite.Free.start_child(text("c"), id=bench.id(policy.name), parent_close_policy=policy)
                for policy in ParentClosePolicy
            )
        )
        if end != "completes":
            await workflow.sleep(3600)
        return request

    async with bench.worker(parent(code), Obeying):
        handle = await start(bench, run_timeout=millis(1500) if end == "times out" else None)
        if end != "completes":

            async def begun() -> bool:
                found = kinds(await handle.history())
                return found.count("ChildWorkflowExecutionStarted") == len(ParentClosePolicy)

            await until(begun)
        if end == "is terminated":
            await handle.terminate()
        elif end == "is cancelled":
            await handle.cancel()
        await soon(asyncio.wait([asyncio.create_task(handle.result())]))
        terminated, abandoned, cancelled = (
            bench.client.free_handle(bench.id(policy.name))
            for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON, ParentClosePolicy.REQUEST_CANCEL)
        )
        await status(terminated, WorkflowStatus.TERMINATED)
        assert find(await terminated.history(), ev.WorkflowExecutionTerminated).reason == "by parent close policy"
        await status(cancelled, WorkflowStatus.CANCELED)
        assert "WorkflowExecutionCancelRequested" in kinds(await cancelled.history())
        assert (await abandoned.describe()).status is WorkflowStatus.RUNNING, "a child that outlives its parent"
        await abandoned.go(text("on"))
        assert (await soon(abandoned.result())).value == "c on"


@pytest.mark.parametrize("policy", ParentClosePolicy)
async def test_what_is_asked_of_others_in_the_last_task_is_not_done(bench: Bench, policy: ParentClosePolicy) -> None:
    tasks = list[asyncio.Task[object]]()

    async def code(request: Text) -> Text:
        child = suite.Free.start_child(text("c"), id=bench.id("c"), parent_close_policy=policy)
        signal = suite.Free.external(bench.id("other")).go(request)
        tasks.extend((asyncio.create_task(child), asyncio.create_task(signal)))
        await asyncio.sleep(0)
        return request

    other = await bench.start(name="other")
    handle = await play(bench, code)
    assert kinds(await handle.history())[1:] == [
        "StartChildWorkflowExecutionInitiated",
        "SignalExternalWorkflowExecutionInitiated",
        "WorkflowExecutionCompleted",
    ]
    with pytest.raises(NotFoundError):
        await bench.client.free_handle(bench.id("c")).describe()
    assert kinds(await other.history()) == ["WorkflowExecutionStarted"]


async def test_many_children_at_once(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        async def one(number: int) -> str:
            child = await suite.Free.start_child(text(str(number)), id=bench.id(f"c{number}"))
            await child.go(text("fail" if number == 3 else "on"))
            try:
                return (await child).value
            except ChildWorkflowError as error:
                return type(error.cause).__name__

        return text(", ".join(await asyncio.gather(*(one(number) for number in range(5)))))

    handle = await play(bench, code)
    assert (await handle.result()).value == "0 on, 1 on, 2 on, ApplicationError, 4 on"


# -- other workflows


async def test_signals_and_cancellations_of_others(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        other = suite.Free.external(bench.id("a"))
        assert (other.id, other.run_id) == (bench.id("a"), None)
        await other.go(text("hello"))
        await suite.Free.external(bench.id("b")).cancel(reason="enough")
        nobody, closed = suite.Free.external(bench.id("nobody")), suite.Free.external(bench.id("closed"))
        for asked in (nobody.go, closed.go):
            with pytest.raises(ApplicationError) as caught:
                await asked(text("x"))
            assert caught.value.type == "ExternalWorkflowExecutionNotFound"
        with pytest.raises(ApplicationError) as caught:
            await nobody.cancel()
        assert caught.value.type == "ExternalWorkflowExecutionNotFound"
        await closed.cancel()
        return request

    first, second, third = [await bench.start(each, name=each) for each in ("a", "b", "closed")]
    await third.terminate()
    await play(bench, code)
    async with bench.worker(Obeying):
        assert (await soon(first.result())).value == "a hello"
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(second.result())
        assert isinstance(raised.value.cause, CancelledError)
    cause = find(await second.history(), ev.WorkflowExecutionCancelRequested).cause
    assert re.fullmatch(r"Cancel requested by workflow with run id \S+ with reason: enough", cause)


async def test_one_run_of_another(bench: Bench) -> None:
    first = await bench.start("a", name="a")

    async def code(request: Text) -> Text:
        await suite.Free.external(bench.id("a"), run_id=first.run_id).go(text("exactly"))
        with pytest.raises(ApplicationError):
            await suite.Free.external(bench.id("a"), run_id="7d2a8b0e-6a8f-4d1e-8d35-3cf9d0a1a111").go(text("x"))
        return request

    await play(bench, code)
    async with bench.worker(Obeying):
        assert (await soon(first.result())).value == "a exactly"


async def test_a_child_handle_reaches_only_the_child(bench: Bench) -> None:
    class Waits(suite.Other):
        async def run(self, request: Text) -> Text:
            child = await suite.Free.start_child(text("c"), id=bench.id("c"))
            await child.go(text("first"))
            await child
            await suite.Free.execute_child(text("gate"), id=bench.id("gate"))
            with pytest.raises(ApplicationError):
                await child.go(text("late"))
            return request

    async with bench.worker(Waits, Obeying):
        handle = await start(bench)
        gate = bench.client.free_handle(bench.id("gate"))
        await status(gate, WorkflowStatus.RUNNING)
        stranger = await bench.start(name="c")
        await gate.go(text(""))
        await soon(handle.result())
        assert (await stranger.describe()).status is WorkflowStatus.RUNNING
