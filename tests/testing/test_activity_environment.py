"""One activity alone."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import NoReturn

import pytest
from generated.betterproto2.nodes.provisioning.v1 import BootProgress

import protopact
from protopact import activity, testing
from protopact.activity import CancellationReason


class Boiler:
    """Activities as a user writes them; the contract does not matter here."""

    async def heat(self, degrees: int) -> str:
        lines = (activity.heartbeat_details(BootProgress) or BootProgress()).lines
        for step in range(lines, degrees):
            activity.heartbeat(BootProgress(lines=step + 1))
            await asyncio.sleep(0)
        return f"{degrees} degrees, attempt {activity.info().attempt}"

    def wait(self, begun: threading.Event) -> NoReturn:
        begun.set()
        activity.wait_for_cancelled_sync(10)
        activity.heartbeat("cooling down")
        raise AssertionError


async def test_an_async_activity() -> None:
    env = testing.ActivityEnvironment(heartbeat_details=[BootProgress(lines=1)])
    env.info = dataclasses.replace(env.info, attempt=2)
    assert await env.run(Boiler().heat, 3) == "3 degrees, attempt 2"
    assert env.heartbeats == [[BootProgress(lines=2)], [BootProgress(lines=3)]]
    assert not activity.in_activity()


def test_a_plain_activity() -> None:
    env = testing.ActivityEnvironment()
    assert env.run(lambda: activity.info().workflow_id) == "test"
    with pytest.raises(ZeroDivisionError):
        env.run(lambda: 1 // 0)
    assert not activity.in_activity()


async def test_cancelling_an_async_activity() -> None:
    seen = list[object]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(activity.cancellation_reason())

    env = testing.ActivityEnvironment()
    running = asyncio.ensure_future(env.run(work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.cancel(CancellationReason.TIMED_OUT)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == [CancellationReason.TIMED_OUT]


async def test_what_is_run_after_the_cancellation_is_cancelled_too() -> None:
    env = testing.ActivityEnvironment()
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await env.run(Boiler().heat, 3)
    assert env.run(activity.is_cancelled)


def test_cancelling_a_plain_activity() -> None:
    env, begun, seen = testing.ActivityEnvironment(), threading.Event(), list[object]()

    def run() -> None:
        try:
            env.run(Boiler().wait, begun)
        except protopact.CancelledError as error:
            seen.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(10)
    env.cancel()
    thread.join(10)
    assert seen == ["activity cancelled: cancel requested"]
    assert env.heartbeats == [["cooling down"]]


async def test_the_worker_stops() -> None:
    async def work() -> bool:
        await activity.wait_for_worker_shutdown()
        return activity.is_worker_shutdown()

    env = testing.ActivityEnvironment()
    running = asyncio.ensure_future(env.run(work))
    await asyncio.sleep(0)
    env.worker_shutdown()
    assert await running


def test_a_heartbeat_that_cannot_be_written() -> None:
    with pytest.raises(protopact.PayloadError, match="detail 0"):
        testing.ActivityEnvironment().run(activity.heartbeat, object())
