"""Moves a device to another broker when the cloud wishes it; the old one is kept until the new one let the device in.

    wish -> knock at the new broker beside the old connection -> let in: kept on disk, the link moves
                                                             '-- not: the old one stays, tried again later
    moved, and not connected within a minute -> back to the old one, tried again later

What the device shows the new broker is what it has: its certificate, or its password, over checked TLS only.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from iotistic.agent.link.broker import BrokerAddress, OwnBroker, find_broker
from iotistic.agent.link.connecting import Surroundings, make_client
from iotistic.agent.link.errors import BrokerUnusable, MqttUnanswered
from iotistic.agent.store.device import Identity
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.lean import LeanClient
from iotistic.kernel.mqtt.outbox import Outgoing
from iotistic.kernel.mqtt.packets import Publish

log = structlog.get_logger()

ADOPTED = "broker.adopted"
"""Under which name the broker that is in use is kept."""
_KNOCK_WITHIN_S, _CONNECTED_WITHIN_S = 20.0, 60.0
_AGAIN_FIRST_S, _AGAIN_MOST_S = 60.0, 3600.0

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What moving needs. `knock` raises IotisticError when a broker does not let us in."""

    identity: Callable[[], Identity]
    own: Callable[[], OwnBroker]
    keep: Callable[[Config | None], Awaitable[None]]
    """Keeps what is in use over a restart."""
    renew: Callable[[], None]
    """Has the link look again where the broker is."""
    is_at: Callable[[BrokerAddress], bool]
    """Whether the link is connected there."""
    knock: Callable[[BrokerAddress], Awaitable[None]]
    again_s: float = _AGAIN_FIRST_S
    connected_within_s: float = _CONNECTED_WITHIN_S


class BrokerMove:
    """Of one device; `adopted` is the configuration in use that is not that of its registration."""

    def __init__(self, around: Around, adopted: Config | None) -> None:
        self._around, self._adopted, self._wished = around, adopted, adopted
        self._changed = asyncio.Event()
        self.fault = ""
        """Why the device is not where it is wished to be."""

    def address(self) -> BrokerAddress | None:
        """Return the broker that the link is to speak to. Raises BrokerUnusable."""
        return self._address(self._adopted)

    def wish(self, config: Config | None) -> None:
        """Hear where the cloud wishes the device to be; None is where it was registered."""
        if config != self._wished:
            self._wished = config
            self._changed.set()

    def forget(self) -> None:
        """Belong to no cloud any more: what it wished is void at once."""
        self._adopted = self._wished = None
        self._changed.set()

    async def run(self) -> None:
        """Move when it is wished, until cancelled."""
        pause_s = self._around.again_s
        while True:
            self._changed.clear()
            if self._wished == self._adopted or await self._move(self._wished):
                self.fault, pause_s = "", self._around.again_s
                await self._changed.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            pause_s = min(pause_s * 2, _AGAIN_MOST_S)

    async def _move(self, wished: Config | None) -> bool:
        """Return whether the device is there now."""
        before, fields = self._adopted, _named(wished)
        try:
            address = self._address(wished)
            if address is not None and address != self._address_or_none(before):
                await self._around.knock(address)
        except IotisticError as exc:
            self.fault = exc.message
            log.warning("broker.not_moved", code=exc.code, reason=exc.message, **fields)
            return False
        if wished != self._wished:
            return True  # another wish came meanwhile, which is looked at next
        await self._adopt(wished)
        if address is None or await self._is_connected(address):
            log.info("broker.moved", **fields)
            return True
        self.fault = "it let the device in, and then not again"
        log.warning("broker.moved_back", reason=self.fault, **fields)
        await self._adopt(before)
        return False

    async def _adopt(self, config: Config | None) -> None:
        self._adopted = config
        try:
            await self._around.keep(config)
        except IotisticError as exc:  # after a restart it is wished and moved to once more
            log.warning("broker.not_kept", code=exc.code)
        self._around.renew()

    async def _is_connected(self, address: BrokerAddress) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._around.connected_within_s):
                while not self._around.is_at(address):  # noqa: ASYNC110  ends at the deadline
                    await asyncio.sleep(0.2)
                return True
        return False

    def _address_or_none(self, config: Config | None) -> BrokerAddress | None:
        try:
            return self._address(config)
        except BrokerUnusable:
            return None

    def _address(self, config: Config | None) -> BrokerAddress | None:
        identity, own = self._around.identity(), self._around.own()
        if config is None:
            return find_broker(identity, own)
        address = find_broker(replace(identity, mqtt_broker_url="", mqtt_broker_config=config), own)
        if address is not None and address.password and not (address.tls and address.verify):
            raise BrokerUnusable(
                "the device would show its password to a broker that it does not check",
                hint="use mqtts with verify_certificate, or give the device a certificate",
            )
        return address


async def knock(address: BrokerAddress) -> None:
    """Return once a broker let us in. Raises IotisticError: why it did not."""
    visitor = _Visitor()
    client, _ = make_client(replace(address, session_s=0), (), visitor, Surroundings(spread_s=0))
    client.start()
    try:
        async with asyncio.timeout(_KNOCK_WITHIN_S):
            await visitor.answer
    except TimeoutError as exc:
        raise MqttUnanswered(f"{address.host} does not answer") from exc
    finally:
        await client.stop(within_s=1)


class _Visitor:
    """Hears whether a client was let in, and nothing else."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def online(self, client: LeanClient) -> None:
        """It was."""
        del client
        if not self.answer.done():
            self.answer.set_result(None)

    def offline(self, client: LeanClient, cause: IotisticError, *, lost: bool) -> None:
        """It was not."""
        del client, lost
        if not self.answer.done():
            self.answer.set_exception(cause)

    def message(self, client: LeanClient, message: Publish) -> None:
        """Nothing was subscribed to."""

    def settled(self, client: LeanClient, message: Outgoing, reason: int) -> None:
        """Nothing was sent."""


def _named(config: Config | None) -> dict[str, Any]:
    return {} if config is None else {"host": config.get("host"), "broker_id": config.get("brokerId")}
