"""Agents at a real Mosquitto: each reaches its own topics, and is off when it is revoked, switched off or gone."""

import pytest
from broker_site import eventually, is_refused, running_site
from device_cloud import Device, build, served

from iotistic.kernel.mqtt.reasons import SESSION_TAKEN_OVER

NOT_AUTHORIZED = 135
ENDED = {None, SESSION_TAKEN_OVER}


@pytest.fixture
async def site(pool, tmp_path):
    async with running_site(pool, tmp_path) as running, served(running.cloud):
        yield running


async def test_a_new_agent_with_a_certificate_is_let_in_at_once_and_without_a_restart(site):
    site.keep()
    device, certificate = await site.agent()
    reader = site.service("reader")
    reader.subscribe("iot/#")

    agent = site.connect_agent(device, certificate)

    assert agent.publish(f"iot/device/{device.uuid}/state", b"{}") == 0
    assert reader.receive().topic == f"iot/device/{device.uuid}/state".encode()
    assert site.starts == 1


async def test_an_agent_hears_what_is_for_it(site):
    device, certificate = await site.agent()
    agent = site.connect_agent(device, certificate)
    for topic in ("state/notify", "jobs/notify-next", "agent/update", "ledger/receipt"):
        agent.subscribe(f"iot/device/{device.uuid}/{topic}")
        site.service("cloud").publish(f"iot/device/{device.uuid}/{topic}", topic.encode())

        assert agent.receive().payload == topic.encode()


async def test_an_agent_reaches_no_topic_of_another_one_nor_of_f2(site):
    (device, certificate), (other, _) = await site.agent(), await site.agent()
    agent = site.connect_agent(device, certificate)
    foreign = [
        f"iot/device/{other.uuid}/state",
        f"iot/device/{other.uuid}/jobs/1/update",
        f"iot/device/{device.uuid}/state/notify",
        "tele/f2-aabbccddee01/sensor-mode/J1/sensor-1",
        f"iot/device/{device.uuid}",
        "$SYS/broker/uptime",
        "anything",
    ]

    assert [agent.publish(topic, b"x") for topic in foreign] == [NOT_AUTHORIZED] * len(foreign)


async def test_an_agent_overhears_nothing(site):
    (device, certificate), (other, _) = await site.agent(), await site.agent()
    agent = site.connect_agent(device, certificate)
    for topic_filter in ("#", "iot/device/+/state/notify", f"iot/device/{other.uuid}/#", "tele/#"):
        agent.subscribe(topic_filter)
    cloud = site.service("cloud")
    cloud.publish(f"iot/device/{other.uuid}/state/notify", b"for the other")
    cloud.publish("tele/f2-aabbccddee01/x", b"of a controller")
    cloud.publish(f"iot/device/{device.uuid}/state/notify", b"for this one")

    assert agent.receive().payload == b"for this one"


async def test_a_device_uses_its_own_canonical_topics_and_nobody_elses(site):
    """Registration names them; by a certificate they are granted through patterns, by a password through rules."""
    site.keep()
    (device, certificate), (plain, name, password) = await site.agent(), await site.plain_agent()
    by_password = await eventually(lambda: site.connect(name, password))  # the broker starts anew for it
    certified = site.connect_agent(device, certificate)
    named = ("state/{}", "state/{}/x/y", "sensor/{}/modbus", "agent/{}/status", "agent/{}/jobs/1/update")
    reader = site.service("reader")
    reader.subscribe("state/+")
    codes = {
        (who.uuid, topic): [agent.publish(topic.format(whose.uuid), b"{}") for topic in named]
        for agent, who in ((certified, device), (by_password, plain))
        for topic, whose in (("own", who), ("other", plain if who is device else device))
    }
    for agent, who, other in ((certified, device, plain), (by_password, plain, device)):
        for topic_filter in (f"agent/{who.uuid}/#", f"agent/{other.uuid}/#", "agent/#", "+/+/notify"):
            agent.subscribe(topic_filter)
        reader.publish(f"agent/{other.uuid}/update", b"for the other")
        reader.publish(f"state/{other.uuid}/notify", b"for the other")
        reader.publish(f"agent/{who.uuid}/update", b"for this one")

    assert all(code < 128 for who in (device, plain) for code in codes[who.uuid, "own"])
    assert all(code == NOT_AUTHORIZED for who in (device, plain) for code in codes[who.uuid, "other"])
    assert {reader.receive().topic.decode() for _ in range(2)} == {
        f"state/{device.uuid}",
        f"state/{plain.uuid}",
    }
    assert [agent.receive().payload for agent in (certified, by_password)] == [b"for this one"] * 2


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE device_certificates SET revoked_at = now()",
        "UPDATE fleet_devices SET is_active = false",
        "DELETE FROM fleet_devices",
    ],
    ids=["revoked", "switched off", "removed"],
)
async def test_an_agent_that_may_no_more_is_put_off_and_refused(site, end):
    site.watch()
    device, certificate = await site.agent()
    agent = site.connect_agent(device, certificate)

    await site.pool.execute(end)

    assert await site.ended(agent) in ENDED
    assert await eventually(lambda: is_refused(lambda: site.connect_agent(device, certificate)))


