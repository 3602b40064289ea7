"""Faults around the engine: commits and codecs that fail, callers that leave, code that raises what nobody expects."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.embedded.bench import Chain, Lab, Waiting, find, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

from protopact import workflow
from protopact.embedded.clock import SystemClock, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.shell import Shell
from protopact.embedded.store import Store
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyClosedError,
    ApplicationError,
    EngineClosedError,
    NotFoundError,
    OptionError,
    QueryError,
    StoreError,
    StoreFullError,
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.history.event import WorkflowTaskFailed
from protopact.interceptor import Interceptor, StartActivity
from protopact.payload import Payload, PayloadCodec
from protopact.policy import RetryPolicy, WaitForStage, WorkflowIdConflictPolicy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that could not be committed is tried again after a moment of real time."""
    monkeypatch.setattr(Shell, "_RETRY_SECONDS", 0.01)


class Flaky(Store):
    """Fails one commit, or one look at what others have written."""

    commits = 0
    fails_at = -1
    times = 1
    unreadable = False

    def commit(self) -> None:
        self.commits += 1
        if 0 <= self.commits - self.fails_at < self.times and self.fails_at > 0:
            raise StoreFullError("the disk is full")
        super().commit()

    def data_version(self) -> int:
        if self.unreadable:
            self.unreadable = False
            raise StoreError("disk I/O error")
        return super().data_version()

    def fail(self, commit: int, times: int = 1) -> None:
        """Fail the n-th commit from now, and so many in all."""
        self.fails_at, self.times = self.commits + commit, times


class Turning(PayloadCodec):
    """Takes some turns of the loop; encodes nothing while it is broken."""

    broken = False

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        for _ in range(3):
            await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("no key today")
        return payloads

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        for _ in range(3):
            await asyncio.sleep(0)
        return payloads


