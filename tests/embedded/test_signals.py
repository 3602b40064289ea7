"""SIGTERM and SIGINT: workers stop in good order, a second signal ends them at once, handlers of others stay."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.embedded.bench import Lab, Waiting, open_engine, soon, text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.embedded.signalled_process import Caller

from protopact.embedded.clock import SystemClock
from protopact.embedded.engine import EmbeddedEngine

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Process:
    """`signalled_process.py` on a file."""

    def __init__(self, path: Path, *, grace: float) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "tests/embedded/signalled_process.py", str(path), str(grace)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"runtime{os.pathsep}."},
        )

    async def says(self, *words: str) -> None:
        """Its next lines, in any order."""
        assert self._popen.stdout is not None
        lines = [await asyncio.wait_for(asyncio.to_thread(self._popen.stdout.readline), 20) for _ in words]
        assert sorted(line.strip() for line in lines) == sorted(words)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> int:
        return self._popen.wait(20)

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait(20)
        assert self._popen.stdout is not None
        self._popen.stdout.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"


@pytest.fixture
def patient(path: Path) -> Iterator[Process]:
    """A worker whose grace period is long."""
    process = Process(path, grace=60)
    yield process
    process.close()


@pytest.fixture
def impatient(path: Path) -> Iterator[Process]:
    """A worker without a grace period."""
    process = Process(path, grace=0)
    yield process
    process.close()


async def test_an_activity_may_end_before_the_process_does(path: Path, patient: Process) -> None:
    async with open_engine(path, clock=SystemClock()) as engine:
        await patient.says("ready")
        handle = await lab.Client(engine).start_free(text("quick"))
        await patient.says("attempt 1")
        patient.send(signal.SIGTERM)
        await patient.says("left")
        await patient.says("shutdown")
        await patient.says("over None")
        assert patient.end() == 128 + signal.SIGTERM
        async with engine.worker(workflows=[Caller]):
            assert (await soon(handle.result())).value == "ended in time"


@pytest.mark.parametrize("number", SIGNALS)
async def test_what_does_not_end_is_cancelled_and_handed_back(
    number: signal.Signals, path: Path, impatient: Process
) -> None:
    async with open_engine(path, clock=SystemClock()) as engine:
        await impatient.says("ready")
        await lab.Client(engine).start_free(text("slow"))
        await impatient.says("attempt 1")
        impatient.send(number)
        await impatient.says("left")
        await impatient.says("over CancellationReason.WORKER_SHUTDOWN")
        if number == signal.SIGINT:
            await impatient.says("interrupted")
        assert impatient.end() == {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 1}[number]
        second = Process(path, grace=0)
        try:
            await second.says("ready", "attempt 2")
        finally:
            second.close()


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_second_signal_ends_the_process_at_once(number: signal.Signals, path: Path, patient: Process) -> None:
    async with open_engine(path, clock=SystemClock()) as engine:
        await patient.says("ready")
        handle = await lab.Client(engine).start_free(text("slow"))
        await patient.says("attempt 1")
        patient.send(signal.SIGTERM)
        await patient.says("left")
        patient.send(number)
        assert patient.end() == -number
        second = Process(path, grace=0)
        try:
            await second.says("ready", "attempt 2")  # its claim was void with its death
        finally:
            second.close()
        await soon(handle.terminate())


async def test_a_thread_that_never_ends_does_not_hold_the_process(path: Path, impatient: Process) -> None:
    async with open_engine(path, clock=SystemClock()) as engine:
        await impatient.says("ready")
        await lab.Client(engine).start_free(text("stubborn"))
        await impatient.says("attempt 1")
        impatient.send(signal.SIGTERM)
        await impatient.says("left")
        assert impatient.end() == 128 + signal.SIGTERM


async def test_the_handlers_are_those_from_before_when_the_block_is_left(engine: EmbeddedEngine) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    async with engine.worker(workflows=[Waiting]):
        within = [signal.getsignal(number) for number in SIGNALS]
        async with engine.worker(activities=[Lab()]):
            assert [signal.getsignal(number) for number in SIGNALS] == within
        assert [signal.getsignal(number) for number in SIGNALS] == within
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert within[0] != before[0]


async def test_handlers_of_others_are_left_alone(engine: EmbeddedEngine) -> None:
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, arrived.set)
    try:
        async with engine.worker(workflows=[Waiting]):
            signal.raise_signal(signal.SIGTERM)
            await soon(arrived.wait())
            handle = await lab.Client(engine).start_free(text("a"))
            await handle.go(text("go"))
            assert (await soon(handle.result())).value == "go new"
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_worker_can_be_told_to_leave_signals_alone(engine: EmbeddedEngine) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    async with engine.worker(workflows=[Waiting], handle_signals=False):
        assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_worker_in_another_thread_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    within = list[object]()

    async def serve() -> None:
        async with open_engine() as engine, engine.worker(workflows=[Waiting]):
            within.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    thread.join()
    assert within == before
