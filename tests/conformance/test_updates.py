"""Updates: accepted, rejected, failed, waited for, de-duplicated, and sent to a workflow that is not there yet."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.bench import QUICKLY, Bench, Lab, find, kinds, millis, soon
from tests.conformance.features import Slow
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.engine import UpdateStarted, WorkflowRef
from protopact.errors import (
    ActivityError,
    AlreadyClosedError,
    AlreadyStartedError,
    ApplicationError,
    NotFoundError,
    UpdateFailedError,
    WorkflowFailedError,
)
from protopact.history.event import WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted
from protopact.policy import WaitForStage, WorkflowIdConflictPolicy


async def test_an_update_is_accepted_completed_and_recorded(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        assert (await soon(handle.set(text("x"), id="u1"))).value == "new"
    history = await handle.history()
    accepted = find(history, WorkflowExecutionUpdateAccepted)
    assert accepted.protocol_instance_id == "u1"
    assert accepted.accepted_request is not None
    assert accepted.accepted_request.name == "suite.v1.SuiteService.Set"
    completed = find(history, WorkflowExecutionUpdateCompleted)
    assert history[completed.accepted_event_id - 1].attributes is accepted


async def test_a_rejected_update_leaves_no_history_at_all(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        await soon(handle.status(text("")))
        before = await handle.history()
        for _ in range(3):
            with pytest.raises(UpdateFailedError) as raised:
                await soon(handle.set(text(""), id="same"))
            assert isinstance(raised.value.cause, ApplicationError)
            assert (raised.value.cause.type, raised.value.cause.message) == ("ValueError", "nothing to set")
        assert await handle.history() == before
        assert (await soon(handle.set(text("x"), id="same"))).value == "new", "a rejected id may be used again"
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go x"


async def test_a_validator_may_say_what_is_wrong(bench: Bench) -> None:
    class Strict(Waiting):
        def validate_set(self, request: Text) -> None:
            raise ApplicationError("too late", text("why"), type="Late", non_retryable=True)

    async with bench.worker(Strict):
        handle = await bench.start()
        with pytest.raises(UpdateFailedError) as raised:
            await soon(handle.start_set(text("x")))
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message, cause.non_retryable) == ("Late", "too late", True)
    assert cause.details.get(0, Text) == text("why")


async def test_a_validator_that_would_change_the_run_fails_the_task(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")

    class Changing(Waiting):
        def validate_set(self, request: Text) -> None:
            suite.echo(request)

    async with bench.worker(Changing):
        handle = await bench.start(task_timeout=QUICKLY)
        waiting = asyncio.create_task(handle.set(text("x")))
        await bench.until_parked(handle)
    async with bench.worker(Waiting, build_id="fixed"):
        assert (await soon(waiting)).value == "new"
    assert "ActivityTaskScheduled" not in kinds(await handle.history())


async def test_an_update_that_fails_leaves_the_run(bench: Bench) -> None:
    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        await handle.note(text("fail"))
        for _ in range(2):
            with pytest.raises(UpdateFailedError) as raised:
                await soon(update.result())
            assert isinstance(raised.value.cause, ApplicationError)
            assert raised.value.cause.type == "Asked"
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


async def test_an_update_that_waits_for_an_activity(bench: Bench) -> None:
    class Calling(Waiting):
        async def set(self, request: Text) -> Text:
            return await suite.echo(request)

    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            if request.value == "fail":
                raise ApplicationError("no", type="No", non_retryable=True)
            return await super().echo(request)

    async with bench.worker(Calling, activities=[Failing()]):
        handle = await bench.start()
        assert (await soon(handle.set(text("a")))).value == "a!"
        with pytest.raises(UpdateFailedError) as raised:
            await soon(handle.set(text("fail")))
    assert isinstance(raised.value.cause, ActivityError)
    assert isinstance(raised.value.cause.cause, ApplicationError)
    assert raised.value.cause.cause.type == "No"


async def test_stages(bench: Bench) -> None:
    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), id="u1", wait_for_stage=WaitForStage.ACCEPTED))
        assert (update.id, update.workflow_id) == ("u1", handle.id)
        completed = asyncio.create_task(handle.start_set(text("x"), id="u1", wait_for_stage=WaitForStage.COMPLETED))
        waiting = asyncio.create_task(update.result())
        await soon(handle.status(text("")))
        assert not waiting.done()
        assert not completed.done()
        await handle.note(text("done"))
        assert (await soon(waiting)).value == "done"
        assert (await soon((await soon(completed)).result())).value == "done"


async def test_update_ids_de_duplicate_across_workers_and_the_end(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        assert (await soon(handle.set(text("x"), id="u1"))).value == "new"
    async with bench.worker(Waiting):
        assert (await soon(handle.set(text("y"), id="u1"))).value == "new"
        assert (await soon(handle.status(text("")))).value == "x"
        await handle.go(text("go"))
        await soon(handle.result())
        assert (await soon(handle.set(text("z"), id="u1"))).value == "new", "a closed run remembers too"


async def test_many_callers_of_one_update(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        answers = await soon(asyncio.gather(*(handle.set(text(str(n)), id="u1") for n in range(5))))
    assert [answer.value for answer in answers] == ["new"] * 5
    assert kinds(await handle.history()).count("WorkflowExecutionUpdateAccepted") == 1


async def test_many_updates_at_once(bench: Bench) -> None:
    class Counting(Waiting):
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        async def set(self, request: Text) -> Text:
            self.total += int(request.value)
            await workflow.sleep(millis(10))
            return text(str(self.total))

    async with bench.worker(Counting):
        handle = await bench.start()
        # A server lets ten be under way at once.
        answers = await soon(asyncio.gather(*(handle.set(text(str(n))) for n in range(1, 9))))
    assert max(int(answer.value) for answer in answers) == 36


async def test_an_update_on_a_closed_run(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        await handle.go(text("go"))
        await soon(handle.result())
        with pytest.raises(AlreadyClosedError):
            await soon(handle.set(text("x")))


async def test_an_update_whose_workflow_ends_first(bench: Bench) -> None:
    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        waiting = asyncio.create_task(update.result())
        await asyncio.sleep(0)
        await handle.go(text("go"))
        with pytest.raises(UpdateFailedError):
            await soon(waiting)
        with pytest.raises(UpdateFailedError):
            await soon(update.result())


async def test_terminate_during_an_update(bench: Bench) -> None:
    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        waiting = asyncio.create_task(update.result())
        await asyncio.sleep(0)
        await handle.terminate(reason="enough")
        with pytest.raises(UpdateFailedError):
            await soon(waiting)
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())


async def test_an_update_that_nobody_has_taken_when_the_run_is_terminated(bench: Bench) -> None:
    handle = await bench.start()
    waiting = asyncio.create_task(handle.set(text("x")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await handle.terminate()
    with pytest.raises(AlreadyClosedError):
        await soon(waiting)


async def test_an_unknown_update_id(bench: Bench) -> None:
    async with bench.worker(Waiting):
        handle = await bench.start()
        await soon(handle.status(text("")))
        unknown = UpdateStarted(WorkflowRef(handle.id), "never")
        with pytest.raises(NotFoundError):
            await soon(bench.engine.update_result(unknown, handle.__protopact__.workflow.response))


async def test_update_with_start(bench: Bench) -> None:
    client = bench.client
    async with bench.worker(Waiting):
        handle, update = await soon(client.start_free_with_set(text("a"), text("x"), id=bench.id()))
        assert (await soon(update.result())).value == "new"
        with pytest.raises(AlreadyStartedError):
            await soon(client.start_free_with_set(text("a"), text("y"), id=bench.id()))
        same, update = await soon(
            client.start_free_with_set(
                text("a"), text("z"), id=bench.id(), id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING
            )
        )
        assert same.run_id == handle.run_id
        assert (await soon(update.result())).value == "x"
        with pytest.raises(UpdateFailedError):
            await soon(client.start_free_with_set(text("b"), text(""), id=bench.id("b")))
        assert (await client.free_handle(bench.id("b")).describe()).status.value == "Running"


async def test_update_with_start_that_is_sent_again(bench: Bench) -> None:
    client = bench.client
    async with bench.worker(Waiting):
        first, _ = await soon(client.start_free_with_set(text("a"), text("x"), id=bench.id(), request_id="once"))
        again, update = await soon(client.start_free_with_set(text("a"), text("y"), id=bench.id(), request_id="once"))
        assert again.run_id == first.run_id
        assert (await soon(update.result())).value == "x"


async def test_update_with_start_by_the_contracts_policies_and_ids(bench: Bench) -> None:
    class Declared(suite.Declared):
        def __init__(self, request: Document) -> None:
            self.title = request.title

        async def run(self, request: Document) -> Document:
            await self.go.receive()
            return Document(title=self.title)

        async def rename(self, request: Document) -> Document:
            before, self.title = self.title, request.title
            return Document(title=before)

    document = Document(title=bench.place.name, inner=Text(value="x"), number=5)
    document.at.FromSeconds(1_767_225_600)
    async with bench.worker(Declared):
        client = bench.client
        first, update = await soon(client.start_declared_with_rename(document, Document(title="one")))
        assert update.id == "rename/one"
        assert (await soon(update.result())).title == bench.place.name
        same, again = await soon(client.start_declared_with_rename(document, Document(title="one")))
        assert same.run_id == first.run_id, "USE_EXISTING, as the contract says"
        assert (await soon(again.result())).title == bench.place.name, "the id says that it is the same update"
        assert (await soon(first.rename(Document(title="two")))).title == "one"
        await first.go(text(""))
        assert (await soon(first.result())).title == "two"


async def test_an_update_waits_for_a_worker(bench: Bench) -> None:
    handle = await bench.start()
    waiting = asyncio.create_task(handle.set(text("x")))
    await asyncio.sleep(0)
    async with bench.worker(Waiting):
        assert (await soon(waiting)).value == "new"


async def test_a_bug_in_an_update_is_cured_by_a_fix(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    class Buggy(Waiting):
        async def set(self, request: Text) -> Text:
            raise KeyError("a bug")

    async with bench.worker(Buggy):
        handle = await bench.start(task_timeout=QUICKLY)
        waiting = asyncio.create_task(handle.set(text("x")))
        await bench.until_parked(handle)
    async with bench.worker(Waiting, build_id="fixed"):
        assert (await soon(waiting)).value == "new"


async def test_a_workflow_updates_itself_through_its_activity(bench: Bench) -> None:
    class Calling(Lab):
        async def echo(self, request: Text) -> Text:
            return await bench.client.free_handle(bench.id()).set(text("from within"))

    class Both(Waiting):
        async def run(self, request: Text) -> Text:
            reply = await suite.echo(request)
            return text(f"{reply.value} {self.state}")

    async with bench.worker(Both, activities=[Calling()]):
        assert await bench.run() == "new from within"


async def test_updates_that_wait_for_each_other(bench: Bench) -> None:
    class Turns(Waiting):
        async def set(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: self.state == request.value)
            self.state = f"{request.value}+"
            return text(self.state)

        async def run(self, request: Text) -> Text:
            self.state = (await self.go.receive()).value
            await workflow.wait_condition(workflow.all_handlers_finished)
            return text(self.state)

    async with bench.worker(Turns):
        handle = await bench.start()
        second = await soon(handle.start_set(text("a+"), wait_for_stage=WaitForStage.ACCEPTED))
        first = await soon(handle.start_set(text("a"), wait_for_stage=WaitForStage.ACCEPTED))
        await handle.go(text("a"))
        assert (await soon(first.result())).value == "a+"
        assert (await soon(second.result())).value == "a++"
        assert (await soon(handle.result())).value == "a++"


async def test_a_validator_never_runs_on_replay(bench: Bench) -> None:
    validated = list[str]()

    class Careful(Waiting):
        def validate_set(self, request: Text) -> None:
            validated.append(request.value)

    async with bench.worker(Careful, max_cached_workflows=0):
        handle = await bench.start()
        for value in ("a", "b"):
            await soon(handle.set(text(value)))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go b"
    assert validated == ["a", "b"]


async def test_handlers_that_are_left_running_are_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Waiting):
        async def set(self, request: Text) -> Text:
            return await self.note.receive()

    async with bench.worker(Slow):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        await handle.go(text("go"))
        await soon(handle.result())
        with pytest.raises(UpdateFailedError):
            await soon(update.result())
    assert "ended while handlers were still running: suite.v1.SuiteService.Set;" in caplog.text
