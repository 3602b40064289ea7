"""The check of the code: what it reaches, what it knows, what it leaves alone."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.node_provisioner import workflows as provisioning
from tests.replay import marked, programs, stories, workflows

from protopact import workflow
from protopact.determinism.check import check, render
from protopact.determinism.rules import Code
from protopact.engine import WorkerOptions
from protopact.errors import RegistrationError
from protopact.worker import Registry

ROOT = Path(__file__).parents[2]

HEAD = """\
import asyncio, collections, dataclasses, datetime, functools, itertools, logging
import os, queue, random, threading, time, uuid
from datetime import datetime as moment
from pathlib import Path
from protopact import workflow
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
"""

Check = Callable[[str], list[str]]
_numbers = itertools.count()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type[workflow.Workflow]]:
    """The last class of a module that is written, imported and forgotten."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def load(text: str) -> type[workflow.Workflow]:
        name = f"guard_checked_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        importlib.invalidate_caches()
        found: type[workflow.Workflow] = importlib.import_module(name).Flow
        return found

    return load


@pytest.fixture
def told(load: Callable[[str], type[workflow.Workflow]]) -> Check:
    """What is told of a module: `line: code message`, lines counted from the module's own first one."""

    def told(text: str) -> list[str]:
        return [
            f"{finding.line - HEAD.count(chr(10))}: {finding.code.value} {finding.message}"
            for finding in check(load(text))
        ]

    return told


def run(body: str, before: str = "") -> str:
    indented = "".join(f"        {line}\n" for line in body.splitlines())
    return (
        f"{before}class Flow(histories.Doomed):\n    async def run(self, request: Job) -> Outcome:\n{indented}"
        "        return Outcome()\n"
    )


def codes(findings: list[str]) -> list[str]:
    return [re.split(r"[: ]+", each)[1] for each in findings]


def test_it_reaches_methods_functions_base_classes_properties_and_constructors(told: Check) -> None:
    assert told(
        """\
class Clock:
    def __init__(self):
        self.at = time.time()
    def unused(self):
        time.time()
    def read(self):
        return time.time_ns()
class Base(histories.Doomed):
    async def run(self, request):
        return moment.now()
def helper():
    return inner()
def inner():
    return uuid.uuid4()
def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper
@decorated
def wrapped():
    os.getcwd()
class Flow(Base):
    def __init__(self):
        self.clock = Clock()
    async def run(self, request):
        helper(), self.own(), self.prop, self.static(), self.made(), wrapped()
        self.clock.read()
        return await super().run(request)
    def own(self): random.random()
    @property
    def prop(self): random.randint(1, 2)
    @staticmethod
    def static(): random.choice([1])
    @classmethod
    def made(cls): cls.deeper()
    @classmethod
    def deeper(cls): random.shuffle([])
    @classmethod
    def start(cls): uuid.uuid4(), time.time()
"""
    ) == [
        "3: PD101 `time.time` in Clock.__init__, reached from Flow",
        "7: PD101 `time.time_ns` in Clock.read, reached from Flow",
        "10: PD101 `datetime.datetime.now` in Base.run, reached from Flow",
        "14: PD103 `uuid.uuid4` in inner, reached from Flow",
        "22: PD104 `os.getcwd` in wrapped, reached from Flow",
        "30: PD102 `random.random` in Flow.own",
        "32: PD102 `random.randint` in Flow.prop",
        "34: PD102 `random.choice` in Flow.static",
        "38: PD102 `random.shuffle` in Flow.deeper",
    ]


def test_what_only_others_call_is_theirs(told: Check) -> None:
    assert not told(
        """\
class Activities(histories.Activities):
    def work(self, request):
        return Reading(value=int(moment.now().timestamp()), log=[str(uuid.uuid4()), Path("a").read_text()])
def main():
    random.random(), open("a"), time.sleep(1)
"""
        + run("x: time.time\nassert isinstance(request, (threading.Thread, random.Random))", "from uuid import UUID\n")
    )


def test_names_of_the_function_hide_those_of_the_module(told: Check) -> None:
    assert not told(
        run(
            "for time in request.steps:\n    time.time()\nrandom = workflow.random()\nrandom.random()\n"
            "def uuid4(): return 1\nuuid4()\n[open() for open in [len]]\nwith x as datetime:\n    datetime.now()",
            "x = None\nfrom uuid import uuid4\n",
        )
    )


