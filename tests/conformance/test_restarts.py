"""A worker that stops in the middle of everything, and another one that goes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.conformance.bench import LASTING, ONCE, QUICKLY, Bench, Lab, Stuck, find, kinds, millis, running, soon, until
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Chain, CountingDown, Waiting, text

from protopact import activity, workflow
from protopact.errors import (
    ActivityError,
    AlreadyClosedError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's name
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.history.event import ActivityTaskStarted
from protopact.history.failure import ApplicationFailureInfo
from protopact.policy import ParentClosePolicy, RetryPolicy, WaitForStage


class Resumed(Lab):
    """Hangs in its first attempt, and says so; the next one returns."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.attempts = list[int]()
        self.found = list[Text | None]()

    async def echo(self, request: Text) -> Text:
        self.attempts.append(activity.info().attempt)
        self.found.append(activity.heartbeat_details(Text))
        if not self.started.is_set():
            activity.heartbeat(text("half-way"))
            self.started.set()
            await asyncio.Event().wait()
        return text(f"{request.value}!")

    async def beat(self, request: Text) -> Text:
        return await self.echo(request)


async def test_in_the_middle_of_an_activity(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.beat(request)

    resumed = Resumed()
    async with bench.worker(running(code), activities=[resumed]):
        handle = await bench.start("a")
        await soon(resumed.started.wait())
    async with bench.worker(running(code), activities=[resumed]):
        assert (await soon(handle.result())).value == "a!"
    assert len(resumed.attempts) == 2
    assert resumed.attempts[0] == 1


async def test_the_attempt_counts_as_failed_and_the_next_one_follows_at_once(bench: Bench) -> None:
    class Numbered(Lab):
        async def echo(self, request: Text) -> Text:
            return text(str(activity.info().attempt))

    async def code(request: Text) -> Text:
        return await suite.echo(request, retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)))

    stuck = Stuck()
    async with bench.worker(running(code)), bench.worker(activities=[stuck]):
        handle = await bench.start()
        await soon(stuck.started.wait())
    assert stuck.reasons == [activity.CancellationReason.WORKER_SHUTDOWN]
    async with bench.worker(running(code)), bench.worker(activities=[Numbered()]):
        assert (await soon(handle.result())).value == "2"
    failure = find(await handle.history(), ActivityTaskStarted).last_failure
    assert failure is not None
    assert isinstance(failure.info, ApplicationFailureInfo)
    assert failure.info.type == "WorkerShutdown"


async def test_in_the_middle_of_an_activity_in_a_thread(bench: Bench) -> None:
    class Threads(Lab):
        def __init__(self) -> None:
            self.started = asyncio.Event()
            self.loop = asyncio.get_running_loop()
            self.attempts = 0

        def beat(self, request: Text) -> Text:  # type: ignore[override]  # the contract's class allows both
            self.attempts += 1
            if self.attempts == 1:
                self.loop.call_soon_threadsafe(self.started.set)
                activity.wait_for_worker_shutdown_sync()
                raise ApplicationError("stopped in time")
            return request

    async def code(request: Text) -> Text:
        return await suite.beat(request)

    threads = Threads()
    async with bench.worker(running(code), activities=[threads], graceful_shutdown_timeout=timedelta(seconds=5)):
        handle = await bench.start("a")
        await soon(threads.started.wait())
    async with bench.worker(running(code), activities=[threads]):
        assert (await soon(handle.result())).value == "a"
    assert threads.attempts == 2


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_in_the_middle_of_a_timer(bench: Bench, cached: int) -> None:
    async def code(request: Text) -> Text:
        began = workflow.now()
        await workflow.sleep(millis(300))
        return text(str(workflow.now() - began >= millis(300)))

    async def armed() -> bool:
        return "TimerStarted" in kinds(await handle.history())

    async with bench.worker(running(code), max_cached_workflows=cached):
        handle = await bench.start()
        await until(armed)
    async with bench.worker(running(code), max_cached_workflows=cached):
        assert (await soon(handle.result())).value == "True"
    assert kinds(await handle.history()).count("TimerFired") == 1


