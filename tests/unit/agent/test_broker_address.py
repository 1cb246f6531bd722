"""Which broker an agent speaks to, out of what provisioning brought and what was set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.link.broker import BrokerAddress, OwnBroker, find_broker
from iotistic.agent.link.errors import BrokerUnusable
from iotistic.agent.link.mqtt_settings import MqttLinkSettings
from iotistic.agent.store.device import Identity
from iotistic.kernel.settings import SettingsInvalid

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def provisioned(url="", **config):
    return Identity(
        UUID, mqtt_username="u", mqtt_password="p", mqtt_broker_url=url, mqtt_broker_config=config
    )


def found(identity, own=None):
    return find_broker(identity, own or OwnBroker())


def test_without_provisioning_and_settings_there_is_no_broker():
    assert found(Identity(UUID)) is None


@pytest.mark.parametrize(
    ("url", "config", "expected"),
    [
        ("mqtts://b.example", {}, ("b.example", 8883, True)),
        ("mqtts://b.example:9000", {}, ("b.example", 9000, True)),
        ("mqtt://b.example", {}, ("b.example", 1883, False)),
        ("ssl://[::1]:1", {}, ("::1", 1, True)),
        ("", {"host": "b.example"}, ("b.example", 8883, True)),
        ("", {"host": "b.example", "protocol": "mqtt"}, ("b.example", 1883, False)),
        ("", {"host": "b.example", "protocol": "mqtt", "useTls": True}, ("b.example", 8883, True)),
        ("", {"host": "b.example", "protocol": "mqtts", "useTls": False}, ("b.example", 8883, True)),
        ("mqtt://a.example:5", {"host": "b.example", "port": 7}, ("b.example", 7, False)),
    ],
)
def test_where_the_broker_is(url, config, expected):
    address = found(provisioned(url, **config))

    assert (address.host, address.port, address.tls) == expected
    assert (address.client_id, address.username, address.password) == (f"device_{UUID}", "u", "p")


def test_a_certificate_is_checked_unless_the_answer_is_a_plain_no():
    assert found(provisioned("mqtts://b")).verify
    assert not found(provisioned("mqtts://b", verifyCertificate=False)).verify
    with pytest.raises(BrokerUnusable, match="verifyCertificate"):
        found(provisioned("mqtts://b", verifyCertificate=0))


def test_what_provisioning_says_about_the_connection_is_kept_to():
    address = found(provisioned("mqtts://b", keepAlive=60, cleanSession=True, caCert="PEM"))

    assert (address.keep_alive_s, address.session_s, address.ca_pem) == (60, 0, "PEM")
    assert (found(provisioned("mqtts://b")).keep_alive_s, found(provisioned("mqtts://b")).session_s) == (
        240,
        86_400,
    )


def test_a_certificate_goes_with_its_key_or_not_at_all():
    identity = Identity(UUID, mqtt_broker_url="mqtts://b", private_key="KEY\n", certificate="CERT")
    alone = Identity(UUID, mqtt_broker_url="mqtts://b", certificate="CERT")
    given_one = Identity(
        UUID, mqtt_broker_url="mqtts://b", private_key="KEY", mqtt_broker_config={"clientCert": "OTHER"}
    )

    assert found(identity).identity_pem == "KEY\nCERT\n"
    assert found(alone).identity_pem == ""
    assert found(given_one).identity_pem == "KEY\nOTHER\n"


def test_what_provisioning_brought_comes_before_what_was_set():
    own = OwnBroker("mqtt://own", "me", "secret", keep_alive_s=30)

    assert found(provisioned("mqtts://cloud"), own).host == "cloud"
    assert found(provisioned("mqtts://cloud"), own).keep_alive_s == 30
    assert found(Identity(UUID), own) == BrokerAddress(
        "own", 1883, f"device_{UUID}", "me", "secret", tls=False, keep_alive_s=30
    )
    assert found(Identity(UUID), OwnBroker("own:77")).port == 77


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("ws://b", {}),
        ("mqtts://", {}),
        ("mqtts://b:0", {}),
        ("mqtts://b:66666", {}),
        ("mqtts://b:x", {}),
        ("mqtts://me:secret@b", {}),
        ("mqtts://[b", {}),
        ("", {"host": 7}),
        ("", {"host": "b", "port": "8883"}),
        ("", {"host": "b", "port": True}),
        ("", {"host": "b", "port": 0}),
        ("", {"host": "b", "protocol": "wss"}),
        ("", {"host": "b", "keepAlive": -1}),
        ("", {"host": "b", "caCert": ["x"]}),
    ],
)
def test_what_cannot_be_a_broker_is_refused_and_tells_no_secret(url, config):
    with pytest.raises(BrokerUnusable) as caught:
        found(provisioned(url, **config))
    assert "secret" not in str(caught.value.as_dict())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["protocol", "host", "port", "useTls", "verifyCertificate", "caCert", "clientCert", "keepAlive"]
)


@given(st.text(max_size=40), st.dictionaries(NAMES, JSON))
def test_whatever_the_cloud_says_gives_an_address_or_a_refusal(url, config):
    try:
        address = found(provisioned(url, **config))
    except BrokerUnusable:
        return

    assert address is None or (address.host and 1 <= address.port <= 65_535)


def test_settings_give_a_broker_and_hide_its_password(tmp_path):
    (tmp_path / "ca.pem").write_text("PEM")
    settings = MqttLinkSettings(
        mqtt_broker="mqtts://own", mqtt_password="secret", mqtt_ca_file=tmp_path / "ca.pem"
    )

    assert settings.own_broker() == OwnBroker("mqtts://own", "", "secret", "PEM")
    assert "secret" not in f"{settings} {settings.own_broker()}"
    with pytest.raises(SettingsInvalid):
        MqttLinkSettings(mqtt_ca_file=tmp_path / "none").own_broker()
