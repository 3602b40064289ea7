"""What stands before a server in a company: TLS, client certificates, bearer tokens. Calls are handed on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it tells type checkers nothing
import grpc.aio  # type: ignore[import-untyped]

__all__ = ["CERTIFICATES", "open_front"]

CERTIFICATES = Path(__file__).parent / "certificates"
"""Made once by openssl: an authority, and what it has signed; its own key is gone."""


def _read(name: str) -> bytes:
    return (CERTIFICATES / name).read_bytes()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, channel: Any, api_key: str | None) -> None:  # noqa: ANN401 - of grpcio
        self._channel = channel
        self._api_key = api_key

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - as above
        method = handler_call_details.method

        async def call(request: bytes, context: Any) -> bytes:  # noqa: ANN401 - as above
            given = dict(context.invocation_metadata()).get("authorization")
            if self._api_key is not None and given != f"Bearer {self._api_key}":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
            answer = b""
            try:
                answer = await self._channel.unary_unary(method)(request)
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                await context.abort(error.code(), error.details())
            return answer

        handler: Any = grpc.unary_unary_rpc_method_handler(call)  # pyright: ignore[reportUnknownVariableType]
        return handler


@asynccontextmanager
async def open_front(
    address: str, *, certificate: str | None = None, client_authority: str | None = None, api_key: str | None = None
) -> AsyncGenerator[str]:
    """A front of the server at an address; its own address, `127.0.0.1:port`.

    Args:
        address: Of the server.
        certificate: Name of its certificate; without one it does not speak TLS.
        client_authority: Name of the authority that clients need a certificate of.
        api_key: What clients must send.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Handler(channel, api_key),))
        if certificate is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials(
                [(_read(f"{certificate}.key"), _read(f"{certificate}.pem"))],
                root_certificates=None if client_authority is None else _read(f"{client_authority}.pem"),
                require_client_auth=client_authority is not None,
            )
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)