class Gated(Turning):
    """Decodes while its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await self.gate.wait()
        return await super().decode(payloads)


class Endless(Waiting):
    """Its update goes on for an hour."""

    async def set(self, request: Text) -> Text:
        await workflow.sleep(3600)
        return request


# -- callers


async def test_who_waits_for_an_update_is_told_when_another_process_terminates_the_run(path: Path) -> None:
    async with (
        open_engine(path, clock=SystemClock()) as holder,
        open_engine(path, clock=SystemClock()) as other,
        holder.worker(workflows=[Endless]),
    ):
        handle = await lab.Client(holder).start_free(text("a"))
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        waiting = asyncio.create_task(update.result())
        await asyncio.sleep(0)
        await lab.Client(other).free_handle("a").terminate()
        with pytest.raises(UpdateFailedError, match="the workflow closed before the update completed"):
            await soon(waiting)


async def test_whoever_waits_is_told_when_the_engine_closes(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    waiting = [
        asyncio.create_task(handle.set(text("x"))),
        asyncio.create_task(handle.status(text(""))),
        asyncio.create_task(handle.result()),
    ]
    await clock.settle()
    await engine.close()
    for each in waiting:
        with pytest.raises(EngineClosedError, match="was closed"):
            await soon(each)


async def test_who_updates_a_parked_run_is_told_when_the_engine_closes(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Waiting):
        async def run(self, request: Text) -> Text:
            raise ValueError("a bug")

    caplog.set_level("CRITICAL")
    async with engine.worker(workflows=[Broken]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.set(text("x")))
        await clock.settle()
        await engine.close()
        with pytest.raises(EngineClosedError, match="was closed"):
            await soon(waiting)


async def test_a_query_of_a_run_that_is_deleted_meanwhile_ends(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    handle = await lab.Client(engine).start_free(text("a"))
    await handle.terminate()
    waiting = asyncio.create_task(handle.status(text("")))
    await clock.settle()
    await engine.delete_workflow(handle.__protopact__.latest)
    await clock.advance(timedelta(seconds=10))
    with pytest.raises(NotFoundError, match="there is no workflow 'a'"):
        await soon(waiting)


async def test_asking_again_and_again_leaves_nothing_behind(engine: EmbeddedEngine) -> None:
    """A caller with a time limit of its own, in a loop, as a health check would be."""
    handle = await lab.Client(engine).start_free(text("a"))
    alive = list[int]()
    for _ in range(3):
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        gc.collect()
        alive.append(sum(issubclass(type(each), asyncio.Future) for each in gc.get_objects()))
    assert alive == alive[:1] * 3


# -- commits that fail


@pytest.mark.parametrize("failures", [1, 2])
async def test_a_worker_that_could_not_start_serves_nothing(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture, failures: int
) -> None:
    caplog.set_level("CRITICAL")
    store = Flaky(tmp_path / "lab.db")
    async with open_engine(store=store, clock=clock) as engine:
        client = lab.Client(engine)
        handle = await client.start_free(text("a"))
        store.fail(1, times=failures)
        with pytest.raises(StoreFullError):
            async with engine.worker(workflows=[Chain], activities=[Lab()]):
                pass
        await asyncio.sleep(0.05)  # the retry of a tick is by real time
        await clock.settle()
        other = await client.start_free(text("b"))
        await clock.settle()
        assert [len(await each.history()) for each in (handle, other)] == [1, 1]
        async with engine.worker(workflows=[Chain], activities=[Lab()]):
            assert (await soon(handle.result())).value == "a!!!"


@pytest.mark.parametrize("commit", range(1, 4))
async def test_an_answer_from_another_process_survives_a_commit_that_fails(
    path: Path, caplog: pytest.LogCaptureFixture, commit: int
) -> None:
    caplog.set_level("CRITICAL")
    store = Flaky(path)
    async with (
        open_engine(path, clock=SystemClock()) as holder,
        holder.worker(workflows=[Waiting]),
        open_engine(store=store, clock=SystemClock()) as client,
    ):
        await lab.Client(holder).start_free(text("a"))
        handle = lab.Client(client).free_handle("a")
        store.fail(commit)
        asked = asyncio.gather(handle.set(text("x")), handle.status(text("")), return_exceptions=True)
        for answer in await soon(asked):
            assert isinstance(answer, Text | StoreFullError)
        store.fails_at = -1


@pytest.mark.parametrize("commit", range(1, 5))
async def test_an_update_under_a_codec_survives_a_commit_that_fails(
    path: Path, caplog: pytest.LogCaptureFixture, commit: int
) -> None:
    caplog.set_level("CRITICAL")
    store = Flaky(path)
    async with (
        open_engine(store=store, clock=SystemClock(), codecs=[Turning()]) as engine,
        engine.worker(workflows=[Waiting]),
    ):
        handle = await lab.Client(engine).start_free(text("a"))
        assert (await soon(handle.status(text("")))).value == "new"
        store.fail(commit)
        try:
            assert (await soon(handle.set(text("x"), id="u"))).value == "new"
        except StoreFullError:
            await soon(handle.set(text("x"), id="u"))
        store.fails_at = -1
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go x"


async def test_who_updates_a_parked_run_is_told_of_its_end_although_a_commit_fails(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Waiting):
        async def run(self, request: Text) -> Text:
            raise ValueError("a bug")

    caplog.set_level("CRITICAL")
    store = Flaky(path)
    async with open_engine(store=store, clock=SystemClock()) as engine, engine.worker(workflows=[Broken]):
        handle = await lab.Client(engine).start_free(text("a"))
        waiting = asyncio.create_task(handle.set(text("x")))
        await asyncio.sleep(0.01)
        store.fail(1)
        with pytest.raises(StoreFullError):
            await soon(handle.terminate())
        await soon(handle.terminate())
        with pytest.raises(AlreadyClosedError, match="is closed: Terminated"):
            await soon(waiting)


@pytest.mark.parametrize("commit", [1, 3, 5, 7])
async def test_activities_under_a_codec_survive_a_commit_that_fails(
    path: Path, caplog: pytest.LogCaptureFixture, commit: int
) -> None:
    caplog.set_level("CRITICAL")
    store = Flaky(path)
    async with (
        open_engine(store=store, clock=SystemClock(), codecs=[Turning()]) as engine,
        engine.worker(workflows=[Chain], activities=[Lab()]),
    ):
        handle = await lab.Client(engine).start_free(text("a"))
        store.fail(commit)
        assert (await soon(handle.result())).value == "a!!!"
        store.fails_at = -1


async def test_an_attempt_claimed_while_codecs_are_at_work_survives_a_commit_that_fails(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Lab):
        async def echo(self, request: Text) -> Text:
            if request.value == "first":
                await ended.wait()
                store.fail(1)  # which records the outcome and takes the next attempt
            return request

    class Echo(Waiting):
        async def run(self, request: Text) -> Text:
            return await lab.echo(request)

    caplog.set_level("CRITICAL")
    store, codec, ended = Flaky(path), Gated(), asyncio.Event()
    async with (
        open_engine(store=store, clock=SystemClock(), codecs=[codec]) as engine,
        engine.worker(workflows=[Echo], activities=[Slow()], max_concurrent_activities=1),
    ):
        client = lab.Client(engine)
        codec.gate.set()
        first, second = [await client.start_free(text(name)) for name in ("first", "second")]
        for handle in (first, second):
            assert (await soon(handle.status(text("")))).value == "new"
        codec.gate.clear()
        asking = asyncio.create_task(second.status(text("")))
        await asyncio.sleep(0.01)
        ended.set()
        await asyncio.sleep(0.05)
        codec.gate.set()
        await soon(asking)
        assert (await soon(second.result())).value == "second"
        store.fails_at = -1


async def test_a_file_that_cannot_be_read_for_a_moment(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    store = Flaky(path)
    async with open_engine(store=store, clock=SystemClock()) as engine, engine.worker(workflows=[Waiting]):
        client = lab.Client(engine)
        store.unreadable = True
        with pytest.raises(StoreError, match="disk I/O error"):
            await soon(client.start_free(text("a")))
        handle = await soon(client.start_free(text("a")))
        assert (await soon(handle.status(text("")))).value == "new"


# -- codecs


async def test_a_codec_that_cannot_encode_why_a_query_failed(clock: VirtualClock) -> None:
    class Raising(Waiting):
        def status(self, request: Text) -> Text:
            codec.broken = True
            raise ApplicationError("not now", text("detail"))

    codec = Turning()
    async with open_engine(clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Raising]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(QueryError, match="not now"):
            await soon(handle.status(text("")))
        codec.broken = False
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


async def test_a_query_that_waited_for_a_task_that_was_superseded(clock: VirtualClock) -> None:
    class Draining(Waiting):
        async def run(self, request: Text) -> Text:
            values = [(await self.go.receive()).value]
            while (more := self.go.try_receive()) is not None:
                values.append(more.value)
            return text(" ".join(values))

    codec = Gated()
    async with open_engine(clock=clock, codecs=[codec]) as engine, engine.worker(workflows=[Draining]):
        codec.gate.set()
        handle = await lab.Client(engine).start_free(text("a"))
        assert (await soon(handle.status(text("")))).value == "new"
        codec.gate.clear()
        await handle.go(text("one"))
        await clock.settle()
        asking = [asyncio.create_task(handle.status(text(mark))) for mark in "?!"]
        await clock.settle()
        await handle.go(text("two"))
        codec.gate.set()
        assert [(await soon(each)).value for each in asking] == ["new?", "new!"]
        assert (await soon(handle.result())).value == "one two"
        assert find(await handle.history(), WorkflowTaskFailed).cause == "UNHANDLED_COMMAND"


async def test_queries_of_a_parked_run_under_a_codec(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    class Stumbling(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            raise ValueError("a bug")

    caplog.set_level("CRITICAL")
    async with open_engine(clock=clock, codecs=[Turning()]) as engine, engine.worker(workflows=[Stumbling]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await clock.settle()
        asking = list[asyncio.Task[Text]]()
        for mark in "?!.":
            asking.append(asyncio.create_task(handle.status(text(mark))))
            await asyncio.sleep(0)
        assert [(await soon(each)).value for each in asking] == ["new?", "new!", "new."]


async def test_codecs_at_work_keep_a_run_in_memory(clock: VirtualClock) -> None:
    async def use(number: int) -> str:
        handle = await client.start_free(text(str(number)))
        assert (await handle.status(text("?"))).value == "new?"
        await handle.set(text("x"))
        assert (await handle.status(text("?"))).value == "x?"
        await handle.go(text("go"))
        assert (await handle.status(text("?"))).value == "x?"
        return (await handle.result()).value

    async with (
        open_engine(clock=clock, codecs=[Turning()]) as engine,
        engine.worker(workflows=[Waiting], max_cached_workflows=1),
    ):
        client = lab.Client(engine)
        assert await soon(asyncio.gather(*(use(number) for number in range(8)))) == ["go x"] * 8


# -- code


UNWRITABLE = "caf\udce9.txt"
"""A file name in another encoding, as Python reads it."""


async def test_errors_that_name_a_file_in_another_encoding(
    engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "workflow":
                raise ApplicationError(UNWRITABLE, type=UNWRITABLE)
            return await lab.echo(request, retry_policy=RetryPolicy(maximum_attempts=1))

    class Naming(Lab):
        async def echo(self, request: Text) -> Text:
            if request.value == "type":
                raise ApplicationError(UNWRITABLE, type=UNWRITABLE)
            raise FileNotFoundError(2, "No such file", UNWRITABLE)

    caplog.set_level("CRITICAL")
    async with engine.worker(workflows=[Failing], activities=[Naming()]):
        for where in ("workflow", "type", "message"):
            with pytest.raises(WorkflowFailedError):
                await soon(lab.Client(engine).execute_free(text(where)))


async def test_texts_that_cannot_be_written_are_refused_where_they_are_given(engine: EmbeddedEngine) -> None:
    client = lab.Client(engine)
    handle = await client.start_free(text("a"))
    for call in (
        lambda: client.start_free(text("a"), id=UNWRITABLE),
        lambda: client.start_free(text("b"), memo={"name": UNWRITABLE}),
        lambda: client.free_handle(UNWRITABLE).cancel(),
        lambda: handle.cancel(reason=UNWRITABLE),
        lambda: handle.terminate(reason=UNWRITABLE),
        lambda: handle.set(text("x"), id=UNWRITABLE),
    ):
        with pytest.raises(OptionError, match=r"expected a text that UTF-8 can write, found 'caf\\udce9.txt'"):
            await soon(call())


class Odd(BaseException):
    """Not an Exception, as what `pytest.fail` raises."""


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, MemoryError, RecursionError, Odd])
@pytest.mark.parametrize("where", ["run", "task"])
async def test_whatever_workflow_code_raises_parks_its_run_and_stops_no_other(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture, kind: type[BaseException], where: str
) -> None:
    class Raising(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value != "bad":
                return request
            if where == "task":
                await asyncio.create_task(self.fail())
            return await self.fail()

        async def fail(self) -> Text:
            raise kind("enough")

    caplog.set_level("CRITICAL")
    async with engine.worker(workflows=[Raising]):
        client = lab.Client(engine)
        handle = await client.start_free(text("bad"))
        await clock.settle()
        assert (await handle.describe()).task_failure == f"{kind.__name__}: enough"
        assert (await soon(client.execute_free(text("good")))).value == "good"


@pytest.mark.parametrize("kind", [SystemExit, Odd])
async def test_whatever_handlers_raise_stops_nothing(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    class Raising(Waiting):
        def status(self, request: Text) -> Text:
            raise kind("enough")

        def validate_set(self, request: Text) -> None:
            if request.value == "invalid":
                raise kind("enough")

        async def set(self, request: Text) -> Text:
            raise kind("enough")

    caplog.set_level("CRITICAL")
    async with engine.worker(workflows=[Raising]):
        handle = await lab.Client(engine).start_free(text("a"))
        with pytest.raises(QueryError, match="enough"):
            await soon(handle.status(text("")))
        with pytest.raises(UpdateFailedError, match="was rejected: enough"):
            await soon(handle.set(text("invalid")))
        waiting = asyncio.create_task(handle.set(text("x")))
        await clock.settle()
        assert (await handle.describe()).task_failure == f"{kind.__name__}: enough"
        waiting.cancel()


def test_an_interrupt_in_workflow_code_ends_the_loop_and_leaves_the_file_whole(path: Path) -> None:
    class Interrupted(Waiting):
        async def run(self, request: Text) -> Text:
            if interrupts.pop():
                raise KeyboardInterrupt
            return request

    async def main() -> str:
        async with open_engine(path, clock=SystemClock()) as engine, engine.worker(workflows=[Interrupted]):
            handle = await lab.Client(engine).start_free(
                text("a"), id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING, id="a"
            )
            return (await soon(handle.result())).value

    interrupts = [False, True]
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert asyncio.run(main()) == "a"


async def test_a_tick_fails_that_left_a_task_open_and_ended_its_run(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A child calls a local activity, and ends with its parent in the same tick, which cannot be committed."""
    caplog.set_level("CRITICAL")
    store = Flaky(tmp_path / "lab.db")

    class Child(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            return await lab.Local.echo(request)

    class Parent(lab.Other):
        async def run(self, request: Text) -> Text:
            await lab.Free.start_child(text("child"))
            await workflow.sleep(3600)
            return request

    async with (
        open_engine(store=store, clock=clock) as engine,
        engine.worker(workflows=[Parent, Child], activities=[Lab()]),
    ):
        client = lab.Client(engine)
        handle, child = await client.start_other(text("parent")), client.free_handle("child")
        await clock.settle()
        store.fails_at = store.commits + 1
        for expected in (StoreFullError, type(None)):
            said = await soon(asyncio.gather(child.go(text("on")), handle.cancel(), return_exceptions=True))
            assert [type(each) for each in said] == [expected] * 2
        await clock.settle()
        assert (await handle.describe()).status is WorkflowStatus.CANCELED
        assert (await child.describe()).status is WorkflowStatus.TERMINATED


async def test_what_cannot_be_written_parks_its_own_run(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Unwritable(Interceptor):
        def start_activity(
            self, call: StartActivity, next_hook: Callable[[StartActivity], Awaitable[object]]
        ) -> Awaitable[object]:
            call.headers["caf\udce9"] = Payload(data=b"x")
            return next_hook(call)

    class Mixed(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "bad":
                await lab.echo(request)
            return await super().run(request)

    async with (
        open_engine(path, interceptors=[Unwritable()]) as engine,
        engine.worker(workflows=[Mixed], activities=[Lab()], handle_signals=False),
    ):
        client = lab.Client(engine)
        bad, good = await asyncio.gather(*(client.start_free(text(each), id=each) for each in ("bad", "good")))
        while (failure := (await bad.describe()).task_failure) is None:
            await asyncio.sleep(0)
        await good.go(text("go"))
        assert (await soon(good.result())).value == "go new"
    assert "what the workflow asks for cannot be written" in failure
