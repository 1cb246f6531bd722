"""The HTTP face of the cloud, as a device sees it.

    GET   /device/<uuid>/state     the target, or 304 when the device has it already
    PATCH /device/state            what changed on the device

Whatever goes wrong is one of four errors; nothing is tried again here, since whoever calls knows how urgent
it is.
"""

import gzip
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import aiohttp

from iotistic.agent.link.budget import Budget, Purpose
from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable, CloudUnintelligible

_WITHIN_S = 30.0
_CONNECT_WITHIN_S = 10.0
_MOST_BYTES = 4 << 20
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
        return ssl.create_default_context(cadata=self.ca_pem) if self.ca_pem else True


class TargetAnswer(NamedTuple):
    """A target as the cloud has it; `document` is None when the device has it already."""

    document: Mapping[str, Any] | None
    etag: str


class Cloud:
    """Talks for one device. `api_key` is asked for with each request: it may be renewed at any time."""

    def __init__(
        self, address: CloudAddress, uuid: str, api_key: Callable[[], str], budget: Budget | None = None
    ) -> None:
        self._address, self._uuid, self._api_key = address, uuid, api_key
        self.budget = budget or Budget()
        self._session: aiohttp.ClientSession | None = None

    async def target(self, etag: str) -> TargetAnswer:
        """Ask for the target. Raises the errors of this room."""
        headers = {"If-None-Match": etag} if etag else {}
        status, answered, body = await self._ask(
            "GET", f"/device/{self._uuid}/state", Purpose.CONTROL, headers=headers
        )
        if status == _NOT_MODIFIED:
            return TargetAnswer(None, etag)
        document = _read(body)
        state = document.get(self._uuid)
        if not isinstance(state, dict):
            raise CloudUnintelligible(f"the answer says nothing about the device {self._uuid}")
        return TargetAnswer(cast("dict[str, Any]", state), answered.get("ETag", ""))

    async def report(self, fields: Mapping[str, Any], purpose: Purpose = Purpose.CONTROL) -> None:
        """Tell what changed; returns once the cloud has it. Raises the errors of this room."""
        await self._ask("PATCH", "/device/state", purpose, body={self._uuid: dict(fields)})

    async def close(self) -> None:
        """End connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self,
        method: str,
        path: str,
        purpose: Purpose,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        sent, packed = _packed(body)
        named = {"X-Device-API-Key": self._api_key(), **packed, **(headers or {})}
        session = self._session or self._open()
        try:
            async with session.request(
                method, self._address.url + path, data=sent, headers=named, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_MOST_BYTES + 1)
                answered: Mapping[str, str] = answer.headers
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise CloudUnavailable(
                f"no answer from {self._address.url}: {exc or 'it took too long'}"
            ) from exc
        self.budget.count(purpose, sent=_size(named, sent) + len(path), received=_size(answered, content))
        _raise_for(status, answered, content)
        return status, answered, content

    def _open(self) -> aiohttp.ClientSession:
        # One connection, kept for a while: a device has nothing to say in parallel, and handshakes cost most.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._address.tls(), limit=1, keepalive_timeout=75),
            timeout=aiohttp.ClientTimeout(total=_WITHIN_S, connect=_CONNECT_WITHIN_S),
            headers={"Accept": "application/json"},
        )
        return self._session


def _packed(body: object) -> tuple[bytes | None, Mapping[str, str]]:
    if body is None:
        return None, {}
    plain = json.dumps(body, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"}
    if len(plain) < _COMPRESSED_FROM:
        return plain, headers
    return gzip.compress(plain, mtime=0), {**headers, "Content-Encoding": "gzip"}


def _size(headers: Mapping[str, str], body: bytes | None) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items()) + len(body or b"")


def _raise_for(status: int, headers: Mapping[str, str], content: bytes) -> None:
    if status == _NOT_MODIFIED or status < 300:  # noqa: PLR2004
        return
    said = _message(content) or f"HTTP status {status}"
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        raise CloudDenied(said)
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        raise CloudUnavailable(said, retry_after_s=_retry_after_s(headers))
    if status >= _CLIENT_ERROR:
        raise CloudRefused(said, status=status)
    raise CloudUnintelligible(f"it wants us to go elsewhere (HTTP status {status})")


def _message(content: bytes) -> str:
    try:
        answer: object = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(answer, dict):
        return ""
    fields = cast("dict[str, object]", answer)
    said = fields.get("message") or fields.get("detail") or fields.get("error")
    return said[:500] if isinstance(said, str) else ""


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _MOST_RETRY_S) if text.isascii() and text.isdecimal() else 1.0


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > _MOST_BYTES:
        raise CloudUnintelligible(f"the answer has more than {_MOST_BYTES} bytes")
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise CloudUnintelligible("the answer is not JSON") from exc
    if not isinstance(document, dict):
        raise CloudUnintelligible("the answer is not a JSON object")
    return cast("dict[str, Any]", document)
