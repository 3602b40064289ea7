"""One run in memory."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from protopact.history.event import Event, UpdateRequest
from protopact.history.failure import Failure
from protopact.payload.payload import Headers, Payloads
from protopact.replay.command import Command
from protopact.replay.definition import Definition

__all__ = ["Advance", "Execution", "QueryRequest"]


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`temporal.api.query.v1.WorkflowQuery`: the registered name of a query or an alias, and its encoded request."""

    name: str
    args: Payloads = ()
    header: Headers = {}


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks for after it was told events.

    Attributes:
        commands: The answer to the open workflow task, in the order in which it goes into history: every command becomes
            one event, save `RejectUpdate`, which becomes none. At most one command closes the run; it is the last but
            for rejections. Empty without an open task.
        core_used_flags: Flags of Temporal Core to record in this task's `WorkflowTaskCompleted`.
        lang_used_flags: Flags of the Python SDK to record there.
        is_closed: The run has ended: by one of `commands`, or by the last event it was told.
        unfinished_handlers: Names of signal and update handlers that were still running when the run ended; the engine
            warns of them.
    """

    commands: tuple[Command, ...] = ()
    core_used_flags: tuple[int, ...] = ()
    lang_used_flags: tuple[int, ...] = ()
    is_closed: bool = False
    unfinished_handlers: tuple[str, ...] = ()


class Execution:
    """One run in memory: the workflow's coroutines, and how far they have come.

    It does no I/O, reads no clock and starts no thread. Call it from a plain callback, never from inside an asyncio
    task, and from one thread at a time. After any `WorkflowTaskError` the run in memory is of no use: `unwind` it, and
    make a new one from the whole history when the task is tried again.
    """

    def __init__(self, definition: Definition, *, workflow_id: str, run_id: str) -> None:
        """A run of which nothing has happened yet.

        Args:
            definition: The workflow class and what goes with it.
            workflow_id: Id of the workflow.
            run_id: Id of the run.
        """
        raise NotImplementedError

    def advance(self, events: Sequence[Event], *, updates: Sequence[UpdateRequest] = ()) -> Advance:
        """Tell the run what has happened, and take what it asks for.

        Args:
            events: The events since the last call, all of them the first time. They end with the `WorkflowTaskStarted`
                of the task to answer; without it nothing is answered, and what came after the last completed task is
                kept until a task starts.
            updates: Updates that arrived with the open task and are in no event yet. They run after the signals among
                `events`, in this order; their validators run. Each is answered by `AcceptUpdate` or `RejectUpdate`.

        Returns:
            Commands for the open task. They are not remembered as done: they count when they come back as events.

        Raises:
            NondeterminismError: The code does not produce the commands that the history holds.
            HistoryError: The events cannot be: a gap, an unknown type, an event that fits no command.
            WorkflowTaskError: The code raised an exception that fails the task; it is the cause.
        """
        raise NotImplementedError

    def drop_task(self) -> None:
        """Forget that the last task ever was, because nothing of it goes into history.

        For a task whose only events are its own `WorkflowTaskScheduled` and `WorkflowTaskStarted`, and that answered
        nothing but rejections of updates: the next events begin again at the id of that `WorkflowTaskScheduled`.
        """
        raise NotImplementedError

    def query(self, request: QueryRequest) -> Payloads | Failure:
        """Ask the run, in the state after its last activation. Open and closed runs answer; an unwound one does not.

        Returns:
            The encoded answer, or why there is none: unknown name, undecodable request, or what the method raised.
        """
        raise NotImplementedError

    def unwind(self) -> None:
        """Let go of the run: its coroutines are closed at once, and whatever they do on their way out has no effect.

        `finally` blocks run; an API of `protopact.workflow` that they call ends them. Idempotent.
        """
        raise NotImplementedError
