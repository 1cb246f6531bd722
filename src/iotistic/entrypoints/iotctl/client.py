"""Speaks the device API: one request, or a stream of lines; failures are kernel errors."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote

import aiohttp

from iotistic.entrypoints.iotctl.settings import IotctlSettings, Place, place_of
from iotistic.kernel.errors import Conflict, Denied, Invalid, IotisticError, NotFound, Unavailable
from iotistic.kernel.settings import load_settings

T = TypeVar("T")
Document = dict[str, Any]

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 30.0
_MOST_LINE = 4 << 20
_MOST_NAME = 1000
_ERROR = 400
_UNAUTHORIZED = 401
_KEY_HINT = (
    "set API_KEY, or CONFIG_DIR to the folder of that agent, as a user who may read device-api.key in it"
)
_KINDS: Mapping[int, type[IotisticError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    405: Invalid,
    408: Unavailable,
    409: Conflict,
    413: Invalid,
    423: Conflict,
    429: Unavailable,
    501: Conflict,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class AgentUnreachable(Unavailable):
    """The agent does not answer."""

    code = "device_api.unreachable"


class AnswerNotUnderstood(Unavailable):
    """Whatever answers is not the device API."""

    code = "device_api.answer_not_understood"


class DeviceApiClient:
    """One agent. To be used as `async with`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        headers = {"Authorization": f"Bearer {place.key}"} if place.key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            read_bufsize=_MOST_LINE,
            trust_env=False,  # a proxy is not asked for what is on this machine
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_WITHIN_S, sock_read=_ANSWER_WITHIN_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Document | None = None,
        params: Mapping[str, str | int] | None = None,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> Document:
        """Make one request and return the JSON object of the answer. Raises IotisticError."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_WITHIN_S, sock_read=answer_within_s)
        try:
            async with self._session.request(
                method,
                self._place.url + path,
                json=body,
                params=params,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self._unreachable(exc) from exc
        return self._answer(status, content)

    async def lines(self, path: str, params: Mapping[str, str | int]) -> AsyncIterator[Document]:
        """Yield the documents of an NDJSON stream, until the agent ends it. Raises IotisticError."""
        try:
            async with self._session.get(
                self._place.url + path, params=params, allow_redirects=False
            ) as response:
                if response.status >= _ERROR:
                    self._answer(response.status, await response.read())
                async for line in response.content:
                    if line.strip():
                        yield self._read(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise self._unreachable(exc) from exc

    def _answer(self, status: int, content: bytes) -> Document:
        problem = self._read(content)
        if status < _ERROR:
            return problem
        kind = _KINDS.get(status, IotisticError)
        hint = problem.get("hint") if status != _UNAUTHORIZED else self._key_hint()
        message = str(problem.get("detail") or problem.get("message") or f"the agent answered {status}")
        error = kind(message, hint=str(hint) if hint else None)
        if "code" in problem:
            error.fields["code"] = str(problem["code"])
        raise error

    def _key_hint(self) -> str:
        shown = self._place.key_from
        return f"the key shown is from {shown}; {_KEY_HINT}" if shown else _KEY_HINT

    def _read(self, content: bytes) -> Document:
        try:
            found: object = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise AnswerNotUnderstood(
                f"what answers at {self._place.url} is not the device API",
                hint="see DEVICE_API_URL and DEVICE_API_PORT",
            )
        return cast("Document", found)

    def _unreachable(self, exc: Exception) -> AgentUnreachable:
        # Errors of TLS have numbers of their own.
        number = (
            exc.errno if isinstance(exc, OSError) and not isinstance(exc, aiohttp.ClientSSLError) else None
        )
        reason = os.strerror(number).lower() if number and number > 0 else str(exc) or "no answer in time"
        return AgentUnreachable(
            f"the agent does not answer at {self._place.url}: {reason}",
            hint="start it with `iotistic agent run` or `systemctl start iotistic-agent`; "
            "for another address set DEVICE_API_URL or DEVICE_API_PORT",
        )


class NameInvalid(Invalid):
    """A name has 1 to 1,000 characters."""

    code = "usage.name_invalid"


def part(text: str) -> str:
    """Return a name as one part of a path. Raises NameInvalid for what no app, service or setting is called."""
    if not 0 < len(text) <= _MOST_NAME:
        raise NameInvalid
    return quote(text, safe="")


def with_agent(work: Callable[[DeviceApiClient], Awaitable[T]]) -> T:
    """Do something with the agent that the settings name, and return what came of it."""
    place = place_of(load_settings(IotctlSettings))

    async def run() -> T:
        async with DeviceApiClient(place) as client:
            return await work(client)

    return asyncio.run(run())


def ask(
    method: str,
    path: str,
    *,
    body: Document | None = None,
    params: Mapping[str, str | int] | None = None,
    answer_within_s: float = _ANSWER_WITHIN_S,
) -> Document:
    """Make one request to that agent."""
    return with_agent(
        lambda client: client.ask(method, path, body=body, params=params, answer_within_s=answer_within_s)
    )
