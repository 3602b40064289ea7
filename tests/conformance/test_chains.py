"""Continue-as-new: chains of runs, what goes along, and who follows."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.conformance.bench import Bench, find, kinds, millis, running, soon
from tests.conformance.features import Descending
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.engine import WorkflowStatus
from protopact.errors import (
    AlreadyClosedError,
    MessageMismatchError,
    OptionError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    UpdateFailedError,
    WorkflowContinuedAsNewError,
    WorkflowFailedError,
)
from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.policy import RetryPolicy, WaitForStage


async def chain(bench: Bench, handle: suite.Free.Handle) -> list[list[Event]]:
    """The histories of a chain of runs, in order."""
    found, run_id = list[list[Event]](), handle.run_id
    while run_id:
        found.append(list(await bench.client.free_handle(handle.id, run_id=run_id).history()))
        run_id = getattr(found[-1][-1].attributes, "new_execution_run_id", "")
    return found


async def test_a_client_follows_the_chain(bench: Bench) -> None:
    async with bench.worker(Descending):
        handle = await bench.start("3")
        assert (await soon(handle.result())).value == "1 False False"
        with pytest.raises(WorkflowContinuedAsNewError) as raised:
            await soon(handle.result(follow_runs=False))
        exact = bench.client.free_handle(handle.id, run_id=raised.value.new_run_id)
        assert (await exact.describe()).status is WorkflowStatus.CONTINUED_AS_NEW
        assert (await soon(bench.client.free_handle(handle.id).result())).value == "1 False False"
    histories = await chain(bench, handle)
    assert len(histories) == 4
    starts = [find(history, WorkflowExecutionStarted) for history in histories]
    runs = [each.original_execution_run_id for each in starts]
    assert [each.continued_execution_run_id for each in starts] == ["", *runs[:3]]
    assert {each.first_execution_run_id for each in starts} == {handle.run_id}
    assert [each.initiator for each in starts] == ["", "WORKFLOW", "WORKFLOW", "WORKFLOW"]
    assert len(set(runs)) == 4


async def test_what_goes_along_and_what_is_said_anew(bench: Bench) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            match request.value:
                case "as it was":
                    self.continue_as_new(text("anew"))
                case "anew":
                    self.continue_as_new(
                        text("end"),
                        run_timeout=timedelta(minutes=7),
                        task_timeout=timedelta(seconds=7),
                        retry_policy=RetryPolicy(maximum_attempts=7),
                        memo={"who": "you"},
                        search_attributes={"Count": 7},
                        backoff_start_interval=millis(100),
                    )
                case _:
                    return text("end")

    async with bench.worker(Free):
        handle = await bench.start(
            "as it was",
            execution_timeout=timedelta(hours=1),
            run_timeout=timedelta(minutes=5),
            retry_policy=RetryPolicy(maximum_attempts=3),
            memo={"who": "me"},
            search_attributes={"Region": "north"},
        )
        await soon(handle.result())
    first, second, third = (find(each, WorkflowExecutionStarted) for each in await chain(bench, handle))
    same = ("workflow_execution_timeout", "workflow_id", "task_queue")
    for name in (*same, "workflow_run_timeout", "workflow_task_timeout", "retry_policy", "memo", "search_attributes"):
        assert getattr(second, name) == getattr(first, name), name
    for name in same:
        assert getattr(third, name) == getattr(first, name), name
    assert third.workflow_run_timeout == 7 * 60 * 10**9
    assert third.workflow_task_timeout == 7 * 10**9
    assert third.retry_policy is not None
    assert third.retry_policy.maximum_attempts == 7
    assert third.first_workflow_task_backoff == 100 * 10**6
    description = await bench.client.free_handle(handle.id).describe()
    assert (description.memo, description.search_attributes) == ({"who": "you"}, {"Count": 7})


async def test_the_execution_timeout_spans_the_chain(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        await workflow.sleep(0.1)
        suite.Free.continue_as_new(text("again"))

    async with bench.worker(running(code)):
        handle = await bench.start(execution_timeout=millis(900))
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, TimeoutError)
    ends = [kinds(history)[-1] for history in await chain(bench, handle)]
    assert ends[0] == "WorkflowExecutionContinuedAsNew"
    assert ends[-1] == "WorkflowExecutionTimedOut"


async def test_it_may_go_on_as_another_workflow(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        suite.Other.continue_as_new(text("other"))

    class Other(suite.Other):
        async def run(self, request: Text) -> Text:
            return text(f"{request.value} {workflow.info().workflow_type}")

    async with bench.worker(running(code), Other):
        assert await bench.run() == "other suite.v1.SuiteService.Other"


async def test_no_signal_is_lost_or_doubled(bench: Bench) -> None:
    class Free(Waiting):
        """Notes in its request what it was told, and continues after every third."""

        async def run(self, request: Text) -> Text:
            told = request.value
            for _ in range(3):
                told += (await self.go.receive()).value
                if told.endswith("."):
                    return text(told)
            while self.go.pending:
                told += (await self.go.receive()).value
                if told.endswith("."):
                    return text(told)
            self.continue_as_new(text(told))

    words = [*"abcdefghijklmnopqrstuvwxyz", "."]
    async with bench.worker(Free):
        handle = await bench.start()
        latest = bench.client.free_handle(handle.id)
        for word in words:
            await latest.go(text(word))
        assert (await soon(handle.result())).value == "".join(words)


async def test_a_signal_while_it_continues_reaches_one_run_or_the_other(bench: Bench) -> None:
    class Free(Waiting):
        """Continues at each signal of its own, until all of the client's are there."""

        async def run(self, request: Text) -> Text:
            told = request.value
            while True:
                await workflow.wait_condition(lambda: self.go.pending > 0, timeout=60)
                while self.go.pending:
                    told += (await self.go.receive()).value
                if len(told) == 30:
                    return text(told)
                self.continue_as_new(text(told))

    async with bench.worker(Free):
        handle = await bench.start()
        latest = bench.client.free_handle(handle.id)
        await asyncio.gather(*(latest.go(text(chr(ord("A") + number))) for number in range(30)))
        told = (await soon(handle.result())).value
    assert sorted(told) == [chr(ord("A") + number) for number in range(30)]


