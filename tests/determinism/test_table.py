"""Each call, in each form of import, and which net catches it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import os
import pathlib
import queue
import random
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from tests.determinism.calling import refusal

from protopact import workflow
from protopact.determinism import guard
from protopact.determinism.check import check
from protopact.determinism.rules import RULES, Rule

# ruff: noqa: PLW0108, PTH102, PTH104, PTH107, PTH110, PTH113, PTH123, PTH208, S605, S606, SIM115 - the calls stand as workflow code has them

FORMS = {
    "module": ("import {module}", "return {path}()"),
    "module, renamed": ("import {module} as renamed{i}", "return renamed{i}{dotted}()"),
    "name": ("from {module} import {first}", "return {first}{rest}()"),
    "name, renamed": ("from {module} import {first} as renamed{i}", "return renamed{i}{rest}()"),
    "within the function": ("", "import {module}; return {path}()"),
    "name, within the function": ("", "from {module} import {first} as renamed; return renamed{rest}()"),
    "global": ("import {module}; bound{i} = {path}", "return bound{i}()"),
    "local": ("import {module}", "bound = {path}; return bound()"),
    "default": ("import {module}", "return (lambda bound={path}: bound())()"),
    "partial": ("import functools, {module}; bound{i} = functools.partial({path})", "return bound{i}()"),
    "attribute": (
        "import {module}; Holder{i} = type('H', (), dict(bound=staticmethod({path})))",
        "return Holder{i}.bound()",
    ),
    "through a function": ("import {module}", "return [helper() for helper in [lambda: {path}()]]"),
}
"""How a name comes into a module, and how a function then calls it."""

AUDITED: Mapping[str, Callable[[], object]] = {
    "asyncio.create_subprocess_exec": lambda: subprocess.Popen(["true"]),
    "builtins.input": input,
    "builtins.open": lambda: open("/etc/hostname"),
    "glob.glob": lambda: pathlib.Path("/").glob("*").__next__(),
    "os.chdir": lambda: os.chdir("/"),
    "os.execv": lambda: os.execv("/bin/true", ["true"]),
    "os.fork": os.fork,
    "os.kill": lambda: os.kill(os.getpid(), 0),
    "os.link": lambda: os.link("/absent/a", "/absent/b"),
    "os.listdir": lambda: os.listdir("/"),
    "os.mkdir": lambda: os.mkdir("/absent/a"),
    "os.open": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "os.remove": lambda: os.remove("/absent/a"),
    "os.rename": lambda: os.rename("/absent/a", "/absent/b"),
    "os.scandir": lambda: os.scandir("/"),
    "os.system": lambda: os.system("true"),  # pyright: ignore[reportDeprecated] # it is refused
    "os.walk": lambda: next(os.walk("/")),
    "pathlib.Path.iterdir": lambda: next(pathlib.Path("/").iterdir()),
    "pathlib.Path.mkdir": lambda: pathlib.Path("/absent/a").mkdir(),
    "pathlib.Path.open": lambda: pathlib.Path("/etc/hostname").open(),
    "pathlib.Path.read_text": lambda: pathlib.Path("/etc/hostname").read_text(),
    "pathlib.Path.unlink": lambda: pathlib.Path("/absent/a").unlink(),
    "pathlib.Path.write_text": lambda: pathlib.Path("/absent/a").write_text(""),
    "shutil.copyfile": lambda: shutil.copyfile("/absent/a", "/absent/b"),
    "shutil.rmtree": lambda: shutil.rmtree("/absent/a"),
    "socket.create_connection": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socket.getaddrinfo": lambda: socket.getaddrinfo("localhost", 9),
    "socket.gethostname": lambda: socket.gethostname(),
    "socket.socket": lambda: socket.socket(),
    "sqlite3.connect": lambda: sqlite3.connect(":memory:"),
    "subprocess.Popen": lambda: subprocess.Popen(["true"]),
    "subprocess.run": lambda: subprocess.run(["true"], check=True),
    "tempfile.mkdtemp": lambda: tempfile.mkdtemp(dir="/absent"),
    "tempfile.mkstemp": lambda: tempfile.mkstemp(dir="/absent"),
    "urllib.request.urlopen": lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
}
"""Calls that the guard hears of through the audit hook, whatever name they go by; none would do any harm."""

BY_ANOTHER: Mapping[str, Callable[[], object]] = {
    "concurrent.futures.wait": lambda: concurrent.futures.wait([concurrent.futures.Future[int]()]),
    "concurrent.futures.as_completed": lambda: [*concurrent.futures.as_completed([concurrent.futures.Future[int]()])],
    "concurrent.futures.Future.result": lambda: concurrent.futures.Future[int]().result(),
    "queue.PriorityQueue.get": lambda: queue.PriorityQueue[int]().get(),
    "asyncio.to_thread": lambda: threading.Thread(target=print).start(),
    "os.path.exists": lambda: os.path.exists("/"),
    "os.path.isfile": lambda: os.path.isfile("/"),
    "pathlib.Path.exists": lambda: pathlib.Path("/").exists(),
    "pathlib.Path.cwd": pathlib.Path.cwd,
    "random.SystemRandom": lambda: random.SystemRandom().random(),
    "secrets.SystemRandom": lambda: secrets.SystemRandom().getrandbits(8),
    "threading.Timer": lambda: threading.Timer(1, print).start(),
}
"""Calls that come to another one that the guard finds."""

PATCHED = [rule for rule in RULES.values() if rule.is_patched]
CODE_ALONE = [
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.fromtimestamp",
    "datetime.datetime.astimezone",
    "datetime.date.today",
    "datetime.date.fromtimestamp",
    "queue.SimpleQueue.get",
    "random.Random",
    "os.environ",
]
"""Some of what no net at run time can reach."""


def _find(call: str) -> tuple[ModuleType, object] | None:
    """The module of a call and what is called; None where this Python has none."""
    parts = call.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        value: object = module
        for name in parts[count:]:
            if not hasattr(value, name):
                return None
            value = getattr(value, name)
        return module, value
    return None


def _found(call: str) -> tuple[ModuleType, object]:
    holder = _find(call)
    assert holder is not None
    return holder


# Its effect is seen where it is used, on what it is a method of.
OF_INSTANCES = ("threading.Thread.", "pathlib.Path.", "asyncio.AbstractEventLoop.", "random.SystemRandom.")
CALLS = [call for call in RULES if not call.startswith(OF_INSTANCES) and _find(call) is not None]


def _module(call: str) -> str:
    return "os.path" if call.startswith("os.path.") else _found(call)[0].__name__


def _first(call: str) -> str:
    """What is imported from the module."""
    return call.removeprefix(_module(call))[1:].partition(".")[0]


def _calls(form: str) -> Iterable[str]:
    match form:
        case "name":  # a module has one of each name
            holders = {_first(call): _module(call) for call in CALLS}
            return [call for call in CALLS if holders[_first(call)] == _module(call)]
        case "default":  # a class is told where it is called, and what is called there is the caller's choice
            return [call for call in CALLS if not isinstance(_found(call)[1], type)]
        case "partial":
            return [call for call in CALLS if callable(_found(call)[1])]
        case _:
            return CALLS


@pytest.mark.parametrize("form", FORMS)
def test_the_code_tells_every_call_in_every_form(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, body = FORMS[form]
    text = (
        "from tests.replay.histories.v1.histories_pb2 import Job, Outcome\n"
        "from tests.replay.histories.v1.histories_protopact import Histories as histories\n"
    )
    lines = dict[int, str]()
    calls = list(_calls(form))
    for index, call in enumerate(calls):
        module = _module(call)
        dotted = call.removeprefix(module)
        first, _, rest = dotted[1:].partition(".")
        names = {
            "i": index,
            "module": module,
            "path": call,
            "dotted": dotted,
            "first": first,
            "rest": rest and f".{rest}",
        }
        begin = text.count("\n") + 1
        text += f"{head.format(**names)}\ndef use{index}():\n    {body.format(**names)}\n"
        lines |= dict.fromkeys(range(begin, text.count("\n") + 1), call)
    text += "class All(histories.Doomed):\n    async def run(self, request: Job) -> Outcome:\n"
    text += "".join(f"        use{index}()\n" for index in range(len(calls)))
    text += "        return Outcome()\n"
    name = f"guard_form_{list(FORMS).index(form)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    cls: type[workflow.Workflow] = importlib.import_module(name).All
    told = {(lines[finding.line], finding.code) for finding in check(cls) if finding.line in lines}
    missed = {(call, RULES[call].code) for call in calls} - told
    assert not missed


RECEIVERS: Mapping[str, Callable[[], object]] = {
    "threading.Thread": lambda: threading.Thread(target=print),
    "threading.Event": threading.Event,
    "threading.Condition": threading.Condition,
    "threading.Barrier": lambda: threading.Barrier(2),
    "threading.Semaphore": lambda: threading.Semaphore(0),
    "queue.Queue": queue.Queue[int],
    "random.SystemRandom": random.SystemRandom,
}
"""What methods that the guard finds are called on."""


# What this Python does not have, nobody calls on it.
@pytest.mark.parametrize("rule", [rule for rule in PATCHED if _find(rule.call)], ids=lambda rule: rule.call)
def test_the_guard_finds_what_is_called_by_its_attribute(rule: Rule) -> None:
    called = _found(rule.call)[1]
    assert callable(called)
    make = RECEIVERS.get(rule.call.rpartition(".")[0])
    receiver = [] if make is None else [make()]
    said = refusal(lambda: called(*receiver))
    assert said is not None
    assert said.startswith(f"{rule.code.value}: `")
    assert rule.instead in said


@pytest.mark.parametrize("call", [*AUDITED, *BY_ANOTHER])
def test_the_guard_hears_what_is_called_by_any_name(call: str) -> None:
    calls = {**AUDITED, **BY_ANOTHER}[call]
    assert refusal(calls) is not None, call


def test_a_name_bound_before_the_guard_is_the_codes_alone() -> None:
    program = (
        "import time, uuid, random\nfrom time import time as bound\nfrom uuid import uuid4\n"
        "from protopact.determinism import guard\nguard.install()\nfrom time import monotonic\n"
        "print([guard.is_guarded(each) for each in (bound, uuid4, time.time, uuid.uuid4, random.random, monotonic)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[False, False, True, True, True, True]\n"


@pytest.mark.parametrize("call", CODE_ALONE)
def test_what_patching_cannot_reach_is_the_codes_alone(call: str) -> None:
    assert not guard.is_guarded(_found(call)[1])
    assert call in CALLS


def test_a_loops_own_ways_out_are_told_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [call.rpartition(".")[2] for call in RULES if call.startswith("asyncio.AbstractEventLoop.")]
    text = (
        "import asyncio\nfrom tests.replay.histories.v1.histories_protopact import Histories as histories\n"
        "class All(histories.Doomed):\n    async def run(self, request):\n        loop = asyncio.get_running_loop()\n"
    )
    (tmp_path / "guard_loops.py").write_text(text + "".join(f"        loop.{name}()\n" for name in names))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    findings = check(importlib.import_module("guard_loops").All)
    assert [finding.message for finding in findings] == [
        f"`asyncio.AbstractEventLoop.{name}` in All.run" for name in names
    ]
    for name in names:
        assert refusal(lambda name=name: getattr(asyncio.get_running_loop(), name)()) is not None, name  # type: ignore[misc] # mypy reads no defaults of lambdas
