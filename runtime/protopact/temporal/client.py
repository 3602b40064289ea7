"""A client of the `temporalio` SDK that is connected, or the reason why it cannot be, in words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Interceptor, Plugin
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient, TLSConfig

from protopact.errors import EngineConnectionError
from protopact.temporal.address import Address

__all__ = ["connect", "connect_again", "connection_error", "describe_namespace", "has_no_namespace", "settle"]

_TIMEOUT = timedelta(seconds=10)
_SETTLING = 0.02

# What the connection's own words mean: they are those of Rust libraries.
_MEANINGS = (
    ("Connection refused", "nothing listens there; start the server, or correct host and port"),
    ("dns error", "the host's name cannot be resolved; correct it"),
    ("InvalidContentType", "the server does not speak TLS; leave TLS out (?tls=false)"),
    ("UnknownIssuer", "the server's certificate is not trusted; name its authority (?tls_server_ca_cert_path=FILE)"),
    ("CaUsedAsEndEntity", "the server's certificate is not trusted: it is that of an authority"),
    ("Expired", "the server's certificate has expired; the server's operator must renew it"),
    ("NotValidYet", "the server's certificate is not valid yet; check the clocks"),
    ("NotValidForName", "the server's certificate is for another name; say which (?tls_server_name=NAME)"),
    ("BadCertificate", "the server does not accept the client certificate"),
    ("CertificateExpired", "the client certificate has expired"),
    ("UnknownCA", "the server does not trust the client certificate's authority"),
    ("CertificateParseError", "the certificate is not PEM"),
    ("PrivateKeyParseError", "the client key is not PEM, or has a password"),
    ("Invalid header", "metadata of calls is not ASCII, or has a name that it cannot have"),
)
_STATUS = re.compile(r'Status \{ code: (\w+), message: "([^"]*)"')
_UNACCEPTED = (
    "the credentials are not accepted{where} ({message}); check the API key or the client certificate, and what it is "
    "allowed"
)


async def connect(
    address: Address,
    *,
    data_converter: DataConverter,
    identity: str | None = None,
    interceptors: Sequence[Interceptor] = (),
    plugins: Sequence[Plugin] = (),
    runtime: Runtime | None = None,
) -> Client:
    """Connect, and see that the namespace is there.

    Args:
        address: Where to, and with what.
        data_converter: Data converter of the client.
        identity: Name of this process in histories; process id and host by default.
        interceptors: Interceptors of the SDK.
        plugins: Plugins of the SDK.
        runtime: Runtime of the SDK, for its metrics and logs.

    Raises:
        EngineConnectionError: The server cannot be reached or refuses, or has no such namespace.
    """
    try:
        client = await Client.connect(
            address.target,
            namespace=address.namespace,
            api_key=address.api_key,
            tls=address.tls,
            rpc_metadata=address.metadata,
            identity=identity,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            runtime=runtime,
            connect_timeout=_TIMEOUT,
            # Headers are payloads as others are: what codecs are to hide, they hide there too.
            header_codec_behavior=HeaderCodecBehavior.CODEC,
        )
    except RuntimeError as error:
        await settle()
        raise EngineConnectionError(f"{_place(address)} cannot be reached: {_broken(address, str(error))}") from None
    await describe_namespace(client)
    return client


async def connect_again(client: Client) -> Client:
    """A client as another one, without its plugins, which have configured it, on a connection of its own.

    Raises:
        EngineConnectionError: The server cannot be reached any more, or refuses.
    """
    config = client.config(active_config=True)
    dial: Callable[[ConnectConfig], Awaitable[ServiceClient]] = ServiceClient.connect
    for plugin in reversed(config["plugins"]):
        dial = partial(plugin.connect_service_client, next=dial)
    known = client.service_client.config
    try:
        config["service_client"] = await dial(replace(known, lazy=False))
    except RuntimeError as error:
        await settle()
        raise EngineConnectionError(
            f"Temporal at {known.target_host} cannot be reached a second time: {_meaning(str(error))}"
        ) from None
    config["plugins"] = []
    return Client(**config)


async def describe_namespace(client: Client) -> None:
    """See that the namespace of a client is there, and that the client may use it.

    Raises:
        EngineConnectionError: It may not, or there is none.
    """
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), retry=True, timeout=_TIMEOUT
        )
    except RPCError as error:
        await settle()
        place = f"Temporal at {client.service_client.config.target_host}"
        raise connection_error(error, place, namespace=client.namespace) from None


async def settle() -> None:
    """Let the SDK's threads, which hand its answers over, come to rest.

    One that has not when the interpreter ends brings it down, or holds it for ever: it needs the interpreter for a
    moment (https://github.com/temporalio/sdk-python/issues/300).
    """
    await asyncio.sleep(_SETTLING)


def connection_error(error: RPCError, place: str, *, namespace: str = "") -> EngineConnectionError:
    """What a call means that the server, or the way to it, refused as such.

    Args:
        error: The refusal.
        place: The server, for the message.
        namespace: Namespace of the call.
    """
    match error.status:
        case RPCStatusCode.NOT_FOUND:
            why = (
                f"it has no namespace {namespace!r}; correct the URL, or create the namespace "
                f"(temporal operator namespace create --namespace {namespace})"
            )
        case RPCStatusCode.UNAUTHENTICATED | RPCStatusCode.PERMISSION_DENIED:
            where = f" in namespace {namespace!r}" if namespace else ""
            why = _UNACCEPTED.format(where=where, message=error.message)
        case RPCStatusCode.UNAVAILABLE | RPCStatusCode.DEADLINE_EXCEEDED:
            why = f"it does not answer ({_meaning(error.message)}); is it running?"
        case _:
            why = f"it refuses with {error.status.name}: {_meaning(error.message)}"
    return EngineConnectionError(f"{place}: {why}")


def has_no_namespace(error: RPCError) -> bool:
    """Whether a call was refused because there is no such namespace."""
    return error.status is RPCStatusCode.NOT_FOUND and any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )


def _place(address: Address) -> str:
    return f"Temporal at {address.target}{' (with TLS)' if address.is_encrypted else ''}"


def _broken(address: Address, text: str) -> str:
    """Why there is no connection."""
    status = _STATUS.search(text)
    if status is None:
        return _meaning(text)
    code, message = status.groups()
    if code in {"Unauthenticated", "PermissionDenied"}:
        return _UNACCEPTED.format(where="", message=message)
    if not address.is_encrypted:
        return f"the server ends the connection ({message}); it may want TLS (?tls=true)"
    if isinstance(address.tls, TLSConfig) and address.tls.client_cert:
        return f"the server ends the connection ({message}); it may not trust the client certificate"
    return (
        f"the server ends the connection ({message}); it may want a client certificate (?tls_client_cert_path=FILE, "
        "?tls_client_key_path=FILE)"
    )


def _meaning(text: str) -> str:
    for words, meaning in _MEANINGS:
        if words in text:
            return meaning
    return re.sub(r"^Failed client connect: (Server connection error: )?", "", text)
