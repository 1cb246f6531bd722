"""Requests as devices in use send them, and refusals as they read them.

Bodies may be packed (gzip, deflate) and are unpacked up to a limit. A refusal is a problem document (RFC 9457)
with `error` and `message` beside it, which is what agents of the earlier system look at.
"""

import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.web.problems import error_response

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_MIB = 1024 * 1024


class BodyInvalid(Invalid):
    """The body is not JSON, or not packed as it says."""

    code = "request.body_invalid"


class BodyTooLarge(Invalid):
    """The body is too large once it is unpacked."""

    code = "request.body_too_large"


async def read_json(request: Request, *, most: int = _MIB) -> Any:
    """Return the JSON of a request; `most` is in bytes, unpacked. Raises BodyInvalid, BodyTooLarge."""
    body = unpacked(await request.body(), request.headers.get("content-encoding", ""), most=most)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BodyInvalid("the body is not JSON") from exc


def unpacked(body: bytes, encoding: str, *, most: int) -> bytes:
    """Return a body that is packed as `encoding` says. Raises BodyInvalid, BodyTooLarge."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        plain, is_whole = body[: most + 1], True
    elif encoding in _WINDOW:
        unpacking = zlib.decompressobj(_WINDOW[encoding])
        try:
            plain = unpacking.decompress(body, most + 1)
        except zlib.error as exc:
            raise BodyInvalid(f"the body is not packed with {encoding}") from exc
        is_whole = unpacking.eof
    else:
        raise BodyInvalid(
            f"the body is packed in a way that is not known: {encoding[:40]!r}", hint="use gzip"
        )
    if len(plain) > most:
        raise BodyTooLarge(f"the body has more than {most} bytes", limit=most)
    if not is_whole:
        raise BodyInvalid("the packed body ends too early")
    return plain


def refusal(error: IotisticError) -> Response:
    """Return the answer to an error."""
    return error_response(error)


class DeviceRoute(APIRoute):
    """A route that refuses in the words that devices understand."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the handler, with every kernel error turned into such a refusal."""
        handle = super().get_route_handler()

        async def answering(request: Request) -> Response:
            try:
                return await handle(request)
            except IotisticError as exc:
                return refusal(exc)

        return answering
