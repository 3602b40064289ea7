"""What workflow code does on Temporal, as on the embedded engine."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
import uuid
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Interceptor as TemporalInterceptor
from temporalio.worker import WorkflowInboundInterceptor, WorkflowOutboundInterceptor
from tests.devserver import DevServer
from tests.embedded.bench import find, kinds, text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import Lab, serving, soon

import protopact
from protopact import (
    ActivityError,
    AlreadyStartedError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    NotFoundError,
    QueryError,
    UpdateFailedError,
    WorkflowFailedError,
    workflow,
)
from protopact.engine import WorkflowRef
from protopact.errors import TerminatedError
from protopact.history.event import WorkflowTaskFailed
from protopact.temporal import TemporalWorkerOptions, replayer


class Free(lab.Free):
    """What the tests derive from."""

    def status(self, request: Text) -> Text:
        return request

    async def set(self, request: Text) -> Text:
        return request

    def validate_set(self, request: Text) -> None: ...


class Other(lab.Other):
    """A child that waits to be cancelled, or answers."""

    async def run(self, request: Text) -> Text:
        if request.value == "wait":
            await asyncio.sleep(3600)
        if request.value == "fail":
            raise ApplicationError("child failed", 17, type="Mine")
        return text(f"child of {request.value}")


class Echoing(Free):
    """Waits for what it is told to wait for."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def on_go(self, request: Text) -> None:
        self.said.append(request.value)

    async def run(self, request: Text) -> Text:
        await workflow.wait_condition(lambda: "end" in self.said)
        return text(",".join(self.said))


async def test_what_code_sees_of_its_run(temporal_server: DevServer) -> None:
    class Seeing(Free):
        async def run(self, request: Text) -> Text:
            info = workflow.info()
            assert info.workflow_type == "lab.v1.LabService.Free"
            assert info.task_queue == "lab"
            assert info.attempt == 1
            assert info.parent is None
            assert info.first_run_id == info.run_id
            assert info.get_current_history_length() == 3
            assert not info.is_continue_as_new_suggested()
            assert workflow.in_workflow()
            assert workflow.uuid4() != workflow.uuid4()
            assert workflow.now().timestamp() == pytest.approx(workflow.time_ns() / 1e9)
            assert workflow.all_handlers_finished()
            workflow.upsert_memo({"one": "ä", "two": "2"})
            workflow.upsert_memo({"two": None})
            workflow.upsert_search_attributes({"Count": 3, "Stage": "first", "Tags": ["a", "b"], "Hot": True})
            workflow.upsert_search_attributes({"Stage": None})
            assert workflow.memo() == {"one": "ä"}
            assert workflow.search_attributes() == {"Count": 3, "Tags": ["a", "b"], "Hot": True}
            assert workflow.patched("new")
            workflow.deprecate_patch("old")
            await workflow.sleep(timedelta(milliseconds=10))
            with pytest.raises(TimeoutError):
                await workflow.wait_condition(lambda: False, timeout=0.01)
            with pytest.raises(ValueError, match="must not be negative"):
                await workflow.sleep(-1)
            assert workflow.search_attributes() == {"Count": 3, "Tags": ["a", "b"], "Hot": True}
            return text(info.workflow_id)

    async with serving(temporal_server.url, [Seeing]) as bench:
        handle = await bench.start()
        assert (await soon(handle.result())).value == handle.id
        described = await handle.describe()
        assert described.memo == {"one": "ä"}
        assert described.search_attributes.keys() >= {"Count", "Tags", "Hot"}


