"""Activities that are completed from outside: their tokens, and how what is told of them reaches their run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from protopact.completion import ActivityRef
from protopact.embedded.inbox import AttemptHeartbeat, Outcome
from protopact.engine import WorkflowRef
from protopact.errors import AsyncActivityCancelledError, NotFoundError, OptionError

if TYPE_CHECKING:
    from protopact.embedded.activity import Activity
    from protopact.embedded.records import ActivityRow, RunRow
    from protopact.embedded.run import Run
    from protopact.embedded.shell import Shell
    from protopact.embedded.tick import Caller, Tick

__all__ = ["Head", "TaskToken", "Tokens"]

Head: TypeAlias = tuple[int, int, str, int]
"""What every outcome begins with: event that scheduled the activity, attempt, identity, start of the attempt."""


class TaskToken(msgspec.Struct, frozen=True, array_like=True, tag="protopact.1"):
    """Names an attempt of an activity; MessagePack.

    Attributes:
        workflow_id: Workflow that called it.
        run_id: Run that called it.
        scheduled_event_id: Event that scheduled it.
        attempt: Number of the attempt.
    """

    workflow_id: str
    run_id: str
    scheduled_event_id: int
    attempt: int

    def encode(self) -> bytes:
        """As bytes."""
        return _encoder.encode(self)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder[TaskToken](TaskToken)


class Tokens:
    """The shell's desk for what is told of activities from outside."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def tell(
        self,
        tick: Tick,
        caller: Caller,
        ref: ActivityRef,
        outcome: Callable[[Head], Outcome | AttemptHeartbeat],
        *,
        is_cancellation: bool = False,
    ) -> None:
        """Deliver an outcome or a heartbeat.

        Args:
            tick: The tick.
            caller: Whom to answer.
            ref: Which activity.
            outcome: Makes what is delivered.
            is_cancellation: Whether it must have been asked to cancel.

        Raises:
            NotFoundError: It is not open, or the token is of an older attempt.
            OptionError: The token is none, or nobody has asked to cancel.
        """
        token = None if ref.task_token is None else _decoded(ref.task_token, self._shell.store.name)
        workflow = (
            WorkflowRef(ref.workflow_id, ref.run_id) if token is None else WorkflowRef(token.workflow_id, token.run_id)
        )
        found = self._shell.calls.find(tick, workflow)
        if found.status:
            raise NotFoundError(f"{ref} is not open: workflow {found.workflow_id} (run {found.run_id}) is closed")
        run = self._shell.hold(tick, found)
        activity = self._held(run, ref, token) if run is not None else self._row(found, ref, token)
        where = f"workflow {found.workflow_id} (run {found.run_id})"
        if activity is None or (activity.started_at is None and token is None):
            raise NotFoundError(f"{ref} is not open: it has ended or its attempt has not started, in {where}")
        if token is not None and token.attempt != activity.attempt:
            raise NotFoundError(
                f"{ref} is at attempt {activity.attempt}, and the token is of attempt {token.attempt}, in {where}; "
                "each attempt has a token of its own"
            )
        if self._has_ended(tick, found.key, activity.scheduled_event_id, activity.attempt):
            raise NotFoundError(f"{ref} is not open: it has ended, in {where}")
        is_cancelled = _is_cancelled(activity)
        if is_cancellation and not is_cancelled:
            raise OptionError(f"{ref} cannot be reported as cancelled: nobody has asked to cancel it, in {where}")
        started = tick.now if activity.started_at is None else activity.started_at
        item = outcome((activity.scheduled_event_id, activity.attempt, self._shell.identity, started))
        if run is not None:
            self._shell.delivery.apply(tick, run, item, None)
        else:
            self._shell.delivery.post(tick, found, item, None)
        if isinstance(item, AttemptHeartbeat) and is_cancelled:
            # The heartbeat is recorded, so this is an answer, not an error that would undo it.
            tick.refuse(caller, AsyncActivityCancelledError(f"{ref} was cancelled, in {where}"))
        else:
            tick.answer(caller)

    def _held(self, run: Run, ref: ActivityRef, token: TaskToken | None) -> Activity | None:
        if token is not None:
            activity = run.activities.get(token.scheduled_event_id)
        else:
            named = (each for each in run.activities.values() if each.event.activity_id == ref.activity_id)
            activity = next(named, None)
        if activity is not None:
            self._shell.dispatch.refresh_if_shared(run, activity)
        return activity

    def _row(self, found: Run | RunRow, ref: ActivityRef, token: TaskToken | None) -> ActivityRow | None:
        records = self._shell.records
        if token is not None:
            return records.activity(found.key, token.scheduled_event_id)
        return next((row for row in records.activities(found.key) if row.activity_id == ref.activity_id), None)

    def _has_ended(self, tick: Tick, key: int, scheduled_event_id: int, attempt: int) -> bool:
        """Whether an outcome of the attempt is on its way to the run already."""
        return any(
            isinstance(item, Outcome) and (item.scheduled_event_id, item.attempt) == (scheduled_event_id, attempt)
            for item in self._shell.records.inbox(key, tick.taken)
        )


def _is_cancelled(activity: Activity | ActivityRow) -> bool:
    return bool(getattr(activity, "cancel_requested", 0) or getattr(activity, "cancel_event_id", 0))


def _decoded(token: bytes, store: str) -> TaskToken:
    try:
        return _decoder.decode(token)
    except msgspec.DecodeError:
        raise OptionError(
            f"the task token is none that {store} has given: give the bytes of activity.info().task_token as they were"
        ) from None