def test_nested_functions_count_where_they_are_used(told: Check) -> None:
    findings = told(
        run("def used(): return time.time()\ndef unused(): return time.time()\nused()\n(lambda: os.getpid())()")
    )
    assert findings == [
        "3: PD101 `time.time` in Flow.run",
        "6: PD104 `os.getpid` in Flow.run",
    ]


def test_a_generator_that_runs_share_is_told_and_a_seeded_one_is_not(told: Check) -> None:
    assert codes(told(run("shared.random()\nrandom.Random(request.id).random()", "shared = random.Random(7)\n"))) == [
        "PD102"
    ]


def test_none_is_neither_a_seed_nor_a_time(told: Check) -> None:
    assert codes(told(run("random.Random(None)\ntime.gmtime(None)\ntime.gmtime(0)"))) == ["PD102", "PD101"]


ZONED = """\
moment.fromtimestamp(0)
moment.fromtimestamp(0, None)
moment.fromtimestamp(0, tz=None)
workflow.now().astimezone()
datetime.date.fromtimestamp(0)
time.localtime(0), time.mktime(time.gmtime(0))
"""


def test_the_zone_of_the_machine_is_told_and_a_named_one_is_not(told: Check) -> None:
    findings = told(run(ZONED))
    assert codes(findings) == ["PD101"] * 7
    assert not told(
        run(
            "utc = datetime.timezone.utc\nmoment.fromtimestamp(0, utc)\nmoment.fromtimestamp(0, tz=utc)\n"
            "workflow.now().astimezone(utc)\nmoment.fromtimestamp(*[0, utc])\nmoment.fromtimestamp(0, **{'tz': utc})"
        )
    )


WAITS = """\
LOCK, AGAIN, GATE, LEFT = threading.Lock(), threading.RLock(), threading.Event(), queue.LifoQueue()
"""


@pytest.mark.parametrize(
    "body",
    [
        "queue.Queue().get()",
        "queue.Queue().get(True)",
        "queue.Queue().get(timeout=1)",
        "q = queue.Queue()\nq.put(1)",
        "LEFT.join()",
        "queue.SimpleQueue().get()",
        "GATE.wait()",
        "GATE.wait(1)",
        "LOCK.acquire()",
        "lock = threading.RLock()\nlock.acquire(timeout=1)",
        "AGAIN.acquire()",
        "threading.BoundedSemaphore(1).acquire()",
        "threading.Condition().wait_for(len)",
        "def until(thread: threading.Thread): thread.join()\nuntil(request)",
    ],
)
def test_waiting_for_threads_is_told(told: Check, body: str) -> None:
    assert codes(told(run(body, WAITS))) == ["PD204"]


def test_what_waits_for_nobody_passes(told: Check) -> None:
    assert not told(
        run(
            "q = queue.Queue()\nq.get_nowait()\nq.get(False)\nq.get(block=False)\nq.put(1, block=False)\n"
            "LOCK.acquire(False)\nLOCK.acquire(blocking=False)\nwith LOCK: pass\nGATE.set()\nq.qsize()\n"
            "await asyncio.Queue().get()\nawait asyncio.Event().wait()\nawait asyncio.Lock().acquire()",
            WAITS,
        )
    )


def test_a_dataclass_is_made_with_its_factories(told: Check) -> None:
    before = "@dataclasses.dataclass\nclass Entry:\n    at: float = dataclasses.field(default_factory=time.time)\n"
    assert codes(told(run("Entry()", before))) == ["PD101"]


def test_lifted_blocks_are_passed_over(told: Check) -> None:
    assert codes(told(run("with workflow.unsafe.guard_lifted():\n    time.time()\ntime.monotonic()"))) == ["PD101"]


