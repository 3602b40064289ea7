"""Where a `temporal://` URL leads: the URL, the environment, the configuration file; and no secret in any message."""

from __future__ import annotations

import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.service import TLSConfig

import protopact
from protopact import EngineUrlError, OptionError
from protopact.temporal.address import Address

SECRET = "s3cr3t"  # noqa: S105 - it opens nothing
PROFILES = f"""
[profile.default]
address = "default.example:7233"
namespace = "of-the-file"
api_key = "{SECRET}"

[profile.staging]
address = "staging.example:7233"
[profile.staging.tls]
server_name = "staging"
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "temporal.toml"
    path.write_text(PROFILES)
    return path


def address(url: str, **environ: str) -> Address:
    return Address.of_url(url, environ)


@pytest.mark.parametrize(
    ("url", "target", "namespace"),
    [
        ("temporal://10.0.0.1:7234/orders", "10.0.0.1:7234", "orders"),
        ("temporal://temporal.example/orders", "temporal.example:7233", "orders"),
        ("temporal://temporal.example", "temporal.example:7233", "default"),
        ("temporal://temporal.example/", "temporal.example:7233", "default"),
        ("temporal://[::1]:7234/a%20b", "[::1]:7234", "a b"),
        ("temporal://", "localhost:7233", "default"),
        ("temporal:///orders", "localhost:7233", "orders"),
    ],
)
def test_server_and_namespace(url: str, target: str, namespace: str) -> None:
    found = address(url, TEMPORAL_CONFIG_FILE="/nowhere")
    assert (found.target, found.namespace, found.tls, found.api_key) == (target, namespace, None, None)
    assert not found.is_encrypted


def test_the_environment_stands_behind_the_url() -> None:
    environ = {
        "TEMPORAL_ADDRESS": "env.example:1",
        "TEMPORAL_NAMESPACE": "env",
        "TEMPORAL_API_KEY": SECRET,
        "TEMPORAL_GRPC_META_TENANT": "blue",
        "TEMPORAL_CONFIG_FILE": "/nowhere",
    }
    found = address("temporal://", **environ)
    assert (found.target, found.namespace, found.api_key) == ("env.example:1", "env", SECRET)
    assert found.metadata == {"tenant": "blue"}
    assert found.is_encrypted
    assert address("temporal://url.example:2/url?tls=false", **environ) == Address(
        target="url.example:2", namespace="url", tls=False, api_key=SECRET, metadata={"tenant": "blue"}
    )
    assert not address("temporal://url.example?tls=false", **environ).is_encrypted


def test_profiles_of_the_configuration_file(config_file: Path) -> None:
    environ = {"TEMPORAL_CONFIG_FILE": str(config_file)}
    found = address("temporal://", **environ)
    assert (found.target, found.namespace, found.api_key) == ("default.example:7233", "of-the-file", SECRET)
    found = address("temporal://?profile=staging", **environ)
    assert (found.target, found.namespace) == ("staging.example:7233", "default")
    assert isinstance(found.tls, TLSConfig)
    assert found.tls.domain == "staging"
    assert address("temporal://", TEMPORAL_PROFILE="staging", **environ) == found
    assert address(f"temporal://?profile=staging&config_file={config_file}") == found


def test_a_server_in_the_url_does_not_get_the_credentials_of_the_file(config_file: Path) -> None:
    environ = {"TEMPORAL_CONFIG_FILE": str(config_file)}
    found = address("temporal://127.0.0.1:7233/default", **environ)
    assert (found.api_key, found.tls) == (None, None)
    found = address("temporal://127.0.0.1:7233?profile=default", **environ)
    assert (found.target, found.namespace, found.api_key) == ("127.0.0.1:7233", "of-the-file", SECRET)


def test_certificates(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for name, path in paths.items():
        path.write_text(name)
    parameters = "&".join(
        [
            f"tls_server_ca_cert_path={paths['ca']}",
            f"tls_client_cert_path={paths['cert']}",
            f"tls_client_key_path={paths['key']}",
            "tls_server_name=frontend",
        ]
    )
    # What the URL says stands instead of the same thing in the environment, however that is spelt.
    found = address(f"temporal://h?{parameters}", TEMPORAL_TLS_CLIENT_KEY_DATA=SECRET)
    assert found.tls == TLSConfig(
        server_root_ca_cert=b"ca", client_cert=b"cert", client_private_key=b"key", domain="frontend"
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("temporal://h:port/n", "is no URL"),
        ("temporal://h:99999/n", "is no URL"),
        ("temporal://h:0/n", "the port must be a number from 1 to 65535, not 0"),
        ("temporal://:0/n", "the port must be a number from 1 to 65535, not 0"),
        ("temporal://:7233/n", "the host before port 7233 is missing"),
        ("temporal://h/n/m", "expected one namespace after the host, found 2 parts"),
        ("temporal://h#f", "takes no fragment"),
        ("temporal://h?tsl=true", "unknown parameter 'tsl'; it takes api_key, config_file, profile, tls, "),
        ("temporal://h?tls=yes", "parameter tls: expected true or false, found 'yes'"),
        ("temporal://h?tls=true&tls=false", "parameter 'tls' stands there twice"),
        ("temporal://h?profile=", "parameter 'profile' is empty"),
        ("temporal://h?profile", "is no URL"),
        ("temporal://?config_file=/nowhere/t.toml", "there is no configuration file /nowhere/t.toml"),
        ("temporal://?profile=nowhere", "Profile 'nowhere' not found"),
        (
            "temporal://h?tls_client_cert_path=/nowhere.pem&tls_client_key_path=/nowhere.pem",
            "No such file or directory",
        ),
    ],
)
def test_what_is_wrong_is_said(url: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/nowhere")
    with pytest.raises(EngineUrlError) as raised:
        protopact.connect(url)
    assert problem in str(raised.value)


def test_a_plus_sign_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a+b.toml"
    path.write_text(PROFILES)
    assert address("temporal://h?api_key=a+b").api_key == "a+b"
    assert address("temporal://h?api_key=a%2Bb%20c").api_key == "a+b c"
    assert address(f"temporal://?config_file={path}").namespace == "of-the-file"


def test_a_name_that_is_not_to_be_looked_at() -> None:
    unverified = "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION"
    for value in ("true", "1"):
        with pytest.raises(
            EngineUrlError, match=rf"^'temporal://h\?api_key=...': {unverified} is set.*tls_server_name"
        ):
            address(f"temporal://h?api_key={SECRET}", **{unverified: value})
        with pytest.raises(EngineUrlError, match=f"{unverified} is set"):
            address("temporal://h?tls=true", **{unverified: value})
    # It says nothing of whether there is TLS.
    for value in ("true", "false"):
        assert not address("temporal://h", **{unverified: value}).is_encrypted
    assert address("temporal://h?tls=true", **{unverified: "false"}).tls is True


def test_half_of_a_client_certificate(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("cert")
    with pytest.raises(EngineUrlError, match="a client certificate was given for TLS without its key; mTLS takes both"):
        address(f"temporal://h?tls_client_cert_path={tmp_path}/cert.pem")
    with pytest.raises(EngineUrlError, match="a client key was given for TLS without its certificate"):
        address("temporal://h", TEMPORAL_TLS_CLIENT_KEY_DATA=SECRET)


@pytest.mark.parametrize(
    "url",
    [
        f"temporal://me:{SECRET}@h:7233/n",
        f"temporal://h/n?api_key={SECRET}&api_key={SECRET}",
        f"temporal://h/n?api_key={SECRET}&colour=red",
        f"temporal://h/n?apikey={SECRET}",
        f"temporal://h/n?api_key={SECRET}&profile=nowhere",
        f"temporal://h:x/n?api_key={SECRET}",
        f"temporal://h[/n?api_key={SECRET}",
        f"temporal://me:{SECRET}@h[/n",
        f"temporal:{SECRET}",
        f"temporal://me:{SECRET}/x@h:7233/n",
        f"temporal://me:{SECRET}?x@h:7233/n",
        f"temporal://h/n?{SECRET}",
        f"temporal://h/n?api_key=x&{SECRET}",
    ],
)
def test_no_message_holds_a_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/nowhere")
    with pytest.raises(EngineUrlError) as raised:
        protopact.connect(url)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


SCHEMES = ["temporal", "temporals", "TEMPORAL", "temporal+tls", "grpc", "https", "sqlite", "sqlite3"]
ODD = [
    "h:7233/ns?api_key={}",
    "h:7233/ns;api_key={}",
    "h:7233/ns%3Bapi_key={}",
    "h:7233/ns&api_key={}",
    "h:7233/ns/api_key/{}",
    "h:7233/ns/{}",
    "h:7233/ns#{}",
    "h:7233;api_key={}",
    "h;api_key={}:7233/ns",
    "h:7233&{}/ns",
    "u:{}@h/ns",
    "u:{}@h:7233/ns?tls=true",
    "{}@h/ns",
    ":{}@/ns",
    "h:{}/ns",
    "h/ns?{}",
    "h/ns?{}==",
    "h/ns?{}=api_key",
    "h/ns?api_key:{}",
    "h/ns?api_key={}&api_key={}",
    "h/ns?apikey={}",
    "h/ns?key={}&tls=true",
    "h/ns?api_key={}&tls=maybe",
    "h/ns?profile=nowhere&api_key={}",
    "[{}/ns",
    "h[{}]/ns",
    "\u2100{}/ns",
    "h/a b?api_key={}",
]


@pytest.mark.parametrize("scheme", [*(f"{each}://" for each in SCHEMES), "", "//", "temporal:", "temporal:/", "://"])
def test_no_odd_url_shows_a_secret(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/nowhere")
    for tail in ODD:
        url = scheme + tail.format(SECRET, SECRET)
        try:
            told = repr(protopact.connect(url))
        except protopact.ProtopactError as error:
            told = "".join(traceback.format_exception(error))
        assert SECRET not in told, url


def test_a_broken_configuration_file_does_not_show_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "temporal.toml"
    path.write_text(f'[profile.default]\napi_key = "{SECRET}\n')
    with pytest.raises(EngineUrlError, match="TOML parse error at line 2") as raised:
        address(f"temporal://?config_file={path}")
    assert SECRET not in str(raised.value)


def test_no_repr_holds_a_secret() -> None:
    engine = protopact.connect(f"temporal://h/n?api_key={SECRET}")
    assert repr(engine) == "<TemporalEngine on namespace 'n' of Temporal at h:7233>"
    assert SECRET not in repr(address(f"temporal://h/n?api_key={SECRET}&tls=true"))


def test_options_of_the_other_engine_are_refused() -> None:
    with pytest.raises(OptionError, match="retention is for sqlite:// engines"):
        protopact.connect("temporal://h", retention=timedelta(days=1))
