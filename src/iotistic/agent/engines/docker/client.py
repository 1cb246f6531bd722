"""Docker's HTTP API over its socket.

aiodocker was tried and left out: of the calls that are needed here, half are not in its public part
(changing a living container, a stream of events that belongs to its caller, the status of a refusal), and
what is left of it is this page.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from iotistic.agent.engines.errors import EngineUnavailable

_NEWEST = (1, 51)
_ANSWER_WITHIN_S = 30.0
_AT_ONCE = 16
_AWAY = 503


class Refused(Exception):  # noqa: N818  never leaves this engine; a kind of its own, not an error of ours
    """Docker said no. `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class DockerClient:
    """One Docker. Raises EngineUnavailable whenever it does not answer, Refused when it says no."""

    def __init__(self, socket: Path, *, at_once: int = _AT_ONCE) -> None:
        """`at_once` is how many connections it may have; 0 for as many as are asked for."""
        self._socket, self._at_once = socket, at_once
        self._session: aiohttp.ClientSession | None = None
        self._version = ""
        self.losses = 0
        """How often it was away: what was learnt of it before may not hold any more."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        within_s: float = _ANSWER_WITHIN_S,
    ) -> Any:
        """Return what Docker answers, None when that is nothing."""
        timeout = aiohttp.ClientTimeout(total=within_s)
        async with self.open(method, path, query=query, body=body, timeout=timeout) as response:
            content = await response.read()
        return json.loads(content) if content else None

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109  each of its parts is meant
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Return an answer that is read while it comes."""
        try:
            version = self._version or await self._negotiate()
            async with self._connected().request(
                method,
                f"http://docker/{version}/{path}",
                params=query,
                json=body,
                headers=headers,
                timeout=timeout or aiohttp.ClientTimeout(total=None),
            ) as response:
                await _refuse(response)
                yield response
        except TimeoutError as exc:
            raise EngineUnavailable("Docker does not answer in time") from exc
        except (aiohttp.ClientError, OSError) as exc:
            self._version, self.losses = "", self.losses + 1  # the one that comes back may be another
            raise EngineUnavailable(f"Docker is not reached at {self._socket}: {exc}") from exc

    async def lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
        """Yield the JSON objects of a stream, however long they are."""
        rest = b""
        async for part in response.content.iter_any():
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                if line.strip():
                    yield json.loads(line)

    async def close(self) -> None:
        """Let go of the socket."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _negotiate(self) -> str:
        """Agree on a version: Docker drops old ones, and newer ones than ours may mean other things."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        async with self._connected().get("http://docker/version", timeout=timeout) as response:
            await _refuse(response)
            said = await response.json()
        newest = tuple(int(part) for part in str(said["ApiVersion"]).split("."))
        self._version = "v" + ".".join(str(part) for part in min(newest, _NEWEST))
        return self._version

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket), limit=self._at_once)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


async def _refuse(response: aiohttp.ClientResponse) -> None:
    if response.ok or response.status == 304:  # noqa: PLR2004  it is as it was to become
        return
    text = await response.text()
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.strip() or f"status {response.status}"
    if response.status == _AWAY:
        raise EngineUnavailable(message)
    raise Refused(response.status, message)