async def test_updates_whose_handlers_run_are_told_that_the_run_is_gone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")

    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if request.value == "next":
                return request
            await self.go.receive()
            self.continue_as_new(text("next"))

        async def set(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: False)
            return request

    async with bench.worker(Free):
        handle = await bench.start()
        update = await soon(handle.start_set(text("x"), wait_for_stage=WaitForStage.ACCEPTED))
        await handle.go(text(""))
        with pytest.raises(UpdateFailedError):
            await soon(update.result())
        assert (await soon(handle.result())).value == "next"


async def test_an_update_goes_to_the_run_that_is_there(bench: Bench) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            self.state = request.value
            await self.go.receive()
            await workflow.wait_condition(workflow.all_handlers_finished)
            self.continue_as_new(text(request.value + "+"))

    async with bench.worker(Free):
        handle = await bench.start("a")
        latest = bench.client.free_handle(handle.id)
        for _ in range(3):
            await latest.go(text(""))
            # Set by `run`, by the update before, or by nobody: it may come before `run` begins.
            assert (await soon(latest.set(text("x")))).value[0] in "axn"
        await latest.terminate()
        with pytest.raises(AlreadyClosedError):
            await soon(latest.set(text("x")))


async def test_a_request_or_an_option_that_is_wrong_is_told_at_the_call(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        with pytest.raises(MessageMismatchError):
            workflow.continue_as_new(suite.Free.__protopact__(), "text", {})
        with pytest.raises(OptionError):
            suite.Free.continue_as_new(request, run_timeout=timedelta(0))
        return request

    async with bench.worker(running(code)):
        assert await bench.run("a") == "a"


async def test_a_chain_can_be_terminated_by_its_first_handle(bench: Bench) -> None:
    class Free(Waiting):
        async def run(self, request: Text) -> Text:
            if not request.value:
                self.continue_as_new(text("again"))
            return await self.go.receive()

    async with bench.worker(Free):
        handle = await bench.start()
        while len(await chain(bench, handle)) < 2:
            await asyncio.sleep(0.01)
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
    assert isinstance(raised.value.cause, TerminatedError)


async def test_history_suggests_it(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        info = workflow.info()
        return text(
            f"{info.is_continue_as_new_suggested()} {info.get_current_history_length()} "
            f"{info.get_current_history_size() > 0}"
        )

    async with bench.worker(running(code)):
        assert (await bench.run()).split()[:2] == ["False", "3"]


async def test_random_numbers_and_ids_differ_between_runs_of_a_chain(bench: Bench) -> None:
    async def code(request: Text) -> Text:
        drawn = f"{request.value} {workflow.uuid4()} {workflow.random().random()}"
        if drawn.count(" ") < 6:
            suite.Free.continue_as_new(text(drawn))
        return text(drawn)

    async with bench.worker(running(code)):
        drawn = (await bench.run()).split()
    assert len(drawn) == len(set(drawn)) == 6
