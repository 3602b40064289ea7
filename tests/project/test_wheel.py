"""The distribution as its users get it: built, installed into an empty environment, used outside the repository."""

from __future__ import annotations

import os
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

SHOP = """\
syntax = "proto3";
package shop.v1;
import "protopact/v1/annotations.proto";
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) { option (protopact.v1.method).workflow = {id: "buy/{item}"}; }
}
message BuyRequest { string item = 1; }
message BuyResponse { string text = 1; }
"""

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


def test_buf_runs_the_check_plugin_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """`buf lint` and `buf breaking`, where nothing is installed but the wheel, its extra `codegen`, and buf."""
    venv.create(tmp_path / "environment", with_pip=True)
    scripts = tmp_path / "environment/bin"
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", f"-f{WHEELS / 'dev'}"]
    subprocess.run([scripts / "python", *install, f"{wheel}[codegen]", "buf-bin"], check=True)

    def run(*command: str) -> tuple[int, str]:
        environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}/usr/bin:/bin", "PYTHONPATH": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert run("protopact", "proto", "export", "schema")[0] == 0
    (tmp_path / "buf.yaml").write_text(
        "version: v2\nmodules: [{path: proto}, {path: schema}]\nplugins: [{plugin: buf-plugin-protopact}]\n"
        "lint: {use: [PROTOPACT]}\nbreaking: {use: [PROTOPACT]}\n"
    )
    contract = tmp_path / "proto/shop.proto"
    contract.parent.mkdir()
    contract.write_text(SHOP)
    assert run("buf", "lint") == (0, "")
    assert run("buf", "build", "-o", "old.binpb") == (0, "")
    assert run("buf", "breaking", "--against=old.binpb") == (0, "")
    contract.write_text(SHOP.replace("item", "article"))
    status, said = run("buf", "breaking", "--against=old.binpb")
    assert (status, said.count("PP801 shop.v1.BuyRequest.article was called item (P7): ")) == (100, 1)
    contract.write_text(SHOP.replace("{item}", "{itme}"))
    status, said = run("buf", "lint")
    assert (status, said.count("PP402 workflow shop.v1.ShopService.Buy: ")) == (100, 1)
