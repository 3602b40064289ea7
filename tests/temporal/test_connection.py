"""Getting in: TLS, client certificates, API keys; and what is said of who does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import temporalio.worker
from temporalio.client import Client
from tests.devserver import DevServer
from tests.temporal.front import CERTIFICATES, open_front

import protopact
from protopact import EngineClosedError, EngineConnectionError, NotFoundError
from protopact.engine import WorkflowRef
from protopact.temporal import TemporalEngine, from_client

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t"  # noqa: S105 - it opens nothing
AUTHORITY = f"tls_server_ca_cert_path={CERTIFICATES}/ca.pem"
CLIENT = f"tls_client_cert_path={CERTIFICATES}/client.pem&tls_client_key_path={CERTIFICATES}/client.key"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))


async def refusal(url: str) -> str:
    with pytest.raises(EngineConnectionError) as raised:
        async with protopact.connect(url):
            pass
    return str(raised.value)


async def test_nothing_listens() -> None:
    assert await refusal("temporal://127.0.0.1:1/default") == (
        "Temporal at 127.0.0.1:1 cannot be reached: nothing listens there; start the server, or correct host and port"
    )


async def test_a_host_without_an_address() -> None:
    assert "the host's name cannot be resolved" in await refusal("temporal://nowhere.invalid/default")


async def test_a_namespace_that_is_not_there(temporal_server: DevServer) -> None:
    assert await refusal(f"temporal://{temporal_server.address}/nowhere") == (
        f"Temporal at {temporal_server.address}: it has no namespace 'nowhere'; correct the URL, or create the "
        "namespace (temporal operator namespace create --namespace nowhere)"
    )


async def test_tls(temporal_server: DevServer) -> None:
    async with open_front(temporal_server.address, certificate="server") as front:
        async with protopact.connect(f"temporal://{front}/default?{AUTHORITY}") as engine:
            with pytest.raises(NotFoundError):
                await engine.describe_workflow(WorkflowRef("nowhere"))
        assert "the server's certificate is not trusted" in await refusal(f"temporal://{front}/default?tls=true")
        assert "it may want TLS (?tls=true)" in await refusal(f"temporal://{front}/default")


async def test_a_certificate_that_has_expired(temporal_server: DevServer) -> None:
    async with open_front(temporal_server.address, certificate="expired") as front:
        assert await refusal(f"temporal://{front}/default?{AUTHORITY}") == (
            f"Temporal at {front} (with TLS) cannot be reached: the server's certificate has expired; the server's "
            "operator must renew it"
        )


async def test_a_certificate_of_another_name(temporal_server: DevServer) -> None:
    async with open_front(temporal_server.address, certificate="other") as front:
        assert "is for another name; say which (?tls_server_name=NAME)" in await refusal(
            f"temporal://{front}/default?{AUTHORITY}"
        )
        async with protopact.connect(f"temporal://{front}/default?{AUTHORITY}&tls_server_name=elsewhere.test"):
            pass


async def test_client_certificates(temporal_server: DevServer) -> None:
    async with open_front(temporal_server.address, certificate="server", client_authority="ca") as front:
        async with protopact.connect(f"temporal://{front}/default?{AUTHORITY}&{CLIENT}"):
            pass
        assert "it may want a client certificate" in await refusal(f"temporal://{front}/default?{AUTHORITY}")


async def test_a_server_without_tls(temporal_server: DevServer) -> None:
    message = await refusal(f"temporal://{temporal_server.address}/default?tls=true")
    assert "(with TLS) cannot be reached: the server does not speak TLS; leave TLS out (?tls=false)" in message


async def test_api_keys(temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_front(temporal_server.address, certificate="server", api_key=SECRET) as front:
        async with protopact.connect(f"temporal://{front}/default?{AUTHORITY}&api_key={SECRET}"):
            pass
        monkeypatch.setenv("TEMPORAL_API_KEY", SECRET)
        async with protopact.connect(f"temporal://{front}/default?{AUTHORITY}"):
            pass
        monkeypatch.setenv("TEMPORAL_API_KEY", f"not-{SECRET}")
        message = await refusal(f"temporal://{front}/default?{AUTHORITY}")
        assert "the credentials are not accepted" in message
        assert SECRET not in message


async def test_an_engine_that_is_not_open(temporal_server: DevServer) -> None:
    engine = protopact.connect(temporal_server.url)
    assert isinstance(engine, TemporalEngine)
    ref = WorkflowRef("nowhere")
    with pytest.raises(EngineClosedError, match="is not open"):
        await engine.describe_workflow(ref)
    async with engine:
        with pytest.raises(NotFoundError):
            await engine.describe_workflow(ref)
        with pytest.raises(EngineClosedError, match="opened on another event loop"):
            await asyncio.to_thread(asyncio.run, engine.describe_workflow(ref))
    with pytest.raises(EngineClosedError, match="is not open"):
        await engine.describe_workflow(ref)
    await engine.close()


async def test_a_client_of_the_sdk_goes_in_and_comes_out(temporal_server: DevServer) -> None:
    client = await temporal_server.connect()
    async with from_client(client) as engine:
        assert engine.client is client
    assert (await client.count_workflows('WorkflowId = "nowhere"')).count == 0  # it is still connected
    with pytest.raises(EngineConnectionError, match="no namespace 'nowhere'"):
        async with from_client(await Client.connect(temporal_server.address, namespace="nowhere")):
            pass


NEEDED = "the Temporal engine needs the package temporalio, which is not installed: "
UNKNOWN = (
    f"the Temporal engine does not work with temporalio {version('temporalio')} (%s); install one that it works with: "
)
NO_NAME = f"cannot import name 'WorkflowInstance' from 'temporalio.worker' ({temporalio.worker.__file__})"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("sys.modules['temporalio'] = None", NEEDED),
        (
            "from temporalio import service; del service.ServiceClient._rpc_call",
            UNKNOWN % "its ServiceClient has no method _rpc_call",
        ),
        ("from temporalio import worker; del worker.WorkflowInstance", UNKNOWN % NO_NAME),
    ],
    ids=["not there", "another method", "another name"],
)
def test_without_the_sdk_that_it_needs(before: str, said: str) -> None:
    script = f"import sys; {before}; import protopact; protopact.connect('temporal://h')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.strip().endswith(f"EngineError: {said}pip install 'protopact[temporal]'")
    assert "ImportError" not in done.stderr
    assert "ModuleNotFoundError" not in done.stderr
