"""Where the engines differ: a test for each row of the table in docs/engines.md, of both sides."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import tests.conformance.test_differences as itself
from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig
from tests.conformance import programs
from tests.conformance.bench import (
    LASTING,
    ONCE,
    QUICKLY,
    ROOT,
    Bench,
    Lab,
    Stuck,
    find,
    kinds,
    millis,
    running,
    soon,
    until,
)
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import QueuedService
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Counting, Grouping, Other, Peeking, Waiting, text
from tests.devserver import ADMITTED_ID

import protopact
from protopact import activity, workflow
from protopact.engine import QueryWorkflow, WorkflowStatus
from protopact.errors import (
    ActivityError,
    ApplicationError,
    NotFoundError,
    OptionError,
    QueryError,
    RegistrationError,
    TimeoutType,
)
from protopact.history.event import (
    ActivityTaskCompleted,
    WorkflowExecutionCompleted,
    WorkflowTaskTimedOut,
)
from protopact.payload import Payload, PayloadCodec
from protopact.policy import Priority, RetryPolicy, WaitForStage
from protopact.temporal import TemporalEngine, TemporalWorkerOptions

DEPENDENT = re.compile(r"is_embedded|is_temporal|place\.url|\"(sqlite|temporal):|(Embedded|Temporal)Engine\b")
"""What a case says that is not the same on both engines."""
KNOWING = {
    "test_differences.py": "its cases are the rows",
    "bench.py": "connects, by whatever URL",
    "conftest.py": "chooses the URL",
    "test_limits.py": "chooses the URL of a server with small limits",
    "test_example.py": "the README's lines for Temporal",
}
"""Modules that may say it, and why."""


def is_embedded(bench: Bench) -> bool:
    return bench.place.url.startswith("sqlite:")


def test_the_table_and_the_tests_agree() -> None:
    page = (ROOT / "docs/engines.md").read_text()
    table = page[page.index("| What |") :].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    named = {"test_" + re.sub(r"\W+", "_", row[0].lower()).strip("_") for row in rows}
    assert named == _cases()
    assert [row[0] for row in rows if len(row) != len(["what", "embedded", "Temporal", "why"]) or not all(row)] == []


def _cases() -> set[str]:
    return {name for name, value in vars(itself).items() if name[:5] == "test_" and inspect.iscoroutinefunction(value)}


def test_each_row_has_both_sides() -> None:
    for name in _cases():
        case = getattr(itself, name)
        assert "bench" in inspect.signature(case).parameters, f"{name} runs on every engine"
        assert "is_embedded(bench)" in inspect.getsource(case), f"{name} says what differs"


def test_no_other_case_knows_its_engine() -> None:
    found = {module.name for module in Path(__file__).parent.glob("*.py") if DEPENDENT.search(module.read_text())}
    assert found == set(KNOWING)


async def test_the_cause_of_a_failed_query(bench: Bench) -> None:
    class Raising(Waiting):
        def status(self, request: Text) -> Text:
            raise ApplicationError("not now", text("detail"), type="Moody")

    async with bench.worker(Raising):
        handle = await bench.start()
        with pytest.raises(QueryError, match="not now") as raised:
            await soon(handle.status(text("")))
    cause = raised.value.__cause__
    if is_embedded(bench):
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details.get(0, Text)) == ("Moody", text("detail"))
    else:
        assert cause is None


async def test_a_query_of_a_parked_run(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Buggy(Waiting):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            raise KeyError("a bug")

    async with bench.worker(Buggy):
        handle = await bench.start(task_timeout=QUICKLY)
        await soon(handle.set(text("changed")))
        await handle.go(text(""))
        await bench.until_parked(handle)
        if is_embedded(bench):
            assert (await soon(handle.status(text("?")))).value == "changed?"
        else:
            query = handle.__protopact__.workflow.queries[0]
            short = QueryWorkflow(
                ref=handle.__protopact__.latest, query=query, request=text("?"), timeout=timedelta(seconds=1)
            )
            with pytest.raises(QueryError):
                await soon(bench.engine.query_workflow(short))


async def test_the_cure_of_a_parked_run(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    async def buggy(request: Text) -> Text:
        raise KeyError("a bug")

    async def fixed(request: Text) -> Text:
        return request

    async with bench.worker(running(buggy), build_id="1"):
        handle = await bench.start("a", task_timeout=timedelta(seconds=2))
        await bench.until_parked(handle)

        async def is_tried_again() -> bool:
            if not isinstance(bench.engine, TemporalEngine):
                return True
            run = await bench.engine.client.get_workflow_handle(handle.id).describe()
            task = run.raw_description.pending_workflow_task
            return task.attempt > 1 and task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED

        await until(is_tried_again)
    began = time.monotonic()
    async with bench.worker(running(fixed), build_id="2"):
        assert (await soon(handle.result())).value == "a"
    took = time.monotonic() - began
    assert took < 1 if is_embedded(bench) else took > 0.5


async def test_a_worker_that_lacks_a_workflow_of_its_queue(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    async with bench.worker(Other):
        handle = await bench.start(task_timeout=QUICKLY)
        if is_embedded(bench):
            later = await bench.client.start_other(text(""), id=bench.id("later"))

            async def has_begun() -> bool:
                return "TimerStarted" in kinds(await later.history())

            await until(has_begun)
            assert kinds(await handle.history()) == ["WorkflowExecutionStarted"]
            assert (await handle.describe()).task_failure is None
        else:
            assert "not registered" in await bench.until_parked(handle)
    async with bench.worker(Waiting):
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


@LASTING
async def test_an_attempt_whose_worker_died(bench: Bench) -> None:
    patience = timedelta(seconds=60 if is_embedded(bench) else 2)

    async def code(request: Text) -> Text:
        policy = RetryPolicy(initial_interval=millis(10))
        return await suite.beat(request, heartbeat_timeout=patience, retry_policy=policy)

    async with bench.worker(running(code)):
        dying = await bench.dying_worker()
        handle = await bench.start("a")
        assert await asyncio.to_thread(dying.wait, 30) == 1, "in the middle of the first attempt"
        began = time.monotonic()
    async with bench.worker(running(code), activities=[Lab()]):
        assert (await soon(handle.result())).value == "a"
    assert is_embedded(bench) or time.monotonic() - began > 1


async def test_a_local_activity_whose_worker_stops(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.Local.beat(request)

    class Slow(Lab):
        def __init__(self) -> None:
            self.started, self.released = asyncio.Event(), asyncio.Event()
            self.calls = 0

        async def beat(self, request: Text) -> Text:
            self.calls += 1
            self.started.set()
            await self.released.wait()
            return text(f"{self.calls}")

    slow = Slow()

    async def serve() -> None:
        async with bench.worker(running(code), activities=[slow]):
            await slow.started.wait()

    serving = asyncio.create_task(serve())
    handle = await bench.start("a")
    await soon(slow.started.wait())
    if is_embedded(bench):
        await soon(serving)
    else:
        assert (await asyncio.wait({serving}, timeout=0.3))[1] == {serving}
    slow.released.set()
    await soon(serving)
    async with bench.worker(running(code), activities=[slow]):
        assert (await soon(handle.result())).value == ("2" if is_embedded(bench) else "1")


async def test_cancelling_an_activity_that_does_not_heartbeat(bench: Bench) -> None:
    patience = timedelta(seconds=60 if is_embedded(bench) else 1)

    async def code(request: Text) -> Text:
        handle = suite.beat(request, heartbeat_timeout=None, start_to_close_timeout=patience, retry_policy=ONCE)
        await asyncio.sleep(0)
        await suite.echo(request)
        handle.cancel()
        with pytest.raises(ActivityError) as caught:
            await handle
        return text(type(caught.value.cause).__name__)

    class Silent(Stuck):
        async def echo(self, request: Text) -> Text:
            await self.started.wait()
            return request

        async def beat(self, request: Text) -> Text:
            return await self._wait(request)

    async with bench.worker(running(code), activities=[Silent()]):
        assert await bench.run() == ("CancelledError" if is_embedded(bench) else "TimeoutError")


async def test_what_happens_to_a_run_while_no_worker_serves_it(bench: Bench) -> None:
    signalled = await bench.client.start_free_with_go(text(""), text("go"), id=bench.id("signalled"))
    handle = await bench.start(run_timeout=millis(50))

    async def timed_out() -> bool:
        return (await handle.describe()).status is WorkflowStatus.TIMED_OUT

    if is_embedded(bench):
        assert kinds(await signalled.history()) == ["WorkflowExecutionStarted"]
        assert not await timed_out()
        async with bench.worker(Waiting):
            await until(timed_out)
            assert (await soon(signalled.result())).value == "go new"
    else:
        await until(timed_out)
        assert kinds(await signalled.history()) == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]


async def test_names_and_types_of_search_attributes(bench: Bench) -> None:
    start = bench.start(search_attributes={"NobodyRegisteredThis": "x"})
    if is_embedded(bench):
        assert (await (await start).describe()).search_attributes == {"NobodyRegisteredThis": "x"}
    else:
        with pytest.raises(OptionError, match="NobodyRegisteredThis"):
            await start


async def test_lists(bench: Bench) -> None:
    handle = await bench.start()

    async def listed() -> bool:
        return [each.run_id async for each in bench.engine.list_workflows(workflow_id=handle.id)] == [handle.run_id]

    if is_embedded(bench):
        assert await listed(), "at once"
    else:
        await until(listed)
    (found,) = [each async for each in bench.engine.list_workflows(workflow_id=handle.id)]
    told = await handle.describe()
    assert (told.first_run_id, told.history_length) == (handle.run_id, 1 if is_embedded(bench) else 2)
    in_list = (told.first_run_id, told.history_length) if is_embedded(bench) else ("", 0)
    assert (found.first_run_id, found.history_length) == in_list


async def test_the_order_of_lists(bench: Bench) -> None:
    for name in "abc":
        await bench.start(name=name)

    async def listed() -> str:
        mine = bench.place.name + "/"
        found = [each.workflow_id async for each in bench.engine.list_workflows()]
        return "".join(each.removeprefix(mine) for each in found if each.startswith(mine))

    async def all_there() -> bool:
        return await listed() == "cba"

    async def after_an_end() -> bool:
        return await listed() == ("cba" if is_embedded(bench) else "bac")

    await until(all_there)
    await bench.client.free_handle(bench.id("c")).terminate()
    await until(after_an_end)


async def test_deleting_a_closed_run(bench: Bench) -> None:
    handle = await bench.start()
    await handle.terminate()
    await bench.engine.delete_workflow(handle.__protopact__.latest)
    if is_embedded(bench):
        with pytest.raises(NotFoundError):
            await handle.describe()
    else:
        assert (await handle.describe()).status is WorkflowStatus.TERMINATED, "for half a minute and more"


async def test_retention(bench: Bench) -> None:
    if is_embedded(bench):
        protopact.connect(bench.place.url, retention=timedelta(days=1))
    else:
        with pytest.raises(OptionError, match="namespace"):
            protopact.connect(bench.place.url, retention=timedelta(days=1))


async def test_updates_under_way(bench: Bench) -> None:
    class Slow(Waiting):
        async def set(self, request: Text) -> Text:
            return await self.note.receive()

    async with bench.worker(Slow):
        handle = await bench.start()
        for number in range(10):
            await soon(handle.start_set(text(str(number)), wait_for_stage=WaitForStage.ACCEPTED))
        eleventh = asyncio.create_task(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        if not is_embedded(bench):
            _, waits = await asyncio.wait([eleventh], timeout=0.2)
            assert waits
            await handle.note(text("make room"))
        await soon(eleventh)


async def test_the_limits_of_a_run(bench: Bench) -> None:
    start = bench.start(id=bench.id().ljust(ADMITTED_ID + 1, "x"))
    if is_embedded(bench):
        assert (await start).id
    else:
        with pytest.raises(OptionError, match="WorkflowId length exceeds limit"):
            await start


async def test_max_concurrent_activities(bench: Bench) -> None:
    may_go = asyncio.Event()

    async def code(request: Text) -> Text:
        calls = suite.echo(request, task_queue="suite"), QueuedService.land(request, task_queue="suite-landing")
        return (await asyncio.gather(*calls))[0]

    class Landing(QueuedService.Activities):
        async def land(self, request: Text) -> Text:
            await may_go.wait()
            return request

    class Echoing(Lab):
        async def echo(self, request: Text) -> Text:
            await may_go.wait()
            return request

    at_once = 1 if is_embedded(bench) else 2
    both = [Echoing(), Landing()]
    async with (
        bench.worker(running(code)),
        bench.worker(activities=both, task_queue=None, max_concurrent_activities=1),
    ):
        handle = await bench.start()

        async def have_started() -> bool:
            pending = (await handle.describe()).pending_activities
            return len(pending) == 2 and [each.started for each in pending].count(True) == at_once

        await until(have_started)
        may_go.set()
        await soon(handle.result())


async def test_a_workflow_class_in_a_function(bench: Bench) -> None:
    class Local(Waiting):
        """Stands where no import finds it."""

    serving = bench.engine.worker(workflows=[Local], task_queue=bench.place.name)
    if is_embedded(bench):
        async with serving:
            handle = await bench.start()
            await handle.go(text("go"))
            assert (await soon(handle.result())).value == "go new"
    else:
        with pytest.raises(RegistrationError, match=r"defined in a function.*sandboxed=False"):
            async with serving:
                pass


async def test_variables_of_the_modules_of_workflows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "runs", [])
    async with bench.worker(Counting):
        assert [await bench.run(name=name) for name in "abc"] == (list("123") if is_embedded(bench) else list("111"))


@pytest.mark.parametrize("how", ["wait", "as_completed", "to look"])
async def test_asyncio_wait_and_its_like(bench: Bench, how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    async with bench.worker(Grouping):
        handle = await bench.start(how, task_timeout=QUICKLY)
        if is_embedded(bench) or how == "to look":
            by_address = not is_embedded(bench)
            assert (await soon(handle.result())).value == str([by_address] * 3)
        else:
            assert f"use workflow.{how}() instead" in await bench.until_parked(handle)


async def test_what_only_the_sandbox_sees(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    async with bench.worker(Peeking):
        handle = await bench.start(task_timeout=QUICKLY)
        if is_embedded(bench):
            assert (await soon(handle.result())).value == "datetime"
        else:
            assert "RestrictedWorkflowAccessError" in await bench.until_parked(handle)


async def test_worker_versions(bench: Bench) -> None:
    version = WorkerDeploymentVersion(deployment_name=bench.place.name, build_id="1")
    config = WorkerDeploymentConfig(version=version, use_worker_versioning=True)
    serving = bench.engine.worker(
        workflows=[Waiting],
        task_queue=bench.place.name,
        handle_signals=False,
        temporal=TemporalWorkerOptions(deployment_config=config),
    )
    if is_embedded(bench):
        async with serving:
            handle = await bench.start()
            await handle.go(text("go"))
            assert (await soon(handle.result())).value == "go new"
    else:
        with pytest.raises(RegistrationError, match="versioning behavior"):
            async with serving:
                pass


async def test_a_workflow_task_that_takes_longer_than_its_time_out(bench: Bench) -> None:
    attempts = list[int]()

    async def slow(request: Text) -> Text:
        attempts.append(1)
        with workflow.unsafe.guard_lifted():
            time.sleep(1.2 if len(attempts) == 1 else 0)  # noqa: ASYNC251 - what takes long
        return request

    async with bench.worker(running(slow)):
        handle = await bench.start(task_timeout=timedelta(seconds=1))
        await soon(handle.result())
    timed_out = [isinstance(each.attributes, WorkflowTaskTimedOut) for each in await handle.history()].count(True)
    assert (timed_out, len(attempts)) == ((0, 1) if is_embedded(bench) else (1, 2))


async def test_schedule_to_close_of_a_local_activity(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(ActivityError) as caught:
            await suite.Local.echo(request, schedule_to_close_timeout=millis(300))
        return text(str(getattr(caught.value.cause, "type", None)))

    async with bench.worker(running(code), activities=[Stuck()]):
        told = await bench.run()
    either = (TimeoutType.SCHEDULE_TO_CLOSE, TimeoutType.START_TO_CLOSE)
    assert told in [str(each) for each in (either[:1] if is_embedded(bench) else either)]


async def test_the_result_of_what_returns_nothing(bench: Bench) -> None:
    class Quiet(suite.Quiet):
        async def run(self) -> None:
            await suite.nothing()

        def peek(self) -> Text:
            return Text()

        async def touch(self) -> None:
            return None

    async with bench.worker(Quiet, activities=[Lab()]):
        handle = await bench.client.start_quiet(id=bench.id())
        await soon(handle.result())
    history = await handle.history()
    results = [*find(history, ActivityTaskCompleted).result, *find(history, WorkflowExecutionCompleted).result]
    expected = [] if is_embedded(bench) else [b"binary/null"] * 2
    assert [each.metadata["encoding"] for each in results] == expected


async def test_priorities(bench: Bench) -> None:
    # test_priorities.py shows that a server with these settings has the same order.
    async def code(request: Text) -> Text:
        keys = (5, 4, 3, 2, 1)
        await asyncio.gather(*(suite.echo(text(str(key)), priority=Priority(priority_key=key)) for key in keys))
        return request

    class Noting(Lab):
        async def echo(self, request: Text) -> Text:
            notes.append(request.value)
            return request

    notes = list[str]()
    async with bench.worker(running(code), activities=[Noting()], max_concurrent_activities=1):
        await bench.run()
    assert sorted(notes) == ["1", "2", "3", "4", "5"]
    if is_embedded(bench):
        assert notes == sorted(notes)


async def test_activity_info_priority_and_retry_policy(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        return await suite.echo(request, priority=Priority(fairness_key="own"), retry_policy=ONCE)

    class Telling(Lab):
        async def echo(self, request: Text) -> Text:
            info = activity.info()
            return text(f"{info.priority} {info.retry_policy and info.retry_policy.maximum_attempts}")

    async with bench.worker(running(code), activities=[Telling()]):
        told = await bench.run(priority=Priority(priority_key=2))
    priority = Priority(priority_key=2, fairness_key="own")
    assert told == (f"{priority} 1" if is_embedded(bench) else f"{Priority()} None")


async def test_a_request_of_an_activity_that_the_codec_cannot_decode(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")

    class Refusing(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
            return payloads

        async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
            if any(b"unreadable" in payload.data for payload in payloads):
                raise ValueError("no key")
            return payloads

    async def code(request: Text) -> Text:
        with pytest.raises(ActivityError) as caught:
            await suite.echo(text("unreadable"), retry_policy=ONCE)
        return text(str(caught.value.cause))

    async with bench.place.connect(codecs=[Refusing()]) as coded, coded.worker(running(code), activities=[Lab()]):
        handle = await coded.start(task_timeout=QUICKLY)
        if is_embedded(bench):
            assert "no key" in await coded.until_parked(handle)
        else:
            assert (await soon(handle.result())).value == "Failed decoding arguments"