async def test_a_timer_that_fell_due_while_nobody_ran(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        woken = list[str]()

        async def nap(name: str, duration: timedelta) -> None:
            await workflow.sleep(duration)
            woken.append(name)

        await asyncio.gather(nap("b", millis(150)), nap("a", millis(100)), nap("c", millis(500)))
        return text(" ".join(woken))

    async def armed() -> bool:
        return kinds(await handle.history()).count("TimerStarted") == 3

    async with bench.worker(running(code)):
        handle = await bench.start()
        await until(armed)
    await asyncio.sleep(0.2)
    async with bench.worker(running(code)):
        assert (await soon(handle.result())).value == "a b c"
    assert kinds(await handle.history()).count("TimerFired") == 3


async def test_in_the_middle_of_a_local_activity(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        before = await suite.echo(request)
        # A worker of Temporal waits for a local activity until its time-out.
        return await suite.Local.beat(before, start_to_close_timeout=timedelta(seconds=1))

    class Local(Lab):
        def __init__(self) -> None:
            self.started = asyncio.Event()
            self.calls = 0

        async def beat(self, request: Text) -> Text:
            self.calls += 1
            if not self.started.is_set():
                self.started.set()
                await asyncio.Event().wait()
            return text(f"{request.value} {self.calls}")

    local = Local()
    async with bench.worker(running(code), activities=[local]):
        handle = await bench.start("a", task_timeout=QUICKLY)
        await soon(local.started.wait())
    async with bench.worker(running(code), activities=[local]):
        assert (await soon(handle.result())).value == "a! 2", "nothing was recorded of the first"
    assert kinds(await handle.history()).count("MarkerRecorded") == 1


async def test_in_the_middle_of_a_chain(bench: Bench) -> None:
    async with bench.worker(CountingDown):
        handle = await bench.start("3", task_timeout=QUICKLY)
        await handle.go(text(""))
        await bench.until_other_run(bench.client.free_handle(handle.id), handle.run_id or "")
    second = await bench.client.free_handle(handle.id).describe()
    async with bench.worker(CountingDown):
        await handle.go(text(""))
        await bench.until_other_run(bench.client.free_handle(handle.id), second.run_id or "")
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "done"


async def test_while_a_query_of_a_parked_run_waits(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Buggy(Waiting):
        async def run(self, request: Text) -> Text:
            raise KeyError("a bug")

    async with bench.worker(Buggy, build_id="1"):
        handle = await bench.start(task_timeout=QUICKLY)
        await bench.until_parked(handle)
    asked = asyncio.create_task(handle.status(text("?")))
    await asyncio.sleep(0)
    async with bench.worker(Waiting, build_id="2"):
        assert (await soon(asked)).value == "new?"
        await handle.go(text("on"))
        assert (await soon(handle.result())).value == "on new"


async def test_between_acceptance_and_completion_of_an_update(bench: Bench) -> None:
    class Slow(Waiting):
        async def set(self, request: Text) -> Text:
            noted = await self.note.receive()
            return text(f"{request.value} {noted.value}")

    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
    async with bench.worker(Slow):
        await handle.note(text("done"))
        assert (await soon(update.result())).value == "x done"


async def test_between_signals(bench: Bench) -> None:
    class Collecting(Waiting):
        async def run(self, request: Text) -> Text:
            said = ""
            while len(said) < 3:
                said += (await self.go.receive()).value
                self.state = said
            return text(said)

    handle = await bench.start()
    for word in "abc":
        async with bench.worker(Collecting):
            await handle.go(text(word))
            while not (await soon(handle.status(text("")))).value.endswith(word):
                pass
    assert (await soon(handle.result())).value == "abc"


async def test_in_the_middle_of_a_child(bench: Bench) -> None:
    queue = f"{bench.place.name}-child"

    class Parent(suite.Other):
        async def run(self, request: Text) -> Text:
            child = await suite.Free.start_child(
                text("c"), id=bench.id("c"), task_queue=queue, parent_close_policy=ParentClosePolicy.ABANDON
            )
            return await child

    async def begun() -> bool:
        return "ChildWorkflowExecutionStarted" in kinds(await handle.history())

    # A server may hold a task for ten seconds for the worker that had its run cached.
    async with bench.worker(Parent, max_cached_workflows=0), bench.worker(Waiting, task_queue=queue):
        handle = await bench.client.start_other(text(""), id=bench.id("p"))
        await until(begun)
    async with bench.worker(Waiting, task_queue=queue):
        child = bench.client.free_handle(bench.id("c"))
        await child.go(text("go"))
        await soon(child.result())
    async with bench.worker(Parent):
        assert (await soon(handle.result())).value == "go new"


async def test_between_attempts_of_an_activity(bench: Bench) -> None:
    class Failing(Lab):
        def __init__(self) -> None:
            self.attempts = list[int]()
            self.failed = asyncio.Event()

        async def echo(self, request: Text) -> Text:
            self.attempts.append(activity.info().attempt)
            if len(self.attempts) < 3:
                self.failed.set()
                raise ApplicationError("again")
            return request

    async def code(request: Text) -> Text:
        return await suite.echo(request, retry_policy=RetryPolicy(initial_interval=millis(200), backoff_coefficient=1))

    failing = Failing()
    async with bench.worker(running(code), activities=[failing]):
        handle = await bench.start("a")
        await soon(failing.failed.wait())

        async def waits() -> bool:
            pending = (await handle.describe()).pending_activities
            return bool(pending) and pending[0].attempt == 2

        await until(waits)
    async with bench.worker(running(code), activities=[failing]):
        assert (await soon(handle.result())).value == "a"
    assert failing.attempts == [1, 2, 3], "the count goes on"


async def test_in_the_middle_of_a_retry_of_the_run(bench: Bench) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            if workflow.info().attempt == 1:
                raise ApplicationError("again")
            return text(str(workflow.info().attempt))

    async def second() -> bool:
        return (await bench.client.free_handle(handle.id).describe()).run_id != handle.run_id

    async with bench.worker(Failing):
        handle = await bench.start(retry_policy=RetryPolicy(initial_interval=millis(200), maximum_attempts=2))
        await until(second)
    async with bench.worker(Failing):
        assert (await soon(handle.result())).value == "2"


async def test_a_failure_caught_before_is_the_same_after(bench: Bench) -> None:
    class Catching(Waiting):
        async def run(self, request: Text) -> Text:
            with pytest.raises(ActivityError) as caught:
                await suite.echo(request)
            self.state = "caught"
            await self.go.receive()
            error = caught.value.cause
            assert isinstance(error, ApplicationError)
            assert isinstance(error.cause, ApplicationError)
            return text(f"{error.type} {error.message} {error.details.get(0, Text).value} {error.cause.type}")

    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            try:
                raise ValueError("deep")  # noqa: TRY301 - a cause is needed
            except ValueError as error:
                raise ApplicationError("no", text("detail"), type="No", non_retryable=True) from error

    async with bench.worker(Catching, activities=[Failing()]):
        handle = await bench.start()
        while (await soon(handle.status(text("")))).value != "caught":
            await asyncio.sleep(0.01)
    async with bench.worker(Catching):
        await handle.go(text(""))
        assert (await soon(handle.result())).value == "No no detail ValueError"


async def test_what_happens_while_no_worker_is_there(bench: Bench) -> None:
    handle = await bench.start(name="closed")
    other = await bench.start(name="open")
    async with bench.worker(Waiting):
        await soon(handle.status(text("")))
        await soon(other.status(text("")))
    await other.go(text("kept"))
    update = asyncio.create_task(other.set(text("kept too")))
    await handle.terminate()
    with pytest.raises(WorkflowFailedError):
        await soon(handle.result())
    async with bench.worker(Waiting):
        assert (await soon(other.result())).value.startswith("kept")
        try:
            assert (await soon(update)).value == "new"
        except (AlreadyClosedError, UpdateFailedError):
            assert (await soon(other.result())).value == "kept new"


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
@LASTING
async def test_several_workers_share_the_runs(bench: Bench, cached: int) -> None:
    async def code(request: Text) -> Text:
        reply = request
        for _ in range(3):
            reply = await suite.echo(reply)
            await workflow.sleep(0.01)
        return reply

    classes = running(code)
    async with (
        bench.place.connect() as other,
        bench.worker(classes, activities=[Lab()], max_cached_workflows=cached, identity="one"),
        other.worker(classes, activities=[Lab()], max_cached_workflows=cached, identity="two"),
    ):
        results = await soon(asyncio.gather(*(bench.run(str(n), name=str(n)) for n in range(6))))
    assert results == [f"{n}!!!" for n in range(6)]


async def test_workers_of_one_connection_share_a_queue(bench: Bench) -> None:
    first, second = Lab(), Lab()
    async with bench.worker(Chain, activities=[first], identity="one"):
        async with bench.worker(Chain, activities=[second], identity="two"):
            results = await soon(asyncio.gather(*(bench.run(str(n), name=str(n)) for n in range(6))))
        results.append(await soon(bench.run("6", name="6")))
    assert results == [f"{n}!!!" for n in range(7)]


@LASTING
async def test_the_engine_is_closed_and_opened_again(bench: Bench) -> None:
    handle = await bench.start()
    async with bench.place.connect() as other, other.worker(Waiting):
        await soon(other.client.free_handle(handle.id).set(text("x")))
    async with bench.place.connect() as third, third.worker(Waiting):
        again = third.client.free_handle(handle.id)
        assert (await soon(again.status(text("")))).value == "x"
        await again.go(text("go"))
        assert (await soon(handle.result())).value == "go x"


@pytest.mark.slow
@LASTING
async def test_an_only_attempt_whose_worker_died_is_not_made_again(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.beat(request, heartbeat_timeout=timedelta(seconds=1), retry_policy=ONCE)

    async with bench.worker(running(code)):
        dying = await bench.dying_worker()
        handle = await bench.start("a")
        assert await asyncio.to_thread(dying.wait, 60) == 1, "in the middle of the attempt"
    alive = Resumed()
    async with bench.worker(running(code), activities=[alive]):
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, TimeoutError)
    assert alive.attempts == []
