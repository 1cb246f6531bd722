"""Every error leaves as `application/problem+json` (RFC 9457), by one table from kind to status.

The same codes as in the cloud's APIs; the body also has `error` and `message`, which older clients read.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from iotistic.agent.reconcile.locks import LockHeld
from iotistic.kernel.errors import Conflict, Denied, Invalid, IotisticError, NotFound, Unavailable

MEDIA_TYPE = "application/problem+json"


class Unauthenticated(Denied):
    """The key of the device API is needed, and none that is right was given."""

    code = "auth.credential_required"


class RateLimited(Unavailable):
    """There were too many wrong keys; wait before the next."""

    code = "rate_limited"


class NotPossible(Conflict):
    """This agent cannot do that here."""

    code = "device_api.not_possible"


class RouteUnknown(NotFound):
    """There is nothing at this address."""

    code = "http.not_found"


class MethodRefused(Invalid):
    """This address knows other methods."""

    code = "http.method_not_allowed"


class BodyTooLarge(Invalid):
    """The body is larger than the device API reads."""

    code = "http.request_entity_too_large"


class RequestTimedOut(Invalid):
    """The body did not come within its time."""

    code = "http.request_timeout"


STATUS: Mapping[type[IotisticError], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    LockHeld: HTTPStatus.LOCKED,
    NotPossible: HTTPStatus.NOT_IMPLEMENTED,
    MethodRefused: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestTimedOut: HTTPStatus.REQUEST_TIMEOUT,
    Invalid: HTTPStatus.BAD_REQUEST,
    Denied: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    IotisticError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""From kind of error to HTTP status; the nearest ancestor of an error's class decides."""


def status_of(error: IotisticError) -> HTTPStatus:
    """Return the status that an error is answered with."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: IotisticError) -> web.Response:
    """Return the answer to an error, with the headers that its kind calls for."""
    status = status_of(error)
    body: dict[str, Any] = {
        "type": f"urn:iotistic:problem:{error.code}",
        "title": status.phrase,
        "status": status.value,
        "code": error.code,
        "detail": error.message,
        "error": status.phrase,
        "message": error.message,
    }
    if error.hint:
        body["hint"] = error.hint
    if error.fields:
        body["fields"] = error.fields
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="iotistic device"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return web.Response(
        text=json.dumps(body, default=str), status=status.value, headers=headers, content_type=MEDIA_TYPE
    )


def from_http(exc: web.HTTPException, path: str) -> IotisticError:
    """Return the error that one of aiohttp's stands for."""
    match exc:
        case web.HTTPRequestEntityTooLarge():
            return BodyTooLarge()
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(exc.allowed_methods))
            return MethodRefused(f"{exc.method} is not allowed here", hint=f"allowed: {allowed}")
        case web.HTTPNotFound():
            return RouteUnknown(f"there is nothing at {path[:80]}", hint="see docs/agent/device-api.md")
        case _:
            return Invalid(exc.reason)
