"""The guard at run time: who is refused, who is not, and what is said."""

# ruff: noqa: PLW0108, PTH116, PTH208, S311 - the calls stand as workflow code has them

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import linecache
import logging
import multiprocessing.reduction
import os
import pickle
import queue
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.determinism.calling import ask, refusal, run, run_class, update
from tests.replay.histories.v1.histories_pb2 import Job, Outcome
from tests.replay.histories.v1.histories_protopact import Histories as histories

from protopact import workflow
from protopact.determinism import guard
from protopact.errors import NondeterministicCallError, WorkflowTaskError
from protopact.history.failure import Failure
from protopact.replay.command import AcceptUpdate, CompleteWorkflowExecution

HERE = Path(__file__)


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(HERE.read_text().splitlines(), 1) if text in line)


def test_the_error_names_the_call_the_line_and_what_to_do() -> None:
    def calls() -> None:
        time.sleep(0)  # this line

    assert refusal(calls) == (
        f"PD205: `time.sleep()` was called in a workflow, at {HERE}:{line_of('# this line')} in "
        "test_the_error_names_the_call_the_line_and_what_to_do.<locals>.calls, and what it does could not be repeated "
        "by replay. Use `await workflow.sleep(...)` or `await asyncio.sleep(...)`, which are durable timers."
    )


def test_a_call_through_the_standard_library_names_both() -> None:
    said = refusal(lambda: tempfile.TemporaryFile(dir="/tmp"))  # noqa: SIM115 - nothing is made
    assert said is not None
    assert "`tempfile.TemporaryFile()`, which calls `open('/tmp" in said
    assert f"{HERE}:" in said


def test_a_call_through_a_package_names_both_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "guard_third_party.py"
    package.parent.mkdir()
    package.write_text("import time\n\ndef stamp():\n    return time.time()\n")
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    stamp = importlib.import_module("guard_third_party").stamp
    said = refusal(lambda: stamp())
    assert said is not None
    assert re.search(rf"at {HERE}:\d+ in .* through {package}:4, and", said)


@pytest.mark.parametrize(
    "call",
    [
        lambda: logging.getLogger("protopact.test").warning("seen"),
        lambda: linecache.getline(str(HERE), 1),
        lambda: warnings.catch_warnings(record=True).__enter__(),
        lambda: traceback.format_stack(),
        lambda: time.gmtime(0),
        lambda: threading.Semaphore().acquire(blocking=False),
        lambda: queue.Queue[int]().put_nowait(1),
        lambda: queue.Queue[int]().put(1, False),  # noqa: FBT003 - as it is called
        lambda: time.strftime("%Y", time.gmtime(0)),
        lambda: random.Random(1).random(),
        lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "a"),
        lambda: print(end=""),  # noqa: T201 - what is tested
        lambda: workflow.now(),
        lambda: workflow.uuid4(),
        lambda: workflow.random().random(),
    ],
)
def test_what_is_harmless_passes(call: Callable[[], object]) -> None:
    linecache.clearcache()
    assert refusal(call) is None


def test_imports_pass_with_all_that_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guard_imported.py").write_text(
        "import os, time, uuid\ndef begin():\n"
        "    return time.time(), os.getcwd(), uuid.uuid4(), open(__file__).close()\n"
        "BEGAN = begin()\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert refusal(lambda: importlib.import_module("guard_imported")) is None
    assert "guard_imported" in sys.modules


def test_a_workflow_run_while_a_module_is_imported_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guard_runs.py").write_text(
        "import time\nfrom tests.determinism.calling import refusal\nSAID = refusal(lambda: time.time())\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert "`time.time()`" in importlib.import_module("guard_runs").SAID


def test_what_finalizers_do_passes(tmp_path: Path) -> None:
    seen: list[object] = []

    class Kept:
        def __del__(self) -> None:
            seen.append(os.stat(tmp_path))

    class Watched:
        pass

    def calls() -> None:
        watched = Watched()
        weakref.finalize(watched, lambda: seen.append(os.listdir(tmp_path)))
        kept = Kept()
        del kept, watched

    assert refusal(calls) is None
    assert len(seen) == 2


class Collected:
    def __init__(self) -> None:
        self.seen = list[float]()

    def method(self, _phase: str, _info: dict[str, int]) -> None:
        self.seen.append(time.time())

    def given(self, _more: str, phase: str, info: dict[str, int]) -> None:
        self.method(phase, info)

    __call__ = method


