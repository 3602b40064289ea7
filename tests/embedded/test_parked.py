"""Runs whose workflow task failed: parked, visible, retried, cured by another build."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.embedded.bench import Lab, Waiting, all_kinds, find, open_engine, soon, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.test_local import Busy

from protopact import workflow
from protopact.embedded.clock import SystemClock, VirtualClock
from protopact.embedded.engine import EmbeddedEngine
from protopact.embedded.store import Store
from protopact.engine import WorkflowStatus
from protopact.errors import NondeterminismError, WorkflowFailedError
from protopact.history import timeline
from protopact.history.event import WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskScheduled
from protopact.payload import Payload, PayloadCodec
from protopact.replay import diagnosis


class Buggy(Waiting):
    """Raises what is no failure, a given number of times."""

    raises = 1_000_000

    async def run(self, request: Text) -> Text:
        signal = await self.go.receive()
        if type(self).raises:
            type(self).raises -= 1
            raise KeyError("a bug")
        return signal


class Fixed(Waiting):
    """What Buggy should have been."""


def buggy(raises: int = 1_000_000) -> type[Buggy]:
    return type("Buggy", (Buggy,), {"raises": raises})


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


async def test_a_bug_parks_the_run_and_history_says_why(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[buggy()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await clock.settle()
        description = await handle.describe()
        assert description.status is WorkflowStatus.RUNNING
        assert description.task_failure == "KeyError: 'a bug'"
        history = await handle.history()
    failed = find(history, WorkflowTaskFailed)
    assert failed.cause == "WORKFLOW_WORKER_UNHANDLED_FAILURE"
    assert failed.failure is not None
    assert all_kinds(history)[-4:] == [
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
    ]


async def test_a_parked_run_is_tried_again_with_back_off(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[buggy(3)]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        waiting = asyncio.create_task(handle.result())
        await clock.advance(timedelta(seconds=1 + 2 + 3))
        assert not waiting.done()
        assert len([k for k in all_kinds(await handle.history()) if k == "WorkflowTaskFailed"]) == 1
        await clock.advance(timedelta(seconds=1))
        assert (await soon(waiting)).value == "go"
        assert (await handle.describe()).task_failure is None
    history = await handle.history()
    scheduled = [e.attributes for e in history if isinstance(e.attributes, WorkflowTaskScheduled)]
    assert [task.attempt for task in scheduled] == [1, 1, 4]


async def test_what_arrives_meanwhile_is_kept(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    class Two(Buggy):
        raises = 1

        async def run(self, request: Text) -> Text:
            first = await super().run(request)
            return text(first.value + (await self.go.receive()).value)

    async with engine.worker(workflows=[Two]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("1"))
        await clock.settle()
        await handle.go(text("2"))
        await clock.settle()
        assert (await handle.describe()).task_failure is not None, "a signal does not cut the back-off short"
        update = asyncio.create_task(handle.set(text("x")))
        await clock.advance(timedelta(seconds=1))
        assert (await soon(handle.result())).value == "12"
        assert (await soon(update)).value == "new"


async def test_another_build_cures_a_parked_run_without_a_restart_of_the_engine(
    engine: EmbeddedEngine, clock: VirtualClock
) -> None:
    async with engine.worker(workflows=[buggy()], build_id="1"):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await clock.advance(timedelta(minutes=10))
    async with engine.worker(workflows=[buggy()], build_id="1"):
        await clock.settle()
        assert (await handle.describe()).task_failure is not None
    async with engine.worker(workflows=[Fixed], build_id="2"):
        assert (await soon(handle.result())).value == "go new"
    history = await handle.history()
    builds = {e.attributes.build_id for e in history if isinstance(e.attributes, WorkflowTaskCompleted)}
    assert builds == {"1", "2"}


async def test_a_worker_of_another_build_in_another_process_takes_the_run_over(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    async with (
        open_engine(path, clock=SystemClock()) as one,
        open_engine(path, clock=SystemClock()) as two,
        one.worker(workflows=[buggy()], build_id="1"),
    ):
        handle = await lab.Client(one).start_free(text("a"))
        result = asyncio.create_task(handle.result())
        await handle.go(text("go"))
        while (await handle.describe()).task_failure is None:
            await asyncio.sleep(0.001)
        update = asyncio.create_task(handle.set(text("x")))
        await asyncio.sleep(0)
        async with two.worker(workflows=[Fixed], build_id="2"):
            assert (await soon(result)).value == "go x"
            assert (await soon(update)).value == "new"


async def test_the_back_off_survives_a_restart(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[buggy()], build_id="1"):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await clock.advance(timedelta(seconds=20))
    cured = buggy(0)
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[cured], build_id="1"):
        handle = lab.Client(engine).free_handle("a")
        waiting = asyncio.create_task(handle.result())
        await clock.advance(timedelta(seconds=10))
        assert not waiting.done(), "it failed after 1, 3, 7 and 15 s; the next try is after 31 s"
        await clock.advance(timedelta(seconds=1))
        await soon(waiting)


async def test_the_back_off_of_a_run_that_hears_something_survives_a_restart(
    tmp_path: Path, clock: VirtualClock
) -> None:
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=clock) as engine, engine.worker(workflows=[buggy()], build_id="1"):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        await clock.advance(timedelta(seconds=20))
    cured = buggy(0)
    async with open_engine(path, clock=clock) as engine:
        handle = lab.Client(engine).free_handle("a")
        await handle.go(text("again"))
        async with engine.worker(workflows=[cured], build_id="1"):
            await clock.advance(timedelta(seconds=11))
            await soon(handle.result())


class Reversing(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload({"encoding": b"reversed"}, each.data[::-1]) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        metadata = {"encoding": b"json/protobuf"}
        return [
            Payload(metadata, each.data[::-1]) if each.metadata["encoding"] == b"reversed" else each
            for each in payloads
        ]


class Before(Waiting):
    async def run(self, request: Text) -> Text:
        await workflow.sleep(60)
        return request


class After(Waiting):
    async def run(self, request: Text) -> Text:
        return await lab.echo(request)


async def test_code_that_does_not_fit_its_history_is_nondeterminism(
    engine: EmbeddedEngine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    async with engine.worker(workflows=[Before], build_id="1"):
        handle = await lab.Client(engine).start_free(text("a"))
        await clock.settle()
    async with engine.worker(workflows=[After], activities=[Lab()], build_id="2"):
        await handle.go(text("wake it"))
        await clock.settle()
        assert (await handle.describe()).status is WorkflowStatus.RUNNING
        history = await handle.history()
        failed = find(history, WorkflowTaskFailed)
        assert failed.cause == "NON_DETERMINISTIC_ERROR"
        assert failed.failure is not None
        for text_ in (
            (await handle.describe()).task_failure or "",
            failed.failure.message,
            caplog.text,
            timeline.render(history, width=80),
        ):
            assert f"(run {handle.run_id}, build 2, recorded by build 1) does not follow its history" in text_
            assert "activity_type" in text_
            assert "lab.v1.LabService.Echo" in text_
            assert '{"value": "a"}' in text_
            assert "in After.run" in text_
            assert "return await lab.echo(request)" in text_
            assert "a timer of 60 s became activity Echo" in text_
    async with engine.worker(workflows=[Before], build_id="3"):
        await clock.advance(timedelta(seconds=60))
        assert (await soon(handle.result())).value == "a"


@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
async def test_it_is_explained_once_for_each_build_and_not_while_the_file_is_locked(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, *, is_coded: bool
) -> None:
    """An explanation replays the history several times: nobody waits for that who writes."""
    store, explained = Store(None), list[str]()

    def explanation(error: NondeterminismError, *args: Any, build_id: str, **options: Any) -> Generator[None]:  # noqa: ANN401 - passed on
        explained.append(build_id)
        for _ in diagnosis.explanation(error, *args, build_id=build_id, **options):
            assert not store.connection.in_transaction
            yield

    monkeypatch.setattr("protopact.embedded.tasks.explanation", explanation)
    async with open_engine(store=store, clock=clock, codecs=[Reversing()] if is_coded else []) as engine:
        async with engine.worker(workflows=[Before], build_id="1"):
            handle = await lab.Client(engine).start_free(text("a"))
            await clock.settle()
        for build in "23":
            async with engine.worker(workflows=[After], activities=[Lab()], build_id=build):
                await handle.go(text("wake it"))
                reports = set[str | None]()
                for _ in range(3):
                    await clock.advance(timedelta(seconds=5))
                    reports.add((await handle.describe()).task_failure)
                (report,) = reports
                assert f"build {build}, recorded by build 1) does not follow its history" in (report or "")
    assert explained == ["2", "3"]


async def test_an_explanation_does_not_keep_the_loop_busy(clock: VirtualClock) -> None:
    turns, calls = [0], list[int]()

    class Long(Waiting):
        async def run(self, request: Text) -> Text:
            for _ in range(100):
                calls.append(turns[0])
                await lab.echo(request)
            await self.end(request)
            return request

        async def end(self, request: Text) -> None:
            await workflow.sleep(60 if request.value else 0)

    class Changed(Long):
        async def end(self, request: Text) -> None:
            await lab.echo(request)

    async def count() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async with open_engine(clock=clock) as engine:
        async with engine.worker(workflows=[Long], activities=[Lab()], build_id="1"):
            handle = await lab.Client(engine).start_free(text("a"))
            await clock.settle()
        calls.clear()
        async with engine.worker(workflows=[Changed], activities=[Lab()], build_id="2"):
            counting = asyncio.ensure_future(count())
            await handle.go(text("wake it"))
            while "does not follow its history" not in ((await handle.describe()).task_failure or ""):
                await asyncio.sleep(0)
            counting.cancel()
    task, *steps = sorted(Counter(calls).values(), reverse=True)
    assert task == 100, "the task itself"
    assert sum(steps) == 200, "the explanation replays it twice"
    assert max(steps) < 20


async def test_values_that_codecs_hide_are_not_written_down(clock: VirtualClock) -> None:
    async with open_engine(clock=clock, codecs=[Reversing()]) as engine:
        async with engine.worker(workflows=[Before], build_id="1"):
            handle = await lab.Client(engine).start_free(text("secret"))
            await clock.settle()
        async with engine.worker(workflows=[After], activities=[Lab()], build_id="2"):
            await handle.go(text("wake it"))
            await clock.settle()
            report = (await handle.describe()).task_failure or ""
    assert "lab.v1.Text, 18 bytes" in report
    assert "value" not in report


async def test_a_parked_run_still_answers_queries_from_before(engine: EmbeddedEngine, clock: VirtualClock) -> None:
    async with engine.worker(workflows=[buggy()]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.set(text("x"))
        await handle.go(text("go"))
        await clock.settle()
        assert (await soon(handle.status(text("")))).value == "x"
        assert (await handle.describe()).task_failure is not None


async def test_exceptions_that_a_worker_lists_fail_the_run(engine: EmbeddedEngine) -> None:
    async with engine.worker(workflows=[buggy()], workflow_failure_exception_types=[KeyError]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("go"))
        with pytest.raises(WorkflowFailedError, match="a bug"):
            await soon(handle.result())


async def test_a_parked_run_goes_to_another_build_while_it_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt under way is undone: its local activity is cancelled, and nothing of it is written."""
    caplog.set_level("CRITICAL")
    broken = True

    class Fails(Waiting):
        async def run(self, request: Text) -> Text:
            if broken:
                raise RuntimeError("not yet")
            return await lab.Local.echo(request)

    here, there = Busy(), Busy()
    here.free.clear()
    path = tmp_path / "lab.db"
    async with open_engine(path, clock=SystemClock()) as one, open_engine(path, clock=SystemClock()) as two:
        handle = await lab.Client(one).start_free(text("a"))
        async with one.worker(workflows=[Fails], activities=[here], build_id="1"):
            while (await handle.describe()).task_failure is None:
                await asyncio.sleep(0.001)
            broken = False
            while not here.begun:
                await asyncio.sleep(0.001)
            async with two.worker(workflows=[Fails], activities=[there], build_id="2"):
                assert (await soon(handle.result())).value == "a!"
        history = await handle.history()
    assert [event.event_id for event in history] == list(range(1, len(history) + 1))
    assert (here.begun, there.begun) == (["a 1", "a cancelled"], ["a 1"])


@pytest.mark.parametrize("coded", [False, True])
async def test_queries_of_a_parked_run_at_once(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, *, coded: bool
) -> None:
    caplog.set_level("CRITICAL")

    class Fails(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            self.state = "ready"
            await self.go.receive()
            raise KeyError("a bug")

    codecs = [Reversing()] if coded else []
    async with open_engine(clock=clock, codecs=codecs) as engine, engine.worker(workflows=[Fails]):
        handle = await lab.Client(engine).start_free(text("a"))
        await handle.go(text("one"))
        await clock.settle()
        await handle.go(text("two"))
        await clock.settle()
        assert (await handle.describe()).task_failure is not None
        said = await soon(asyncio.gather(*(handle.status(text("")) for _ in range(3)), return_exceptions=True))
        assert said == [text("ready")] * 3
