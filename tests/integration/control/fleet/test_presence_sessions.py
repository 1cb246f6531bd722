"""MQTT sessions as presence hears of them, from a real broker's log."""

import asyncio
import contextlib
import time
import uuid as uuids

import pytest
from fleet_builders import PATIENT, build

from iotistic.control.presence.listening import SessionListener
from iotistic.control.presence.sessions import Heard, SessionLog, Sessions
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseUnavailable

UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"


def mqtt(broker):
    access = broker.server.access
    return MqttSettings(
        mqtt_service_host=access.host,
        mqtt_service_port=access.port,
        mqtt_service_username=access.username,
        mqtt_service_password=access.password,
    )


async def until(seen, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not await seen():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def listening(fleet, broker):
    listener = SessionListener(fleet.pool, fleet.presence, mqtt(broker))
    task = asyncio.create_task(listener.run())

    async def ready():
        return listener.is_listening

    try:
        await until(ready)
        yield listener
    finally:
        listener.stop()
        await task


async def standing(fleet, device):
    row = await fleet.pool.fetchrow(
        "SELECT is_online, epoch, closed_at IS NOT NULL AS closed FROM device_presence "
        "WHERE device_uuid = $1::text::uuid",
        device.uuid,
    )
    return tuple(row)


def stands(fleet, device, *wanted):
    async def seen():
        return await standing(fleet, device) == wanted

    return seen


@pytest.fixture
async def fleet(pool):
    built = build(pool, **PATIENT)
    await built.presence.sweep()  # the database's template may have been migrated many minutes ago
    return built


def connected(broker, uuid):
    return asyncio.to_thread(broker.connected_device, uuid)


async def test_an_agent_is_here_with_its_session_and_gone_a_grace_after_it(fleet, broker):
    device = await fleet.add()
    async with listening(fleet, broker):
        client = await connected(broker, device.uuid)
        await until(stands(fleet, device, True, 1, False))
        await asyncio.to_thread(client.close)
        await until(stands(fleet, device, True, 1, True))
    await fleet.pass_time(91)
    await fleet.presence.sweep()

    assert fleet.notes.transitions == [(device.uuid, True, "mqtt"), (device.uuid, False, "disconnected")]


async def test_a_session_that_is_taken_over_takes_nobody_offline(fleet, broker):
    device = await fleet.add()
    async with listening(fleet, broker):
        credential = await asyncio.to_thread(broker.authority.issue, device.uuid)
        older, newer = broker.device(credential), broker.device(credential)
        await asyncio.to_thread(older.connect, device.uuid)
        await until(stands(fleet, device, True, 1, False))
        await asyncio.to_thread(newer.connect, device.uuid)
        await until(stands(fleet, device, True, 2, False))
        await asyncio.to_thread(older.close)
        other = await fleet.add()
        await connected(broker, other.uuid)
        await until(stands(fleet, other, True, 1, False))

    assert await standing(fleet, device) == (True, 2, False)


async def test_many_that_leave_at_once_are_all_heard(fleet, broker):
    devices = [await fleet.add() for _ in range(40)]
    async with listening(fleet, broker):
        clients = [await connected(broker, device.uuid) for device in devices]
        await until(stands(fleet, devices[-1], True, 1, False))
        for client in clients:
            client.close()
        for device in devices:
            await until(stands(fleet, device, True, 1, True))
    await fleet.pass_time(91)
    gone = await fleet.presence.sweep()

    assert gone == 40


async def test_a_session_that_began_while_nobody_listened_ends_all_the_same(fleet, broker):
    device, back = await fleet.add(), await fleet.add()
    async with listening(fleet, broker):
        clients = [await connected(broker, one.uuid) for one in (device, back)]
        await until(stands(fleet, back, True, 1, False))
    async with listening(fleet, broker):
        for client in clients:
            await asyncio.to_thread(client.close)
        await until(stands(fleet, device, True, 1, True))
        await connected(broker, back.uuid)
        await until(stands(fleet, back, True, 2, False))


async def test_after_a_restart_of_the_broker_sessions_are_heard_again(fleet, own_broker):
    device = await fleet.add()
    async with listening(fleet, own_broker):
        await connected(own_broker, device.uuid)
        await until(stands(fleet, device, True, 1, False))
        own_broker.server.process.kill()
        await own_broker.server.process.wait()
        await own_broker.server.start()

        async def heard():
            with contextlib.suppress(OSError):
                await connected(own_broker, device.uuid)
            return (await standing(fleet, device))[1] > 1

        await until(heard)

    assert (await standing(fleet, device))[0] is True


async def test_two_processes_hear_each_session_once(fleet, broker):
    device = await fleet.add()
    second = SessionListener(fleet.pool, fleet.presence, mqtt(broker))
    async with listening(fleet, broker):
        waiting = asyncio.create_task(second.run())
        await connected(broker, device.uuid)
        await until(stands(fleet, device, True, 1, False))
        was_listening = second.is_listening

    async def ready():
        return second.is_listening

    await until(ready)
    await connected(broker, device.uuid)
    await until(stands(fleet, device, True, 2, False))
    second.stop()
    await waiting

    assert not was_listening


async def test_whoever_is_unknown_or_no_agent_is_passed_over(fleet, broker):
    device = await fleet.add()
    async with listening(fleet, broker):
        await connected(broker, str(uuids.uuid4()))
        await connected(broker, "0123456789ab")
        await asyncio.to_thread(broker.service, device.uuid)
        known = await fleet.add()
        await connected(broker, known.uuid)
        await until(stands(fleet, known, True, 1, False))

    assert await standing(fleet, device) == (False, 0, False)


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        (
            f"New client connected from 10.0.0.1:5 as {UUID} (p5, c1, k60, u'{UUID}').",
            Heard(UUID, UUID, came=True),
        ),
        (f"1700000000: Client {UUID} closed its connection.", Heard(UUID, UUID, came=False)),
        (f"Client {UUID} [10.0.0.1:5] disconnected.", Heard(UUID, UUID, came=False)),
        (
            f"Client device_{UUID} has exceeded timeout, disconnecting.",
            Heard(f"device_{UUID}", UUID, came=False),
        ),
        (f"Client {UUID} disconnected due to protocol error.", Heard(UUID, UUID, came=False)),
        (f"Client {UUID} disconnected, not authorised.", None),
        (f"New client connected from 10.0.0.1:5 as {UUID} (p5, c1, k60, u'someone').", None),
        (f"New client connected from 10.0.0.1:5 as {UUID} (p5, c1, k60).", None),
        (f"New client connected from 10.0.0.1:5 as x{UUID} (p5, c1, k60, u'x{UUID}').", None),
        ("Client <unknown> closed its connection.", None),
        ("New connection from 10.0.0.1:5 on port 8883.", None),
        ("\x00\xff", None),
        ("", None),
    ],
)
def test_lines_of_the_log(line, heard):
    assert SessionLog().read(line) == heard