def function(collected: Collected) -> Callable[..., None]:
    def called(phase: str, info: dict[str, int]) -> None:
        collected.method(phase, info)

    return called


def method(collected: Collected) -> Callable[..., None]:
    return collected.method


def partial(collected: Collected) -> Callable[..., None]:
    return functools.partial(collected.given, "more")


def instance(collected: Collected) -> Callable[..., None]:
    return collected


@pytest.mark.parametrize("callback", [function, method, partial, instance])
def test_what_the_collector_calls_passes(callback: Callable[[Collected], Callable[..., None]]) -> None:
    collected = Collected()
    called = callback(collected)
    gc.callbacks.append(called)
    try:
        assert refusal(gc.collect) is None
        assert len(collected.seen) >= 2
        assert refusal(lambda: (gc.collect(), time.time())) is not None
    finally:
        gc.callbacks.remove(called)


def test_nobody_else_notices() -> None:
    assert time.time() > 0
    assert os.stat("/") is not None
    assert pickle.loads(pickle.dumps(time.sleep)) is time.sleep  # noqa: S301 - our own bytes
    assert bytes(multiprocessing.reduction.ForkingPickler.dumps(os.stat))
    assert {os.stat, os.access} <= {*os.supports_dir_fd, os.access}
    assert shutil.rmtree.avoids_symlink_attacks
    assert repr(time.time) == "<built-in function time>"
    assert time.sleep.__doc__
    assert not hasattr(time.monotonic, "__get__"), "in a class it would turn into a method"

    async def on_a_loop_of_its_own() -> float:
        await asyncio.to_thread(time.time)
        return time.time()

    assert asyncio.run(on_a_loop_of_its_own()) > 0


def test_another_thread_is_not_guarded() -> None:
    """While the workflow waits for it, which it should not."""
    found: list[object] = []
    go, done = threading.Event(), threading.Event()

    def other() -> None:
        go.wait(10)
        found.extend([time.time(), os.listdir("/")])
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def calls() -> None:
        go.set()
        with workflow.unsafe.guard_lifted():
            done.wait(10)

    assert refusal(calls) is None
    thread.join()
    assert len(found) == 2


def test_swallowing_the_error_does_not_help() -> None:
    def calls() -> None:
        with contextlib.suppress(Exception):
            time.time()

    said = refusal(calls)
    assert said is not None
    assert "`time.time()`" in said


def test_the_error_never_fails_the_run() -> None:
    class Lists(histories.Doomed, failure_exception_types=[Exception]):
        async def run(self, request: Job) -> Outcome:
            return Outcome(total=time.time_ns())

    with pytest.raises(WorkflowTaskError) as caught:
        run_class(Lists)
    assert isinstance(caught.value.__cause__, NondeterministicCallError)


