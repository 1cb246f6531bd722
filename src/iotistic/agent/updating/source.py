"""Fetches releases, from a folder or over https. What it brings is believed by nobody until it is verified."""

import asyncio
import hashlib
from pathlib import Path

import aiohttp

from iotistic.agent.updating.errors import ReleaseUnavailable, ReleaseUntrusted, UpdateNotSetUp
from iotistic.agent.updating.release import ReleaseFile

_PIECE = 1 << 18
_WITHIN_S = 1800.0
_SILENT_S = 60.0
_OK = 200


class Source:
    """A folder or the URL of one."""

    def __init__(self, place: str) -> None:
        """Raises UpdateNotSetUp."""
        self._url = place.rstrip("/") if place.startswith("https://") else ""
        self._folder = Path(place)
        if not self._url and not self._folder.is_absolute():
            raise UpdateNotSetUp(
                "AGENT_UPDATE_SOURCE is neither an absolute folder nor an https URL", hint="set one"
            )

    async def read(self, name: str, *, most: int) -> bytes:
        """Return a small file. Raises ReleaseUnavailable."""
        if not self._url:
            return await asyncio.to_thread(self._read, name, most)
        content = bytearray()
        async for piece in self._pieces(name):
            content += piece
            if len(content) > most:
                raise ReleaseUnavailable(f"{name} has more than {most} bytes")
        return bytes(content)

    async def fetch(self, file: ReleaseFile, into: Path) -> None:
        """Write a file that is the one that was signed. Raises ReleaseUnavailable, ReleaseUntrusted, OSError."""
        digest, size = hashlib.sha256(), 0
        with (into / file.name).open("wb") as target:
            async for piece in self._pieces(file.name):
                size += len(piece)
                if size > file.size:
                    break
                digest.update(piece)
                await asyncio.to_thread(target.write, piece)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise ReleaseUntrusted(f"{file.name} is not the file that was signed")

    def _read(self, name: str, most: int) -> bytes:
        try:
            with (self._folder / name).open("rb") as file:
                content = file.read(most + 1)
        except OSError as exc:
            raise ReleaseUnavailable(f"{name} cannot be read from {self._folder}: {exc.strerror}") from exc
        if len(content) > most:
            raise ReleaseUnavailable(f"{name} has more than {most} bytes")
        return content

    async def _pieces(self, name: str):  # noqa: ANN202  an async generator of bytes
        if not self._url:
            try:
                with (self._folder / name).open("rb") as file:
                    while piece := await asyncio.to_thread(file.read, _PIECE):
                        yield piece
            except OSError as exc:
                raise ReleaseUnavailable(f"{name} cannot be read: {exc.strerror}") from exc
            return
        timeout = aiohttp.ClientTimeout(total=_WITHIN_S, connect=10, sock_read=_SILENT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self._url}/{name}", allow_redirects=False) as answer,
            ):
                if answer.status != _OK:
                    raise ReleaseUnavailable(f"{self._url} answered {answer.status} for {name}")
                async for piece in answer.content.iter_chunked(_PIECE):
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ReleaseUnavailable(f"{name} cannot be fetched from {self._url}: {exc}") from exc
