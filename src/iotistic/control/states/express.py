"""The two requests that devices send all day, answered before the app is asked.

They are polls that find nothing new (304), and reports that are stored like those before them. The routes stand in the app as all others do, with what they need and how they are described, and answer everything
that is not plainly one of these: a refusal, a new target, an unusual header, a body in pieces. A request that goes on
to its route is as it came. Both ways count alike and answer alike; a test compares them.
"""

import os
import re
import time
from collections.abc import Iterable, MutableMapping
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotistic.control.devices.wire import unpacked
from iotistic.control.states.model import etags_in
from iotistic.control.states.together import StatesTogether
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.web.middleware import counted, is_request_id

log = structlog.get_logger()

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_POLL, _REPORT = "/device/{uuid}/state", "/device/state"
_MOST_REPORT = 256 * 1024
_STORED = b'{"status":"ok"}'
# Their meaning is not known here: who calls from a browser, asks for parts, or shows its key in another way.
_UNUSUAL = frozenset({b"origin", b"authorization", b"transfer-encoding", b"expect", b"range"})

_NAMED, _FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]), msgspec.json.Decoder(dict[str, Any])

Headers = dict[bytes, bytes]


class ExpressStates:
    """ASGI around an app. `base` is what its paths begin with; `said` are headers that each answer carries."""

    def __init__(
        self, app: ASGIApp, *, together: StatesTogether, base: str, said: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._app, self._together = app, together
        self._before, self._after = f"{base}/device/", "/state"
        self._report_path = base + _REPORT
        self._polled = counted("GET", base + _POLL, 304)
        self._reported = counted("PATCH", base + _REPORT, 200)
        self._said = [(name.lower().encode(), value.encode()) for name, value in said]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        left: Receive | None = receive
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            if method == "GET" and path.endswith(self._after) and path.startswith(self._before):
                uuid = path[len(self._before) : -len(self._after)]
                left = None if await self._poll(scope, uuid, send) else receive
            elif method == "PATCH" and path == self._report_path:
                left = await self._report(scope, receive, send)
        if left is not None:
            await self._app(scope, left, send)

    async def _poll(self, scope: Scope, uuid: str, send: Send) -> bool:
        """Answer that nothing is new; False when there is more to say."""
        began, headers = time.perf_counter(), _usual_headers(scope)
        if headers is None or not _UUID.fullmatch(uuid):
            return False
        etags = etags_in(headers.get(b"if-none-match", b"").decode("latin-1"))
        if not etags:
            return False
        try:
            etag = await self._together.current_etag(uuid, _key(headers), etags)
        except Exception as exc:  # noqa: BLE001  the route meets it as well, and says it in its words
            _note(exc)
            return False
        if etag is None:
            return False
        named = [(b"etag", etag.encode()), *self._named(headers)]
        self._polled(time.perf_counter() - began)
        await send({"type": "http.response.start", "status": 304, "headers": named})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _report(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Store a report and answer; otherwise return what gives the route the request as it came."""
        began, headers = time.perf_counter(), _usual_headers(scope)
        length = headers.get(b"content-length", b"") if headers else b""
        if headers is None or not length.isdigit() or int(length) > _MOST_REPORT:
            return receive
        messages = [await receive()]
        while messages[-1].get("more_body", False):
            messages.append(await receive())
        body = b"".join(message.get("body", b"") for message in messages)
        try:
            is_stored = len(body) == int(length) and await self._store(headers, body)
        except Exception as exc:  # noqa: BLE001  as above
            _note(exc)
            is_stored = False
        if not is_stored:
            return _again(messages, receive)
        sizes = [
            (b"content-length", str(len(_STORED)).encode()),
            (b"content-type", b"application/json"),
        ]
        self._reported(time.perf_counter() - began)
        await send({"type": "http.response.start", "status": 200, "headers": [*sizes, *self._named(headers)]})
        await send({"type": "http.response.body", "body": _STORED})
        return None

    async def _store(self, headers: Headers, body: bytes) -> bool:
        packing = headers.get(b"content-encoding", b"").decode("latin-1")
        named = _NAMED.decode(unpacked(body, packing, most=_MOST_REPORT))
        uuid = next(iter(named), "")
        if len(named) != 1 or not _UUID.fullmatch(uuid):
            return False
        # The text goes into the database as it came: it is not written anew, only read.
        text = bytes(named[uuid])
        return await self._together.stored(uuid, _key(headers), _FIELDS.decode(text), text.decode())

    def _named(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if is_request_id(given) else os.urandom(16).hex()
        return [(b"x-request-id", request_id.encode()), *self._said]


def _usual_headers(scope: MutableMapping[str, Any]) -> Headers | None:
    """Return the headers by name when they are those of a device, each once; None otherwise."""
    headers: Headers = dict(scope["headers"])
    if len(headers) != len(scope["headers"]) or not _UNUSUAL.isdisjoint(headers) or not _key(headers):
        return None
    return headers


def _note(exc: Exception) -> None:
    """Tell of what no caller can be at fault for."""
    if not isinstance(exc, IotisticError | msgspec.MsgspecError | ValueError | RecursionError):
        log.warning("express.failed", reason=f"{type(exc).__name__}: {exc}")


def _key(headers: Headers) -> str:
    return headers.get(b"x-device-api-key", b"").decode("latin-1").strip()


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return what gives messages that were received already, and then what comes after them."""
    left = iter(messages)

    async def giving() -> Message:
        return next(left, None) or await receive()

    return giving