SETS = {
    "a literal": "for x in {'a', 'b'}: pass",
    "a call": "for x in set(request.id): pass",
    "a comprehension's": "[x for x in {s.name for s in request.steps}]",
    "a name": "names = {s.name for s in request.steps}\nlist(names)",
    "an annotated name": "names: set[str] = make()\n[*names]",
    "joined": "','.join({'a', 'b'})",
    "enumerated": "enumerate(frozenset(request.id))",
    "a union": "tuple({'a'} | set(request.id))",
    "keys": "list(a.keys() & b.keys())",
    "a method": "names = {'a'}\nlist(names.union('b'))",
    "popped": "names = {'a', 'b'}\nnames.pop()",
    "unpacked to a call": "await asyncio.gather(*{f() for f in (make,)})",
    "an attribute": "list(self.names)",
    "a promised one": "list(promised())",
    "a loop's variable": "for group in [{'a'}]:\n    list(group)",
    "dict.fromkeys": "dict.fromkeys({'a', 'b'})",
    "a module's": "for x in REGIONS: pass",
    "a module's, popped": "TAGS.pop()",
    "a module's, combined": "list(REGIONS - {'eu'})",
    "a module's, united": "list(REGIONS.union(['a']))",
    "a class attribute": "list(self.places)",
    "unpacked to names": "one, two = {'a', 'b'}",
    "a list's extension": "names = []\nnames.extend({'a', 'b'})",
    "a list's addition": "names = []\nnames += {'a', 'b'}",
    "a list's part": "names = []\nnames[:] = {'a', 'b'}",
    "a message's extension": "Reading().log.extend(REGIONS)",
    "a queue of both ends": "collections.deque(REGIONS)",
    "chained": "list(itertools.chain(REGIONS, ['a']))",
    "joined by a name": "comma = ','\ncomma.join(REGIONS)",
    "the least by a key": "min(REGIONS, key=len)",
    "the greatest by a key": "max({'a', 'b'}, key=lambda each: 1)",
    "the least by a key, as it comes": "min((x for x in REGIONS), key=len)",
    "formatted": "f'{REGIONS}'",
    "formatted as code": "f'{request.id} of {REGIONS!r:>10}'",
    "as text": "str(REGIONS)",
    "as code": "repr({'a', 'b'})",
    "a template's": "'{}'.format(REGIONS)",
    "a template's by name": "'{x}'.format(x=REGIONS)",
    "a percent sign's": "'%s' % REGIONS",
    "percent signs'": "'%s of %s' % (request.id, REGIONS)",
    "told, and not to the log": "self.error(f'{REGIONS}')",
    "yielded from": "def each(): yield from REGIONS\neach()",
}
MAKE = (
    "REGIONS = frozenset(['eu', 'us'])\nTAGS = set()\nONE = frozenset(['eu'])\nNUMBERS = {1, 2}\n"
    "LOG = logging.getLogger('log')\na = b = {}\ndef make(): ...\ndef promised() -> set[str]: ...\n"
    "class Base(histories.Doomed):\n    places = {'a', 'b'}\n"
    "    def __init__(self):\n        self.names: set[str] = set()\n"
)


@pytest.mark.parametrize("body", SETS.values(), ids=SETS)
def test_the_order_of_a_set_is_told(told: Check, body: str) -> None:
    text = run(body, MAKE).replace("Flow(histories.Doomed)", "Flow(Base)")
    assert codes(told(text)) == ["PD301"]


