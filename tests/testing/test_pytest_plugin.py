"""Stored histories as tests of pytest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
HISTORIES = ROOT / "tests/replay/histories"

CHANGED = """\
import asyncio
from protopact.replay import Replayer
from tests.replay.workflows import Sequence

class Longer(Sequence):
    async def run(self, request):
        await asyncio.sleep(1)
        return await super().run(request)

class Raises(Sequence):
    async def run(self, request):
        raise ZeroDivisionError("oh")

def replayer():
    return Replayer(workflows=[Sequence])
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with histories, a test of its own, and a module with changed workflows."""
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{ROOT}:{ROOT / 'generated/google'}")
    pytester.makepyfile(changed=CHANGED, test_own="def test_own(): pass")
    stored = pytester.mkdir("stored")
    shutil.copy(HISTORIES / "sequence.json", stored)
    (stored / "notes.txt").write_text("no history")
    return pytester


def test_each_history_is_a_test(project: pytest.Pytester) -> None:
    done = project.runpytest_subprocess(
        "--protopact-histories", "stored", "--protopact-workflows", "tests.replay.workflows", "-v"
    )
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["*stored/sequence.json::replay PASSED*"])
    done = project.runpytest_subprocess(
        *("--protopact-histories", "stored", "--protopact-workflows", "tests.replay.workflows"),
        "stored/sequence.json::replay",
    )
    done.assert_outcomes(passed=1)


def test_the_configuration_may_say_it_once(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nprotopact_histories = stored\nprotopact_workflows = tests.replay.workflows:Sequence\n")
    project.runpytest_subprocess().assert_outcomes(passed=2)
    # As testpaths do, it stands back when somebody names what to run.
    project.runpytest_subprocess("test_own.py").assert_outcomes(passed=1)
    project.runpytest_subprocess("stored").assert_outcomes(passed=1)
    project.runpytest_subprocess("-k", "sequence").assert_outcomes(passed=1, deselected=1)


def test_a_replayer_of_their_own_may_be_named(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nprotopact_histories = stored\nprotopact_replayer = changed:replayer\n")
    project.runpytest_subprocess().assert_outcomes(passed=2)
    done = project.runpytest_subprocess("--protopact-workflows", "tests.replay.workflows")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["protopact_replayer has its own workflows*"])


def test_a_failure_is_the_report_and_no_traceback(project: pytest.Pytester) -> None:
    done = project.runpytest_subprocess(
        "--protopact-histories", "stored", "--protopact-workflows", "changed:Longer", "stored"
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*replay of sequence.json*", "*does not follow its history*", "*changed.py:7*"])
    assert "Traceback" not in done.stdout.str()
    assert "replayer.py" not in done.stdout.str()
    done = project.runpytest_subprocess(
        "--protopact-histories", "stored", "--protopact-workflows", "changed:Raises", "stored"
    )
    done.stdout.fnmatch_lines(["ZeroDivisionError: oh", "*changed.py:12, in run"])


def test_a_file_that_holds_no_history_fails(project: pytest.Pytester) -> None:
    (project.path / "stored" / "other.json").write_text("[]")
    done = project.runpytest_subprocess(
        "--protopact-histories", "stored", "--protopact-workflows", "tests.replay.workflows", "stored"
    )
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*other.json: the history is not Temporal's JSON*"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protopact-histories", "missing"], "*protopact: no histories at *missing"),
        (["--protopact-histories", "stored"], "*protopact: histories without workflows; name them with*"),
    ],
)
def test_mistakes_are_told_before_anything_runs(project: pytest.Pytester, arguments: list[str], message: str) -> None:
    done = project.runpytest_subprocess(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([message])


def test_who_stores_no_histories_sees_nothing_of_it(project: pytest.Pytester) -> None:
    project.runpytest_subprocess().assert_outcomes(passed=1)
    project.runpytest_subprocess("stored").assert_outcomes()
