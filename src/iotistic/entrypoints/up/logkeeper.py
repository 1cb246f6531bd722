"""Keeps every log of the installation below its size while it runs, whoever writes it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog

from iotistic.kernel import logfiles

_EVERY_S = 60.0
_log = structlog.get_logger()


@contextlib.asynccontextmanager
async def kept_small(
    folder: Path, *, every_s: float = _EVERY_S, max_bytes: int = logfiles.MAX_BYTES
) -> AsyncGenerator[None]:
    """Rotate each `*.log` in `folder` that is above `max_bytes`, looking every `every_s` seconds."""
    keeping = asyncio.create_task(_keep(folder, every_s, max_bytes), name="log rotation")
    try:
        yield
    finally:
        keeping.cancel()


async def _keep(folder: Path, every_s: float, max_bytes: int) -> None:
    while True:
        await asyncio.to_thread(_rotate_all, folder, max_bytes)
        await asyncio.sleep(every_s)


def _rotate_all(folder: Path, max_bytes: int) -> None:
    for path in sorted(folder.glob("*.log")):
        try:
            logfiles.rotate(path, max_bytes=max_bytes)
        except OSError as exc:  # a full disk may have room again in a minute
            _log.warning("log.not_rotated", file=path.name, reason=exc.strerror)
