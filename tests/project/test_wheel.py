"""The distribution as its users get it: built, installed into an empty environment, used outside the repository."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from tests.project.story import Story

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".cache/wheels"

pytestmark = pytest.mark.slow


def build(project: Path, target: str, out: Path) -> Path:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out], cwd=project, check=True)
    (built,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(ROOT / folder).as_posix()
        for folder, package in (("runtime", "protopact"), ("codegen", "protopact_codegen"))
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert {"protopact/py.typed", "protopact_codegen/py.typed", "protopact/v1/annotations.proto"} <= sources
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (project,) = (tmp_path / "unpacked").iterdir()
    rebuilt = build(project, "wheel", tmp_path / "rebuilt")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(rebuilt) as other:
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def play_on_wheel(page: str, wheel: Path, packages: str, folder: Path) -> None:
    wheels = WHEELS / packages
    assert (wheels / "complete").exists(), "the packages to install are not there: run `make test-slow`"
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment/bin/python"
    Story(ROOT / page, folder / "project", python, wheel=wheel, wheels=wheels).play()
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "check"], check=True)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/getting-started.md", "docs/message-libraries.md", "docs/testing.md"]
)
def test_a_new_project_lives_on_the_wheel(page: str, wheel: Path, tmp_path: Path) -> None:
    """A contract, a worker and a client of its own, for each message library, run, and are content under mypy."""
    play_on_wheel(page, wheel, "dev", tmp_path)


def test_the_oldest_packages_that_are_admitted_will_do(wheel: Path, tmp_path: Path) -> None:
    play_on_wheel("README.md", wheel, "oldest", tmp_path)
