"""The API of Kubernetes over HTTP, as far as it is needed here.

lightkube was to be used and was left out (docs/decisions/0020): it brings libraries that the agent does not have
on a 32-bit device, and what is needed of Kubernetes are a dozen paths.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.access import Access

ANSWER_WITHIN_S = 30.0
_AT_ONCE = 16
_CONNECT_WITHIN_S = 10.0
_MERGE = "application/merge-patch+json"
_NOT_KNOWN, _TOO_MANY, _BROKEN = 401, 429, 500
NOT_FOUND, IN_THE_WAY, GONE = 404, 409, 410


class Refused(Exception):  # noqa: N818  never leaves this engine; a kind of its own, not an error of ours
    """Kubernetes said no. `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class KubeClient:
    """One Kubernetes. Raises EngineUnavailable whenever it does not answer, Refused when it says no."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return an object or a list."""
        return await self._call("GET", path, query=query)

    async def create(self, path: str, body: Any) -> Any:
        """Make an object within the collection at `path`."""
        return await self._call("POST", path, body=body)

    async def patch(self, path: str, body: Any, query: Mapping[str, str] | None = None) -> Any:
        """Merge changes into an object: null removes, lists are replaced."""
        return await self._call("PATCH", path, query=query, body=body, kind=_MERGE)

    async def delete(self, path: str, query: Mapping[str, str] | None = None, **options: Any) -> None:
        """Remove an object, or those of a collection that a query selects; what is gone is fine."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **options}
        try:
            await self._call("DELETE", path, query=query, body=body)
        except Refused as exc:
            if exc.status != NOT_FOUND:
                raise

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        kind: str = "application/json",
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with self._open(method, path, query, body, kind, timeout) as response:
            return json.loads(await response.read())

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, silent_for_s: float | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Return an answer that is read while it comes; TimeoutError when nothing comes for so long."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_WITHIN_S, sock_read=silent_for_s)
        async with self._open("GET", path, query, None, "", timeout) as response:
            yield response

    async def lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the lines of a stream, however long they are; an unfinished one at its end too."""
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line
        if rest:
            yield rest

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        kind: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  each of its parts is meant
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        server = self._access.server
        try:
            async with self._connected().request(
                method,
                f"{server}/{path}",
                params=query,
                data=None if body is None else json.dumps(body),
                headers=self._access.headers() | ({"Content-Type": kind} if body is not None else {}),
                timeout=timeout,
                server_hostname=self._access.server_name or None,
                allow_redirects=False,
            ) as response:
                await _refuse(response)
                yield response
        except aiohttp.SocketTimeoutError as exc:
            if timeout.sock_read is not None:
                raise
            raise EngineUnavailable("Kubernetes does not answer in time") from exc
        except (TimeoutError, asyncio.TimeoutError) as exc:  # noqa: UP041
            raise EngineUnavailable("Kubernetes does not answer in time") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise EngineUnavailable(f"Kubernetes is not reached at {server}: {exc}") from exc

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._access.tls()
            connector = aiohttp.TCPConnector(limit=_AT_ONCE, ssl=True if tls is None else tls)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


async def _refuse(response: aiohttp.ClientResponse) -> None:
    if response.ok:
        return
    text = await response.text()
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.strip() or f"status {response.status}"
    if response.status in (_NOT_KNOWN, _TOO_MANY) or response.status >= _BROKEN:
        raise EngineUnavailable(message)
    raise Refused(response.status, message)
