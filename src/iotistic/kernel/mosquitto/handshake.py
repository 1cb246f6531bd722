"""One connection to the broker that says who it is and leaves: a readiness probe, or a session takeover."""

import asyncio
from dataclasses import dataclass

from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.kernel.mqtt.packets import Connack, PacketReader, encode_connect, encode_disconnect
from iotistic.kernel.mqtt.reasons import is_failure, reason_name

_READ_BYTES = 4096
_KEEPALIVE_S = 30


@dataclass(frozen=True)
class ServiceAccess:
    """How our services reach the broker."""

    host: str
    port: int
    username: str
    password: str

    def __repr__(self) -> str:
        return f"ServiceAccess({self.username}@{self.host}:{self.port})"


async def visit(access: ServiceAccess, *, client_id: str, within_s: float = 5) -> None:
    """Connect as `client_id` with a clean start, wait for the CONNACK, and leave.

    Another connection under the same id is closed by the broker, and its session ends. Raises
    BrokerUnavailable when nothing answers in time, BrokerRefused when the CONNACK is negative.
    """
    try:
        async with asyncio.timeout(within_s):
            await _visit(access, client_id)
    except (OSError, TimeoutError, EOFError) as exc:
        raise BrokerUnavailable(host=access.host, port=access.port) from exc


async def _visit(access: ServiceAccess, client_id: str) -> None:
    reader, writer = await asyncio.open_connection(access.host, access.port)
    try:
        writer.write(
            encode_connect(
                client_id=client_id,
                username=access.username,
                password=access.password,
                keepalive_s=_KEEPALIVE_S,
                clean_start=True,
            )
        )
        answer = await _connack(reader)
        if is_failure(answer.reason):
            raise BrokerRefused(reason=reason_name(answer.reason))
        writer.write(encode_disconnect())
        await writer.drain()
    finally:
        writer.close()


async def _connack(reader: asyncio.StreamReader) -> Connack:
    packets = PacketReader()
    while chunk := await reader.read(_READ_BYTES):
        for packet in packets.feed(chunk):
            if isinstance(packet, Connack):
                return packet
    raise EOFError("the broker closed the connection before its CONNACK")