def test_constructors_conditions_and_callbacks_are_guarded() -> None:
    class Constructs(histories.Doomed):
        def __init__(self) -> None:
            self.at = time.time()

        async def run(self, request: Job) -> Outcome:
            return Outcome()

    class Waits(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            await workflow.wait_condition(lambda: random.random() > 2)
            return Outcome()

    class Swallows(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            await workflow.wait_condition(self.is_late)
            return Outcome()

        def is_late(self) -> bool:
            try:
                return time.time() > 2
            except RuntimeError:
                return False

    class CallsBack(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            asyncio.get_running_loop().call_soon(lambda: time.time())
            await asyncio.sleep(1)
            return Outcome()

    for cls in (Constructs, Waits, Swallows, CallsBack):
        with pytest.raises(WorkflowTaskError) as caught:
            run_class(cls)
        assert isinstance(caught.value.__cause__, NondeterministicCallError), cls


def test_on_the_way_out_it_has_no_effect(tmp_path: Path) -> None:
    class Leaves(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            try:
                await asyncio.sleep(10)
            finally:
                (tmp_path / "made").mkdir()
            return Outcome()

    assert len(run_class(Leaves)) == 1
    assert not list(tmp_path.iterdir())


def test_queries_may_look_at_the_clock_and_touch_nothing() -> None:
    for harmless in (time.time, random.random, uuid.uuid4, os.getcwd):
        assert not isinstance(ask(harmless), Failure)
    for refused in (lambda: time.sleep(0), lambda: os.listdir("/"), lambda: socket.socket()):
        answer = ask(refused)
        assert isinstance(answer, Failure)
        assert "was called in a query" in answer.message
    assert not isinstance(ask(time.time), Failure)


def test_a_validator_that_calls_fails_the_task_and_rejects_nothing() -> None:
    assert any(isinstance(command, AcceptUpdate) for command in update(lambda: None))
    with pytest.raises(WorkflowTaskError) as caught:
        update(lambda: time.time())
    assert isinstance(caught.value.__cause__, NondeterministicCallError)


def test_a_block_lifts_it() -> None:
    def calls() -> None:
        with workflow.unsafe.guard_lifted():
            assert time.time() > 0
            assert os.listdir("/")
        assert not workflow.unsafe.is_guard_lifted()

    def calls_after() -> None:
        calls()
        time.time()

    assert refusal(calls) is None
    assert refusal(calls_after) is not None


def test_a_lifted_block_holds_for_its_task_alone() -> None:
    seen = list[str]()

    class Lifts(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            ready = asyncio.Event()

            async def lifted() -> None:
                with workflow.unsafe.guard_lifted():
                    ready.set()
                    await asyncio.sleep(0)
                    time.time()
                    await asyncio.create_task(inherits())
                    seen.append("lifted")

            async def inherits() -> None:
                time.time()

            async def other() -> None:
                await ready.wait()
                seen.append("other")
                assert not workflow.unsafe.is_guard_lifted()

            await asyncio.gather(lifted(), other())
            return Outcome()

    assert isinstance(run_class(Lifts)[-1], CompleteWorkflowExecution)
    assert sorted(seen) == ["lifted", "other"]


def test_it_comes_back_where_something_took_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.time.__wrapped__)  # type: ignore[attr-defined] # the guard stands in for it
    assert refusal(lambda: time.time()) is None
    guard.install()
    assert refusal(lambda: time.time()) is not None


def ignore(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("call", "replacement"),
    [
        (lambda: asyncio.to_thread(print), "activity"),
        (lambda: asyncio.open_connection("localhost", 1), "activity"),
        (lambda: asyncio.start_server(ignore, "localhost", 1), "activity"),
        (lambda: asyncio.create_subprocess_exec("ls"), "activity"),
        (lambda: asyncio.create_subprocess_shell("ls"), "activity"),
        (lambda: asyncio.get_running_loop().run_in_executor(None, print), "activity"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "activity"),
        (lambda: asyncio.get_running_loop().add_signal_handler(1, print), "signal in the contract"),
        (lambda: asyncio.get_running_loop().run_forever(), "`await` what you wait for"),
        (lambda: asyncio.new_event_loop(), "engine runs the loop"),
        (lambda: asyncio.run(None), "engine runs the loop"),  # type: ignore[arg-type] # it is not looked at
    ],
)
def test_what_asyncio_has_of_the_world_says_what_to_use(call: Callable[[], object], replacement: str) -> None:
    class Asks(histories.Doomed):
        async def run(self, request: Job) -> Outcome:
            answer = call()
            if asyncio.iscoroutine(answer):
                await answer
            return Outcome()

    with pytest.raises(WorkflowTaskError) as caught:
        run_class(Asks)
    assert isinstance(caught.value.__cause__, NondeterministicCallError)
    assert replacement in str(caught.value)


def test_every_method_of_a_loop_is_the_loops_own() -> None:
    """What asyncio adds to loops is not let through by accident: it raises there at least NotImplementedError."""
    from protopact.replay.loop import Loop  # noqa: PLC0415 - the core is this test's alone

    abstract = {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")}
    assert abstract <= set(vars(Loop))


def test_it_is_in_place_when_a_worker_serves_workflows() -> None:
    program = (
        "import time; before = time.time\n"
        "from protopact.engine import WorkerOptions\n"
        "from protopact.worker import Registry\n"
        "from examples.greeting.greeting import Composer, Greet\n"
        "Registry(WorkerOptions(activities=[Composer()])); assert time.time is before\n"
        "Registry(WorkerOptions(workflows=[Greet])); assert time.time is not before\n"
    )
    root = HERE.parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "runtime")])}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment, cwd=root)


def test_a_run_without_such_calls_completes() -> None:
    assert isinstance(run(lambda: None)[-1], CompleteWorkflowExecution)
