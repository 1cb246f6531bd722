"""Where `iotistic up` has devices told to connect: an address that holds for those who are told it."""

import pytest

from iotistic.control.provisioning.answering import is_of_this_machine
from iotistic.entrypoints.up.ports import Chosen
from iotistic.entrypoints.up.reach import Reach, reach
from iotistic.entrypoints.up.settings import UpSettings

PORTS = {"mqtt": Chosen(8883, 8883), "mqtt_account": Chosen(8884, 8884)}
ADDRESSES = ("192.168.1.7", "fd00::7")


def found(addresses=ADDRESSES, environ=None, **settings):
    return reach(UpSettings(**settings), PORTS, addresses=lambda: addresses, environ=environ or {})


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "mqtts://127.0.0.1:8883"),
        ({"listen_address": "0.0.0.0"}, "mqtts://192.168.1.7:8883"),
        ({"listen_address": "::"}, "mqtts://[fd00::7]:8883"),
        ({"listen_address": "10.0.0.5"}, "mqtts://10.0.0.5:8883"),
        (
            {"listen_address": "0.0.0.0", "mqtt_broker_host": "iot.example.com"},
            "mqtts://iot.example.com:8883",
        ),
        ({"mqtt_broker_url": "mqtts://broker.example.com:8883/"}, "mqtts://broker.example.com:8883"),
    ],
)
def test_devices_are_sent_where_they_reach_the_broker(settings, url):
    assert found(**settings).url == url


def test_what_was_set_is_told_and_passwords_are_taken_at_the_same_host():
    where = found(environ={"DEVICE_MQTT_URL": "mqtts://far.example.com:443"}, listen_address="0.0.0.0")

    assert where == Reach("192.168.1.7", "mqtts://far.example.com:443", "mqtts://far.example.com:8884")
    assert where.environment()["DEVICE_MQTT_PASSWORD_URL"] == "mqtts://far.example.com:8884"


def test_a_broker_of_somebody_takes_passwords_where_it_takes_certificates():
    assert found(mqtt_broker_url="mqtt://10.0.0.9:1883").environment() == {
        "DEVICE_MQTT_URL": "mqtt://10.0.0.9:1883"
    }


@pytest.mark.parametrize(
    ("where", "is_local"),
    [
        (found(), True),
        (found(addresses=(), listen_address="0.0.0.0"), True),
        (found(listen_address="0.0.0.0"), False),
        (found(environ={"DEVICE_MQTT_URL": "mqtts://localhost:8883"}), True),
    ],
)
def test_an_address_that_no_other_machine_can_follow_is_known_as_such(where, is_local):
    assert where.is_local is is_local
    assert is_of_this_machine(where.url) is is_local
