"""A workflow whose code is whatever a test says, run to its first answer."""

from __future__ import annotations

from collections.abc import Callable

from tests.replay.bench import definition, execution, recorded
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact import workflow
from protopact.determinism import guard
from protopact.errors import NondeterministicCallError, WorkflowTaskError
from protopact.history.event import UpdateRequest
from protopact.history.failure import Failure
from protopact.payload.payload import Payloads
from protopact.replay.advance import QueryRequest
from protopact.replay.command import Command, CompleteWorkflowExecution

__all__ = ["ask", "refusal", "run", "run_class", "update"]

guard.install()

_BEGIN = [event for event in recorded("chatty_open") if event.event_id <= 4]


def run(calls: Callable[[], object]) -> tuple[Command, ...]:
    """The answer of a workflow whose `run` calls something."""

    class Calls(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            calls()
            return Outcome()

    return run_class(Calls)


def run_class(cls: type[workflow.Workflow]) -> tuple[Command, ...]:
    """The answer of a workflow class to its first task."""
    history = recorded("doomed")
    started = execution(cls, history)
    try:
        return started.advance(history[:3]).commands
    finally:
        started.unwind()


def refusal(call: Callable[[], object]) -> str | None:
    """Why the guard refuses something that `run` calls; None when it does not."""
    try:
        answer = run(call)
    except WorkflowTaskError as error:
        if isinstance(error.__cause__, NondeterministicCallError):
            return str(error.__cause__)
        raise
    assert isinstance(answer[-1], CompleteWorkflowExecution)
    return None


def _chatting(calls: Callable[[], object]) -> type[histories.Chatty]:
    class Chats(histories.Chatty):
        async def run(self, request: Job) -> Outcome:
            await workflow.wait_condition(lambda: False)
            return Outcome()

        async def on_nudge(self, request: Nudge) -> None:
            pass

        async def on_finish(self, request: Nudge) -> None:
            pass

        def peek(self, request: Nudge) -> Reading:
            calls()
            return Reading()

        async def add(self, request: Nudge) -> Reading:
            return Reading()

        def validate_add(self, request: Nudge) -> None:
            calls()

    return Chats


def ask(calls: Callable[[], object]) -> Payloads | Failure:
    """What a query that calls something is answered with."""
    cls = _chatting(calls)
    asked, contract = execution(cls, _BEGIN), cls.__protopact__()
    asked.advance(_BEGIN)
    answer = asked.query(QueryRequest(name=contract.queries[0].name, args=_nudge(cls)))
    asked.unwind()
    return answer


def update(calls: Callable[[], object]) -> tuple[Command, ...]:
    """The answer to an update whose validator calls something."""
    cls = _chatting(calls)
    asked, contract = execution(cls, _BEGIN), cls.__protopact__()
    request = UpdateRequest(update_id="u", name=contract.updates[0].update.name, args=_nudge(cls))
    try:
        return asked.advance(_BEGIN, updates=[request]).commands
    finally:
        asked.unwind()


def _nudge(cls: type[workflow.Workflow]) -> Payloads:
    query = cls.__protopact__().queries[0]
    return definition(cls).converter.to_payloads(query.request, Nudge(), "a test")
