"""Listens for the device API.

A port that is taken, or a network that is not there yet, ends nothing: it is tried again. Connections are
few and do not wait for ever: one that has not sent a whole request in 10 s is closed, and so is one too many.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import structlog
from aiohttp import web

from iotistic.agent.local_api.access import Mode, Policy
from iotistic.agent.local_api.address import KEY_FILE, PORT
from iotistic.agent.local_api.app import make_app
from iotistic.agent.local_api.key import Identities, LocalKey
from iotistic.agent.local_api.ports import Parts

log = structlog.get_logger()

_LOCAL: tuple[str, ...] = ("127.0.0.1", "::1")
_EVERYWHERE: tuple[str, ...] = ("0.0.0.0", "::")
_MOST_CONNECTIONS = 64
_FIRST_REQUEST_WITHIN_S = 10.0
_IDLE_S = 30.0
_CLOSE_WITHIN_S = 2.0
_AGAIN_S = 5.0


class DeviceApi:
    """The device API of one agent."""

    def __init__(
        self,
        parts: Parts,
        key: LocalKey,
        policy: Policy,
        port: int = PORT,
        *,
        again_s: float = _AGAIN_S,
        first_request_within_s: float = _FIRST_REQUEST_WITHIN_S,
    ) -> None:
        self._parts, self._policy, self._port = parts, policy, port
        self._again_s, self._patience_s = again_s, first_request_within_s
        self.key = key
        self._young: set[object] = set()
        self.addresses: list[tuple[str, int]] = []
        """Where it listens now."""
        self.listening = asyncio.Event()

    @classmethod
    async def open(
        cls,
        parts: Parts,
        identities: Identities,
        folder: Path,
        policy: Policy,
        port: int = PORT,
        *,
        given_key: str = "",
        again_s: float = _AGAIN_S,
        first_request_within_s: float = _FIRST_REQUEST_WITHIN_S,
    ) -> "DeviceApi":
        """Return it with the key that was given, or is kept, or is made; `folder` is the agent's own."""
        key = LocalKey(identities, folder / KEY_FILE)
        await key.ensure(given_key)
        return cls(parts, key, policy, port, again_s=again_s, first_request_within_s=first_request_within_s)

    async def run(self) -> None:
        """Answer until cancelled."""
        if self._policy.mode is Mode.OPEN:
            log.warning(
                "device_api.open", reason="API_SECURITY_MODE=OPEN: everybody who can connect may do all"
            )
        said = ""
        while True:
            try:
                async with self._answering():
                    said = ""
                    await asyncio.Event().wait()
            except OSError as exc:
                if str(exc) != said:
                    log.warning("device_api.not_listening", port=self._port, reason=str(exc))
                said = str(exc)
            await asyncio.sleep(self._again_s)

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncGenerator[None]:
        sockets = self._bind()
        runner = web.AppRunner(
            make_app(self._parts, self.key, self._policy, self._heard),
            access_log=None,
            logger=_quiet(),
            keepalive_timeout=_IDLE_S,
            shutdown_timeout=_CLOSE_WITHIN_S,
        )
        servers: list[asyncio.Server] = []
        try:
            await runner.setup()
            server = cast("web.Server", runner.server)
            loop = asyncio.get_running_loop()
            servers += [
                await loop.create_server(lambda: self._connection(server), sock=one) for one in sockets
            ]
            self.addresses = [one.getsockname()[:2] for one in sockets]
            log.info("device_api.listening", addresses=self.addresses, mode=str(self._policy.mode))
            self.listening.set()
            yield
        finally:
            self.listening.clear()
            for one in servers:
                one.close()
            for one in sockets:
                one.close()
            await runner.cleanup()

    def _bind(self) -> list[socket.socket]:
        """Return sockets of IPv4 and, where the machine has it, IPv6. Raises OSError."""
        first, second = _LOCAL if self._policy.mode is Mode.LOCALHOST_ONLY else _EVERYWHERE
        bound = [socket.create_server((first, self._port))]
        with contextlib.suppress(OSError):
            port = bound[0].getsockname()[1]
            bound.append(socket.create_server((second, port), family=socket.AF_INET6))
        return bound

    def _connection(self, server: web.Server) -> asyncio.Protocol:
        if len(server.connections) >= _MOST_CONNECTIONS:
            return _TooMany()
        connection = server()
        self._young.add(connection)
        asyncio.get_running_loop().call_later(self._patience_s, self._lose_patience, connection)
        return connection

    def _heard(self, request: web.Request) -> None:
        self._young.discard(request.protocol)

    def _lose_patience(self, connection: web.RequestHandler) -> None:
        if connection in self._young:
            self._young.discard(connection)
            connection.force_close()


class _TooMany(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _quiet() -> logging.Logger:
    """Return a logger that says nothing: what strangers send is no event of ours."""
    logger = logging.getLogger("iotistic.device_api.http")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
