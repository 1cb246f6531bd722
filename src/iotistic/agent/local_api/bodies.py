"""Reads requests: bodies are small JSON objects, and every fault of one is told by its field."""

import asyncio
import json
from typing import TypeVar

from aiohttp import web

from iotistic.agent.local_api.problems import RequestTimedOut
from iotistic.kernel.errors import Invalid
from iotistic.planning.faults import Fault, Reader, seconds, truth

T = TypeVar("T")

MOST_BYTES = 64 * 1024
MOST_WAIT_S = 300.0
WAIT_S = 15.0
"""How long an operation is waited for when nobody says how long: a container may take 10 s to end."""
_WITHIN_S = 10.0
_MOST_NAME = 128


class BodyInvalid(Invalid):
    """The body cannot be understood."""

    code = "request.invalid"


class Body(Reader):
    """The object in a body. `check` raises BodyInvalid with everything that is wrong."""

    def check(self) -> None:
        """Refuse fields that nobody read, and whatever was at fault."""
        self.refuse_others()
        if self.faults:
            raise BodyInvalid("; ".join(map(str, self.faults)), faults=[one._asdict() for one in self.faults])


async def read_body(request: web.Request) -> Body:
    """Read a body; no body is an empty object. Raises BodyInvalid, BodyTooLarge and RequestTimedOut."""
    try:
        async with asyncio.timeout(_WITHIN_S):
            content = await request.read()
    except TimeoutError as exc:
        raise RequestTimedOut from exc
    if not content.strip():
        return _body({})
    try:
        return _body(json.loads(content))
    except (ValueError, RecursionError) as exc:
        raise BodyInvalid("the body is not JSON") from exc


def _body(document: object) -> Body:
    faults: list[Fault] = []
    return Body(document, "", faults)


def called(value: object) -> str:
    """Read what an app or service is called: an id, which may be a number, or a name. Raises ValueError."""
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(found, str) or not 1 <= len(found) <= _MOST_NAME:
        raise ValueError(f"is to be a number, or a text of 1 to {_MOST_NAME} characters")
    return found


def read_force(body: Body) -> bool:
    """Read `force`: do not honour the locks of apps."""
    return body.read("force", truth) or False


def read_wait(body: Body) -> float:
    """Read `wait`: seconds that the answer may take."""
    wait_s = body.read("wait", seconds(MOST_WAIT_S))
    return WAIT_S if wait_s is None else wait_s


def count_in(request: web.Request, name: str, default: int, most: int) -> int:
    """Return a whole number of the query. Raises BodyInvalid."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):  # noqa: PLR2004
        raise BodyInvalid(f"{name}: is to be a whole number from 1 to {most}")
    return int(text)


def switch_in(request: web.Request, name: str) -> bool:
    """Return a truth value of the query. Raises BodyInvalid."""
    text = request.query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise BodyInvalid(f"{name}: is to be true or false")
    return text in ("true", "1")
