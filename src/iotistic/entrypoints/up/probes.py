"""Readiness of a process over HTTP, asked once."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

_TIMEOUT_S = 2.0


def ready_at(url: str, *, ca: Path | None = None) -> Callable[[], Awaitable[bool]]:
    """Return a probe of `url`: True when it answers 200. `ca` is trusted once the file is there."""

    async def probe() -> bool:
        try:
            trust = ssl.create_default_context(cafile=ca) if ca else False
            async with httpx2.AsyncClient(timeout=_TIMEOUT_S, verify=trust) as client:
                return (await client.get(url)).is_success
        except (httpx2.TransportError, OSError):
            return False

    return probe
