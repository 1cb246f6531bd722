"""How a container is asked: small, by asyncio streams, without a client library.

As Kubernetes does it: any answer from 200 to 399 is good unless the probe says which are, redirects are not
followed, and certificates are not verified, since a probe asks whether the service lives and not who it is.
"""

import asyncio
import os
import re
import ssl
from typing import NamedTuple, Protocol
from urllib.parse import quote

from iotistic.agent.health.watch import Answer
from iotistic.kernel.errors import IotisticError, NotFound, Unavailable
from iotistic.planning.model import Container, Probe, ProbeKind

_DEFAULT_TIMEOUT_S = 1.0
_MOST_HEAD_BYTES = 65_536
_MOST_INTERIM = 5
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\r?\n)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIRST_FINAL, _FIRST_BAD = 200, 400


class Reach(Protocol):
    """How the device gets at its containers: engines know."""

    async def address(self, container: Container) -> str:
        """Return the address that the container's ports are reached at from here, without a port.

        Raises NotFound when it is gone, Unavailable when the engine is.
        """
        ...

    async def execute(self, container: Container, command: tuple[str, ...]) -> int:
        """Run a command in the container and return its exit code; cancelled when it takes too long.

        Raises NotFound and Unavailable likewise.
        """
        ...


class Said(NamedTuple):
    """An answer, and in words what was wrong."""

    answer: Answer
    reason: str = ""


class Checker:
    """Asks containers. One serves all of a device."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        # Without the system's authorities: nobody is believed.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def ask(self, container: Container, probe: Probe) -> Said:
        """Ask once, within the probe's time; never raises but when cancelled."""
        timeout_s = probe.timeout_s or _DEFAULT_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(container, probe)
        except TimeoutError:
            return Said(Answer.BAD, f"no answer within {timeout_s:g} s")
        except (NotFound, Unavailable) as exc:
            return Said(Answer.UNKNOWN, exc.message)
        except (OSError, EOFError, IotisticError, ValueError) as exc:
            return Said(Answer.BAD, _in_words(exc))

    async def _ask(self, container: Container, probe: Probe) -> Said:
        if probe.kind is ProbeKind.EXEC:
            code = await self._reach.execute(container, probe.command)
            return Said(Answer.BAD, f"exit {code}") if code else Said(Answer.GOOD)
        host = await self._reach.address(container)
        tls = self._tls if probe.kind is ProbeKind.HTTP and probe.scheme == "https" else None
        reader, writer = await asyncio.open_connection(host, probe.port, ssl=tls, limit=_MOST_HEAD_BYTES)
        try:
            if probe.kind is ProbeKind.TCP:
                return Said(Answer.GOOD)
            writer.write(_request(probe, host))
            await writer.drain()
            return _judge(await _status(reader), probe)
        finally:
            # Not close(), which waits for the other side to say goodbye over TLS.
            writer.transport.abort()


def _request(probe: Probe, host: str) -> bytes:
    """Return the request. Raises ValueError for headers that would make more than one of it."""
    name = f"[{host}]" if ":" in host else host
    headers = {"host": f"{name}:{probe.port}", "user-agent": "iotistic-probe", "accept": "*/*"}
    headers |= {header.lower(): value for header, value in sorted(probe.headers)}
    headers["connection"] = "close"
    for header, value in headers.items():
        if not _TOKEN.fullmatch(header) or re.search(r"[\r\n\0]", value):
            raise ValueError(f"the header {header!r} cannot be sent")
    # Everything but what a path and a query are made of is escaped; % stays, it may be an escape already.
    path = quote(probe.path, safe="/?&=+:@!$'()*,;~%-._[]")
    lines = [f"GET {'' if path.startswith('/') else '/'}{path} HTTP/1.1"]
    lines += [f"{header}: {value}" for header, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


async def _status(reader: asyncio.StreamReader) -> int:
    """Read the status of the answer. Raises ValueError and EOFError for what is none."""
    for _ in range(_MOST_INTERIM):
        try:
            head = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as exc:
            raise ValueError("the answer is not HTTP") from exc
        found = _STATUS.match(head)
        if found is None:
            raise ValueError("the answer is not HTTP")
        status = int(found[1])
        if status >= _FIRST_FINAL:
            return status
        while (await reader.readuntil(b"\n")).strip():  # the rest of an interim answer
            pass
    raise ValueError("the answer has no end")


def _judge(status: int, probe: Probe) -> Said:
    expected = probe.expected_status
    good = status in expected if expected else _FIRST_FINAL <= status < _FIRST_BAD
    return Said(Answer.GOOD) if good else Said(Answer.BAD, f"HTTP {status}")


def _in_words(exc: Exception) -> str:
    if isinstance(exc, asyncio.IncompleteReadError):
        return "the connection ended before an answer"
    if isinstance(exc, OSError) and exc.errno and not isinstance(exc, ssl.SSLError):
        return os.strerror(exc.errno).lower()
    return str(exc) or type(exc).__name__
