"""`protopact replay`: stored histories against workflow classes, as CI calls it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from protopact.cli import app

ROOT = Path(__file__).parents[2]
HISTORIES = ROOT / "tests/replay/histories"
PROTOPACT = Path(sys.executable).with_name("protopact")
SEQUENCE = "tests.replay.workflows:Sequence"

CHANGED = """\
import asyncio

from protopact.payload import Payload, PayloadCodec
from protopact.replay import Replayer
from tests.replay.workflows import Doomed, Sequence


class Longer(Sequence):
    async def run(self, request):
        await asyncio.sleep(1)
        return await super().run(request)


class Renamed(Sequence):
    async def run(self, request):
        outcome = await super().run(request)
        outcome.id += "!"
        return outcome


class Raises(Sequence):
    async def run(self, request):
        raise ZeroDivisionError("oh")


def replayer():
    return Replayer(workflows=[Sequence, Doomed])


def broken():
    raise ZeroDivisionError("oh")


ready = replayer()
nothing = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of workflows, and a folder of histories; the current one."""
    monkeypatch.chdir(tmp_path)
    # What the command changes in its process.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "changed", raising=False)
    monkeypatch.setattr(logging.getLogger("protopact.replay"), "propagate", True)
    (tmp_path / "changed.py").write_text(CHANGED)
    (tmp_path / "histories" / "deep").mkdir(parents=True)
    shutil.copy(HISTORIES / "sequence.json", tmp_path / "histories" / "deep")
    return tmp_path


def run(place: Path, *arguments: object, code: int) -> str:
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    assert not done.exception or isinstance(done.exception, SystemExit)
    assert done.exit_code == code, done.output
    return done.output


def test_it_runs_where_it_is_called(place: Path) -> None:
    done = subprocess.run(
        [PROTOPACT, "replay", "-w", "changed", "histories"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'generated/google'}"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("protopact: these workflows cannot be run:\n  - the name histories.v1.")


def test_histories_that_replay_are_listed(place: Path) -> None:
    told = run(place, "--workflows", SEQUENCE, "histories", code=0)
    assert told.splitlines() == [
        "ok        histories/deep/sequence.json  histories.v1.Histories.Sequence 'Sequence-s', 23 events",
        "",
        "1 history: 1 replayed",
    ]


def test_a_module_stands_for_its_workflows_and_names_may_be_many(place: Path) -> None:
    names = ("sequence", "doomed", "chatty_open")
    files = [HISTORIES / f"{name}.json" for name in names]
    assert "chatty_open.json  histories.v1.Histories.Chatty 'chatty-full', 47 events, open" in run(
        place, "-w", "tests.replay.workflows", *files, code=0
    )
    run(place, "-w", f"{SEQUENCE},tests.replay.workflows:Doomed", "-w", "tests.replay.workflows:Chatty", *files, code=0)


def test_code_that_does_something_else_is_refused_with_the_report(place: Path) -> None:
    told = run(place, "-w", "changed:Longer", "histories", code=1)
    assert told.startswith("FAILED    histories/deep/sequence.json")
    assert "does not follow its history" in told
    assert "changed.py:10" in told
    assert told.endswith("1 history: 1 failed\n") or "0 replayed, 1 failed" in told


def test_strict_mode_can_be_turned_off(place: Path) -> None:
    told = run(place, "-w", "changed:Renamed", "histories", code=1)
    assert "result" in told
    assert "open" not in told.splitlines()[0]  # the run that the history is of has ended
    assert run(place, "-w", "changed:Renamed", "histories", "--no-strict", code=0).startswith("ok ")


def test_what_the_code_raises_is_told_with_its_place(place: Path) -> None:
    told = run(place, "-w", "changed:Raises", "histories", code=1)
    assert "ZeroDivisionError: oh" in told
    assert "changed.py:23, in run" in told
    assert 'raise ZeroDivisionError("oh")' in told


def test_tools_get_json(place: Path) -> None:
    (place / "histories" / "broken.json").write_text("{")
    given: dict[str, Any] = json.loads(run(place, "-w", "changed:Longer", "--format", "json", "histories", code=1))
    broken, failed = given["histories"]
    assert (broken["status"], "problem" in broken) == ("unusable", True)
    assert {key: failed[key] for key in ("file", "status", "workflow_type", "workflow_id", "events", "is_closed")} == {
        "file": "histories/deep/sequence.json",
        "status": "failed",
        "workflow_type": "histories.v1.Histories.Sequence",
        "workflow_id": "Sequence-s",
        "events": 23,
        "is_closed": True,
    }
    assert failed["error"]["type"] == "NondeterminismError"
    assert failed["error"]["report"]["workflow_id"] == "Sequence-s"
    good = json.loads(run(place, "-w", SEQUENCE, "--format", "json", "histories/deep", code=0))
    assert [each["status"] for each in good["histories"]] == ["ok"]


def test_a_replayer_of_their_own_may_be_named(place: Path) -> None:
    for name in ("changed:replayer", "changed:ready"):
        run(place, "--replayer", name, "histories", HISTORIES / "doomed.json", code=0)


def test_a_damaged_history_is_replayed_up_to_the_damage(place: Path) -> None:
    text = (HISTORIES / "sequence.json").read_text()
    file = place / "histories" / "deep" / "sequence.json"
    file.write_text(text[: text.index('"eventId": "12"')])
    told = run(place, "-w", SEQUENCE, "histories", code=2)
    assert told.startswith(
        "UNUSABLE  histories/deep/sequence.json  histories.v1.Histories.Sequence 'Sequence-s', 11 ev"
    )
    assert "not Temporal's JSON" in told
    assert "The 11 events before it replay." in told
    assert "1 could not be used" in told
    # What disagrees before it matters more.
    run(place, "-w", "changed:Longer", "histories", code=1)


def test_a_file_may_leave_it_to_its_name_whose_it_is(place: Path) -> None:
    file = place / "histories" / "deep" / "sequence.json"
    read = json.loads(file.read_text())
    del read["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    file.write_text(json.dumps(read))
    assert "Sequence 'sequence', 23" in run(place, "-w", SEQUENCE, "histories", code=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["histories"], "give one of --workflows and --replayer"),
        (["-w", SEQUENCE, "--replayer", "changed:ready", "histories"], "give one of --workflows and --replayer"),
        (["--replayer", "changed:ready", "--relax", "input", "histories"], "--relax goes with --workflows"),
        (["-w", "missing:Workflow", "histories"], "missing cannot be imported: ModuleNotFoundError"),
        (["-w", "changed:Missing", "histories"], "changed:Missing: expected a workflow class, found nothing of that"),
        (["-w", "changed:nothing", "histories"], "changed:nothing: expected a workflow class, found 3"),
        (["-w", "json", "histories"], "json: the module defines no workflow class"),
        (["-w", ":Sequence", "histories"], "expected module:Class, found no module"),
        (["--replayer", "changed", "histories"], "changed: expected module:name of a Replayer"),
        (["--replayer", "changed:nothing", "histories"], "changed:nothing: expected a Replayer or a function"),
        (["--replayer", "changed:Longer", "histories"], "changed:Longer: expected a Replayer or a function"),
        (["--replayer", "changed:broken", "histories"], "changed:broken cannot be called: ZeroDivisionError: oh"),
        (["-w", SEQUENCE, "--relax", "everything", "histories"], "everything"),
        (["-w", SEQUENCE, "--no-strict", "--relax", "input", "histories"], "--relax names comparisons of strict mode"),
        (["--replayer", "changed:ready", "--no-strict", "histories"], "--no-strict goes with --workflows"),
        (["-w", SEQUENCE, "missing.json"], "missing.json is neither a history nor a folder"),
        (["-w", SEQUENCE, "."], ""),
        (["-w", "tests.replay.workflows:Doomed", "histories"], "which is none of the workflows given"),
        (["-w", SEQUENCE], "Missing argument"),
    ],
)
def test_mistakes_have_an_exit_code_of_their_own(place: Path, arguments: list[str], message: str) -> None:
    (place / "empty").mkdir()
    (place / "latin.json").write_bytes("é".encode("latin-1"))
    assert message in run(place, *arguments, code=2)


def test_a_folder_without_histories_is_a_mistake(place: Path) -> None:
    (place / "empty").mkdir()
    assert "empty holds no history" in run(place, "-w", SEQUENCE, "empty", code=2)
