"""HTTP to the cloud: one connection, bodies packed, bytes counted, and every way to fail made one of four errors.

Nothing is tried again here, since whoever calls knows how urgent it is; and nobody is named here: who speaks
stands in headers that the caller gives.
"""

import gzip
import json
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import aiohttp

from iotistic.agent.link.budget import Budget, Purpose
from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable, CloudUnintelligible
from iotistic.agent.link.tls_sessions import resuming_context

_WITHIN_S = 30.0
_CONNECT_WITHIN_S = 10.0
_MOST_BYTES = 4 << 20
_MOST_LEVELS = 64
"""What is read, compared and written with one call inside another must not be deeper than Python's stack."""
_MOST_SAID = 500
_COMPRESSED_FROM = 512
_MOST_RETRY_S = 3600.0
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_NOT_MODIFIED, _TOO_MANY, _SERVER_ERROR, _CLIENT_ERROR = 304, 429, 500, 400


@dataclass(frozen=True, slots=True)
class CloudAddress:
    """Where the cloud is: its base URL with the version (`https://…/api/v1`), and whom to believe."""

    url: str
    ca_pem: str = ""
    """Certificates (PEM) that it is checked against instead of the system's."""

    def tls(self) -> ssl.SSLContext | bool:
        """Return what its certificate is checked with."""
        is_tls = bool(self.ca_pem) or self.url.startswith("https:")
        return resuming_context(self.ca_pem) if is_tls else True


class Answer(NamedTuple):
    """What the cloud answered; the status is 2xx or 304."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def document(self) -> dict[str, Any]:
        """Return the JSON object that it is. Raises CloudUnintelligible."""
        if len(self.content) > _MOST_BYTES:
            raise CloudUnintelligible(f"the answer has more than {_MOST_BYTES} bytes")
        try:
            document: object = json.loads(self.content)
        except (ValueError, RecursionError) as exc:
            raise CloudUnintelligible("the answer is not JSON") from exc
        if not isinstance(document, dict):
            raise CloudUnintelligible("the answer is not a JSON object")
        read = cast("dict[str, Any]", document)
        if _is_deeper(read, _MOST_LEVELS):
            raise CloudUnintelligible(f"the answer has more than {_MOST_LEVELS} levels")
        return read


class CloudTransport:
    """Talks to one address."""

    def __init__(self, address: CloudAddress, budget: Budget | None = None) -> None:
        self.address = address
        self.budget = budget or Budget()
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        path: str,
        purpose: Purpose = Purpose.CONTROL,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once. `body` is sent as JSON, bytes as they are. Raises the errors of this room.

        CloudDenied, CloudRefused, and CloudUnavailable that was answered, have the HTTP status in `fields["status"]`.
        """
        sent, packed = _packed(body)
        named = {**packed, **(headers or {})}
        try:
            session = self._session or self._open()
            async with session.request(
                method, self.address.url + path, data=sent, headers=named, allow_redirects=False
            ) as answer:
                content = await _received(answer.content)
                answered: Mapping[str, str] = answer.headers
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise CloudUnavailable(f"no answer from {self.address.url}: {reason_of(exc)}") from exc
        self.budget.count(purpose, sent=_size(named, sent) + len(path), received=_size(answered, content))
        _raise_for(status, answered, content)
        return Answer(status, answered, content)

    async def close(self) -> None:
        """End connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        # One connection, kept for a while: a device has nothing to say in parallel, and handshakes cost most.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.address.tls(), limit=1, keepalive_timeout=75),
            timeout=aiohttp.ClientTimeout(total=_WITHIN_S, connect=_CONNECT_WITHIN_S),
            # Without names and wishes that no cloud acts on: they are half of a question whose answer is "no".
            headers={"Accept-Encoding": "gzip"},
            skip_auto_headers=("Accept", "User-Agent"),
        )
        return self._session


def _is_deeper(document: object, most: int) -> bool:
    level: list[object] = [document]
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(outer: object) -> Iterable[object]:
    if isinstance(outer, dict):
        return cast("dict[str, object]", outer).values()
    return cast("list[object]", outer) if isinstance(outer, list) else ()


def reason_of(exc: Exception) -> str:
    """Return why there was no answer, as people say it: "connection refused", "name or service not known"."""
    if not isinstance(exc, aiohttp.ClientConnectorError) or isinstance(exc, aiohttp.ClientSSLError):
        return str(exc) or "it took too long"
    number, said = exc.os_error.errno, exc.os_error.strerror
    return (os.strerror(number) if number and number > 0 else said or str(exc.os_error)).lower()


async def _received(stream: aiohttp.StreamReader) -> bytes:
    """Return a body, or as much of it as shows that it is too large."""
    content = bytearray()
    while len(content) <= _MOST_BYTES and (some := await stream.readany()):
        content += some
    return bytes(content)


def _packed(body: object) -> tuple[bytes | None, Mapping[str, str]]:
    if body is None or isinstance(body, bytes):
        return body, {}
    plain = json.dumps(body, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"}
    if len(plain) < _COMPRESSED_FROM:
        return plain, headers
    return gzip.compress(plain, mtime=0), {**headers, "Content-Encoding": "gzip"}


def _size(headers: Mapping[str, str], body: bytes | None) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items()) + len(body or b"")


def _raise_for(status: int, headers: Mapping[str, str], content: bytes) -> None:
    if status == _NOT_MODIFIED or 200 <= status < 300:  # noqa: PLR2004
        return
    said = _said(content)
    message = _text(said, "message", "detail", "error") or f"HTTP status {status}"
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        raise CloudDenied(message, status=status, reason=_text(said, "code", "error"))
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        raise CloudUnavailable(message, retry_after_s=_retry_after_s(headers), status=status)
    if status >= _CLIENT_ERROR:
        hint = _text(said, "hint", "upgradeUrl") or None
        raise CloudRefused(message, status=status, reason=_text(said, "code", "error"), hint=hint)
    raise CloudUnintelligible(f"it wants us to go elsewhere (HTTP status {status})")


def _said(content: bytes) -> Mapping[str, object]:
    try:
        answer: object = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", answer) if isinstance(answer, dict) else {}


def _text(fields: Mapping[str, object], *names: str) -> str:
    for name in names:
        if isinstance(said := fields.get(name), str) and said:
            return said[:_MOST_SAID]
    return ""


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _MOST_RETRY_S) if text.isascii() and text.isdecimal() else 1.0
