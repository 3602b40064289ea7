"""Where a Temporal server is and how to get in: an engine's URL, Temporal's environment and configuration file.

::

    temporal://                                   what the environment and the configuration file say
    temporal://?profile=staging                   a profile of the configuration file
    temporal://127.0.0.1:7233/default             a server and a namespace
    temporal://prod.a1b2c.tmprl.cloud:7233/prod.a1b2c?tls=true

What the URL says comes first, then the variables of the environment (`TEMPORAL_ADDRESS`, `TEMPORAL_API_KEY`, ...), then
the configuration file. The file is read when the URL names no server, or names a profile or a file: a URL that says
where to connect does not get the credentials of another server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS
from temporalio.service import TLSConfig

from protopact.errors import EngineUrlError

__all__ = ["Address", "redacted"]

_FORMS = "temporal://HOST:PORT/NAMESPACE, or temporal:// for what the environment and the configuration file say"
_PORT = 7233
# The variables that a parameter stands for: it is the variable without TEMPORAL_, in lower case.
_PARAMETERS = (
    "api_key",
    "tls",
    "tls_server_name",
    "tls_server_ca_cert_path",
    "tls_client_cert_path",
    "tls_client_key_path",
)
_SOURCES = ("profile", "config_file")
_KNOWN = (*_PARAMETERS, *_SOURCES)
_UNVERIFIED = "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to connect, and with what.

    Attributes:
        target: Host and port.
        namespace: The namespace.
        tls: Whether the connection is encrypted, and with which certificates; None when nothing was said of it, which
            means encrypted if there is an API key.
        api_key: Of Temporal Cloud, or of whatever else checks a bearer token.
        metadata: Sent with every call.
    """

    target: str
    namespace: str
    tls: bool | TLSConfig | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is made with TLS."""
        return bool(self.tls) or (self.tls is None and self.api_key is not None)

    @classmethod
    def of_url(cls, url: str, environ: Mapping[str, str]) -> Address:
        """The address that a URL names.

        Args:
            url: The URL.
            environ: Variables of the environment.

        Raises:
            EngineUrlError: The URL, the environment or the configuration file is wrong. The message holds no secret.
        """
        host, namespace, parameters = _parse(url)
        variables = dict(environ)
        if host:
            variables["TEMPORAL_ADDRESS"] = host
        if namespace:
            variables["TEMPORAL_NAMESPACE"] = namespace
        for name, value in parameters.items():
            if name in _PARAMETERS:
                variables[f"TEMPORAL_{name.upper()}"] = value
                variables.pop(f"TEMPORAL_{name.upper().removesuffix('_PATH')}_DATA", None)
        file = parameters.get("config_file")
        if file and not Path(file).is_file():
            _refuse(url, f"there is no configuration file {file}")
        try:
            profile = ClientConfigProfile.load(
                parameters.get("profile"),
                config_source=Path(file) if file else None,
                disable_file=bool(host) and not any(name in parameters for name in _SOURCES),
                override_env_vars=variables,
            )
            tls = None if profile.tls is None else _tls(profile.tls)
        except (RuntimeError, OSError, ValueError) as error:
            raise EngineUrlError(f"{redacted(url)}: {_without(_words(error), variables)}") from None
        found = cls(
            target=profile.address or f"localhost:{_PORT}",
            namespace=profile.namespace or "default",
            tls=tls,
            api_key=profile.api_key or None,
            metadata=dict(profile.grpc_meta),
        )
        if found.is_encrypted and variables.get(_UNVERIFIED, "").casefold() in {"true", "1"}:
            raise EngineUrlError(
                f"{redacted(url)}: {_UNVERIFIED} is set, which Temporal's Python SDK cannot do: it always looks at the "
                "name in the server's certificate. Unset it; say that name by tls_server_name, and who has signed the "
                "certificate by tls_server_ca_cert_path"
            )
        return found


def redacted(url: str) -> str:
    """A URL for messages: without what stands before an @, and without values of parameters that may be secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # what is no port may be a password, of which a slash or a question mark has cut off the rest
    except ValueError:
        return "'temporal://...'"
    path = parts.path if _PLAIN.fullmatch(unquote(parts.path.removeprefix("/"))) else "/..."
    place = parts.netloc.rpartition("@")[2]
    place = place if _PLAIN.fullmatch(place) else "..."
    query = "&".join(_shown(*pair) for pair in _pairs(parts.query))
    return f"'{parts.scheme}://{place}{path}{'?' if query else ''}{query}'"