async def test_activities_and_their_failures(temporal_server: DevServer) -> None:
    class Failing(Lab):
        async def echo(self, request: Text) -> Text:
            if request.value == "fail":
                raise ApplicationError("no", text("detail"), type="Mine", non_retryable=True)
            return await super().echo(request)

    class Calling(Free):
        async def run(self, request: Text) -> Text:
            handle = lab.echo(text("one"), activity_id="first", start_to_close_timeout=timedelta(seconds=5))
            assert isinstance(handle, asyncio.Task)
            both = await asyncio.gather(handle, lab.echo(text("two")), lab.Local.echo(text("three")))
            with pytest.raises(ActivityError) as raised:
                await lab.echo(text("fail"))
            cause = raised.value.cause
            assert isinstance(cause, ApplicationError)
            assert (cause.type, cause.message, cause.non_retryable) == ("Mine", "no", True)
            assert cause.details.get(0, Text).value == "detail"
            assert raised.value.activity_type == "lab.v1.LabService.Echo"
            with pytest.raises(ApplicationError, match="no"):
                await lab.Local.echo(text("fail"))
            with pytest.raises(protopact.MessageMismatchError):
                lab.echo("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            beat = await lab.beat(text("x"))
            return text(" ".join(each.value for each in both) + f" {beat.value}")

    async with serving(temporal_server.url, [Calling], activities=Failing()) as bench:
        assert await bench.run() == "one! two! three! 6"


async def test_side_effects(temporal_server: DevServer) -> None:
    class Drawing(Free):
        async def run(self, request: Text) -> Text:
            drawn = await workflow.side_effect(lambda: str(uuid.uuid4()), str)

            async def later() -> Text:
                await asyncio.sleep(0)
                return text(time.ctime())

            told = await workflow.side_effect(later, Text)
            with pytest.raises(ApplicationError, match="no str"):
                await workflow.side_effect(lambda: 1, str)  # type: ignore[arg-type,return-value]
            with pytest.raises(ApplicationError, match="ouch") as raised:
                await workflow.side_effect(ouch, str)
            assert raised.value.type == "ValueError"
            return text(f"{drawn} {told.value}")

    def ouch() -> str:
        raise ValueError("ouch")

    async with serving(temporal_server.url, [Drawing]) as bench:
        handle = await bench.start()
        assert (await soon(handle.result())).value
        _, events = await bench.engine.workflow_history(WorkflowRef(handle.id))
        assert kinds(events).count("MarkerRecorded") == 4


async def test_signals_queries_and_updates(temporal_server: DevServer) -> None:  # noqa: C901 - one of each
    class Handling(Free):
        def __init__(self) -> None:
            self.states: list[str] = ["new"]

        async def run(self, request: Text) -> Text:
            first = await self.go.receive()
            await workflow.wait_condition(lambda: "set" in self.states)
            return text(f"{first.value} {self.go.pending}")

        def status(self, request: Text) -> Text:
            if request.value == "write":
                workflow.random()
            if request.value == "task":
                asyncio.get_running_loop().call_soon(print)
            if request.value == "fail":
                raise ApplicationError("no", type="Mine")
            return text(",".join(self.states))

        async def set(self, request: Text) -> Text:
            if request.value == "fail":
                raise ApplicationError("failed", type="Mine")
            await workflow.sleep(0.01)
            self.states.append(request.value)
            return text(f"was {self.states[-2]}")

        def validate_set(self, request: Text) -> None:
            if not request.value:
                raise ApplicationError("empty", type="Empty")

    async with serving(temporal_server.url, [Handling]) as bench:
        handle = await bench.start()
        assert (await soon(handle.status(text("")))).value == "new"
        for value, message in (("write", "must change nothing"), ("task", "must change nothing"), ("fail", "no")):
            with pytest.raises(QueryError, match=message):
                await soon(handle.status(text(value)))
        for value, message in (("", "empty"), ("fail", "failed")):
            with pytest.raises(UpdateFailedError) as raised:
                await soon(handle.set(text(value)))
            assert isinstance(raised.value.cause, ApplicationError)
            assert raised.value.cause.message == message
        await handle.go(text("one"))
        await handle.go(text("two"))
        assert (await soon(handle.set(text("set")))).value == "was new"
        assert (await soon(handle.result())).value == "one 1"


async def test_children(temporal_server: DevServer) -> None:
    class Parent(Free):
        async def run(self, request: Text) -> Text:
            prefix = workflow.info().workflow_id
            told = await lab.Other.execute_child(text("me"), id=f"{prefix}-a")
            with pytest.raises(ChildWorkflowError) as raised:
                await lab.Other.execute_child(text("fail"), id=f"{prefix}-b")
            assert isinstance(raised.value.cause, ApplicationError)
            assert raised.value.cause.details[0] == 17
            waiting = await lab.Other.start_child(
                text("wait"),
                id=f"{prefix}-c",
                cancellation_type=protopact.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            assert waiting.run_id
            with pytest.raises(AlreadyStartedError):
                await lab.Other.start_child(text("wait"), id=f"{prefix}-c")
            waiting.cancel(reason="enough")
            with pytest.raises(ChildWorkflowError) as raised:
                await waiting
            assert isinstance(raised.value.cause, CancelledError)
            with pytest.raises(FailureError):
                await lab.Free.external(f"{prefix}-none").go(text("x"))
            with pytest.raises(FailureError):
                await lab.Free.external(f"{prefix}-none").cancel()
            return told

    async with serving(temporal_server.url, [Parent, Other]) as bench:
        assert await bench.run() == "child of me"


async def test_signals_between_workflows(temporal_server: DevServer) -> None:
    class Sending(Other):
        async def run(self, request: Text) -> Text:
            child = await lab.Free.start_child(text("child"), id=f"{workflow.info().workflow_id}-child")
            await child.go(text("one"))
            await lab.Free.external(child.id).go(text("end"))
            return await child

    async with serving(temporal_server.url, [Sending, Echoing]) as bench:
        answer = await bench.client.execute_other(text("x"), id=f"sending-{uuid4()}")
        assert answer.value == "one,end"


async def test_continue_as_new(temporal_server: DevServer) -> None:
    class Counting(Free):
        async def run(self, request: Text) -> Text:
            number = int(request.value)
            if number == 2:
                with pytest.raises(protopact.ContinueAsNewError):
                    self.continue_as_new(text("9"))
            if number < 3:
                self.continue_as_new(text(str(number + 1)), memo={"round": str(number)})
            return text(f"{number} {workflow.memo()} {workflow.info().continued_run_id is not None}")

    async with serving(temporal_server.url, [Counting]) as bench:
        assert await bench.run("0") == "3 {'round': '2'} True"


async def test_cancellation(temporal_server: DevServer) -> None:
    class Cleaning(Free):
        async def run(self, request: Text) -> Text:
            try:
                await self.go.receive()
            except asyncio.CancelledError:
                await lab.echo(text("clean"))
                if request.value == "swallow":
                    return text("swallowed")
                raise
            return request

    async with serving(temporal_server.url, [Cleaning]) as bench:
        handle = await bench.start("raise")
        await handle.status(text(""))
        await handle.cancel(reason="enough")
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, CancelledError)
        handle = await bench.start("swallow")
        await handle.status(text(""))
        await handle.cancel()
        assert (await soon(handle.result())).value == "swallowed"
        handle = await bench.start("raise")
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailedError) as raised:
            await soon(handle.result())
        assert isinstance(raised.value.cause, TerminatedError)


