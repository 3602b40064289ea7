"""Messages of both libraries, of every field, empty, large, and too large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.conformance.bench import LASTING, Bench, Lab, Place, find, kinds, running, soon
from tests.conformance.betterproto2.suite.v1 import Document as BetterDocument
from tests.conformance.betterproto2.suite.v1 import Text as BetterText
from tests.conformance.betterproto2.suite.v1.suite_protopact import SuiteService as better
from tests.conformance.documents import BetterWorkflow, GoogleWorkflow, better_document, google_document
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text
from tests.payload.test_codec import Zip

from protopact import activity, workflow
from protopact.errors import (
    ActivityError,
    ApplicationError,
    MessageMismatchError,
    PayloadSizeError,
    WorkflowFailedError,
)
from protopact.history.event import WorkflowExecutionCompleted, WorkflowExecutionStarted
from protopact.payload import Encoding


class BetterLab(better.Activities):
    """The activities in the other library."""

    async def echo(self, request: BetterText) -> BetterText:
        return request

    async def beat(self, request: BetterText) -> BetterText:
        return request

    async def nothing(self) -> None:
        return None

    async def copy(self, request: BetterDocument) -> BetterDocument:
        return request


async def drive_google(bench: Bench) -> None:
    """What a client does that has google messages."""
    document = google_document(bench.place.name)
    handle = await bench.client.start_declared(document)
    assert (await soon(handle.rename(Document(title="renamed")))).title == "renamed"
    await handle.go(text("gone"))
    document.title = "renamed gone"
    assert await soon(handle.result()) == document
    failing = await bench.client.start_declared(Document(title=bench.place.name, code=7), id=bench.id("failing"))
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(failing.result())
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.details.get(0, Document) == google_document("detail")


async def drive_better(bench: Bench) -> None:
    """What a client does that has betterproto2's."""
    client = better.Client(bench.engine)
    document = better_document(bench.place.name)
    handle = await client.start_declared(document)
    assert (await soon(handle.rename(BetterDocument(title="renamed")))).title == "renamed"
    await handle.go(BetterText(value="gone"))
    document.title = "renamed gone"
    assert await soon(handle.result()) == document
    failing = await client.start_declared(BetterDocument(title=bench.place.name, code=7), id=bench.id("failing"))
    with pytest.raises(WorkflowFailedError) as raised:
        await soon(failing.result())
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.details.get(0, BetterDocument) == better_document("detail")


@pytest.mark.parametrize("encoding", ["json/protobuf", "binary/protobuf"])
@pytest.mark.parametrize("client", [drive_google, drive_better], ids=["google client", "betterproto2 client"])
@pytest.mark.parametrize("worker", [GoogleWorkflow, BetterWorkflow], ids=["google worker", "betterproto2 worker"])
async def test_every_field_between_the_libraries(
    place: Place, worker: type[workflow.Workflow], client: Callable[[Bench], Awaitable[None]], encoding: Encoding
) -> None:
    activities = Lab() if worker is GoogleWorkflow else BetterLab()
    async with place.connect(encoding=encoding) as bench, bench.worker(worker, activities=[activities]):
        await client(bench)


@pytest.mark.parametrize("encoding", ["json/protobuf", "binary/protobuf"])
async def test_what_is_written(place: Place, encoding: Encoding) -> None:
    async with place.connect(encoding=encoding) as bench, bench.worker(Waiting):
        handle = await bench.start("a")
        await handle.go(text("go"))
        await soon(handle.result())
        history = await handle.history()
    for payload in (
        find(history, WorkflowExecutionStarted).input[0],
        find(history, WorkflowExecutionCompleted).result[0],
    ):
        assert payload.metadata == {"encoding": encoding.encode(), "messageType": b"suite.v1.Text"}


@LASTING
async def test_both_encodings_are_always_read(bench: Bench) -> None:
    async with bench.place.connect(encoding="binary/protobuf") as binary:
        started = await binary.start("a")
        await started.go(text("binary"))
    handle = bench.client.free_handle(started.id)
    async with bench.worker(Waiting):
        assert (await soon(handle.result())).value == "binary new"