class Attended:
    """Presence that remembers, and may be away."""

    def __init__(self):
        self.did, self.is_away, self.epoch = [], False, 0

    async def all_opened(self, uuids):
        self._check()
        self.did.append(("opened", *uuids))
        self.epoch += 1
        return dict.fromkeys(uuids, self.epoch)

    async def all_closed(self, sessions):
        self._check()
        self.did.append(("closed", *sessions))
        return []

    def _check(self):
        if self.is_away:
            raise DatabaseUnavailable(retry_after_s=1)


async def test_of_a_storm_only_how_it_ended_is_written():
    presence = Attended()
    sessions = Sessions(presence)
    for came in (True, False) * 50:
        sessions.hear(Heard(UUID, UUID, came=came))
    for came in (False, True):
        sessions.hear(Heard(OTHER, OTHER, came=came))
    await sessions.write()

    assert presence.did == [("opened", UUID, OTHER), ("closed", (UUID, 1))]


async def test_what_cannot_be_written_waits_and_is_merged_with_what_comes():
    presence = Attended()
    sessions = Sessions(presence)
    presence.is_away = True
    sessions.hear(Heard(UUID, UUID, came=True))
    with pytest.raises(DatabaseUnavailable):
        await sessions.write()
    sessions.hear(Heard(UUID, UUID, came=False))
    with pytest.raises(DatabaseUnavailable):
        await sessions.write()
    presence.is_away = False
    await sessions.write()

    assert (presence.did, sessions.waiting) == ([("opened", UUID), ("closed", (UUID, 1))], 0)


async def test_two_sessions_of_one_device_have_two_epochs():
    presence = Attended()
    sessions = Sessions(presence)
    sessions.hear(Heard(f"device_{UUID}", UUID, came=True))
    sessions.hear(Heard(UUID, UUID, came=True))
    await sessions.write()
    await sessions.write()
    sessions.hear(Heard(f"device_{UUID}", UUID, came=False))
    await sessions.write()

    assert presence.did == [("opened", UUID), ("opened", UUID), ("closed", (UUID, 1))]
