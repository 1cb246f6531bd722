import socket
import ssl

import pytest
from broker_fixtures import ThrowawayAuthority, eventually
from structlog.testing import capture_logs

from iotistic.entrypoints.doctor.broker import broker_finding
from iotistic.entrypoints.doctor.check import State
from iotistic.entrypoints.installation import Endpoints
from iotistic.kernel.mqtt.settings import MqttSettings


def endpoints(mqtt: str, ca="") -> Endpoints:
    return Endpoints("home", "http://127.0.0.1:1", mqtt, "https://127.0.0.1:1", str(ca), {})


def device_url(broker) -> str:
    return f"mqtts://127.0.0.1:{broker.server.config.devices.port}"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_look_at_our_broker_leaves_no_alarm_in_its_log(broker):
    with capture_logs() as events:
        found = broker_finding(endpoints(device_url(broker), broker.authority.certificate), MqttSettings())
        # The broker logs in order: once a real stranger is reported, all of the look would be as well.
        with (
            socket.create_connection(("127.0.0.1", broker.server.config.devices.port), timeout=10) as plain,
            ssl._create_unverified_context().wrap_socket(plain) as stranger,
        ):
            stranger.settimeout(10)
            with pytest.raises(ssl.SSLError):
                stranger.recv(1)
        eventually(lambda: [event for event in events if event["event"] == "broker.client_refused"])

    assert found.state is State.OK
    assert "certificate valid" in found.found
    assert len([event for event in events if event["log_level"] in {"warning", "error"}]) == 1


def test_a_broker_of_another_authority_is_a_failure(broker, tmp_path):
    other = ThrowawayAuthority(tmp_path / "other")

    found = broker_finding(endpoints(device_url(broker), other.certificate), MqttSettings())
    assert found.state is State.FAILED


def test_a_foreign_broker_is_checked_against_the_authority_that_the_settings_name(broker, tmp_path):
    other = ThrowawayAuthority(tmp_path / "other")
    url = device_url(broker)
    settings = MqttSettings(mqtt_broker_url=url, mqtt_ca_file=broker.authority.certificate)

    assert broker_finding(endpoints(url, other.certificate), settings).state is State.OK


@pytest.mark.enable_socket
def test_a_foreign_broker_without_tls_is_healthy_when_it_takes_connections(listener):
    url = f"mqtt://127.0.0.1:{listener}"

    assert broker_finding(endpoints(url), MqttSettings(mqtt_broker_url=url)).state is State.OK


def test_a_broker_that_is_away_is_a_failure_with_its_address():
    found = broker_finding(endpoints("mqtt://127.0.0.1:1"), MqttSettings())

    assert found.state is State.FAILED
    assert "mqtt://127.0.0.1:1" in found.found