async def test_an_agent_that_is_switched_on_again_comes_back(site):
    site.watch()
    device, certificate = await site.agent()
    await site.pool.execute("UPDATE fleet_devices SET is_active = false")
    await eventually(lambda: is_refused(lambda: site.connect_agent(device, certificate)))

    await site.pool.execute("UPDATE fleet_devices SET is_active = true")

    assert await eventually(lambda: site.connect_agent(device, certificate))


async def test_revoking_one_agent_leaves_the_others_alone(site):
    site.watch()
    (device, certificate), (other, other_certificate) = await site.agent(), await site.agent()
    agent = site.connect_agent(device, certificate)
    neighbour = site.connect_agent(other, other_certificate)

    await site.cloud.devices.remove(device.uuid)

    assert await site.ended(agent) in ENDED
    assert neighbour.publish(f"iot/device/{other.uuid}/state", b"x") < 128


async def test_what_was_revoked_while_the_broker_was_away_is_refused_when_it_is_back(site):
    device, certificate = await site.agent()
    site.server.process.kill()
    await site.cloud.devices.remove(device.uuid)
    site.watch()

    await eventually(site.service)
    assert await eventually(lambda: is_refused(lambda: site.connect_agent(device, certificate)))


async def test_an_agent_of_the_earlier_system_comes_in_by_its_password(site):
    site.keep()
    device, name, password = await site.plain_agent()
    other, other_name, other_password = await site.plain_agent()
    await eventually(lambda: site.connect(other_name, other_password))
    agent = site.connect(name, password)

    assert agent.publish(f"iot/device/{device.uuid}/sensor/modbus", b"x") < 128
    assert agent.publish(f"iot/device/{other.uuid}/state", b"x") == NOT_AUTHORIZED
    assert is_refused(lambda: site.connect(name, "wrong"))
    assert is_refused(lambda: site.connect(f"device_{other.uuid}", password))


@pytest.mark.parametrize("end", ["UPDATE fleet_devices SET is_active = false", "DELETE FROM fleet_devices"])
async def test_a_password_of_a_device_that_may_no_more_is_refused_and_its_connection_ends(site, end):
    site.keep()
    _device, name, password = await site.plain_agent()
    agent = await eventually(lambda: site.connect(name, password))

    await site.pool.execute(end)

    assert await site.ended(agent) is not SESSION_TAKEN_OVER
    assert await eventually(lambda: is_refused(lambda: site.connect(name, password)) and site.service())


async def test_a_device_that_registers_anew_gets_a_password_that_works(site):
    """Lesson 14: a deleted device that came back was given a password that the broker never heard of."""
    site.keep()
    device, name, password = await site.plain_agent()
    await eventually(lambda: site.connect(name, password))
    await site.cloud.devices.remove(device.uuid)
    device.api_key = device.api_key[::-1]

    again = (await device.register_open()).json()["mqtt"]

    assert again["password"] != password
    assert await eventually(lambda: site.connect(name, again["password"]))
    assert is_refused(lambda: site.connect(name, password))


async def test_a_device_without_a_certificate_is_sent_to_where_passwords_are_taken(pool):
    elsewhere = {
        "device_mqtt_url": "mqtts://mqtt.example:8883",
        "device_mqtt_password_url": "mqtts://mqtt.example:8884",
    }
    async with served(build(pool, **elsewhere)) as cloud:
        plain, certified = Device(cloud, await cloud.key()), Device(cloud, await cloud.key())
        answers = [(await plain.register_open()).json()["mqtt"], (await certified.provision())["mqtt"]]

    assert [answer["brokerConfig"]["port"] for answer in answers] == [8884, 8883]
    assert answers[0]["broker"] == "mqtts://mqtt.example:8884"
    assert answers[1]["brokerUrl"] == "mqtts://mqtt.example:8883"
