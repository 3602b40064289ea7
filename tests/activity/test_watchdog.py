"""A blocked event loop is noticed; a process ends although an activity's thread does not."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from tests.activity.bench import Bench

from protopact.embedded.attempt import HandedBack
from protopact.embedded.watchdog import Watchdog

ROOT = Path(__file__).parents[2]


def block(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_blocked_loop_is_named_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(asyncio.get_running_loop(), patience=0.05)
    with caplog.at_level(logging.WARNING):
        watchdog.begin()
        await asyncio.sleep(0)
        block(0.5)
        watchdog.end()
        await asyncio.sleep(0.1)
    watchdog.close()
    blocked, again = caplog.messages
    assert blocked.startswith("the event loop has been blocked for 0.1 s: nothing else in this worker can go on.")
    assert "in block\n    time.sleep(seconds)" in blocked
    assert again.startswith("the event loop runs again, after 0.")


async def test_a_loop_that_turns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(asyncio.get_running_loop(), patience=5)
    watchdog.begin()
    for _ in range(100):
        await asyncio.sleep(0.001)
    watchdog.end()
    watchdog.close()
    assert caplog.messages == []


async def test_a_blocking_activity_goes_on_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def work(request: StringValue) -> StringValue:
        block(1.6)
        return request

    bench = Bench(work)
    with caplog.at_level(logging.WARNING):
        assert await bench.result("in") == "in"
        await bench.stop()
    assert "in work\n    block(1.6)" in caplog.messages[0]


def test_ctrl_c_in_an_activity_ends_the_process_and_hands_the_attempt_back() -> None:
    benches, tasks = list[Bench](), list[asyncio.Task[object] | None]()

    async def work(request: StringValue) -> StringValue:
        tasks.append(asyncio.current_task())
        raise KeyboardInterrupt(request.value)

    async def main() -> None:
        benches.append(Bench(work))
        await benches[0].run()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert list(benches[0].outcomes.values()) == [HandedBack()]
    Bench.made.clear()
    [task] = tasks
    assert task is not None
    assert isinstance(task.exception(), KeyboardInterrupt)


def test_a_process_ends_although_a_thread_does_not() -> None:
    script = """
        import asyncio, threading
        from tests.activity.bench import Bench

        def work(request):
            threading.Event().wait()

        async def main():
            bench = Bench(work)
            bench.start()
            await asyncio.sleep(0.05)
            await bench.stop()
            print("stopped", bench.outcomes)

        asyncio.run(main())
    """
    path = [str(ROOT / "runtime"), str(ROOT)]
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{textwrap.dedent(script)}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == "stopped {(1, 5, 1): HandedBack()}\n"
    assert "did not end within the worker's grace period" in ended.stderr
