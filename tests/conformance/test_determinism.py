"""What workflow code may not do, and what it may: clocks, random numbers, logging, replay."""

from __future__ import annotations

import asyncio
import builtins
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.bench import QUICKLY, Bench, Lab, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.errors import NondeterministicCallError, NotInWorkflowError, RegistrationError, UpdateFailedError

# Called by names that no reader of the code can follow, so that the guard at run time sees them.
FORBIDDEN: dict[str, Callable[[], object]] = {
    "time.time": lambda: _call(time, "time"),
    "time.sleep": lambda: _call(time, "sleep", 0),
    "uuid.uuid4": lambda: _call(uuid, "uuid4"),
    "builtins.open": lambda: _call(builtins, "open", "/etc/hostname"),
}


def _call(module: object, name: str, *arguments: object) -> object:
    return getattr(module, name)(*arguments)


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_the_guard_at_run_time(bench: Bench, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    call = FORBIDDEN[name]

    class Forbidden(Waiting):
        async def run(self, request: Text) -> Text:
            try:
                _perform(call)
            except NondeterministicCallError:
                return text("swallowed, which does not help")
            return request

    async with bench.worker(Forbidden, build_id="1"):
        handle = await bench.start(task_timeout=QUICKLY)
        assert name.rpartition(".")[2] in await bench.until_parked(handle)
    async with bench.worker(Waiting, build_id="2"):
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


def _perform(call: Callable[[], object]) -> None:
    call()


async def test_the_guard_in_a_validator(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It says nothing of the update, which another build accepts or rejects."""
    caplog.set_level("CRITICAL")

    class Forbidden(Waiting):
        def validate_set(self, request: Text) -> None:
            _perform(FORBIDDEN["time.time"])

    async with bench.worker(Forbidden, build_id="1"):
        handle = await bench.start(task_timeout=QUICKLY)
        update = asyncio.ensure_future(handle.set(text("accepted")))
        assert "time" in await bench.until_parked(handle)
        assert not update.done()
    async with bench.worker(Waiting, build_id="2"):
        await handle.go(text("go"))
        assert (await soon(update)).value == "new"


async def test_what_the_loop_refuses_a_validator(bench: Bench) -> None:
    """As whatever else a validator raises, it rejects the update."""

    class Forbidden(Waiting):
        def validate_set(self, request: Text) -> None:
            _perform(lambda: _call(asyncio.get_running_loop(), "run_in_executor", None, print))

    async with bench.worker(Forbidden):
        handle = await bench.start()
        with pytest.raises(UpdateFailedError):
            await soon(handle.set(text("rejected")))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


async def test_the_check_when_a_worker_starts(bench: Bench) -> None:
    class Wrong(Waiting):
        async def run(self, request: Text) -> Text:
            return text(str(time.time()))

    with pytest.raises(RegistrationError, match="time.time"):
        async with bench.worker(Wrong):
            pass


async def test_unsafe_lifts_the_guard(bench: Bench) -> None:
    class Lifting(Waiting):
        async def run(self, request: Text) -> Text:
            with workflow.unsafe.guard_lifted():
                seen = time.time()
            return text(str(seen > 0))

    async with bench.worker(Lifting):
        assert await bench.run() == "True"


async def test_time_stands_still_between_two_awaits(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        first = workflow.now()
        for _ in range(10_000):
            pass
        assert workflow.now() == first
        assert datetime.fromtimestamp(workflow.time_ns() / 1e9, UTC) == first
        assert first >= workflow.info().start_time
        await workflow.sleep(0.02)
        later = workflow.now()
        await suite.echo(request)
        return text(f"{later - first >= timedelta(milliseconds=20)} {first.tzinfo}")

    async with bench.worker(running(code), activities=[Lab()], max_cached_workflows=0):
        assert await bench.run() == "True UTC"


async def test_random_numbers_are_drawn_alike(bench: Bench) -> None:
    drawn = list[tuple[float, str]]()

    async def code(request: Text) -> Text:
        drawn.append((workflow.random().random(), str(workflow.uuid4())))
        await workflow.sleep(0.01)
        await suite.echo(request)
        return text("done")

    async with bench.worker(running(code), activities=[Lab()], max_cached_workflows=0):
        await bench.run(name="1")
    assert len(drawn) > 1
    assert len(set(drawn)) == 1
    async with bench.worker(running(code), activities=[Lab()]):
        await bench.run(name="2")
    assert len(set(drawn)) == 2


async def test_log_lines_appear_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def code(request: Text) -> Text:
        workflow.logger.info("first %s", request.value)
        await workflow.sleep(0.01)
        workflow.logger.info("second")
        await suite.echo(request)
        workflow.logger.info("third")
        return request

    with caplog.at_level(logging.INFO):
        async with bench.worker(running(code), activities=[Lab()], max_cached_workflows=0):
            await bench.run("a")
    messages = [record.getMessage() for record in caplog.records]
    own = [message.split(" (")[0] for message in messages if message.startswith(("first", "second", "third"))]
    assert own == ["first a", "second", "third"]


async def test_what_belongs_in_a_workflow_is_refused_outside(bench: Bench) -> None:
    for call in (workflow.now, workflow.random, workflow.info, workflow.uuid4, workflow.memo):
        with pytest.raises(NotInWorkflowError):
            call()
    with pytest.raises(NotInWorkflowError):
        suite.echo(text("a"))


async def test_replaying_is_known(bench: Bench) -> None:
    seen = list[bool]()

    class Knowing(Waiting):
        async def run(self, request: Text) -> Text:
            seen.append(workflow.is_replaying())
            await self.go.receive()
            return request

    async with bench.worker(Knowing):
        handle = await bench.start()
        await soon(handle.status(text("")))
    async with bench.worker(Knowing):
        await handle.go(text(""))
        await soon(handle.result())
    assert seen[0] is False
    assert set(seen[1:]) <= {True}


async def test_blocking_code_hinders_no_other_run(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handles = [await bench.start(name=str(n)) for n in range(5)]
        await asyncio.gather(*(handle.go(text("go")) for handle in handles))
        assert {(await soon(handle.result())).value for handle in handles} == {"go new"}
