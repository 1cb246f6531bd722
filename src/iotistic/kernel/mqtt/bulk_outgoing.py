"""What a bulk subscriber still has to write: kept in order until the socket takes it."""

import asyncio
import socket
import ssl

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Outgoing:
    """Bytes for one connection's socket; a broken connection is met, and reported, by the reading side."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent = bytearray()

    def send(self, octets: bytes) -> None:
        """Write `octets` behind what is waiting; what the socket does not take now goes when it can."""
        if not octets:
            return
        self._unsent += octets
        if len(self._unsent) == len(octets):
            self._send_rest()

    async def flush(self, within_s: float) -> None:
        """Return when everything is written, or when time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while self._unsent and loop.time() < deadline:  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)

    def _send_rest(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._unsent[: self._socket.send(bytes(self._unsent))]
        except WOULD_BLOCK:
            pass
        except OSError:
            self._unsent.clear()
        if self._unsent:
            loop.add_writer(self._socket.fileno(), self._send_rest)
        else:
            loop.remove_writer(self._socket.fileno())
