"""Who may do what on the broker, and what the log says about who may not."""

import os
import socket
import ssl

import pytest
from broker_fixtures import ThrowawayAuthority, eventually
from structlog.testing import capture_logs

from iotistic.kernel.mqtt.packets import encode_connect

NOT_AUTHORIZED = 135


@pytest.fixture
def events():
    with capture_logs() as captured:
        yield captured


def wait_for(events, name, **fields):
    def found():
        return [event for event in events if event["event"] == name and fields.items() <= event.items()]

    return eventually(found)[0]


def handshake_refusal(broker, credential):
    """Return the TLS alert; in version 1.2, because in 1.3 it may drown in the end of the connection."""
    with pytest.raises(ssl.SSLError) as caught:
        broker.device(credential, tls=ssl.TLSVersion.TLSv1_2)
    return caught.value.reason


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_current_tls_versions_are_spoken(broker, tls):
    device = broker.device(broker.authority.issue("aabbccddee00"), tls=tls)

    assert device.connect("aabbccddee00").reason == 0


def test_a_device_publishes_under_its_own_mac(broker):
    device = broker.connected_device("aabbccddee01")
    service = broker.service("reader")
    service.subscribe("tele/#")

    assert device.publish("tele/f2-aabbccddee01/sensor-mode/J1/sensor-1", b"x") == 0
    assert service.receive().payload == b"x"


@pytest.mark.parametrize("family", ["stat", "tele"])
def test_a_device_publishes_what_it_kept_under_its_own_mac(broker, family):
    device = broker.connected_device("aabbccddee12")
    service = broker.service("backlog-reader")
    service.subscribe("backlog/#")

    assert device.publish(f"backlog/{family}/f2-aabbccddee12/sensor-mode/J1/sensor-1", b"x") == 0
    assert service.receive().payload == b"x"


def test_a_device_hears_its_own_commands(broker):
    device = broker.connected_device("aabbccddee11")
    device.subscribe("cmnd/f2-aabbccddee11/#")

    broker.service("commander").publish("cmnd/f2-aabbccddee11/alarm-mode/J1/siren-1", b"1")

    assert device.receive().payload == b"1"


@pytest.mark.parametrize(
    "topic",
    [
        "tele/f2-aabbccddee99/sensor-mode/J1/sensor-1",
        "stat/f2-aabbccddee99/alarm-mode/J1/siren-1",
        "cmnd/f2-aabbccddee02/alarm-mode/J1/siren-1",
        "tele",
        "tele/f2-aabbccddee02x/a",
        "backlog/tele/f2-aabbccddee99/sensor-mode/J1/sensor-1",
        "backlog/cmnd/f2-aabbccddee02/a",
        "backlog",
        "$SYS/broker/version",
    ],
)
def test_a_publish_outside_of_the_own_mac_is_refused_and_the_log_names_the_rule(broker, events, topic):
    device = broker.connected_device("aabbccddee02")

    assert device.publish(topic) == NOT_AUTHORIZED
    event = wait_for(events, "broker.acl_denied", client="aabbccddee02", topic=topic)
    assert "pattern write tele/f2-%u/#" in event["rule"]


@pytest.mark.parametrize("topic_filter", ["cmnd/f2-aabbccddee98/#", "#", "$SYS/#", "$share/g/cmnd/#"])
def test_a_device_never_hears_what_is_meant_for_others(broker, events, topic_filter):
    device = broker.connected_device("aabbccddee03")
    device.subscribe(topic_filter)
    device.subscribe("cmnd/f2-aabbccddee03/#")

    service = broker.service("commander")
    service.publish("cmnd/f2-aabbccddee98/a/J1/b", b"for another")
    service.publish("cmnd/f2-aabbccddee03/a/J1/b", b"own")

    assert device.receive().payload == b"own"
    wait_for(events, "broker.acl_denied", client="aabbccddee03", rule="pattern read cmnd/f2-%u/#")


def test_a_device_without_a_certificate_is_refused(broker, events):
    handshake_refusal(broker, None)

    wait_for(events, "broker.client_refused", reason="certificate_missing")


def test_an_expired_certificate_is_refused_and_the_device_told_so(broker, events):
    assert "CERTIFICATE_EXPIRED" in handshake_refusal(broker, broker.authority.issue_expired("aabbccddee04"))
    wait_for(events, "broker.client_refused", reason="certificate_rejected")


def test_a_certificate_of_a_foreign_authority_is_refused_and_the_device_told_so(broker, events, tmp_path):
    foreign = ThrowawayAuthority(tmp_path / "foreign", cn="Foreign").issue("aabbccddee05")

    assert "UNKNOWN_CA" in handshake_refusal(broker, foreign)
    wait_for(events, "broker.client_refused", reason="certificate_rejected")


def test_a_forger_that_copies_our_authoritys_name_is_refused(broker, events, tmp_path):
    forged = ThrowawayAuthority(tmp_path / "forged").issue("aabbccddee05")

    handshake_refusal(broker, forged)
    wait_for(events, "broker.client_refused", reason="certificate_rejected")


@pytest.mark.parametrize(
    ("username", "password"),
    [(None, None), ("iotistic", None), ("iotistic", "wrong"), ("admin", "admin"), ("", "")],
)
def test_a_service_without_the_password_is_refused(broker, events, username, password):
    answer = broker.stranger().connect("intruder", username=username, password=password)

    assert answer.reason == NOT_AUTHORIZED
    wait_for(events, "broker.client_refused", reason="bad_credentials")


def test_a_user_name_in_connect_does_not_replace_the_certificates(broker):
    device = broker.device(broker.authority.issue("aabbccddee06"))
    device.connect("someone-else", username="iotistic", password=broker.server.access.password)

    assert device.publish("tele/f2-aabbccddee07/a") == NOT_AUTHORIZED
    assert device.publish("tele/f2-aabbccddee06/a") < 128


def test_plain_mqtt_on_the_device_listener_is_refused(broker, events):
    with socket.create_connection(("127.0.0.1", broker.server.endpoints.device_port), 5) as stream:
        stream.sendall(encode_connect(client_id="plain", keepalive_s=60, clean_start=True))

        wait_for(events, "broker.client_refused", reason="tls_expected")


@pytest.mark.parametrize("port", ["device_port", "service_port"])
def test_garbage_on_a_listener_does_not_harm_the_others(broker, port):
    device = broker.connected_device("aabbccddee08")
    for size in (1, 7, 300, 70_000):
        with socket.create_connection(("127.0.0.1", getattr(broker.server.endpoints, port)), 5) as stream:
            stream.sendall(os.urandom(size))

    assert device.publish("tele/f2-aabbccddee08/a") < 128
    assert broker.server.process.returncode is None


def test_a_packet_over_the_limit_ends_the_connection(broker, events):
    device = broker.connected_device("aabbccddee09")

    with pytest.raises((ConnectionError, ssl.SSLError)):
        device.publish("tele/f2-aabbccddee09/a", bytes(2 * 1024 * 1024))

    wait_for(events, "broker.client_refused", reason="packet_too_large", client="aabbccddee09")
