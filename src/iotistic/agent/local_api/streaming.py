"""Answers that go on: one JSON document a line, until whoever reads them has gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

BEAT_S = 5.0
"""An empty line goes out after so long without another one: it finds out who has gone."""


async def stream(request: web.Request, lines: AsyncIterator[bytes]) -> web.StreamResponse:
    """Write lines as they come."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    upcoming = asyncio.ensure_future(anext(lines))
    try:
        with contextlib.suppress(ConnectionError, StopAsyncIteration):
            while True:
                await asyncio.wait((upcoming,), timeout=BEAT_S)
                if upcoming.done():
                    await response.write(upcoming.result())
                    upcoming = asyncio.ensure_future(anext(lines))
                else:
                    await response.write(b"\n")
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
    return response
