"""An HTTP server inside a loop that somebody else owns: uvicorn without its signal handlers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.web.client_cert import ClientCertificateProtocol
from iotistic.kernel.web.lean_http import LeanHttpProtocol

_BACKLOG = 512


class AddressTaken(Unavailable):
    """The address cannot be listened on."""

    code = "web.address_taken"


class _Uvicorn(uvicorn.Server):
    """uvicorn that leaves signals to the process and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class WebServer:
    """A running server. `port` is the one really bound; leave the context, or call `stop`, to end it."""

    def __init__(self, app: FastAPI, server: _Uvicorn, task: asyncio.Task[None], port: int) -> None:
        self.port = port
        self._app = app
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """Stop accepting, end event streams, let requests finish within the grace period."""
        self._app.state.stopping.set()
        self._server.should_exit = True
        await asyncio.wait((self._task,))

    async def wait(self) -> None:
        """Return when the server has ended; raise what ended it."""
        await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None = None,
    grace_s: int = 5,
    front: ASGIApp | None = None,
) -> WebServer:
    """Serve `app` (made by create_app) on `host`:`port` and return once it listens; port 0 picks one.

    `ssl_context` makes it HTTPS; the certificate may be replaced in it while the server runs. Requests
    still running `grace_s` seconds after `stop` are cancelled. `front` is what requests come to first, when that is
    not `app` itself. Lifespan handlers do not run: the
    entrypoint that calls this starts and stops what the app needs. Raises AddressTaken.
    """
    listener = _bind(host, port)
    config = uvicorn.Config(
        front or app,
        # Only a handshake shows certificates; the parser that keeps them is slower by half.
        http=ClientCertificateProtocol if ssl_context else LeanHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # X-Forwarded-For is a claim of the caller, and addresses decide about access here.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        ssl_context_factory=(lambda _config, _default: ssl_context) if ssl_context else None,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait((task, listening), return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if task.done():
        listener.close()
        await task
    return WebServer(app, server, task, int(listener.getsockname()[1]))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off for sockets that say they are TCP; each answer took 40 ms without.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise AddressTaken(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}", hint="choose another address or port"
        ) from exc
    return listener
