"""A worker and a client written by hand on Temporal's Python SDK, as someone writes them who has not heard of us."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import NoneType
from typing import Any, TypeVar

from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from tests.interop.caller import Caller, Element, FailedError, Link, Run
    from tests.interop.relay.v1.relay_pb2 import (
        AmendRequest,
        AmendResponse,
        BreakRequest,
        Damage,
        FindNoteRequest,
        FindNoteResponse,
        GetNotesResponse,
        NoteRequest,
        RelayRequest,
        RelayResponse,
    )

__all__ = ["StockCaller", "stock_worker"]

M = TypeVar("M", bound=Message | None)

_TICK = "relay.v1.RelayService.Tick"
_SNAP = "relay.v1.RelayService.Snap"
_PING = "relay.v1.RelayService.Ping"
_ONCE = RetryPolicy(maximum_attempts=1)


def _failure(request: BreakRequest) -> ApplicationError:
    error = ApplicationError(request.message, request.damage, type=request.type, non_retryable=request.non_retryable)
    error.__cause__ = ApplicationError("a crack", type="CrackError")
    return error


@workflow.defn(name="relay.v1.RelayService.Relay")
class Relay:
    def __init__(self) -> None:
        self._notes: list[str] = []
        self._closed = False

    @workflow.run
    async def run(self, request: RelayRequest) -> RelayResponse:
        await workflow.execute_activity(
            _TICK, task_queue=request.task_queue, start_to_close_timeout=timedelta(seconds=30), retry_policy=_ONCE
        )
        await workflow.execute_child_workflow(_PING, task_queue=request.task_queue)
        self._notes.append("relayed")
        await workflow.wait_condition(lambda: self._closed)
        return RelayResponse(notes=self._notes)

    @workflow.signal(name="relay.v1.RelayService.Hurry")
    def hurry(self) -> None:
        self._notes.append("hurry")

    @workflow.signal(name="relay.v1.RelayService.Note")
    def note(self, request: NoteRequest) -> None:
        self._notes.append(request.text)

    @workflow.query(name="relay.v1.RelayService.GetNotes")
    def get_notes(self) -> GetNotesResponse:
        return GetNotesResponse(notes=self._notes)

    @workflow.query(name="relay.v1.RelayService.FindNote")
    def find_note(self, request: FindNoteRequest) -> FindNoteResponse:
        return FindNoteResponse(text=self._at(request.index))

    @workflow.update(name="relay.v1.RelayService.Amend")
    def amend(self, request: AmendRequest) -> AmendResponse:
        previous = self._at(request.index)
        self._notes[request.index] = request.text
        return AmendResponse(previous=previous)

    @amend.validator
    def validate_amend(self, request: AmendRequest) -> None:
        if not request.text:
            raise ApplicationError("a text is needed", Damage(part="text"), type="TextMissing")

    @workflow.update(name="relay.v1.RelayService.Close")
    def close(self) -> None:
        self._closed = True

    def _at(self, index: int) -> str:
        if not 0 <= index < len(self._notes):
            damage = Damage(part="notes", cents=len(self._notes))
            raise ApplicationError("there is no such note", damage, type="NoSuchNote")
        return self._notes[index]


@workflow.defn(name=_PING)
class Ping:
    @workflow.run
    async def run(self) -> None:
        pass


@workflow.defn(name="relay.v1.RelayService.Break")
class Break:
    @workflow.run
    async def run(self, request: BreakRequest) -> None:
        if not request.task_queue:
            raise _failure(request)
        await workflow.execute_activity(
            _SNAP,
            request,
            task_queue=request.task_queue,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=_ONCE,
        )


@activity.defn(name=_TICK)
async def tick() -> None:
    pass


@activity.defn(name=_SNAP)
async def snap(request: BreakRequest) -> None:
    raise _failure(request)


@asynccontextmanager
async def stock_worker(client: Client, task_queue: str) -> AsyncGenerator[None]:
    async with Worker(client, task_queue=task_queue, workflows=[Relay, Ping, Break], activities=[tick, snap]):
        yield


class StockCaller(Caller):
    """Calls by name, with google's messages and the SDK's own converter."""

    def __init__(self, client: Client, detail: type[Message]) -> None:
        super().__init__(detail)
        self._client = client

    def _handle(self, run: Run, response: type[M]) -> WorkflowHandle[Any, M]:
        return self._client.get_workflow_handle(run.id, result_type=response)

    async def start(self, run: Run, request: Message | None) -> None:
        await self._client.start_workflow(run.workflow, args=_args(request), id=run.id, task_queue=run.task_queue)

    async def signal_with_start(self, run: Run, request: Message, signal: Element[None], told: Message | None) -> None:
        await self._client.start_workflow(
            run.workflow,
            request,
            id=run.id,
            task_queue=run.task_queue,
            start_signal=signal.name,
            start_signal_args=_args(told),
        )

    async def update_with_start(self, run: Run, request: Message, update: Element[M], asked: Message) -> M:
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            run.workflow,
            request,
            id=run.id,
            task_queue=run.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        try:
            answer: M = await self._client.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType] # theirs
                update.name, asked, start_workflow_operation=start, result_type=update.response
            )
        except WorkflowUpdateFailedError as error:
            raise FailedError(str(error), tuple(_links(error.cause))) from error
        return answer

    async def result(self, run: Run, response: type[M]) -> M:
        try:
            return await self._handle(run, response).result()
        except WorkflowFailureError as error:
            raise FailedError(str(error), tuple(_links(error.cause))) from error

    async def signal(self, run: Run, signal: Element[None], request: Message | None) -> None:
        await self._handle(run, NoneType).signal(signal.name, args=_args(request))

    async def query(self, run: Run, query: Element[M], request: Message | None) -> M:
        handle = self._handle(run, NoneType)
        try:
            answer: M = await handle.query(query.name, args=_args(request), result_type=query.response)
        except WorkflowQueryFailedError as error:
            raise FailedError(str(error)) from error
        return answer

    async def update(self, run: Run, update: Element[M], request: Message | None) -> M:
        handle = self._handle(run, NoneType)
        try:
            answer: M = await handle.execute_update(  # pyright: ignore[reportUnknownMemberType] # an overload of theirs
                update.name, args=_args(request), result_type=update.response
            )
        except WorkflowUpdateFailedError as error:
            raise FailedError(str(error), tuple(_links(error.cause))) from error
        return answer


def _args(request: Message | None) -> list[Message]:
    return [] if request is None else [request]


def _links(error: BaseException | None) -> list[Link]:
    links: list[Link] = []
    while error is not None:
        match error:
            case ApplicationError():
                links.append(
                    Link("application", error.type or "", error.message, error.non_retryable, tuple(error.details))
                )
            case ActivityError():
                links.append(Link("activity", error.activity_type))
            case ChildWorkflowError():
                links.append(Link("child", error.workflow_type))
            case _:
                raise AssertionError(f"unexpected in a chain: {error!r}")
        error = error.__cause__
    return links
