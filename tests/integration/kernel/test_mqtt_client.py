"""The ordinary client of services, against the real broker."""

import asyncio
import gc

import pytest
from broker_fixtures import start_broker

from iotistic.kernel.mqtt.client import backoff_s, connect
from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable, PublishDenied
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.process import pick_port


def settings(broker, **changes):
    access = broker.server.access
    given = {"mqtt_service_port": access.port, "mqtt_service_password": access.password} | changes
    return MqttSettings(**given)


def tls_settings(broker, **changes):
    url = f"mqtts://localhost:{broker.server.endpoints.device_port}"
    return settings(broker, mqtt_broker_url=url, **changes)


async def next_message(client, within_s=10):
    return await asyncio.wait_for(anext(client.messages()), within_s)


async def test_a_message_comes_back_to_its_subscriber(broker):
    async with connect(settings(broker), client_id="echo") as client:
        await client.subscribe("test/echo/#")
        await client.publish("test/echo/a", b"hello")

        message = await next_message(client)
        assert (str(message.topic), message.payload) == ("test/echo/a", b"hello")


async def test_a_refused_publish_raises(broker):
    async with connect(settings(broker), client_id="refused") as client:
        with pytest.raises(PublishDenied) as caught:
            await client.publish("$SYS/broker/version", b"mine", within_s=5)

    assert caught.value.code == "broker.publish_denied"


async def test_many_publishes_at_once_are_all_acknowledged(own_broker):
    async with connect(settings(own_broker), client_id="many") as client:
        await client.subscribe("test/many")
        await asyncio.gather(*(client.publish("test/many", b"%d" % n) for n in range(500)))

        received = {(await next_message(client)).payload for _ in range(500)}
    assert len(received) == 500


async def test_a_wrong_password_is_refused_at_once(broker):
    with pytest.raises(BrokerRefused):
        async with connect(settings(broker, mqtt_service_password="wrong"), client_id="x", within_s=5):
            pass


async def test_an_absent_broker_is_named():
    port = pick_port(0)
    with pytest.raises(BrokerUnavailable) as caught:
        async with connect(MqttSettings(mqtt_service_port=port), client_id="x", within_s=0.5):
            pass

    assert caught.value.fields["port"] == port


async def test_the_client_comes_back_after_the_broker_was_killed(own_broker):
    async with connect(settings(own_broker), client_id="survivor") as client:
        await client.subscribe("test/#")
        own_broker.server.process.kill()
        await own_broker.server.process.wait()
        waiting = asyncio.create_task(client.publish("test/a", b"after", within_s=20))
        await own_broker.server.stop()
        await own_broker.server.start()
        await waiting

        assert (await next_message(client)).payload == b"after"


async def test_a_publish_that_nobody_acknowledges_fails_in_time(own_broker):
    async with connect(settings(own_broker), client_id="patient") as client:
        await own_broker.server.stop()
        with pytest.raises(BrokerUnavailable):
            await client.publish("test/a", b"never", within_s=1)


async def test_a_refusal_by_the_access_rules_carries_the_brokers_reason(own_broker, monkeypatch):
    credential = own_broker.authority.issue("aabbccddee01")
    context = tls_settings(own_broker, mqtt_ca_file=own_broker.authority.certificate).mqtt_tls()
    context.load_cert_chain(credential.certificate, credential.key)
    monkeypatch.setattr(MqttSettings, "mqtt_tls", lambda self: context)

    async with connect(tls_settings(own_broker), client_id="ignored") as client:
        await client.publish("tele/f2-aabbccddee01/a", b"1")
        with pytest.raises(PublishDenied) as caught:
            await client.publish("tele/f2-aabbccddee02/a", b"1")
        await client.publish("tele/f2-aabbccddee01/a", b"2")

    assert caught.value.fields["reason"] == "not_authorized"


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_of_an_unknown_authority_is_not_spoken_to(own_broker):
    with pytest.raises(BrokerUnavailable):
        async with connect(tls_settings(own_broker), client_id="x", within_s=1):
            pass
    gc.collect()


async def test_a_session_that_is_kept_gets_what_came_meanwhile(tmp_path):
    broker = await start_broker(tmp_path)
    async with connect(settings(broker), client_id="keeper", session_expiry_s=600) as client:
        await client.subscribe("test/#")
    async with connect(settings(broker), client_id="writer") as writer:
        await writer.publish("test/a", b"meanwhile")
    async with connect(settings(broker), client_id="keeper", session_expiry_s=600) as client:
        assert (await next_message(client)).payload == b"meanwhile"
    await broker.server.stop()


def test_the_wait_between_tries_grows_to_a_bound_and_is_never_the_same_for_all():
    waits = [backoff_s(failures) for failures in range(100)]

    assert max(waits) <= 15
    assert backoff_s(0) <= 0.1
    assert len(set(waits[20:])) > 1