@pytest.mark.parametrize("kind", ["value", "listed", "application", "timeout", "cancelled", "guard", "exit"])
async def test_what_fails_what(temporal_server: DevServer, kind: str) -> None:
    class ListedError(Exception): ...

    attempts: list[int] = []

    class Failing(Free, failure_exception_types=[ListedError]):
        async def run(self, request: Text) -> Text:
            attempts.append(1)
            match request.value:
                case "application":
                    raise ApplicationError("no", {"a": 1}, type="Mine")
                case "listed":
                    raise ListedError("no")
                case "timeout":
                    async with asyncio.timeout(0.01):
                        await asyncio.sleep(10)
                case "cancelled":
                    raise CancelledError("mine")
                case _ if len(attempts) > 1:
                    return text("cured")
                case "guard":
                    with contextlib.suppress(Exception):
                        vars(random)["random"]()
                    await asyncio.sleep(0)
                    return text("not seen")
                case "exit":
                    raise SystemExit(3)
                case _:
                    raise ValueError("no")
            return request

    expected: dict[str, tuple[type[BaseException], str | None]] = {
        "application": (ApplicationError, "Mine"),
        "listed": (ApplicationError, "ListedError"),
        "timeout": (ApplicationError, "TimeoutError"),
        "cancelled": (CancelledError, None),
    }
    async with serving(temporal_server.url, [Failing]) as bench:
        if kind in expected:
            with pytest.raises(WorkflowFailedError) as raised:
                await bench.run(kind)
            cause = raised.value.cause
            assert isinstance(cause, expected[kind][0])
            assert getattr(cause, "type", None) == expected[kind][1]
        else:
            handle = await bench.start(kind)
            assert (await soon(handle.result())).value == "cured"
            _, events = await bench.engine.workflow_history(WorkflowRef(handle.id))
            failed = find(events, WorkflowTaskFailed)
            assert failed.failure is not None
            assert failed.failure.message == {"value": "no", "exit": "SystemExit: 3"}.get(kind, failed.failure.message)


