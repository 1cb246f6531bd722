"""Where the request at hand comes from: set around each request, read when an entry is written.

A parameter would have to go through every service to reach the one line that writes. It is the one value here that is
not passed; an entry that is given an origin takes that.
"""

from contextvars import ContextVar
from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from iotistic.control.access.addresses import ClientAddresses


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Who sent a request: the address behind trusted proxies, and the program."""

    address: str = ""
    user_agent: str = ""


_current: ContextVar[RequestOrigin] = ContextVar("request_origin", default=RequestOrigin())  # noqa: B039  frozen


def current_origin() -> RequestOrigin:
    """Return where the request at hand comes from; empty outside of requests."""
    return _current.get()


def current_request() -> str:
    """Return the id of the request at hand; empty outside of requests."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]


class OriginMiddleware:
    """Notes the origin of every HTTP request."""

    def __init__(self, app: ASGIApp, *, addresses: ClientAddresses) -> None:
        self._app, self._addresses = app, addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        agent = request.headers.get("user-agent", "")
        token = _current.set(RequestOrigin(self._addresses.address(request), agent))
        try:
            await self._app(scope, receive, send)
        finally:
            _current.reset(token)


def note_origins(app: FastAPI, addresses: ClientAddresses) -> None:
    """Let entries of the audit trail say where requests to `app` come from."""
    app.add_middleware(OriginMiddleware, addresses=addresses)
