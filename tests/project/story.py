"""Plays a page of the documentation: writes its files, runs its commands, compares its transcripts, checks its types.

A page is a story that is played, block by block, in a folder of its own. The info string of a block says what it is:

- ``LANGUAGE title="path"``: a file; written.
- ``diff title="path"``: an edit of that file, hunk by hunk; what a hunk replaces stands there once.
- ``sh``: commands; each must succeed. ``make`` is checked against the Makefile only. ``pip install`` is done when the
  story has an environment of its own, else checked: the packages must be ours or locked ones. ``cd`` holds for what
  follows, and what ``git clone`` gives is the repository as it stands.
- ``console``: a transcript: lines that start with ``$ `` are commands, and what stands below one is all that it prints.
  ``...`` stands for any text, on a line of its own for any lines; durations, times and run ids may differ.
- ``python``: a program; run.
- ``text``: for the eye.

At the end mypy and pyright, both strict, look at the Python files of the page, save those that are called wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import CliRunner

from protopact.cli import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Commands of ours that run no code of the page.
OURS = [["protopact", name] for name in ("check", "release", "proto")]
LOCKED = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))


# What differs from run to run: durations, times, run ids, and how far a column is pushed by them.
VARYING = re.compile(
    r"[+]?\d+(\.\d+)? (ms|s)\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? UTC|[0-9a-f]{8}(-[0-9a-f]{4,12}){4}"
)


def _masked(printed: str) -> str:
    lines = (re.sub(r" +", " ", VARYING.sub("~", line)).rstrip() for line in printed.strip().splitlines())
    return "".join(f"{line}\n" for line in lines)


def _pattern(expected: str) -> re.Pattern[str]:
    lines = _masked(expected).splitlines()
    return re.compile(
        "".join(r"(.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n" for line in lines)
    )


class Story:
    """A page being played in a folder, by a person who has activated the virtual environment of a Python.

    With `wheel` and `wheels` the environment is the story's own: `pip install` installs that wheel of ours, and the
    packages of others from that folder. With `engine` its programs are given that URL instead of one of a file, and
    their types, which are the same, are not looked at.
    """

    def __init__(
        self,
        page: Path,
        folder: Path,
        python: Path,
        *,
        wheel: Path | None = None,
        wheels: Path | None = None,
        engine: str | None = None,
    ) -> None:
        self.page = page
        self.folder = folder
        self.where = folder
        self.python = python
        self.wheel = wheel
        self.wheels = wheels
        self.engine = engine
        self.programs: list[Path] = []

    def play(self) -> None:
        """Play every block, then check the types."""
        self.folder.mkdir(exist_ok=True)
        for token in MarkdownIt().parse(self.page.read_text()):
            if token.type == "fence":
                self._play(token)
        if self.programs and self.engine is None:
            self._check_types()

    def _play(self, block: Token) -> None:
        assert block.map
        place = f"{self.page.relative_to(ROOT)}:{block.map[0] + 1}"
        language, _, rest = block.info.partition(" ")
        title = re.fullmatch(r'title="([^"]+)"', rest.strip())
        if rest and not title:
            pytest.fail(f"{place}: {rest!r} is not a title")
        if title and language == "diff":
            self._edit(self.where / title[1], block.content, place)
        elif title:
            self._write(title[1], block.content)
        elif language == "python":
            name = f"line_{block.map[0] + 1}.py"
            self._write(name, block.content)
            self._run(f"python {name}", place)
        elif language == "sh":
            for command in block.content.replace("\\\n", " ").splitlines():
                if command.strip() and not command.startswith("#"):
                    self._run(command, place)
        elif language == "console":
            self._compare(block.content, place)
        elif language != "text":
            pytest.fail(f"{place}: a block of {language or 'no language'!r} without a title is not played")

    def _compare(self, transcript: str, place: str) -> None:
        for part in re.split(r"^\$ ", transcript, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            printed = self._run(command, place, may_fail=True)
            assert _pattern(expected).fullmatch(_masked(printed)), f"{place}: {command} printed\n{printed}"

    def _edit(self, path: Path, content: str, place: str) -> None:
        text = path.read_text()
        for hunk in re.split(r"^@@.*\n", content, flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            old, new = ("".join(line[1:] or "\n" for line in lines if line[0] != sign) for sign in "+-")
            assert text.count(old) == 1, f"{place}: this stands {text.count(old)} times in {path.name}:\n{old}"
            text = text.replace(old, new)
        path.write_text(text)

    def _write(self, name: str, content: str) -> None:
        path = self.where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if path.suffix == ".py" and not path.stem.startswith("wrong"):
            self.programs.append(path)

    def _run(self, command: str, place: str, *, may_fail: bool = False) -> str:
        words = shlex.split(command, comments=True)
        if words[:1] == ["cd"]:
            self.where = (self.where / words[1]).resolve(strict=True)
            return ""
        if words[:2] == ["git", "clone"]:
            self._clone(self.where / words[3])
            return ""
        if words[:2] == ["pip", "install"]:
            self._check_packages(words[2:], place)
            if self.wheel is None:
                return ""
            ours = [re.sub(r"^protopact\b", str(self.wheel), word) for word in words[2:]]
            command = shlex.join(["pip", "install", "-q", "--no-index", f"-f{self.wheels}", *ours])
        if self.wheel is None and words[:2] in OURS and not set(command) & set("|&;<>$"):
            return self._run_here(words, place, may_fail=may_fail)
        if self.engine is not None:
            command = re.sub(r"sqlite:///[\w.]+", self.engine, command)
        where = self.where
        if words[0] == "make":
            where, command = ROOT, f"make --dry-run {shlex.join(words[1:])}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=where,
            env=self._environment() | ({"PYTHONWARNINGS": "error"} if words[0] == "python" else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert may_fail or done.returncode == 0, f"{place}: {command} exited with {done.returncode}\n{done.stdout}"
        return done.stdout

    def _run_here(self, words: list[str], place: str, *, may_fail: bool) -> str:
        """Run a command of ours in this process: a new one takes most of the time."""
        with contextlib.chdir(self.where), patch.dict(os.environ, self._environment()):
            done = CliRunner().invoke(app, words[1:])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert may_fail or done.exit_code == 0, f"{place}: {words} exited with {done.exit_code}\n{done.output}"
        return done.output

    def _clone(self, folder: Path) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)

    def _check_packages(self, requirements: list[str], place: str) -> None:
        for requirement in requirements:
            match = re.fullmatch(r"([a-z0-9-]+)(?:\[([a-z0-9,]+)\])?", requirement)
            assert match, f"{place}: {requirement!r} is not a plain requirement"
            if match[1] == PROJECT["project"]["name"]:
                extras = set(match[2].split(",")) if match[2] else set[str]()
                assert extras <= set(PROJECT["project"]["optional-dependencies"]), f"{place}: no such extra"
            else:
                assert match[1] in LOCKED, f"{place}: {match[1]} is not among the locked packages"

    def _check_types(self) -> None:
        names = [str(path.relative_to(self.folder)) for path in self.programs]
        mypy = subprocess.run(
            [
                Path(sys.executable).with_name("mypy"),
                f"--python-executable={self.python}",
                "--strict",
                "--follow-imports=silent",
                f"--cache-dir={ROOT / '.mypy_cache/docs'}",
                *names,
            ],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert mypy.returncode == 0, f"{self.page.name}: mypy\n{mypy.stdout}{mypy.stderr}"
        settings = {"include": names, "typeCheckingMode": "strict", "pythonVersion": "3.11"}
        (self.folder / "pyrightconfig.json").write_text(json.dumps(settings))
        pyright = subprocess.run(
            [Path(sys.executable).with_name("pyright"), "--pythonpath", self.python],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert pyright.returncode == 0, f"{self.page.name}: pyright\n{pyright.stdout}"

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",  # it would ask the network whether there is a newer one
            "PYTHONPATH": "",
        }
