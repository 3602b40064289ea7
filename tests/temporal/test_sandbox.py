"""Generated workflow classes in Temporal's sandbox, and outside of it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import programs
from tests.temporal import programs as under_another_name
from tests.temporal.bench import UNSANDBOXED, serving, soon

from protopact import ApplicationError, WorkflowFailedError
from protopact.errors import RegistrationError
from protopact.temporal import TemporalWorkerOptions
from protopact.temporal.sandbox import passthrough_modules

ROOT = Path(__file__).parents[2]
SCRIPT = """
from __future__ import annotations
import asyncio
import sys
from typing import final
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
import protopact
{helper}
imported = []

@final
class Scripted(lab.Other):
    async def run(self, request: Text) -> Text:
        imported.append(1)
        return Text(value=f"{{request.value}} {{__name__}} {{len(imported)}} {{HELPED}}")

async def main(url, queue):
    async with (
        protopact.connect(url) as engine,
        engine.worker(workflows=[Scripted], task_queue=queue),
    ):
        for _ in range(2):
            found = await lab.Client(engine).execute_other(Text(value="script"), id=queue, task_queue=queue)
            print(found.value)

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that the module has seen here, outside of any sandbox."""
    seen = list[str]()
    monkeypatch.setattr(programs, "runs", seen)
    return seen


async def test_each_run_has_the_module_anew_and_the_messages_once(temporal_server: DevServer, runs: list[str]) -> None:
    async with serving(temporal_server.url, [under_another_name.Greeter, programs.Outer.Inner], temporal=None) as bench:
        assert await bench.run("one") == "one! 1"
        handle = await bench.start("two")
        assert (await soon(handle.result())).value == "two! 1"
        assert (await soon(handle.status(text("seen")))).value == "seen: 1"
        other = await bench.client.execute_other(text("x"), id=f"other-{uuid4()}")
        assert other.value == "inner x"
    assert not runs


async def test_without_the_sandbox_runs_share_their_module(temporal_server: DevServer, runs: list[str]) -> None:
    async with serving(temporal_server.url, [programs.Greeter]) as bench:
        assert await bench.run("one") == "one! 1"
        assert await bench.run("two") == "two! 2"
    assert runs == ["one", "two"]


async def test_failure_types_are_those_of_the_sandbox(temporal_server: DevServer) -> None:
    async with serving(
        temporal_server.url, [programs.Known], temporal=None, failure_types=[programs.KnownError]
    ) as bench:
        with pytest.raises(WorkflowFailedError) as raised:
            await bench.run("known")
        assert isinstance(raised.value.cause, ApplicationError)
        assert raised.value.cause.type == "KnownError"


@pytest.mark.parametrize("as_module", [False, True], ids=["script", "module"])
def test_a_workflow_of_the_script(temporal_server: DevServer, tmp_path: Path, *, as_module: bool) -> None:
    helper = "from .helper import HELPED" if as_module else "from helper import HELPED"
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "helper.py").write_text("HELPED = 'helped'")
    (folder / "main.py").write_text(SCRIPT.format(helper=helper))
    command = ["-m", "app.main"] if as_module else [str(folder / "main.py")]
    done = subprocess.run(
        [sys.executable, "-W", "error", *command, temporal_server.url, f"script-{uuid4()}"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'runtime'}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    name = "app.main" if as_module else "__temporal_main__"
    assert done.stdout.splitlines() == [f"script {name} 1 helped"] * 2, done.stderr


def test_a_script_that_runs_when_it_is_imported(temporal_server: DevServer, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    (tmp_path / "helper.py").write_text("HELPED = 'helped'")
    unguarded = SCRIPT.format(helper="from helper import HELPED").replace('if __name__ == "__main__":', "if True:")
    script.write_text(unguarded)
    done = subprocess.run(
        [sys.executable, str(script), temporal_server.url, f"script-{uuid4()}"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "RegistrationError" in done.stderr
    assert 'what the script does stands below `if __name__ == "__main__":`' in done.stderr


async def test_a_class_in_a_function_runs_without_the_sandbox_only(temporal_server: DevServer) -> None:
    class Local(lab.Other):
        async def run(self, request: Text) -> Text:
            return text(f"local {request.value}")

    with pytest.raises(RegistrationError, match=r"defined in a function.*sandboxed=False"):
        async with serving(temporal_server.url, [Local], temporal=TemporalWorkerOptions()):
            pass
    async with serving(temporal_server.url, [Local], temporal=UNSANDBOXED) as bench:
        found = await bench.client.execute_other(text("x"), id=f"other-{uuid4()}")
        assert found.value == "local x"


async def test_a_class_that_is_not_where_it_says(temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(programs, "Hidden")
    with pytest.raises(RegistrationError, match=r"programs\.Hidden is not what its module .* holds"):
        async with serving(temporal_server.url, [programs.Renamed], temporal=None):
            pass


WORKFLOWS = """
from __future__ import annotations
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab

class Inner(lab.Other):
    async def run(self, request: Text) -> Text:
        import late_pb2
        late_pb2.seen.append(1)
        return Text(value=f"{__name__} {len(late_pb2.seen)}")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that offers, under another name, a class of a module of its own."""
    name = f"app_{uuid4().hex}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("from ._flows import Inner as Offered")
    (tmp_path / name / "_flows.py").write_text(WORKFLOWS)
    (tmp_path / "late_pb2.py").write_text("seen = []")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    yield name
    for each in [each for each in sys.modules if each == "late_pb2" or each.startswith(name)]:
        del sys.modules[each]


async def test_imported_under_another_name(temporal_server: DevServer, package: str) -> None:
    offered = importlib.import_module(package).Offered
    async with serving(temporal_server.url, [offered], temporal=None) as bench:
        assert "late_pb2" not in sys.modules
        for number in (1, 2):
            found = await bench.client.execute_other(text("x"), id=f"other-{uuid4()}")
            # Messages that nobody had imported when the worker was made are imported once, for all runs.
            assert found.value == f"{package}._flows {number}"


def test_what_passes_through() -> None:
    found = passthrough_modules()
    assert {"protopact", "google.protobuf", "betterproto2", "tests.embedded.lab.v1.lab_pb2"} <= found
    assert "tests.embedded.lab.v1.lab_protopact" in found
    assert "tests.temporal.programs" not in found
    assert "tests" not in found
