"""What happens around every request: an id, a body limit, figures, and the last resort for errors.

Plain ASGI rather than BaseHTTPMiddleware, which buffers streams and loses cancellation.
"""

import re
import time
import uuid
from collections.abc import Callable

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotistic.kernel.web.problems import problem_response

log = structlog.get_logger()

REQUESTS = Counter(
    "iotistic_http_requests_total", "HTTP requests by route template", ["method", "route", "status"]
)
FIRST_BYTE = Histogram(
    "iotistic_http_first_byte_seconds",
    "Seconds from a request to the start of its answer, by route template",
    ["method", "route"],
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED = "unmatched"


class RequestMiddleware:
    """Wraps every HTTP request of `routes_of`; request bodies over `body_limit` bytes get a 413, unless their route streams them."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes_of: FastAPI,
        body_limit: int,
        streamed_bodies: re.Pattern[str] | None = None,
    ) -> None:
        self._app = app
        self._streamed_bodies = streamed_bodies
        self._routes_of = routes_of
        self._body_limit = body_limit
        self._templates: dict[object, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started, status = time.perf_counter(), 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).setdefault("X-Request-ID", request_id)
                self._count(scope, status, time.perf_counter() - started)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, self._receiving(scope, receive), observed_send)
            except Exception:
                log.exception("request.failed", method=scope["method"], route=self._route(scope))
                # A half-sent answer cannot be mended; the server closes its connection.
                if not status:
                    await _unexpected(request_id)(scope, receive, observed_send)

    def _receiving(self, scope: Scope, receive: Receive) -> Receive:
        if self._streamed_bodies is not None and self._streamed_bodies.fullmatch(scope["path"]):
            return receive
        return _limited(scope, receive, self._body_limit)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = self._route(scope)
        REQUESTS.labels(method, route, status).inc()
        FIRST_BYTE.labels(method, route).observe(seconds)

    def _route(self, scope: Scope) -> str:
        """Return the template of the route that matched: raw paths would make endless label values."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return _UNMATCHED
        if endpoint not in self._templates:
            contexts = iter_route_contexts(self._routes_of.routes)
            self._templates = {context.endpoint: context.path or _UNMATCHED for context in contexts}
        return self._templates.get(endpoint, _UNMATCHED)


def is_request_id(text: str) -> bool:
    """Say whether a request may be called that by whoever sends it."""
    return _REQUEST_ID.fullmatch(text) is not None


def counted(method: str, route: str, status: int) -> Callable[[float], None]:
    """Return what counts an answer, by its seconds, that was given in the place of a route."""
    requests, first_byte = REQUESTS.labels(method, route, status), FIRST_BYTE.labels(method, route)

    def count(seconds: float) -> None:
        requests.inc()
        first_byte.observe(seconds)

    return count


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if is_request_id(given) else uuid.uuid4().hex


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return `receive` that gives up as soon as more than `limit` bytes are announced or have come."""
    too_large = HTTPException(413, f"the body is larger than {limit} bytes")
    announced = Headers(scope=scope).get("content-length", "")
    received = int(announced) if announced.isdecimal() and int(announced) > limit else 0

    async def limited() -> Message:
        nonlocal received
        if received > limit:
            raise too_large
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return limited


def _unexpected(request_id: str) -> ASGIApp:
    return problem_response(
        500,
        code="internal",
        detail="Something went wrong on our side.",
        hint="the log tells more under this request id",
        request_id=request_id,
    )
