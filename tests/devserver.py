"""A real Temporal dev server for tests and benchmarks: found or installed by `tools.temporal_cli`, started, stopped.

A test takes the fixture `temporal_server`, which gives it the marker `temporal` by itself. Code without pytest takes
`start` as a context manager.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError
from tools import temporal_cli

__all__ = ["ADMITTED_ID", "NAMESPACES", "SEARCH_ATTRIBUTES", "DevServer", "StartError", "start", "temporal_server"]

NAMESPACES = ("other",)
"""There beside `default`."""
SEARCH_ATTRIBUTES = {
    "Owner": "Keyword",
    "Region": "Keyword",
    "Stage": "Keyword",
    "Team": "Keyword",
    "Note": "Text",
    "Count": "Int",
    "Nodes": "Int",
    "Size": "Int",
    "Load": "Double",
    "Hot": "Bool",
    "Ready": "Bool",
    "Since": "Datetime",
    "Tags": "KeywordList",
    "Zones": "KeywordList",
}
"""Registered in each namespace, with their types. On SQLite the server has room for three of a type, ten of Keyword."""
ADMITTED_ID = 900
"""Most bytes of an id."""
DYNAMIC_CONFIG = {
    # The server polls its queues twenty times a second otherwise, and each hop costs up to 50 ms.
    "history.transferProcessorMaxPollRPS": "100000",
    "history.timerProcessorMaxPollRPS": "100000",
    "history.visibilityProcessorMaxPollRPS": "100000",
    # It rounds the time of a timer up by as much as a second otherwise.
    "history.timerProcessorMaxTimeShift": '"1ms"',
    "system.enableActivityEagerExecution": "true",
    # A run may be terminated and started again at once; a cluster waits a second.
    "history.workflowIdReuseMinimalInterval": '"0s"',
    # What a server admits is for its operators to say; it comes with 1,000.
    "limit.maxIDLength": str(ADMITTED_ID),
}
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")
_PATIENCE = 60.0
"""Seconds until a server that does not serve, or does not end, is given up."""
_ATTEMPTS = 3
"""A port that was free may be taken by another process before the server has it."""
_WATCHDOG = 'read -r line; kill "$1" 2>/dev/null'


class StartError(Exception):
    """The server did not start; the message holds the end of its log."""


@dataclass(frozen=True)
class DevServer:
    """A dev server that serves."""

    address: str
    """`127.0.0.1:port`, of the gRPC frontend."""
    pid: int
    """Of its process."""
    log: Path
    """What it prints."""
    namespace: str = "default"

    @property
    def url(self) -> str:
        """What `protopact.connect` takes."""
        return f"temporal://{self.address}/{self.namespace}"

    async def connect(self, namespace: str | None = None) -> Client:
        """A client of Temporal's own SDK."""
        return await Client.connect(self.address, namespace=namespace or self.namespace)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Without what would configure Temporal's CLI, and without a proxy, which has no part in talking to oneself."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TEMPORAL_") and name.lower() not in ("http_proxy", "https_proxy", "all_proxy")
    }


async def _check(address: str, namespaces: Sequence[str]) -> None:
    client = await Client.connect(address)
    await client.service_client.check_health()
    for namespace in namespaces:
        await (await Client.connect(address, namespace=namespace)).count_workflows()


def _await_service(server: DevServer, process: subprocess.Popen[bytes], namespaces: Sequence[str]) -> None:
    """Wait until it answers, in a thread of its own: the caller may be in a running event loop."""
    until = time.monotonic() + _PATIENCE
    with ThreadPoolExecutor(1) as thread:
        while True:
            try:
                return thread.submit(asyncio.run, _check(server.address, namespaces)).result()
            except (RuntimeError, RPCError) as error:  # the first is what the SDK raises for want of a connection
                ended = process.poll()
                if ended is None and time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                reason = f"did not serve after {_PATIENCE:.0f} s: {error}" if ended is None else f"ended with {ended}"
            text = "\n".join(f"    {line}" for line in server.log.read_text(errors="replace").splitlines()[-12:])
            raise StartError(f"the Temporal dev server {reason}; {server.log} ends with\n{text}")


@contextmanager
def _process(command: Sequence[str | Path], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A process that ends with the block, or, by way of a pipe that is closed then, with this process."""
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for the tests, which still want a server when they end what they began.
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        watchdog.kill()  # before the process is gone and its number free for another
        watchdog.communicate()
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def start(
    folder: Path,
    *,
    namespaces: Sequence[str] = NAMESPACES,
    search_attributes: Mapping[str, str] = SEARCH_ATTRIBUTES,
    dynamic_config: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Generator[DevServer]:
    """Start a server on a loopback port, with its database and its log in `folder`, and stop it.

    It is tuned for latency and durable; a second one on the same folder goes on with what the first one stored.

    Args:
        folder: Where `temporal.db` and `temporal.log` are, or will be.
        namespaces: To be there beside `default`.
        search_attributes: Names and types of what is registered in each namespace.
        dynamic_config: Beside, and before, `DYNAMIC_CONFIG`; values are JSON.
        port: Of the gRPC frontend; a free one by default.

    Raises:
        MissingError: There is no server to be had (of `tools.temporal_cli`).
        StartError: It does not start.
    """
    binary = temporal_cli.provide()
    log = folder / "temporal.log"
    for attempt in range(1, _ATTEMPTS + 1):
        chosen = port or _free_port()
        server: list[str | Path] = [
            binary,
            "server",
            "start-dev",
            "--headless",
            "--ip",
            "127.0.0.1",
            "--port",
            str(chosen),
        ]
        server += ["--db-filename", folder / "temporal.db", "--log-level", "error"]
        server += [word for pragma in _PRAGMAS for word in ("--sqlite-pragma", pragma)]
        server += [word for namespace in namespaces for word in ("--namespace", namespace)]
        for name, kind in search_attributes.items():
            server += ["--search-attribute", f"{name}={kind}"]
        for name, value in (DYNAMIC_CONFIG | dict(dynamic_config or {})).items():
            server += ["--dynamic-config-value", f"{name}={value}"]
        with _process(server, log) as process:
            running = DevServer(f"127.0.0.1:{chosen}", process.pid, log)
            try:
                _await_service(running, process, ["default", *namespaces])
            except StartError:
                if port is None and attempt < _ATTEMPTS and "address already in use" in log.read_text(errors="replace"):
                    continue
                raise
            yield running
            return


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A Temporal dev server, one for all tests of a process: `.url`, `.address`, `await .connect()`.

    Tests share it, each with task queues and workflow ids of its own. A test that takes the fixture has the marker
    `temporal`; one that asks for it as it runs (`request.getfixturevalue`), say for one of its parameters, carries the
    marker itself: `pytest.param("temporal", marks=pytest.mark.temporal)`. A test that stops servers starts its own,
    with `start`. There are the namespaces `default` and NAMESPACES, and SEARCH_ATTRIBUTES in each.
    """
    try:
        with start(tmp_path_factory.mktemp("temporal")) as server:
            yield server
    except (temporal_cli.MissingError, StartError) as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take the server, before markers select."""
    for item in items:
        if isinstance(item, pytest.Function) and "temporal_server" in item.fixturenames:
            item.add_marker(pytest.mark.temporal)
