"""Readiness of a process over HTTP, asked once."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

_TIMEOUT_S = 2.0


def ready_at(url: str, *, ca: Path | None = None) -> Callable[[], Awaitable[bool]]:
    """Return a probe of `url`: True when it answers 200. `ca` is trusted once the file is there."""
    parts = urlsplit(url)

    async def probe() -> bool:
        # While a process starts it is asked twenty times a second, and an HTTP client with its TLS takes 2 ms of CPU.
        if not await _listens(parts.hostname or "", parts.port):
            return False
        try:
            trust = ssl.create_default_context(cafile=ca) if ca else False
            async with httpx2.AsyncClient(timeout=_TIMEOUT_S, verify=trust) as client:
                return (await client.get(url)).is_success
        except (httpx2.TransportError, OSError):
            return False

    return probe


async def _listens(host: str, port: int | None) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _TIMEOUT_S)
    except OSError:  # TimeoutError is one, too
        return False
    writer.transport.abort()
    return True
