"""The same workflow with the messages of each library, where the sandbox imports it anew for each run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int32Value
from tests.conformance.betterproto2.suite.v1 import Colour as BetterColour
from tests.conformance.betterproto2.suite.v1 import Document as BetterDocument
from tests.conformance.betterproto2.suite.v1 import Text as BetterText
from tests.conformance.betterproto2.suite.v1.suite_protopact import SuiteService as better
from tests.conformance.google.suite.v1 import suite_pb2
from tests.conformance.google.suite.v1.suite_pb2 import Document, Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite

from protopact.errors import ApplicationError


def google_document(title: str) -> Document:
    """A document with a value in every field."""
    return Document(
        title=title,
        number=2**62,
        ratio=0.1,
        flag=True,
        data=b"\x00\xff",
        colour=suite_pb2.COLOUR_GREEN,
        words=["a", "ß", ""],
        counts={"one": 1, "": 0},
        at=Timestamp(seconds=1_767_225_600, nanos=123_456_000),
        span=Duration(seconds=90, nanos=5_000),
        inner=Text(value="inner"),
        word="",
        maybe=0,
        wrapped=Int32Value(value=0),
        pages=[Text(), Text(value="page")],
    )


def better_document(title: str) -> BetterDocument:
    """The same of the other library."""
    return BetterDocument(
        title=title,
        number=2**62,
        ratio=0.1,
        flag=True,
        data=b"\x00\xff",
        colour=BetterColour.GREEN,
        words=["a", "ß", ""],
        counts={"one": 1, "": 0},
        at=datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC),
        span=timedelta(seconds=90, microseconds=5),
        inner=BetterText(value="inner"),
        word="",
        maybe=0,
        wrapped=0,
        pages=[BetterText(), BetterText(value="page")],
    )


class GoogleWorkflow(suite.Declared):
    """Has its document copied by an activity, and renames it."""

    def __init__(self, request: Document) -> None:
        self.title = request.title

    async def run(self, request: Document) -> Document:
        if request.code == 7:
            raise ApplicationError("no", google_document("detail"), type="No", non_retryable=True)
        gone = await self.go.receive()
        copied = await suite.copy(request)
        assert copied == request
        local = await suite.Local.copy(request)
        assert local == request
        copied.title = f"{self.title} {gone.value}"
        return copied

    async def rename(self, request: Document) -> Document:
        self.title = request.title
        return request


class BetterWorkflow(better.Declared):
    """The same in the other library."""

    def __init__(self, request: BetterDocument) -> None:
        self.title = request.title

    async def run(self, request: BetterDocument) -> BetterDocument:
        if request.code == 7:
            raise ApplicationError("no", better_document("detail"), type="No", non_retryable=True)
        gone = await self.go.receive()
        copied = await better.copy(request)
        assert copied == request
        local = await better.Local.copy(request)
        assert local == request
        copied.title = f"{self.title} {gone.value}"
        return copied

    async def rename(self, request: BetterDocument) -> BetterDocument:
        self.title = request.title
        return request