# What else stands in a host or a namespace may be a parameter that was meant to follow a question mark.
_PLAIN = re.compile(r"[^;&=?#@/]*")


def _is_meant(name: str) -> bool:
    """Whether a name is, or is like, that of a parameter; what is not may be a secret without its name."""
    return name.isidentifier() and bool(get_close_matches(name, _KNOWN))


def _shown(name: str, value: str) -> str:
    """A parameter for messages."""
    if not _is_meant(name):
        return "..."
    is_public = name in _KNOWN and name != "api_key"
    return f"{name}={value if is_public else '...'}" if value else name


def _parse(url: str) -> tuple[str, str, dict[str, str]]:
    """Host and port, namespace and parameters that a URL names; empty what it does not."""
    try:
        parts = urlsplit(url)
        port = parts.port
        given = _pairs(parts.query, strict=bool(parts.query))
    except ValueError:
        # The error quotes what it cannot read, which may be a secret.
        problem = "the port must be a number from 1 to 65535, and parameters NAME=VALUE"
        raise EngineUrlError(f"{redacted(url)} is no URL: {problem}; expected {_FORMS}") from None
    if not url.startswith("temporal://"):
        raise EngineUrlError(f"a URL of Temporal begins with temporal:// in lower case; expected {_FORMS}")
    if "@" in parts.netloc:
        _refuse(url, "it takes no user and password; an API key goes into TEMPORAL_API_KEY or ?api_key=")
    if parts.fragment:
        _refuse(url, "it takes no fragment")
    namespace = unquote(parts.path.removeprefix("/"))
    if "/" in namespace:
        _refuse(url, f"expected one namespace after the host, found {namespace.count('/') + 1} parts")
    host = parts.hostname or ""
    if not _PLAIN.fullmatch(f"{host}{namespace}"):
        _refuse(url, "a host and a namespace have none of ; & = ? # @ in them; parameters follow after a question mark")
    if port == 0:
        _refuse(url, "the port must be a number from 1 to 65535, not 0")
    if not host and port is not None:
        _refuse(url, f"the host before port {port} is missing")
    if host:
        host = f"[{host}]" if ":" in host else host
        host = f"{host}:{port or _PORT}"
    return host, namespace, _parameters(url, given)


def _pairs(query: str, *, strict: bool = False) -> list[tuple[str, str]]:
    """Names and values of a query. A plus sign stands for itself, as it may in keys and paths: this is no form."""
    return parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=strict)


def _parameters(url: str, given: list[tuple[str, str]]) -> dict[str, str]:
    parameters = dict[str, str]()
    for name, value in given:
        if name not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            shown = f"unknown parameter {name!r}" if _is_meant(name) else "an unknown parameter"
            _refuse(url, f"{shown}; it takes {known}")
        if name in parameters:
            _refuse(url, f"parameter {name!r} stands there twice")
        if not value:
            _refuse(url, f"parameter {name!r} is empty")
        if name == "tls" and value not in {"true", "false"}:
            _refuse(url, f"parameter tls: expected true or false, found {value!r}")
        parameters[name] = value
    return parameters


def _tls(tls: ClientConfigTLS) -> bool | TLSConfig | None:
    settings = (tls.server_name, tls.server_root_ca_cert, tls.client_cert, tls.client_private_key)
    if tls.disabled:
        return False
    if (tls.client_cert is None) != (tls.client_private_key is None):
        given, missing = ("certificate", "key") if tls.client_private_key is None else ("key", "certificate")
        raise ValueError(f"a client {given} was given for TLS without its {missing}; mTLS takes both")
    if any(settings):
        return tls.to_connect_tls_config()
    return None if tls.disabled is None else True


def _words(error: Exception) -> str:
    """What is wrong, without the lines of a configuration file, in which a secret may stand."""
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}"
    return " ".join(line for line in str(error).splitlines() if "|" not in line).strip()


def _without(text: str, variables: Mapping[str, str]) -> str:
    """`text` without the values of variables that are secret."""
    for name in ("TEMPORAL_API_KEY", "TEMPORAL_TLS_CLIENT_KEY_DATA"):
        if value := variables.get(name):
            text = text.replace(value, "...")
    return text


def _refuse(url: str, problem: str) -> NoReturn:
    raise EngineUrlError(f"{redacted(url)}: {problem}; expected {_FORMS}")
