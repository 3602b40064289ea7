"""Contracts to cut releases from, and the command line in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.versioning.schema import HEADER, ROOT, WELL_KNOWN, protoc
from tests.versioning.stage import Stage
from typer.testing import CliRunner

import protopact as runtime
from protopact.cli import app

__all__ = ["HEADER", "ROOT", "WELL_KNOWN", "Answer", "Compile", "Protopact", "compile_image", "git", "protoc"]


@dataclass(frozen=True)
class Answer:
    """What a command said, on standard output and standard error, and its exit code."""

    exit_code: int
    output: str


Protopact = Callable[..., Answer]
Compile = Callable[[str, str], Path]


@pytest.fixture
def protopact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protopact:
    """Run the command in an empty folder, with buf on its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def protopact(*arguments: object) -> Answer:
        answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
        return Answer(answer.exit_code, answer.output)

    return protopact


def compile_image(folder: Path, name: str, text: str | Mapping[str, str]) -> Path:
    """Compile one proto file, or several by their paths, to an image beside them."""
    files = {"shop.proto": text} if isinstance(text, str) else text
    (folder / name).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (folder / name / path).write_text(content)
    image = folder / f"{name}.binpb"
    includes = [f"--proto_path={folder / name}", f"--proto_path={ROOT / 'runtime'}", f"--proto_path={WELL_KNOWN}"]
    outputs = [f"--descriptor_set_out={image}", "--include_imports", "--include_source_info"]
    protoc(*includes, *outputs, *files)
    return image


@pytest.fixture
def image(tmp_path: Path) -> Compile:
    """Compile one proto file, given by a name of the image and its text."""
    return lambda name, text: compile_image(tmp_path, name, text)


def git(folder: Path, *arguments: str) -> None:
    """Run git without what a person's settings would do to it."""
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture(params=["embedded", pytest.param("temporal", marks=pytest.mark.temporal)])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each engine in its turn."""
    url = "sqlite://" if request.param == "embedded" else request.getfixturevalue("temporal_server").url
    async with runtime.connect(url) as engine:
        yield Stage(engine)