@pytest.mark.parametrize(
    "body",
    [
        "for x in sorted({'a', 'b'}): pass",
        "'a' in {'a', 'b'}",
        "len({'a'}), any(x for x in {'a'}), sum([len(x) for x in {'a'}]), {x for x in {'a'}}",
        "for x in {1, 2}: pass",
        "numbers: set[int] = make()\nlist(numbers)",
        "list(NUMBERS)",
        "list(ONE)",
        "'eu' in REGIONS, len(TAGS), sorted(REGIONS)",
        "TAGS.add('a')",
        "for x in set(range(3)): pass",
        "names = make()\nlist(names)",
        "names = {'a'}\nnames = sorted(names)\nlist(names)",
        "for x in {'a': 1}: pass",
        "list(dict(a=1))",
        "self.names.add('a')\nself.names.discard('b')",
        "sorted(list(REGIONS)), set(map(len, REGIONS)), any(filter(None, REGIONS))",
        "sorted(itertools.chain(REGIONS, TAGS))",
        "sorted(x for x in list(REGIONS)), len([*REGIONS]), {*REGIONS, 'a'}, max(*REGIONS)",
        "min(REGIONS), max(REGIONS), min({1, 2}, key=abs), min(REGIONS, TAGS, key=len), sorted(REGIONS, key=str.lower)",
        "f'{len(REGIONS)} {sorted(REGIONS)}', str(1), str(NUMBERS), f'{ONE}', '%s' % request.id, 7 % 2",
        "workflow.logger.info(f'{REGIONS}')\nlogging.getLogger('x').info('%s' % REGIONS)",
        "LOG.warning('%s', repr(TAGS))\nlogging.error(str(TAGS))\nprint(f'{REGIONS}', str(TAGS))",
        "names = []\nnames.extend(sorted(REGIONS))\nnames += sorted(REGIONS)\nnames.extend(['a'])\nnames[0] = REGIONS",
        "names = {'a'}\nnames |= REGIONS\nnames.update(REGIONS)",
        "def list(x): ...\nlist(REGIONS)",
        "threading.current_thread().name.join(['a'])",
    ],
)
def test_a_set_without_its_order_passes(told: Check, body: str) -> None:
    assert not told(run(body, MAKE).replace("Flow(histories.Doomed)", "Flow(Base)"))


def test_hashes_and_addresses_are_told(told: Check) -> None:
    assert codes(told(run("hash(request.id) % 3\nsorted(request.steps, key=id)"))) == ["PD302", "PD302"]


MAPS = """\
from google.protobuf.struct_pb2 import Struct
def given() -> Struct: ...
"""


@pytest.mark.parametrize(
    "body",
    ["for x in given().fields: pass", "s = Struct()\nlist(s.fields.items())", "[x for x in dict(given().fields)]"],
)
def test_the_order_of_a_map_is_told(told: Check, body: str) -> None:
    assert codes(told(run(body, MAPS))) == ["PD303"]


@pytest.mark.parametrize("body", ["sorted(given().fields)", "given().fields['a']", "dict(given().fields)"])
def test_a_map_without_its_order_passes(told: Check, body: str) -> None:
    assert not told(run(body, MAPS))


def test_asyncios_unordered_forms_are_warnings(
    told: Check, load: Callable[[str], type[workflow.Workflow]], caplog: pytest.LogCaptureFixture
) -> None:
    text = run("async with asyncio.TaskGroup(): pass\nawait asyncio.wait([])\nasyncio.as_completed([])")
    assert codes(told(text)) == ["PD901"] * 3
    assert [each.hint.partition(",")[0] for each in check(load(text))] == [
        "Use `workflow.TaskGroup`",
        "Use `workflow.wait`",
        "Use `workflow.as_completed`",
    ]
    assert all(each.code.is_warning for each in check(load(text)))
    Registry(WorkerOptions(workflows=[load(text)], task_queue="q"))


@pytest.mark.parametrize(
    "given",
    [
        "[self.call(n) for n in range(3)]",
        "(self.call(n) for n in range(3))",
        "[self.call(1), self.call(2)]",
        "[inner(), inner()]",
        "calls",
    ],
)
def test_coroutines_are_completed_in_no_order(told: Check, given: str) -> None:
    text = f"""\
class Flow(histories.Doomed):
    async def call(self, n): return n
    async def run(self, request):
        async def inner(): return 1
        calls = [self.call(n) for n in range(3)]
        for each in asyncio.as_completed({given}):
            await each
        return Outcome()
"""
    assert codes(told(text)) == ["PD304"]


@pytest.mark.parametrize(
    "given", ["[asyncio.ensure_future(self.call(n)) for n in range(3)]", "self.tasks", "[histories.work(Step())]"]
)
def test_tasks_are_completed_in_order_on_the_embedded_engine(told: Check, given: str) -> None:
    text = f"""\
class Flow(histories.Doomed):
    async def call(self, n): return n
    async def run(self, request):
        for each in asyncio.as_completed({given}):
            await each
        return Outcome()
"""
    assert codes(told(text)) == ["PD901"]


