"""A device is moved from one real broker to another, and stays where it was while the other does not let it in."""

import asyncio
import contextlib

import pytest
from agent_broker import UUID, agent_place, until

from iotistic.agent.link.broker import OwnBroker
from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.connecting import Surroundings
from iotistic.agent.link.moving import Around, BrokerMove, knock
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.store.device import Identity

STATE = f"iot/device/{UUID}/state"


def config(place, **changes):
    """Return what the cloud would say of a broker."""
    return {
        "protocol": "mqtts",
        "host": "localhost",
        "port": place.broker.server.endpoints.device_port,
        "caCert": place.broker.authority.certificate.read_text(),
        **changes,
    }


class Mover:
    """A link that can be moved; its identity is of the first broker's authority."""

    def __init__(self, first, adopted=None):
        credential = first.broker.authority.issue(UUID)
        self.identity = Identity(
            UUID,
            private_key=credential.key.read_text(),
            certificate=credential.certificate.read_text(),
            mqtt_broker_config=config(first),
        )
        self.kept = []
        self.link = MqttLink(lambda: self.move.address(), None, Surroundings(spread_s=0))  # noqa: PLW0108
        self.move = BrokerMove(
            Around(
                identity=lambda: self.identity,
                own=OwnBroker,
                keep=self._keep,
                renew=self.link.renew,
                is_at=self.link.is_at,
                knock=knock,
                again_s=0.5,
                connected_within_s=10,
            ),
            adopted,
        )

    async def _keep(self, value):
        self.kept.append(value)

    @contextlib.asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(self.link.run()), asyncio.create_task(self.move.run())]
        try:
            await until(lambda: self.link.is_online, within_s=20)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def say(self, text):
        await self.link.publish(STATE, text, Purpose.CONTROL)


@pytest.fixture
async def places(tmp_path):
    async with agent_place(tmp_path / "one") as one, agent_place(tmp_path / "two") as two:
        yield one, two


async def test_a_device_stays_until_the_other_broker_lets_it_in_and_then_moves_with_what_it_says(places):
    first, second = places
    heard = [place.listener(STATE) for place in places]
    mover = Mover(first)
    async with mover.running():
        await mover.say(b"here")
        mover.move.wish(config(second, port=1))
        await until(lambda: mover.move.fault, within_s=20)
        away = mover.move.fault
        mover.move.wish(config(second))  # there, nobody knows the authority of the device's certificate
        await until(lambda: mover.move.fault not in {"", away}, within_s=20)
        await mover.say(b"still here")
        kept_meanwhile = list(mover.kept)
        credential = second.broker.authority.issue(UUID)
        key, certificate = credential.key.read_text(), credential.certificate.read_text()
        mover.identity = Identity(
            UUID, private_key=key, certificate=certificate, mqtt_broker_config=config(first)
        )
        await until(lambda: mover.kept and not mover.move.fault, within_s=30)
        await mover.say(b"there")
    again = Mover(second, adopted=config(second))
    async with again.running():
        await again.say(b"after a restart")

    assert kept_meanwhile == []
    assert mover.kept == [config(second)]
    assert [heard[0].receive().payload for _ in range(2)] == [b"here", b"still here"]
    assert [heard[1].receive().payload for _ in range(2)] == [b"there", b"after a restart"]


async def test_a_password_is_not_shown_to_a_broker_that_is_not_checked(places):
    mover = Mover(places[0])
    mover.identity = Identity(
        UUID, mqtt_username="device_x", mqtt_password="secret", mqtt_broker_config=config(places[0])
    )
    task = asyncio.create_task(mover.move.run())
    try:
        for wish in ({"protocol": "mqtt"}, {"verifyCertificate": False}):
            mover.move.fault = ""
            mover.move.wish(config(places[1], **wish))
            await until(lambda: "password" in mover.move.fault)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert mover.kept == []
