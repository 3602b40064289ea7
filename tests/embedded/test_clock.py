"""Virtual time, the agenda, and ids."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta

import pytest

from protopact.embedded.agenda import Agenda
from protopact.embedded.clock import Ids, SystemClock, VirtualClock
from protopact.embedded.policies import Verdict, decide
from protopact.engine import WorkflowStatus
from protopact.history.time import Timestamp
from protopact.policy import WorkflowIdConflictPolicy, WorkflowIdReusePolicy


async def test_virtual_timers_fire_in_order_at_their_own_instant() -> None:
    clock = VirtualClock(0)
    fired = list[tuple[str, int]]()

    def note(name: str) -> None:
        fired.append((name, clock.now()))
        if name == "b":
            clock.call_at(Timestamp(clock.now() + 1), lambda: note("after b"))

    for when, name in ((30, "c"), (10, "a"), (20, "b"), (10, "a2")):
        clock.call_at(Timestamp(when * 1000), lambda name=name: note(name))  # type: ignore[misc]  # mypy infers no such lambda
    clock.call_at(Timestamp(15_000), lambda: note("never")).cancel()
    assert clock.next_timer == 10_000
    await clock.advance(timedelta(microseconds=25))
    assert fired == [("a", 10_000), ("a2", 10_000), ("b", 20_000), ("after b", 20_001)]
    assert clock.now() == 25_000
    await clock.advance(timedelta(seconds=1))
    assert fired[-1] == ("c", 30_000)


async def test_a_virtual_timer_whose_time_has_passed_fires_soon() -> None:
    clock = VirtualClock(1000)
    fired = asyncio.Event()
    clock.call_at(Timestamp(500), fired.set)
    assert not fired.is_set()
    await asyncio.wait_for(fired.wait(), 1)


async def test_what_a_timer_causes_happens_before_the_next_one() -> None:
    clock = VirtualClock(0)
    order = list[str]()

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        order.append(f"work at {clock.now()}")

    tasks = set[asyncio.Task[None]]()
    clock.call_at(Timestamp(1000), lambda: tasks.add(asyncio.create_task(work())))
    clock.call_at(Timestamp(2000), lambda: order.append("second"))
    await clock.advance(timedelta(microseconds=5))
    assert order == ["work at 1000", "second"]


async def test_the_machines_clock() -> None:
    clock = SystemClock()
    fired = asyncio.Event()
    when = Timestamp(clock.now() + 20_000_000)
    clock.call_at(Timestamp(clock.now() + 5_000_000), lambda: pytest.fail("was cancelled")).cancel()
    clock.call_at(when, fired.set)
    await asyncio.wait_for(fired.wait(), 1)
    assert time.time_ns() >= when


async def test_the_agenda_keeps_one_time_for_each_errand() -> None:
    clock = VirtualClock(0)
    woken = list[int]()
    agenda = Agenda(clock, lambda: woken.append(clock.now()))
    agenda.set(1, Timestamp(3000))
    agenda.set(2, Timestamp(2000))
    agenda.set(1, Timestamp(1000))
    agenda.set("x", Timestamp(1500))
    agenda.set("x", None)
    agenda.arm()
    await clock.advance(timedelta(microseconds=1))
    assert woken == [1000]
    assert agenda.take_due(clock.now(), 9) == [1]
    agenda.arm()
    await clock.advance(timedelta(microseconds=9))
    assert woken == [1000, 2000]
    assert agenda.take_due(clock.now(), 9) == [2]
    agenda.arm()
    assert clock.next_timer is None


async def test_the_last_time_of_many_counts() -> None:
    agenda = Agenda(VirtualClock(0), lambda: None)
    for when in range(100_000):
        agenda.set(when % 10, Timestamp(1_000_000 - when))
    assert agenda.take_due(Timestamp(2_000_000), 8) == list(reversed(range(2, 10)))
    assert agenda.take_due(Timestamp(2_000_000), 8) == [1, 0]


def test_ids() -> None:
    ids, same = Ids(7), Ids(7)
    now = Timestamp(1_767_225_600_123_456_789)
    run_ids = [ids.run_id(Timestamp(now + n * 1_000_000)) for n in range(100)]
    assert [same.run_id(Timestamp(now + n * 1_000_000)) for n in range(100)] == run_ids
    assert sorted(run_ids) == run_ids
    assert {uuid.UUID(run_id).version for run_id in run_ids} == {7}
    assert {uuid.UUID(run_id).variant for run_id in run_ids} == {uuid.RFC_4122}
    assert uuid.UUID(run_ids[0]).int >> 80 == 1_767_225_600_123
    requests = [ids.request_id() for _ in range(1000)]
    assert len(set(requests)) == 1000
    assert {uuid.UUID(request).version for request in requests} == {4}
    assert Ids().request_id() != Ids().request_id()


OPEN, CLOSED = WorkflowStatus.RUNNING, [status for status in WorkflowStatus if status is not WorkflowStatus.RUNNING]
FINE = {WorkflowStatus.COMPLETED, WorkflowStatus.CONTINUED_AS_NEW}


def test_who_gets_an_id() -> None:
    for reuse in WorkflowIdReusePolicy:
        for conflict in WorkflowIdConflictPolicy:
            for same_type in (True, False):

                def verdict(status: WorkflowStatus | None) -> Verdict:
                    return decide(status, same_type=same_type, reuse=reuse, conflict=conflict)  # noqa: B023 - used within

                assert verdict(None) is Verdict.START
                assert (
                    verdict(OPEN)
                    is {
                        WorkflowIdConflictPolicy.FAIL: Verdict.REFUSE,
                        WorkflowIdConflictPolicy.USE_EXISTING: Verdict.USE_EXISTING,
                        WorkflowIdConflictPolicy.TERMINATE_EXISTING: Verdict.TERMINATE_AND_START,
                        WorkflowIdConflictPolicy.TERMINATE_EXISTING_OF_OTHER_TYPE: (
                            Verdict.REFUSE if same_type else Verdict.TERMINATE_AND_START
                        ),
                    }[conflict]
                )
                for status in CLOSED:
                    allowed = {
                        WorkflowIdReusePolicy.ALLOW_DUPLICATE: True,
                        WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY: status not in FINE,
                        WorkflowIdReusePolicy.REJECT_DUPLICATE: False,
                    }[reuse]
                    assert verdict(status) is (Verdict.START if allowed else Verdict.REFUSE)
