"""What the shell asks of a run, and what the run answers."""

from __future__ import annotations

import msgspec

from protopact.payload.payload import Headers, Payloads
from protopact.replay.command import Command, ScheduleLocalActivity

__all__ = ["Advance", "QueryRequest"]


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`temporal.api.query.v1.WorkflowQuery`: the registered name of a query or an alias, and its encoded request."""

    name: str
    args: Payloads = ()
    header: Headers = {}


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks for after it was told events.

    Attributes:
        commands: The answer to the open workflow task, in the order in which it goes into history: every command
            becomes one event, save `RejectUpdate`, which becomes none. At most one command closes the run; it is the
            last but for rejections. Empty without an open task.
        core_used_flags: Flags of Temporal Core to record in this task's `WorkflowTaskCompleted`.
        lang_used_flags: Flags of the Python SDK to record there.
        local_activities: Local activities to run now: there is no answer yet, and it goes on with `resolve`.
        cancelled_local_activities: Numbers of local activities to cancel now.
        is_waiting: Local activities run that the answer waits for: `commands` is empty.
        is_closed: The run has ended: by one of `commands`, or by the last event it was told.
        unfinished_handlers: Names of signal and update handlers that were still running when the run ended; the engine
            warns of them.
        unread_signals: Names of signals that were still waiting in their channels then; the engine warns of them.
    """

    commands: tuple[Command, ...] = ()
    core_used_flags: tuple[int, ...] = ()
    lang_used_flags: tuple[int, ...] = ()
    local_activities: tuple[ScheduleLocalActivity, ...] = ()
    cancelled_local_activities: tuple[int, ...] = ()
    is_waiting: bool = False
    is_closed: bool = False
    unfinished_handlers: tuple[str, ...] = ()
    unread_signals: tuple[str, ...] = ()
