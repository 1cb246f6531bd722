"""The peer's TLS certificate, which no ASGI server puts into the scope by itself."""

import asyncio

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEY = "client_certificate"


class ClientCertificateProtocol(H11Protocol):
    """uvicorn's protocol that keeps the certificate which the TLS handshake verified.

    Every request copies `app_state` into its scope, and each connection has one of its own.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember the certificate of this connection."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app_state = self.app_state | {_KEY: tls.getpeercert(binary_form=True) if tls else None}


def client_certificate(request: Request) -> bytes | None:
    """Return the DER certificate of the caller, or None when it showed none.

    Its chain and dates were verified by the handshake; whether it was revoked was not.
    """
    return getattr(request.state, _KEY, None)
