"""Settings of the service side of the broker."""

import pytest

from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings


def test_the_installations_own_listener_is_the_default():
    assert load_settings(MqttSettings, mqtt_service_port=1234).mqtt_address == ("127.0.0.1", 1234)


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("mqtt://broker.example", ("broker.example", 1883), False),
        ("mqtts://broker.example", ("broker.example", 8883), True),
        ("mqtts://[::1]:9000", ("::1", 9000), True),
    ],
)
def test_a_url_replaces_host_and_port(url, address, tls):
    settings = load_settings(MqttSettings, mqtt_broker_url=url)

    assert settings.mqtt_address == address
    assert (settings.mqtt_tls() is not None) is tls


@pytest.mark.parametrize(
    "url",
    [
        "broker.example",
        "http://broker.example",
        "mqtt://",
        "mqtt://me:secret@broker",
        "mqtt://b:0",
        "mqtt://b:x",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url):
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(MqttSettings, mqtt_broker_url=url)

    assert "MQTT_BROKER_URL" in caught.value.fields["faults"]
    assert "secret" not in str(caught.value)


def test_the_password_comes_from_a_file_and_is_never_shown(monkeypatch, tmp_path):
    (tmp_path / "password").write_text("hush\n")
    monkeypatch.setenv("MQTT_SERVICE_PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings(MqttSettings)

    assert settings.mqtt_service_password.get_secret_value() == "hush"
    assert "hush" not in repr(settings)
