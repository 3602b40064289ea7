"""Local activities: what programs see and what is said of them, event for event as Temporal's Replayer has it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow as temporal
from temporalio.common import RetryPolicy as TheirRetryPolicy
from tests.replay.bench import execution
from tests.replay.histories.v1.histories_pb2 import Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.oracle import ERROR, NONDETERMINISM
from tests.replay.stories import (
    OURS,
    SECOND,
    START,
    Cases,
    Command,
    Ours,
    P,
    Program,
    Story,
    ends,
    payloads,
    playing,
    timer,
    work,
)

from protopact.history import event as ev
from protopact.history.failure import ApplicationFailureInfo, CanceledFailureInfo, Failure
from protopact.payload.payload import Payload, Payloads
from protopact.policy import ActivityCancellationType, RetryPolicy
from protopact.replay.command import LocalActivityOutcome, RecordMarker, ScheduleActivityTask

_JSON = {"encoding": b"json/plain"}
_READING: Any = histories.Program.__protopact__().updates[0].update.response


class Local(Program):
    """A program that can call activities locally."""

    def local(self, name: str, kind: str = "TRY_CANCEL", threshold: float = 60) -> asyncio.Task[Reading]:
        if self.sdk is OURS:
            return histories.Local.work(
                Step(name=name),
                cancellation_type=ActivityCancellationType[kind],
                local_retry_threshold=timedelta(seconds=threshold),
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=2)),
            )
        return temporal.start_local_activity(
            P + "Work",
            Step(name=name),
            result_type=Reading,
            start_to_close_timeout=timedelta(seconds=10),
            cancellation_type=temporal.ActivityCancellationType[kind],
            local_retry_threshold=timedelta(seconds=threshold),
            retry_policy=TheirRetryPolicy(initial_interval=timedelta(seconds=2)),
        )


def instant(seconds: float) -> dict[str, int]:
    return dict(zip(("seconds", "nanos"), divmod(START + int(seconds * SECOND), SECOND), strict=True))


def marker(
    seq: int,
    value: int = 1,
    *,
    index: int | None = None,
    at: float = 0,
    name: str = "Work",
    activity_id: str = "",
    failure: Failure | None = None,
    backoff: float = 0,
    attempt: int = 1,
) -> Command:
    data = {
        "seq": seq,
        "attempt": attempt,
        "activity_id": activity_id or str(seq),
        "activity_type": name if "." in name else P + name,
        "complete_time": instant(at) if at else None,
        "backoff": {"seconds": int(backoff), "nanos": 0} if backoff else None,
        "original_schedule_time": instant(0),
    }
    if index is not None:
        data["activation_index"] = index
    details: dict[str, Payloads] = {"data": (Payload(_JSON, json.dumps(data).encode()),)}
    if failure is None:
        details["result"] = payloads(_READING, Reading(value=value))
    return lambda _: ev.MarkerRecorded(marker_name="core_local_activity", details=details, failure=failure)


BROKEN = Failure("broken", ApplicationFailureInfo(type="Broken"))
CANCELLED = Failure("Activity cancelled", CanceledFailureInfo())


CASES = Cases()

judged = CASES.judged


def told(*commands: Command, flags: bool = True) -> Story:
    return Story(flags=flags).task().answer(*commands)


class InTurn(Local):
    async def run(self) -> None:
        for n in range(3):
            self.note(n, (await self.local(f"{n}")).value)
        await self.sdk.work("a")


IN_TURN = [marker(n, n, index=n, at=4 + n) for n in (1, 2, 3)]

judged("one after the other", InTurn, told(*IN_TURN, work("4")).returns("4").task().answer(ends()))
judged("open", InTurn, told(*IN_TURN, work("4")).returns("4").task())
judged("without groups", InTurn, told(*[marker(n, n, at=4 + n) for n in (1, 2, 3)], work("4")))
judged("all in the first group", InTurn, told(*[marker(n, n, index=0) for n in (1, 2, 3)], work("4")))
judged("all in a late group", InTurn, told(*[marker(n, n, index=9) for n in (1, 2, 3)], work("4")))
judged("time does not go back", InTurn, told(*[marker(n, n, index=n, at=9 - n) for n in (1, 2, 3)], work("4")))
judged("swapped markers", InTurn, told(IN_TURN[1], IN_TURN[0], IN_TURN[2], work("4")), NONDETERMINISM)
judged("a marker missing", InTurn, told(*IN_TURN[:2], work("4")), NONDETERMINISM)
judged("a marker twice", InTurn, told(*IN_TURN, IN_TURN[2], work("4")), ERROR)
judged("another type", InTurn, told(*IN_TURN[:2], marker(3, name="Break"), work("4")), NONDETERMINISM)
judged("another id", InTurn, told(*IN_TURN[:2], marker(3, activity_id="x"), work("4")), NONDETERMINISM)
judged("another id, without flags", InTurn, told(*IN_TURN[:2], marker(3, activity_id="x"), work("4"), flags=False))
judged("markers before what is not local", InTurn, told(work("4"), *IN_TURN))


class AtOnce(Local):
    async def one(self, name: str) -> None:
        self.note(name, (await self.local(name)).value)

    async def run(self) -> None:
        handle = self.sdk.work("remote")
        await asyncio.gather(*[self.one(f"{n}") for n in range(4)])
        self.note("all")
        await handle


def at_once(*indices: int | None) -> Story:
    """Four markers, in another order than that of the calls, in these groups."""
    markers = [marker(seq, seq, index=index, at=4 + seq / 10) for seq, index in zip((3, 2, 5, 4), indices, strict=True)]
    return told(work("1"), *markers).returns("1").task().answer(ends())


judged("at once, each in a group", AtOnce, at_once(1, 2, 3, 4))
judged("at once, without groups", AtOnce, at_once(None, None, None, None))
judged("at once, some grouped", AtOnce, at_once(None, 2, None, 3))
judged("at once, in groups of two", AtOnce, at_once(1, 1, 2, 2))
judged("at once, in groups that skip", AtOnce, at_once(2, 4, 4, 7))
judged("at once, in groups that go back", AtOnce, at_once(3, 1, 2, 1))


class Fails(Local):
    async def run(self) -> None:
        results = await asyncio.gather(self.local("a"), self.local("b"), return_exceptions=True)
        for each in results:
            self.note(type(each).__name__, str(getattr(each, "cause", None)), isinstance(each, Reading))
        await self.sdk.work("c")


judged("one fails", Fails, told(marker(1, index=1), marker(2, index=2, failure=BROKEN), work("3")))
judged("both fail", Fails, told(marker(1, index=1, failure=BROKEN), marker(2, index=2, failure=BROKEN), work("3")))


class BacksOff(Local):
    async def run(self) -> None:
        self.note("returned", (await self.local("a", threshold=1)).value)
        await self.sdk.work("b")


def backed_off() -> Story:
    first = told(marker(1, index=1, at=4, failure=BROKEN, backoff=2), timer("1", 2)).fires("1").task()
    return first.answer(marker(2, 7, index=1, at=9, attempt=2), work("3"))


judged("a long wait between attempts", BacksOff, backed_off().returns("3").task().answer(ends()))
judged("a long wait, open", BacksOff, backed_off())


class Cancels(Local):
    kind = "TRY_CANCEL"
    at_once = False

    async def run(self) -> None:
        handle = self.local("a", self.kind)
        if not self.at_once:
            self.note((await self.local("b")).value)
        self.note(handle.cancel(), handle.cancel())
        results = await asyncio.gather(handle, return_exceptions=True)
        self.note(type(results[0]).__name__, type(getattr(results[0], "cause", None)).__name__)
        await self.sdk.work("c")


for each in ("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"):
    for before in (True, False):
        program = type(f"Cancels{each}", (Cancels,), {"kind": each, "at_once": before})
        ended = marker(
            1, index=0 if before else 1, failure=CANCELLED, at=0 if each != "WAIT_CANCELLATION_COMPLETED" else 5
        )
        late = marker(1, index=2, failure=CANCELLED, at=5)
        markers = [ended] if before else [marker(2, index=1, at=4), ended]
        seq = "2" if before else "3"
        title = f"cancelled {'before it began' if before else 'while it ran'}, {each}"
        judged(title, program, told(*markers, work(seq)).returns(seq).task().answer(ends()))
        if not before:
            judged(f"{title}, later", program, told(marker(2, index=1, at=4), late, work(seq)))
            judged(f"{title}, but it had returned", program, told(marker(1, index=1), marker(2, index=2), work(seq)))


class CancelsLater(Cancels):
    async def run(self) -> None:
        handle = self.local("a", self.kind)
        await self.sdk.sleep(1)
        self.note(handle.cancel())
        results = await asyncio.gather(handle, return_exceptions=True)
        self.note(type(results[0]).__name__, type(getattr(results[0], "cause", None)).__name__)
        await self.sdk.work("c")


for each in ("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"):
    # Its first task was answered while the activity ran, which the open one has run again.
    title = f"called in a task, cancelled in an open one, {each}"
    judged(title, type(f"CancelsLater{each}", (CancelsLater,), {"kind": each}), told(timer("1", 1)).fires("1").task())


class FromASignal(Local):
    async def nudge(self, note: str) -> None:
        self.note(note, (await self.local(note)).value)

    async def run(self) -> None:
        self.note("run", (await self.local("run")).value)
        await super().run()


judged(
    "of a signal and of the run",
    FromASignal,
    Story()
    .nudge("early")
    .task()
    .answer(marker(2, index=1, at=4), marker(1, index=2, at=5))
    .nudge("late")
    .task()
    .answer(marker(3, index=1, at=12))
    .finish()
    .task()
    .answer(ends()),
)
judged(
    "of a task that was only a heartbeat",
    InTurn,
    Story().task().answer().task().answer(*IN_TURN, work("4")).returns("4").task().answer(ends()),
)
judged(
    "called in a task, marked in a later one",
    InTurn,
    Story().task().answer().nudge("a").task().answer(*IN_TURN, work("4")).returns("4").task().answer(ends()),
)


def unreadable() -> Command:
    return lambda _: ev.MarkerRecorded(marker_name="core_local_activity", details={})


judged("a marker that cannot be read", InTurn, told(unreadable(), work("1")), ERROR)
judged("a marker that nobody asks for", Program, told(marker(1)), NONDETERMINISM)


@pytest.mark.parametrize("name", CASES)
async def test_it_is_told_alike(name: str) -> None:
    await CASES[name].check()


def test_what_is_run_again_and_waited_for_is_cancelled_by_the_shell() -> None:
    program = type("Waits", (CancelsLater,), {"kind": "WAIT_CANCELLATION_COMPLETED"})
    story = told(timer("1", 1)).fires("1").task()
    with playing(program):
        run = execution(Ours, story.events)
        advance = run.advance(story.events)
        assert [request.seq for request in advance.local_activities] == [1]
        assert advance.cancelled_local_activities == (1,)
        advance = run.resolve(LocalActivityOutcome(seq=1, attempt=1, failure=CANCELLED))
        run.unwind()
    assert not advance.is_waiting
    assert [type(command) for command in advance.commands] == [RecordMarker, ScheduleActivityTask]