def test_queries_may_look_and_not_touch(told: Check) -> None:
    body = """\
class Flow(histories.Chatty):
    async def run(self, request): return Outcome()
    async def on_nudge(self, request): pass
    async def on_finish(self, request): pass
    def peek(self, request):
        return Reading(value=shared(), log=[open("a").read()])
    async def add(self, request): SHARE
def shared(): return time.time_ns()
"""
    assert told(body.replace("SHARE", "...")) == ["6: PD201 `open` in Flow.peek"]
    assert codes(told(body.replace("SHARE", "shared()"))) == ["PD201", "PD101"]


def test_a_comment_with_code_and_reason_lets_a_line_pass(told: Check) -> None:
    assert not told(run("time.time()  # protopact: ignore[PD101] it is for the log alone"))
    assert not told(run("list({time.time()})  # protopact: ignore[PD301, PD101]: of one element"))
    assert codes(told(run("time.time()  # protopact: ignore[PD102] another"))) == ["PD101"]
    assert codes(told(run("time.time()  # protopact: ignore[PD101]"))) == ["PD101", "PD401"]
    assert codes(told(run("time.time()  # protopact: ignore"))) == ["PD101", "PD401"]
    assert not told(run("'# protopact: ignore'"))


def test_code_without_source_is_passed_over(tmp_path: Path) -> None:
    names: dict[str, type[workflow.Workflow]] = {}
    exec(HEAD + run("time.time()"), {"__name__": "typed"}, names)  # noqa: S102 - what is tested
    assert not check(names["Flow"])


def test_code_whose_file_has_changed_is_passed_over(load: Callable[[str], type[workflow.Workflow]]) -> None:
    cls = load(run("time.time()"))
    file = sys.modules[cls.__module__].__file__
    assert file is not None
    Path(file).write_text("\n\n\n" + HEAD + run("time.time()"))
    assert not check(cls)


def test_it_ends_where_code_is_odd(told: Check) -> None:
    body = """\
a = b
b = a
self.x = self.x | self.y
self.y = self.x
f = lambda: f()
f()
def g(): return h()
def h(): return g()
g()
helper()
"""
    assert not told(run(body, "def helper(): return helper()\n"))


def test_an_object_that_would_act_when_it_is_looked_at_is_left_alone(told: Check) -> None:
    hostile = """\
class Meta(type):
    def __eq__(self, other): raise ValueError
    __hash__ = None
class Lazy:
    __class__ = property(lambda self: 1 / 0)
    def __getattr__(self, name): return 1 / 0
    def __eq__(self, other): raise ValueError
    def __call__(self): ...
class Array(metaclass=Meta):
    def __eq__(self, other): raise ValueError
    def __call__(self): ...
lazy, array = Lazy(), Array()
"""
    body = "lazy.now(), lazy(), array.now(), array(), Array().now()\nlist(lazy)\nx: Array = 1\nlist(x)\nlazy | array"
    assert not told(run(body, hostile))


def test_a_worker_refuses_with_all_at_once(load: Callable[[str], type[workflow.Workflow]]) -> None:
    cls = load(run("time.time()\nuuid.uuid4()"))
    with pytest.raises(RegistrationError) as caught:
        Registry(WorkerOptions(workflows=[cls], task_queue="q"))
    file = sys.modules[cls.__module__].__file__
    assert str(caught.value) == (
        "this worker cannot serve what it was given:\n"
        f"  - workflow class {cls.__module__}.Flow (histories.v1.Histories.Doomed) does what replay could not repeat:\n"
        f"    {file}:10:9: PD101 `time.time` in Flow.run\n"
        "        hint: Use `workflow.now()` or `workflow.time_ns()`.\n"
        f"    {file}:11:9: PD103 `uuid.uuid4` in Flow.run\n"
        "        hint: Use `workflow.uuid4()`."
    )


@pytest.mark.parametrize("module", [workflows, programs, marked, stories, provisioning])
def test_what_is_right_passes(module: object) -> None:
    classes = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, workflow.Workflow) and not inspect.isabstract(each)
    ]
    assert classes
    assert not [render(finding) for cls in classes for finding in check(cls)]


def test_a_class_is_read_once(load: Callable[[str], type[workflow.Workflow]]) -> None:
    cls = load(run("time.time()"))
    assert check(cls) is check(cls)


def test_every_code_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/determinism.md").read_text()
    documented = re.findall(r"^\| (PD\d{3}) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert documented == [(code.value, code.name.lower().replace("_", " ")) for code in Code]
