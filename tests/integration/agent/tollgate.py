"""A TCP proxy that counts what crosses it: bytes, and packets as the kernel sent them."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

_SEGMENTS = struct.Struct("@II")
_SEGMENTS_AT = 136  # tcpi_segs_out and tcpi_segs_in of struct tcp_info, since Linux 4.2
HEAD_BYTES = 52  # IPv4 and TCP with timestamps


@dataclass
class Tolls:
    connections: int = 0
    bytes: int = 0
    packets: int = 0

    def __sub__(self, other):
        return Tolls(
            self.connections - other.connections, self.bytes - other.bytes, self.packets - other.packets
        )

    @property
    def on_the_wire(self):
        return self.bytes + self.packets * HEAD_BYTES


class Tollgate:
    """Between a device and a port of this machine; the packets are those on the device's side."""

    def __init__(self, port):
        self._to, self._closed, self._open = port, Tolls(), {}
        self.port = 0
        self.is_deaf = False
        """Whether everything is swallowed, as by a network that went away without a word."""

    @property
    def tolls(self):
        """What crossed until now."""
        found = Tolls(self._closed.connections, self._closed.bytes, self._closed.packets)
        for writer in self._open:
            found.packets += _packets(writer)
        return found

    @contextlib.asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._open):
                writer.transport.abort()

    async def _pass(self, reader, writer):
        self._closed.connections += 1
        self._open[writer] = None
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(self._carry(reader, to_writer), self._carry(to_reader, writer))
        finally:
            self._closed.packets += _packets(writer) + 1
            del self._open[writer]
            to_writer.close()
            writer.close()

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self._closed.bytes += len(data)
                if not self.is_deaf:
                    writer.write(data)
            writer.write_eof()


def _packets(writer):
    found = writer.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return 0
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return sum(_SEGMENTS.unpack_from(info, _SEGMENTS_AT))