async def test_what_is_left_undone_is_logged(temporal_server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    class Leaving(Free):
        async def run(self, request: Text) -> Text:
            await workflow.wait_condition(lambda: self.go.pending > 0)
            return request

        async def set(self, request: Text) -> Text:
            await asyncio.sleep(3600)
            return request

    async with serving(temporal_server.url, [Leaving]) as bench:
        handle = await bench.start()
        await handle.start_set(text("x"))
        await handle.go(text("x"))
        await soon(handle.result())
    assert "are lost: lab.v1.LabService.Go" in caplog.text
    assert "handlers were still running: lab.v1.LabService.Set" in caplog.text


async def test_a_child_that_the_server_cannot_start(temporal_server: DevServer) -> None:
    caught: list[str] = []

    class Starting(Free):
        async def run(self, request: Text) -> Text:
            try:
                await lab.Other.start_child(request, id=f"{workflow.info().workflow_id}/taken")
            except (NotFoundError, AlreadyStartedError) as error:
                caught.append(str(error))
            return request

    async with serving(temporal_server.url, [Starting]) as bench:
        name = f"free-{uuid4()}"
        taken = await bench.client.start_other(text("x"), id=f"{name}/taken", task_queue="nobody's")
        handle = await bench.client.start_free(text("x"), id=name)
        await soon(handle.result())
        history = await handle.history()
        await taken.terminate()
    # Another namespace is what a contract cannot ask for; so the server's own record of a refusal is changed.
    written = history.to_json().replace("WORKFLOW_ALREADY_EXISTS", "NAMESPACE_NOT_FOUND")
    assert written != history.to_json()
    await replayer([Starting], sandboxed=False).replay_workflow(WorkflowHistory.from_json(name, written))
    assert "its id" in caught[0]
    assert re.fullmatch(r"child workflow lab.v1.LabService.Other '.*' could not be started: .*", caught[-1])


async def test_what_an_interceptor_of_the_sdk_raises_is_its_own(temporal_server: DevServer) -> None:
    class Outbound(WorkflowOutboundInterceptor):
        async def start_child_workflow(self, input: Any) -> Any:  # noqa: A002, ANN401 - the SDK's
            raise RuntimeError("no children today")

    class Inbound(WorkflowInboundInterceptor):
        def init(self, outbound: WorkflowOutboundInterceptor) -> None:
            super().init(Outbound(outbound))

    class Strict(TemporalInterceptor):
        def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:  # noqa: A002, ANN401 - as above
            return Inbound

    class Starting(Free):
        async def run(self, request: Text) -> Text:
            try:
                await lab.Other.start_child(request, id=f"{workflow.info().workflow_id}/child")
            except RuntimeError as error:
                return text(str(error))
            return request

    options = TemporalWorkerOptions(sandboxed=False, interceptors=[Strict()])
    async with serving(temporal_server.url, [Starting], temporal=options) as bench:
        assert await bench.run() == "no children today"


async def test_a_validator_that_is_not_deterministic_fails_the_task(temporal_server: DevServer) -> None:
    class Drawing(Free):
        async def run(self, request: Text) -> Text:
            await self.go.receive()
            return request

        def validate_set(self, request: Text) -> None:
            if request.value == "draw" and not drawn:
                drawn.append(1)
                vars(random)["random"]()

    drawn: list[int] = []
    async with serving(temporal_server.url, [Drawing]) as bench:
        handle = await bench.client.start_free(text(""), id=f"free-{uuid4()}", task_timeout=timedelta(seconds=1))
        assert (await soon(handle.set(text("draw")))).value == "draw"
        await handle.terminate()
        _, events = await bench.engine.workflow_history(WorkflowRef(handle.id))
    failed = find(events, WorkflowTaskFailed)
    assert failed.failure is not None
    assert "random" in failed.failure.message
