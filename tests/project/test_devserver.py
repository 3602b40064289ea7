"""The dev server: where it comes from, that it serves, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from tests.devserver import NAMESPACES, SEARCH_ATTRIBUTES, DevServer, StartError, start
from tools import cache, temporal_cli

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
RUNS = 'echo "temporal version 1.5.1"'
# What `go install` does, in no time; it notes how it was called.
GO = """
if [ "$1" = env ]; then echo "$GO_CACHES"; exit; fi
echo "$GOFLAGS $GOWORK $GOCACHE $*" >>"$NOTES"
printf '#!/bin/sh\\n' >"$GOBIN/temporal"
/bin/chmod +x "$GOBIN/temporal"
"""
HOLDER = """
import sys, time
from pathlib import Path
from tests.devserver import start
with start(Path(sys.argv[1]), namespaces=()) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has none of them: an empty PATH, an empty cache, no network."""
    monkeypatch.delenv("TEMPORAL_CLI", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("GO_CACHES", str(tmp_path / "go"))
    return tmp_path


async def test_it_serves_in_its_namespaces(temporal_server: DevServer, request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("temporal"), "what `make test-embedded` leaves out"
    for namespace in ("default", *NAMESPACES):
        client = await temporal_server.connect(namespace)
        assert await client.service_client.check_health()
        question = ListSearchAttributesRequest(namespace=namespace)
        assert SEARCH_ATTRIBUTES.keys() <= (
            (await client.operator_service.list_search_attributes(question)).custom_attributes.keys()
        )


@pytest.mark.temporal
def test_it_goes_on_with_what_it_stored_and_minds_no_proxy_and_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "nowhere:1")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nothing")
    with start(tmp_path, namespaces=["first"]):
        pass
    with start(tmp_path, namespaces=["first", "second"]) as server:
        assert server.url == f"temporal://{server.address}/default"


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.temporal
def test_none_outlives_its_owner(ending: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        owner.send_signal(ending)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"the server {pid} outlives its owner")


def test_what_ends_at_once_is_an_error_with_its_log(
    bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMPORAL_CLI", str(executable(tmp_path / "broken", "echo this is no server; exit 3")))
    with pytest.raises(StartError, match=r"server ended with 3; .*temporal.log ends with\n    this is no server"):
        start(tmp_path).__enter__()


def test_the_one_that_is_named_wins_then_the_one_on_the_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path = executable(bare / "bin/temporal", RUNS)
    assert temporal_cli.provide() == on_the_path
    named = executable(bare / "named", RUNS)
    monkeypatch.setenv("TEMPORAL_CLI", str(named))
    assert temporal_cli.provide() == named
    monkeypatch.setenv("TEMPORAL_CLI", str(bare / "nothing"))
    with pytest.raises(temporal_cli.MissingError, match=r"TEMPORAL_CLI is '.*nothing', which is no executable file"):
        temporal_cli.provide()


def test_go_builds_it_once_whoever_asks(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(bare / "bin/go", GO)
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOWORK", "/some/go.work")
    command = [sys.executable, "-m", "tools.temporal_cli"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate()[0].strip() for process in both}
    assert answers == {str(temporal_cli.provide())}
    assert temporal_cli.provide().is_relative_to(bare / "cache/protopact/temporal-cli")
    noted = (bare / "notes").read_text().splitlines()
    assert noted == ["-buildvcs=false off  install github.com/temporalio/cli/cmd/temporal@v1.5.1"]


def test_caches_that_cannot_be_written_to_are_replaced(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(bare / "bin/go", GO)
    monkeypatch.setenv("GO_CACHES", "/dev/null/go")
    binary = temporal_cli.provide()
    flags, modules, _workspace, build = (bare / "notes").read_text().split()[:4]
    assert (flags, modules) == ("-buildvcs=false", "-modcacherw")
    assert Path(build).is_relative_to(binary.parents[1])
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    monkeypatch.setattr(cache, "ROOT", bare / "checkout")
    assert temporal_cli.provide().is_relative_to(bare / "checkout/.cache")
    monkeypatch.setattr(cache, "ROOT", Path("/dev/null"))
    with pytest.raises(temporal_cli.MissingError, match=r"no place for what is built.*XDG_CACHE_HOME=/path/to/folder"):
        temporal_cli.provide()


def test_what_cannot_be_had_is_said_with_what_to_do(bare: Path) -> None:
    executable(bare / "bin/go", 'echo "go: downloading x"; echo "go: dial tcp: lookup proxy.golang.org" >&2; exit 1')
    with pytest.raises(temporal_cli.MissingError) as caught:
        temporal_cli.provide()
    told = str(caught.value)
    assert "`temporal` is not on PATH" in told
    assert "`go install github.com/temporalio/cli/cmd/temporal@v1.5.1` failed:\n    go: dial tcp: lookup proxy" in told
    assert "the download of Temporal's Python SDK failed: " in told
    assert "install Go, 1.21 or newer" in told
    assert "TEMPORAL_CLI=/path/to/temporal" in told
    assert told.endswith("`make test-embedded` runs the tests that need no server.")


def test_tests_fail_with_that_sentence(bare: Path) -> None:
    """No skip: what was not tested is not green."""
    tests = bare / "test_some.py"
    tests.write_text("def test_with(temporal_server): pass\n")
    options: list[str | Path] = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "conftest",
        "--rootdir",
        ROOT,
        "-c",
        ROOT / "pyproject.toml",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tests], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    assert "`make test-embedded` runs the tests that need no server." in done.stdout