async def test_nothing_an_empty_message_and_defaults_are_not_the_same(bench: Bench) -> None:
    class Quiet(suite.Quiet):
        async def run(self) -> None:
            await self.ping.receive()
            await suite.nothing()

        def peek(self) -> Text:
            return Text()

        async def touch(self) -> None:
            return None

    async with bench.worker(Quiet, Waiting, activities=[Lab()], max_cached_workflows=0):
        handle = await bench.client.start_quiet_with_ping(id=bench.id())
        await soon(handle.result())
        assert await soon(handle.peek()) == Text()
        history = await handle.history()
        empty = await bench.start()
        await empty.go(Text())
        assert (await soon(empty.result())).value == " new"
    assert find(history, WorkflowExecutionStarted).input == ()
    assert len(find(await empty.history(), WorkflowExecutionStarted).input) == 1


async def test_a_wrong_message_is_refused_where_it_is_made(bench: Bench) -> None:
    with pytest.raises(MessageMismatchError):
        await bench.client.start_free(Document(), id=bench.id())  # type: ignore[arg-type]  # what is refused
    with pytest.raises(MessageMismatchError):
        await bench.client.start_free(BetterText(value="x"), id=bench.id())  # type: ignore[arg-type]  # what is refused
    handle = await bench.start()
    with pytest.raises(MessageMismatchError):
        await handle.go(Document())  # type: ignore[arg-type]  # what is refused


# -- sizes

LIMIT = 2 * 1024 * 1024
LARGE = "x" * (LIMIT - 4096)
TOO_LARGE = "x" * (LIMIT + 1)


async def test_a_payload_of_two_megabytes(bench: Bench) -> None:
    class Large(Waiting):
        async def run(self, request: Text) -> Text:
            assert len(request.value) == len(LARGE)
            return await suite.echo(text(request.value[:-1]))

    async with bench.worker(Large, activities=[Lab()]):
        handle = await bench.start(LARGE)
        assert len((await soon(handle.result())).value) == len(LARGE)


async def test_a_request_that_is_too_large_is_refused_where_it_is_made(bench: Bench) -> None:
    with pytest.raises(PayloadSizeError):
        await bench.start(TOO_LARGE)
    async with bench.worker(Waiting):
        handle = await bench.start("a")
        for call in (handle.go, handle.set, handle.status):
            with pytest.raises(PayloadSizeError):
                await soon(call(text(TOO_LARGE)))
        await handle.go(text("go"))
        assert (await soon(handle.result())).value == "go new"


async def test_a_codec_may_make_it_fit(place: Place) -> None:
    class Changing(Waiting):
        async def run(self, request: Text) -> Text:
            signal = await self.go.receive()
            return await suite.echo(signal)

    class Leaving(Lab):
        async def echo(self, request: Text) -> Text:
            activity.heartbeat(TOO_LARGE)
            left.put_nowait(activity.info().task_token)
            activity.raise_complete_async()

    left = asyncio.Queue[bytes]()
    async with place.connect(codecs=[Zip()]) as bench, bench.worker(Changing, activities=[Leaving()]):
        handle = await bench.start(TOO_LARGE)
        assert (await soon(handle.set(text(TOO_LARGE)))).value == "new"
        assert len((await soon(handle.status(text("")))).value) == len(TOO_LARGE)
        await handle.go(text(TOO_LARGE))
        outside = bench.engine.async_activity_handle(suite.Activities.echo, task_token=await soon(left.get()))
        await outside.heartbeat(TOO_LARGE)
        await outside.complete(text(TOO_LARGE))
        assert (await soon(handle.result())).value == TOO_LARGE


async def test_a_result_that_is_too_large_fails_the_activity(bench: Bench) -> None:
    class Large(Lab):
        async def echo(self, request: Text) -> Text:
            return text(TOO_LARGE)

    async def code(request: Text) -> Text:
        return await suite.echo(request)

    async with bench.worker(running(code), activities=[Large()]):
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run("a")
    assert isinstance(raised.value.cause, ActivityError)


async def test_a_workflow_that_asks_for_too_much_does_not_loop(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    async def code(request: Text) -> Text:
        return await suite.echo(text(TOO_LARGE))

    async with bench.worker(running(code), activities=[Lab()]):
        handle = await bench.start("a")
        with pytest.raises(WorkflowFailedError):
            await soon(handle.result())
    assert kinds(await handle.history())[-1] == "WorkflowExecutionTerminated"
